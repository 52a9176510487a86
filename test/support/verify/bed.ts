/** Pairs of servers of every kind with the tables that verification is tried on, told apart by nothing. */
import pg from 'pg';
import type { LinkGauge } from '../../../collectors/verify/verifier.js';
import type { Clock } from '../../../daemon/core/clock.js';
import type { DatabaseConfig } from '../../../daemon/core/config.js';
import { waitFor } from '../../../deploy/demo/run-folder.js';
import { startCrossPair, type CrossPair } from '../cross-scenario.js';
import { databaseAt } from '../listening.js';
import { rootConnection } from '../mysql-connection.js';
import { alone, startMysqlPair, type MysqlPair } from '../mysql-pair.js';
import { open, startPair, type Pair } from '../pair.js';
import type { MysqlServer } from '../../../deploy/demo/mysql-server.js';
import type { PostgresServer } from '../../../deploy/demo/postgres-server.js';
import { createOthers, insertOthers, keysOfTables, otherTables } from './bed-tables.js';
import { createKinds, insertKinds, kindsAcross, kindsOf, POSTGRES_TYPES, type Flavoured, type Kind } from './kinds.js';
import { startLoad, type Load, type LoadSession } from './load.js';
import { plantsOf, type Plant } from './plants.js';

/** One side, past everything. */
export interface BedSide {
  readonly flavour: Flavoured;
  readonly database: DatabaseConfig;
  ask(sql: string, values?: unknown[]): Promise<Record<string, unknown>[]>;
  /** Runs statements that replication neither carries nor undoes. */
  past(sql: string): Promise<void>;
  connect(): Promise<LoadSession>;
}

/** Two servers with replication between them and data on both. */
export interface VerifyBed {
  readonly name: string;
  readonly source: BedSide;
  readonly target: BedSide;
  readonly kinds: readonly Kind[];
  /** All tables of the bed, with the source's schema. */
  readonly tables: readonly string[];
  readonly plants: readonly Plant[];
  /** The schema of the source's tables. */
  readonly schema: string;
  readonly pair: Pair | MysqlPair | (CrossPair & { readonly endpoint: string });
  /** Waits until the target shows what the source has committed by now. */
  settled(): Promise<void>;
  load(sessions?: number, pauseMs?: number): Load;
  destroy(): Promise<void>;
}

/** Which servers. */
export type BedKind = 'postgres' | 'mysql' | 'mariadb' | 'cross' | 'cross-mariadb';

/** Rows of `kinds`. */
const ROWS = 600;
const batch = 100;

/** Starts a pair with all tables and rows on both sides. */
export async function startVerifyBed(kind: BedKind): Promise<VerifyBed> {
  if (kind === 'postgres') return postgresBed();
  if (kind === 'cross' || kind === 'cross-mariadb') return crossBed(kind === 'cross' ? 'mysql' : 'mariadb');
  return mysqlBed(kind);
}

async function fill(
  flavour: Flavoured,
  kinds: readonly Kind[],
  side: 'source' | 'target',
  run: (sql: string) => Promise<unknown>,
): Promise<void> {
  for (let from = 1; from <= ROWS; from += batch) {
    await run(insertKinds(kinds, side, from, Math.min(ROWS, from + batch - 1)));
  }
  await run(insertOthers(flavour));
}

async function postgresBed(): Promise<VerifyBed> {
  const pair = await startPair({ settings: { fsync: 'off', wal_writer_delay: '10ms' } });
  try {
    const kinds = kindsOf('postgres');
    const tables = ['kinds', ...otherTables('postgres')];
    for (const ask of [pair.onSource, pair.onTarget]) {
      await ask(POSTGRES_TYPES + createKinds(kinds, 'source') + createOthers('postgres'));
    }
    await fill('postgres', kinds, 'source', pair.onSource);
    await pair.onSource(`alter publication shop_pub add table ${tables.map((t) => `public.${t}`).join(', ')}`);
    await pair.onTarget('alter subscription shop_sub refresh publication');
    await waitFor('the copy of all tables', 30_000, async () => {
      const [row] = await pair.onTarget<{ done: boolean }>(
        `select bool_and(srsubstate = 'r') as done from pg_subscription_rel`,
      );
      return row?.done;
    });
    await pair.settled();
    return {
      ...{ name: 'PostgreSQL', kinds, schema: 'public', pair, destroy: () => pair.destroy() },
      source: postgresSide('source', pair.source, pair.onSource),
      target: postgresSide('target', pair.target, pair.onTarget),
      tables: tables.map((t) => `public.${t}`),
      plants: plantsOf({ source: 'postgres', target: 'postgres', kinds, rows: ROWS }),
      settled: () => pair.settled(),
      load: (sessions = 3, pauseMs = 5) =>
        startLoad({ flavour: 'postgres', kinds: ROWS, sessions, pauseMs, connect: () => postgresSession(pair.source) }),
    };
  } catch (error) {
    await pair.destroy();
    throw error;
  }
}

/** A replica that flushes each of its transactions alone would fall behind for ever on a busy machine. */
const quick = { sync_binlog: '0', innodb_flush_log_at_trx_commit: '2' };

async function mysqlBed(flavour: 'mysql' | 'mariadb'): Promise<VerifyBed> {
  const pair = await startMysqlPair({ flavour, settings: quick });
  try {
    const kinds = kindsOf(flavour);
    const tables = ['kinds', ...otherTables(flavour)];
    await pair.onSource(createKinds(kinds, 'source') + createOthers(flavour));
    await fill(flavour, kinds, 'source', pair.onSource);
    await pair.settled();
    return {
      ...{ name: flavour === 'mysql' ? 'MySQL' : 'MariaDB', kinds, schema: pair.database, pair },
      source: mysqlSide('source', flavour, pair.source, pair.database, pair.onSource),
      target: mysqlSide('target', flavour, pair.target, pair.database, pair.onTarget),
      tables: tables.map((t) => `${pair.database}.${t}`),
      plants: plantsOf({ source: flavour, target: flavour, kinds, rows: ROWS }),
      settled: () => pair.settled(),
      load: (sessions = 3, pauseMs = 5) =>
        startLoad({ flavour, kinds: ROWS, sessions, pauseMs, connect: () => mysqlSession(pair.source, pair.database) }),
      destroy: () => pair.destroy(),
    };
  } catch (error) {
    await pair.destroy();
    throw error;
  }
}

/** What the configuration says of a bed across engines: the tables that the relay carries besides its own. */
export const crossTables: Readonly<Record<string, readonly string[]>> = { ...keysOfTables, logs: [] };

async function crossBed(flavour: 'mysql' | 'mariadb'): Promise<VerifyBed> {
  const tables = ['kinds', ...otherTables(flavour)];
  const pair = await startCrossPair({ from: flavour, to: 'postgres', tables: crossTables, quick: true });
  try {
    const { mysql } = pair.servers.source;
    const { postgres } = pair.servers.target;
    if (mysql === null || postgres === null) throw new RangeError('the source must be MySQL, the target PostgreSQL');
    const kinds = kindsAcross(flavour);
    const source = mysqlSide('source', flavour, mysql, 'app', pair.source.ask);
    const target = postgresSide('target', postgres, pair.target.ask);
    await source.past(createKinds(kinds, 'source') + createOthers(flavour));
    await target.ask(POSTGRES_TYPES + createKinds(kinds, 'target') + createOthers('postgres') + 'drop table parted;');
    // Both by themselves: the initial copy is no matter of the relay's.
    await fill(flavour, kinds, 'source', (sql) => source.past(sql));
    await fill(flavour, kinds, 'target', (sql) => target.ask(sql));
    pair.relay.start();
    let id = 0;
    const settled = async (): Promise<void> => {
      id -= 1;
      const mark = id;
      await source.ask('insert into lg_truth values (?)', [mark]);
      await waitFor('a row on the target', 30_000, async () => {
        return (await target.ask('select 1 from lg_truth where id = $1', [mark])).length > 0;
      });
    };
    return {
      ...{ name: `${flavour === 'mysql' ? 'MySQL' : 'MariaDB'} to PostgreSQL`, source, target, kinds, pair, settled },
      schema: 'app',
      tables: tables.map((t) => `app.${t}`),
      plants: plantsOf({ source: flavour, target: 'postgres', kinds, rows: ROWS }),
      // The relay applies one statement after the other.
      load: (sessions = 2, pauseMs = 25) =>
        startLoad({ flavour, kinds: ROWS, sessions, pauseMs, connect: () => mysqlSession(mysql, 'app') }),
      destroy: () => pair.destroy(),
    };
  } catch (error) {
    await pair.destroy();
    throw error;
  }
}

/** A side that is a PostgreSQL server's database `app`. */
export function postgresSide(name: string, server: PostgresServer, ask: BedSide['ask']): BedSide {
  return {
    ...{ flavour: 'postgres', ask },
    database: databaseAt(name, server.adminUrl('app')),
    past: async (sql) => {
      const client = await open(server);
      try {
        await client.query(`set session_replication_role = replica; ${sql}`);
      } finally {
        await client.end();
      }
    },
    connect: () => postgresSession(server),
  };
}

/** A side that is a database of a MySQL or MariaDB server. */
export function mysqlSide(
  name: string,
  flavour: 'mysql' | 'mariadb',
  server: MysqlServer,
  database: string,
  ask: BedSide['ask'],
): BedSide {
  return {
    ...{ flavour, ask },
    database: { ...databaseAt(name, server.adminUrl(database)), engine: 'mysql' },
    past: async (sql) => {
      await alone(server, `set session sql_log_bin = 0; use ${database}; ${sql}`);
    },
    connect: () => mysqlSession(server, database),
  };
}

async function postgresSession(server: PostgresServer): Promise<LoadSession> {
  const client = new pg.Client({ connectionString: server.adminUrl('app'), query_timeout: 30_000 });
  client.on('error', () => undefined); // servers are killed here on purpose; the next query says so
  await client.connect();
  return client;
}

async function mysqlSession(server: MysqlServer, database: string): Promise<LoadSession> {
  const connection = await rootConnection(server, database, 30_000);
  return {
    query: (sql) => connection.query(sql),
    end: () => {
      connection.destroy();
      return Promise.resolve();
    },
  };
}

/** A gauge of a bed's own: it waits again and again until the target shows what was committed before. */
export class BedGauge implements LinkGauge {
  readonly #stopping = new AbortController();
  readonly #loop: Promise<void>;
  #passedAt = -Infinity;
  #trouble: string | null = 'not measured yet';

  constructor(
    private readonly bed: Pick<VerifyBed, 'settled'>,
    private readonly clock: Clock,
    private readonly everyMs = 20,
  ) {
    this.#loop = this.#measure();
  }

  lag(): { seconds: number | null; reason: string | null } {
    if (this.#trouble !== null) return { seconds: null, reason: this.#trouble };
    return { seconds: (this.clock.monotonicNow() - this.#passedAt) / 1e6, reason: null };
  }

  passedAt(): number {
    return this.#passedAt;
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#loop;
  }

  async #measure(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      const at = this.clock.monotonicNow();
      try {
        await this.bed.settled();
        this.#passedAt = at;
        this.#trouble = null;
      } catch (error) {
        this.#trouble = String(error);
      }
      await this.clock.sleep(this.everyMs, signal);
    }
  }
}
