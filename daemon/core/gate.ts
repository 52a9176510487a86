/**
 * Gates. A gate's state at an instant, in this order: some condition false -> closed; else some condition unknown ->
 * unknown; else some hold not complete -> closed; else open. It opens slowly and closes at once.
 *
 * Gates that refer to each other form a group, which advances as one: first over the stretch since it last advanced
 * (taking the worst value in it), then it is looked at for the present instant without making that final, because a
 * newer reading may still arrive at the same instant.
 */
import type { Us } from './clock.js';
import { isSteady, pushSpan, truthAt, truthOver, type Span, type Truth } from './compare.js';
import type { Condition, GateCondition, SignalCondition } from './condition.js';
import type { GateConfig } from './config.js';
import { EMPTY_HOLD, foldHold, steadyHold, type Hold, type HoldState } from './hold.js';
import { stateAt, valueAt, type Reading } from './signal.js';
import type { Unit } from './units.js';
import { formatDurationUs } from './units.js';
import { windowTruthOver, windowValue, type Windowed } from './window.js';
import { WindowPast } from './window-past.js';

export type GateState = 'open' | 'closed' | 'unknown';

/** The evidence for one condition at one instant. */
export interface ConditionVerdict {
  text: string;
  state: HoldState;
  value: number | null;
  unit: Unit | null;
  heldUs: Us;
  needsUs: Us;
  lastBroken: { at: Us; value: number | null } | null;
  reason: string | null;
}

/** What a gate says at one instant. */
export interface Verdict {
  gate: string;
  state: GateState;
  /** Since when it is in this state. */
  since: Us;
  at: Us;
  /** Earliest instant at which it could open if nothing breaks; null while something is broken or unknown, and when open. */
  opensAt: Us | null;
  conditions: ConditionVerdict[];
  /** Why it is held closed although its conditions are met; else null. */
  reason: string | null;
}

/** A change of a gate's state, with what justified it. */
export interface Transition {
  gate: string;
  from: GateState;
  to: GateState;
  at: Us;
  verdict: Verdict;
}

/** What a group asks of its surroundings. */
export interface GateSurroundings {
  /** The present reading of a signal; the same one until the group was advanced to the instant of its replacement. */
  reading(migration: string, signal: string): Reading;
  /** Takes a transition to the journal; false when an opening could not be written, so that it must not happen. */
  record(transition: Transition): boolean;
}

interface ConditionNode {
  condition: Condition;
  hold: Hold;
  lastBroken: { at: Us; value: number | null } | null;
  /** Readings of the window, for conditions with a function. */
  past: WindowPast;
  /** What it said, and of which reading, when it was last found unchanged. */
  unchanged: { state: HoldState; reading: Reading | null } | null;
}

interface GateNode {
  config: GateConfig;
  conditions: ConditionNode[];
  state: GateState;
  since: Us;
  heldBack: boolean;
  /** The states over the stretch being advanced, for the gates that depend on this one. */
  spans: Span<GateState>[];
  /**
   * What the conditions said at the instant that was looked at last, so that a verdict on it need not look again;
   * `outcomes` null: nothing had changed.
   */
  looked: { at: Us; outcomes: Outcome[] | null } | null;
}

/** What a condition said over a stretch, and the memory with which it entered it, so that any instant in it can be described. */
interface Outcome {
  truth: Span<Truth>[];
  states: Span<HoldState>[];
  before: Hold;
  after: Hold;
  lastBroken: ConditionNode['lastBroken'];
}

/** What a condition said at one instant. */
interface Said {
  state: HoldState;
  hold: Hold;
  lastBroken: ConditionNode['lastBroken'];
}

const WITHHELD =
  'the conditions are met, but the journal cannot be written, so the gate does not open: free the disk or mend the store';

/** Gates that refer to each other, in an order in which every gate comes after those it depends on. */
export class GateGroup {
  private readonly nodes: GateNode[];
  private readonly byId = new Map<string, GateNode>();
  /** First instant that is not final yet. */
  private next: Us;

  constructor(
    gates: readonly GateConfig[],
    private readonly around: GateSurroundings,
    start: Us,
  ) {
    this.next = start;
    this.nodes = sortByDependency(gates).map((config) => ({
      config,
      conditions: config.require.map((condition) => ({
        condition,
        hold: EMPTY_HOLD,
        lastBroken: null,
        past: new WindowPast(),
        unchanged: null,
      })),
      state: 'unknown',
      since: start,
      heldBack: false,
      spans: [],
      looked: null,
    }));
    for (const node of this.nodes) this.byId.set(node.config.id, node);
  }

  /** Ids of the gates, dependencies first. */
  get ids(): string[] {
    return this.nodes.map((n) => n.config.id);
  }

  /** Makes everything before `t` final under the present readings; called before a reading that matters is replaced. */
  advance(t: Us): void {
    if (t <= this.next) return;
    const from = this.next;
    this.next = t;
    for (const node of this.nodes) {
      if (this.isUnchanged(node, from, t)) continue;
      const outcomes = node.conditions.map((c) => this.fold(c, node.config.gapToleranceUs, from, t, true));
      this.publish(node, outcomes, from, t);
    }
  }

  /** Looks at the present instant: transitions that are due are recorded; call after `advance(t)`. */
  look(t: Us): void {
    for (const node of this.nodes) {
      const outcomes = this.isUnchanged(node, t, t + 1) ? null : this.peek(node, t);
      node.looked = { at: t, outcomes };
      if (outcomes !== null) this.publish(node, outcomes, t, t + 1);
    }
  }

  /** The state of a gate as last looked at. */
  state(id: string): GateState {
    return this.node(id).state;
  }

  /** The full verdict at `t`, which must be the instant just looked at. */
  verdict(id: string, t: Us): Verdict {
    const node = this.node(id);
    return this.describe(node, node.looked?.at === t ? node.looked.outcomes : this.peek(node, t), t);
  }

  /** Holds of conditions longer than `leastUs`, to be kept across a restart. */
  longHolds(leastUs: Us): { gate: string; condition: string; trueFrom: Us; observedUntil: Us }[] {
    return this.nodes.flatMap((node) =>
      node.conditions.flatMap(({ condition, hold }) =>
        condition.forUs > leastUs && hold.trueFrom !== null
          ? [
              {
                gate: node.config.id,
                condition: condition.text,
                trueFrom: hold.trueFrom,
                observedUntil: (hold.unknownFrom ?? this.next) - 1,
              },
            ]
          : [],
      ),
    );
  }

  /** Takes up a hold from before a restart: what lies between counts as an unknown stretch, within the gate's tolerance. */
  restoreHold(gate: string, condition: string, trueFrom: Us, observedUntil: Us): void {
    const node = this.byId.get(gate);
    const found = node?.conditions.find((c) => c.condition.text === condition);
    if (node === undefined || found === undefined) return;
    const gap = this.next - 1 - observedUntil;
    // A negative gap means that the wall clock was set back meanwhile, so that nobody knows how long it was.
    if (gap < 0 || gap > node.config.gapToleranceUs) return;
    found.hold = { trueFrom, unknownFrom: observedUntil + 1, lastFalse: null };
  }

  /** Takes over the past of unchanged gates from the group they were in before a reload. */
  adopt(old: GateGroup, unchanged: (gate: GateConfig) => boolean): void {
    for (const node of this.nodes) {
      const before = old.byId.get(node.config.id);
      if (before === undefined || !unchanged(node.config)) continue;
      node.state = before.state;
      node.since = before.since;
      node.conditions = before.conditions;
    }
  }

  /** Starts the hold of every condition that `concerns` again, because what it is about has changed (a new direction). */
  restart(concerns: (condition: Condition) => boolean): void {
    for (const { conditions } of this.nodes) for (const c of conditions) if (concerns(c.condition)) startAgain(c);
  }

  /**
   * Takes up that `lengthUs` went by unobserved just before the first instant that is not final, although the clock of
   * the holds did not count it (a suspend): an unknown stretch of that length like any other.
   */
  gap(lengthUs: Us): void {
    for (const node of this.nodes) {
      for (const c of node.conditions) {
        if (lengthUs > node.config.gapToleranceUs) startAgain(c);
        else if (c.hold.trueFrom !== null)
          c.hold = { ...c.hold, unknownFrom: (c.hold.unknownFrom ?? this.next) - lengthUs };
      }
    }
  }

  private node(id: string): GateNode {
    const node = this.byId.get(id);
    if (node === undefined) throw new RangeError(`no gate ${id}`);
    return node;
  }

  /**
   * Whether nothing about a gate and its conditions changes over `[from, to)`, by a look that costs next to nothing: with
   * checks asked in tight loops that is how it nearly always is. Where it says no, folding tells.
   */
  private isUnchanged(node: GateNode, from: Us, to: Us): boolean {
    if (node.heldBack || node.conditions.length === 0) return false;
    let state: GateState = 'open';
    for (const c of node.conditions) {
      const held = this.steadyState(c, from, to);
      if (held === null) return false;
      if (held === 'unknown') state = 'unknown';
      else if (held === 'holding' && state === 'open') state = 'closed';
    }
    if (state !== node.state) return false;
    node.spans = [{ from, to, is: state }];
    return true;
  }

  /** The state of a condition over the whole of `[from, to)` where that leaves its memory as it is; else null. */
  private steadyState(node: ConditionNode, from: Us, to: Us): HoldState | null {
    const { condition: c, hold } = node;
    const reading = this.readingOf(node);
    const state = this.steady(c, hold, reading, from, to);
    node.unchanged = state === null ? null : { state, reading };
    return state;
  }

  private steady(c: Condition, hold: Hold, reading: Reading | null, from: Us, to: Us): HoldState | null {
    if (c.kind === 'gate') {
      const { spans } = this.node(c.gate);
      const [only] = spans;
      if (only === undefined || spans.length > 1 || only.from !== from || only.to !== to) return null;
      return steadyHold(hold, truthOfGate(only.is, c), c.forUs, from, to);
    }
    if (c.fn !== null || reading === null || !isSteady(reading, from, to)) return null;
    return steadyHold(hold, truthAt(reading, c.op, c.threshold, from), c.forUs, from, to);
  }

  private peek(node: GateNode, t: Us): Outcome[] {
    return node.conditions.map((c) => this.fold(c, node.config.gapToleranceUs, t, t + 1, false));
  }

  private fold(node: ConditionNode, toleranceUs: Us, from: Us, to: Us, final: boolean): Outcome {
    const { condition } = node;
    const truth =
      condition.kind === 'gate'
        ? this.gateTruth(condition)
        : this.signalTruth(node, condition, toleranceUs, from, to, final);
    const { hold, states } = foldHold(node.hold, truth, condition.forUs, toleranceUs);
    const outcome = { truth, states, before: node.hold, after: hold, lastBroken: node.lastBroken };
    if (final) {
      node.lastBroken = this.lastBroken(node, outcome, hold, toleranceUs);
      node.hold = hold;
    }
    return outcome;
  }

  private lastBroken(
    node: ConditionNode,
    { before, lastBroken }: Outcome,
    { lastFalse }: Hold,
    toleranceUs: Us,
  ): ConditionNode['lastBroken'] {
    if (lastFalse === null || lastFalse === before.lastFalse) return lastBroken;
    return { at: lastFalse, value: this.value(node, toleranceUs, lastFalse) };
  }

  /** The state of a gate at an instant of the stretch that was published last. */
  private publishedAt(id: string, t: Us): GateState {
    const node = this.node(id);
    return node.spans.find((s) => s.from <= t && t < s.to)?.is ?? node.state;
  }

  private gateTruth(c: GateCondition): Span<Truth>[] {
    const truth: Span<Truth>[] = [];
    for (const span of this.node(c.gate).spans) pushSpan(truth, span.from, span.to, truthOfGate(span.is, c));
    return truth;
  }

  private signalTruth(
    node: ConditionNode,
    c: SignalCondition,
    toleranceUs: Us,
    from: Us,
    to: Us,
    final: boolean,
  ): Span<Truth>[] {
    const reading = this.around.reading(c.migration, c.signal);
    if (c.fn === null) return truthOver(reading, c.op, c.threshold, from, to);
    const windowed: Windowed = { ...c.fn, toleranceUs };
    const present = { from, to, reading };
    const truth = windowTruthOver(node.past, present, windowed, c.op, c.threshold, from, to);
    if (final) {
      node.past.push(present);
      // Back from `from`, not from `to`: transitions inside the stretch are still to be described.
      node.past.dropBefore(from - c.fn.windowUs - toleranceUs - 1);
    }
    return truth;
  }

  private value(node: ConditionNode, toleranceUs: Us, t: Us, reading = this.readingOf(node)): number | null {
    const c = node.condition;
    if (c.kind === 'gate' || reading === null) return null;
    if (c.fn === null) return stateAt(reading, t) === 'ok' ? valueAt(reading, t) : null;
    const { value, covered } = this.windowValue(node.past, { ...c.fn, toleranceUs }, reading, t);
    return covered ? value : null;
  }

  private windowValue(past: WindowPast, windowed: Windowed, reading: Reading, t: Us): ReturnType<typeof windowValue> {
    return windowValue(past, { from: this.next, to: t + 1, reading }, windowed, t);
  }

  private readingOf({ condition: c }: ConditionNode): Reading | null {
    return c.kind === 'gate' ? null : this.around.reading(c.migration, c.signal);
  }

  private publish(node: GateNode, outcomes: readonly Outcome[], from: Us, to: Us): void {
    node.spans = [];
    for (const span of combine(outcomes, from, to)) {
      let state = span.is;
      node.heldBack =
        state === 'open' && node.state !== 'open' && !this.report(node, outcomes, 'open', span.from, null);
      if (node.heldBack) state = 'closed';
      if (state !== node.state) {
        if (state !== 'open') this.report(node, outcomes, state, span.from, node.heldBack ? WITHHELD : null);
        node.since = span.from;
        node.state = state;
      }
      pushSpan(node.spans, span.from, span.to, state);
    }
  }

  /** Hands a transition at `at` to the journal, with the evidence of that very instant. */
  private report(node: GateNode, outcomes: readonly Outcome[], to: GateState, at: Us, reason: string | null): boolean {
    const verdict = { ...this.describe(node, outcomes, at, to), since: at, reason };
    return this.around.record({ gate: node.config.id, from: node.state, to, at, verdict });
  }

  /** Describes a gate at `t`; `outcomes` null: nothing has changed since it was last advanced. */
  private describe(node: GateNode, outcomes: readonly Outcome[] | null, t: Us, state = node.state): Verdict {
    const { gapToleranceUs } = node.config;
    const conditions = node.conditions.map((c, i) => {
      const outcome = outcomes?.[i];
      if (outcome !== undefined) {
        return this.describeCondition(
          c,
          this.said(c, outcome, gapToleranceUs, t),
          this.readingOf(c),
          gapToleranceUs,
          t,
        );
      }
      const { state: held, reading } = c.unchanged ?? { state: 'unknown', reading: null };
      const said = { state: held, hold: c.hold, lastBroken: c.lastBroken };
      return this.describeCondition(c, said, reading, gapToleranceUs, t);
    });
    let opensAt: Us | null = null;
    if (state === 'closed' && conditions.every((c) => c.state === 'holding' || c.state === 'held')) {
      opensAt = t;
      for (const c of conditions) opensAt = Math.max(opensAt, t + c.needsUs - c.heldUs);
      if (opensAt === t) opensAt = null;
    }
    return {
      gate: node.config.id,
      state,
      since: node.since,
      at: t,
      opensAt,
      conditions,
      reason: node.heldBack ? WITHHELD : null,
    };
  }

  /** What a condition said and remembered at an instant within an outcome. */
  private said(node: ConditionNode, outcome: Outcome, toleranceUs: Us, t: Us): Said {
    const { hold, states } = outcomeUntil(outcome, t, node.condition.forUs, toleranceUs);
    const lastBroken = this.lastBroken(node, outcome, hold, toleranceUs);
    return { state: states.at(-1)?.is ?? 'unknown', hold, lastBroken };
  }

  private describeCondition(
    node: ConditionNode,
    { state, hold: { trueFrom }, lastBroken }: Said,
    reading: Reading | null,
    toleranceUs: Us,
    t: Us,
  ): ConditionVerdict {
    const c = node.condition;
    const holds = state === 'held' || state === 'holding';
    return {
      text: c.text,
      state,
      value: this.value(node, toleranceUs, t, reading),
      unit: c.kind === 'gate' ? null : c.unit,
      heldUs: holds && trueFrom !== null ? Math.max(0, t - trueFrom) : 0,
      needsUs: c.forUs,
      lastBroken,
      reason: this.reason(node, reading, state, toleranceUs, t),
    };
  }

  private reason(
    node: ConditionNode,
    reading: Reading | null,
    state: HoldState,
    toleranceUs: Us,
    t: Us,
  ): string | null {
    const c = node.condition;
    if (c.kind === 'gate')
      return state === 'held' || state === 'holding' ? null : `gate ${c.gate} is ${this.publishedAt(c.gate, t)}`;
    if (reading === null) return null;
    if (state !== 'unknown') return reading.reason;
    const now = stateAt(reading, t);
    if (now === 'stale') {
      return `last observed ${formatDurationUs(t - reading.observedAt)} ago, which is too old to be trusted (usable for ${formatDurationUs(reading.freshUs)})`;
    }
    if (now === 'unknown') return reading.reason ?? 'nothing has been observed';
    if (c.fn !== null && !this.windowValue(node.past, { ...c.fn, toleranceUs }, reading, t).covered) {
      return `the window of ${formatDurationUs(c.fn.windowUs)} is not covered by observations yet`;
    }
    return reading.reason;
  }
}

/** Drops the past of a condition but for when it was last broken, which stays worth knowing. */
function startAgain(c: ConditionNode): void {
  c.hold = { ...EMPTY_HOLD, lastFalse: c.hold.lastFalse };
  c.past = new WindowPast();
}

/** The truth of `gate X open`, or of what else is asked of it. */
function truthOfGate(state: GateState, { is }: GateCondition): Truth {
  if (is === 'not-open') return state === 'open' ? 'false' : 'true';
  return state === 'unknown' ? 'unknown' : state === (is ?? 'open') ? 'true' : 'false';
}

/** What a condition said, and what it remembers, up to and including `t`. */
function outcomeUntil(o: Outcome, t: Us, forUs: Us, toleranceUs: Us): { hold: Hold; states: Span<HoldState>[] } {
  if ((o.truth.at(-1)?.to ?? 0) <= t + 1) return { hold: o.after, states: o.states };
  return foldHold(o.before, upTo(o.truth, t), forUs, toleranceUs);
}

/** The part of spans that lies up to and including `t`. */
function upTo<T>(spans: readonly Span<T>[], t: Us): Span<T>[] {
  return spans.filter((s) => s.from <= t).map((s) => ({ ...s, to: Math.min(s.to, t + 1) }));
}

/** The states of a gate from the states of its conditions, over `[from, to)`. */
function combine(outcomes: readonly Outcome[], from: Us, to: Us): Span<GateState>[] {
  // Nearly always nothing changes, and checks are asked in tight loops.
  if (outcomes.every(({ states }) => states.length === 1)) {
    const is = gateState(outcomes.map(({ states: [only] }) => only?.is ?? 'unknown'));
    return to > from ? [{ from, to, is }] : [];
  }
  const edges = new Set<Us>([from]);
  for (const { states } of outcomes) for (const s of states) if (s.from > from && s.from < to) edges.add(s.from);
  const sorted = [...edges].sort((a, b) => a - b);
  const spans: Span<GateState>[] = [];
  sorted.forEach((edge, i) => {
    const at = outcomes.map((o) => o.states.find((s) => s.from <= edge && edge < s.to)?.is ?? 'unknown');
    pushSpan(spans, edge, sorted[i + 1] ?? to, gateState(at));
  });
  return spans;
}

/** The rule that makes a gate's state from those of its conditions; a gate without conditions is unknown, never open. */
export function gateState(conditions: readonly HoldState[]): GateState {
  if (conditions.includes('broken')) return 'closed';
  if (conditions.length === 0 || conditions.includes('unknown')) return 'unknown';
  return conditions.includes('holding') ? 'closed' : 'open';
}

/** Sorts gates so that each comes after those it depends on; the configuration has ruled circles out. */
function sortByDependency(gates: readonly GateConfig[]): GateConfig[] {
  const byId = new Map(gates.map((g) => [g.id, g]));
  const sorted: GateConfig[] = [];
  const done = new Set<string>();
  const visit = (gate: GateConfig): void => {
    if (done.has(gate.id)) return;
    done.add(gate.id);
    for (const c of gate.require) {
      const needed = c.kind === 'gate' ? byId.get(c.gate) : undefined;
      if (needed !== undefined) visit(needed);
    }
    sorted.push(gate);
  };
  for (const gate of gates) visit(gate);
  return sorted;
}

/** Splits gates into groups that do not refer to each other. */
export function groupGates(gates: readonly GateConfig[]): GateConfig[][] {
  const groupOf = new Map<string, Set<GateConfig>>();
  for (const gate of gates) groupOf.set(gate.id, new Set([gate]));
  for (const gate of gates) {
    for (const c of gate.require) {
      const mine = groupOf.get(gate.id);
      const other = c.kind === 'gate' ? groupOf.get(c.gate) : undefined;
      if (mine === undefined || other === undefined || mine === other) continue;
      for (const g of other) {
        mine.add(g);
        groupOf.set(g.id, mine);
      }
    }
  }
  return [...new Set(groupOf.values())].map((set) => [...set]);
}
