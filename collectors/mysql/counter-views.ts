import { catalogTimeoutMs } from '../session/catalog-watch.js';
import { APPLICATION, nameKey, readSight, readTables, type Sight } from './catalog.js';
import { quoteIdent, type MysqlConnection } from './connection.js';
import { autoIncrements, nextOf, type Counter, type Spacing } from './counters.js';
import { errnoOf } from './mysql-errors.js';
import { readStart } from './server-life.js';

/** Sequences are read one by one, and a user may not be let to all of them; of so many at most. */
const mostSequences = 1_000;
const notAllowed: ReadonlySet<number | null> = new Set([1142, 1143]);

/** What one look at a side found. */
export interface CountersSeen {
  readonly counters: readonly Counter[];
  /** Tables whose counters may be one too low, because they were not opened yet since the server was started. */
  readonly unopened: number;
  readonly spacing: Spacing;
  readonly sight: Sight;
  readonly busyMs: number;
}

interface Name {
  readonly schema: string;
  readonly name: string;
}

/** So many tables are opened in one look. */
const mostOpened = 500;

/**
 * Which tables of a MySQL server have been opened since it was started. Until then information_schema shows each counter
 * one too low (measured on 9.7), so that one that is behind by one would seem to be level.
 */
export class OpenedTables {
  #server = '';
  readonly #names = new Set<string>();

  /** Opens those that were not yet, at most `mostOpened` of them; answers how many are left. */
  async open(connection: MysqlConnection, tables: readonly Name[]): Promise<number> {
    if (connection.version.flavour === 'mariadb') return 0; // it opens whatever it shows
    const server = `${connection.home} ${await readStart(connection, catalogTimeoutMs)}`;
    if (server !== this.#server) this.#names.clear();
    this.#server = server;
    const left = tables.filter((t) => !this.#names.has(nameKey(t.schema, t.name)));
    for (const table of left.slice(0, mostOpened)) {
      await openTable(connection, table);
      this.#names.add(nameKey(table.schema, table.name));
    }
    return Math.max(0, left.length - mostOpened);
  }
}

/** Opens a table, for which any privilege on it is enough. */
async function openTable(connection: MysqlConnection, { schema, name }: Name): Promise<void> {
  try {
    await connection.query(`SHOW CREATE TABLE ${quoteIdent(schema)}.${quoteIdent(name)}`, undefined, {
      timeoutMs: catalogTimeoutMs,
    });
  } catch (error) {
    if (errnoOf(error) !== 1146) throw error; // dropped meanwhile
  }
}

/** All counters and sequences of the application on one side; tables that were not opened yet are opened first. */
export async function readCounters(connection: MysqlConnection, opened: OpenedTables): Promise<CountersSeen> {
  const options = { timeoutMs: catalogTimeoutMs };
  const [row] = await connection.query<{ step: string | number; start: string | number }>(
    'SELECT @@GLOBAL.auto_increment_increment AS step, @@GLOBAL.auto_increment_offset AS start',
    undefined,
    options,
  );
  const named = await connection.query<{ s: string; t: string }>(
    `SELECT TABLE_SCHEMA AS s, TABLE_NAME AS t FROM information_schema.COLUMNS WHERE EXTRA LIKE '%auto_increment%' AND ${APPLICATION}`,
    undefined,
    options,
  );
  const unopened = await opened.open(
    connection,
    named.map(({ s, t }) => ({ schema: s, name: t })),
  );
  const { tables, busyMs } = await readTables(connection, true);
  const counting = new Set(named.map(({ s, t }) => nameKey(s, t)));
  const counters = autoIncrements(tables, counting);
  for (const { schema, name } of tables.filter((t) => t.sequence).slice(0, mostSequences)) {
    const sequence = await readSequence(connection, schema, name);
    if (sequence !== 'gone') counters.push(sequence);
  }
  const spacing = { increment: BigInt(row?.step ?? 1), offset: BigInt(row?.start ?? 1) };
  return { counters, unopened, spacing, sight: await readSight(connection), busyMs };
}

async function readSequence(connection: MysqlConnection, schema: string, name: string): Promise<Counter | 'gone'> {
  try {
    const [row] = await connection.query<{ next: string | number; increment: string | number }>(
      `SELECT next_not_cached_value AS next, increment FROM ${quoteIdent(schema)}.${quoteIdent(name)}`,
      undefined,
      { timeoutMs: catalogTimeoutMs },
    );
    if (row === undefined) return { schema, name, next: null, increment: 1n };
    const increment = BigInt(row.increment);
    // With an increment of 0 it goes by the server's own, which is positive.
    return { schema, name, next: BigInt(row.next), increment: increment === 0n ? 1n : increment };
  } catch (error) {
    if (notAllowed.has(errnoOf(error))) return { schema, name, next: null, increment: 1n };
    if (errnoOf(error) === 1146) return 'gone';
    throw error;
  }
}

/** The counters as what they would hand out: the next value that fits the spacing of their server. */
export function spaced({ counters, spacing }: CountersSeen): Counter[] {
  return counters.map((c) => (c.next === null || c.increment < 0n ? c : { ...c, next: nextOf(c.next, spacing) }));
}
