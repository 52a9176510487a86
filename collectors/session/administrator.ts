import type { DatabaseConfig, Secret, TlsConfig } from '../../daemon/core/config.js';
import { TransientError, UsageError } from '../../daemon/core/errors.js';
import type { SqlStep } from '../collector.js';

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

const defaultPorts = { postgres: 5432, mysql: 3306 } as const;
const sslModes = ['disable', 'prefer', 'require', 'verify-ca', 'verify-full'] as const;

/**
 * The database's configuration with the place and user of a URL, which begins with one of `schemes`; never repeats the
 * URL in an error, for its password.
 */
export function withUrl(database: DatabaseConfig, adminUrl: string, schemes: readonly string[]): DatabaseConfig {
  const bad = (what: string): UsageError =>
    new UsageError(
      'admin_url',
      `the administrator's URL for ${database.name} ${what}`,
      `${schemes[0] ?? ''}://USER:PASSWORD@HOST:PORT/DATABASE`,
    );
  let url: URL;
  try {
    url = new URL(adminUrl);
  } catch {
    throw bad('is not a URL');
  }
  if (!schemes.includes(url.protocol.slice(0, -1))) throw bad(`does not begin with ${schemes[0] ?? ''}://`);
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
      port: url.port === '' ? (host === '' ? database.address.port : defaultPorts[database.engine]) : Number(url.port),
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
