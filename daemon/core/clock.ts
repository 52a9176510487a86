/**
 * The one source of time for the daemon. Every instant and duration inside lockgate is a whole number of microseconds
 * (names end in `Us`), so that stretches of time are half-open intervals over integers and their ends are exact.
 */
export interface Clock {
  /** Wall clock in milliseconds since 1970 (may carry a fraction); for display and for what databases hand us, never for lag or holds. */
  wallNow(): number;
  /** Monotonic instant in whole microseconds; it does not advance while the machine is suspended. */
  monotonicNow(): number;
  /** Time since boot in whole microseconds, suspend included; compared with `monotonicNow` to notice a suspend. */
  uptime(): number;
  /** Resolves after `ms` milliseconds, or at once when `signal` aborts; it never rejects. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** An instant on the daemon's monotonic clock, or a duration, in whole microseconds. */
export type Us = number;

/** Microseconds in a millisecond. */
export const US_PER_MS = 1_000;
/** Microseconds in a second. */
export const US_PER_S = 1_000_000;

/** Converts an instant on the monotonic clock to RFC 3339, given one simultaneous look at both clocks. */
export function wallIso(at: Us, now: { monotonic: Us; wall: number }): string {
  return new Date(now.wall - (now.monotonic - at) / US_PER_MS).toISOString();
}
