/** Bounds of a backoff, in milliseconds. */
export interface BackoffBounds {
  minMs: number;
  maxMs: number;
}

/** What restarts of collectors use: half a second at first, half a minute at most. */
export const RESTART_BACKOFF: BackoffBounds = { minMs: 500, maxMs: 30_000 };

/**
 * The pause before try number `attempt` + 1 (the first failure is attempt 0): a random instant in the upper half of a
 * window that doubles up to `maxMs`, never below `minMs`. The random half keeps collectors that failed together from
 * coming back together; `random` yields numbers in [0, 1).
 */
export function backoffMs(attempt: number, random: () => number, bounds: BackoffBounds = RESTART_BACKOFF): number {
  // The exponent is capped so that a collector that has failed for weeks does not overflow to Infinity * 0.
  const window = Math.min(bounds.maxMs, bounds.minMs * 2 ** Math.min(attempt + 1, 40));
  return Math.max(bounds.minMs, window * (0.5 + 0.5 * random()));
}
