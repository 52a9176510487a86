/**
 * Truth of a comparison over a stretch of time. A reading says what a signal is at every instant until the next one
 * arrives (it may grow meanwhile, and it goes stale), so the instants at which a comparison changes are computed, never
 * sampled.
 */
import type { Us } from './clock.js';
import type { Comparator } from './condition.js';
import type { Reading } from './signal.js';

export type Truth = 'true' | 'false' | 'unknown';

/** A stretch `[from, to)` of whole microseconds in which something has one value. */
export interface Span<T> {
  from: Us;
  to: Us;
  is: T;
}

/** Appends a span, joining it to the last one when both say the same. */
export function pushSpan<T>(spans: Span<T>[], from: Us, to: Us, is: T): void {
  if (to <= from) return;
  const last = spans.at(-1);
  if (last?.is === is && last.to === from) last.to = to;
  else spans.push({ from, to, is });
}

/** Compares two numbers; NaN compares as false everywhere, so callers must have ruled it out. */
export function compare(value: number, op: Comparator, threshold: number): boolean {
  switch (op) {
    case '<':
      return value < threshold;
    case '<=':
      return value <= threshold;
    case '>':
      return value > threshold;
    case '>=':
      return value >= threshold;
    case '==':
      return value === threshold;
    case '!=':
      return value !== threshold;
  }
}

/**
 * What a comparison says when the truth is `value` or more: only what no larger value could change is decided.
 */
function compareAtLeast(value: number, op: Comparator, threshold: number): Truth {
  switch (op) {
    case '<':
      return value >= threshold ? 'false' : 'unknown';
    case '<=':
      return value > threshold ? 'false' : 'unknown';
    case '>':
      return value > threshold ? 'true' : 'unknown';
    case '>=':
      return value >= threshold ? 'true' : 'unknown';
    case '==':
      return value > threshold ? 'false' : 'unknown';
    case '!=':
      return value > threshold ? 'true' : 'unknown';
  }
}

/** First instant at which a fresh reading has become stale, or Infinity. */
export function staleFrom(reading: Reading): Us {
  return reading.observedAt + reading.freshUs + 1;
}

/**
 * Seconds as microseconds. A whole number of microseconds that was divided by a million does not always come back whole
 * (123 µs would be a little less), and then a comparison would change a microsecond too early or too late.
 */
function microseconds(seconds: number): number {
  const us = seconds * 1e6;
  const whole = Math.round(us);
  return Math.abs(us - whole) <= whole * 4 * Number.EPSILON ? whole : us;
}

/** First instant at which a growing reading exceeds the value it started from; Infinity when it does not grow. */
export function growthFrom(reading: Reading): Us {
  if (reading.growsFrom === null || reading.value === null) return Infinity;
  return reading.growsFrom + Math.floor(microseconds(reading.value)) + 1;
}

/** The truth of `reading op threshold` at one instant, freshness included. */
export function truthAt(reading: Reading, op: Comparator, threshold: number, t: Us): Truth {
  if (reading.value === null || !Number.isFinite(reading.value) || t >= staleFrom(reading)) return 'unknown';
  // While it grows, both sides are compared in microseconds: a quotient could round across the threshold.
  const growing = reading.growsFrom !== null && t >= growthFrom(reading);
  const left = growing ? t - (reading.growsFrom ?? t) : reading.value;
  const right = growing ? microseconds(threshold) : threshold;
  if (reading.bound === 'at-least') return compareAtLeast(left, op, right);
  return compare(left, op, right) ? 'true' : 'false';
}

/** The instants inside `(from, to)` at which the truth of a comparison with this reading can change. */
export function breakpoints(reading: Reading, threshold: number, from: Us, to: Us): Us[] {
  const points: Us[] = [staleFrom(reading)];
  if (reading.growsFrom !== null && reading.value !== null) {
    const crossing = microseconds(threshold);
    points.push(reading.growsFrom + Math.ceil(crossing), reading.growsFrom + Math.floor(crossing) + 1);
    points.push(growthFrom(reading));
  }
  return points.filter((p) => p > from && p < to).sort((a, b) => a - b);
}

/** Whether it is plain that no comparison with this reading can change in the stretch, without looking for breakpoints. */
export function isSteady(reading: Reading, from: Us, to: Us): boolean {
  if (to - from <= 1) return to > from;
  const stale = staleFrom(reading);
  return reading.growsFrom === null && (stale <= from || stale >= to);
}

/** The truth of `reading op threshold` over `[from, to)`, as spans that follow each other without a hole. */
export function truthOver(reading: Reading, op: Comparator, threshold: number, from: Us, to: Us): Span<Truth>[] {
  if (isSteady(reading, from, to)) return [{ from, to, is: truthAt(reading, op, threshold, from) }];
  const spans: Span<Truth>[] = [];
  let at = from;
  for (const next of [...breakpoints(reading, threshold, from, to), to]) {
    pushSpan(spans, at, next, truthAt(reading, op, threshold, at));
    at = next;
  }
  return spans;
}
