import { US_PER_MS, type Clock, type Us } from '../../daemon/core/clock.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { TransientError } from '../../daemon/core/errors.js';
import { placeOf } from '../session/faults.js';

/** The time that one call has for all of its questions; each question has a limit of its own besides. */
export class Budget {
  readonly #until: Us;

  /** `totalMs` count from now; `eachMs` is the most that one question may take. */
  constructor(
    private readonly db: DatabaseConfig,
    private readonly clock: Clock,
    totalMs: number,
    private readonly eachMs: number,
    readonly signal: AbortSignal,
  ) {
    this.#until = clock.monotonicNow() + totalMs * US_PER_MS;
  }

  /** How long the next question may take, in ms; throws a TransientError when the time is up or the caller has given up. */
  nextMs(mostMs = this.eachMs): number {
    if (this.signal.aborted) throw new TransientError('aborted', `${placeOf(this.db)}: the question was given up`);
    const leftMs = this.#leftMs();
    if (leftMs > 0) return Math.min(mostMs, Math.ceil(leftMs));
    throw new TransientError(
      'query_timeout',
      `${placeOf(this.db)}: no answer in time`,
      'the server or the network is slow',
    );
  }

  /** Whether so many milliseconds may be waited without missing the end. */
  allows(ms: number): boolean {
    return ms < this.#leftMs();
  }

  #leftMs(): number {
    return (this.#until - this.clock.monotonicNow()) / US_PER_MS;
  }
}
