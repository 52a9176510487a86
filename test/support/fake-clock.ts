import { setImmediate } from 'node:timers/promises';
import type { Clock, Us } from '../../daemon/core/clock.js';

interface Sleeper {
  due: Us;
  wake: () => void;
}

/** A clock that moves only when a test says so; every sleep ends exactly when it is due. */
export class FakeClock implements Clock {
  #monotonic: Us;
  #wallUs: Us;
  #uptime: Us;
  readonly #sleepers = new Set<Sleeper>();

  constructor(start: { monotonic?: Us; wall?: string; uptime?: Us } = {}) {
    this.#monotonic = start.monotonic ?? 1_000_000_000;
    this.#wallUs = Date.parse(start.wall ?? '2026-11-22T00:00:00Z') * 1000;
    this.#uptime = start.uptime ?? this.#monotonic;
  }

  wallNow(): number {
    return this.#wallUs / 1000;
  }

  monotonicNow(): Us {
    return this.#monotonic;
  }

  uptime(): Us {
    return this.#uptime;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) return Promise.resolve();
    return new Promise((resolve) => {
      const sleeper: Sleeper = {
        due: this.#monotonic + Math.round(Math.max(0, ms) * 1000),
        wake: () => {
          this.#sleepers.delete(sleeper);
          signal?.removeEventListener('abort', sleeper.wake);
          resolve();
        },
      };
      this.#sleepers.add(sleeper);
      signal?.addEventListener('abort', sleeper.wake, { once: true });
    });
  }

  /** How many sleeps are under way; a test that ends with some has a leak. */
  get sleepers(): number {
    return this.#sleepers.size;
  }

  /** Milliseconds until the next sleeper is due, or null when nobody sleeps. */
  get nextSleepMs(): number | null {
    const next = this.#next(Infinity);
    return next === undefined ? null : (next.due - this.#monotonic) / 1000;
  }

  /** Moves all clocks forward, stopping at each sleeper that comes due and letting it run before going on. */
  async advance(us: Us): Promise<void> {
    const end = this.#monotonic + us;
    await setImmediate();
    for (let next = this.#next(end); next !== undefined; next = this.#next(end)) {
      this.#move(Math.max(0, next.due - this.#monotonic));
      next.wake();
      await setImmediate();
    }
    this.#move(end - this.#monotonic);
    await setImmediate();
  }

  /** Moves all clocks forward at once; sleepers that are due wake, but only run when the test next awaits. */
  tick(us: Us): void {
    this.#move(us);
    for (let next = this.#next(this.#monotonic); next !== undefined; next = this.#next(this.#monotonic)) next.wake();
  }

  /** Suspends the machine: wall clock and uptime go on, the monotonic clock and all timers stand still. */
  suspend(us: Us): void {
    this.#wallUs += us;
    this.#uptime += us;
  }

  /** Steps only the wall clock, as an operator or NTP would. */
  stepWall(us: Us): void {
    this.#wallUs += us;
  }

  #move(us: Us): void {
    this.#monotonic += us;
    this.#wallUs += us;
    this.#uptime += us;
  }

  #next(until: Us): Sleeper | undefined {
    let first: Sleeper | undefined;
    for (const s of this.#sleepers) if (s.due <= until && (first === undefined || s.due < first.due)) first = s;
    return first;
  }
}
