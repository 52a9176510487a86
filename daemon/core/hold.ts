/**
 * A hold: "true at every instant of the last D". States of a condition, worst first:
 *
 *   broken   the comparison is false now
 *   unknown  the comparison cannot be decided now
 *   holding  true now, not yet for long enough
 *   held     true at every instant of [t - D, t]
 *
 * broken, unknown -> holding when it becomes true (D > 0), -> held at once (D = 0); holding -> held when D has passed;
 * anything -> broken or unknown at the first such instant. An unknown stretch no longer than the tolerance does not
 * restart the hold, and its time counts; during it the state is `unknown` all the same.
 */
import type { Us } from './clock.js';
import { pushSpan, type Span, type Truth } from './compare.js';

export type HoldState = 'held' | 'holding' | 'broken' | 'unknown';

/** The memory of a hold between two looks. */
export interface Hold {
  /** First instant of the present true stretch (tolerated gaps included); null when there is none. */
  readonly trueFrom: Us | null;
  /** First instant of the tolerated unknown stretch that is going on; null when none is. */
  readonly unknownFrom: Us | null;
  /** The newest instant at which it was false. */
  readonly lastFalse: Us | null;
}

/** A hold that has observed nothing. */
export const EMPTY_HOLD: Hold = { trueFrom: null, unknownFrom: null, lastFalse: null };

/**
 * The state over the whole of `[from, to)` where the truth is the same all through and folding it would leave the hold as
 * it is; null where it would not.
 */
export function steadyHold(hold: Hold, truth: Truth, forUs: Us, from: Us, to: Us): HoldState | null {
  const { trueFrom, unknownFrom } = hold;
  if (truth === 'unknown') return trueFrom === null ? 'unknown' : null;
  if (truth === 'false' || trueFrom === null || unknownFrom !== null) return null;
  if (trueFrom + forUs <= from) return 'held';
  return trueFrom + forUs >= to ? 'holding' : null;
}

/** Folds spans of truth into a hold; answers the new hold and the state at every instant of the spans. */
export function foldHold(
  hold: Hold,
  truth: readonly Span<Truth>[],
  forUs: Us,
  toleranceUs: Us,
): { hold: Hold; states: Span<HoldState>[] } {
  let { trueFrom, unknownFrom, lastFalse } = hold;
  const states: Span<HoldState>[] = [];
  for (const span of truth) {
    switch (span.is) {
      case 'false':
        trueFrom = null;
        unknownFrom = null;
        lastFalse = span.to - 1;
        pushSpan(states, span.from, span.to, 'broken');
        break;
      case 'unknown':
        if (trueFrom !== null) {
          unknownFrom ??= span.from;
          if (span.to - unknownFrom > toleranceUs) {
            trueFrom = null;
            unknownFrom = null;
          }
        }
        pushSpan(states, span.from, span.to, 'unknown');
        break;
      case 'true': {
        trueFrom ??= span.from;
        unknownFrom = null;
        const heldFrom = Math.min(Math.max(trueFrom + forUs, span.from), span.to);
        pushSpan(states, span.from, heldFrom, 'holding');
        pushSpan(states, heldFrom, span.to, 'held');
        break;
      }
    }
  }
  return { hold: { trueFrom, unknownFrom, lastFalse }, states };
}
