/**
 * An alert, which is a rule over time:
 *
 *   inactive  the rule is false, or nothing is known that it could be true of
 *   pending   it is true, not yet for as long as it asks
 *   firing    it was true for so long; it goes on firing until it has been known to be false for `resolve_after` without a
 *             break, so that a flapping signal makes one incident, and missing data ends none
 *   resolved  it was; shown until it is pending or firing again
 *
 *   inactive, pending, resolved -> pending | firing; pending -> inactive; firing -> resolved
 *
 * What "true for so long" and "known to be false for so long" mean is for gates to say: each rule has one that opens when it
 * fires and one that opens when it is over (`alert-gates.ts`). Here is what becomes of their openings.
 */
import type { Us } from './clock.js';

export type AlertState = 'inactive' | 'pending' | 'firing' | 'resolved';

/** One of a rule's gates opened. */
export interface Moment {
  at: Us;
  is: 'fires' | 'over';
}

/** A rule and what has become of it. */
export interface Alert {
  readonly state: AlertState;
  /** Since when it is in this state. */
  readonly since: Us;
}

/** What makes an alert fire or end. */
export interface AlertChange {
  to: 'firing' | 'resolved';
  at: Us;
}

/**
 * Takes up what has happened since the last time, in the order in which it happened; `pendingFrom` is since when the rule is
 * true without having been so for long enough, null when it is not. Answers what changed on the way, which may be more than
 * the end shows.
 */
export function advanceAlert(
  before: Alert,
  moments: readonly Moment[],
  pendingFrom: Us | null,
  now: Us,
): { alert: Alert; changes: AlertChange[] } {
  let alert = before;
  const changes: AlertChange[] = [];
  // The gates tell of one stretch of time one after the other.
  for (const { at, is } of moments.toSorted((a, b) => a.at - b.at)) {
    const to = is === 'fires' ? 'firing' : 'resolved';
    if (to === 'firing' ? alert.state === 'firing' : alert.state !== 'firing') continue;
    alert = { state: to, since: at };
    changes.push({ to, at });
  }
  if (alert.state === 'firing') return { alert, changes };
  if (pendingFrom !== null) alert = alert.state === 'pending' ? alert : { state: 'pending', since: pendingFrom };
  else if (alert.state === 'pending') alert = { state: 'inactive', since: now };
  return { alert, changes };
}
