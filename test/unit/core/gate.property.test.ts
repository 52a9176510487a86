import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Comparator, Condition, WindowFunction } from '../../../daemon/core/condition.js';
import type { GateConfig } from '../../../daemon/core/config.js';
import { GateGroup, type Transition, type Verdict } from '../../../daemon/core/gate.js';
import { unknown, type Reading } from '../../../daemon/core/signal.js';
import { ReferenceGates, type RefCondition, type RefGate, type RefReading, type RefVerdict } from './reference.js';

const SIGNALS = ['a', 'b'] as const;
const MIGRATION = 'shop';

/** A reading relative to the instant at which it is set. */
interface DraftReading {
  value: number | null;
  /** How long it has been growing, or null. */
  grown: number | null;
  atLeast: boolean;
  late: number;
  fresh: number;
}

type Step =
  | { do: 'wait'; ticks: number }
  | { do: 'set'; signal: string; reading: DraftReading }
  /** Both signals are not known for a moment. */
  | { do: 'blip'; ticks: number; reading: DraftReading }
  | { do: 'ask'; gate: number }
  | { do: 'advance' }
  | { do: 'look' }
  | { do: 'refuse'; refuse: boolean }
  | { do: 'restart'; signal: string }
  | { do: 'reload'; changed: number | null };

interface History {
  base: number;
  gates: RefGate[];
  steps: Step[];
}

const coreCondition = (c: RefCondition): Condition =>
  c.kind === 'gate'
    ? { kind: 'gate', text: `gate ${c.gate} open for ${c.for}us`, gate: c.gate, forUs: c.for }
    : {
        kind: 'signal',
        text: `${c.fn === null ? c.signal : `${c.fn.name}(${c.signal}, ${c.fn.window}us)`} ${c.op} ${c.threshold}us for ${c.for}us`,
        migration: MIGRATION,
        signal: c.signal,
        unit: 's',
        fn: c.fn === null ? null : { name: c.fn.name, windowUs: c.fn.window },
        op: c.op,
        threshold: c.threshold / 1e6,
        forUs: c.for,
      };

const coreGate = (g: RefGate): GateConfig => ({
  name: g.id,
  id: g.id,
  migration: MIGRATION,
  require: g.require.map(coreCondition),
  gapToleranceUs: g.tolerate,
});

const coreReading = (r: RefReading): Reading => ({
  value: r.value === null ? null : r.value / 1e6,
  growsFrom: r.growsFrom,
  bound: r.atLeast ? 'at-least' : 'exact',
  observedAt: r.observedAt,
  freshUs: r.fresh,
  reason: null,
});

/** A verdict of the core in the words of the reference. */
function inTicks(v: Verdict): RefVerdict {
  return {
    state: v.state,
    since: v.since,
    opensAt: v.opensAt,
    conditions: v.conditions.map((c) => ({
      state: c.state,
      held: c.heldUs,
      lastBroken: c.lastBroken?.at ?? null,
      value: c.value === null ? null : Number((c.value * 1e6).toFixed(4)),
    })),
  };
}

/** Drives the core and the reference through one history, comparing at every question and every transition. */
class Run {
  readonly counts: Record<string, number> = {};
  private now: number;
  private refuse = false;
  private readonly readings = new Map<string, RefReading[]>(SIGNALS.map((s) => [s, []]));
  private gates: RefGate[];
  private core: GateGroup;
  private reference: ReferenceGates;
  private recorded: Transition[] = [];

  constructor(history: History) {
    this.now = history.base;
    this.gates = history.gates;
    this.core = this.newCore();
    this.reference = this.newReference();
    for (const step of history.steps) this.take(step);
    this.ask(0);
    this.compareTransitions();
  }

  private newCore(): GateGroup {
    const around = {
      reading: (_: string, signal: string): Reading => {
        const last = this.readings.get(signal)?.at(-1);
        return last === undefined ? unknown('nothing has been observed yet', 0) : coreReading(last);
      },
      record: (t: Transition): boolean => {
        if (t.to === 'open' && this.refuse) return false;
        this.recorded.push(t);
        return true;
      },
    };
    return new GateGroup(this.gates.map(coreGate), around, this.now);
  }

  private newReference(): ReferenceGates {
    return new ReferenceGates(
      this.gates,
      (signal) => this.readings.get(signal)!,
      () => this.refuse,
      this.now,
    );
  }

  private take(step: Step): void {
    switch (step.do) {
      case 'wait':
        this.now += step.ticks;
        return;
      case 'set':
        this.set(step.signal, step.reading);
        return;
      case 'blip':
        for (const s of SIGNALS) this.set(s, { ...step.reading, value: null });
        this.now += step.ticks;
        for (const s of SIGNALS) this.set(s, step.reading);
        return;
      case 'ask':
        this.ask(step.gate);
        return;
      case 'advance':
        this.advance();
        return;
      case 'look':
        this.advance();
        this.look();
        return;
      case 'refuse':
        this.refuse = step.refuse;
        return;
      case 'restart': {
        this.advance();
        this.core.restart((c) => c.kind === 'signal' && c.signal === step.signal);
        this.reference.restart((c) => c.kind === 'signal' && c.signal === step.signal);
        return;
      }
      case 'reload':
        this.reload(step.changed);
    }
  }

  private set(signal: string, { value, grown, atLeast, late, fresh }: DraftReading): void {
    this.advance();
    const growsFrom = grown === null ? null : this.now - grown;
    const observedAt = this.now - late;
    this.readings.get(signal)!.push({ setAt: this.now, value, growsFrom, atLeast, observedAt, fresh });
    this.look();
  }

  private reload(changed: number | null): void {
    this.advance();
    this.compareTransitions();
    const id = changed === null ? null : this.gates[changed % this.gates.length]!.id;
    const old = { core: this.core, reference: this.reference };
    this.gates = this.gates.map((g) => (g.id === id ? { ...g, tolerate: g.tolerate + 1 } : g));
    this.core = this.newCore();
    this.reference = this.newReference();
    this.core.adopt(old.core, (g) => g.id !== id);
    this.reference.adopt(old.reference, (g) => g.id !== id);
    this.look();
  }

  private advance(): void {
    this.core.advance(this.now);
    this.reference.advance(this.now);
  }

  private look(): void {
    this.core.look(this.now);
    this.reference.look(this.now);
  }

  private ask(which: number): void {
    this.advance();
    this.look();
    const { id } = this.gates[which % this.gates.length]!;
    const said = this.core.verdict(id, this.now);
    const expected = this.reference.verdict(id, this.now);
    expect({ id, at: this.now, ...inTicks(said) }).toEqual({ id, at: this.now, ...rounded(expected) });
    expect(said.reason !== null).toBe(
      expected.state === 'closed' && expected.conditions.every((c) => c.state === 'held'),
    );
    this.count(`asked-${expected.state}`);
    if (expected.opensAt !== null) this.count('opens-at');
    for (const c of expected.conditions) this.count(c.state);
  }

  private compareTransitions(): void {
    const expected = this.reference.transitions;
    for (const { id } of this.gates) {
      const said = this.recorded
        .filter((t) => t.gate === id)
        .map(({ verdict, ...t }) => ({ ...t, verdict: inTicks(verdict) }));
      const right = expected.filter((t) => t.gate === id).map((t) => ({ ...t, verdict: rounded(t.verdict) }));
      expect(said).toEqual(right);
      let brokenBefore = false;
      for (const t of right) {
        this.count(t.to === 'open' ? 'opened' : t.from === 'open' ? `from-open-to-${t.to}` : `to-${t.to}`);
        const held = this.gates.find((g) => g.id === id)!.require.some((c) => c.for > 0);
        if (t.to === 'open' && brokenBefore && held) this.count('reopened-after-hold');
        if (t.from === 'open') brokenBefore = true;
      }
    }
    this.count('tolerated-gaps', this.reference.counts.toleratedGaps);
    this.count('withheld', this.reference.counts.withheld);
    this.recorded = [];
  }

  private count(what: string, by = 1): void {
    this.counts[what] = (this.counts[what] ?? 0) + by;
  }
}

function rounded(v: RefVerdict): RefVerdict {
  return {
    ...v,
    conditions: v.conditions.map((c) => ({ ...c, value: c.value === null ? null : Number(c.value.toFixed(4)) })),
  };
}

const often = <T>(arbitrary: fc.Arbitrary<T>, weight: number): fc.WeightedArbitrary<T> => ({ arbitrary, weight });

const op = fc.oneof(
  often(fc.constantFrom<Comparator>('<', '<='), 6),
  often(fc.constantFrom<Comparator>('>', '>=', '==', '!='), 1),
);
const threshold = fc.constantFrom(8, 9.5, 10, 10, 11, 12.5);
const needs = fc.oneof(often(fc.constant(0), 1), often(fc.integer({ min: 1, max: 20 }), 3));
const signal = fc.constantFrom(...SIGNALS);
const exactFn = fc.record({
  name: fc.constantFrom<WindowFunction>('max', 'max', 'min'),
  window: fc.integer({ min: 1, max: 25 }),
});
const comparison = fc.record({
  kind: fc.constant('signal' as const),
  signal,
  fn: fc.oneof(often(fc.constant(null), 3), often(exactFn, 1)),
  op,
  threshold,
  for: needs,
});
const gates: fc.Arbitrary<RefGate[]> = fc
  .record({
    tolerate: fc.tuple(...['g0', 'g1', 'g2'].map(() => fc.constantFrom(0, 0, 2, 5))),
    first: fc.array(comparison, { minLength: 1, maxLength: 2 }),
    second: fc.array(comparison, { minLength: 0, maxLength: 1 }),
    third: fc.array(comparison, { minLength: 0, maxLength: 1 }),
    onFirst: needs,
    onSecond: needs,
  })
  .map(({ tolerate, first, second, third, onFirst, onSecond }) => [
    { id: 'g0', tolerate: tolerate[0]!, require: first },
    { id: 'g1', tolerate: tolerate[1]!, require: [...second, { kind: 'gate', gate: 'g0', for: onFirst }] },
    { id: 'g2', tolerate: tolerate[2]!, require: [...third, { kind: 'gate', gate: 'g1', for: onSecond }] },
  ]);

const good: fc.Arbitrary<DraftReading> = fc.record({
  value: fc.integer({ min: 0, max: 8 }),
  grown: fc.oneof(often(fc.constant(null), 3), often(fc.integer({ min: -3, max: 6 }), 1)),
  atLeast: fc.constant(false),
  late: fc.integer({ min: 0, max: 2 }),
  fresh: fc.constantFrom(20, 40, 60, Infinity),
});
const any: fc.Arbitrary<DraftReading> = fc.record({
  value: fc.oneof(often(fc.integer({ min: 6, max: 14 }), 4), often(fc.constant(null), 1)),
  grown: fc.oneof(often(fc.constant(null), 1), often(fc.integer({ min: -4, max: 14 }), 1)),
  atLeast: fc.oneof(often(fc.constant(false), 4), often(fc.constant(true), 1)),
  late: fc.integer({ min: 0, max: 12 }),
  fresh: fc.constantFrom(0, 3, 10, 20, Infinity),
});

const step: fc.Arbitrary<Step> = fc.oneof(
  often(fc.record({ do: fc.constant('wait' as const), ticks: fc.integer({ min: 0, max: 12 }) }), 8),
  often(fc.record({ do: fc.constant('set' as const), signal, reading: good }), 6),
  often(fc.record({ do: fc.constant('set' as const), signal, reading: any }), 2),
  often(fc.record({ do: fc.constant('blip' as const), ticks: fc.integer({ min: 1, max: 6 }), reading: good }), 1),
  often(fc.record({ do: fc.constant('ask' as const), gate: fc.nat(2) }), 4),
  often(fc.constantFrom<Step>({ do: 'advance' }, { do: 'look' }), 1),
);
const rare: fc.Arbitrary<Step> = fc.oneof(
  often(fc.record({ do: fc.constant('refuse' as const), refuse: fc.boolean() }), 3),
  often(fc.record({ do: fc.constant('restart' as const), signal }), 1),
  often(fc.record({ do: fc.constant('reload' as const), changed: fc.option(fc.nat(2)) }), 1),
);

const history = (withRare: number): fc.Arbitrary<History> =>
  fc.record({
    // The large base is two months of uptime: instants must stay exact there as well.
    base: fc.constantFrom(0, 1000, 5e12),
    gates,
    steps: fc.array(fc.oneof(often(step, 20), often(rare, withRare)), { minLength: 10, maxLength: 60, size: 'max' }),
  });

describe('a gate says the same as the reference at every question and every transition', () => {
  const run = (histories: fc.Arbitrary<History>, numRuns: number): Record<string, number> => {
    const counts: Record<string, number> = {};
    fc.assert(
      fc.property(histories, (h) => {
        for (const [what, n] of Object.entries(new Run(h).counts)) counts[what] = (counts[what] ?? 0) + n;
      }),
      { seed: 20261122, numRuns },
    );
    if (process.env['LOCKGATE_SHOW_COUNTS'] !== undefined) console.log(JSON.stringify(counts, null, 1));
    return counts;
  };

  it('over readings that are known, unknown, growing, bounds, late and stale', () => {
    const counts = run(history(0), 1200);
    // Histories that never reached these states would prove nothing about them.
    for (const what of ['opened', 'from-open-to-closed', 'from-open-to-unknown', 'reopened-after-hold'])
      expect({ what, enough: counts[what]! >= 100 }).toEqual({ what, enough: true });
    for (const what of ['asked-open', 'asked-closed', 'asked-unknown', 'held', 'holding', 'broken', 'unknown'])
      expect({ what, enough: counts[what]! >= 200 }).toEqual({ what, enough: true });
    for (const what of ['tolerated-gaps', 'opens-at'])
      expect({ what, enough: counts[what]! >= 50 }).toEqual({ what, enough: true });
  }, 120_000);

  it('while the journal refuses openings, directions change and configurations are reloaded', () => {
    const counts = run(history(4), 800);
    for (const what of ['withheld', 'opened', 'from-open-to-closed'])
      expect({ what, enough: counts[what]! >= 50 }).toEqual({ what, enough: true });
  }, 120_000);
});
