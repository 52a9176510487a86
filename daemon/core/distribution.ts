/** For how long a signal was at or below a value, and from that its percentiles, weighted by time. */

/** A stretch of time in which a value rose from `low` to `high` in a straight line, or stood still where both are equal. */
interface Stretch {
  from: number;
  to: number;
  low: number;
  high: number;
}

/** Time spent by value, for a number of stretches: a line with steps, told by its corners. */
export class Distribution {
  /** Values at which the line has a corner, rising. */
  readonly edges: Float64Array;
  /** Time spent at or below each of them, and time spent below it. */
  private readonly upTo: Float64Array;
  private readonly before: Float64Array;

  constructor(stretches: readonly Stretch[]) {
    this.edges = distinct(stretches);
    const { edges } = this;
    const steps = new Float64Array(edges.length);
    const slopes = new Float64Array(edges.length);
    const turns = new Int32Array(edges.length);
    for (const { from, to, low, high } of stretches) {
      const at = firstNotBelow(edges, low, 0, edges.length);
      const length = to - from;
      if (low === high) {
        steps[at] = (steps[at] ?? 0) + length;
        continue;
      }
      const end = firstNotBelow(edges, high, at, edges.length);
      const slope = length / (high - low);
      slopes[at] = (slopes[at] ?? 0) + slope;
      slopes[end] = (slopes[end] ?? 0) - slope;
      turns[at] = (turns[at] ?? 0) + 1;
      turns[end] = (turns[end] ?? 0) - 1;
    }
    this.upTo = new Float64Array(edges.length);
    this.before = new Float64Array(edges.length);
    let slope = 0;
    let rising = 0;
    let spent = 0;
    for (let i = 0; i < edges.length; i += 1) {
      spent += slope * ((edges[i] ?? 0) - (edges[i - 1] ?? 0));
      this.before[i] = spent;
      spent += steps[i] ?? 0;
      this.upTo[i] = spent;
      rising += turns[i] ?? 0;
      // Sums of fractions do not come back to zero by themselves.
      slope = rising === 0 ? 0 : slope + (slopes[i] ?? 0);
    }
  }

  /** Time spent at or below `v`, given the number of edges below it. */
  spentUpTo(v: number, below: number): number {
    return this.edges[below] === v ? (this.upTo[below] ?? 0) : this.between(v, below);
  }

  /** Time spent below `v`, given the number of edges below it. */
  spentBelow(v: number, below: number): number {
    return this.edges[below] === v ? (this.before[below] ?? 0) : this.between(v, below);
  }

  private between(v: number, below: number): number {
    if (below === 0) return 0;
    const start = this.upTo[below - 1] ?? 0;
    if (below >= this.edges.length) return start;
    const low = this.edges[below - 1] ?? 0;
    const high = this.edges[below] ?? 0;
    return start + (((this.before[below] ?? 0) - start) * (v - low)) / (high - low);
  }
}

/**
 * The least value at or below which at least `share` of the time was spent, over all distributions together; `spentUs` is
 * that time. NaN when there is none.
 */
export function quantile(all: readonly Distribution[], share: number, spentUs: number): number {
  const wanted = share * spentUs;
  // Between these two numbers of edges, for each distribution, lies the answer.
  const lows = all.map(() => 0);
  const highs = all.map(({ edges }) => edges.length);
  const places = all.map(() => 0);
  let upper = all.reduce((most, { edges }) => Math.max(most, edges.at(-1) ?? -Infinity), -Infinity);
  if (upper === -Infinity) return NaN;
  let lower: number | null = null;
  let atLower = 0;
  for (;;) {
    const middle = middleOfWidest(all, lows, highs);
    if (middle === null) break;
    let spent = 0;
    all.forEach((each, i) => {
      const place = firstNotBelow(each.edges, middle, lows[i] ?? 0, highs[i] ?? 0);
      places[i] = place;
      spent += each.spentUpTo(middle, place);
    });
    if (spent >= wanted) {
      upper = middle;
      for (let i = 0; i < all.length; i += 1) highs[i] = places[i] ?? 0;
    } else {
      lower = middle;
      atLower = spent;
      all.forEach(({ edges }, i) => (lows[i] = (places[i] ?? 0) + (edges[places[i] ?? 0] === middle ? 1 : 0)));
    }
  }
  if (lower === null) return upper;
  // Time spent exactly at `upper` makes a step there, so interpolate only over the sloped share between the two edges.
  let sloped = -atLower;
  for (const each of all) sloped += each.spentBelow(upper, firstNotBelow(each.edges, upper, 0, each.edges.length));
  const need = wanted - atLower;
  return need < sloped ? lower + ((upper - lower) * need) / sloped : upper;
}

/** The middle one of the edges that are still possible, of the distribution that has most of them; null when there are none. */
function middleOfWidest(
  all: readonly Distribution[],
  lows: readonly number[],
  highs: readonly number[],
): number | null {
  let widest = -1;
  let width = 0;
  for (let i = 0; i < all.length; i += 1) {
    const each = (highs[i] ?? 0) - (lows[i] ?? 0);
    if (each <= width) continue;
    width = each;
    widest = i;
  }
  const found = all[widest];
  return found === undefined ? null : (found.edges[((lows[widest] ?? 0) + (highs[widest] ?? 0)) >> 1] ?? null);
}

/** The first place in `[from, to)` whose edge is not below `v`, or `to`; all places before `from` are known to be below. */
function firstNotBelow(edges: Float64Array, v: number, from: number, to: number): number {
  let lo = from;
  let hi = to;
  while (lo < hi) {
    const mid = (lo + hi) >> 1;
    if ((edges[mid] ?? 0) < v) lo = mid + 1;
    else hi = mid;
  }
  return lo;
}

function distinct(stretches: readonly Stretch[]): Float64Array {
  const all = new Float64Array(2 * stretches.length);
  stretches.forEach(({ low, high }, i) => {
    all[2 * i] = low;
    all[2 * i + 1] = high;
  });
  all.sort();
  let count = 0;
  for (let i = 0; i < all.length; i += 1) {
    if (i > 0 && all[i] === all[i - 1]) continue;
    all[count] = all[i] ?? 0;
    count += 1;
  }
  return all.slice(0, count);
}
