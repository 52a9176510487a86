import type { Clock } from '../../daemon/core/clock.js';

/** A sleep that others can end early; a wake-up that comes while nobody sleeps ends the next sleep at once. */
export class Waker {
  #woken = false;
  #sleeper: AbortController | null = null;

  constructor(private readonly clock: Pick<Clock, 'sleep'>) {}

  /** Ends the present sleep, or the next one. */
  readonly wake = (): void => {
    this.#woken = true;
    this.#sleeper?.abort();
  };

  /** Sleeps for `ms` (for ever when infinite) or until woken. */
  async wait(ms: number): Promise<void> {
    if (!this.#woken && ms > 0) {
      const sleeper = new AbortController();
      this.#sleeper = sleeper;
      // A timer cannot wait longer than 2^31 ms; nobody minds a needless wake-up each hour.
      await this.clock.sleep(Math.min(ms, 3_600_000), sleeper.signal);
      this.#sleeper = null;
    }
    this.#woken = false;
  }
}
