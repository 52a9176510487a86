import { InvariantError } from '../../daemon/core/errors.js';
import type { Bucket, Key, KeyRange, ReadColumn, ReadSpec } from '../verify/port.js';
import { quoteIdent } from './connection.js';
import type { ColumnFacts, TableFacts } from './verify-catalog.js';
import { canonical, nativeRow, ownText } from './verify-forms.js';
import { filterSql, inRange, isOneOf, orderOf, type KeyPart } from './verify-keys.js';

/** More than all hashes of a table can amount to: what a row counts whose text the server could not make. */
const UNMADE = '1'.padEnd(41, '0');
/** Keeps the servers from putting a subquery into the outer one, which would make each row's text once for each use. */
const APART = 'LIMIT 18446744073709551615';

/** Says of a sum whether the server could not make the text of some row. */
export function isUnmade(sum: string): boolean {
  return sum.length >= UNMADE.length;
}

/** The statements that read one table. */
export class ReadStatements {
  readonly #table: string;
  readonly #native: boolean;
  readonly #filters: readonly string[];
  readonly #columns: readonly { read: ReadColumn; facts: ColumnFacts }[];
  readonly #texts: readonly { text: string; isNull: string; odd: string | null }[];
  readonly #keys: readonly KeyPart[] | null;
  /** Names of the columns whose odd values are counted, in the order of the counts `o0`, `o1`. */
  readonly oddColumns: readonly string[];
  readonly softs: number;

  constructor(
    private readonly spec: ReadSpec,
    facts: TableFacts,
  ) {
    const of = (name: string): ColumnFacts => {
      const found = facts.columns.get(name);
      if (found === undefined) throw new InvariantError(`column ${name} was not looked up`);
      return found;
    };
    this.#table = `${quoteIdent(spec.schema)}.${quoteIdent(spec.name)}`;
    this.#native = spec.form === 'native';
    this.#filters = spec.where.map((filter) => filterSql(of(filter.column), filter));
    this.#columns = spec.columns.map((read) => ({ read, facts: of(read.shape.name) }));
    this.#texts = this.#columns.map(({ read, facts: f }) => this.#textOf(f, read));
    this.oddColumns = spec.columns.flatMap((c, i) => ((this.#texts[i]?.odd ?? null) === null ? [] : [c.shape.name]));
    this.softs = spec.columns.filter((c) => c.soft !== null).length;
    this.#keys =
      spec.key?.map(({ shape, as, by }) => {
        const column = of(shape.name);
        if (this.#native) return { column, text: ownText(column), by };
        const { text } = this.#textOf(column, { as });
        return { column, text: as === 'bytes' ? String.raw`CONCAT('\\x', ${text})` : text, by };
      }) ?? null;
  }

  /** `n`, `a` and in canonical form `b`: rows and sums; `o0` and so on: odd rows by column. */
  digest(range: KeyRange | Bucket): string {
    if ('of' in range) {
      const where = range.of === 1 ? '' : `WHERE ${bucketOf(range.of)} = ${whole(range.bucket)}`;
      return `SELECT ${this.#sums('r.h')} FROM (${this.#hashed([])}) r ${where}`;
    }
    const where = inRange(this.#needKeys(), range);
    // Each row's hash is used once, so that it may be made where it is used.
    if (this.#native) return `SELECT ${this.#sums(this.#hash())} FROM ${this.#from(where)}`;
    return `SELECT ${this.#sums('r.h')} FROM (${this.#hashed(where)}) r`;
  }

  /** As `digest`, with `bucket`, for each of `n` buckets that has rows. */
  buckets(n: number): string {
    return `SELECT ${bucketOf(n)} AS bucket, ${this.#sums('r.h')} FROM (${this.#hashed([])}) r GROUP BY bucket`;
  }

  /** `k0` and so on: the key of the `n`-th row. */
  bound(range: KeyRange, n: number): string {
    const keys = this.#needKeys();
    return `SELECT ${texts(keys)} FROM ${this.#from(inRange(keys, range))}
      ORDER BY ${this.#order()} LIMIT 1 OFFSET ${whole(n - 1)}`;
  }

  /** `k0` and so on, `h`, `s0` and so on. */
  marks(range: KeyRange | Bucket, most: number): string {
    if ('of' in range) {
      const where = range.of === 1 ? '' : `WHERE ${bucketOf(range.of)} = ${whole(range.bucket)}`;
      return `${this.#grouped(where)} ORDER BY k0 LIMIT ${whole(most)}`;
    }
    return `${this.#marked(inRange(this.#needKeys(), range))} ORDER BY ${this.#order()} LIMIT ${whole(most)}`;
  }

  /** As `marks`, of the rows with these keys; where text is compared by a collation, of some others too. */
  lookup(keys: readonly Key[]): string {
    if (this.#keys === null) return this.#grouped(`WHERE ${hashIn(keys)}`);
    return this.#marked([isOneOf(this.#keys, keys)]);
  }

  /** `k0` and so on, `c0` and so on: the texts of all columns. */
  values(keys: readonly Key[]): string {
    const columns = this.#columns.map((c, i) => `${this.#shown(i, c.facts, c.read)} AS c${String(i)}`);
    if (this.#keys !== null) {
      const where = this.#from([isOneOf(this.#keys, keys)]);
      return `SELECT ${[texts(this.#keys), ...columns].join(', ')} FROM ${where}`;
    }
    const inner = `SELECT ${[`${this.#hash()} AS h`, ...columns].join(', ')} FROM ${this.#from([])} ${APART}`;
    return `SELECT LEFT(r.h, 32) AS k0, r.* FROM (${inner}) r WHERE ${hashIn(keys)}`;
  }

  #textOf(column: ColumnFacts, { as }: Pick<ReadColumn, 'as'>): { text: string; isNull: string; odd: string | null } {
    const x = quoteIdent(column.shape.name);
    const nulls = column.shape.nullable ? [`${x} IS NULL`] : [];
    if (this.#native) return { text: ownText(column), isNull: nulls.join(''), odd: null };
    const form = canonical(column, as);
    let { text } = form;
    const odd: string[] = [];
    for (const { name, when } of form.odd) {
      const standIn = this.spec.standIns.get(name);
      if (standIn === undefined) odd.push(when);
      // Where nothing stands for it, it is written as any other value is.
      if (standIn === undefined) continue;
      if (standIn === null) nulls.push(when);
      text = `CASE WHEN ${when} THEN ${standIn === null ? 'NULL' : `_utf8mb4 ${hex(standIn)}`} ELSE ${text} END`;
    }
    return { text, isNull: nulls.join(' OR '), odd: odd.length === 0 ? null : odd.join(' OR ') };
  }

  #needKeys(): readonly KeyPart[] {
    if (this.#keys === null) throw new InvariantError(`table ${this.spec.name} has no key`);
    return this.#keys;
  }

  #order(): string {
    return this.#needKeys().map(orderOf).join(', ');
  }

  #from(where: readonly string[]): string {
    const all = [...this.#filters, ...where];
    return `${this.#table}${all.length === 0 ? '' : ` WHERE ${all.join(' AND ')}`}`;
  }

  /** The hash of a row, in 64 hexadecimal digits; NULL where the server could not make its text. */
  #hash(softToo = true): string {
    if (this.#native) return `SHA2(${nativeRow(this.#columns.map(({ facts }) => facts))}, 256)`;
    const parts = this.#texts
      .filter((_, i) => softToo || this.spec.columns[i]?.soft === null)
      .map(({ text, isNull }) => {
        const value = `'V', LENGTH(${text}), ':', ${text}`;
        return isNull === '' ? value : `IF(${isNull}, 'N', CONCAT(${value}))`;
      });
    return `SHA2(${parts.length === 0 ? `''` : `CONCAT(${parts.join(', ')}, '')`}, 256)`;
  }

  #oddMarks(): string[] {
    return this.#texts.flatMap(({ odd }) => (odd === null ? [] : [odd])).map((when, i) => `(${when}) AS o${String(i)}`);
  }

  #softTexts(): string[] {
    const soft = this.#texts.filter((_, i) => this.spec.columns[i]?.soft !== null);
    return soft.map(({ text }, i) => `${text} AS s${String(i)}`);
  }

  /** Rows as `h` and what is odd. */
  #hashed(where: readonly string[]): string {
    return `SELECT ${[`${this.#hash()} AS h`, ...this.#oddMarks()].join(', ')} FROM ${this.#from(where)} ${APART}`;
  }

  /**
   * Rows and the exact sums of 64 bits of their hashes. Two rows more or less, or other ones, add up to the same by an
   * accident of 2^-64, whatever they have in common: unlike a sum of CRCs, in which equal changes of two rows, and values
   * that two rows have swapped, cancel one time in ten thousand. One sum is enough, and a second one would cost as much
   * again, because the servers compute an expression as often as it is written. For a million rows of TPC-H's lineitem,
   * against SUM(CRC32(CONCAT_WS(…))) at 1.23 s on MySQL 9.7 and 0.50 s on MariaDB 10.11: this 1.31 s and 0.95 s, two sums
   * 2.4 s and 2.3 s, two CRCs with the sum of their products 5.8 s and 2.3 s. In canonical form there are two, because
   * PostgreSQL makes two.
   */
  #sums(hash: string): string {
    const sum = (from: number): string => `COALESCE(SUM(IFNULL(${bits(hash, from)}, ${UNMADE})), 0)`;
    const odd = this.oddColumns.map((_, i) => `COALESCE(SUM(r.o${String(i)}), 0) AS o${String(i)}`);
    return ['COUNT(*) AS n', `${sum(1)} AS a`, ...(this.#native ? [] : [`${sum(17)} AS b`, ...odd])].join(', ');
  }

  #marked(where: readonly string[]): string {
    const parts = [texts(this.#needKeys()), `LEFT(${this.#hash(false)}, 32) AS h`, ...this.#softTexts()];
    return `SELECT ${parts.join(', ')} FROM ${this.#from(where)}`;
  }

  /** Equal rows together: their hash as `k0`, their number as `h`. */
  #grouped(where: string): string {
    const inner = `SELECT ${[`${this.#hash()} AS h`, ...this.#softTexts()].join(', ')} FROM ${this.#from([])} ${APART}`;
    const softs = Array.from({ length: this.softs }, (_, i) => `MIN(r.s${String(i)}) AS s${String(i)}`);
    return `SELECT ${['LEFT(r.h, 32) AS k0', 'COUNT(*) AS h', ...softs].join(', ')} FROM (${inner}) r ${where} GROUP BY k0`;
  }

  /** A value as a person is shown it. */
  #shown(at: number, facts: ColumnFacts, { as }: ReadColumn): string {
    const text = this.#texts[at]?.text ?? 'NULL';
    return !this.#native && as === 'bytes' ? String.raw`CONCAT('\\x', ${text})` : this.#native ? ownText(facts) : text;
  }
}

function texts(keys: readonly KeyPart[]): string {
  return keys.map(({ text }, i) => `${text} AS k${String(i)}`).join(', ');
}

/** 64 bits of a hash as a number, from the `from`-th hexadecimal digit on. */
function bits(hash: string, from: number): string {
  return `CAST(CONV(SUBSTR(${hash}, ${String(from)}, 16), 16, 10) AS UNSIGNED)`;
}

/** Lower 63 bits of the first 64 of a row's hash, modulo the number of buckets: as PostgreSQL counts them. */
function bucketOf(n: number): string {
  return `((${bits('r.h', 1)} & 9223372036854775807) % ${whole(n)})`;
}

function hashIn(keys: readonly Key[]): string {
  const hashes = keys.map((k) => `'${/^[0-9a-f]{32}$/.test(k[0] ?? '') ? (k[0] ?? '') : ''}'`);
  return `LEFT(r.h, 32) IN (${hashes.join(', ')})`;
}

function hex(text: string): string {
  return `X'${Buffer.from(text, 'utf8').toString('hex')}'`;
}

function whole(n: number): string {
  if (!Number.isSafeInteger(n) || n < 0) throw new InvariantError(`not a number of rows: ${String(n)}`);
  return String(n);
}
