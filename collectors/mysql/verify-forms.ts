import { InvariantError } from '../../daemon/core/errors.js';
import type { ColumnShape, TypeFamily } from '../verify/port.js';
import { quoteIdent } from './connection.js';
import type { ColumnFacts } from './verify-catalog.js';

/** How the values of a column are written as text, as SQL expressions over the column. */

/** What of a value the other engine cannot hold, under the name of the stand-ins for it. */
export interface Odd {
  readonly name: 'zero_date' | 'out_of_range';
  /** Never NULL. */
  readonly when: string;
}

/** A column in canonical form. */
export interface Canonical {
  /** Text; NULL only where the column is NULL, or where the text is too long for the server. */
  readonly text: string;
  readonly odd: readonly Odd[];
}

/** These hold so much that each value is hashed by itself: a text longer than max_allowed_packet is NULL to the server. */
const LONG = /^(?:text|mediumtext|longtext|blob|mediumblob|longblob|json|vector)$/;
const UTF8: ReadonlySet<string | null> = new Set(['utf8mb4', 'utf8mb3', 'utf8', 'ascii']);

/** A byte that no text in UTF-8 holds: what ends a value. */
const END = '0xFF';
/** Another one: what stands for NULL. */
const NULL_MARK = '0xFE';

/**
 * All values of a row as bytes from which each of them can be told: every value but the last ends with a byte that no text
 * holds, bytes come after their length, long values as their SHA-256, and NULL is another byte that no text holds. It is
 * NULL, and never a shorter text, where the server could not make the text of a value.
 */
export function nativeRow(columns: readonly ColumnFacts[]): string {
  const parts = columns.map(nativePart);
  return parts.length === 0 ? `''` : `CONCAT(${parts.join(`, ${END}, `)}, '')`;
}

function nativePart(column: ColumnFacts): string {
  const x = quoteIdent(column.shape.name);
  const { nullable, family } = column.shape;
  // The functions that hash and count take bytes as they are, and have no packets to fear at these lengths.
  const or = (value: string): string => (nullable ? `IF(${x} IS NULL, ${NULL_MARK}, ${value})` : value);
  // The hash is text, which the mark of NULL is not.
  if (LONG.test(column.dataType) || family === 'other') return or(`CAST(SHA2(${bytesOf(column)}, 256) AS BINARY)`);
  // In JSON MySQL prints doubles in full, and MariaDB everywhere.
  if (hasDecimals(column.shape)) return or(`CAST(CONCAT(${x} * 1e0, ' ', JSON_ARRAY(${x} * 1e0)) AS BINARY)`);
  if (family === 'bytes') return or(`CONCAT(LENGTH(${x}), ':', ${x})`);
  // The server would make a UUID of the mark.
  if (family === 'uuid') return or(`CAST(CAST(${x} AS CHAR) AS BINARY)`);
  if (column.charset !== null) return or(`CAST(${utf8(column)} AS BINARY)`);
  return nullable ? `IFNULL(${numberOrTime(column)}, ${NULL_MARK})` : numberOrTime(column);
}

/** What SHA2 is given of a long value. */
function bytesOf(column: ColumnFacts): string {
  const x = quoteIdent(column.shape.name);
  if (column.dataType === 'json') return `CAST(${x} AS CHAR)`;
  return column.charset === null ? x : utf8(column);
}

/** Text in UTF-8; NULL where that would be too long. */
function utf8({ shape, charset }: ColumnFacts): string {
  const x = quoteIdent(shape.name);
  return UTF8.has(charset) ? x : `CONVERT(${x} USING utf8mb4)`;
}

/** A number or a time such that the server prints its exact value. */
function numberOrTime(column: ColumnFacts): string {
  const { shape } = column;
  const x = quoteIdent(shape.name);
  switch (shape.family) {
    case 'float4':
    case 'float8':
      return exact(column);
    case 'bit':
      return `CAST(${x} AS UNSIGNED)`;
    case 'year':
      return `(${x} + 0)`;
    default:
      return / zerofill/.test(shape.type) ? `(${x} + 0)` : x;
  }
}

/**
 * A float such that it prints its exact value. FLOAT prints six digits, a type with decimals those; a DOUBLE as many as
 * tell it apart, but MySQL cuts those of an expression at 22 characters, of which the exponent takes six (measured on
 * 9.7: -2.2250738585072014e-308 prints as -2.2250738585072e-308). That is enough for FLOAT, and for values that need not
 * be told apart to the last bit.
 */
function exact({ shape }: ColumnFacts): string {
  const x = quoteIdent(shape.name);
  return hasDecimals(shape) || shape.family === 'float4' ? `(${x} * 1e0)` : x;
}

function hasDecimals(shape: ColumnShape): boolean {
  return shape.family === 'float8' && shape.type.includes('(');
}

/** The value as this server prints it, for people and for keys; bytes as `\x…`. */
export function ownText(column: ColumnFacts): string {
  const x = quoteIdent(column.shape.name);
  if (column.shape.family === 'bytes' || column.dataType === 'geometry' || column.dataType === 'vector')
    return hexed(x);
  if (column.charset !== null) return `CONVERT(${x} USING utf8mb4)`;
  if (column.shape.family === 'other' || column.dataType === 'json') return `CAST(${x} AS CHAR)`;
  return `CAST(${numberOrTime(column)} AS CHAR)`;
}

function hexed(x: string): string {
  return `CONCAT('\\\\x', LOWER(HEX(${x})))`;
}

/** The form of the column as family `as` that PostgreSQL makes alike; throws where there is none. */
export function canonical(column: ColumnFacts, as: TypeFamily): Canonical {
  const form = canonicalOf(column, as);
  if (form === null) throw new InvariantError(`${column.shape.family} has no canonical form as ${as}`);
  return typeof form === 'string' ? { text: form, odd: [] } : form;
}

function canonicalOf(column: ColumnFacts, as: TypeFamily): Canonical | string | null {
  const { family, type } = column.shape;
  const x = quoteIdent(column.shape.name);
  const own = ownText(column);
  const isWhole = family === 'integer' || family === 'boolean' || family === 'year' || family === 'bit';
  switch (as) {
    case 'integer':
    case 'boolean':
    case 'year':
    case 'bit':
      return isWhole ? own : family === 'decimal' ? decimal(own, type) : null;
    case 'decimal':
    case 'float4':
    case 'float8':
      if (family === 'float4') return single(column);
      return family === 'float8'
        ? plain(exact(column))
        : isWhole
          ? own
          : family === 'decimal'
            ? decimal(own, type)
            : null;
    case 'text':
    case 'char':
    case 'enum':
      return family === 'bytes' || family === 'other' ? null : own;
    case 'bytes':
      if (family === 'bytes') return `LOWER(HEX(${x}))`;
      if (family === 'uuid') return `REPLACE(${own}, '-', '')`;
      return family === 'text' || family === 'char' ? `LOWER(HEX(${own}))` : null;
    case 'uuid':
      if (family === 'bytes') return `LOWER(HEX(${x}))`;
      return family === 'uuid' || family === 'text' || family === 'char' ? `LOWER(REPLACE(${own}, '-', ''))` : null;
    case 'date':
      return family === 'date' ? { text: own, odd: [zeroDate(x)] } : null;
    case 'timestamp':
    case 'timestamptz':
      if (family !== 'date' && family !== 'timestamp' && family !== 'timestamptz') return null;
      return { text: `DATE_FORMAT(${x}, '%Y-%m-%d %H:%i:%s.%f')`, odd: [zeroDate(x)] };
    case 'time':
      if (family !== 'time') return null;
      return {
        text: `TIME_FORMAT(${x}, '%H:%i:%s.%f')`,
        odd: [{ name: 'out_of_range', when: `IFNULL(${x} < '00:00:00' OR ${x} > '24:00:00', FALSE)` }],
      };
    case 'json':
    case 'jsonb':
      return json(column, own);
    case 'other':
      return null;
  }
}

/** A date whose year, month or day is zero. */
function zeroDate(x: string): Odd {
  return { name: 'zero_date', when: `IFNULL(YEAR(${x}) = 0 OR MONTH(${x}) = 0 OR DAYOFMONTH(${x}) = 0, FALSE)` };
}

/** Without the zeros that only fill its scale. */
function decimal(own: string, type: string): string {
  if (!/,\s*[1-9]\d*\)/.test(type)) return own;
  return `TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM ${own}))`;
}

/** The shortest text of a double that reads back as the same number, without an exponent. */
function plain(double: string): string {
  const t = `CAST(${double} AS CHAR)`;
  const digits = `REPLACE(REPLACE(SUBSTRING_INDEX(${t}, 'e', 1), '.', ''), '-', '')`;
  const exponent = `CAST(SUBSTRING_INDEX(${t}, 'e', -1) AS SIGNED)`;
  const sign = `IF(LEFT(${t}, 1) = '-', '-', '')`;
  const large = `IF(LENGTH(${digits}) <= ${exponent} + 1, RPAD(${digits}, ${exponent} + 1, '0'), CONCAT(LEFT(${digits}, ${exponent} + 1), '.', SUBSTR(${digits}, ${exponent} + 2)))`; // prettier-ignore
  const small = `CONCAT('0.', REPEAT('0', -${exponent} - 1), ${digits})`;
  return `CASE WHEN ${double} = 0 THEN '0' WHEN ${t} NOT LIKE '%e%' THEN ${t} ELSE CONCAT(${sign}, IF(${exponent} < 0, ${small}, ${large})) END`;
}

/** The same of a single-precision number: of as few digits as read back as the same one. */
function single(column: ColumnFacts): string {
  const x = quoteIdent(column.shape.name);
  const double = exact(column);
  const rounded = (digits: number): string => `ROUND(${double}, ${String(digits - 1)} - FLOOR(LOG10(ABS(${double}))))`;
  const tries = [6, 7, 8].map(
    (n) =>
      `WHEN CAST(LEAST(GREATEST(${rounded(n)}, -3.4028234e38), 3.4028234e38) AS FLOAT) = ${x} THEN ${plain(rounded(n))}`,
  );
  return `CASE WHEN ${double} = 0 THEN '0' ${tries.join(' ')} ELSE ${plain(rounded(9))} END`;
}

/** As MySQL prints a JSON value. MariaDB, where it is text, is made to space it alike; keys stay in their order. */
function json(column: ColumnFacts, own: string): string | null {
  if (column.dataType === 'json') return own;
  if (column.charset === null) return null;
  const made = column.shape.family === 'json' ? `CONCAT(JSON_LOOSE(${own}), '')` : own;
  return made === own ? own : `IF(JSON_VALID(${own}), ${made}, ${own})`;
}
