import type { DatabaseConfig } from '../../daemon/core/config.js';
import { SourceError, TransientError, messageOf } from '../../daemon/core/errors.js';

/** What a code of an error means: whether it may pass by itself, a stable code of ours, and what to do about it. */
export interface Rule {
  readonly kind: 'source' | 'transient';
  readonly code: string;
  readonly hint: string;
}

/** A fault that needs an operator. */
export function source(code: string, hint: string): Rule {
  return { kind: 'source', code, hint };
}

/** A fault that may pass by itself. */
export function transient(code: string, hint: string): Rule {
  return { kind: 'transient', code, hint };
}

const tlsChain = source('tls_chain', 'set `tls.ca` to the certificate authority that signed the server’s certificate');

/** What is meant where a connection broke without any code. */
export const connectionLost = transient(
  'connection_lost',
  'lockgate connects again by itself; see the server’s log if it stays',
);

const byErrno: Readonly<Record<string, Rule>> = {
  ECONNREFUSED: transient(
    'connection_refused',
    'nothing listens there: is the server up, and are host and port right?',
  ),
  ECONNRESET: connectionLost,
  EPIPE: connectionLost,
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

/** The rule of a code of the network or of TLS; null for every other code. */
export function transportRule(code: string): Rule | null {
  const exact = byErrno[code];
  if (exact !== undefined) return exact;
  if (/^ERR_(SSL|TLS|OSSL)/.test(code)) {
    return source(
      'tls_failed',
      'TLS could not be agreed on: check `tls` (mode, ca, cert, key) against the server’s settings',
    );
  }
  return null;
}

/** Where a database is, for messages: `app on db:5432`, never the password. */
export function placeOf(db: DatabaseConfig): string {
  return `${db.name} (database ${db.address.database} on ${db.address.host}:${db.address.port})`;
}

/** The text of an error; `AggregateError`s of connection attempts to several addresses have none of their own. */
export function textOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return error.errors.map(messageOf).join('; ');
  return messageOf(error);
}

/** Makes the error that a rule stands for, with the place and the server's own words. */
export function faultOf(
  rule: Rule,
  error: unknown,
  code: string | null,
  db?: DatabaseConfig,
): TransientError | SourceError {
  const where = db === undefined ? '' : `${placeOf(db)}: `;
  const tag = code === null ? '' : ` [${code}]`;
  const Kind = rule.kind === 'source' ? SourceError : TransientError;
  return new Kind(rule.code, `${where}${textOf(error)}${tag}`, rule.hint, { cause: error });
}
