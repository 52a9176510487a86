/** Reads what the daemon says out of any JSON: what cannot be understood is nothing, and never something good. */
import type { FenceJson, FenceStateJson, SignalJson, VerdictJson } from '../http/port.js';

const FENCE_STATES: ReadonlySet<string> = new Set<FenceJson['state']>([
  ...(['placed', 'drained', 'unknown', 'violated', 'expired', 'closed', 'cancelled'] as const),
]);

/** Whether a JSON value is an object (and no array). */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The value if it is a text, else the fallback. */
export function textOr<T extends string | null>(value: unknown, fallback: T): string | T {
  return typeof value === 'string' ? value : fallback;
}

/** The value if it is a finite number, else the fallback. */
export function numberOr<T extends number | null>(value: unknown, fallback: T): number | T {
  return typeof value === 'number' && Number.isFinite(value) ? value : fallback;
}

/** Reads a verdict out of any JSON; null when it is none. What is only for people may be missing. */
export function verdictOf(json: unknown): VerdictJson | null {
  if (!isObject(json)) return null;
  const { gate, state, open, evaluated_at: evaluatedAt } = json;
  if (typeof gate !== 'string' || (state !== 'open' && state !== 'closed' && state !== 'unknown')) return null;
  if (typeof open !== 'boolean' || typeof evaluatedAt !== 'string' || !Number.isFinite(Date.parse(evaluatedAt))) {
    return null;
  }
  const conditions = Array.isArray(json['conditions']) ? (json['conditions'] as unknown[]) : [];
  return {
    gate,
    state,
    open,
    since: textOr(json['since'], ''),
    evaluated_at: evaluatedAt,
    opens_at: textOr(json['opens_at'], null),
    conditions: conditions.filter(isObject).map(conditionOf),
    reason: textOr(json['reason'], null),
    config_hash: textOr(json['config_hash'], ''),
    daemon: textOr(json['daemon'], ''),
  };
}

function conditionOf(json: Record<string, unknown>): VerdictJson['conditions'][number] {
  const { state, last_broken: broken } = json;
  return {
    text: textOr(json['text'], '?'),
    state: state === 'held' || state === 'holding' || state === 'broken' ? state : 'unknown',
    value: numberOr(json['value'], null),
    unit: textOr(json['unit'], ''),
    held_seconds: numberOr(json['held_seconds'], 0),
    needs_seconds: numberOr(json['needs_seconds'], 0),
    last_broken: isObject(broken) ? { at: textOr(broken['at'], ''), value: numberOr(broken['value'], null) } : null,
    reason: textOr(json['reason'], null),
  };
}

/** Reads a fence out of any JSON; null when it is none. What is only for people may be missing. */
export function fenceOf(json: unknown): FenceJson | null {
  if (!isObject(json)) return null;
  const { id, migration, link, state, missing, violations } = json;
  if (typeof id !== 'string' || typeof migration !== 'string' || !isState(state)) return null;
  if (link !== 'forward' && link !== 'reverse') return null;
  const lacking = isObject(missing) ? missing : {};
  const violated = isObject(violations) ? violations : {};
  const { predicted } = json;
  const eta = isObject(predicted) ? numberOr(predicted['drain_eta'], null) : null;
  const high = isObject(predicted) ? numberOr(predicted['drain_eta_high'], null) : null;
  const unwatched = Array.isArray(json['unwatched']) ? (json['unwatched'] as unknown[]) : [];
  return {
    id,
    migration,
    link,
    state,
    placed_at: textOr(json['placed_at'], ''),
    deadline_at: textOr(json['deadline_at'], ''),
    source_position: textOr(json['source_position'], '?'),
    basis: textsOf(json['basis']),
    drained_at: textOr(json['drained_at'], null),
    drain_seconds: numberOr(json['drain_seconds'], null),
    missing: {
      bytes: numberOr(lacking['bytes'], null),
      transactions: numberOr(lacking['transactions'], null),
      flows: textsOf(lacking['flows']),
      reasons: textsOf(lacking['reasons']),
    },
    violations: {
      count: numberOr(violated['count'], 0),
      first_position: textOr(violated['first_position'], null),
      first_at: textOr(violated['first_at'], null),
    },
    unwatched: unwatched.filter(isObject).map((gap) => ({
      from: textOr(gap['from'], ''),
      to: textOr(gap['to'], null),
      reason: textOr(gap['reason'], ''),
    })),
    predicted: eta === null || high === null ? null : { drain_eta: eta, drain_eta_high: high },
    note: textOr(json['note'], ''),
    placed_by: textOr(json['placed_by'], ''),
    ended_at: textOr(json['ended_at'], null),
    ended_because: textOr(json['ended_because'], null),
  };
}

function isState(value: unknown): value is FenceStateJson {
  return typeof value === 'string' && FENCE_STATES.has(value);
}

/** The texts of a JSON array, and nothing else of it. */
export function textsOf(value: unknown): string[] {
  return Array.isArray(value) ? (value as unknown[]).filter((v) => typeof v === 'string') : [];
}

/** Reads a signal out of any JSON; null when it is none. */
export function signalOf(json: unknown): SignalJson | null {
  if (!isObject(json) || typeof json['name'] !== 'string') return null;
  const value = numberOr(json['value'], null);
  const stated = json['state'] === 'ok' || json['state'] === 'stale' ? json['state'] : 'unknown';
  return {
    name: json['name'],
    // Known, and no value: that is not known.
    state: stated === 'ok' && value === null ? 'unknown' : stated,
    value,
    unit: textOr(json['unit'], ''),
    observed_at: textOr(json['observed_at'], null),
    age_seconds: numberOr(json['age_seconds'], null),
    reason: textOr(json['reason'], null),
  };
}
