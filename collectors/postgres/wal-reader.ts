import type { Pgoutput } from 'pg-logical-replication';
import type { Collector, CollectorContext, Emit, LinkPlan } from '../collector.js';
import type { HeartbeatLedger } from '../heartbeat/ledger.js';
import type { SeenRow } from '../heartbeat/watcher.js';
import { US_PER_S, type Us } from '../../daemon/core/clock.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { SourceError, messageOf } from '../../daemon/core/errors.js';
import type { Observation } from '../../daemon/core/observation.js';
import type { LinkId } from '../../daemon/core/signal.js';
import { connect } from './connection.js';
import { classify, reasonOf } from './pg-errors.js';
import { checkWalReading, checkWalUse } from './wal-checks.js';
import { streamWal, type ClockSample } from './wal-stream.js';

/** Who is told of what the reader of a target sees. */
export interface WalListener {
  /** A heartbeat of this process is in the target's WAL. */
  arrivedByWal(row: SeenRow): void;
  /** The reader began or ceased to stream. */
  reconsider(): void;
}

/** What a WAL reader for one PostgreSQL database is made of. */
export interface WalReaderOptions {
  /** `read` is `auto` or `on`; with `off` there is no reader. */
  readonly db: DatabaseConfig;
  /** Every link that begins or ends at this database. */
  readonly links: readonly LinkPlan[];
  readonly context: CollectorContext;
  readonly ledger: HeartbeatLedger;
}

const publication = 'lockgate';
const maxBackoffMs = 5_000;
/** How long a reader that is not permitted, or gave way, stays off. */
const restMs = 60_000;
const checkUseEveryMs = 30_000;
/** Clock samples among which the one with the shortest round trip counts. */
const clockWindow = 8;

/** Collector `<db>/wal`: reads the WAL of one database for lockgate's own heartbeat rows, and nothing else. */
export class WalReader implements Collector {
  readonly name: string;
  readonly #from: ReadonlySet<LinkId>;
  readonly #samples: ClockSample[] = [];
  #silentBecause: string | null = 'the WAL reader has not started yet';
  #listener: WalListener | null = null;

  constructor(private readonly options: WalReaderOptions) {
    const { db, links } = options;
    this.name = `${db.name}/wal`;
    this.#from = new Set(links.filter((link) => link.from.name === db.name).map((link) => link.id));
  }

  /** Null while it streams; else why it does not. */
  get silentBecause(): string | null {
    return this.#silentBecause;
  }

  /** Names who is told of arrivals: the watcher of the same database. */
  tell(listener: WalListener): void {
    this.#listener = listener;
  }

  async run(emit: Emit, signal: AbortSignal): Promise<void> {
    const { db, context } = this.options;
    let failures = 0;
    let logged: string | null = null;
    try {
      while (!signal.aborted) {
        try {
          await this.#stream(emit, () => (failures = 0), signal);
          return;
        } catch (error) {
          if (isAborted(signal)) return;
          const reason = reasonOf(error);
          this.#silence(reason);
          for (const observation of this.down(reason)) emit(observation);
          const refused = error instanceof SourceError;
          if (refused && db.read === 'on') throw error;
          const what = refused ? 'the WAL reader stays off; heartbeats are polled' : 'the WAL reader was interrupted';
          if (reason !== logged) context.log.warn({ collector: this.name, error: messageOf(error) }, what);
          logged = reason;
          const backoffMs = Math.min(100 * 2 ** failures, maxBackoffMs) * (0.5 + Math.random() / 2);
          failures = Math.min(failures + 1, 16);
          await context.clock.sleep(refused ? restMs : backoffMs, signal);
        }
      }
    } finally {
      this.#silence('the WAL reader is not running');
    }
  }

  down(reason: string): Observation[] {
    const at = this.#now();
    // Nothing about clock_skew: it is read by queries too, and those say when it is unknown.
    return [...this.#from].map((link) => ({
      kind: 'link-reading',
      link,
      signal: 'capture_delay',
      value: null,
      reason,
      at,
    }));
  }

  #now(): Us {
    return this.options.context.clock.monotonicNow();
  }

  #silence(reason: string | null): void {
    if (this.#silentBecause === reason) return;
    this.#silentBecause = reason;
    this.#samples.length = 0;
    this.#listener?.reconsider();
  }

  /** Streams until aborted or broken, and gives way when the slot becomes a burden for the server. */
  async #stream(emit: Emit, streaming: () => void, signal: AbortSignal): Promise<void> {
    const { db, context } = this.options;
    const inner = new AbortController();
    const stop = (): void => inner.abort();
    signal.addEventListener('abort', stop, { once: true });
    const slotPrefix = `lockgate_${context.daemonId.toLowerCase().replace(/[^a-z0-9]+/g, '_')}`.slice(0, 50);
    const guards: Promise<Error | null>[] = [];
    const ended = await streamWal(
      {
        db,
        clock: context.clock,
        applicationName: this.#applicationName(),
        publication,
        slotPrefix,
        events: {
          message: (message, at) => this.#decoded(message, at, emit),
          clock: (sample) => this.#clock(sample, emit),
        },
        check: (connection) => checkWalReading(connection, db, publication),
        side: (sql, values) => this.#side(sql, values),
      },
      () => {
        streaming();
        this.#silence(null);
        context.log.info({ collector: this.name }, 'streaming');
        guards.push(this.#guard(slotPrefix, inner));
      },
      inner.signal,
    ).then(
      () => null,
      (error: unknown) => classify(error, db),
    );
    signal.removeEventListener('abort', stop);
    inner.abort();
    // A guard that ended the stream knows why better than the stream does.
    const excess = (await Promise.all(guards)).find((error) => error !== null);
    const error = excess ?? ended;
    if (error !== null) throw error;
  }

  /** Looks at the slot from time to time; ends the stream and returns the reason when it costs the server too much. */
  async #guard(slotPrefix: string, stream: AbortController): Promise<Error | null> {
    const { db, context } = this.options;
    for (;;) {
      await context.clock.sleep(checkUseEveryMs, stream.signal);
      if (stream.signal.aborted) return null;
      try {
        const excess = await checkWalUse((sql, values) => this.#side(sql, values), db, slotPrefix);
        if (excess === null) continue;
        stream.abort();
        return excess;
      } catch (error) {
        context.log.debug({ collector: this.name, error: messageOf(error) }, 'the slot could not be looked at');
      }
    }
  }

  async #side<R>(sql: string, values: readonly unknown[]): Promise<R[]> {
    const connection = await connect(this.options.db, {
      applicationName: this.#applicationName(),
      statementTimeoutMs: 2_000,
      connectTimeoutMs: 2_000,
    });
    try {
      return await connection.query<R>(sql, values);
    } finally {
      await connection.close();
    }
  }

  #applicationName(): string {
    return `lockgate/${this.options.context.daemonId}/wal`;
  }

  #decoded(message: Pgoutput.Message, at: Us, emit: Emit): void {
    if (message.tag !== 'insert' && message.tag !== 'update') return;
    const { relation } = message;
    if (relation.schema !== 'lockgate' || relation.name !== 'heartbeat') return;
    const { context, ledger } = this.options;
    const { daemon, link: id, run, seq: text } = message.new as Record<string, unknown>;
    if (daemon !== context.daemonId || typeof id !== 'string' || typeof run !== 'string') return;
    const [link, seq] = [id as LinkId, Number(text)];
    if (!ledger.owns(run) || !Number.isSafeInteger(seq)) return;
    if (!this.#from.has(link)) {
      this.#listener?.arrivedByWal({ link, run, seq });
      return;
    }
    const sentAt = ledger.sentAt(link, run, seq);
    if (sentAt === null) return;
    const value = (at - sentAt) / US_PER_S;
    emit({ kind: 'link-reading', link, signal: 'capture_delay', value, reason: null, at });
  }

  #clock(sample: ClockSample, emit: Emit): void {
    this.#samples.push(sample);
    if (this.#samples.length > clockWindow) this.#samples.shift();
    const best = this.#samples.reduce((least, s) => (s.uncertaintyUs < least.uncertaintyUs ? s : least));
    emit({
      kind: 'side-reading',
      database: this.options.db.name,
      signal: 'clock_skew',
      value: best.skewUs / US_PER_S,
      reason: `within ${(best.uncertaintyUs / 1_000).toFixed(2)} ms`,
      at: sample.at,
    });
  }
}

/** Read through a function, because the compiler takes a checked flag for settled. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}
