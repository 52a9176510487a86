import type { Bucket, Digest, Key, KeyRange, Limit, ReadSpec, RowMark, TableReader } from '../verify/port.js';
import { changed } from './verify-errors.js';
import type { TableFacts } from './verify-catalog.js';
import { ReadStatements, type Statement } from './verify-sql.js';

/** What a reader needs of its session. */
export interface ReadingSession {
  /** What the catalog says of the table at this moment; null when there is none of this name. */
  facts(spec: ReadSpec, limit: Limit): Promise<{ facts: TableFacts | null; encoding: string }>;
  /** Runs a statement over the rows of the table; rejects as a reader does. */
  rows(spec: ReadSpec, statement: Statement, limit: Limit): Promise<Row[]>;
}

/** A row of an answer: everything is text. */
export type Row = Readonly<Record<string, string | null>>;

/** Reads one table of one server. What its catalog says is looked up with the first question. */
export class PostgresReader implements TableReader {
  #statements: ReadStatements | null = null;

  constructor(
    private readonly session: ReadingSession,
    private readonly spec: ReadSpec,
  ) {}

  async digest(range: KeyRange | Bucket, limit: Limit): Promise<Digest> {
    const statements = await this.#prepared(limit);
    const [row] = await this.session.rows(this.spec, statements.digest(range), limit);
    return digestOf(row, statements.oddColumns);
  }

  async buckets(n: number, limit: Limit): Promise<Digest[]> {
    const statements = await this.#prepared(limit);
    const rows = await this.session.rows(this.spec, statements.buckets(n), limit);
    const byBucket = new Map(rows.map((row) => [Number(row['bucket']), row]));
    return Array.from({ length: n }, (_, i) => digestOf(byBucket.get(i), statements.oddColumns));
  }

  async bound(range: KeyRange, n: number, limit: Limit): Promise<Key | null> {
    const statements = await this.#prepared(limit);
    const [row] = await this.session.rows(this.spec, statements.bound(range, n), limit);
    return row === undefined ? null : this.#keyOf(row);
  }

  async marks(range: KeyRange | Bucket, most: number, limit: Limit): Promise<RowMark[]> {
    const statements = await this.#prepared(limit);
    const rows = await this.session.rows(this.spec, statements.marks(range, most), limit);
    return rows.map((row) => this.#markOf(row));
  }

  async lookup(keys: readonly Key[], limit: Limit): Promise<RowMark[]> {
    if (keys.length === 0) return [];
    const statements = await this.#prepared(limit);
    const asked = new Map(keys.map((key) => [JSON.stringify(key), key]));
    const rows = await this.session.rows(this.spec, statements.lookup([...asked.values()]), limit);
    // A collation may take other texts for the same key.
    return rows.map((row) => this.#markOf(row)).filter(({ key }) => asked.has(JSON.stringify(key)));
  }

  async values(keys: readonly Key[], limit: Limit): Promise<{ key: Key; values: Record<string, string | null> }[]> {
    if (keys.length === 0) return [];
    const statements = await this.#prepared(limit);
    const asked = new Map(keys.map((key) => [JSON.stringify(key), key]));
    const rows = await this.session.rows(this.spec, statements.values([...asked.values()]), limit);
    return rows
      .map((row) => ({
        key: this.#keyOf(row),
        values: Object.fromEntries(this.spec.columns.map((c, i) => [c.shape.name, row[`c${String(i)}`] ?? null])),
      }))
      .filter(({ key }) => asked.has(JSON.stringify(key)));
  }

  async #prepared(limit: Limit): Promise<ReadStatements> {
    if (this.#statements !== null) return this.#statements;
    const { facts, encoding } = await this.session.facts(this.spec, limit);
    if (facts === null) throw changed(this.spec, 'it is not there');
    const filters = this.spec.where.map(({ column }) => column);
    for (const name of filters) if (!facts.columns.has(name)) throw changed(this.spec, `there is no column ${name}`);
    for (const { shape } of [...this.spec.columns, ...(this.spec.key ?? [])]) {
      const now = facts.columns.get(shape.name)?.shape;
      if (now === undefined) throw changed(this.spec, `there is no column ${shape.name}`);
      if (now.type !== shape.type) {
        throw changed(this.spec, `column ${shape.name} is ${now.type} and was ${shape.type}`);
      }
      // Ranges that both sides cut alike depend on it.
      if (now.order !== shape.order) throw changed(this.spec, `column ${shape.name} is ordered otherwise`);
    }
    this.#statements = new ReadStatements(this.spec, facts, encoding);
    return this.#statements;
  }

  #keyOf(row: Row): Key {
    return Array.from({ length: this.spec.key?.length ?? 1 }, (_, i) => row[`k${String(i)}`] ?? '');
  }

  #markOf(row: Row): RowMark {
    const softs = this.spec.columns.filter((c) => c.soft !== null).length;
    return {
      key: this.#keyOf(row),
      hash: row['h'] ?? '',
      soft: Array.from({ length: softs }, (_, i) => row[`s${String(i)}`] ?? null),
      version: row['v'] ?? null,
    };
  }
}

function digestOf(row: Row | undefined, oddColumns: readonly string[]): Digest {
  const n = row?.['n'] ?? '0';
  const odd: [string, number][] = oddColumns.flatMap((name, i) => {
    const count = Number(row?.[`o${String(i)}`] ?? '0');
    return count === 0 ? [] : [[name, count]];
  });
  return { rows: Number(n), sum: [n, row?.['a'] ?? '0', row?.['b'] ?? '0'].join(':'), odd: Object.fromEntries(odd) };
}
