/** The stream of one database's local writes, and up to when it is known to have shown all of them. */
import type { CollectorContext, Emit } from '../collector.js';
import { US_PER_MS, type Us } from '../../daemon/core/clock.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { TransientError, messageOf } from '../../daemon/core/errors.js';
import { formatLsn } from '../../daemon/core/position.js';
import type { LocalWrite } from '../../daemon/core/stray.js';
import { LocalDecoder, LOCAL_OPTIONS, type DecodedCommit, type TableName } from './local-decoder.js';
import { Looks, type Confirmation } from './local-looks.js';
import type { LocalLook } from './local-proof.js';
import { placeOf } from './pg-errors.js';
import { checkWalReading, readerSlotPrefix, tooFew } from './wal-checks.js';
import { streamGuarded } from './wal-guard.js';

/** Pauses between looks, in milliseconds: usually, while somebody watches closely, and until the first can be confirmed. */
const lookEveryMs = { usually: 1_000, closely: 100, unsettled: 200 } as const;
/** So soon it is noticed that somebody watches closely, in milliseconds. */
const noticeMs = 50;
/** Materialized views are listed about so often. */
const matviewsFreshUs: Us = 30_000_000;
/** Names that are remembered at most. */
const mostTables = 10_000;
/** Writes that are seen within this time of each other are told together. */
const togetherMs = 50;

/** What a stream is made of. */
export interface LocalStreamParts {
  readonly db: DatabaseConfig;
  readonly context: CollectorContext;
  readonly name: string;
  readonly applicationName: string;
  readonly emit: Emit;
  look(signal: AbortSignal): Promise<LocalLook>;
  matviews(signal: AbortSignal): Promise<TableName[]>;
  areMatviews(tables: readonly TableName[], signal: AbortSignal): Promise<boolean>;
  gapIsEmpty(look: LocalLook, signal: AbortSignal): Promise<boolean>;
  isInitialCopy(commit: DecodedCommit, signal: AbortSignal): Promise<boolean>;
  /** Nothing is confirmed yet, for this reason. */
  waiting(reason: string): void;
  /** Everything that was committed before was seen and told; `emptyGap` as in a `local-watch`. */
  confirmed(confirmation: Confirmation, emptyGap: boolean): void;
}

/** One stream of local transactions, from its slot's making to its end. */
export class LocalStream {
  #matviews: ReadonlySet<string> = new Set();
  readonly #decoder = new LocalDecoder((table) => this.#matviews.has(keyOf(table)));
  readonly #inner = new AbortController();
  #writes: LocalWrite[] = [];
  /** The stream has passed this. */
  #reached = 0n;
  readonly #looks = new Looks();
  /** The server's own evidence shows that nothing was written before the stream began. */
  #emptyGap = false;
  /** Which start of which server sends. */
  #home = '';
  /** Version 13 copies tables without an origin, so that a copy must be asked for. */
  #copiesLookLocal = false;
  /** What is known to be no materialized view, so that it need not be asked for at each insert; anew with their list. */
  #tables = new Set<string>();
  /** Tables whose copy was seen. */
  readonly #copied = new Set<string>();
  /** Settles when everything that was taken so far has been judged; and how much has not been. */
  #judged: Promise<void> = Promise.resolve();
  #unjudged = 0;
  readonly #failures: Error[] = [];
  /** Has the server say how far it has sent; nothing before it streams. */
  #ping: () => void = () => undefined;

  constructor(private readonly parts: LocalStreamParts) {}

  /** Streams until `signal` aborts (then it resolves) or the stream breaks (then it rejects with a classified error). */
  async run(healthy: () => void, signal: AbortSignal): Promise<void> {
    const { db, context, name, applicationName } = this.parts;
    const stop = (): void => this.#inner.abort();
    signal.addEventListener('abort', stop, { once: true });
    let asking: Promise<void> = Promise.resolve();
    try {
      await streamGuarded(
        {
          ...{ db, context, applicationName, collector: name, stream: 'local' as const },
          slotPrefix: `${readerSlotPrefix(context.daemonId).slice(0, 44)}_local`,
          output: {
            plugin: 'test_decoding',
            options: LOCAL_OPTIONS,
            take: (payload, lsn, at) => this.#take(payload, lsn, at),
          },
          events: { reached: (end) => this.#passed(end), waiting: (why) => this.parts.waiting(why) },
          check: async (connection) => {
            this.#home = connection.home;
            this.#copiesLookLocal = connection.serverVersion < 140000;
            await checkWalReading(connection, db, null);
          },
        },
        ({ ping }) => {
          healthy();
          this.#ping = ping;
          asking = this.#ask();
        },
        this.#inner.signal,
      );
      await this.#judged;
      const [failure] = this.#failures;
      if (failure !== undefined && !isAborted(signal)) throw failure;
    } finally {
      signal.removeEventListener('abort', stop);
      this.#inner.abort();
      await asking;
      await this.#judged;
      // What was seen before the end is told before anyone says that nothing is seen any more.
      this.#tell();
    }
  }

  #take(payload: Buffer, lsn: bigint, at: Us): bigint | null {
    const commit = this.#decoder.take(payload);
    if (commit === null) return null;
    const question = this.#questionAbout(commit);
    if (question === null && this.#unjudged === 0) {
      this.#count(commit, lsn, at);
      return lsn;
    }
    // What comes after something that must be asked for waits for the answer, so that the order is kept.
    this.#unjudged += 1;
    this.#judged = this.#judged.then(async () => {
      const application = question === null ? commit.application : !(await this.#answerTo(question));
      this.#count({ ...commit, application }, lsn, at);
      // Only now: what comes while the answer is awaited must not overtake it.
      this.#unjudged -= 1;
    });
    return lsn;
  }

  /** What must be asked of the server about a transaction: true means that it changed nothing of the application's. */
  #questionAbout(commit: DecodedCommit): ((signal: AbortSignal) => Promise<boolean>) | null {
    const { parts } = this;
    const { application, insertedInto, changed } = commit;
    if (application) {
      if (!this.#copiesLookLocal || insertedInto === null) {
        // A materialized view that was made since they were listed is filled, and refreshed, by what looks like changes of
        // an application.
        if (changed === null || changed.some((table) => this.#tables.has(keyOf(table)))) return null;
        return (signal) => this.#areNewMatviews(changed, signal);
      }
      return async (signal) => {
        if (await parts.areMatviews(insertedInto, signal)) return true;
        // A table is copied once; of two transactions that filled it one was something else, whichever came first.
        const keys = insertedInto.map(keyOf);
        if (keys.some((key) => this.#copied.has(key)) || !(await parts.isInitialCopy(commit, signal))) return false;
        for (const key of keys) this.#copied.add(key);
        return true;
      };
    }
    // A table may have got the name of a view that was dropped since the views were listed.
    return commit.ignored.length > 0 ? (signal) => parts.areMatviews(commit.ignored, signal) : null;
  }

  async #areNewMatviews(tables: readonly TableName[], signal: AbortSignal): Promise<boolean> {
    // Many may have waited for one answer.
    if (tables.some((table) => this.#tables.has(keyOf(table)))) return false;
    if (await this.parts.areMatviews(tables, signal)) return true;
    // Of several, one may be a view all the same.
    const [only] = tables;
    if (only !== undefined && tables.length === 1 && this.#tables.size < mostTables) this.#tables.add(keyOf(only));
    return false;
  }

  async #answerTo(question: (signal: AbortSignal) => Promise<boolean>): Promise<boolean> {
    try {
      return await question(this.#inner.signal);
    } catch (error) {
      // Not counted, but no longer watched either.
      const what = `${placeOf(this.parts.db)}: the server could not be asked what a transaction had changed`;
      this.#failures.push(new TransientError('local_judged', what, null, { cause: error }));
      this.#inner.abort();
      return true;
    }
  }

  #count(commit: DecodedCommit, lsn: bigint, at: Us): void {
    if (commit.application) this.#seen(commit, lsn);
    if (!commit.direction) return;
    // What was written before the change is told before it, and the rest after it.
    this.#tell();
    this.parts.emit({ kind: 'direction-touched', database: this.parts.db.name, at });
  }

  #seen(commit: DecodedCommit, lsn: bigint): void {
    this.#writes.push({ position: formatLsn(lsn), committedAt: commit.committedAt });
    if (this.#writes.length > 1) return;
    void this.parts.context.clock.sleep(togetherMs).then(() => this.#tell());
  }

  #tell(): void {
    const writes = this.#writes;
    if (writes.length === 0) return;
    this.#writes = [];
    const at = this.parts.context.clock.monotonicNow();
    this.parts.emit({ kind: 'local-writes', database: this.parts.db.name, writes, at });
  }

  /**
   * Asks each second where the WAL ends, more often while somebody watches closely; a question without an answer confirms
   * nothing, and the reading goes stale.
   */
  async #ask(): Promise<void> {
    const { clock, log } = this.parts.context;
    const { signal } = this.#inner;
    let matviewsAt = -Infinity;
    let counted = false;
    while (!isAborted(signal)) {
      const at = clock.monotonicNow();
      try {
        if (at - matviewsAt > matviewsFreshUs) {
          const found = await this.parts.matviews(signal);
          this.#matviews = new Set(found.map(keyOf));
          this.#tables = new Set();
          matviewsAt = at;
        }
        const look = await this.parts.look(signal);
        const unfit = this.#unfit(look, counted);
        counted = true;
        if (unfit !== null) {
          this.#failures.push(unfit);
          this.#inner.abort();
          return;
        }
        if (!this.#looks.settled) {
          if (await this.#settle(look, signal)) continue;
        } else {
          this.#looks.asked(look, at);
          this.#passed(this.#reached);
          if (this.#isClose()) this.#ping();
        }
      } catch (error) {
        const fields = { collector: this.parts.name, error: messageOf(error) };
        if (!isAborted(signal)) log.debug(fields, 'the end of the WAL could not be asked for');
      }
      await this.#pauseSince(at);
    }
  }

  #isClose(): boolean {
    const { context, db } = this.parts;
    return context.watchClosely?.(db.name) === true;
  }

  /** Sleeps until the look after the one that began at `at` is due, which somebody who begins to watch closely brings forward. */
  async #pauseSince(at: Us): Promise<void> {
    const { clock } = this.parts.context;
    const { signal } = this.#inner;
    while (!isAborted(signal)) {
      const usualMs = this.#looks.settled ? lookEveryMs.usually : lookEveryMs.unsettled;
      const pauseMs = this.#isClose() ? lookEveryMs.closely : usualMs;
      const restMs = pauseMs - (clock.monotonicNow() - at) / US_PER_MS;
      if (restMs <= 0) return;
      await clock.sleep(Math.min(restMs, noticeMs), signal);
    }
  }

  /** Why the stream cannot go on after this look; null when it can. */
  #unfit(look: LocalLook, counted: boolean): Error | null {
    const { db } = this.parts;
    if (look.home !== this.#home) {
      const what = `${placeOf(db)}: the server that sends its WAL is not the one that answers`;
      return new TransientError('local_home', what, 'the reader of local writes connects again by itself');
    }
    // Two readers that began at the same moment have each counted without the other: this one gives way.
    return counted ? null : tooFew(db, look.slotsLeft, look.sendersLeft);
  }

  /** Whether the next look can be confirmed: no transaction is left that was open when the slot was made. */
  async #settle(look: LocalLook, signal: AbortSignal): Promise<boolean> {
    if (!this.#looks.settle(look, this.parts.context.clock.monotonicNow())) {
      this.parts.waiting('the reader of local writes waits for write transactions that were open when it began');
      return false;
    }
    this.#emptyGap = await this.parts.gapIsEmpty(look, signal);
    return true;
  }

  #passed(end: bigint): void {
    if (end > this.#reached) this.#reached = end;
    const confirmation = this.#looks.passed(this.#reached);
    if (confirmation === null) return;
    this.#judged = this.#judged.then(() => {
      if (isAborted(this.#inner.signal)) return;
      this.#tell();
      this.parts.confirmed(confirmation, this.#emptyGap);
      this.#emptyGap = false;
    });
  }
}

function keyOf({ schema, name }: TableName): string {
  return JSON.stringify([schema, name]);
}

/** Read through a function, because the compiler takes a checked flag for settled. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}
