import type { Bucket, Digest, Key, KeyRange, Limit, ReadSpec, RowMark, TableReader } from '../verify/port.js';
import type { TableFacts } from './verify-catalog.js';
import { changed, tooLong } from './verify-errors.js';
import { ReadStatements, isUnmade } from './verify-sql.js';

/** What a reader needs of its session. */
export interface ReadingSession {
  /** What the catalog says of the table at this moment; null when there is none of this name. */
  facts(spec: ReadSpec, limit: Limit): Promise<TableFacts | null>;
  /** Runs a statement over the rows of the table; rejects as a reader does. */
  rows(spec: ReadSpec, sql: string, limit: Limit): Promise<Row[]>;
}

/** A row of an answer; numbers may come as such. */
export type Row = Readonly<Record<string, string | number | null>>;

/** Reads one table of one server. What its catalog says is looked up with the first question. */
export class MysqlReader implements TableReader {
  #statements: ReadStatements | null = null;

  constructor(
    private readonly session: ReadingSession,
    private readonly spec: ReadSpec,
  ) {}

  async digest(range: KeyRange | Bucket, limit: Limit): Promise<Digest> {
    const statements = await this.#prepared(limit);
    const [row] = await this.session.rows(this.spec, statements.digest(range), limit);
    return this.#digestOf(row, statements.oddColumns);
  }

  async buckets(n: number, limit: Limit): Promise<Digest[]> {
    const statements = await this.#prepared(limit);
    const rows = await this.session.rows(this.spec, statements.buckets(n), limit);
    // A row without a hash is in no bucket.
    if (rows.some((row) => row['bucket'] === null)) throw tooLong(this.spec);
    const byBucket = new Map(rows.map((row) => [Number(row['bucket']), row]));
    return Array.from({ length: n }, (_, i) => this.#digestOf(byBucket.get(i), statements.oddColumns));
  }

  async bound(range: KeyRange, n: number, limit: Limit): Promise<Key | null> {
    const statements = await this.#prepared(limit);
    const [row] = await this.session.rows(this.spec, statements.bound(range, n), limit);
    return row === undefined ? null : this.#keyOf(row);
  }

  async marks(range: KeyRange | Bucket, most: number, limit: Limit): Promise<RowMark[]> {
    const statements = await this.#prepared(limit);
    const rows = await this.session.rows(this.spec, statements.marks(range, most), limit);
    return rows.map((row) => this.#markOf(row, statements.softs));
  }

  async lookup(keys: readonly Key[], limit: Limit): Promise<RowMark[]> {
    if (keys.length === 0) return [];
    const statements = await this.#prepared(limit);
    const asked = new Set(keys.map((key) => JSON.stringify(key)));
    const rows = await this.session.rows(this.spec, statements.lookup(keys), limit);
    // A collation may take other texts for the same key.
    return rows.map((row) => this.#markOf(row, statements.softs)).filter(({ key }) => asked.has(JSON.stringify(key)));
  }

  async values(keys: readonly Key[], limit: Limit): Promise<{ key: Key; values: Record<string, string | null> }[]> {
    if (keys.length === 0) return [];
    const statements = await this.#prepared(limit);
    const asked = new Set(keys.map((key) => JSON.stringify(key)));
    const rows = await this.session.rows(this.spec, statements.values(keys), limit);
    return rows
      .map((row) => ({
        key: this.#keyOf(row),
        values: Object.fromEntries(this.spec.columns.map((c, i) => [c.shape.name, textOf(row[`c${String(i)}`])])),
      }))
      .filter(({ key }) => asked.has(JSON.stringify(key)));
  }

  async #prepared(limit: Limit): Promise<ReadStatements> {
    if (this.#statements !== null) return this.#statements;
    const facts = await this.session.facts(this.spec, limit);
    if (facts === null) throw changed(this.spec, 'it is not there');
    for (const { column } of this.spec.where) {
      if (!facts.columns.has(column)) throw changed(this.spec, `there is no column ${column}`);
    }
    for (const { shape } of [...this.spec.columns, ...(this.spec.key ?? [])]) {
      const now = facts.columns.get(shape.name)?.shape;
      if (now === undefined) throw changed(this.spec, `there is no column ${shape.name}`);
      if (now.type !== shape.type) {
        throw changed(this.spec, `column ${shape.name} is ${now.type} and was ${shape.type}`);
      }
      // Ranges that both sides cut alike depend on it.
      if (now.order !== shape.order) throw changed(this.spec, `column ${shape.name} is ordered otherwise`);
    }
    this.#statements = new ReadStatements(this.spec, facts);
    return this.#statements;
  }

  #keyOf(row: Row): Key {
    return Array.from({ length: this.spec.key?.length ?? 1 }, (_, i) => {
      const text = textOf(row[`k${String(i)}`]);
      // Keys are never NULL; the text of this one is too long, or the row has no hash.
      if (text === null) throw tooLong(this.spec);
      return text;
    });
  }

  #markOf(row: Row, softs: number): RowMark {
    const hash = textOf(row['h']);
    if (hash === null) throw tooLong(this.spec);
    return {
      key: this.#keyOf(row),
      hash,
      soft: Array.from({ length: softs }, (_, i) => textOf(row[`s${String(i)}`])),
      version: null,
    };
  }

  #digestOf(row: Row | undefined, oddColumns: readonly string[]): Digest {
    const n = textOf(row?.['n']) ?? '0';
    const sums = ['a', 'b'].flatMap((name) => {
      const sum = row === undefined ? (this.spec.form === 'native' && name === 'b' ? null : '0') : textOf(row[name]);
      return sum === null ? [] : [sum];
    });
    if (sums.some(isUnmade)) throw tooLong(this.spec);
    const odd: [string, number][] = oddColumns.flatMap((name, i) => {
      const count = Number(row?.[`o${String(i)}`] ?? 0);
      return count === 0 ? [] : [[name, count]];
    });
    return { rows: Number(n), sum: [n, ...sums].join(':'), odd: Object.fromEntries(odd) };
  }
}

function textOf(value: string | number | null | undefined): string | null {
  return value === null || value === undefined ? null : String(value);
}
