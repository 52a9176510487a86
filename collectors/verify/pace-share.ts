import type { Us } from '../../daemon/core/clock.js';

/** Keeps the share of the time in which one server works for us at or below what it may be: after work it rests. */
export class PaceShare {
  #restUntil: Us = -Infinity;

  /** `share` is above 0 and at most 1. */
  constructor(private readonly share: number) {}

  /** Takes into account that the server worked for us from one instant to another. */
  worked(from: Us, to: Us): void {
    const rest = (to - from) * (1 / this.share - 1);
    // Work that overlaps is paid for one after the other.
    this.#restUntil = Math.max(this.#restUntil, to) + rest;
  }

  /** How long it is to be left alone from now on. */
  restUs(now: Us): Us {
    return Math.max(0, this.#restUntil - now);
  }
}
