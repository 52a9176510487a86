import { median } from '../bench/statistics.js';

/** A value and its instant, in any unit of time. */
export interface Point {
  readonly at: number;
  readonly value: number;
}

/** At most so many points enter a slope: the cost goes with their square. */
const SLOPE_POINTS = 300;

/**
 * The slope per unit of time by Theil and Sen: the median of the slopes between all pairs of points, which a quarter of
 * wild points cannot move far; NaN with fewer than two. Many points are first thinned to medians of equal stretches.
 */
export function slopeOf(points: readonly Point[]): number {
  const size = Math.max(1, Math.ceil(points.length / SLOPE_POINTS));
  const thinned: Point[] = [];
  for (let i = 0; i < points.length; i += size) {
    const part = points.slice(i, i + size);
    thinned.push({ at: median(part.map((p) => p.at)), value: median(part.map((p) => p.value)) });
  }
  const slopes: number[] = [];
  thinned.forEach((a, i) => {
    for (const b of thinned.slice(i + 1)) if (b.at !== a.at) slopes.push((b.value - a.value) / (b.at - a.at));
  });
  return median(slopes);
}
