import type { Us } from '../../daemon/core/clock.js';

/** How fast one may ask. */
export interface Pacing {
  /** So many requests a second in the long run. */
  readonly perS: number;
  /** So many at once after a pause. */
  readonly burst: number;
  /** The first pause after a service said that it is asked too often; it doubles with each in a row. */
  readonly firstPauseUs: Us;
}

/** With the burst and what follows it, fewer than 40 requests in any ten seconds. */
const USUAL: Pacing = { perS: 3, burst: 8, firstPauseUs: 1_000_000 };
const LONGEST_PAUSE_US: Us = 30_000_000;

/**
 * Decides when the next request to an account may be sent, so that all that ask together stay under 4 requests a second,
 * averaged over any ten seconds, and back off together when they are throttled. Pure: it is told the time.
 */
export class RequestRate {
  private tokens: number;
  /** Up to when tokens have been filled up; in the future while nobody may send. */
  private filledAt: Us = -Infinity;
  private throttles = 0;

  /** Yields numbers in [0, 1). */
  constructor(
    private readonly random: () => number = Math.random,
    private readonly pacing = USUAL,
  ) {
    this.tokens = pacing.burst;
  }

  /** Takes a place at `now`, and returns how long its owner has to wait before he sends, in microseconds. */
  take(now: Us): Us {
    const { perS, burst } = this.pacing;
    const from = Math.max(this.filledAt, now);
    const since = this.filledAt === -Infinity ? 0 : from - this.filledAt;
    this.filledAt = from;
    this.tokens = Math.min(burst, this.tokens + (since * perS) / 1e6) - 1;
    // Below zero it is a queue: each place is behind the one before.
    const queued = this.tokens >= 0 ? 0 : (-this.tokens / perS) * 1e6;
    return Math.ceil(from - now + queued);
  }

  /** A request was throttled: nobody sends for a while, with jitter, and then one after the other. */
  throttled(now: Us): void {
    const pause = Math.min(LONGEST_PAUSE_US, this.pacing.firstPauseUs * 2 ** Math.min(this.throttles, 10));
    this.throttles += 1;
    this.filledAt = Math.max(this.filledAt, Math.ceil(now + pause * (0.5 + this.random() / 2)));
    this.tokens = Math.min(this.tokens, 0);
  }

  /** A request was answered. */
  answered(): void {
    this.throttles = 0;
  }
}
