import type { Collector, CollectorContext, Emit } from '../collector.js';
import type { Us } from '../../daemon/core/clock.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { LockgateError, TransientError, messageOf, reasonOf } from '../../daemon/core/errors.js';
import type { Observation } from '../../daemon/core/observation.js';
import { LazySession } from './lazy-session.js';
import { areMatviews, gapIsEmpty, isInitialCopy, lookLocally, readMatviews, type LocalLook } from './local-proof.js';
import { LocalStream } from './local-stream.js';
import { placeOf } from './pg-errors.js';
import { localApplicationName } from './wal-checks.js';
import { pauseMs } from './wal-guard.js';

const lookEveryMs = 1_000;
const roleEveryMs = 100;
const queryTimeoutMs = 1_500;
const statementTimeoutMs = 1_200;

/** Whether local writes are to be watched now, and if not, why. */
type Wanted = { watch: true } | { watch: false; reason: string };

/**
 * Collector `<db>/local`: watches one database for committed transactions that came neither by replication nor from
 * lockgate, through a temporary slot of test_decoding. It runs while the database is the passive side of its migrations,
 * or always with `read: on`; what the active side writes would cost the server to decode, and says nothing. While a fence
 * is open it is the active side that must not write: then it is watched whatever its role (`watchClosely`).
 *
 * Each second, ten times as often while watched closely, the server is asked where its WAL ends; when the stream has passed that point, everything committed before
 * the question was seen, and a `local-watch` says so. A stream that falls behind therefore confirms nothing. When no more
 * than the flushed WAL was passed, what was committed without waiting for a flush may be missing, so it says so of an
 * instant that lies as far back as a flush may take.
 *
 * A standby in recovery takes no writes, and what it holds is its primary's history: it counts as watched, without a gap,
 * where physical replication is what is being watched (`mayStandBy`). Elsewhere it stands for a primary that nobody watches.
 */
export class LocalWritesCollector implements Collector {
  readonly name: string;
  readonly #session: LazySession;
  readonly #applicationName: string;
  #wanted: Wanted = { watch: false, reason: 'the direction is not known yet, and with it which side is passive' };
  /** The mark of the newest look before which everything was seen. */
  #mark: string | null;

  constructor(
    private readonly db: DatabaseConfig,
    private readonly context: CollectorContext,
    private readonly mayStandBy = true,
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
    this.#mark = context.localMark?.(db.name) ?? null;
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
    } else if (read === 'on' || this.context.watchClosely?.(name) === true) {
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
      if (!this.mayStandBy) {
        const what = `${placeOf(this.db)}: this is a standby, and what is written on its primary is not watched`;
        throw new TransientError('local_standby', what, 'let the URL name the primary');
      }
      healthy();
      wasStandby = true;
      this.#mark = null;
      this.#confirm(emit, look, at, true);
      await clock.sleep(this.context.watchClosely?.(this.db.name) === true ? roleEveryMs : lookEveryMs, signal);
    }
    if (wasStandby && !isAborted(signal)) this.#unwatched(emit, `${this.db.name} was a standby and has been promoted`);
    if (isAborted(signal)) return;
    const { db, context, name } = this;
    const stream = new LocalStream({
      ...{ db, context, name, emit, applicationName: this.#applicationName },
      look: (inner) => this.#look(inner),
      matviews: async (inner) => readMatviews(await this.#session.get(inner), queryTimeoutMs),
      areMatviews: async (tables, inner) => areMatviews(await this.#session.get(inner), tables, queryTimeoutMs),
      gapIsEmpty: async (look, inner) => gapIsEmpty(await this.#session.get(inner), this.#mark, look, queryTimeoutMs),
      isInitialCopy: async ({ insertedInto, xid }, inner) =>
        isInitialCopy(await this.#session.get(inner), insertedInto ?? [], xid, queryTimeoutMs),
      waiting: (reason) => this.#unwatched(emit, reason),
      confirmed: ({ look, at, exact }, emptyGap) => {
        if (exact) this.#mark = look.mark;
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
      mark: this.#mark,
      reason: null,
      at,
    });
  }
}

/** Read through a function, because the compiler takes a checked flag for settled. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}
