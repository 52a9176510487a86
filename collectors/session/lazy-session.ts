import type { Clock, Us } from '../../daemon/core/clock.js';
import { US_PER_MS } from '../../daemon/core/clock.js';
import type { Open, Session } from './session.js';

/** Bounds of the time from the start of one attempt to connect to the start of the next, in milliseconds. */
export interface AttemptBounds {
  readonly minMs: number;
  readonly maxMs: number;
}

const defaultBounds: AttemptBounds = { minMs: 500, maxMs: 5_000 };

/**
 * A session that is opened when it is asked for and opened anew after it was lost. A lost session is replaced at once;
 * after failed attempts the time between them doubles up to the bound, with jitter, so that daemons that lost the same
 * server do not come back together.
 */
export class LazySession<S extends Session> {
  #connection: S | null = null;
  #failures = 0;
  #notBefore: Us = -Infinity;
  #lastError: Error | null = null;

  constructor(
    private readonly open: Open<S>,
    private readonly clock: Clock,
    private readonly bounds: AttemptBounds = defaultBounds,
    /** Yields numbers in [0, 1). */
    private readonly random: () => number = Math.random,
  ) {}

  /** Milliseconds until the next attempt may start; 0 when connected or when it may start at once. */
  pauseMs(): number {
    if (this.#usable() !== null) return 0;
    return Math.max(0, (this.#notBefore - this.clock.monotonicNow()) / US_PER_MS);
  }

  /**
   * The open session, or a new one; a new one is another object. Rejects with a classified error, and while the pause
   * after a failed attempt lasts with the error of that attempt, without another one.
   */
  async get(signal: AbortSignal): Promise<S> {
    const usable = this.#usable();
    if (usable !== null) return usable;
    await this.close();
    if (this.#lastError !== null && this.pauseMs() > 0) throw this.#lastError;
    const startedAt = this.clock.monotonicNow();
    try {
      const connection = await this.open(signal);
      this.#connection = connection;
      this.#failures = 0;
      this.#lastError = null;
      return connection;
    } catch (error) {
      const { minMs, maxMs } = this.bounds;
      const window = Math.min(maxMs, minMs * 2 ** Math.min(this.#failures, 20));
      this.#notBefore = startedAt + Math.round(window * (0.5 + 0.5 * this.random()) * US_PER_MS);
      this.#failures += 1;
      this.#lastError = error as Error;
      throw error;
    }
  }

  /** Closes the session if there is one; takes at most a second and never throws. */
  async close(): Promise<void> {
    const connection = this.#connection;
    this.#connection = null;
    await connection?.close();
  }

  #usable(): S | null {
    return this.#connection !== null && this.#connection.lost === null ? this.#connection : null;
  }
}
