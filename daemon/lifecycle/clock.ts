import { uptime as osUptime } from 'node:os';
import type { Clock, Us } from '../core/clock.js';

/** setTimeout takes 32 bits; a longer sleep would fire at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/**
 * The machine's clocks. `monotonicNow` is CLOCK_MONOTONIC in whole microseconds. `uptime` counts suspend; its resolution
 * is what the system offers: 10 ms on Linux (/proc/uptime), a second on macOS. Where the system offers none, it equals
 * the monotonic clock, and a suspend shows only as a jump of the wall clock.
 */
export class SystemClock implements Clock {
  /** Decided once: going from one source to the other would itself look like a jump. */
  readonly #hasUptime = uptimeWorks();

  wallNow(): number {
    return Date.now();
  }

  monotonicNow(): Us {
    return Number(process.hrtime.bigint() / 1000n);
  }

  uptime(): Us {
    return this.#hasUptime ? Math.round(osUptime() * 1e6) : this.monotonicNow();
  }

  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    let left = Math.max(0, ms);
    do {
      const part = Math.min(left, LONGEST_TIMER_MS);
      await timer(part, signal);
      left -= part;
    } while (left > 0 && signal?.aborted !== true);
  }
}

function timer(ms: number, signal: AbortSignal | undefined): Promise<void> {
  if (signal?.aborted === true) return Promise.resolve();
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(handle);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const handle = setTimeout(done, ms);
    signal?.addEventListener('abort', done, { once: true });
  });
}

/** Some sandboxes forbid it, and the call then throws. */
function uptimeWorks(): boolean {
  try {
    return osUptime() > 0;
  } catch {
    return false;
  }
}
