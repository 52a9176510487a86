import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { pushSpan, type Span, type Truth } from '../../../daemon/core/compare.js';
import type { GateConfig } from '../../../daemon/core/config.js';
import { EMPTY_HOLD, foldHold, type HoldState } from '../../../daemon/core/hold.js';
import { GateGroup } from '../../../daemon/core/gate.js';
import { known, unknown, type Reading } from '../../../daemon/core/signal.js';
import { holdState, trueSince, type RefTruth } from './reference.js';

const truth = fc.oneof(
  { arbitrary: fc.constant<Truth>('true'), weight: 4 },
  { arbitrary: fc.constantFrom<Truth>('false', 'unknown', 'unknown'), weight: 1 },
);
const stretches = fc.array(fc.record({ is: truth, ticks: fc.integer({ min: 1, max: 9 }) }), {
  minLength: 1,
  maxLength: 14,
  size: 'max',
});

const everyInstant = (parts: readonly { is: Truth; ticks: number }[]): RefTruth[] =>
  parts.flatMap(({ is, ticks }) => Array.from({ length: ticks }, () => is));

function spansOf(truths: readonly Truth[], from: number, to: number): Span<Truth>[] {
  const spans: Span<Truth>[] = [];
  for (let t = from; t < to; t += 1) pushSpan(spans, t, t + 1, truths[t]!);
  return spans;
}

/** A gate that wants 30 ticks of the signal below 1. */
const soak = (gapToleranceUs: number): GateConfig => ({
  name: 'g',
  id: 'g',
  migration: 'm',
  gapToleranceUs,
  require: [
    {
      kind: 'signal',
      text: 'x < 1 for 30us',
      migration: 'm',
      signal: 'x',
      unit: 's',
      fn: null,
      op: '<',
      threshold: 1,
      forUs: 30,
    },
  ],
});

describe('a hold', () => {
  it('is what looking back over every instant says, however the stretches are cut', () => {
    const counts: Record<HoldState | 'gap', number> = { held: 0, holding: 0, broken: 0, unknown: 0, gap: 0 };
    fc.assert(
      fc.property(
        stretches,
        fc.integer({ min: 0, max: 20 }),
        fc.constantFrom(0, 0, 2, 4, 8),
        fc.array(fc.nat(120), { maxLength: 8 }),
        (parts, needs, tolerate, cuts) => {
          const truths = everyInstant(parts);
          const edges = [...new Set([0, ...cuts.filter((c) => c < truths.length), truths.length])].sort(
            (a, b) => a - b,
          );
          let hold = EMPTY_HOLD;
          edges.slice(1).forEach((to, i) => {
            const from = edges[i]!;
            const folded = foldHold(hold, spansOf(truths, from, to), needs, tolerate);
            hold = folded.hold;
            for (let t = from; t < to; t += 1) {
              const said = folded.states.find((s) => s.from <= t && t < s.to)?.is;
              const right = holdState(truths.slice(0, t + 1), needs, tolerate);
              expect({ t, said }).toEqual({ t, said: right });
              counts[right] += 1;
              const since = trueSince(truths.slice(0, t + 1), tolerate);
              if (since !== null && truths.slice(since, t + 1).includes('unknown')) counts.gap += 1;
            }
            if (truths[to - 1] === 'true') expect(hold.trueFrom).toBe(trueSince(truths.slice(0, to), tolerate));
            const lastFalse = truths.slice(0, to).lastIndexOf('false');
            expect(hold.lastFalse).toBe(lastFalse < 0 ? null : lastFalse);
          });
        },
      ),
      { seed: 20261122, numRuns: 600 },
    );
    for (const n of Object.values(counts)) expect(n).toBeGreaterThan(500);
  });

  it('longer than an hour survives a restart exactly when the gap is tolerated', () => {
    const counts = { kept: 0, lost: 0 };
    const needs = 30;
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 0, max: 8 }),
        fc.integer({ min: 0, max: 8 }),
        fc.integer({ min: 0, max: 8 }),
        (before, down, silent, tolerate) => {
          const gates = [soak(tolerate)];
          let reading: Reading = known(0, 0, Infinity);
          const around = { reading: () => reading, record: () => true };
          const first = new GateGroup(gates, around, 0);
          first.advance(before);
          const [kept] = first.longHolds(needs - 1);
          expect(kept).toEqual({ gate: 'g', condition: 'x < 1 for 30us', trueFrom: 0, observedUntil: before - 1 });
          expect(first.longHolds(needs)).toEqual([]);

          reading = unknown('nothing yet', 0);
          const restart = before + down;
          const second = new GateGroup(gates, around, restart);
          second.restoreHold('g', 'x < 1 for 30us', kept!.trueFrom, kept!.observedUntil);
          second.advance(restart + silent);
          reading = known(0, 0, Infinity);
          const truths: RefTruth[] = [
            ...Array.from({ length: before }, () => 'true' as const),
            ...Array.from({ length: down + silent }, () => 'unknown' as const),
          ];
          for (let t = restart + silent; t < restart + silent + 40; t += 7) {
            second.advance(t);
            second.look(t);
            while (truths.length <= t) truths.push('true');
            expect(second.verdict('g', t).conditions[0]?.state).toBe(holdState(truths, needs, tolerate));
          }
          counts[trueSince(truths, tolerate) === 0 ? 'kept' : 'lost'] += 1;
        },
      ),
      { seed: 20261122, numRuns: 300 },
    );
    expect(counts.kept).toBeGreaterThan(50);
    expect(counts.lost).toBeGreaterThan(50);
  });

  it('is handed out as observed until the gap that is going on began', () => {
    const gates = [soak(50)];
    let reading: Reading = known(0, 0, Infinity);
    const group = new GateGroup(gates, { reading: () => reading, record: () => true }, 0);
    group.advance(20);
    reading = unknown('down', 20);
    group.advance(35);
    expect(group.longHolds(29)).toMatchObject([{ trueFrom: 0, observedUntil: 19 }]);
  });

  it('is not taken up when the clock was set back, for another gate, or for another condition', () => {
    const gates = [soak(1_000)];
    const group = new GateGroup(gates, { reading: () => known(0, 0, Infinity), record: () => true }, 500);
    group.restoreHold('g', 'x < 1 for 30us', 100, 600);
    group.restoreHold('h', 'x < 1 for 30us', 100, 499);
    group.restoreHold('g', 'x < 2 for 30us', 100, 499);
    group.look(500);
    expect(group.verdict('g', 500).conditions[0]).toMatchObject({ state: 'holding', heldUs: 0 });
  });
});
