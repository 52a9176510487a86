/** Holds what lockgate said against what is known to be true. Pure: every instant comes in as a value. */
import type { Us } from '../../daemon/core/clock.js';
import type { Sightings } from './spin.js';

/** One heartbeat as lockgate saw it. */
export interface Beat {
  readonly seq: number;
  /** Just before its write was issued. */
  readonly sentAt: Us;
  /** The delay that lockgate gave it: the upper end. */
  readonly lagUs: Us;
}

/** `lag` as it was read at an instant between heartbeats. */
export interface Asked {
  readonly at: Us;
  readonly lagUs: Us;
}

/** A heartbeat beside its true delay: from becoming visible on the source to becoming visible on the target. */
export interface Compared {
  readonly lagUs: Us;
  /** The true delay is at least and at most this. */
  readonly lowUs: Us;
  readonly highUs: Us;
  /** It was noticed at least so long before others could see it; 0 when it need not have been. */
  readonly earlyUs: Us;
}

/** The heartbeats whose true delay is known; those that one side never showed are left out. */
export function compareBeats(beats: readonly Beat[], { source, target }: Sightings): Compared[] {
  return beats.flatMap(({ seq, sentAt, lagUs }) => {
    const [left, arrived] = [source[seq], target[seq]];
    if (left === undefined || arrived === undefined) return [];
    const lowUs = Math.max(0, arrived.after - left.by);
    // Asked too late for it, the question before may lie long ago; but nothing leaves before it is sent.
    const highUs = Math.max(lowUs, arrived.by - Math.max(left.after, sentAt));
    return [{ lagUs, lowUs, highUs, earlyUs: Math.max(0, arrived.after - (sentAt + lagUs)) }];
  });
}

/**
 * The least that the true lag can have been at `t`: the age of the oldest heartbeat that was certainly on the source and
 * certainly not on the target.
 */
export function leastLagAt(t: Us, { source, target }: Sightings, newest: number): Us {
  let least = 0;
  for (let seq = newest; ; seq -= 1) {
    const [left, arrived] = [source[seq], target[seq]];
    // What arrives arrives in order: everything older is there as well.
    if (left === undefined || arrived === undefined || arrived.by <= t) return least;
    if (left.by <= t && arrived.after >= t) least = Math.max(least, t - left.by);
  }
}
