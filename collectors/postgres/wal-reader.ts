import { PgoutputPlugin, type Pgoutput } from 'pg-logical-replication';
import type { Collector, CollectorContext, Emit, LinkPlan } from '../collector.js';
import type { HeartbeatLedger } from '../heartbeat/ledger.js';
import type { SeenRow } from '../heartbeat/watcher.js';
import { US_PER_S, type Us } from '../../daemon/core/clock.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { SourceError, messageOf, reasonOf } from '../../daemon/core/errors.js';
import type { Observation } from '../../daemon/core/observation.js';
import { parseLsn } from '../../daemon/core/position.js';
import type { LinkId } from '../../daemon/core/signal.js';
import { quoteIdent, quoteLiteral } from './connection.js';
import { checkWalReading, readerApplicationName, readerSlotPrefix } from './wal-checks.js';
import { pauseMs, streamGuarded } from './wal-guard.js';
import type { ClockSample } from './wal-stream.js';

/** Who is told of what the reader of a target sees. */
export interface WalListener {
  /** A heartbeat of this process is in the target's WAL. */
  arrivedByLog(row: SeenRow): void;
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
/** Clock samples among which the one with the shortest round trip counts. */
const clockWindow = 8;

/** Collector `<db>/wal`: reads the WAL of one database for lockgate's own heartbeat rows, and nothing else. */
export class WalReader implements Collector {
  readonly name: string;
  readonly #from: ReadonlySet<LinkId>;
  /** Links whose heartbeats are applied in the order of their commits; others may be by several sessions at once. */
  readonly #ordered: ReadonlySet<LinkId>;
  readonly #samples: ClockSample[] = [];
  /** The newest heartbeat of each link that this stream has brought. */
  readonly #arrived = new Map<LinkId, { seq: number; at: Us }>();
  #silentBecause: string | null = 'the WAL reader has not started yet';
  #listener: WalListener | null = null;
  /** The database whose WAL is being read. */
  #home = '';

  constructor(private readonly options: WalReaderOptions) {
    const { db, links } = options;
    this.name = `${db.name}/wal`;
    this.#from = new Set(links.filter((link) => link.from.name === db.name).map((link) => link.id));
    this.#ordered = new Set(links.filter((link) => link.config.via !== 'dms').map((link) => link.id));
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
          await context.clock.sleep(pauseMs(error, failures), signal);
          failures += 1;
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
    this.#arrived.clear();
    this.#listener?.reconsider();
  }

  async #stream(emit: Emit, streaming: () => void, signal: AbortSignal): Promise<void> {
    const { db, context } = this.options;
    const parser = new PgoutputPlugin({ protoVersion: 1, publicationNames: [] });
    await streamGuarded(
      {
        db,
        context,
        collector: this.name,
        stream: 'wal',
        applicationName: readerApplicationName(context.daemonId),
        slotPrefix: readerSlotPrefix(context.daemonId),
        output: {
          plugin: 'pgoutput',
          options: `proto_version '1', publication_names ${quoteLiteral(quoteIdent(publication))}`,
          take: (payload, _, at) => {
            const message = parser.parse(payload);
            this.#decoded(message, at, emit);
            return message.tag === 'commit' && message.commitEndLsn !== null ? parseLsn(message.commitEndLsn) : null;
          },
        },
        events: { clock: (sample) => this.#clock(sample, emit) },
        check: (connection) => {
          this.#home = connection.home;
          return checkWalReading(connection, db, publication);
        },
      },
      () => {
        streaming();
        this.#silence(null);
      },
      signal,
    );
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
      this.#listener?.arrivedByLog({ link, run, seq, home: this.#home });
      if (this.#ordered.has(link)) this.#follow(link, seq, at, emit);
      return;
    }
    const sentAt = ledger.sentAt(link, run, seq);
    if (sentAt === null) return;
    const value = (at - sentAt) / US_PER_S;
    emit({ kind: 'link-reading', link, signal: 'capture_delay', value, reason: null, at });
  }

  /**
   * Heartbeats are applied in the order of their commits, and this stream shows every one: when one is left out that did
   * commit, so was everything else that committed beside it (a slot made anew or advanced, an origin moved by hand).
   */
  #follow(link: LinkId, seq: number, at: Us, emit: Emit): void {
    const before = this.#arrived.get(link);
    if (before !== undefined && seq <= before.seq) return;
    this.#arrived.set(link, { seq, at });
    if (before === undefined) return;
    const lost = this.options.ledger.committedBetween(link, before.seq, seq);
    if (lost === 0) return;
    const what = `${lost} heartbeats that had committed on the source were never applied on ${this.options.db.name}, but a later one was: changes are missing`;
    emit({ kind: 'chain-broken', link, what, heartbeatsSince: before.at, at });
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
