import type { DatabaseConfig, Secret, TlsConfig } from '../../../daemon/core/config.js';
import { LockgateError, SourceError, TransientError, UsageError, messageOf } from '../../../daemon/core/errors.js';
import type { SqlStep } from '../../collector.js';
import { connect, type PgConnection } from '../connection.js';
import { errorCodeOf, isServerError } from '../pg-errors.js';

/** What has become of a step: run, found as wanted, or left for later (in a dry run, or because it waits for the other side). */
export type Outcome = 'done' | 'unchanged' | 'would-do';

/** One line of what setup or teardown reports. */
export interface StepReport {
  readonly step: SqlStep;
  readonly outcome: Outcome;
}

/** How setup and teardown are to go about it. */
export interface SetupOptions {
  /** Where to connect as an administrator; null for the daemon's own URL. */
  readonly adminUrl: string | null;
  /** The same for the other databases, by name: what hangs on them is looked at with it before they know the daemon's user. */
  readonly otherAdmins?: ReadonlyMap<string, string>;
  readonly dryRun: boolean;
  readonly signal: AbortSignal;
}

const statementTimeoutMs = 30_000;

/** Connects as the administrator; the TLS settings are the database's own unless the URL has an sslmode. */
export async function connectAdmin(database: DatabaseConfig, options: SetupOptions): Promise<PgConnection> {
  const target = options.adminUrl === null ? database : withUrl(database, options.adminUrl);
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

const sslModes = ['disable', 'prefer', 'require', 'verify-ca', 'verify-full'] as const;

/** The database's configuration with the place and user of a URL; never repeats the URL in an error, for its password. */
export function withUrl(database: DatabaseConfig, adminUrl: string): DatabaseConfig {
  const bad = (what: string): UsageError =>
    new UsageError(
      'admin_url',
      `the administrator's URL for ${database.name} ${what}`,
      'postgres://USER:PASSWORD@HOST:PORT/DATABASE',
    );
  let url: URL;
  try {
    url = new URL(adminUrl);
  } catch {
    throw bad('is not a URL');
  }
  if (url.protocol !== 'postgres:' && url.protocol !== 'postgresql:') throw bad('does not begin with postgres://');
  let parts: { user: string; password: string; name: string };
  try {
    parts = {
      user: decodeURIComponent(url.username),
      password: decodeURIComponent(url.password),
      name: decodeURIComponent(url.pathname.slice(1)),
    };
  } catch {
    throw bad('has a malformed %-sequence');
  }
  const { user, password, name } = parts;
  if (user === '') throw bad('names no user');
  if (name !== '' && name !== database.address.database) {
    throw bad(`names another database (${name}) than the configuration (${database.address.database})`);
  }
  const host = url.searchParams.get('host') ?? decodeURIComponent(url.hostname).replace(/^\[|\]$/g, '');
  const mode = sslModes.find((m) => m === url.searchParams.get('sslmode'));
  const tls: TlsConfig = mode === undefined ? database.tls : { ...database.tls, mode };
  return {
    ...database,
    address: {
      host: host === '' ? database.address.host : host,
      port: url.port === '' ? (host === '' ? database.address.port : 5432) : Number(url.port),
      database: database.address.database,
      user,
    },
    password: password === '' ? null : plainSecret(password),
    tls,
  };
}

function plainSecret(value: string): Secret {
  return { reveal: () => value, toString: () => '[secret]', toJSON: () => '[secret]' };
}

/** Rejects once the operator has given up. */
export function throwIfAborted(signal: AbortSignal): void {
  if (signal.aborted) throw new TransientError('aborted', 'given up');
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
