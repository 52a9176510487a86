/**
 * A second, slow implementation of what signals-and-gates says, to hold the core against. Time is a row of whole ticks
 * (a tick is one microsecond of the core), everything is looked up from the complete list of what happened, and every
 * instant is looked at by itself: no spans, no computed crossings, no state carried along but the state of a gate.
 * Values are in ticks as well, so that a value of 7 is 7 µs for the core.
 */
import type { Comparator, WindowFunction } from '../../../daemon/core/condition.js';

/** An instant or a duration in ticks. */
export type Tick = number;
/** The truth of a comparison at one instant. */
export type RefTruth = 'true' | 'false' | 'unknown';
/** The state of a condition at one instant. */
export type RefHoldState = 'held' | 'holding' | 'broken' | 'unknown';
/** The state of a gate at one instant. */
export type RefGateState = 'open' | 'closed' | 'unknown';

/** A reading as it was handed to the core at `setAt`; `value` and `growsFrom` in ticks. */
export interface RefReading {
  setAt: Tick;
  value: number | null;
  growsFrom: Tick | null;
  atLeast: boolean;
  observedAt: Tick;
  fresh: Tick;
}

/** A condition of the reference: a comparison of a signal, of a function over a window of it, or the state of a gate. */
export type RefCondition =
  | {
      kind: 'signal';
      signal: string;
      fn: { name: WindowFunction; window: Tick } | null;
      op: Comparator;
      threshold: number;
      for: Tick;
    }
  | { kind: 'gate'; gate: string; for: Tick };

/** A gate of the reference. */
export interface RefGate {
  id: string;
  tolerate: Tick;
  require: RefCondition[];
}

/** Compares two numbers the way the grammar's operators read. */
export function holds(value: number, op: Comparator, threshold: number): boolean {
  const order = Math.sign(value - threshold);
  const accepted: Record<Comparator, readonly number[]> = {
    '<': [-1],
    '<=': [-1, 0],
    '>': [1],
    '>=': [1, 0],
    '==': [0],
    '!=': [-1, 1],
  };
  return accepted[op].includes(order);
}

/** The reading in force at `t`: the last one that was set at or before it. */
export function inForce(readings: readonly RefReading[], t: Tick): RefReading | null {
  return readings.findLast((r) => r.setAt <= t) ?? null;
}

/** The value of a reading at `t` in ticks; null when it is unknown, stale or only a bound. */
export function exactValue(r: RefReading | null, t: Tick): number | null {
  if (r === null || r.atLeast) return null;
  return usableValue(r, t);
}

function usableValue(r: RefReading, t: Tick): number | null {
  if (r.value === null || t - r.observedAt > r.fresh) return null;
  return r.growsFrom === null ? r.value : Math.max(r.value, t - r.growsFrom);
}

/** Whether a statement about something that is `least` or more, and nothing else is known, can be decided. */
function decidedFrom(least: number, op: Comparator, threshold: number): RefTruth {
  const possible = [least, threshold - 0.25, threshold, threshold + 0.25, threshold + 1e9, least + 1e9];
  const answers = new Set(possible.filter((v) => v >= least).map((v) => holds(v, op, threshold)));
  if (answers.size > 1) return 'unknown';
  return answers.has(true) ? 'true' : 'false';
}

/** The truth of `signal op threshold` at one instant. */
export function signalTruth(readings: readonly RefReading[], op: Comparator, threshold: number, t: Tick): RefTruth {
  const r = inForce(readings, t);
  const value = r === null ? null : usableValue(r, t);
  if (r === null || value === null) return 'unknown';
  if (r.atLeast) return decidedFrom(value, op, threshold);
  return holds(value, op, threshold) ? 'true' : 'false';
}

/** The values at every instant of the window `[t - window, t]`; null where nothing is known, and before `start`. */
export function windowAt(readings: readonly RefReading[], window: Tick, start: Tick, t: Tick): (number | null)[] {
  const values: (number | null)[] = [];
  for (let i = t - window; i <= t; i += 1) values.push(i < start ? null : exactValue(inForce(readings, i), i));
  return values;
}

/** What the truth is known to have reached at least at every instant of the window, by bounds; null where nothing says. */
export function boundsAt(readings: readonly RefReading[], window: Tick, start: Tick, t: Tick): (number | null)[] {
  const bounds: (number | null)[] = [];
  for (let i = t - window; i <= t; i += 1) {
    const r = i < start ? null : inForce(readings, i);
    bounds.push(r?.atLeast === true ? usableValue(r, i) : null);
  }
  return bounds;
}

/** Whether the last instant of a window is known and every unknown stretch in it is short enough. */
export function isCovered(values: readonly (number | null)[], tolerate: Tick): boolean {
  let run = 0;
  let longest = 0;
  for (const v of values) {
    run = v === null ? run + 1 : 0;
    longest = Math.max(longest, run);
  }
  return values.at(-1) !== null && longest <= tolerate;
}

/** A function over the known values of a window; percentiles are the least value that so large a share does not exceed. */
export function aggregate(values: readonly number[], fn: WindowFunction): number {
  const sorted = [...values].sort((a, b) => a - b);
  switch (fn) {
    case 'max':
      return sorted.at(-1)!;
    case 'min':
      return sorted[0]!;
    case 'avg':
      return sorted.reduce((sum, v) => sum + v, 0) / sorted.length;
    default: {
      const percent = Number(fn.slice(1));
      // Whole numbers, so that 95 % of 60 is 57 and not a little more.
      return sorted[Math.max(0, Math.ceil((percent * sorted.length) / 100) - 1)]!;
    }
  }
}

/** The truth of `fn(signal, window) op threshold` at one instant. */
export function windowTruth(
  values: readonly (number | null)[],
  fn: WindowFunction,
  tolerate: Tick,
  op: Comparator,
  threshold: number,
  bounds: readonly (number | null)[] = [],
): RefTruth {
  // What the truth has reached, a maximum has reached, in instants that are not known too.
  const least = fn === 'max' ? bounds : [];
  const seen = [...values, ...least].filter((v) => v !== null);
  if (seen.length === 0) return 'unknown';
  if (isCovered(values, tolerate)) return holds(aggregate(seen, fn), op, threshold) ? 'true' : 'false';
  if (fn !== 'max' && fn !== 'min') return 'unknown';
  // Whatever the instants that were not seen may have been: is the answer the same for all of it?
  const answers = new Set(
    [-1e9, threshold - 0.25, threshold, threshold + 0.25, 1e9].map((x) =>
      holds(
        aggregate(
          values.map((v, i) => v ?? Math.max(x, least[i] ?? -Infinity)),
          fn,
        ),
        op,
        threshold,
      ),
    ),
  );
  if (answers.size > 1) return 'unknown';
  return answers.has(true) ? 'true' : 'false';
}

/**
 * First instant of the true stretch that includes the last of `truths`: going back from it, everything is true or
 * belongs to an unknown stretch no longer than `tolerate` that lies between true instants. Null when it is not true.
 */
export function trueSince(truths: readonly RefTruth[], tolerate: Tick): number | null {
  if (truths.at(-1) !== 'true') return null;
  let since = truths.length - 1;
  let unknown = 0;
  for (let i = truths.length - 1; i >= 0; i -= 1) {
    if (truths[i] === 'false') break;
    if (truths[i] === 'unknown') {
      unknown += 1;
      if (unknown > tolerate) break;
    } else {
      unknown = 0;
      since = i;
    }
  }
  return since;
}

/** The state of a hold of length `needs` at the last of `truths`. */
export function holdState(truths: readonly RefTruth[], needs: Tick, tolerate: Tick): RefHoldState {
  const now = truths.at(-1) ?? 'unknown';
  if (now === 'false') return 'broken';
  if (now === 'unknown') return 'unknown';
  const since = trueSince(truths, tolerate);
  return since !== null && truths.length - 1 - since >= needs ? 'held' : 'holding';
}

/** The state of a gate from those of its conditions. */
export function stateOf(conditions: readonly RefHoldState[]): RefGateState {
  if (conditions.some((c) => c === 'broken')) return 'closed';
  if (conditions.some((c) => c === 'unknown')) return 'unknown';
  return conditions.some((c) => c === 'holding') ? 'closed' : 'open';
}

/** What the reference says about a gate at one instant. */
export interface RefVerdict {
  state: RefGateState;
  since: Tick;
  opensAt: Tick | null;
  conditions: { state: RefHoldState; held: Tick; lastBroken: Tick | null; value: number | null }[];
}

/** A change of a gate's state, with the verdict at that instant. */
export interface RefTransition {
  gate: string;
  from: RefGateState;
  to: RefGateState;
  at: Tick;
  verdict: RefVerdict;
}

interface ConditionPast {
  condition: RefCondition;
  /** Before this instant nothing counts. */
  start: Tick;
  /** Truth at every instant from `start` on that is final. */
  truths: RefTruth[];
  lastFalse: Tick | null;
}

interface GatePast {
  gate: RefGate;
  state: RefGateState;
  since: Tick;
  conditions: ConditionPast[];
}

/** Gates, dependencies first, evaluated instant by instant. */
export class ReferenceGates {
  readonly transitions: RefTransition[] = [];
  /** How often something that is worth reaching was reached. */
  readonly counts = { toleratedGaps: 0, withheld: 0 };
  private readonly pasts: GatePast[];
  private next: Tick;

  constructor(
    gates: readonly RefGate[],
    private readonly readings: (signal: string) => readonly RefReading[],
    private readonly openingsRefused: () => boolean,
    start: Tick,
  ) {
    this.next = start;
    this.pasts = gates.map((gate) => ({
      gate,
      state: 'unknown',
      since: start,
      conditions: gate.require.map((condition) => ({ condition, start, truths: [], lastFalse: null })),
    }));
  }

  /** Makes every instant before `t` final. */
  advance(t: Tick): void {
    for (let i = this.next; i < t; i += 1) {
      for (const past of this.pasts) {
        for (const c of past.conditions) {
          const truth = this.truth(past, c, i);
          c.truths.push(truth);
          if (truth === 'false') c.lastFalse = i;
        }
        this.step(past, i, true);
      }
      this.next = i + 1;
    }
  }

  /** Looks at `t`, to which it must have been advanced. */
  look(t: Tick): void {
    for (const past of this.pasts) this.step(past, t, false);
  }

  /** The verdict at `t`, which must have been looked at. */
  verdict(id: string, t: Tick): RefVerdict {
    const past = this.pasts.find((p) => p.gate.id === id)!;
    const truths = past.conditions.map((c) => [...c.truths, this.truth(past, c, t)]);
    return this.describe(past, truths, t);
  }

  /** Starts conditions again at the present instant: nothing before it counts any more. */
  restart(concerns: (condition: RefCondition) => boolean): void {
    for (const past of this.pasts) {
      for (const c of past.conditions) {
        if (!concerns(c.condition)) continue;
        c.start = this.next;
        c.truths = [];
      }
    }
  }

  /** Takes over from before a reload what belongs to gates that are the same. */
  adopt(old: ReferenceGates, unchanged: (gate: RefGate) => boolean): void {
    for (const past of this.pasts) {
      const before = old.pasts.find((p) => p.gate.id === past.gate.id);
      if (before === undefined || !unchanged(past.gate)) continue;
      Object.assign(past, { state: before.state, since: before.since, conditions: before.conditions });
    }
  }

  private step(past: GatePast, t: Tick, final: boolean): void {
    const truths = past.conditions.map((c) => (final ? c.truths : [...c.truths, this.truth(past, c, t)]));
    let state = stateOf(past.conditions.map((c, i) => holdState(truths[i]!, c.condition.for, past.gate.tolerate)));
    if (state === 'open' && past.state !== 'open' && this.openingsRefused()) {
      this.counts.withheld += 1;
      state = 'closed';
    }
    if (state === past.state) return;
    const transition = { gate: past.gate.id, from: past.state, to: state, at: t };
    past.state = state;
    past.since = t;
    if (state === 'open' && past.conditions.some((c, i) => gapInside(c.condition, truths[i]!, past.gate.tolerate)))
      this.counts.toleratedGaps += 1;
    this.transitions.push({ ...transition, verdict: this.describe(past, truths, t) });
  }

  private describe(past: GatePast, truths: readonly (readonly RefTruth[])[], t: Tick): RefVerdict {
    const { tolerate } = past.gate;
    const conditions = past.conditions.map((c, i) => {
      const own = truths[i]!;
      const state = holdState(own, c.condition.for, tolerate);
      const since = trueSince(own, tolerate);
      return {
        state,
        held: since === null ? 0 : own.length - 1 - since,
        lastBroken: state === 'broken' ? t : c.lastFalse,
        value: this.value(c, tolerate, t),
      };
    });
    return { ...this.whole(past, conditions, t), conditions };
  }

  private whole(past: GatePast, conditions: RefVerdict['conditions'], t: Tick): Omit<RefVerdict, 'conditions'> {
    return { state: past.state, since: past.since, opensAt: this.opensAt(past, conditions, t) };
  }

  /** Goes forward instant by instant, every truth staying as it is, until the gate opens. */
  private opensAt(past: GatePast, conditions: RefVerdict['conditions'], t: Tick): Tick | null {
    if (past.state !== 'closed') return null;
    for (let later = t; later <= t + 1000; later += 1) {
      const states = conditions.map((c, i) => {
        if (c.state === 'broken' || c.state === 'unknown') return c.state;
        return c.held + later - t >= past.conditions[i]!.condition.for ? ('held' as const) : ('holding' as const);
      });
      if (stateOf(states) === 'open') return later === t ? null : later;
    }
    return null;
  }

  private value(c: ConditionPast, tolerate: Tick, t: Tick): number | null {
    if (c.condition.kind === 'gate') return null;
    const readings = this.readings(c.condition.signal);
    if (c.condition.fn === null) return exactValue(inForce(readings, t), t);
    const values = windowAt(readings, c.condition.fn.window, c.start, t);
    const seen = values.filter((v) => v !== null);
    if (!isCovered(values, tolerate) || seen.length === 0) return null;
    const { name, window } = c.condition.fn;
    const bounds = name === 'max' ? boundsAt(readings, window, c.start, t).filter((b) => b !== null) : [];
    return aggregate([...seen, ...bounds], name);
  }

  private truth(past: GatePast, c: ConditionPast, t: Tick): RefTruth {
    const { condition } = c;
    if (condition.kind === 'gate') {
      const { state } = this.pasts.find((p) => p.gate.id === condition.gate)!;
      return state === 'open' ? 'true' : state === 'closed' ? 'false' : 'unknown';
    }
    const readings = this.readings(condition.signal);
    if (condition.fn === null) return signalTruth(readings, condition.op, condition.threshold, t);
    const { name, window } = condition.fn;
    const values = windowAt(readings, window, c.start, t);
    const bounds = name === 'max' ? boundsAt(readings, window, c.start, t) : [];
    return windowTruth(values, name, past.gate.tolerate, condition.op, condition.threshold, bounds);
  }
}

function gapInside(condition: RefCondition, truths: readonly RefTruth[], tolerate: Tick): boolean {
  const since = trueSince(truths, tolerate);
  return since !== null && condition.for > 0 && truths.slice(since).includes('unknown');
}
