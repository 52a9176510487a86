/** Rules through the very gates that judge them, against a reference that looks at every instant. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { advanceAlert, type Alert, type AlertState, type Moment } from '../../../daemon/core/alert.js';
import { isRuleGate, ruleGates } from '../../../daemon/core/alert-gates.js';
import type { AlertRule, RuleTest } from '../../../daemon/core/alert-rule.js';
import { truthAt, type Truth } from '../../../daemon/core/compare.js';
import type { SignalCondition } from '../../../daemon/core/condition.js';
import type { GateConfig } from '../../../daemon/core/config.js';
import { GateGroup } from '../../../daemon/core/gate.js';
import { known, stateAt, unknown, type Reading } from '../../../daemon/core/signal.js';

const END = 120;
const THRESHOLD = 5e-6;

const on = (signal: string, forUs: number): SignalCondition => ({
  ...{ kind: 'signal', text: signal, migration: 'shop', signal, unit: 's', fn: null, op: '>' },
  ...{ threshold: THRESHOLD, forUs },
});
/** A gate that is open while the signal is above the threshold. */
const GATE: GateConfig = {
  ...{ name: 'g', id: 'shop/g', migration: 'shop', require: [on('a', 0)], gapToleranceUs: 0 },
};
const ruleOf = (test: RuleTest): AlertRule => ({
  ...{ name: 'r', migration: 'shop', severity: 'error', test, summary: '', remedy: '', builtIn: false },
});

interface Step {
  at: number;
  signal: 'a' | 'b';
  reading: Reading;
}

const reading = fc
  .record({
    us: fc.integer({ min: 0, max: 10 }),
    grows: fc.boolean(),
    fresh: fc.constantFrom(3, 20, Infinity),
    bound: fc.constantFrom('exact', 'exact', 'exact', 'at-least'),
    unknown: fc.boolean(),
  })
  .map(({ us, grows, fresh, bound, unknown: nothing }) => (at: number): Reading => {
    if (nothing && us > 5) return unknown('nobody knows', at);
    return { ...known(us / 1e6, at, fresh), growsFrom: grows ? at - us : null, bound: bound };
  });
const steps = fc
  .array(
    fc.record({
      at: fc.integer({ min: 0, max: END - 1 }),
      signal: fc.constantFrom('a' as const, 'b' as const),
      reading,
    }),
    { maxLength: 14 },
  )
  .map((all) => all.map((s): Step => ({ ...s, reading: s.reading(s.at) })).sort((a, b) => a.at - b.at));
const looks = fc.array(fc.integer({ min: 0, max: END - 1 }), { maxLength: 20 });
const holds = fc.record({ d: fc.constantFrom(0, 2, 7), r: fc.constantFrom(1, 5, 12) });
const kind = fc.constantFrom('condition' as const, 'unknown' as const, 'gate-shut' as const);

const testOf = (what: 'condition' | 'unknown' | 'gate-shut', d: number): RuleTest =>
  what === 'condition'
    ? { kind: 'condition', condition: on('a', d) }
    : what === 'unknown'
      ? { kind: 'unknown', signal: 'a', forUs: d }
      : { kind: 'gate-shut', gate: GATE.id, forUs: d, while: on('b', 0) };

/** What the gates and the machine make of it, looked at whenever `looks` says. */
function judged(test: RuleTest, r: number, all: readonly Step[], at: readonly number[]): string[] {
  const { fires, over, gates } = ruleGates(ruleOf(test), r);
  const readings: Record<string, Reading> = { a: unknown('', 0), b: unknown('', 0) };
  let moments: Moment[] = [];
  const group = new GateGroup(
    [GATE, ...gates],
    {
      reading: (_, signal) => readings[signal]!,
      record: ({ gate, to, at: when }) => {
        expect(gate === GATE.id || isRuleGate(gate)).toBe(true);
        if (to !== 'open') return true;
        if (gate === fires) moments.push({ at: when, is: 'fires' });
        if (over.includes(gate)) moments.push({ at: when, is: 'over' });
        return true;
      },
    },
    0,
  );
  let alert: Alert = { state: 'inactive', since: 0 };
  const said: string[] = [];
  const settle = (now: number): void => {
    const { alert: after, changes } = advanceAlert(alert, moments, null, now);
    moments = [];
    alert = after;
    said.push(...changes.map((c) => `${c.to} ${c.at}`));
  };
  const events = [
    ...all.map((s, i) => ({ at: s.at, order: i, run: () => void (readings[s.signal] = s.reading) })),
    ...at.map((t, i) => ({ at: t, order: 1000 + i, run: () => settle(t) })),
  ].sort((x, y) => x.at - y.at || x.order - y.order);
  for (const e of events) {
    group.advance(e.at);
    if (e.order < 1000) e.run();
    // Nothing more is said of an instant than of its last reading.
    if (!events.some((o) => o.order < 1000 && o.at === e.at && o.order > e.order && e.order < 1000)) group.look(e.at);
    if (e.order >= 1000) e.run();
  }
  group.advance(END);
  settle(END);
  return said;
}

/** The same, instant by instant. */
function reference(test: RuleTest, d: number, r: number, all: readonly Step[]): string[] {
  const inForce = (signal: string, t: number): Reading =>
    all.findLast((s) => s.signal === signal && s.at <= t)?.reading ?? unknown('', 0);
  const truth = (signal: string, t: number): Truth => truthAt(inForce(signal, t), '>', THRESHOLD, t);
  const isTrue = (t: number): boolean =>
    test.kind === 'condition'
      ? truth('a', t) === 'true'
      : test.kind === 'unknown'
        ? stateAt(inForce('a', t), t) !== 'ok'
        : truth('a', t) !== 'true' && truth('b', t) === 'true';
  const isFalse: ((t: number) => boolean)[] =
    test.kind === 'condition'
      ? [(t) => truth('a', t) === 'false']
      : test.kind === 'unknown'
        ? [(t) => stateAt(inForce('a', t), t) === 'ok']
        : [(t) => truth('a', t) === 'true', (t) => truth('b', t) === 'false'];
  const throughout = (is: (t: number) => boolean, from: number, to: number): boolean => {
    for (let t = from; t <= to; t += 1) if (t < 0 || !is(t)) return false;
    return true;
  };
  const said: string[] = [];
  let firing = false;
  for (let t = 0; t < END; t += 1) {
    if (!firing && throughout(isTrue, t - d, t)) {
      firing = true;
      said.push(`firing ${t}`);
    } else if (firing && isFalse.some((is) => throughout(is, t - r, t))) {
      firing = false;
      said.push(`resolved ${t}`);
    }
  }
  return said;
}

describe('the rule of an alert', () => {
  it('fires and ends exactly when every instant says so, whenever it is looked at', () => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(kind, holds, steps, looks, (what, { d, r }, all, at) => {
        const test = testOf(what, d);
        const expected = reference(test, d, r, all);
        expect(judged(test, r, all, at)).toEqual(expected);
        if (expected.length > 0) seen.add(`${what} fires`);
        if (expected.length > 1) seen.add(`${what} ends`);
        if (expected.length > 2) seen.add(`${what} fires again`);
      }),
      { numRuns: 1_000 },
    );
    for (const what of ['condition', 'unknown', 'gate-shut']) {
      for (const then of ['fires', 'ends', 'fires again']) expect(seen).toContain(`${what} ${then}`);
    }
  });

  it('makes one incident of a signal that flaps, and none ends by what nobody knows', () => {
    const flaps = Array.from({ length: 20 }, (_, i): Step => ({
      ...{ at: 2 + i * 4, signal: 'a', reading: known(i % 2 === 0 ? 9e-6 : 0, 2 + i * 4, Infinity) },
    }));
    const test = testOf('condition', 0);
    expect(judged(test, 12, flaps, [])).toEqual(['firing 2', `resolved ${2 + 19 * 4 + 12}`]);
    const gone: Step[] = [...flaps.slice(0, 1), { at: 10, signal: 'a', reading: unknown('gone', 10) }];
    expect(judged(test, 12, gone, [])).toEqual(['firing 2']);
    // Known to be false for 10, unknown, false again: 12 in one piece are asked for.
    const broken: Step[] = [
      ...flaps.slice(0, 1),
      { at: 10, signal: 'a', reading: known(0, 10, 9) },
      { at: 30, signal: 'a', reading: known(0, 30, Infinity) },
    ];
    expect(judged(test, 12, broken, [])).toEqual(['firing 2', 'resolved 42']);
  });

  it('goes through every state', () => {
    const states: AlertState[] = [];
    let alert: Alert = { state: 'inactive', since: 0 };
    const step = (now: number, moments: Moment[], pending: number | null): void => {
      alert = advanceAlert(alert, moments, pending, now).alert;
      states.push(alert.state);
    };
    step(1, [], 1);
    expect(alert.since).toBe(1);
    step(2, [], 1);
    step(3, [], null);
    step(4, [{ at: 4, is: 'over' }], null);
    step(5, [{ at: 5, is: 'fires' }], null);
    step(6, [], 6);
    step(7, [{ at: 7, is: 'fires' }], null);
    expect(alert.since).toBe(5);
    step(8, [{ at: 8, is: 'over' }], null);
    step(9, [], null);
    step(10, [], 10);
    step(11, [], null);
    expect(states).toEqual(
      'pending pending inactive inactive firing firing firing resolved resolved pending inactive'.split(' '),
    );
  });

  it('takes what happened between two looks in the order in which it happened', () => {
    const moments: Moment[] = [
      { at: 9, is: 'fires' },
      { at: 5, is: 'over' },
    ];
    const { alert, changes } = advanceAlert({ state: 'firing', since: 0 }, moments, null, 10);
    expect(changes).toEqual([
      { to: 'resolved', at: 5 },
      { to: 'firing', at: 9 },
    ]);
    expect(alert).toEqual({ state: 'firing', since: 9 });
  });
});
