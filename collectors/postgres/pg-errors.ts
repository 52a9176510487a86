import type { DatabaseConfig } from '../../daemon/core/config.js';
import { LockgateError, SourceError, TransientError, messageOf } from '../../daemon/core/errors.js';

interface Rule {
  /** Stable code of the error that is raised. */
  code: string;
  /** `transient` may pass by itself; `source` needs an operator. */
  kind: 'transient' | 'source';
  hint: string;
}

const transient = (code: string, hint: string): Rule => ({ code, kind: 'transient', hint });
const source = (code: string, hint: string): Rule => ({ code, kind: 'source', hint });

const shutdown = transient(
  'pg_shutdown',
  'the server is stopping, starting or failing over; lockgate connects again by itself',
);
const missingObject = source(
  'pg_missing_object',
  'run `lockgate setup` (or apply what `lockgate grants` prints) on this database',
);

const bySqlState: Readonly<Record<string, Rule>> = {
  '28P01': source(
    'pg_wrong_password',
    'the server refused the password: check the user and the secret that `databases` names',
  ),
  '28000': source(
    'pg_not_admitted',
    'check that the role exists, may log in, and that pg_hba.conf admits this host, user and database',
  ),
  '3D000': source('pg_no_database', 'check the database name in the URL'),
  '42501': source('pg_privilege', 'apply the grants that `lockgate grants` prints for this database'),
  '42P01': missingObject,
  '3F000': missingObject,
  '42883': missingObject,
  '42703': source('pg_missing_column', 'the table is not as `lockgate setup` makes it: run `lockgate setup` again'),
  '42704': missingObject,
  '25006': source(
    'pg_read_only',
    'the database is read-only: check default_transaction_read_only, and that the URL names the primary',
  ),
  '53300': transient(
    'pg_too_many_connections',
    'raise max_connections (max_wal_senders for readers) or the role’s CONNECTION LIMIT, or free connections',
  ),
  '53400': source('pg_limit_reached', 'raise max_replication_slots (restart needed) or drop unused replication slots'),
  '53100': transient('pg_disk_full', 'free disk space on the server'),
  '53200': transient('pg_out_of_memory', 'the server is out of memory'),
  '55000': source(
    'pg_wrong_state',
    'the server’s settings or role do not allow this (wal_level = logical? in recovery?)',
  ),
  '55006': transient('pg_in_use', 'another session holds it; it is tried again'),
  '55P03': transient('pg_lock_timeout', 'another session holds a lock; see pg_locks and pg_stat_activity'),
  '57014': transient('pg_statement_timeout', 'the server did not finish in time; it is tried again'),
  '57P01': shutdown,
  '57P02': shutdown,
  '57P03': shutdown,
  '57P04': source('pg_database_dropped', 'the database was dropped: check the URL'),
  '58P01': source('pg_missing_file', 'WAL that was asked for is no longer on the server'),
};

const bySqlStateClass: Readonly<Record<string, Rule>> = {
  '08': transient('pg_connection', 'check the network and the server’s log; lockgate connects again by itself'),
  '0A': source('pg_not_supported', 'this server does not support it; see the documentation for supported versions'),
  '28': source('pg_not_admitted', 'check the role, the secret and pg_hba.conf'),
  '40': transient('pg_rolled_back', 'it is tried again'),
  '42': source('pg_statement_refused', 'run `lockgate setup` again; if that does not help, report it'),
  '53': transient('pg_resources', 'the server lacks resources; see its log'),
  '57': shutdown,
  '58': transient('pg_system', 'see the server’s log'),
  XX: transient('pg_internal', 'see the server’s log'),
};

const tlsChain = source('tls_chain', 'set `tls.ca` to the certificate authority that signed the server’s certificate');

// pg reports these two without any code.
const tlsRefused = source(
  'tls_refused',
  'turn TLS on at the server (ssl = on), or set `tls.mode` to prefer or disable',
);
const connectionLost = transient(
  'connection_lost',
  'lockgate connects again by itself; see the server’s log if it stays',
);

const byErrno: Readonly<Record<string, Rule>> = {
  ECONNREFUSED: transient(
    'connection_refused',
    'nothing listens there: is the server up, and are host and port right?',
  ),
  ECONNRESET: transient('connection_lost', 'lockgate connects again by itself; see the server’s log if it stays'),
  EPIPE: transient('connection_lost', 'lockgate connects again by itself; see the server’s log if it stays'),
  ETIMEDOUT: transient('connect_timeout', 'no answer: check routes, firewalls and security groups'),
  EHOSTUNREACH: transient('unreachable', 'no route to the host: check routes and firewalls'),
  ENETUNREACH: transient('unreachable', 'no route to the network: check routes and firewalls'),
  ENOTFOUND: transient('unknown_host', 'the host name does not resolve: check the URL and DNS'),
  EAI_AGAIN: transient('dns_failed', 'name resolution failed for now'),
  ENOENT: transient('no_socket', 'there is no such socket: is the server up, and is the path right?'),
  EACCES: source('socket_privilege', 'the daemon’s user may not open that socket'),
  EMFILE: transient('too_many_files', 'raise the open file limit of the daemon'),
  ERR_TLS_CERT_ALTNAME_INVALID: source(
    'tls_name',
    'the server’s certificate is for another name: connect by a name it carries, or use `tls.mode: verify-ca`',
  ),
  DEPTH_ZERO_SELF_SIGNED_CERT: tlsChain,
  SELF_SIGNED_CERT_IN_CHAIN: tlsChain,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: tlsChain,
  UNABLE_TO_GET_ISSUER_CERT: tlsChain,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: tlsChain,
  CERT_SIGNATURE_FAILURE: tlsChain,
  CERT_UNTRUSTED: tlsChain,
  CERT_HAS_EXPIRED: source('tls_expired', 'the server’s certificate (or its authority) has expired: renew it'),
  CERT_NOT_YET_VALID: source('tls_not_yet_valid', 'the certificate is not valid yet: check the clocks'),
  CERT_REVOKED: source('tls_revoked', 'the server’s certificate was revoked'),
};

function ruleFor(code: string | null): Rule | null {
  if (code === null) return null;
  const exact = bySqlState[code] ?? byErrno[code];
  if (exact !== undefined) return exact;
  if (/^[0-9A-Z]{5}$/.test(code)) return bySqlStateClass[code.slice(0, 2)] ?? null;
  if (code.startsWith('ERR_SSL') || code.startsWith('ERR_TLS') || code.startsWith('ERR_OSSL')) {
    return source(
      'tls_failed',
      'TLS could not be agreed on: check `tls` (mode, ca, cert, key) against the server’s settings',
    );
  }
  return null;
}

/** The SQLSTATE or errno of an error, looked for along its causes; null when it carries none. */
export function errorCodeOf(error: unknown): string | null {
  for (let at = error, depth = 0; at instanceof Error && depth < 8; at = at.cause, depth++) {
    if (at instanceof LockgateError) continue; // its code is ours, its cause holds the server's
    const { code } = at as { code?: unknown };
    if (typeof code === 'string') return code;
    if (at instanceof AggregateError && at.errors.length > 0) return errorCodeOf(at.errors[0]);
  }
  return null;
}

/** True when the server itself answered with an error and keeps the session, so that what was asked is known not to have happened. */
export function isServerError(error: unknown): boolean {
  for (let at = error, depth = 0; at instanceof Error && depth < 8; at = at.cause, depth++) {
    const { severity } = at as { severity?: unknown };
    if (typeof severity === 'string') return severity !== 'FATAL' && severity !== 'PANIC';
  }
  return false;
}

/** Where a database is, for messages: `app on db:5432`, never the password. */
export function placeOf(db: DatabaseConfig): string {
  return `${db.name} (database ${db.address.database} on ${db.address.host}:${db.address.port})`;
}

/** The text of an error; `AggregateError`s of connection attempts to several addresses have none of their own. */
function textOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return error.errors.map(messageOf).join('; ');
  return messageOf(error);
}

/**
 * Sorts anything that connecting or querying threw into a fault that may pass by itself and one that needs an operator,
 * by SQLSTATE or errno; what is unknown counts as passing. Errors that are sorted already are returned as they are. With
 * `db` the message names the database and where it is.
 */
export function classify(error: unknown, db?: DatabaseConfig): TransientError | SourceError {
  if (error instanceof TransientError || error instanceof SourceError) return error;
  const where = db === undefined ? '' : `${placeOf(db)}: `;
  const code = errorCodeOf(error);
  const rule = ruleFor(code) ?? (code === null && /SSL connection/.test(textOf(error)) ? tlsRefused : connectionLost);
  const tag = code === null ? '' : ` [${code}]`;
  const message = `${where}${textOf(error)}${tag}`;
  const Kind = rule.kind === 'source' ? SourceError : TransientError;
  return new Kind(rule.code, message, rule.hint, { cause: error });
}
