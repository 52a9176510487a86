import type { Collector, CollectorContext, Emit } from '../collector.js';
import { US_PER_MS, type Us } from '../../daemon/core/clock.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { LockgateError, TransientError, messageOf } from '../../daemon/core/errors.js';
import type { Observation } from '../../daemon/core/observation.js';
import { formatLsn } from '../../daemon/core/position.js';
import type { LocalWrite } from '../../daemon/core/stray.js';
import { LazySession } from './lazy-session.js';
import { LocalDecoder, LOCAL_OPTIONS, type DecodedCommit, type TableName } from './local-decoder.js';
import { gapIsEmpty, isInitialCopy, lookLocally, readMatviews, type LocalLook } from './local-proof.js';
import { placeOf, reasonOf } from './pg-errors.js';
import { checkWalReading, localApplicationName, readerSlotPrefix, tooFew } from './wal-checks.js';
import { pauseMs, streamGuarded } from './wal-guard.js';

const lookEveryMs = 1_000;
const roleEveryMs = 250;
const queryTimeoutMs = 1_500;
const statementTimeoutMs = 1_200;
/** Materialized views are listed about so often. */
const matviewsFreshUs: Us = 30_000_000;
/** Writes that are seen within this time of each other are told together. */
const togetherMs = 50;

/** Whether local writes are to be watched now, and if not, why. */
type Wanted = { watch: true } | { watch: false; reason: string };

/**
 * Collector `<db>/local`: watches one database for committed transactions that came neither by replication nor from
 * lockgate, through a temporary slot of test_decoding. It runs while the database is the passive side of its migrations,
 * or always with `read: on`; what the active side writes would cost the server to decode, and says nothing.
 *
 * Each second the server is asked where its WAL ends; when the stream has passed that point, everything committed before
 * the question was seen, and a `local-watch` says so. A stream that falls behind therefore confirms nothing.
 *
 * A standby in recovery takes no writes, and what it holds is its primary's history: it counts as watched, without a gap.
 */
export class LocalWritesCollector implements Collector {
  readonly name: string;
  readonly #session: LazySession;
  readonly #applicationName: string;
  #wanted: Wanted = { watch: false, reason: 'the direction is not known yet, and with it which side is passive' };
  /** Marks of the last two confirmed looks: commits that were not yet flushed at the last one are open at the one before. */
  #marks: { last: string | null; before: string | null };

  constructor(
    private readonly db: DatabaseConfig,
    private readonly context: CollectorContext,
  ) {
    this.name = `${db.name}/local`;
    this.#applicationName = localApplicationName(context.daemonId);
    const session = {
      applicationName: this.#applicationName,
      statementTimeoutMs,
      connectTimeoutMs: 3_000,
      attempts: { minMs: 200, maxMs: 2_000 },
    };
    this.#session = new LazySession(db, session, context.clock);
    const kept = context.localMark?.(db.name) ?? null;
    this.#marks = { last: kept, before: kept };
  }

  async run(emit: Emit, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.context;
    let failures = 0;
    let said: string | null = null;
    const onAbort = (): void => void this.#session.close();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      while (!isAborted(signal)) {
        this.#decide();
        if (!this.#wanted.watch) {
          if (said !== this.#wanted.reason) this.#unwatched(emit, this.#wanted.reason);
          said = this.#wanted.reason;
          await this.#session.close();
          await clock.sleep(roleEveryMs, signal);
          continue;
        }
        try {
          await this.#whileWanted((inner) => this.#watch(emit, () => (failures = 0), inner), signal);
          said = null;
        } catch (error) {
          if (isAborted(signal)) return;
          if (!(error instanceof LockgateError)) throw error;
          const reason = reasonOf(error);
          this.#unwatched(emit, reason);
          const fields = { collector: this.name, error: messageOf(error) };
          if (said !== reason) log.warn(fields, 'local writes are not watched');
          said = reason;
          await this.#whileWanted((inner) => clock.sleep(pauseMs(error, failures), inner), signal);
          failures += 1;
        }
      }
    } finally {
      // Whoever takes over, after a reload say, begins a watch of its own.
      this.#unwatched(emit, 'the reader of local writes was stopped');
      signal.removeEventListener('abort', onAbort);
      await this.#session.close();
    }
  }

  down(reason: string): Observation[] {
    const at = this.context.clock.monotonicNow();
    return [
      {
        kind: 'local-watch',
        database: this.db.name,
        watching: false,
        emptyGap: false,
        upTo: null,
        mark: null,
        reason,
        at,
      },
    ];
  }

  #unwatched(emit: Emit, reason: string): void {
    for (const observation of this.down(reason)) emit(observation);
  }

  /** While the direction is unknown the watch stays as it is: ending it would leave a gap for nothing. */
  #decide(): void {
    const { read, name } = this.db;
    if (read === 'off') {
      this.#wanted = { watch: false, reason: `\`read: off\` for ${name}: its local writes are not watched` };
    } else if (read === 'on') {
      this.#wanted = { watch: true };
    } else {
      const passive = this.context.isPassive?.(name) ?? null;
      if (passive === true) this.#wanted = { watch: true };
      if (passive === false) {
        const reason = `${name} carries production writes: its local writes are watched only with \`read: on\``;
        this.#wanted = { watch: false, reason };
      }
    }
  }

  /** Does `work` until it ends, or its signal aborts because local writes are not to be watched any more. */
  async #whileWanted(work: (inner: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<void> {
    const inner = new AbortController();
    const stop = (): void => inner.abort();
    signal.addEventListener('abort', stop, { once: true });
    const watching = (async () => {
      while (!inner.signal.aborted) {
        await this.context.clock.sleep(roleEveryMs, inner.signal);
        this.#decide();
        if (!this.#wanted.watch) inner.abort();
      }
    })();
    try {
      await work(inner.signal);
    } finally {
      signal.removeEventListener('abort', stop);
      inner.abort();
      await watching;
    }
  }

  /** Watches until aborted; a standby by asking, any other server by its WAL. */
  async #watch(emit: Emit, healthy: () => void, signal: AbortSignal): Promise<void> {
    const { clock } = this.context;
    let wasStandby = false;
    while (!isAborted(signal)) {
      const at = clock.monotonicNow();
      const look = await this.#look(signal);
      if (!look.inRecovery) break;
      healthy();
      wasStandby = true;
      this.#marks = { last: null, before: null };
      this.#confirm(emit, look, at, true);
      await clock.sleep(lookEveryMs, signal);
    }
    if (wasStandby && !isAborted(signal)) this.#unwatched(emit, `${this.db.name} was a standby and has been promoted`);
    if (isAborted(signal)) return;
    const { db, context, name } = this;
    const stream = new LocalStream({
      ...{ db, context, name, emit, applicationName: this.#applicationName },
      look: (inner) => this.#look(inner),
      matviews: async (inner) => readMatviews(await this.#session.get(inner), queryTimeoutMs),
      gapIsEmpty: async (look, inner) =>
        gapIsEmpty(await this.#session.get(inner), this.#marks.before, look, queryTimeoutMs),
      isInitialCopy: async ({ insertedInto, xid }, inner) =>
        isInitialCopy(await this.#session.get(inner), insertedInto ?? [], xid, queryTimeoutMs),
      confirmed: (look, at, emptyGap) => {
        this.#marks = { last: look.mark, before: this.#marks.last };
        this.#confirm(emit, look, at, emptyGap);
      },
    });
    await stream.run(healthy, signal);
  }

  async #look(signal: AbortSignal): Promise<LocalLook> {
    return lookLocally(await this.#session.get(signal), queryTimeoutMs);
  }

  #confirm(emit: Emit, look: LocalLook, at: Us, emptyGap: boolean): void {
    emit({
      kind: 'local-watch',
      database: this.db.name,
      watching: true,
      emptyGap,
      upTo: { kind: 'lsn', lsn: look.flushed },
      mark: this.#marks.before,
      reason: null,
      at,
    });
  }
}

/** What a stream is made of. */
interface StreamParts {
  readonly db: DatabaseConfig;
  readonly context: CollectorContext;
  readonly name: string;
  readonly applicationName: string;
  readonly emit: Emit;
  look(signal: AbortSignal): Promise<LocalLook>;
  matviews(signal: AbortSignal): Promise<TableName[]>;
  gapIsEmpty(look: LocalLook, signal: AbortSignal): Promise<boolean>;
  isInitialCopy(commit: DecodedCommit, signal: AbortSignal): Promise<boolean>;
  confirmed(look: LocalLook, at: Us, emptyGap: boolean): void;
}

/** One stream of local transactions, from its slot's making to its end. */
class LocalStream {
  /** By their JSON: `["public","totals"]`. */
  #matviews: ReadonlySet<string> = new Set();
  readonly #decoder = new LocalDecoder(({ schema, name }) => this.#matviews.has(JSON.stringify([schema, name])));
  readonly #inner = new AbortController();
  #writes: LocalWrite[] = [];
  /** The stream has passed this. */
  #reached = 0n;
  /** Looks that the stream has not passed yet, oldest first. */
  #asked: { look: LocalLook; at: Us; emptyGap: boolean }[] = [];
  /** Version 13 copies tables without an origin, so that a copy must be asked for. */
  #copiesLookLocal = false;
  /** Settles when everything that was taken so far has been judged; and how much has not been. */
  #judged: Promise<void> = Promise.resolve();
  #unjudged = 0;
  readonly #failures: Error[] = [];

  constructor(private readonly parts: StreamParts) {}

  async run(healthy: () => void, signal: AbortSignal): Promise<void> {
    const { db, context, name, applicationName } = this.parts;
    const stop = (): void => this.#inner.abort();
    signal.addEventListener('abort', stop, { once: true });
    let asking: Promise<void> = Promise.resolve();
    try {
      await streamGuarded(
        {
          ...{ db, context, applicationName, collector: name },
          slotPrefix: `${readerSlotPrefix(context.daemonId).slice(0, 44)}_local`,
          output: {
            plugin: 'test_decoding',
            options: LOCAL_OPTIONS,
            take: (payload, lsn, at) => this.#take(payload, lsn, at),
          },
          events: { reached: (end) => this.#passed(end) },
          check: async (connection) => {
            this.#copiesLookLocal = connection.serverVersion < 140000;
            await checkWalReading(connection, db, null);
          },
        },
        () => {
          healthy();
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
    const ask = this.#copiesLookLocal && commit.application && commit.insertedInto !== null;
    if (!ask && this.#unjudged === 0) {
      this.#count(commit, lsn, at);
      return lsn;
    }
    // What comes after something that must be asked for waits for the answer, so that the order is kept.
    this.#unjudged += 1;
    this.#judged = this.#judged.then(async () => {
      this.#unjudged -= 1;
      if (!ask || !(await this.#isCopy(commit))) this.#count(commit, lsn, at);
    });
    return lsn;
  }

  async #isCopy(commit: DecodedCommit): Promise<boolean> {
    try {
      return await this.parts.isInitialCopy(commit, this.#inner.signal);
    } catch (error) {
      // Not counted, but no longer watched either.
      const what = `${placeOf(this.parts.db)}: a transaction could not be told from the initial copy of a table`;
      this.#failures.push(new TransientError('local_copy', what, null, { cause: error }));
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

  /** Asks each second where the WAL ends; a question without an answer confirms nothing, and the reading goes stale. */
  async #ask(): Promise<void> {
    const { clock, log } = this.parts.context;
    const { signal } = this.#inner;
    let first = true;
    let matviewsAt = -Infinity;
    while (!isAborted(signal)) {
      const at = clock.monotonicNow();
      try {
        if (at - matviewsAt > matviewsFreshUs) {
          const found = await this.parts.matviews(signal);
          this.#matviews = new Set(found.map(({ schema, name }) => JSON.stringify([schema, name])));
          matviewsAt = at;
        }
        const look = await this.parts.look(signal);
        // Two readers that began at the same moment have each counted without the other: this one gives way.
        const few = first ? tooFew(this.parts.db, look.slotsLeft, look.sendersLeft) : null;
        if (few !== null) {
          this.#failures.push(few);
          this.#inner.abort();
          return;
        }
        const emptyGap = first && (await this.parts.gapIsEmpty(look, signal));
        this.#asked.push({ look, at, emptyGap });
        first = false;
        this.#passed(this.#reached);
      } catch (error) {
        const fields = { collector: this.parts.name, error: messageOf(error) };
        if (!isAborted(signal)) log.debug(fields, 'the end of the WAL could not be asked for');
      }
      const spentMs = (clock.monotonicNow() - at) / US_PER_MS;
      await clock.sleep(Math.max(0, lookEveryMs - spentMs), signal);
    }
  }

  #passed(end: bigint): void {
    if (end > this.#reached) this.#reached = end;
    const due = this.#asked.filter(({ look }) => look.flushed <= this.#reached);
    const newest = due.at(-1);
    if (newest === undefined) return;
    this.#asked = this.#asked.filter(({ look }) => look.flushed > this.#reached);
    const emptyGap = due.some((each) => each.emptyGap);
    this.#judged = this.#judged.then(() => {
      if (isAborted(this.#inner.signal)) return;
      this.#tell();
      this.parts.confirmed(newest.look, newest.at, emptyGap);
    });
  }
}

/** Read through a function, because the compiler takes a checked flag for settled. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}
