/** The heartbeat table of one server while it is written to: its size, its updates, and what holds back its cleaning. */
import type pg from 'pg';
import type { RunKey } from '../../collectors/heartbeat/ledger.js';
import type { PostgresServer } from '../../deploy/demo/postgres-server.js';
import { open } from './pair.js';

/** The heartbeat table and its index on one side at one moment. */
interface TableSight {
  /** Heartbeats written by then. */
  readonly beats: number;
  readonly tableBytes: number;
  readonly indexBytes: number;
  readonly phase: Phase;
}

/** Before, while and after the transactions were open; `recovering`: the first stretch after their end, as long as they were. */
export type Phase = 'before' | 'held' | 'recovering' | 'after';

/** What became of the table of one side. */
export interface SideWeek {
  readonly sights: readonly TableSight[];
  /** Rows at the end, and the most there were. */
  readonly rows: number;
  readonly mostRows: number;
  readonly updates: number;
  readonly hotShare: number;
  /** The same over the updates made while no transaction was held open. */
  readonly hotShareFree: number;
  readonly autovacuums: number;
}

/** What the server has counted. */
interface Counts {
  updates: number;
  hot: number;
  autovacuums: number;
}

const TABLE = `'lockgate.heartbeat'::regclass`;

/** One server and what is read of its table, beside whoever writes it. */
export class HeartbeatTable {
  readonly #sights: TableSight[] = [];
  #holding = false;
  #mostRows = 0;
  #counts: Counts;
  readonly #free = { updates: 0, hot: 0 };

  private constructor(
    private readonly client: pg.Client,
    private readonly holder: pg.Client,
    private readonly base: Counts,
  ) {
    this.#counts = base;
  }

  static async of(server: PostgresServer): Promise<HeartbeatTable> {
    const [client, holder] = [await open(server), await open(server)];
    return new HeartbeatTable(client, holder, await countsOf(client));
  }

  /** Updates that the server has counted by now; sessions tell it about once a second. */
  get updates(): number {
    return this.#counts.updates - this.base.updates;
  }

  /** Has a transaction with a snapshot open, or none. */
  async hold(on: boolean): Promise<void> {
    if (on === this.#holding) return;
    this.#holding = on;
    await this.holder.query(on ? 'begin isolation level repeatable read; select txid_current()' : 'commit');
  }

  /** Takes size and counts. */
  async look(beats: number, phase: Phase): Promise<void> {
    const { rows } = await this.client.query<{ table: number; index: number; rows: number }>(
      `select pg_relation_size(${TABLE})::float8 as table, pg_indexes_size(${TABLE})::float8 as index,
              (select count(*) from lockgate.heartbeat)::float8 as rows`,
    );
    const [row] = rows;
    if (row === undefined) throw new RangeError('a statement that always returns a row returned none');
    const counts = await countsOf(this.client);
    const before = this.#sights.at(-1)?.phase ?? 'before';
    // A stretch that only touches the time of the transaction may hold updates made during it.
    if (before !== 'held' && phase !== 'held') {
      this.#free.updates += counts.updates - this.#counts.updates;
      this.#free.hot += counts.hot - this.#counts.hot;
    }
    this.#counts = counts;
    this.#mostRows = Math.max(this.#mostRows, row.rows);
    this.#sights.push({ beats, tableBytes: row.table, indexBytes: row.index, phase });
  }

  /** The newest heartbeat that it shows. */
  async newest(): Promise<string | null> {
    const { rows } = await this.client.query<{ seq: string | null }>('select max(seq) as seq from lockgate.heartbeat');
    return rows[0]?.seq ?? null;
  }

  /** Makes rows that no heartbeat has touched lately as old as they would be by the clock of the simulation. */
  async age(): Promise<void> {
    await this.client.query(
      `update lockgate.heartbeat h set sent_at = sent_at - interval '1 hour'
        where seq < (select max(seq) - 2 from lockgate.heartbeat) and sent_at > clock_timestamp() - interval '30 minutes'`,
    );
  }

  /** Which of these rows it shows. */
  async exists(keys: readonly RunKey[]): Promise<RunKey[]> {
    const { rows } = await this.client.query<RunKey>(
      `select h.link, h.run from lockgate.heartbeat h
         join rows from (unnest($1::text[]), unnest($2::text[])) as v(link, run) using (link, run)`,
      [keys.map((key) => key.link), keys.map((key) => key.run)],
    );
    return rows;
  }

  /** Sums up what was seen. */
  async result(): Promise<SideWeek> {
    const { rows } = await this.client.query<{ n: number }>('select count(*)::float8 as n from lockgate.heartbeat');
    const { hot, autovacuums } = this.#counts;
    return {
      sights: this.#sights,
      rows: rows[0]?.n ?? 0,
      mostRows: this.#mostRows,
      updates: this.updates,
      hotShare: (hot - this.base.hot) / this.updates,
      hotShareFree: this.#free.hot / this.#free.updates,
      autovacuums: autovacuums - this.base.autovacuums,
    };
  }

  async end(): Promise<void> {
    await Promise.allSettled([this.client.end(), this.holder.end()]);
  }
}

async function countsOf(client: pg.Client): Promise<Counts> {
  const { rows } = await client.query<Counts>(
    `select n_tup_upd::float8 as updates, n_tup_hot_upd::float8 as hot, autovacuum_count::float8 as autovacuums
       from pg_stat_user_tables where relid = ${TABLE}`,
  );
  return rows[0] ?? { updates: 0, hot: 0, autovacuums: 0 };
}
