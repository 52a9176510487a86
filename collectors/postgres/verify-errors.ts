import type { DatabaseConfig } from '../../daemon/core/config.js';
import { LockgateError, SourceError, TransientError } from '../../daemon/core/errors.js';
import { ShapeChanged, TooSlow, type TableName } from '../verify/port.js';
import { quoteIdent } from './connection.js';
import { classify, errorCodeOf, placeOf } from './pg-errors.js';

/** A statement over a table's rows that was refused, and what it was about. */
export interface Refused {
  readonly database: DatabaseConfig;
  /** Null: it was about the catalog or the session, whose texts hold no rows. */
  readonly table: TableName | null;
  readonly error: unknown;
  /** How long it took, and how long it might have taken. */
  readonly elapsedMs: number;
  readonly timeoutMs: number;
}

/** A name as SQL takes it. */
export function quoted(table: TableName): string {
  return `${quoteIdent(table.schema)}.${quoteIdent(table.name)}`;
}

/** What lets a user read the rows of a table. */
export function readGrant(table: TableName, user: string): string {
  const to = quoteIdent(user);
  return `GRANT USAGE ON SCHEMA ${quoteIdent(table.schema)} TO ${to}; GRANT SELECT ON ${quoted(table)} TO ${to}`;
}

/** What lets a user read all rows of a table under row security. */
export function bypassGrant(user: string): string {
  return `ALTER ROLE ${quoteIdent(user)} BYPASSRLS`;
}

// A table was dropped, renamed or made another one; a column was, or got a type that what was asked does not fit.
const shape = new Set(['42P01', '42703', '42883', '42804', '42846', '42809', '3F000', '42704']);

/**
 * What a refused statement over rows means to verification. The server's own text is left out wherever it may repeat a
 * value of a row, and so is the error itself, whose details do.
 */
export function dataError({ database, table, error, elapsedMs, timeoutMs }: Refused): LockgateError {
  const code = errorCodeOf(error);
  const where = `${placeOf(database)}${table === null ? '' : `: table ${table.schema}.${table.name}`}`;
  // No answer of the server: its connection, or one of ours.
  if (code === null || !/^[0-9A-Z]{5}$/.test(code)) {
    return error instanceof LockgateError ? error : new TransientError('connection_lost', `${where}: no answer`);
  }
  // The same code means that an administrator cancelled it, which says nothing about its size.
  if (code === '57014' && elapsedMs >= timeoutMs * 0.9) {
    return new TooSlow('verify_too_slow', `${where}: a statement took longer than ${String(timeoutMs)} ms`);
  }
  if (table === null) return classify(error, database);
  if (shape.has(code)) return changed(table, `the server says ${code}`);
  if (code === '42501') return denied(database, table);
  // What concerns the session or the server, whose texts hold no rows.
  if (/^(08|25|28|40|53|55|57|58)/.test(code) && error instanceof LockgateError) return error;
  // As when a table goes while a statement over it is being planned.
  if (code === 'XX000') return new TransientError('pg_internal', `${where}: an internal error of the server`);
  return new SourceError(
    'verify_refused',
    `${where} cannot be read: the server refuses with ${code}`,
    'run the statement that the server’s log names by hand; row content is not repeated here',
  );
}

/** The table is not as it was when the plan was made. */
export function changed(table: TableName, how: string): ShapeChanged {
  return new ShapeChanged('verify_shape', `table ${table.schema}.${table.name} was changed: ${how}`);
}

function denied(database: DatabaseConfig, table: TableName): SourceError {
  const { user } = database.address;
  return new SourceError(
    'pg_privilege',
    `${placeOf(database)}: table ${table.schema}.${table.name} may not be read, or row security may hide rows of it`,
    `${readGrant(table, user)}; under row security also ${bypassGrant(user)}`,
  );
}
