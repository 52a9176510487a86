import { InvariantError, SourceError } from '../../daemon/core/errors.js';
import type { RowFilter } from '../../daemon/core/config.js';
import type { Key, KeyRange } from '../verify/port.js';
import { quoteIdent } from './connection.js';
import type { ColumnFacts } from './verify-catalog.js';
import { ownText } from './verify-forms.js';

/** Conditions over keys and columns, as SQL. Values are written as literals that no quoting can break and no type rounds. */

/** A column of a key, as ranges are cut by it. */
export interface KeyPart {
  readonly column: ColumnFacts;
  /** The key's text. */
  readonly text: string;
  readonly by: 'index' | 'bytes';
}

/** What rows are ordered by, and what a key's text is compared with it as. */
export function orderOf({ column, text, by }: KeyPart): string {
  return by === 'index' ? quoteIdent(column.shape.name) : `CAST(${text} AS BINARY)`;
}

/**
 * The rows of a range. The first column of the key is bounded by itself, and so on: neither server looks a comparison of
 * whole rows up in an index.
 */
export function inRange(parts: readonly KeyPart[], { after, upTo }: KeyRange): string[] {
  return [
    ...(after === null ? [] : [beyond(parts, after, '>', '>')]),
    ...(upTo === null ? [] : [beyond(parts, upTo, '<', '<=')]),
  ];
}

function beyond(parts: readonly KeyPart[], key: Key, op: '<' | '>', last: string): string {
  const [first, ...more] = parts;
  if (first === undefined || key.length !== parts.length) throw new InvariantError('a key with too few values');
  const x = orderOf(first);
  const value = sortable(first, key[0] ?? '');
  if (more.length === 0) return `${x} ${last} ${value}`;
  const rest = beyond(more, key.slice(1), op, last);
  return `(${x} ${op}= ${value} AND (${x} ${op} ${value} OR (${x} = ${value} AND ${rest})))`;
}

function sortable(part: KeyPart, text: string): string {
  return part.by === 'index' ? literal(part.column, text) : bytes(text);
}

/** Rows with one of these keys, and perhaps some that only their collation takes for the same. */
export function isOneOf(parts: readonly KeyPart[], keys: readonly Key[]): string {
  const [only, ...more] = parts;
  if (only !== undefined && more.length === 0) {
    const texts = keys.flatMap((key) => literals(only.column, key[0] ?? ''));
    return `${quoteIdent(only.column.shape.name)} IN (${texts.join(', ')})`;
  }
  const each = keys.map((key) => {
    const equal = parts.map(({ column }, i) => {
      const texts = literals(column, key[i] ?? '');
      const x = quoteIdent(column.shape.name);
      return texts.length === 1 ? `${x} = ${texts[0] ?? ''}` : `${x} IN (${texts.join(', ')})`;
    });
    return `(${equal.join(' AND ')})`;
  });
  return `(${each.join(' OR ')})`;
}

/** The ways in which a column may hold what the text of a key stands for. */
function literals(column: ColumnFacts, text: string): string[] {
  // A UUID in a column of text, which may be written in several ways.
  const uuid = /^[0-9a-f]{32}$/.test(text) && (column.shape.family === 'text' || column.shape.family === 'char');
  if (!uuid) return [literal(column, text)];
  const dashed = text.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
  return [text, text.toUpperCase(), dashed, dashed.toUpperCase()].map((t) => literal(column, t));
}

const NUMBER = /^-?\d+(?:\.\d+)?$/;
const FLOAT = /^-?\d+(?:\.\d+)?(?:e[+-]?\d+)?$/i;

/** A text of a key as a value of the column that its index knows. */
function literal({ shape, charset, collation }: ColumnFacts, text: string): string {
  switch (shape.family) {
    case 'integer':
    case 'decimal':
    case 'boolean':
    case 'bit':
    case 'year':
      if (!NUMBER.test(text)) throw new InvariantError(`a value for the number ${shape.name} is none`);
      return text;
    case 'float4':
    case 'float8':
      if (!FLOAT.test(text)) throw new InvariantError(`a value for the number ${shape.name} is none`);
      return /e/i.test(text) ? text : `${text}e0`;
    case 'bytes': {
      const hex = text.replace(/^\\x/, '');
      if (!/^(?:[0-9a-f]{2})*$/i.test(hex)) throw new InvariantError(`a value for the bytes ${shape.name} is none`);
      return `X'${hex}'`;
    }
    default:
      if (charset === null || collation === null) return utf8mb4(text);
      return charset === 'utf8mb4'
        ? `${utf8mb4(text)} COLLATE ${collation}`
        : `CONVERT(${utf8mb4(text)} USING ${charset}) COLLATE ${collation}`;
  }
}

function bytes(text: string): string {
  return `X'${Buffer.from(text, 'utf8').toString('hex')}'`;
}

function utf8mb4(text: string): string {
  return `_utf8mb4 ${bytes(text)}`;
}

/** A filter of the configuration; text goes by its bytes, as on every server. */
export function filterSql(column: ColumnFacts, { op, value }: RowFilter): string {
  const x = quoteIdent(column.shape.name);
  if (value === null || op === 'is null' || op === 'is not null') return `${x} ${op}`;
  if (column.charset !== null) return `CAST(${ownText(column)} AS BINARY) ${op} ${bytes(value)}`;
  try {
    return `${x} ${op} ${literal(column, booleanOf(column, value))}`;
  } catch (error) {
    throw new SourceError(
      'verify_filter',
      `the filter on ${column.shape.name} (${column.shape.type}) compares it with something else`,
      'give a value of the column’s type under `verify.filters`',
      { cause: error },
    );
  }
}

function booleanOf({ shape }: ColumnFacts, value: string): string {
  if (shape.family !== 'boolean') return value;
  return value === 'true' ? '1' : value === 'false' ? '0' : value;
}
