/**
 * What a client knows of a daemon's clock. An answer that says "evaluated at E" was evaluated after the request was sent
 * and before the answer had arrived, so the daemon's clock is ahead of the client's monotonic one by an offset within
 * `[E − received, E − sent]`. By its upper end the age of anything the daemon dates is never taken for less than it is,
 * whatever was slow, queued or kept on the way.
 */
export interface ServerClock {
  /** The daemon's wall clock minus the client's monotonic clock, milliseconds: at least, and at most. */
  low: number;
  high: number;
  /** When this was learnt, on the client's monotonic clock. */
  learntMs: number;
}

/** Clocks drift against each other; bounds that are older than this are not made narrower but replaced. */
const KEEP_MS = 300_000;
/** An event may be dated by so much later than the clock was thought to be, for drift and cut-off milliseconds. */
const DRIFT_MS = 250;

/** Learns from an answer that was evaluated at `atMs` by the daemon's clock. Bounds that exclude the old ones replace them: the clock was set. */
export function learn(known: ServerClock | null, atMs: number, sentMs: number, receivedMs: number): ServerClock {
  const fresh: ServerClock = { low: atMs - receivedMs, high: atMs - sentMs, learntMs: receivedMs };
  if (known === null || receivedMs - known.learntMs > KEEP_MS) return fresh;
  const [low, high] = [Math.max(known.low, fresh.low), Math.min(known.high, fresh.high)];
  return low > high ? fresh : { low, high, learntMs: known.learntMs };
}

/** The greatest age that something dated `atMs` by the daemon can have. */
export function oldestAge(clock: ServerClock, atMs: number, monotonicMs: number): number {
  return monotonicMs + clock.high - atMs;
}

/** Whether something that has arrived is dated later than the daemon's clock can be: then that was set, and nothing can be dated. */
export function isSet(clock: ServerClock, atMs: number, monotonicMs: number): boolean {
  return oldestAge(clock, atMs, monotonicMs) < -DRIFT_MS;
}

/** What the daemon's clock shows now, as well as it is known, milliseconds since 1970. */
export function serverNow(clock: ServerClock, monotonicMs: number): number {
  return monotonicMs + (clock.low + clock.high) / 2;
}
