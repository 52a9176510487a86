/** What a rule goes by at present, in numbers and in words. */
import type { Evidence } from './alert-memory.js';
import type { JudgedRule } from './alert-rules.js';
import type { RuleGates } from './core/alert-gates.js';
import type { Us } from './core/clock.js';
import type { Truth } from './core/compare.js';
import type { Direction } from './core/direction.js';
import { stateAt, valueAt } from './core/signal.js';
import { formatDurationUs } from './core/units.js';
import type { Engine } from './engine.js';
import type { FenceJson } from './http/port.js';

const NONE: Evidence = { value: null, unit: null, reason: null };

/** What it goes by now. */
export function evidenceOf(
  { migration, test }: JudgedRule,
  gates: RuleGates,
  engine: Engine,
  newest: FenceJson | null,
  now: Us,
): Evidence {
  switch (test.kind) {
    case 'forced':
      return NONE;
    case 'fence':
      return newest?.state === test.state ? fenceEvidence(newest) : NONE;
    case 'unknown': {
      const reading = engine.reading(migration, test.signal);
      if (stateAt(reading, now) === 'ok') return { ...NONE, value: valueAt(reading, now) };
      const stale = `last observed ${formatDurationUs(Math.max(0, now - reading.observedAt))} ago`;
      return { ...NONE, reason: `${test.signal}: ${reading.reason ?? stale}` };
    }
    case 'gate-shut': {
      const conditions = engine.verdict(test.gate)?.conditions ?? [];
      const missing = conditions
        .filter((c) => c.state !== 'held')
        .map((c) => `${c.text}${c.reason === null ? '' : ` (${c.reason})`}`);
      return missing.length === 0 ? NONE : { ...NONE, reason: `gate ${test.gate} waits for ${missing.join('; ')}` };
    }
    case 'condition': {
      const [c] = gates.fires === null ? [] : (engine.ruleVerdict(gates.fires)?.conditions ?? []);
      return c === undefined ? NONE : { value: c.value, unit: c.unit, reason: c.reason };
    }
  }
}

/** Since when the rule is true without having been so for long enough; null when it is not. */
export function pendingFrom(gates: RuleGates, engine: Engine): Us | null {
  const verdict = gates.fires === null ? undefined : engine.ruleVerdict(gates.fires);
  if (verdict?.state !== 'closed' || !verdict.conditions.every((c) => c.state === 'held' || c.state === 'holding')) {
    return null;
  }
  return verdict.at - Math.min(...verdict.conditions.map((c) => c.heldUs));
}

/** Why a fence fires. */
export function fenceEvidence({ id, violations, missing, ended_because: because }: FenceJson): Evidence {
  const { count, first_position: position } = violations;
  const said =
    count > 0
      ? `${count} writes after it, the first at ${position ?? 'an unknown position'}`
      : missing.reasons.length > 0
        ? missing.reasons.join('; ')
        : because;
  return { ...NONE, reason: `fence ${id}${said === null ? '' : `: ${said}`}` };
}

/** Whether the newest fence ended as `state` says and that still matters; `firing`: it has been seen to. */
export function fenceTruth(
  state: string,
  newest: FenceJson | null,
  directionNow: () => Direction,
  firing: boolean,
): Truth {
  // One that has been seen cannot cease to have been: what is missing is the knowledge.
  if (newest === null) return firing ? 'unknown' : 'false';
  if (newest.state !== state) return 'false';
  const direction = directionNow();
  if (direction.direction === 'unknown') return firing ? 'unknown' : 'true';
  // After the direction was changed past it, it does not matter any more how it ended.
  const { changedAt } = direction;
  const moot =
    newest.link !== direction.direction || (changedAt !== null && Date.parse(newest.placed_at) < Date.parse(changedAt));
  return moot ? 'false' : 'true';
}

/** When a rule fires, in words. */
export function whenText({ test }: JudgedRule): string {
  switch (test.kind) {
    case 'condition':
      return test.condition.text;
    case 'unknown':
      return `${test.signal} unknown for ${formatDurationUs(test.forUs)}`;
    case 'gate-shut':
      return `gate ${test.gate} not open for ${formatDurationUs(test.forUs)} while ${test.while.text}`;
    case 'fence':
      return `the newest fence is ${test.state}`;
    case 'forced':
      return 'the direction was changed by force';
  }
}

/** A value for people; empty where there is none. */
export function valueText({ value, unit }: Evidence): string {
  if (value === null) return '';
  const rounded = Number(value.toPrecision(4));
  return unit === 's' || unit === 'B' ? `${rounded} ${unit}` : String(rounded);
}
