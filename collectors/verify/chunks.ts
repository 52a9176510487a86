import type { Us } from '../../daemon/core/clock.js';

/** Rows of the first range of a table. */
export const FIRST_ROWS = 1_000;
/** Rows of the largest range. */
export const MOST_ROWS = 1_000_000;
/** A range of so few rows that takes too long is not cut any further. */
export const FEWEST_ROWS = 10;

/** How much of a new measurement the estimate takes over. */
const WEIGHT = 0.3;
const MOST_GROWTH = 2;
const MOST_SHRINKING = 4;

/** How many rows a range takes, so that comparing it takes about the time that it may. */
export class ChunkSize {
  #perRowUs: number | null = null;

  /** `steady`: the time hardly depends on the number of rows (no index serves the key), so only what is too slow changes it. */
  constructor(
    private readonly targetUs: Us,
    private readonly steady: boolean,
    private n = steady ? MOST_ROWS : FIRST_ROWS,
  ) {}

  get rows(): number {
    return this.n;
  }

  /** Takes into account that a range of so many rows took the slower side so long. */
  took(rows: number, us: Us): void {
    // What a small rest of a table took says more about the way there and back.
    if (this.steady || rows < this.n / 2) return;
    const perRow = us / rows;
    this.#perRowUs = this.#perRowUs === null ? perRow : this.#perRowUs * (1 - WEIGHT) + perRow * WEIGHT;
    const wanted = this.#perRowUs === 0 ? MOST_ROWS : this.targetUs / this.#perRowUs;
    const bounded = Math.min(Math.max(wanted, this.n / MOST_SHRINKING), this.n * MOST_GROWTH);
    this.n = clamp(Math.round(bounded));
  }

  /** Takes into account that only a range of so many rows, or none, could be compared in time. */
  tooSlow(rows: number): void {
    this.n = clamp(Math.min(this.n, rows));
    this.#perRowUs = null;
  }
}

function clamp(rows: number): number {
  return Math.min(MOST_ROWS, Math.max(FEWEST_ROWS, rows));
}
