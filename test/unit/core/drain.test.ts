import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DrainEstimator, LinkDrain, type DrainEstimate, type DrainSample } from '../../../daemon/core/drain.js';
import type { Applied, PositionSampled } from '../../../daemon/core/observation.js';
import { known, unknown, valueAt, type Reading } from '../../../daemon/core/signal.js';

const S = 1_000_000;
const MiB = 1024 * 1024;

const fed = (samples: readonly DrainSample[]): DrainEstimator => {
  const estimator = new DrainEstimator();
  for (const sample of samples) estimator.observe(sample);
  return estimator;
};
const sample = (s: number, backlog: number, applied: number): DrainSample => ({
  at: s * S,
  backlogBytes: backlog,
  appliedBytes: applied,
});

describe('the drain estimate of one flow', () => {
  const cases: [string, DrainSample[], number, DrainEstimate['kind'] | RegExp][] = [
    ['nothing seen', [], 0, /no position/],
    ['caught up', [sample(0, 0, 5)], 0, 'caught-up'],
    ['little outstanding', [sample(0, 1000, 5)], 0, 'caught-up'],
    ['a backlog at first sight', [sample(0, MiB, 0)], 0, /no rate/],
    ['a backlog that shrinks', [sample(0, 2 * MiB, 0), sample(1, MiB, MiB)], 1, 'draining'],
    ['a backlog that stands still', [sample(0, MiB, 0), sample(1, MiB, 0), sample(3, MiB, 0)], 3, /nothing is being/],
    ['a small backlog that stands still', [sample(0, 9, 0), sample(1, 9, 0), sample(3, 9, 0)], 3, /nothing is being/],
    ['it stood still until now', [sample(0, MiB, 0), sample(3, MiB, 0), sample(4, MiB, 9)], 4, 'draining'],
    ['written just now, after a long idle time', [sample(0, 0, 0), sample(60, 9, 0)], 60, 'caught-up'],
  ];
  it.each(cases)('%s', (_, samples, now, wanted) => {
    const estimate = fed(samples).estimate(now * S);
    if (wanted instanceof RegExp) expect(estimate).toMatchObject({ kind: 'none', reason: wanted });
    else expect(estimate.kind).toBe(wanted);
  });

  it('takes the time into account in which a large transaction showed no progress', () => {
    // 80 MiB in one transaction that takes 8 s, looked at every second.
    const samples = Array.from({ length: 8 }, (_, i) => sample(i, 80 * MiB, 0));
    const estimate = fed([...samples, sample(8, 80 * MiB, 80 * MiB)]).estimate(8 * S);
    expect(estimate).toMatchObject({ kind: 'draining' });
    expect((estimate as { eta: number }).eta).toBeCloseTo(8, 1);
  });

  it('weighs rates by their time, so that many short fast stretches do not hide a long slow one', () => {
    const estimator = new DrainEstimator();
    let [at, applied] = [0, 0];
    const step = (s: number, bytes: number): void => {
      at += s;
      applied += bytes;
      estimator.observe({ at: at * S, backlogBytes: 100 * MiB, appliedBytes: applied });
    };
    step(0, 0);
    for (let i = 0; i < 60; i++) step(0.25, 25 * MiB); // 15 s at 100 MiB/s
    for (let i = 0; i < 2; i++) step(4, 4 * MiB); // 8 s at 1 MiB/s
    const estimate = estimator.estimate(at * S);
    expect((estimate as { high: number }).high).toBeCloseTo(100, 0);
  });

  it('forgets what it learnt when the target goes back', () => {
    const estimator = fed([sample(0, 2 * MiB, 0), sample(1, 2 * MiB, MiB), sample(2, 3 * MiB, 0)]);
    expect(estimator.estimate(2 * S)).toMatchObject({ kind: 'none' });
  });

  it('does not take the time in which apply was held up for its speed', () => {
    const estimator = new DrainEstimator();
    const step = (s: number, appliedMiB: number): void =>
      estimator.observe({ at: s * S, backlogBytes: 100 * MiB, appliedBytes: appliedMiB * MiB });
    for (let i = 0; i <= 10; i++) step(i * 0.25, i * 5); // 20 MiB/s
    for (let i = 1; i <= 24; i++) step(2.5 + i * 0.25, 50); // locked for 6 s
    step(8.75, 55);
    for (let i = 1; i <= 4; i++) step(8.75 + i * 0.25, 55 + i * 5);
    const estimate = estimator.estimate(9.75 * S);
    expect(estimate).toMatchObject({ kind: 'draining' });
    expect((estimate as { eta: number }).eta).toBeCloseTo(5, 1);
    expect((estimate as { high: number }).high).toBeCloseTo(10, 1);
  });

  it('takes pauses for its speed where they are the rule: every transaction a large one', () => {
    const estimator = new DrainEstimator();
    let [at, applied] = [0, 0];
    const step = (s: number, mib: number): void => {
      [at, applied] = [at + s, applied + mib];
      estimator.observe({ at: at * S, backlogBytes: 100 * MiB, appliedBytes: applied * MiB });
    };
    for (let i = 0; i <= 10; i++) step(0.25, 20); // 80 MiB/s
    for (let n = 0; n < 20; n++) for (let i = 1; i <= 6; i++) step(0.25, i === 6 ? 6 : 0); // 4 MiB/s, 6 MiB at a time
    expect((estimator.estimate(at * S) as { high: number }).high).toBeGreaterThanOrEqual(25);
  });

  it('allows more the longer nothing is being applied, and nothing more for a pause as usual', () => {
    const estimator = fed([
      sample(0, 2 * MiB, 0),
      sample(0.25, MiB, MiB),
      sample(0.3, MiB, MiB),
      sample(0.4, MiB, MiB),
    ]);
    const high = (s: number): number => (estimator.estimate(s * S) as { high: number }).high;
    expect(high(0.45)).toBeCloseTo(0.5, 5);
    // Stuck since 0.25; the first quarter of a second is usual.
    expect(high(1)).toBeCloseTo(0.5 + 4 * 0.5, 5);
    expect(estimator.estimate(2.3 * S)).toMatchObject({ kind: 'none' });
  });

  it('learns a lower bound of the rate from a backlog that was gone at the next look', () => {
    const estimator = fed([sample(0, MiB, 0), sample(1, 0, MiB), sample(2, 2 * MiB, MiB)]);
    expect(estimator.estimate(2 * S)).toEqual({ kind: 'draining', eta: 2, high: 4 });
  });

  it('holds its upper bound for an applier of constant speed, whatever is written and however it is looked at', () => {
    fc.assert(
      fc.property(
        fc.record({
          mibPerS: fc.integer({ min: 1, max: 80 }),
          transactionKiB: fc.integer({ min: 1, max: 4096 }),
          lookMs: fc.integer({ min: 20, max: 1000 }),
          writes: fc.array(fc.double({ min: 0, max: 3, noNaN: true }), { minLength: 5, maxLength: 40 }),
        }),
        ({ mibPerS, transactionKiB, lookMs, writes }) => {
          const capacity = mibPerS * MiB;
          const grain = transactionKiB * 1024;
          const estimator = new DrainEstimator();
          let [written, done, at] = [0, 0, 0];
          // Each entry of `writes` is a second of writing at that multiple of the capacity.
          const stepMs = 5;
          let nextLook = 0;
          const look = (): void => {
            const applied = Math.floor(done / grain) * grain;
            estimator.observe({ at: at * 1000, backlogBytes: Math.max(0, written - applied), appliedBytes: applied });
          };
          for (const factor of writes) {
            for (let ms = 0; ms < 1000; ms += stepMs) {
              written += (factor * capacity * stepMs) / 1000;
              done = Math.min(written, done + (capacity * stepMs) / 1000);
              at += stepMs;
              if (at < nextLook) continue;
              nextLook = at + lookMs;
              look();
            }
          }
          // The prediction is about the moment of its look.
          look();
          const estimate = estimator.estimate(at * 1000);
          if (estimate.kind !== 'draining') return;
          const truth = (written - done) / capacity;
          // What is being applied at this moment does not show yet, looks see progress late by up to their distance, and a
          // speed that never changes has no slow end that would make up for the grain of the measurement.
          const blur = grain / capacity + lookMs / 1000;
          expect(estimate.high).toBeGreaterThanOrEqual(0.95 * truth - blur);
          expect(estimate.eta).toBeGreaterThan(0);
          expect(Number.isFinite(estimate.high)).toBe(true);
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe('the drain readings of a link', () => {
  const fresh = 3 * S;
  const lag = (value: number, at: number, growsFrom: number | null = null): Reading => ({
    ...known(value, at * S, 2 * S),
    growsFrom: growsFrom === null ? null : growsFrom * S,
  });
  const applied = (flow: string, s: number, at: number, head: number): Applied => ({
    kind: 'applied',
    link: 'shop/forward',
    flow,
    position: { kind: 'lsn', lsn: BigInt(at) },
    head: { kind: 'lsn', lsn: BigInt(head) },
    askedAt: s * S,
    at: s * S,
  });

  it('equal lag_by_position while caught up, and grow with it', () => {
    const link = new LinkDrain(['a'], fresh);
    link.observe(applied('a', 10, 100, 100));
    const { drain_eta: eta, drain_eta_high: high } = link.readings(10 * S, lag(0.02, 10));
    expect(eta).toMatchObject({ value: 0.02, bound: 'exact' });
    expect(high.value).toBeCloseTo(0.27, 5);
    const growing = link.readings(10 * S, lag(0.02, 10, 9));
    expect(valueAt(growing.drain_eta, 12 * S)).toBe(3);
    expect(valueAt(growing.drain_eta_high, 12 * S)).toBeCloseTo(3.25, 5);
  });

  it('are the worst of the flows, and never below a delay that is no matter of bytes', () => {
    const link = new LinkDrain(['a', 'b'], fresh);
    for (const flow of ['a', 'b']) link.observe(applied(flow, 0, 0, 20 * MiB));
    link.observe(applied('a', 1, 10 * MiB, 20 * MiB));
    expect(link.readings(S, lag(0.1, 1)).drain_eta).toMatchObject({
      value: null,
      reason: expect.stringMatching(/^b:/) as unknown,
    });
    link.observe(applied('b', 1, 2 * MiB, 20 * MiB));
    expect(link.readings(S, lag(0.1, 1)).drain_eta.value).toBeCloseTo(9, 5);
    expect(link.readings(S, lag(60, 1)).drain_eta_high.value).toBeCloseTo(60.25, 5);
  });

  it('are unknown at once with a flow that cannot be read, and stale with the older of what they are made of', () => {
    const link = new LinkDrain(['a'], fresh);
    expect(link.readings(0, lag(0, 0)).drain_eta.value).toBeNull();
    link.observe(applied('a', 10, 100, 100));
    const { drain_eta: eta } = link.readings(11 * S, lag(0, 11));
    expect(eta.observedAt + eta.freshUs).toBe(13 * S);
    link.observe({ kind: 'applied-fault', link: 'shop/forward', flow: 'a', at: 12 * S, reason: 'gone' });
    expect(link.readings(12 * S, lag(0, 12)).drain_eta_high).toMatchObject({ value: null, reason: 'a: gone' });
    link.observe(applied('a', 13, 100, 100));
    link.reset();
    expect(link.readings(13 * S, lag(0, 13)).drain_eta.value).toBeNull();
  });

  it('need lag_by_position, whose absence says nothing of bytes', () => {
    const link = new LinkDrain(['a'], fresh);
    link.observe(applied('a', 0, 0, 20 * MiB));
    link.observe(applied('a', 1, 10 * MiB, 20 * MiB));
    const blind = link.readings(S, unknown('the writer failed', S));
    expect(blind.drain_eta.value).toBeCloseTo(1, 5);
    expect(blind.drain_eta_high).toMatchObject({
      value: null,
      reason: expect.stringContaining('the writer failed') as unknown,
    });
    link.observe(applied('a', 2, 20 * MiB, 20 * MiB));
    expect(link.readings(2 * S, unknown('the writer failed', S)).drain_eta.value).toBeNull();
  });

  describe('allow for what the last look does not show', () => {
    /** A link that applies 10 MiB/s, and is level at 100 s. */
    const level = (): LinkDrain => {
      const link = new LinkDrain(['a'], fresh);
      for (let s = 0; s <= 10; s++) link.observe(applied('a', s, s * 10 * MiB, 100 * MiB));
      for (let s = 11; s <= 100; s++) link.observe(applied('a', s, 100 * MiB, 100 * MiB));
      return link;
    };
    const sampled = (s: number, mib: number): PositionSampled => ({
      kind: 'position-sampled',
      link: 'shop/forward',
      position: { kind: 'lsn', lsn: BigInt(Math.round(mib * MiB)) },
      sentAt: s * S,
      at: s * S,
    });
    const high = (link: LinkDrain, s: number): number => link.readings(s * S, lag(0.02, s)).drain_eta_high.value ?? NaN;

    it('nothing while nothing is written', () => {
      expect(high(level(), 100)).toBeCloseTo(0.27, 5);
    });

    it('nothing while it is written as always, and the target keeps up', () => {
      const link = level();
      for (let s = 101; s <= 190; s++) link.observe(applied('a', s, (s - 1) * 2 * MiB, (s - 1) * 2 * MiB));
      expect(high(link, 190)).toBeLessThan(0.3);
    });

    it('what a newer position of the source shows', () => {
      const link = level();
      link.observe(sampled(100.5, 130));
      expect(high(link, 100.5)).toBeGreaterThanOrEqual(3);
    });

    it('what may have been written since, at the rate of late', () => {
      const link = level();
      // 20 MiB/s, of which half is applied: 1 s after the last look 60 MiB are left, of which 50 were seen.
      for (let s = 1; s <= 5; s++) link.observe(applied('a', 100 + s, (100 + 10 * s) * MiB, (100 + 20 * s) * MiB));
      const { drain_eta: eta, drain_eta_high: bound } = link.readings(105 * S, lag(0.02, 105));
      expect(eta.value).toBeCloseTo(5, 1);
      expect(bound.value).toBeGreaterThanOrEqual(7);
      expect(bound.reason).toMatch(/being written to, or was just now: allows for \d+\.\d MB/);
      // A burst that comes again, just after a look that shows nothing of it.
      for (let s = 106; s <= 130; s++) link.observe(applied('a', s, 200 * MiB, 200 * MiB));
      expect(high(link, 130)).toBeGreaterThanOrEqual(2);
      for (let s = 131; s <= 170; s++) link.observe(applied('a', s, 200 * MiB, 200 * MiB));
      expect(high(link, 170)).toBeCloseTo(0.27, 5);
    });

    it('a transaction whose bytes counted as passed on while it was open', () => {
      const link = level();
      for (let s = 1; s <= 3; s++) link.observe(applied('a', 100 + s, (100 + 15 * s) * MiB, (100 + 15 * s) * MiB));
      expect(high(link, 103)).toBeGreaterThanOrEqual(4.5);
      // Much outstanding as well does not count twice.
      const behind = level();
      for (let s = 1; s <= 3; s++) behind.observe(applied('a', 100 + s, 100 * MiB, (100 + 15 * s) * MiB));
      // Twice, because few rates are known; the pause is of the last two seconds.
      expect(high(behind, 103)).toBeCloseTo(2 * (4.5 + 1.5) + 0.25 + 4 * (2 - 0.25), 1);
    });

    it('the time of writing where nothing is known of its speed', () => {
      const link = new LinkDrain(['a'], fresh);
      for (let s = 0; s <= 3; s++) link.observe(applied('a', s, s * 15 * MiB, s * 15 * MiB));
      expect(high(link, 3)).toBeCloseTo(3 + 1 + 0.25, 1); // all that was written, and as much as fits between two looks
    });

    it('nothing that was learnt before the clocks jumped, or before the source went back', () => {
      const link = level();
      link.observe(sampled(100.5, 130));
      link.reset();
      link.observe(applied('a', 101, 130 * MiB, 130 * MiB));
      expect(high(link, 101)).toBeCloseTo(0.27, 5);
      link.observe(sampled(101.5, 160));
      link.observe(applied('a', 120, 110 * MiB, 110 * MiB));
      link.observe(applied('a', 121, 110 * MiB, 110 * MiB));
      expect(high(link, 121)).toBeCloseTo(0.27, 5);
    });
  });

  it('are unknown without the head, and without flows', () => {
    const link = new LinkDrain(['a'], fresh);
    link.observe({
      kind: 'applied',
      link: 'shop/forward',
      flow: 'a',
      position: { kind: 'lsn', lsn: 0n },
      askedAt: 0,
      at: 0,
    });
    expect(link.readings(0, lag(0, 0)).drain_eta.value).toBeNull();
    expect(new LinkDrain([], fresh).readings(0, lag(0, 0)).drain_eta.value).toBeNull();
  });
});
