/**
 * Functions over a window of a signal: `max`, `min`, `avg` and percentiles, weighted by time. A window that observations
 * do not cover is unknown, unless what was seen in it decides the comparison already.
 */
import type { Us } from './clock.js';
import { breakpoints, compare, growthFrom, pushSpan, staleFrom, type Span, type Truth } from './compare.js';
import type { Comparator, WindowFunction } from './condition.js';
import { valueAt, type Reading } from './signal.js';

/** A stretch `[from, to)` in which one reading stood; the reading itself says when in it it was known. */
export interface Sample {
  from: Us;
  to: Us;
  reading: Reading;
}

/** A known part of a window: rises from `low` to `high` in a straight line (equal when constant) over `[from, to)`. */
interface Part {
  from: Us;
  to: Us;
  low: number;
  high: number;
}

const KNOWN_ENOUGH = (reading: Reading): boolean =>
  reading.value !== null && Number.isFinite(reading.value) && reading.bound === 'exact';

function partsOf(samples: readonly Sample[], from: Us, to: Us): Part[] {
  const parts: Part[] = [];
  for (const { reading, ...span } of samples) {
    const a = Math.max(span.from, from);
    const b = Math.min(span.to, to, staleFrom(reading));
    if (b <= a || !KNOWN_ENOUGH(reading)) continue;
    const value = reading.value ?? 0;
    if (reading.growsFrom === null) {
      parts.push({ from: a, to: b, low: value, high: value });
      continue;
    }
    const growth = Math.min(Math.max(growthFrom(reading), a), b);
    if (growth > a) parts.push({ from: a, to: growth, low: value, high: value });
    if (b > growth) {
      parts.push({
        from: growth,
        to: b,
        low: (growth - reading.growsFrom) / 1e6,
        high: (b - 1 - reading.growsFrom) / 1e6,
      });
    }
  }
  return parts;
}

function covered(parts: readonly Part[], from: Us, to: Us, toleranceUs: Us): boolean {
  if (parts.length === 0) return false;
  let at = from;
  for (const part of parts) {
    if (part.from - at > toleranceUs) return false;
    at = part.to;
  }
  return to - at <= 0;
}

function average(parts: readonly Part[]): number {
  const total = parts.reduce((sum, p) => sum + (p.to - p.from), 0);
  return parts.reduce((sum, p) => sum + ((p.low + p.high) / 2) * (p.to - p.from), 0) / total;
}

function quantile(parts: readonly Part[], q: number): number {
  const total = parts.reduce((sum, p) => sum + (p.to - p.from), 0);
  const edges = [...new Set(parts.flatMap((p) => [p.low, p.high]))].sort((a, b) => a - b);
  const below = (v: number): number =>
    parts.reduce((sum, p) => {
      const length = p.to - p.from;
      if (p.high <= v) return sum + length;
      if (p.low >= v) return sum;
      return sum + (length * (v - p.low)) / (p.high - p.low);
    }, 0);
  // The least edge at which the share is reached, by bisection; inside a sloped stretch the answer lies between two edges.
  let lo = 0;
  let hi = edges.length - 1;
  while (lo < hi) {
    const mid = (lo + hi) >> 1;
    if (below(edges[mid] ?? 0) >= q * total) hi = mid;
    else lo = mid + 1;
  }
  const upper = edges[lo] ?? 0;
  const lower = edges[lo - 1];
  if (lower === undefined) return upper;
  const atLower = below(lower);
  // Time spent exactly at `upper` makes a step there, so interpolate only over the sloped share between the two edges.
  const slopedHere = parts.reduce((sum, p) => {
    if (p.low <= lower && p.high >= upper && p.high > p.low)
      return sum + ((p.to - p.from) * (upper - lower)) / (p.high - p.low);
    return sum;
  }, 0);
  const need = q * total - atLower;
  return need < slopedHere ? lower + ((upper - lower) * need) / slopedHere : upper;
}

/**
 * The value of a function over the window `[t - windowUs, t]`, both ends included. `value` is null when nothing is known
 * in the window; `covered` tells whether every instant of it was known, unknown stretches within the tolerance aside.
 */
export function windowValue(
  samples: readonly Sample[],
  fn: WindowFunction,
  windowUs: Us,
  toleranceUs: Us,
  t: Us,
): { value: number | null; covered: boolean } {
  const from = t - windowUs;
  const parts = partsOf(samples, from, t + 1);
  if (parts.length === 0) return { value: null, covered: false };
  const isCovered = covered(parts, from, t + 1, toleranceUs);
  switch (fn) {
    case 'max':
      return { value: parts.reduce((most, p) => Math.max(most, p.high), -Infinity), covered: isCovered };
    case 'min':
      return { value: parts.reduce((least, p) => Math.min(least, p.low), Infinity), covered: isCovered };
    case 'avg':
      return { value: average(parts), covered: isCovered };
    default:
      return { value: quantile(parts, Number(fn.slice(1)) / 100), covered: isCovered };
  }
}

/** The truth of `fn(signal, window) op threshold` at one instant. */
export function windowTruthAt(
  samples: readonly Sample[],
  fn: WindowFunction,
  windowUs: Us,
  toleranceUs: Us,
  op: Comparator,
  threshold: number,
  t: Us,
): Truth {
  const { value, covered: isCovered } = windowValue(samples, fn, windowUs, toleranceUs, t);
  if (value === null) return 'unknown';
  if (isCovered) return compare(value, op, threshold) ? 'true' : 'false';
  // More observations can only raise a maximum and lower a minimum; what that cannot change is decided already.
  const beyond = fn === 'max' ? value > threshold : fn === 'min' ? value < threshold : false;
  const at = value === threshold && (fn === 'max' || fn === 'min');
  switch (op) {
    case '<':
      return fn === 'max' && (beyond || at) ? 'false' : fn === 'min' && beyond ? 'true' : 'unknown';
    case '<=':
      return fn === 'max' && beyond ? 'false' : fn === 'min' && (beyond || at) ? 'true' : 'unknown';
    case '>':
      return fn === 'max' && beyond ? 'true' : fn === 'min' && (beyond || at) ? 'false' : 'unknown';
    case '>=':
      return fn === 'max' && (beyond || at) ? 'true' : fn === 'min' && beyond ? 'false' : 'unknown';
    case '==':
      return beyond ? 'false' : 'unknown';
    case '!=':
      return beyond ? 'true' : 'unknown';
  }
}

/**
 * The truth of a windowed comparison over `[from, to)`. For `max` and `min` it can change only where an observation
 * enters or leaves the window or crosses the threshold in it, and is evaluated exactly there. Between those instants a
 * percentile passes the threshold at most once, and an average turns at most once: the worst of both ends and the turn
 * counts for the whole stretch.
 */
export function windowTruthOver(
  samples: readonly Sample[],
  fn: WindowFunction,
  windowUs: Us,
  toleranceUs: Us,
  op: Comparator,
  threshold: number,
  from: Us,
  to: Us,
): Span<Truth>[] {
  const points = new Set<Us>();
  const add = (p: Us): void => {
    if (p > from && p < to) points.add(p);
  };
  const shifts = [0, windowUs - toleranceUs, windowUs, windowUs + 1];
  for (const sample of samples) {
    // Of a long window only a few samples are at its edges now; the others are passed over cheaply.
    if (!shifts.some((shift) => sample.to + shift > from && sample.from + shift < to)) continue;
    const inside = [sample.from, sample.to, ...breakpoints(sample.reading, threshold, sample.from, sample.to)];
    for (const p of inside) for (const shift of shifts) add(p + shift);
  }
  const exact = fn === 'max' || fn === 'min';
  const truth = (t: Us): Truth => windowTruthAt(samples, fn, windowUs, toleranceUs, op, threshold, t);
  const spans: Span<Truth>[] = [];
  let at = from;
  for (const next of [...[...points].sort((a, b) => a - b), to]) {
    let worst = truth(at);
    if (!exact && next - at > 1) worst = worse(worst, truth(next - 1));
    if (fn === 'avg') for (const t of turns(samples, windowUs, at, next)) worst = worse(worst, truth(t));
    pushSpan(spans, at, next, worst);
    at = next;
  }
  return spans;
}

/**
 * The instants around the one inside `(from, to)` at which the average over the window turns, given that in it every
 * reading at either edge of the window is constant or rises by a second per second throughout. The average moves
 * towards what enters and away from what leaves, so it turns where the two are equal. (When only something enters, it
 * turns where it meets that, and what enters has then just crossed the threshold itself: one of the breakpoints.)
 */
function turns(samples: readonly Sample[], windowUs: Us, from: Us, to: Us): Us[] {
  if (to - from < 3) return [];
  const enters = pieceAt(samples, from);
  const leaves = pieceAt(samples, from - windowUs - 1);
  if (enters === null || leaves === null || enters.rises === leaves.rises) return [];
  const turn = from + Math.round((enters.rises ? 1 : -1) * (leaves.value - enters.value) * 1e6);
  return [turn - 1, turn, turn + 1].filter((t) => t > from && t < to);
}

/** The value at one instant, and whether it is rising; null when it is not known. */
function pieceAt(samples: readonly Sample[], t: Us): { value: number; rises: boolean } | null {
  const reading = samples.find((s) => s.from <= t && t < s.to)?.reading;
  if (reading === undefined || !KNOWN_ENOUGH(reading) || t >= staleFrom(reading)) return null;
  return { value: valueAt(reading, t) ?? 0, rises: t >= growthFrom(reading) };
}

function worse(a: Truth, b: Truth): Truth {
  if (a === 'false' || b === 'false') return 'false';
  return a === 'unknown' || b === 'unknown' ? 'unknown' : 'true';
}
