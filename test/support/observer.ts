import pg from 'pg';
import { setTimeout as sleep } from 'node:timers/promises';
import { waitFor } from '../../deploy/demo/run-folder.js';
import type { PostgresServer } from '../../deploy/demo/postgres-server.js';

/** What the observer needs of a pair; both kinds of pair have it. */
export interface ObservedPair {
  readonly kind: 'logical' | 'physical';
  readonly source: PostgresServer;
  readonly target: PostgresServer;
  readonly database: string;
}

/** The truth at one instant: since when the oldest committed row has been missing on the target. */
export interface TruthSample {
  /** `performance.now()` in ms. */
  readonly at: number;
  /** For so long, at least, a committed row has been missing; 0 when none was known to be; null when nobody can tell. */
  readonly missingForMs: number | null;
  /** For so long, at most; null when nobody can tell. */
  readonly missingForAtMostMs: number | null;
}

/** Bounds of the true lag at an instant, in ms. */
export interface TrueLag {
  readonly lowMs: number;
  readonly highMs: number;
}

/** Knows the truth about replication by committing rows of its own and looking for them, past all proxies. */
export interface Observer {
  /** One sample for each look at the target, oldest first. */
  timeline(): readonly TruthSample[];
  /** Bounds of the age of the oldest committed and not yet visible row at `at`; null in unknown stretches. */
  trueLagAt(at: number): TrueLag | null;
  stop(): Promise<void>;
}

const everyMs = 20;
const queryTimeoutMs = 500;
/** Rows asked for in one look; older ones first, so the oldest missing one is always among them. */
const askAtMost = 500;

interface Row {
  readonly sentAt: number;
  /** When its commit was known; undefined while that is open. */
  ackedAt?: number;
}

/** How rows of the observer's own are written to a source and looked for on a target, whatever the engine; each rejects soon when it cannot tell. */
export interface TruthTable {
  /** Makes the table on both sides, proves the way with one row and returns the first id to be used. */
  setUp(): Promise<bigint>;
  /** Commits a row on the source. */
  write(id: string): Promise<void>;
  /** Which of these rows the source has. */
  committed(ids: readonly string[]): Promise<string[]>;
  /** Which of these rows the target shows. */
  arrived(ids: readonly string[]): Promise<string[]>;
  close(): void;
}

/** Creates public.lg_truth on both sides, adds it to shop_pub and shop_sub, and starts watching it. */
export function startObserver(pair: ObservedPair): Promise<Observer> {
  return observe(new PostgresTruth(pair));
}

/** Starts watching a table of the observer's own. */
export async function observe(table: TruthTable): Promise<Observer> {
  const observer = new TruthObserver(table);
  try {
    await observer.setUp();
  } catch (error) {
    table.close();
    throw error;
  }
  observer.begin();
  return observer;
}

class TruthObserver implements Observer {
  readonly #table: TruthTable;
  readonly #stopping = new AbortController();
  readonly #samples: TruthSample[] = [];
  /** Rows not yet seen on the target, oldest first, whether their commit is certain or not. */
  readonly #pending = new Map<string, Row>();
  #writerWorks = false;
  #nextId = 0n;
  #loops: Promise<void>[] = [];

  constructor(table: TruthTable) {
    this.#table = table;
  }

  async setUp(): Promise<void> {
    this.#nextId = await this.#table.setUp();
  }

  begin(): void {
    this.#loops = [this.#loop(() => this.#write()), this.#loop(() => this.#look())];
  }

  timeline(): readonly TruthSample[] {
    return this.#samples;
  }

  trueLagAt(at: number): TrueLag | null {
    const after = this.#indexAfter(at);
    const [left, right] = [this.#samples[after - 1], this.#samples[after]];
    if (left === undefined || right === undefined) return null;
    if (left.missingForAtMostMs === null || right.missingForMs === null || right.missingForAtMostMs === null)
      return null;
    return {
      // What was still missing afterwards was missing at `at` too, if it had been committed by then.
      lowMs: Math.max(0, right.missingForMs - (right.at - at)),
      // What was missing before, or was sent since, may have been missing all the time.
      highMs: left.missingForAtMostMs + (at - left.at),
    };
  }

  /** Index of the first sample taken after `at`. */
  #indexAfter(at: number): number {
    let [low, high] = [0, this.#samples.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      const sample = this.#samples[middle];
      if (sample !== undefined && sample.at <= at) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.all(this.#loops);
    this.#table.close();
  }

  async #loop(step: () => Promise<void>): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      const startedAt = performance.now();
      await step();
      const rest = Math.max(1, everyMs - (performance.now() - startedAt));
      await sleep(rest, undefined, { signal }).catch(() => undefined);
    }
  }

  async #write(): Promise<void> {
    try {
      await this.#settleUncertain();
      const id = String(this.#nextId++);
      const row: Row = { sentAt: performance.now() };
      this.#pending.set(id, row);
      await this.#table.write(id);
      row.ackedAt = performance.now();
      this.#writerWorks = true;
    } catch {
      this.#writerWorks = false;
    }
  }

  /** Asks the source which rows of uncertain outcome did commit; the others are forgotten. */
  async #settleUncertain(): Promise<void> {
    const uncertain = [...this.#pending].filter(([, row]) => row.ackedAt === undefined).map(([id]) => id);
    if (uncertain.length === 0) return;
    const committed = new Set(await this.#table.committed(uncertain));
    const knownAt = performance.now();
    for (const id of uncertain) {
      const row = this.#pending.get(id);
      if (row === undefined) continue;
      if (committed.has(id)) row.ackedAt = knownAt;
      else this.#pending.delete(id);
    }
  }

  async #look(): Promise<void> {
    const at = performance.now();
    // Taken before the question: a row may become visible between the question and its answer.
    const oldestSent = this.#pending.values().next().value?.sentAt;
    try {
      for (;;) {
        const asked = [...this.#pending.keys()].slice(0, askAtMost);
        const seen = await this.#table.arrived(asked);
        for (const id of seen) this.#pending.delete(id);
        if (seen.length < asked.length || asked.length < askAtMost) break;
      }
    } catch {
      this.#samples.push({ at, missingForMs: null, missingForAtMostMs: null });
      return;
    }
    let missingForMs = 0;
    for (const { ackedAt } of this.#pending.values()) {
      if (ackedAt === undefined) continue;
      missingForMs = Math.max(0, at - ackedAt);
      break;
    }
    // A writer that fails and nothing missing of its own: other rows may be missing, nobody can tell.
    const known = this.#writerWorks || missingForMs > 0;
    this.#samples.push({
      at,
      missingForMs: known ? missingForMs : null,
      missingForAtMostMs: !this.#writerWorks ? null : oldestSent === undefined ? 0 : at - oldestSent,
    });
  }
}

/** Its rows by PostgreSQL's replication, logical or physical. */
class PostgresTruth implements TruthTable {
  readonly #pair: ObservedPair;
  readonly #writer: Link;
  readonly #reader: Link;

  constructor(pair: ObservedPair) {
    this.#pair = pair;
    this.#writer = new Link(pair.source.adminUrl(pair.database));
    this.#reader = new Link(pair.target.adminUrl(pair.database));
  }

  async setUp(): Promise<bigint> {
    const table = 'create table if not exists public.lg_truth (id bigint primary key)';
    const source = new Link(this.#pair.source.adminUrl(this.#pair.database), 10_000);
    const target = new Link(this.#pair.target.adminUrl(this.#pair.database), 10_000);
    try {
      await source.query(table);
      const [newest] = await source.query<{ id: string }>('select coalesce(max(id), 0) as id from public.lg_truth');
      const first = String(BigInt(newest?.id ?? 0) + 1n);
      if (this.#pair.kind === 'logical') {
        await target.query(table);
        const published = await source.query(
          `select 1 from pg_publication_tables where pubname = 'shop_pub' and tablename = 'lg_truth'`,
        );
        if (published.length === 0) await source.query('alter publication shop_pub add table public.lg_truth');
        await target.query('alter subscription shop_sub refresh publication with (copy_data = false)');
      }
      // Proves the way once, so that the first samples are not about its making.
      await source.query('insert into public.lg_truth values ($1)', [first]);
      await waitFor("the observer's first row on the target", 20_000, async () => {
        return (await target.query('select 1 from public.lg_truth where id = $1', [first])).length > 0;
      });
      return BigInt(first) + 1n;
    } finally {
      source.close();
      target.close();
    }
  }

  async write(id: string): Promise<void> {
    await this.#writer.query('insert into public.lg_truth values ($1)', [id]);
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
  const rows = await link.query<{ id: string }>('select id from public.lg_truth where id = any($1)', [ids]);
  return rows.map((row) => row.id);
}

/** One connection that is made anew after each failure; every wait on it is short. */
class Link {
  readonly #url: string;
  readonly #timeoutMs: number;
  #client: pg.Client | undefined;

  constructor(url: string, timeoutMs = queryTimeoutMs) {
    this.#url = url;
    this.#timeoutMs = timeoutMs;
  }

  async query<R extends pg.QueryResultRow = pg.QueryResultRow>(sql: string, values: unknown[] = []): Promise<R[]> {
    try {
      this.#client ??= await this.#connect();
      return (await this.#client.query<R>(sql, values)).rows;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  async #connect(): Promise<pg.Client> {
    const client = new pg.Client({
      connectionString: this.#url,
      application_name: 'lg_observer',
      connectionTimeoutMillis: this.#timeoutMs,
      query_timeout: this.#timeoutMs,
      statement_timeout: this.#timeoutMs,
    });
    client.on('error', () => {
      if (this.#client === client) this.#client = undefined;
    });
    await client.connect();
    return client;
  }

  close(): void {
    const client = this.#client;
    this.#client = undefined;
    client?.end().catch(() => undefined);
  }
}
