import { formatDurationUs } from '../core/units.js';
import { US_PER_MS, US_PER_S, type Clock, type Us } from '../core/clock.js';

/** The three clocks, read at the same moment. */
export interface ClockLook {
  monotonic: Us;
  /** Milliseconds since 1970. */
  wall: number;
  uptime: Us;
}

/** How far the clocks may part between two looks before nothing observed until then can be dated any more. */
export const LARGEST_DIVERGENCE_US = US_PER_S;

/** What passed between two looks by each clock, and whether one of them jumped. */
export interface ClockComparison {
  monotonicUs: Us;
  wallUs: Us;
  uptimeUs: Us;
  /** Null when the clocks agree; else what happened, for people. */
  jump: string | null;
}

/** Reads all three clocks at once. */
export function lookAt(clock: Clock): ClockLook {
  return { monotonic: clock.monotonicNow(), wall: clock.wallNow(), uptime: clock.uptime() };
}

/**
 * Holds the monotonic clock against wall clock and uptime. A suspend stops only the monotonic clock; a step of the wall
 * clock moves only that one; a paused virtual machine may do either. Divergence of exactly one second is still none.
 */
export function compareLooks(before: ClockLook, after: ClockLook): ClockComparison {
  const monotonicUs = after.monotonic - before.monotonic;
  const wallUs = Math.round((after.wall - before.wall) * US_PER_MS);
  const uptimeUs = after.uptime - before.uptime;
  return { monotonicUs, wallUs, uptimeUs, jump: describe(monotonicUs, wallUs, uptimeUs) };
}

function describe(monotonicUs: Us, wallUs: Us, uptimeUs: Us): string | null {
  const suspended = uptimeUs - monotonicUs;
  const stepped = wallUs - uptimeUs;
  const apart = wallUs - monotonicUs;
  const largest = Math.max(Math.abs(suspended), Math.abs(stepped), Math.abs(apart));
  if (largest <= LARGEST_DIVERGENCE_US) return null;
  if (suspended > LARGEST_DIVERGENCE_US) return `the machine was suspended for ${formatDurationUs(suspended)}`;
  if (Math.abs(stepped) > LARGEST_DIVERGENCE_US) {
    return `the wall clock was set ${stepped > 0 ? 'forward' : 'back'} by ${formatDurationUs(Math.abs(stepped))}`;
  }
  return `wall clock, monotonic clock and uptime parted by ${formatDurationUs(largest)}`;
}
