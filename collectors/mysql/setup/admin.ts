import type { DatabaseConfig } from '../../../daemon/core/config.js';
import { LockgateError, SourceError, TransientError, messageOf } from '../../../daemon/core/errors.js';
import type { SqlStep } from '../../collector.js';
import { withUrl, type SetupOptions } from '../../session/administrator.js';
import { connect, type MysqlConnection } from '../connection.js';
import { errnoOf, isServerError } from '../mysql-errors.js';

const statementTimeoutMs = 30_000;
/** How an administrator's URL may begin, the one to show first. */
const schemes = ['mysql', 'mariadb'];

/** Connects as the administrator; the TLS settings are the database's own unless the URL has an sslmode. */
export async function connectAdmin(
  database: DatabaseConfig,
  options: Pick<SetupOptions, 'adminUrl' | 'signal'>,
): Promise<MysqlConnection> {
  const target = options.adminUrl === null ? database : withUrl(database, options.adminUrl, schemes);
  return connect(target, { applicationName: 'lockgate/setup', statementTimeoutMs }, options.signal);
}

/** Errors that say that the user at work lacks a privilege. */
const lacking: ReadonlySet<number | null> = new Set([1044, 1142, 1143, 1227, 1370, 1410, 3619, 3629]);
const readOnly: ReadonlySet<number | null> = new Set([1290, 1836]);

/** Whether the server refused a statement for want of a privilege. */
export function lacksPrivilege(error: unknown): boolean {
  return lacking.has(errnoOf(error));
}

/** Says at which step something failed, and what an administrator lacks. */
export function atStep(step: SqlStep, error: unknown): LockgateError {
  const message = `could not ${step.why}: ${messageOf(error)}`;
  if (lacksPrivilege(error)) {
    const hint = `the administrator lacks a privilege: run this as a user who has it, with GRANT OPTION: ${step.sql}`;
    return new SourceError('admin_privilege', message, hint, { cause: error });
  }
  if (readOnly.has(errnoOf(error))) {
    const hint = `the server takes no changes, not even from an administrator: SET GLOBAL super_read_only = 0 for as long as setup runs, then set it again`;
    return new SourceError('mysql_read_only', message, hint, { cause: error });
  }
  const known = error instanceof LockgateError ? error : null;
  const passing = known instanceof TransientError && !isServerError(error);
  const Kind = passing ? TransientError : SourceError;
  return new Kind(known?.code ?? 'setup_failed', message, known?.hint ?? null, { cause: error });
}
