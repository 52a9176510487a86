import type { LagPoint } from '../live/model.js';
import { SIGNS, type Line, type Piece } from './watch-style.js';

/** What is drawn, and how wide. */
export interface Sparkline {
  points: readonly LagPoint[];
  /** The end of the time that is drawn, by the daemon's clock, and how long it is. */
  toMs: number;
  rangeMs: number;
  columns: number;
  /** Above it, a value is one that breaks a condition; null: there is no such condition. */
  threshold: number | null;
  unicode: boolean;
}

/**
 * Values over time in one row, the worst of each column; a column without a value is a gap. What lies above the threshold
 * is red; without colours it shows by its height: the threshold is at the middle, or lower where values go far above.
 */
export function sparkline({ points, toMs, rangeMs, columns, threshold, unicode }: Sparkline): Line {
  const { bars } = unicode ? SIGNS.unicode : SIGNS.ascii;
  const worst = new Array<number | null>(columns).fill(null);
  const stepMs = rangeMs / columns;
  let before: LagPoint | null = null;
  for (const point of points) {
    const from = column(before === null ? point.atMs : before.atMs);
    const to = column(point.atMs);
    // Points come every second, or every ten from longer ago; a value holds until the next one, a gap does as well.
    const reach =
      before !== null && before.value !== null && point.value !== null && point.atMs - before.atMs <= 15_000
        ? from + 1
        : to;
    for (let c = Math.max(0, Math.min(reach, to)); c <= to && c < columns; c += 1) {
      if (point.value !== null) worst[c] = Math.max(worst[c] ?? point.value, point.value);
    }
    before = point;
  }
  const highest = worst.reduce<number>((a, v) => Math.max(a, v ?? 0), 0);
  // Without a threshold a second fills the row: milliseconds are not made to look like mountains.
  const scale = Math.max(highest, (threshold ?? 0.5) * 2);
  const pieces: Piece[] = worst.map((value) => {
    if (value === null) return { text: ' ' };
    const level = Math.min(bars.length - 1, Math.floor((value / scale) * bars.length));
    return { text: bars.charAt(level), colour: threshold !== null && value >= threshold ? 'red' : 'green' };
  });
  return pieces;

  function column(atMs: number): number {
    return Math.floor((atMs - (toMs - rangeMs)) / stepMs);
  }
}
