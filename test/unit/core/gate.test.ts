import { describe, expect, it } from 'vitest';
import type { Condition, SignalCondition } from '../../../daemon/core/condition.js';
import type { GateConfig } from '../../../daemon/core/config.js';
import { GateGroup, gateState, groupGates, type Transition } from '../../../daemon/core/gate.js';
import { known, unknown, type Reading } from '../../../daemon/core/signal.js';

const S = 1_000_000;

const lagUnder = (seconds: number, forS: number, fn: SignalCondition['fn'] = null): Condition => ({
  kind: 'signal',
  text: `lag < ${seconds}s for ${forS}s`,
  migration: 'shop',
  signal: 'forward.lag',
  unit: 's',
  fn,
  op: '<',
  threshold: seconds,
  forUs: forS * S,
});
const on = (gate: string, forS = 0): Condition => ({ kind: 'gate', text: `gate ${gate} open`, gate, forUs: forS * S });
const gate = (id: string, require: Condition[], gapToleranceUs = 0): GateConfig => ({
  name: id,
  id,
  migration: 'shop',
  require,
  gapToleranceUs,
});

/** A group over one signal, with everything it recorded. */
class Bench {
  reading: Reading = unknown('nothing has been observed yet', 0);
  refuse = false;
  readonly recorded: Transition[] = [];
  readonly group: GateGroup;

  constructor(...gates: GateConfig[]) {
    const record = (t: Transition): boolean => {
      if (this.refuse && t.to === 'open') return false;
      this.recorded.push(t);
      return true;
    };
    this.group = new GateGroup(gates, { reading: () => this.reading, record }, 0);
  }

  set(reading: Reading, s: number): void {
    this.group.advance(s * S);
    this.reading = reading;
    this.group.look(s * S);
  }

  ask(id: string, s: number): ReturnType<GateGroup['verdict']> {
    this.group.advance(s * S);
    this.group.look(s * S);
    return this.group.verdict(id, s * S);
  }

  transitions(): string[] {
    return this.recorded.map((t) => `${t.at / S} ${t.gate} ${t.from}-${t.to}`);
  }
}

describe('the rule', () => {
  it.each([
    [['held', 'held'], 'open'],
    [['held', 'holding'], 'closed'],
    [['unknown', 'held'], 'unknown'],
    [['unknown', 'holding'], 'unknown'],
    [['unknown', 'broken'], 'closed'],
    [['held', 'broken'], 'closed'],
    [[], 'unknown'],
  ] as const)('%j makes it %s', (conditions, state) => expect(gateState([...conditions])).toBe(state));
});

describe('the evidence of a transition', () => {
  it('is that of its own instant, also when several lie in one stretch', () => {
    const b = new Bench(gate('g', [lagUnder(10, 4)]));
    b.set({ ...known(0.5, 0, Infinity), growsFrom: 0 }, 0);
    b.ask('g', 60);
    expect(b.transitions()).toEqual(['0 g unknown-closed', '4 g closed-open', '10 g open-closed']);
    const [held, opened, broken] = b.recorded.map((t) => t.verdict);
    expect(held).toMatchObject({ state: 'closed', since: 0, opensAt: 4 * S, conditions: [{ state: 'holding' }] });
    expect(opened).toMatchObject({
      state: 'open',
      since: 4 * S,
      opensAt: null,
      conditions: [{ state: 'held', heldUs: 4 * S, lastBroken: null, value: 4 }],
    });
    expect(broken).toMatchObject({
      state: 'closed',
      opensAt: null,
      conditions: [{ state: 'broken', heldUs: 0, value: 10, lastBroken: { at: 10 * S, value: 10 } }],
    });
  });

  it('of a window is not cut short by what the stretch has passed since', () => {
    const b = new Bench(gate('g', [lagUnder(10, 0, { name: 'max', windowUs: 5 * S })]));
    b.set({ ...known(0.5, 0, Infinity), growsFrom: 0 }, 0);
    b.set({ ...known(0.5, 6 * S, Infinity), growsFrom: 0 }, 6);
    b.ask('g', 60);
    expect(b.transitions()).toEqual(['5 g unknown-open', '10 g open-closed']);
    expect(b.recorded[1]?.verdict.conditions[0]).toMatchObject({ value: 10, lastBroken: { at: 10 * S, value: 10 } });
  });

  it('of a gate that depends on another names the state that one had then', () => {
    const b = new Bench(gate('g', [lagUnder(10, 0)]), gate('h', [on('g')]));
    b.set({ ...known(0.5, 0, 20 * S), growsFrom: 0 }, 0);
    b.ask('h', 60);
    const h = b.recorded.filter((t) => t.gate === 'h');
    expect(h.map((t) => [t.at / S, t.to, t.verdict.conditions[0]?.reason])).toEqual([
      [0, 'open', null],
      [10, 'closed', 'gate g is closed'],
      [20.000001, 'unknown', 'gate g is unknown'],
    ]);
  });
});

describe('while the journal refuses an opening', () => {
  it('the gate stays closed, says why, and opens as soon as it can be written', () => {
    const b = new Bench(gate('g', [lagUnder(10, 2)]));
    b.refuse = true;
    b.set(known(1, 0, Infinity), 0);
    expect(b.ask('g', 3)).toMatchObject({ state: 'closed', since: 0, opensAt: null });
    expect(b.ask('g', 4).reason).toContain('the journal cannot be written');
    b.refuse = false;
    expect(b.ask('g', 5)).toMatchObject({ state: 'open', reason: null });
    expect(b.transitions()).toEqual(['0 g unknown-closed', '4 g closed-open']);
    expect(b.recorded[1]?.verdict.reason).toBeNull();
  });

  it('a gate that was unknown is closed, and that is told', () => {
    const b = new Bench(gate('g', [lagUnder(10, 0)]));
    b.ask('g', 1);
    b.refuse = true;
    b.set(known(1, 2 * S, Infinity), 2);
    expect(b.group.state('g')).toBe('closed');
    expect(b.transitions()).toEqual(['2 g unknown-closed']);
    expect(b.recorded[0]?.verdict.reason).toContain('the journal cannot be written');
  });

  it('one that is open stays open, and still closes', () => {
    const b = new Bench(gate('g', [lagUnder(10, 0)]));
    b.set(known(1, 0, Infinity), 0);
    b.refuse = true;
    expect(b.ask('g', 5).state).toBe('open');
    b.set(known(11, 6 * S, Infinity), 6);
    expect(b.ask('g', 6).state).toBe('closed');
  });
});

describe('a gap that the clock did not count', () => {
  it('breaks a hold that does not tolerate it, even if the next observation comes at the same instant', () => {
    const b = new Bench(gate('g', [lagUnder(10, 5)], 3 * S), gate('h', [lagUnder(10, 5)], 60 * S));
    b.set(known(1, 0, Infinity), 0);
    b.group.advance(4 * S);
    b.group.gap(30 * S);
    b.group.look(4 * S);
    expect(b.ask('g', 6)).toMatchObject({ state: 'closed', opensAt: 9 * S });
    expect(b.ask('h', 6).state).toBe('open');
  });

  it('adds to the unknown stretch that follows', () => {
    const b = new Bench(gate('h', [lagUnder(10, 5)], 60 * S));
    b.set(known(1, 0, Infinity), 0);
    b.group.advance(4 * S);
    b.group.gap(40 * S);
    b.set(unknown('suspended', 4 * S), 4);
    b.set(known(1, 24 * S, Infinity), 24);
    expect(b.ask('h', 24).state).toBe('open');

    const c = new Bench(gate('h', [lagUnder(10, 5)], 60 * S));
    c.set(known(1, 0, Infinity), 0);
    c.group.advance(4 * S);
    c.group.gap(40 * S);
    c.set(unknown('suspended', 4 * S), 4);
    c.set(known(1, 25 * S, Infinity), 25);
    expect(c.ask('h', 25).state).toBe('closed');
  });
});

describe('groups', () => {
  it('are the gates that refer to each other, dependencies first', () => {
    const gates = [
      gate('c', [on('b')]),
      gate('x', [lagUnder(1, 0)]),
      gate('b', [on('a')]),
      gate('a', [lagUnder(1, 0)]),
    ];
    const groups = groupGates(gates).map((g) => g.map((m) => m.id).sort());
    expect(groups).toEqual([['a', 'b', 'c'], ['x']]);
    const group = new GateGroup(gates, { reading: () => unknown('', 0), record: () => true }, 0);
    const order = group.ids;
    expect(order.indexOf('a')).toBeLessThan(order.indexOf('b'));
    expect(order.indexOf('b')).toBeLessThan(order.indexOf('c'));
  });

  it('tell why a condition is unknown', () => {
    const b = new Bench(gate('g', [lagUnder(10, 0, { name: 'max', windowUs: 5 * S })]), gate('s', [lagUnder(10, 0)]));
    expect(b.ask('g', 1).conditions[0]?.reason).toBe('nothing has been observed yet');
    b.set(known(1, 1 * S, 4 * S), 1);
    expect(b.ask('g', 3).conditions[0]?.reason).toBe('the window of 5s is not covered by observations yet');
    expect(b.ask('s', 9).conditions[0]?.reason).toBe(
      'last observed 8s ago, which is too old to be trusted (usable for 4s)',
    );
  });
});
