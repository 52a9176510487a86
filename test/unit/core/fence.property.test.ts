import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Fence, type FenceVerdict } from '../../../daemon/core/fence.js';
import type { FenceMemory } from '../../../daemon/core/fence-memory.js';
import { memory } from '../../support/fence-bed.js';
import { simulateFence, type World, type WorldTroubles } from './fence-world.js';
import { referenceFence, type FenceEvent } from './reference-fence.js';

const us = (t: number): number => t * 1_000;
const lsnText = (lsn: number): string => `0/${lsn.toString(16).toUpperCase()}`;

const CALM: Omit<WorldTroubles, 'seed'> = {
  ...{ late: 'none', gaps: false, faults: false, regress: false, identity: false, prepared: false, direction: false },
  ...{ restarts: false, jumps: false, ends: false, slow: false, deadline: false },
  ...{ flows: 1, marked: true, proof: 'position' },
};

/** Feeds a simulated run to a fence, and hands over every verdict with the number of events before it. */
function ask(w: World, each: (verdict: FenceVerdict, fence: Fence, t: number, told: number) => void): Fence {
  const { place, placedAt, deadlineAt, fresh, flows, marked, proof } = w.fence;
  const options = {
    ...{
      flows: proof === 'marker' ? [] : Array.from({ length: flows }, (_, i) => `flow ${i}`),
      proof,
      freshUs: us(fresh),
    },
    names: { source: 'onprem', target: 'aws' },
  };
  const first = memory({ position: lsnText(place), placedAt, deadlineAt, marker: marked ? 'fence-f1' : null });
  let fence = new Fence(first, options, us(placedAt), placedAt);
  const take = (e: FenceEvent): void => {
    switch (e.kind) {
      case 'watching':
        fence.watching(us(e.at), e.t, e.evidence, null);
        return;
      case 'lost':
        fence.notWatching(e.t, 'lost');
        return;
      case 'writes':
        fence.wrote(
          e.lsns.map((lsn) => ({ position: lsnText(lsn), committedAt: null })),
          e.t,
        );
        return;
      case 'applied':
        fence.applied(`flow ${e.flow}`, { kind: 'lsn', lsn: BigInt(e.lsn) }, us(e.askedAt));
        return;
      case 'applied-fault':
        fence.appliedFault(`flow ${e.flow}`, 'a fault');
        return;
      case 'look': {
        const { identity, marker, askedAt } = e;
        fence.looked(e.side, { identity, marker, open: e.open ? ['one'] : [], askedAt: us(askedAt), at: us(e.t) });
        return;
      }
      case 'look-fault':
        fence.looked(e.side, { fault: 'a fault' });
        return;
      case 'direction':
        fence.hinder('direction', e.known ? null : 'the direction is unknown');
        return;
      case 'jump':
        fence.forget(us(e.t));
        return;
      case 'restart': {
        const kept = JSON.parse(JSON.stringify(fence.memory)) as FenceMemory;
        fence = Fence.takenUp(kept, options, us(e.t), e.t, e.watchedUntil);
        return;
      }
      case 'end':
        fence.end(e.state, e.t, 'by hand');
        return;
      case 'judge':
    }
  };
  w.events.forEach((e, i) => {
    take(e);
    if (e.kind === 'judge') each(fence.judge(us(e.t), e.t), fence, e.t, i + 1);
  });
  return fence;
}

const troubles = (fixed: Partial<WorldTroubles> = {}): fc.Arbitrary<WorldTroubles> => {
  const seldom = fc.constantFrom(false, false, true);
  return fc
    .record({
      ...{ seed: fc.integer({ min: 1, max: 1e9 }), gaps: seldom, faults: seldom, regress: seldom, identity: seldom },
      ...{ prepared: seldom, direction: seldom, restarts: seldom, jumps: seldom, ends: seldom, slow: seldom },
      deadline: seldom,
      late: fc.constantFrom<WorldTroubles['late']>('none', 'none', 'open', 'writes'),
      flows: fc.constantFrom(1, 2, 3),
      marked: fc.constantFrom(true, true, false),
      proof: fc.constantFrom<WorldTroubles['proof']>('position', 'position', 'position', 'marker'),
    })
    .map((t) => ({ ...t, ...fixed }));
};

const check = (arbitrary: fc.Arbitrary<WorldTroubles>, numRuns: number, property: (t: WorldTroubles) => void): void => {
  fc.assert(fc.property(arbitrary, property), { seed: 20261127, numRuns });
};

const enough = (counts: Record<string, number>, least: Record<string, number>): void => {
  if (process.env['LOCKGATE_SHOW_COUNTS'] !== undefined) console.log(JSON.stringify(counts));
  for (const [what, n] of Object.entries(least))
    expect({ what, enough: (counts[what] ?? 0) >= n }).toEqual({ what, enough: true });
};

describe('a fence', () => {
  it('says what the list of all that was told says, at every question', () => {
    const counts: Record<string, number> = {};
    check(troubles(), 400, (knobs) => {
      const w = simulateFence(knobs);
      let last = '';
      ask(w, ({ state }, _, t, told) => {
        counts[state] = (counts[state] ?? 0) + 1;
        if (last !== state) counts[`${last}>${state}`] = (counts[`${last}>${state}`] ?? 0) + 1;
        // Every change, and some of the answers between.
        const changed = last !== state;
        last = state;
        if (!changed && told % 4 !== 0) return;
        const right = referenceFence(w.fence, w.events.slice(0, told));
        if (state !== right) expect({ knobs, t, state }).toEqual({ knobs, t, state: right });
      });
    });
    enough(counts, {
      ...{ placed: 5_000, drained: 2_000, unknown: 500, violated: 1_000, expired: 1_000, closed: 300, cancelled: 300 },
      ...{ 'placed>drained': 100, 'drained>unknown': 40, 'unknown>drained': 30, 'placed>violated': 40 },
      ...{
        'drained>violated': 5,
        'placed>expired': 20,
        'drained>placed': 5,
        'placed>cancelled': 2,
        'drained>closed': 2,
      },
    });
  }, 120_000);

  it('is never drained while something is missing, open, prepared or beyond the place', () => {
    const counts: Record<string, number> = {};
    check(troubles({ proof: 'position' }), 1_500, (knobs) => {
      const w = simulateFence(knobs);
      ask(w, ({ state, provedAt }, _, t) => {
        if (state !== 'drained') {
          const lacking = w.commits.some((c) => c.t <= t && w.appliedWithin(c.flow, t, t) < c.lsn);
          if (lacking) counts['missing'] = (counts['missing'] ?? 0) + 1;
          return;
        }
        const from = provedAt! / 1_000;
        const bad = {
          beyond: w.commits.filter((c) => c.lsn > w.fence.place && c.t <= from),
          missing: w.commits.filter((c) => c.t <= from && w.appliedWithin(c.flow, from, t) < c.lsn),
          open: w.commits.filter((c) => c.began < from && c.t > t && c.began < w.fence.placedAt),
          prepared: !w.unprepared(from, t),
          old: t - from > w.fence.fresh,
        };
        const nothing = { beyond: [], missing: [], open: [], prepared: false, old: false };
        if (JSON.stringify(bad) !== JSON.stringify(nothing))
          expect({ knobs, t, bad }).toEqual({ knobs, t, bad: nothing });
        counts['drained'] = (counts['drained'] ?? 0) + 1;
        if (w.commits.some((c) => c.t > t))
          counts['drained, and written to later'] = (counts['drained, and written to later'] ?? 0) + 1;
      });
    });
    enough(counts, { drained: 10_000, missing: 10_000, 'drained, and written to later': 100 });
  }, 120_000);

  it('drains in the end when writes had stopped, nothing was left unwatched and the deadline was not missed', () => {
    const counts: Record<string, number> = {};
    check(troubles({ late: 'none', deadline: false, ends: false }), 600, (knobs) => {
      const w = simulateFence(knobs);
      const fence = ask(w, () => undefined);
      const blind = fence.memory.unwatched.length > 0;
      const firstTarget = w.events.find((e) => e.kind === 'look' && e.side === 'target');
      const other = firstTarget?.kind === 'look' && firstTarget.identity !== 'tgt';
      const unprovable = knobs.proof === 'marker' && !knobs.marked;
      const { state } = fence.judge(us(w.end), w.end);
      const right = blind || other || unprovable ? ['placed', 'unknown'] : ['drained'];
      if (!right.includes(state)) expect({ knobs, state }).toEqual({ knobs, state: right });
      counts[state] = (counts[state] ?? 0) + 1;
      if (fence.memory.evidence.length > 0 && state === 'drained')
        counts['by evidence'] = (counts['by evidence'] ?? 0) + 1;
    });
    enough(counts, { drained: 300, placed: 30, unknown: 10, 'by evidence': 50 });
  }, 120_000);

  it('drains soon where nothing troubles it, whatever it was asked', () => {
    check(troubles(CALM), 100, (knobs) => {
      const w = simulateFence(knobs);
      let at = Infinity;
      ask(w, ({ state }, _, t) => {
        if (state === 'drained') at = Math.min(at, t);
        else expect({ knobs, t, at, state }).toEqual({ knobs, t, at: Infinity, state: 'placed' });
      });
      expect(at).toBeLessThan(w.fence.placedAt + 500);
    });
  }, 60_000);
});
