import { US_PER_MS, type Us } from '../../daemon/core/clock.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { LockgateError, reasonOf } from '../../daemon/core/errors.js';
import type { Observation } from '../../daemon/core/observation.js';
import type { Collector, CollectorContext, Emit } from '../collector.js';
import { both } from './pace.js';

/** What was seen, still to be given its instant and how long it may be used. */
export interface CatalogAnswer {
  readonly observations: (at: Us, freshUs: Us) => Observation[];
  /** How long the servers worked for it, in ms; not the time on the way. */
  readonly busyMs: number;
}

/** A question about the catalogs of two databases that is asked again and again. */
export interface CatalogQuestion<C> {
  /** Name of the collector. */
  readonly name: string;
  /** Last part of the sessions' application name. */
  readonly purpose: string;
  readonly databases: readonly [DatabaseConfig, DatabaseConfig];
  /** From the start of a look to the next while the catalogs are small. */
  readonly intervalMs: number;
  ask(first: C, second: C): Promise<CatalogAnswer>;
  /** The observations that make all that it answers unknown. */
  unknown(reason: string, at: Us): Observation[];
}

/** What sessions for catalogs are opened with; a catalog of ten thousand tables takes a small part of it even on a busy server. */
export const catalogSession = { statementTimeoutMs: 5_000, connectTimeoutMs: 3_000 } as const;
/** For the client, so that a server that is merely slow keeps its session. */
export const catalogTimeoutMs = 6_000;
/** Catalogs are read for at most this share of the time. */
const share = 0.01;
const longestMs = 300_000;
/** After a failure the next question begins after at most so many times what the last one took. */
const mostTimes = 10;

/** The pause from the start of one look to the next, by how long the servers worked for one. */
export function catalogPauseMs(intervalMs: number, busyMs: number): number {
  return Math.min(longestMs, Math.max(intervalMs, busyMs / share));
}

/**
 * From the start of a question that failed after `spentMs` to the next, in ms. One that a server answered with an error, its time limit for
 * instance, has cost that server as much, and is not asked again for ten times as long. One without any answer may have met
 * a network that hung for a moment: it is asked again soon, and more rarely the more of them (`unanswered`) came in a row.
 */
export function catalogRetryMs(intervalMs: number, spentMs: number, unanswered: number): number {
  const times = unanswered === 0 ? mostTimes : Math.min(mostTimes, 2 ** unanswered);
  return Math.max(intervalMs, times * spentMs);
}

/** A session that is opened when it is first needed and again when it was lost, as the engines' lazy sessions are. */
interface Reopened<C> {
  get(signal: AbortSignal): Promise<C>;
  /** Until the next attempt to connect makes sense. */
  pauseMs(): number;
  close(): Promise<void>;
}

/** Asks one question about two catalogs, more rarely the more work it is. */
export class CatalogWatch<C> implements Collector {
  readonly name: string;
  #failing: string | null = null;
  /** Questions in a row that got no answer. */
  #unanswered = 0;

  /** `sessions` belong to the question's databases, in their order. */
  constructor(
    private readonly question: CatalogQuestion<C>,
    private readonly sessions: readonly [Reopened<C>, Reopened<C>],
    private readonly context: CollectorContext,
  ) {
    this.name = question.name;
  }

  async run(emit: Emit, signal: AbortSignal): Promise<void> {
    const { clock } = this.context;
    const close = async (): Promise<void> => {
      await Promise.all(this.sessions.map((session) => session.close()));
    };
    const onAbort = (): void => void close();
    signal.addEventListener('abort', onAbort, { once: true });
    const stopped = (): boolean => signal.aborted;
    try {
      while (!stopped()) {
        const startedAt = clock.monotonicNow();
        const pauseMs = await this.#look(emit, signal);
        const spentMs = (clock.monotonicNow() - startedAt) / US_PER_MS;
        await clock.sleep(Math.max(pauseMs - spentMs, ...this.sessions.map((s) => s.pauseMs())), signal);
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
      await close();
    }
  }

  down(reason: string): Observation[] {
    return this.question.unknown(reason, this.context.clock.monotonicNow());
  }

  /** Looks once and returns the time from its start to the next look. */
  async #look(emit: Emit, signal: AbortSignal): Promise<number> {
    const { clock, log } = this.context;
    const { intervalMs } = this.question;
    let askedAt: Us | null = null;
    try {
      const [first, second] = await both(this.sessions[0].get(signal), this.sessions[1].get(signal));
      askedAt = clock.monotonicNow();
      const { observations, busyMs } = await this.question.ask(first, second);
      if (signal.aborted) return 0;
      if (this.#failing !== null) log.info({ collector: this.name }, 'the catalogs can be read again');
      this.#failing = null;
      this.#unanswered = 0;
      const pauseMs = catalogPauseMs(intervalMs, busyMs);
      // What was seen is as old as the question.
      for (const o of observations(askedAt, Math.round(3 * pauseMs * US_PER_MS))) emit(o);
      return pauseMs;
    } catch (error) {
      if (signal.aborted) return 0;
      // What is not from a server is a bug, and the supervisor's matter.
      if (!(error instanceof LockgateError)) throw error;
      const reason = reasonOf(error);
      if (this.#failing !== reason) log.warn({ collector: this.name }, `catalogs: ${reason}`);
      this.#failing = reason;
      for (const o of this.down(reason)) emit(o);
      // Without sessions nothing was asked, and they have pauses of their own.
      if (askedAt === null) return intervalMs;
      this.#unanswered = error.code === 'query_timeout' ? this.#unanswered + 1 : 0;
      return catalogRetryMs(intervalMs, (clock.monotonicNow() - askedAt) / US_PER_MS, this.#unanswered);
    }
  }
}
