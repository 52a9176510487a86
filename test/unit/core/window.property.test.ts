import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Comparator, WindowFunction } from '../../../daemon/core/condition.js';
import type { Reading } from '../../../daemon/core/signal.js';
import { windowTruthOver, windowValue, type Windowed } from '../../../daemon/core/window.js';
import { WindowPast, type Sample } from '../../../daemon/core/window-past.js';
import { aggregate, boundsAt, isCovered, windowAt, windowTruth, type RefReading, type RefTruth } from './reference.js';

const START = 100;

/** A signal's readings one after the other from START on. */
interface Past {
  parts: { ticks: number; value: number | null; grown: number | null; atLeast: boolean; late: number; fresh: number }[];
  window: number;
  tolerate: number;
  /** How many stretches are summed up together. */
  block: number;
}

function build(past: Past): { seen: WindowPast; present: Sample; readings: RefReading[]; end: number } {
  const samples: Sample[] = [];
  const readings: RefReading[] = [];
  let at = START;
  for (const { ticks, value, grown, atLeast, late, fresh } of past.parts) {
    const growsFrom = grown === null ? null : at - grown;
    readings.push({ setAt: at, value, growsFrom, atLeast, observedAt: at - late, fresh });
    const reading: Reading = {
      value: value === null ? null : value / 1e6,
      growsFrom,
      bound: atLeast ? 'at-least' : 'exact',
      observedAt: at - late,
      freshUs: fresh,
      reason: null,
    };
    samples.push({ from: at, to: at + ticks, reading });
    at += ticks;
  }
  const present = samples.pop()!;
  const seen = new WindowPast(past.block);
  for (const sample of samples) seen.push(sample);
  return { seen, present, readings, end: at };
}

const past = (growing: boolean): fc.Arbitrary<Past> => {
  const part = fc.record({
    ticks: fc.integer({ min: 1, max: 40 }),
    value: fc.oneof(
      { arbitrary: fc.integer({ min: 0, max: 30 }), weight: 9 },
      { arbitrary: fc.constant(null), weight: 1 },
    ),
    grown: growing ? fc.option(fc.integer({ min: -20, max: 30 })) : fc.constant(null),
    atLeast: fc.oneof({ arbitrary: fc.constant(false), weight: 19 }, { arbitrary: fc.constant(true), weight: 1 }),
    late: fc.integer({ min: 0, max: 3 }),
    fresh: fc.constantFrom(8, 30, 50, Infinity, Infinity),
  });
  return fc.record({
    parts: fc.array(part, { minLength: 1, maxLength: 8, size: 'max' }),
    window: fc.integer({ min: 1, max: 60 }),
    tolerate: fc.constantFrom(0, 0, 3, 10),
    block: fc.constantFrom(1, 2, 3, 100),
  });
};

/** A reading that is always fresh; `grown` for how long it has been rising. */
const constant = (ticks: number, value: number, grown: number | null = null): Past['parts'][number] => ({
  ticks,
  value,
  grown,
  atLeast: false,
  late: 0,
  fresh: Infinity,
});

const windowed = (name: WindowFunction, p: Past): Windowed => ({
  name,
  windowUs: p.window,
  toleranceUs: p.tolerate,
});

const op = fc.constantFrom<Comparator>('<', '<=', '>', '>=', '==', '!=');
const known = (values: (number | null)[]): number[] => values.filter((v) => v !== null);

/** The truths of the core at every instant of `[from, to)`. */
function spread(spans: { from: number; to: number; is: RefTruth }[], from: number, to: number): RefTruth[] {
  const truths: RefTruth[] = [];
  for (let t = from; t < to; t += 1) truths.push(spans.find((s) => s.from <= t && t < s.to)!.is);
  expect(spans[0]?.from).toBe(from);
  expect(spans.at(-1)?.to).toBe(to);
  return truths;
}

const RANK: Record<RefTruth, number> = { false: 0, unknown: 1, true: 2 };

// Room for a machine that is busy with other things.
describe('a function over a window', { timeout: 60_000 }, () => {
  it.each(['max', 'min'] as const)('%s is exact at every instant of a stretch', (fn) => {
    const counts: Record<RefTruth, number> = { true: 0, false: 0, unknown: 0 };
    let decidedEarly = 0;
    let decidedByBound = 0;
    fc.assert(
      fc.property(past(true), op, fc.constantFrom(5, 12, 15.5, 20), (p, comparator, threshold) => {
        const { seen: before, present, readings, end } = build(p);
        const spans = windowTruthOver(before, present, windowed(fn, p), comparator, threshold / 1e6, START, end);
        const bounded = p.parts.some((part) => part.atLeast);
        spread(spans, START, end).forEach((said, i) => {
          const values = windowAt(readings, p.window, START, START + i);
          const bounds = fn === 'max' && bounded ? boundsAt(readings, p.window, START, START + i) : [];
          const right = windowTruth(values, fn, p.tolerate, comparator, threshold, bounds);
          // \`expect\` is only asked to tell what differs: it costs more than all the rest.
          if (said !== right) expect({ at: START + i, said }).toEqual({ at: START + i, said: right });
          counts[right] += 1;
          if (known(bounds).length > 0 && right !== windowTruth(values, fn, p.tolerate, comparator, threshold))
            decidedByBound += 1;
          if (right !== 'unknown' && !isCovered(values, p.tolerate)) decidedEarly += 1;
        });
      }),
      { seed: 20261122, numRuns: 400 },
    );
    for (const truth of ['true', 'false', 'unknown'] as const) expect(counts[truth]).toBeGreaterThan(5_000);
    expect(decidedEarly).toBeGreaterThan(2_000);
    if (fn === 'max') expect(decidedByBound).toBeGreaterThan(200);
  });

  it.each<WindowFunction>(['max', 'min', 'avg', 'p50', 'p90', 'p95', 'p99'])('%s has the right value', (fn) => {
    let covered = 0;
    fc.assert(
      fc.property(past(true), fc.nat(1000), (p, where) => {
        const { seen: before, present, readings, end } = build(p);
        const t = START + (where % (end - START));
        const values = windowAt(readings, p.window, START, t);
        const said = windowValue(before, present, windowed(fn, p), t);
        const seen = known(values);
        expect(said.covered).toBe(seen.length > 0 && isCovered(values, p.tolerate));
        if (fn === 'max') seen.push(...known(boundsAt(readings, p.window, START, t)));
        if (seen.length === 0) {
          expect(said.value).toBeNull();
          return;
        }
        if (said.covered) covered += 1;
        const ticks = said.value! * 1e6;
        if (fn === 'max' || fn === 'min' || fn === 'avg') {
          expect(ticks).toBeCloseTo(aggregate(seen, fn), 6);
          return;
        }
        // Where the signal rises, the core takes time as continuous: that may differ by a tick at either side.
        const sorted = [...seen].sort((a, b) => a - b);
        const rank = Math.ceil((Number(fn.slice(1)) * sorted.length) / 100) - 1;
        const near = (i: number): number => sorted[Math.min(Math.max(i, 0), sorted.length - 1)]!;
        const rises = p.parts.some((part) => part.grown !== null);
        expect(ticks).toBeGreaterThanOrEqual((rises ? near(rank - 1) - 1 : near(rank)) - 1e-6);
        expect(ticks).toBeLessThanOrEqual((rises ? near(rank + 1) + 1 : near(rank)) + 1e-6);
      }),
      { seed: 20261122, numRuns: 400 },
    );
    expect(covered).toBeGreaterThan(100);
  });

  it.each<WindowFunction>(['avg', 'p50', 'p90', 'p99'])(
    '%s over a stretch is never better than it was at any instant of it, and exact at a single one',
    (fn) => {
      let mixed = 0;
      // An average is a fraction of few ticks, so that no average is equal to a threshold of this kind by chance.
      const thresholds = fc.constantFrom(8, 12, 15, 18).map((n) => n + 1 / 1009);
      fc.assert(
        fc.property(past(fn === 'avg'), op, thresholds, fc.nat(5), (p, comparator, threshold, skip) => {
          const { seen: before, present, readings, end } = build(p);
          const over = (from: number, to: number): RefTruth[] =>
            spread(windowTruthOver(before, present, windowed(fn, p), comparator, threshold / 1e6, from, to), from, to);
          const from = Math.min(START + skip, end - 1);
          const truths = over(from, end);
          truths.forEach((said, i) => {
            const t = from + i;
            const values = windowAt(readings, p.window, START, t);
            const right = windowTruth(values, fn, p.tolerate, comparator, threshold);
            if (RANK[said] > RANK[right]) expect({ t, said }).toEqual({ t, said: right });
            const [alone] = windowTruthOver(before, present, windowed(fn, p), comparator, threshold / 1e6, t, t + 1);
            if (alone?.is !== right) expect({ t, alone }).toEqual({ t, alone: { from: t, to: t + 1, is: right } });
          });
          if (new Set(truths).size > 1) mixed += 1;
        }),
        { seed: 20261122, numRuns: 300 },
      );
      expect(mixed).toBeGreaterThan(100);
    },
  );

  it.each<[string, Past['parts'], Comparator, number, number]>([
    ['rises and falls while what leaves has risen', [constant(101, 0, 0), constant(101, 50)], '<', 62.3, 0],
    ['falls and rises while what enters rises', [constant(101, 50), constant(101, 0, 0)], '>', 37.9, 0],
    [
      'falls and rises while a gap leaves',
      [constant(60, 50), { ...constant(50, 0), value: null }, constant(51, 50), constant(80, 0, 0)],
      '>',
      36.7,
      50,
    ],
  ])('avg over a stretch does not miss that it %s', (_, parts, comparator, threshold, tolerate) => {
    const p = { parts, window: 100, tolerate, block: 2 };
    const { seen: before, present, readings, end } = build(p);
    const spans = windowTruthOver(before, present, windowed('avg', p), comparator, threshold / 1e6, START + 100, end);
    const seen = new Set<RefTruth>();
    spread(spans, START + 100, end).forEach((said, i) => {
      const t = START + 100 + i;
      const right = windowTruth(windowAt(readings, 100, START, t), 'avg', tolerate, comparator, threshold);
      seen.add(right);
      expect({ t, better: RANK[said] > RANK[right], said, right }).toEqual({ t, better: false, said, right });
    });
    expect(seen.has('true') && seen.has('false')).toBe(true);
  });

  it('of an hour that was observed twenty times a second and more has a value', () => {
    const reading = (value: number): Reading => ({
      value,
      growsFrom: null,
      bound: 'exact',
      observedAt: 0,
      freshUs: Infinity,
      reason: null,
    });
    const before = new WindowPast();
    for (let i = 0; i < 216_000; i += 1) before.push({ from: i, to: i + 1, reading: reading(i % 7) });
    const hour = { windowUs: 215_999, toleranceUs: 0 };
    expect(windowValue(before, null, { ...hour, name: 'max' }, 215_999)).toEqual({ value: 6, covered: true });
    expect(windowValue(before, null, { ...hour, name: 'min' }, 215_999)).toEqual({ value: 0, covered: true });
    expect(windowValue(before, null, { ...hour, name: 'p50' }, 215_999)).toEqual({ value: 3, covered: true });
  });
});
