import type { DatabaseConfig } from '../../../daemon/core/config.js';
import { LockgateError, SourceError, TransientError, messageOf } from '../../../daemon/core/errors.js';
import type { SqlStep } from '../../collector.js';
import { withUrl, type SetupOptions } from '../../session/administrator.js';
import { connect, type PgConnection } from '../connection.js';
import { errorCodeOf, isServerError } from '../pg-errors.js';

export { throwIfAborted, type SetupOptions, type StepReport } from '../../session/administrator.js';

const statementTimeoutMs = 30_000;
/** How an administrator's URL may begin, the one to show first. */
const schemes = ['postgres', 'postgresql'];

/** Connects as the administrator; the TLS settings are the database's own unless the URL has an sslmode. */
export async function connectAdmin(database: DatabaseConfig, options: SetupOptions): Promise<PgConnection> {
  const target = options.adminUrl === null ? database : withUrl(database, options.adminUrl, schemes);
  return connect(
    target,
    {
      applicationName: 'lockgate/setup',
      statementTimeoutMs,
      // DDL on our own small tables: better to give up than to queue up everyone behind us.
      settings: { lock_timeout: '5000', client_min_messages: 'warning' },
    },
    options.signal,
  );
}

/** Says at which step something failed, and what an administrator lacks. */
export function atStep(step: SqlStep, error: unknown): LockgateError {
  const message = `could not ${step.why}: ${messageOf(error)}`;
  const state = errorCodeOf(error) ?? '';
  if (state === '42501') {
    const hint = `the administrator lacks a privilege: run this as a superuser or as the owner of what is changed: ${step.sql}`;
    return new SourceError('admin_privilege', message, hint, { cause: error });
  }
  const known = error instanceof LockgateError ? error : null;
  // What the server refuses it will refuse again, but for shortages, conflicts and restarts.
  const passing = known instanceof TransientError && !(isServerError(error) && !/^(08|40|53|55|57|58|XX)/.test(state));
  const Kind = passing ? TransientError : SourceError;
  return new Kind(known?.code ?? 'setup_failed', message, known?.hint ?? null, { cause: error });
}
