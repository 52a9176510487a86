import { waitFor } from '../../deploy/demo/run-folder.js';
import type { MysqlServer } from '../../deploy/demo/mysql-server.js';
import { rootConnection, type MysqlRow, type RootConnection } from './mysql-connection.js';
import { observe, type Observer, type TruthTable } from './observer.js';

/** What the observer needs of a pair. */
export interface ObservedMysqlPair {
  readonly source: MysqlServer;
  readonly target: MysqlServer;
  readonly database: string;
}

const queryTimeoutMs = 500;

/** Creates the table lg_truth on the source, from where it is replicated, and starts watching it. */
export function startMysqlObserver(pair: ObservedMysqlPair): Promise<Observer> {
  return observe(new MysqlTruth(pair));
}

/** Its rows by the replication of MySQL or MariaDB. */
class MysqlTruth implements TruthTable {
  readonly #pair: ObservedMysqlPair;
  readonly #writer: Link;
  readonly #reader: Link;

  constructor(pair: ObservedMysqlPair) {
    this.#pair = pair;
    this.#writer = new Link(pair.source, pair.database);
    this.#reader = new Link(pair.target, pair.database);
  }

  async setUp(): Promise<bigint> {
    const source = new Link(this.#pair.source, this.#pair.database, 10_000);
    const target = new Link(this.#pair.target, this.#pair.database, 10_000);
    try {
      await source.query('create table if not exists lg_truth (id bigint primary key) engine = InnoDB');
      const [newest] = await source.query<{ id: string }>('select coalesce(max(id), 0) as id from lg_truth');
      const first = BigInt(newest?.id ?? 0) + 1n;
      // Proves the way once, so that the first samples are not about its making.
      await source.query('insert into lg_truth values (?)', [String(first)]);
      await waitFor("the observer's first row on the target", 20_000, async () => {
        return (await target.query('select id from lg_truth where id = ?', [String(first)])).length > 0;
      });
      return first + 1n;
    } finally {
      source.close();
      target.close();
    }
  }

  async write(id: string): Promise<void> {
    await this.#writer.query('insert into lg_truth values (?)', [id]);
  }

  committed(ids: readonly string[]): Promise<string[]> {
    return present(this.#writer, ids);
  }

  arrived(ids: readonly string[]): Promise<string[]> {
    return present(this.#reader, ids);
  }

  close(): void {
    this.#writer.close();
    this.#reader.close();
  }
}

async function present(link: Link, ids: readonly string[]): Promise<string[]> {
  if (ids.length === 0) {
    await link.query('select 1'); // nothing to look for, yet a server that cannot be asked must show
    return [];
  }
  const rows = await link.query('select id from lg_truth where id in (?)', [ids]);
  return rows.map((row) => String(row['id']));
}

/** One connection that is made anew after each failure; every wait on it is short. */
class Link {
  readonly #server: MysqlServer;
  readonly #database: string;
  readonly #timeoutMs: number;
  #connection: RootConnection | undefined;

  constructor(server: MysqlServer, database: string, timeoutMs = queryTimeoutMs) {
    this.#server = server;
    this.#database = database;
    this.#timeoutMs = timeoutMs;
  }

  async query<R extends object = MysqlRow>(sql: string, values: unknown[] = []): Promise<R[]> {
    try {
      this.#connection ??= await rootConnection(this.#server, this.#database, this.#timeoutMs);
      return await this.#connection.query<R>(sql, values);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  close(): void {
    this.#connection?.destroy();
    this.#connection = undefined;
  }
}
