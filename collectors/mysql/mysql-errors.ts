import type { DatabaseConfig } from '../../daemon/core/config.js';
import { LockgateError, SourceError, TransientError } from '../../daemon/core/errors.js';
import { connectionLost, faultOf, source, transient, transportRule, type Rule } from '../session/faults.js';

const grants = source('mysql_privilege', 'apply the grants that `lockgate grants` prints for this database');
const wrongPassword = source(
  'mysql_wrong_password',
  'the server refused the user or the password: check the user, the host it may come from, and the secret that `databases` names',
);
const missing = source(
  'mysql_missing_object',
  'run `lockgate setup` for this database, or apply what `lockgate grants` prints',
);
const stopping = transient('mysql_shutdown', 'the server is stopping or starting; it is tried again');
const readOnly = source(
  'mysql_read_only',
  'the server is read-only: check read_only and super_read_only, and that the URL names the primary',
);
const timeout = transient('mysql_statement_timeout', 'the server did not finish in time; it is tried again');

/** By errno, which both servers share up to about 1900; above, MySQL has 3xxx and MariaDB 4xxx. */
const byNumber: Readonly<Record<number, Rule>> = {
  1040: transient('mysql_too_many_connections', 'raise max_connections, or free connections'),
  1044: grants,
  1045: wrongPassword,
  1049: source('mysql_no_database', 'check the database name in the URL; `lockgate setup` makes only `lockgate`'),
  1053: stopping,
  1054: source('mysql_missing_column', 'the table is not as `lockgate setup` makes it: run `lockgate setup` again'),
  1129: source('mysql_host_blocked', 'the server has blocked this host after connection errors: FLUSH HOSTS there'),
  1130: source('mysql_not_admitted', 'the server admits nobody from this host: check the host part of the account'),
  1142: grants,
  1143: grants,
  1146: missing,
  1158: connectionLost,
  1159: connectionLost,
  1160: connectionLost,
  1161: connectionLost,
  1203: transient('mysql_too_many_connections', 'raise max_user_connections, or free connections'),
  1205: transient('mysql_lock_timeout', 'another session holds a lock; see the process list'),
  1213: transient('mysql_rolled_back', 'it is tried again'),
  1226: transient('mysql_user_limit', 'the account has reached one of its resource limits'),
  1227: grants,
  1290: readOnly,
  1317: timeout,
  1836: readOnly,
  1969: timeout,
  3024: timeout,
  3118: source('mysql_account_locked', 'the account is locked: ALTER USER … ACCOUNT UNLOCK'),
  3159: source('tls_required', 'the server takes only encrypted connections: set `tls.mode`'),
  1820: source('mysql_password_expired', 'the password has expired: set a new one'),
  4031: connectionLost, // also said to a session that was ended by KILL
  4151: source('mysql_account_locked', 'the account is locked: ALTER USER … ACCOUNT UNLOCK'),
};

const byCode: Readonly<Record<string, Rule>> = {
  PROTOCOL_CONNECTION_LOST: connectionLost,
  HANDSHAKE_NO_SSL_SUPPORT: source('tls_refused', 'turn TLS on at the server, or set `tls.mode` to prefer or disable'),
  AUTH_SWITCH_PLUGIN_ERROR: source(
    'mysql_auth_plugin',
    'the account authenticates by a plugin that lockgate lacks: use caching_sha2_password, mysql_native_password or ed25519',
  ),
};

interface ServerFields {
  errno: number | null;
  code: string | null;
  fatal: boolean;
}

/** What mysql2 puts on its errors, looked for along the causes. */
function fieldsOf(error: unknown): ServerFields {
  for (let at = error, depth = 0; at instanceof Error && depth < 8; at = at.cause, depth++) {
    if (at instanceof LockgateError) continue;
    if (at instanceof AggregateError && at.errors.length > 0) return fieldsOf(at.errors[0]);
    const { errno, code, fatal, sqlState } = at as {
      errno?: unknown;
      code?: unknown;
      fatal?: unknown;
      sqlState?: unknown;
    };
    return {
      // System errors have negative numbers of their own.
      errno: typeof errno === 'number' && errno > 0 && typeof sqlState === 'string' ? errno : null,
      code: typeof code === 'string' ? code : null,
      fatal: fatal === true,
    };
  }
  return { errno: null, code: null, fatal: false };
}

/** The server's error number, looked for along the causes; null when the error is not from the server. */
export function errnoOf(error: unknown): number | null {
  return fieldsOf(error).errno;
}

/** The errno, the name or the code of an error; null when it carries none. */
export function errorCodeOf(error: unknown): string | null {
  return fieldsOf(error).code;
}

/** True when the server itself answered with an error and keeps the session, so that what was asked is known not to have happened. */
export function isServerError(error: unknown): boolean {
  const { errno, fatal } = fieldsOf(error);
  // 1053 and 1317 may come while a commit is under way.
  return errno !== null && !fatal && errno !== 1053 && errno !== 1317;
}

/**
 * Sorts anything that connecting or querying threw into a fault that may pass by itself and one that needs an operator,
 * by errno; what is unknown counts as passing. Errors that are sorted already are returned as they are.
 */
export function classify(error: unknown, db?: DatabaseConfig): TransientError | SourceError {
  if (error instanceof TransientError || error instanceof SourceError) return error;
  const { errno, code } = fieldsOf(error);
  return faultOf(ruleFor(errno, code), error, errno === null ? code : String(errno), db);
}

function ruleFor(errno: number | null, code: string | null): Rule {
  const exact = errno === null ? undefined : byNumber[errno];
  if (exact !== undefined) return exact;
  const byName = code === null ? null : (byCode[code] ?? transportRule(code));
  if (byName !== null) return byName;
  if (errno === null) return connectionLost;
  return transient('mysql_error', 'see the server’s error log; it is tried again');
}
