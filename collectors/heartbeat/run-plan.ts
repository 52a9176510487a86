import { US_PER_S, type Us } from '../../daemon/core/clock.js';

/** What to write in a tick: a row under a fresh key, the row already seen on the target, or nothing. */
export type PlannedWrite = 'insert' | 'update' | 'none';

const maxBackoffUs = 60 * US_PER_S;

/**
 * Decides, per link, between INSERT and UPDATE. An UPDATE of a row that the target lacks is skipped there without a trace
 * (or stops its apply), so a row is updated only once it was seen on the target; while updates stay unseen, or nothing
 * was ever seen, a fresh row is tried from time to time, because the old one may be missing there for good.
 */
export class RunPlan {
  #nextCandidateAt: Us = -Infinity;
  #candidates = 0;
  readonly #patienceUs: Us;

  constructor(intervalUs: Us) {
    this.#patienceUs = Math.max(5 * US_PER_S, 5 * intervalUs);
  }

  /**
   * What to write now, given whether some run's row is known to be on the target and since when a heartbeat is unseen
   * (null: none is). An `insert` counts as tried.
   */
  next(now: Us, hasCarrier: boolean, unseenSince: Us | null): PlannedWrite {
    const waiting = unseenSince !== null && now - unseenSince >= this.#patienceUs;
    if (hasCarrier && !waiting) {
      this.#candidates = 0;
      this.#nextCandidateAt = -Infinity;
      return 'update';
    }
    if (now < this.#nextCandidateAt) return hasCarrier ? 'update' : 'none';
    const backoffUs = Math.min(this.#patienceUs * 2 ** this.#candidates, Math.max(maxBackoffUs, this.#patienceUs));
    this.#candidates = Math.min(this.#candidates + 1, 16);
    this.#nextCandidateAt = now + backoffUs;
    return 'insert';
  }

  /**
   * The last INSERT is not known to have committed (or its row is gone), so the next tick may try again. It does not count
   * as tried: after an hour of refused writes the first row that is written may still be lost on its way, and the one
   * after it must not have to wait as if all the others had been.
   */
  retry(): void {
    this.#candidates = Math.max(0, this.#candidates - 1);
    this.#nextCandidateAt = -Infinity;
  }
}
