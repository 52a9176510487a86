import type { DatabaseConfig } from '../../daemon/core/config.js';
import { SourceError, TransientError, type LockgateError } from '../../daemon/core/errors.js';
import { placeOf } from '../session/faults.js';
import { ShapeChanged, TooSlow, type TableName } from '../verify/port.js';
import { classify, errnoOf } from './mysql-errors.js';
import { selectGrant } from './verify-catalog.js';

/** The server ended the statement at its time limit, or somebody did by KILL QUERY. */
const slow: ReadonlySet<number | null> = new Set([1317, 1969, 3024]);
/** No such table, database or column, or another one since the statement began. */
const shape: ReadonlySet<number | null> = new Set([1049, 1051, 1054, 1146, 1412]);
const denied: ReadonlySet<number | null> = new Set([1044, 1142, 1143]);

/** What went wrong with a statement over a table's rows, in words that hold none of its values. */
export function dataError(error: unknown, db: DatabaseConfig, table: TableName | null, limitMs: number): LockgateError {
  const errno = errnoOf(error);
  const what = table === null ? 'the catalog' : `${table.schema}.${table.name}`;
  if (slow.has(errno)) {
    return new TooSlow('verify_too_slow', `${placeOf(db)}: ${what} was not read within ${String(limitMs)} ms`);
  }
  if (table !== null && shape.has(errno)) return changed(table, 'the table or one of its columns is not there');
  if (table !== null && denied.has(errno)) {
    return new SourceError('mysql_privilege', `${placeOf(db)}: ${what} may not be read`, selectGrant(db, table));
  }
  const sorted = classify(error, db);
  if (errno === null || sorted.code !== 'mysql_error') return sorted;
  // The server's own words for such errors may quote a value.
  return new TransientError(
    'mysql_error',
    `${placeOf(db)}: ${what} could not be read (error ${String(errno)})`,
    sorted.hint,
  );
}

/** The table is not what the plan was made for. */
export function changed({ schema, name }: TableName, how: string): ShapeChanged {
  return new ShapeChanged('verify_shape_changed', `${schema}.${name} has changed: ${how}`, 'it is planned anew');
}

/** A row's text is longer than the server lets a text be, so that it has no hash. */
export function tooLong({ schema, name }: TableName): SourceError {
  return new SourceError(
    'verify_row_too_long',
    `${schema}.${name} holds rows that are longer than max_allowed_packet lets a text be, and cannot be compared`,
    'raise max_allowed_packet on both servers to four times the size of the longest row',
  );
}
