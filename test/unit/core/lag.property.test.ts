import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LagTracker, type LagReadings } from '../../../daemon/core/lag.js';
import { stateAt, valueAt, type Reading } from '../../../daemon/core/signal.js';
import type { Tick } from './reference.js';
import { referenceLag, type LagEvent, type RefLag, type RefSignal } from './reference-lag.js';
import { isThere, simulate, type Replication, type Troubles } from './replication.js';

const LAG_FRESH = 200;
const FRESH = 300;

const QUIET: Omit<Troubles, 'seed'> = {
  flows: 1,
  busy: false,
  stalls: false,
  writerFaults: false,
  watchFaults: false,
  freezes: false,
  resets: false,
  slow: false,
  sequential: true,
  stream: false,
  lost: 'no',
  restore: false,
};

/** One question: what the core and the reference said at `t`, after `seen` of the events. */
interface Question {
  t: Tick;
  seen: number;
  core: LagReadings;
  /** Worked out when called, because it takes its time. */
  reference: () => RefLag;
}

/** Feeds a simulated run to a tracker and asks at instants between the events, as the engine does. */
function ask(r: Replication, each: (q: Question) => void, delays?: (event: LagEvent, delay: Tick) => void): void {
  const options = { lagFresh: LAG_FRESH, fresh: FRESH, flows: r.flowNames };
  const tracker = new LagTracker({ lagFreshUs: LAG_FRESH, freshUs: FRESH, flows: r.flowNames });
  r.events.forEach((event, i) => {
    if (event.kind === 'reset') tracker.reset();
    else {
      const delay = tracker.observe(event);
      if (delay !== null) delays?.(event, delay);
    }
    const next = Math.min(r.events[i + 1]?.at ?? r.end, r.end);
    if (next <= event.at) return;
    const core = tracker.readings(event.at);
    const seen = r.events.slice(0, i + 1);
    for (const t of new Set([event.at, (event.at + next) >> 1, next - 1])) {
      each({ t, seen: i + 1, core, reference: () => referenceLag(seen, options, t) });
    }
  });
}

/** A reading of the core in the words of the reference. */
function inTicks(r: Reading, t: Tick): RefSignal {
  const value = valueAt(r, t);
  const ticks = value === null ? null : Math.round(value * 1e6);
  const state = stateAt(r, t);
  if (state === 'ok') return { state, value: ticks! };
  return state === 'stale' ? { state } : { state, atLeast: ticks };
}

const asked = (t: Tick, signal: string, said: RefSignal): object => ({ t, signal, ...said });

/** Looked at hundreds of thousands of times, so that `expect` is only asked to tell what differs. */
const isSame = (a: RefSignal, b: RefSignal): boolean => JSON.stringify(a) === JSON.stringify(b);

const troubles = (fixed: Partial<Troubles>): fc.Arbitrary<Troubles> => {
  const flag = fc.boolean();
  return fc
    .record({
      seed: fc.integer({ min: 1, max: 1e9 }),
      flows: fc.constantFrom(1, 1, 2, 3),
      busy: flag,
      stalls: flag,
      writerFaults: flag,
      watchFaults: flag,
      freezes: flag,
      resets: fc.constantFrom(false, false, false, true),
      slow: flag,
      sequential: flag,
      stream: flag,
      lost: fc.constantFrom<Troubles['lost']>('no', 'no', 'no', 'no', 'never', 'later'),
      restore: fc.constantFrom(false, false, true),
    })
    .map((t) => ({ ...t, ...fixed }));
};

const check = (arbitrary: fc.Arbitrary<Troubles>, numRuns: number, property: (t: Troubles) => void): void => {
  fc.assert(fc.property(arbitrary, property), { seed: 20261122, numRuns });
};

const enough = (counts: Record<string, number>, least: Record<string, number>): void => {
  if (process.env['LOCKGATE_SHOW_COUNTS'] !== undefined) console.log(JSON.stringify(counts));
  for (const [what, n] of Object.entries(least))
    expect({ what, enough: (counts[what] ?? 0) >= n }).toEqual({ what, enough: true });
};

/** Age of the oldest thing committed on the source and not visible on the target. */
function trueAge(r: Replication, t: Tick, flows: (flow: number) => boolean): Tick {
  const oldest = r.items.find((i) => flows(i.flow) && i.commit <= t && !isThere(i, t));
  return oldest === undefined ? 0 : t - oldest.commit;
}

describe('lag', () => {
  it('says what the list of all events says, at every instant', () => {
    const counts: Record<string, number> = {};
    check(troubles({}), 120, (knobs) => {
      ask(simulate(knobs), ({ t, core, ...q }) => {
        const reference = q.reference();
        for (const [name, said, right] of [
          ['lag', core.lag, reference.lag],
          ['lag_low', core.lag_low, reference.low],
          ['lag_by_position', core.lag_by_position, reference.byPosition],
          ['agreement', core.agreement, reference.agreement],
        ] as const) {
          const ticks = inTicks(said, t);
          if (name === 'agreement') {
            // Whether it is stale or unknown makes no difference to a gate, and the text does not say which.
            const exact = ticks.state === 'ok' ? said.value : null;
            const wanted = right.state === 'ok' ? right.value : null;
            if (exact !== wanted) expect({ t, name, exact }).toEqual({ t, name, exact: wanted });
          } else if (!isSame(ticks, right)) expect(asked(t, name, ticks)).toEqual(asked(t, name, right));
          const kind = right.state === 'unknown' && right.atLeast !== null ? 'at-least' : right.state;
          const which = name === 'agreement' && right.state === 'ok' ? `${right.value}` : kind;
          counts[`${name}-${which}`] = (counts[`${name}-${which}`] ?? 0) + 1;
        }
      });
    });
    enough(counts, {
      'lag-ok': 20_000,
      'lag-stale': 500,
      'lag-unknown': 5_000,
      'lag-at-least': 2_000,
      'lag_by_position-ok': 20_000,
      'lag_by_position-stale': 200,
      'lag_by_position-at-least': 500,
      'agreement-0': 1_000,
      'agreement-1': 10_000,
    });
  }, 120_000);

  it('is never below the age of the oldest row that is not there, minus one heartbeat interval', () => {
    const counts: Record<string, number> = {};
    check(troubles({}), 250, (knobs) => {
      const r = simulate(knobs);
      const { restoredAt } = r;
      // Nobody knows of a restore before the target has been asked.
      const noticed =
        restoredAt === null
          ? -1
          : r.events.findIndex((e) => e.kind === 'heartbeat-visible' && (e.askedAt ?? -1) >= restoredAt);
      ask(r, ({ t, seen, core }) => {
        if (stateAt(core.lag, t) !== 'ok') return;
        if (restoredAt !== null && t >= restoredAt && (noticed < 0 || seen <= noticed)) return;
        const age = trueAge(r, t, (flow) => flow === 0);
        if (restoredAt !== null && t >= restoredAt && age > 100) counts['restored'] = (counts['restored'] ?? 0) + 1;
        // A heartbeat every interval bounds it by the interval. Where the daemon stood still or waited for a commit, the
        // freshness does: what was not vouched for by then is unknown.
        const steady = !knobs.freezes && !knobs.writerFaults && !(knobs.slow && knobs.sequential);
        const allowed = steady ? r.interval : LAG_FRESH;
        expect({ t, age, lag: valueAt(core.lag, t)! * 1e6 + allowed >= age - 1e-6 }).toEqual({ t, age, lag: true });
        if (steady) counts['steady'] = (counts['steady'] ?? 0) + 1;
        if (age > 0) counts['behind'] = (counts['behind'] ?? 0) + 1;
        if (age > 300) counts['far-behind'] = (counts['far-behind'] ?? 0) + 1;
      });
    });
    enough(counts, { behind: 10_000, 'far-behind': 2_000, restored: 500 });
  }, 120_000);

  it('by position is never below the age of the oldest row of any flow, minus one heartbeat interval', () => {
    let behind = 0;
    check(troubles({ lost: 'no', restore: false }), 150, (knobs) => {
      const r = simulate(knobs);
      ask(r, ({ t, seen, core }) => {
        if (stateAt(core.lag_by_position, t) !== 'ok') return;
        const age = trueAge(r, t, () => true);
        const samples = r.events.slice(0, seen).filter((e) => e.kind === 'position-sampled');
        // The position is as old as the newest sample that every flow has applied; what came after it is not vouched for.
        const newest = samples.at(-1)?.sentAt ?? 0;
        const gaps = samples.map((s, i) => s.sentAt - (samples[i - 1]?.sentAt ?? s.sentAt));
        const allowed = Math.max(r.interval, t - newest, ...gaps.filter((g) => g <= FRESH));
        expect({ t, age, lag: valueAt(core.lag_by_position, t)! * 1e6 + allowed >= age - 1e-6 }).toEqual({
          t,
          age,
          lag: true,
        });
        if (age > r.interval) behind += 1;
      });
    });
    enough({ behind }, { behind: 3_000 });
  }, 120_000);

  it('is at least the true delay of a heartbeat that arrives, and lag_low at most what is true', () => {
    let arrivals = 0;
    let above = 0;
    check(troubles({ resets: false, restore: false }), 150, (knobs) => {
      const r = simulate(knobs);
      ask(
        r,
        ({ t, seen, core }) => {
          const low = core.lag_low;
          if (low.value === null) return;
          const shown = newestSeen(r.events.slice(0, seen));
          const sent = r.sends.indexOf(shown) + 1;
          const possible = r.items
            .filter((i) => i.seq !== null && i.seq >= sent && i.commit <= t)
            .map((i) => Math.min(i.apply, t) - i.commit);
          expect(Math.round(low.value * 1e6)).toBeLessThanOrEqual(Math.max(0, ...possible));
          if (low.value > 0) above += 1;
        },
        (event, delay) => {
          if (event.kind !== 'heartbeat-visible') return;
          const item = r.items.find((i) => i.seq === event.upTo)!;
          expect(delay).toBeGreaterThanOrEqual(item.apply - item.commit);
          arrivals += 1;
        },
      );
    });
    enough({ arrivals, above }, { arrivals: 2_000, above: 1_000 });
  }, 120_000);

  it('of an idle healthy pair stays within the delay, the round trips and the wait for the next look', () => {
    check(troubles({ ...QUIET }), 50, (knobs) => {
      ask(simulate(knobs), ({ t, core }) => {
        if (t < 300 || t >= 2900) return;
        for (const name of ['lag', 'lag_by_position'] as const) {
          expect({ t, name, state: stateAt(core[name], t) }).toEqual({ t, name, state: 'ok' });
          // 8 to commit and be answered for, 12 to apply, at most 40 until the next question, 8 to have it answered.
          expect(valueAt(core[name], t)! * 1e6).toBeLessThanOrEqual(76);
        }
        expect(core.agreement.value).toBe(1);
      });
    });
  }, 120_000);

  it('agrees with the positions unless a row has overtaken what is stuck, or rows do not arrive', () => {
    const counts: Record<string, number> = {};
    check(troubles({ restore: false }), 250, (knobs) => {
      const r = simulate(knobs);
      ask(r, ({ t, core }) => {
        const { value, reason } = core.agreement;
        if (value === null) return;
        if (value === 1) {
          counts['agree'] = (counts['agree'] ?? 0) + 1;
          return;
        }
        if (knobs.lost === 'no') {
          const stuck = r.items.some(
            (i) =>
              i.flow > 0 &&
              r.items.some(
                (h) => h.flow === 0 && h.seq !== null && h.lsn > i.lsn && h.apply + FRESH < Math.min(t, i.apply),
              ),
          );
          expect({ t, reason, stuck }).toEqual({ t, reason, stuck: true });
        }
        const which = knobs.lost === 'no' ? 'stuck' : 'lost';
        counts[which] = (counts[which] ?? 0) + 1;
      });
    });
    enough(counts, { agree: 10_000, stuck: 300, lost: 300 });
  }, 120_000);

  it('never disagrees within one flow, which applies in order, however slow the questions are', () => {
    check(troubles({ flows: 1, lost: 'no', stalls: true, busy: true, restore: false }), 150, (knobs) => {
      ask(simulate(knobs), ({ t, core }) =>
        expect({ t, agreement: core.agreement.value }).not.toEqual({ t, agreement: 0 }),
      );
    });
  }, 120_000);
});

/** When the newest heartbeat that was seen had been sent. */
function newestSeen(events: readonly LagEvent[]): Tick {
  const upTo = Math.max(0, ...events.map((e) => (e.kind === 'heartbeat-visible' ? (e.upTo ?? 0) : 0)));
  return events.find((e) => e.kind === 'heartbeat-sent' && e.seq === upTo)?.at ?? 0;
}
