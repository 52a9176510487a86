/**
 * Functions over a window of a signal: `max`, `min`, `avg` and percentiles, weighted by time. A window that observations
 * do not cover is unknown, unless what was seen in it decides the comparison already. `present` is always the stretch that
 * follows the past and is going on.
 */
import type { Us } from './clock.js';
import { breakpoints, compare, growthFrom, pushSpan, staleFrom, type Span, type Truth } from './compare.js';
import type { Comparator, WindowFunction } from './condition.js';
import { quantile } from './distribution.js';
import { valueAt } from './signal.js';
import { isExact, type Piece, type Sample, type WindowPast } from './window-past.js';

/** A function over a window, and for how long unknown stretches in it are tolerated. */
export interface Windowed {
  name: WindowFunction;
  windowUs: Us;
  toleranceUs: Us;
}

function covered(pieces: readonly Piece[], from: Us, to: Us, toleranceUs: Us): boolean {
  let at = from;
  for (const { sum } of pieces) {
    if (sum.knownUs === 0) continue;
    if (sum.from - at > toleranceUs || sum.gapUs > toleranceUs) return false;
    at = sum.to;
  }
  return at >= to;
}

/**
 * The value of a function over the window `[t - windowUs, t]`, both ends included. `value` is null when nothing is known
 * in the window; `covered` tells whether every instant of it was known, unknown stretches within the tolerance aside. A
 * maximum is never below what the truth is known to have reached, in stretches of which nothing else is known either.
 */
export function windowValue(
  past: WindowPast,
  present: Sample | null,
  { name, windowUs, toleranceUs }: Windowed,
  t: Us,
): { value: number | null; covered: boolean } {
  const from = t - windowUs;
  const pieces = past.pieces(present, from, t + 1);
  let knownUs = 0;
  let high = -Infinity;
  let low = Infinity;
  let area = 0;
  for (const { sum } of pieces) {
    knownUs += sum.knownUs;
    high = Math.max(high, sum.high, name === 'max' ? sum.least : -Infinity);
    low = Math.min(low, sum.low);
    area += sum.area;
  }
  if (knownUs === 0) return { value: high === -Infinity ? null : high, covered: false };
  const isCovered = covered(pieces, from, t + 1, toleranceUs);
  switch (name) {
    case 'max':
      return { value: high, covered: isCovered };
    case 'min':
      return { value: low, covered: isCovered };
    case 'avg':
      return { value: area / knownUs, covered: isCovered };
    default: {
      const distributions = pieces.flatMap((p) => (p.sum.knownUs === 0 ? [] : [p.distribution()]));
      return { value: quantile(distributions, Number(name.slice(1)) / 100, knownUs), covered: isCovered };
    }
  }
}

/** The truth of `fn(signal, window) op threshold` at one instant. */
function windowTruthAt(
  past: WindowPast,
  present: Sample | null,
  windowed: Windowed,
  op: Comparator,
  threshold: number,
  t: Us,
): Truth {
  const { name: fn } = windowed;
  const { value, covered: isCovered } = windowValue(past, present, windowed, t);
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
  past: WindowPast,
  present: Sample | null,
  windowed: Windowed,
  op: Comparator,
  threshold: number,
  from: Us,
  to: Us,
): Span<Truth>[] {
  const { name, windowUs, toleranceUs } = windowed;
  const truth = (t: Us): Truth => windowTruthAt(past, present, windowed, op, threshold, t);
  if (to - from === 1) return [{ from, to, is: truth(from) }];
  const points = new Set<Us>();
  for (const shift of [0, windowUs - toleranceUs, windowUs, windowUs + 1]) {
    for (const sample of past.overlapping(present, from - shift, to - shift)) {
      const inside = [sample.from, sample.to, ...breakpoints(sample.reading, threshold, sample.from, sample.to)];
      for (const p of inside) if (p + shift > from && p + shift < to) points.add(p + shift);
    }
  }
  const exact = name === 'max' || name === 'min';
  const spans: Span<Truth>[] = [];
  let at = from;
  for (const next of [...[...points].sort((a, b) => a - b), to]) {
    let worst = truth(at);
    if (!exact && next - at > 1) worst = worse(worst, truth(next - 1));
    if (name === 'avg') for (const t of turns(past, present, windowUs, at, next)) worst = worse(worst, truth(t));
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
function turns(past: WindowPast, present: Sample | null, windowUs: Us, from: Us, to: Us): Us[] {
  if (to - from < 3) return [];
  const enters = pieceAt(past, present, from);
  const leaves = pieceAt(past, present, from - windowUs - 1);
  if (enters === null || leaves === null || enters.rises === leaves.rises) return [];
  const turn = from + Math.round((enters.rises ? 1 : -1) * (leaves.value - enters.value) * 1e6);
  return [turn - 1, turn, turn + 1].filter((t) => t > from && t < to);
}

/** The value at one instant, and whether it is rising; null when it is not known. */
function pieceAt(past: WindowPast, present: Sample | null, t: Us): { value: number; rises: boolean } | null {
  const reading = past.overlapping(present, t, t + 1)[0]?.reading;
  if (reading === undefined || !isExact(reading) || t >= staleFrom(reading)) return null;
  return { value: valueAt(reading, t) ?? 0, rises: t >= growthFrom(reading) };
}

function worse(a: Truth, b: Truth): Truth {
  if (a === 'false' || b === 'false') return 'false';
  return a === 'unknown' || b === 'unknown' ? 'unknown' : 'true';
}
