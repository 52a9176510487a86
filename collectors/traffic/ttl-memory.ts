import { US_PER_S, type Us } from '../../daemon/core/clock.js';

/** What a resolver remembers it hands out for ever shorter, in whole seconds cut off: what it said runs out this much later. */
const CUT_OFF_S = 1;
/** Somebody else may have had a record fetched again before us, so long at most for its TTL to be nearly whole. */
const MOST_LATE_S = 4;
/** Less than a whole second is no difference. */
const SLACK_S = 1.5;
/** TTLs that were handed out afresh count for so long: behind one address may be several memories. */
const REMEMBERED_US: Us = 600 * US_PER_S;
/** Least pause between two questions. */
const LEAST_AGAIN_MS = 2_000;

interface Remembered {
  at: Us;
  left: number;
  /** When the record was fetched afresh, and the TTL then, oldest first. */
  fresh: { at: Us; ttl: number }[];
}

/** How long a client may keep what it was told. */
export interface WholeTtl {
  ttl: number;
  bound: 'exact' | 'at-least';
  /** When to ask again so as to meet the next record while it is new. */
  againMs: number;
}

/**
 * Makes the whole TTL out of what a remembering resolver hands out, which is only what is left of it: a record with an
 * hour has ten seconds left once an hour, and is no record of ten seconds. The whole is seen when the record is fetched
 * afresh; until then it is at least what was handed out. It may read low by some two seconds.
 */
export class TtlMemory {
  private sets = new Map<string, Remembered>();

  /** Takes what was handed out at `at` for each record set on the way, in seconds; never empty. */
  take(handedOut: ReadonlyMap<string, number>, at: Us): WholeTtl {
    const sets = new Map<string, Remembered>();
    for (const [key, ttl] of handedOut) sets.set(key, next(this.sets.get(key), ttl, at));
    // What is not on the way any more is forgotten; it may come back with another TTL.
    this.sets = sets;
    const all = [...sets.values()];
    const runsOut = Math.min(...all.map((s) => s.left)) + CUT_OFF_S;
    return {
      ttl: Math.max(...all.flatMap((s) => [s.left, ...s.fresh.map((f) => f.ttl)])),
      bound: all.every((s) => s.fresh.length > 0) ? 'exact' : 'at-least',
      againMs: Math.max(LEAST_AGAIN_MS, runsOut * 1_000 + 200),
    };
  }
}

function next(before: Remembered | undefined, ttl: number, at: Us): Remembered {
  if (before === undefined) return { at, left: ttl, fresh: [] };
  const left = before.left - (at - before.at) / US_PER_S;
  const ranOut = left <= -CUT_OFF_S && left >= -CUT_OFF_S - MOST_LATE_S;
  const rose = left > -CUT_OFF_S && ttl > Math.max(0, left) + SLACK_S;
  const found = ranOut || rose ? [{ at, ttl }] : [];
  const all = [...before.fresh, ...found];
  // The newest counts for as long as there is no newer one.
  return { at, left: ttl, fresh: all.filter((f) => f === all.at(-1) || at - f.at <= REMEMBERED_US) };
}
