/** The few expressions in which the engines differ, for tables whose rows are computed inside the database. */
import { quoted } from './kinds.js';

/** Writes expressions of one engine. */
export interface Dialect {
  readonly engine: 'postgres' | 'mysql';
  /** Numbers from `from` to `to`, both included and at most a million, as a derived table with the column n. */
  series(from: number, to: number): string;
  concat(...parts: readonly string[]): string;
  /** One of the words, by a whole number. */
  pick(x: string, words: readonly string[]): string;
  /** A date so many days after 1992-01-01. */
  day(x: string): string;
  /** An instant so many seconds after 2005-05-24. */
  instant(x: string): string;
  /** A whole number of hundredths as an amount. */
  cents(x: string): string;
  /** Whole division. */
  div(x: string, by: number): string;
  text(x: string): string;
  padded(x: string, digits: number): string;
}

/** A whole number from 0 to below 2^32 that looks like chance and is the same on every server. */
export function mix(x: string, salt: number): string {
  return `(((${x}) * 2654435761 + ${salt * 40_503_217}) % 4294967291)`;
}

/** A whole number from `from` to `to`, both included. */
export function among(x: string, salt: number, from: number, to: number): string {
  return `(${from} + (${mix(x, salt)} % 65521) % ${to - from + 1})`;
}

/** The same for more than some ten thousand. */
export function amongMany(x: string, salt: number, from: number, to: number): string {
  return `(${from} + ${mix(x, salt)} % ${to - from + 1})`;
}

const digits =
  '(select 0 as d union all select 1 union all select 2 union all select 3 union all select 4 union all select 5 union all select 6 union all select 7 union all select 8 union all select 9)';

/** PostgreSQL's. */
export const postgresDialect: Dialect = {
  engine: 'postgres',
  series: (from, to) => `(select g::bigint as n from generate_series(${from}, ${to}) g) series`,
  concat: (...parts) => `(${parts.join(' || ')})`,
  pick: (x, words) => `(array[${words.map(quoted).join(', ')}])[1 + (${x}) % ${words.length}]`,
  day: (x) => `(date '1992-01-01' + (${x})::integer)`,
  instant: (x) => `(timestamptz '2005-05-24 00:00:00+00' + (${x}) * interval '1 second')`,
  cents: (x) => `((${x})::numeric / 100)::numeric(15,2)`,
  div: (x, by) => `((${x}) / ${by})`,
  text: (x) => `(${x})::text`,
  padded: (x, n) => `lpad((${x})::text, ${n}, '0')`,
};

/** MySQL's and MariaDB's. */
export const mysqlDialect: Dialect = {
  engine: 'mysql',
  series: (from, to) => {
    const count = to - from + 1;
    const places = Math.max(1, String(Math.max(0, count - 1)).length);
    const names = Array.from({ length: places }, (_, i) => `p${i}`);
    const sum = names.map((name, i) => `${name}.d * ${10 ** i}`).join(' + ');
    const tables = names.map((name) => `${digits} ${name}`).join(' cross join ');
    return `(select ${from} + n as n from (select ${sum} as n from ${tables}) every where n < ${count}) series`;
  },
  concat: (...parts) => `concat(${parts.join(', ')})`,
  pick: (x, words) => `elt(1 + (${x}) % ${words.length}, ${words.map(quoted).join(', ')})`,
  day: (x) => `(date '1992-01-01' + interval (${x}) day)`,
  instant: (x) => `(timestamp '2005-05-24 00:00:00' + interval (${x}) second)`,
  cents: (x) => `cast((${x}) / 100 as decimal(15,2))`,
  div: (x, by) => `((${x}) div ${by})`,
  text: (x) => `cast(${x} as char)`,
  padded: (x, n) => `lpad(${x}, ${n}, '0')`,
};
