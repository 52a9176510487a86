/** What a rule watches for, as PromQL over the metrics of lockgate's own `/metrics`. */
import type { Us } from '../daemon/core/clock.js';
import type { Comparator, GateCondition, SignalCondition, WindowFunction } from '../daemon/core/condition.js';
import { OPPOSITE } from '../daemon/core/alert-gates.js';
import type { AlertRule } from '../daemon/core/alert-rule.js';
import type { Unit } from '../daemon/core/units.js';

/** A rule of Prometheus without its labels and annotations. */
export interface PromTest {
  expr: string;
  /** How long the expression has to yield something before it fires. */
  forUs: Us;
  /** A template of Prometheus that says what is seen now, for whoever is woken; null where there is no number to show. */
  now: string | null;
}

const OVER_TIME: Readonly<Record<WindowFunction, (range: string) => string>> = {
  max: (range) => `max_over_time(${range})`,
  min: (range) => `min_over_time(${range})`,
  avg: (range) => `avg_over_time(${range})`,
  p50: (range) => `quantile_over_time(0.5, ${range})`,
  p90: (range) => `quantile_over_time(0.9, ${range})`,
  p95: (range) => `quantile_over_time(0.95, ${range})`,
  p99: (range) => `quantile_over_time(0.99, ${range})`,
};

/** How a value of each unit is written in a template of Prometheus. */
const TEMPLATE_OF_UNIT: Readonly<Record<Unit, string>> = {
  s: 'humanizeDuration',
  B: 'humanize1024 | printf "%sB"',
  ratio: 'humanizePercentage',
  count: 'humanize',
  'count/s': 'humanize | printf "%s/s"',
  percent: 'humanize | printf "%s %%"',
  flag: 'humanize',
};

/** A label's value, or any text, as PromQL writes it. */
export function quoted(text: string): string {
  return JSON.stringify(text);
}

/** Writes a duration as Prometheus does; it knows nothing below a millisecond, so what is shorter is rounded up. */
export function promDuration(us: Us): string {
  let left = Math.ceil(us / 1_000);
  if (left <= 0) return '0s';
  const units: [number, string][] = [
    [86_400_000, 'd'],
    [3_600_000, 'h'],
    [60_000, 'm'],
    [1_000, 's'],
    [1, 'ms'],
  ];
  let out = '';
  for (const [size, name] of units) {
    const n = Math.floor(left / size);
    if (n > 0) out += `${String(n)}${name}`;
    left -= n * size;
  }
  return out;
}

/** The name that an alert has in Prometheus, `LockgateReplicationStopped` for the rule `replication-stopped`. */
export function alertName(rule: string): string {
  const words = rule.split(/[^A-Za-z0-9]+/).filter((word) => word !== '');
  return `Lockgate${words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join('')}`;
}

/**
 * The PromQL of a rule. It yields one element without labels while the rule fires.
 *
 * A signal that becomes unknown loses its series, and so does a daemon that is down. An expression over them alone would
 * then yield nothing, and the alert would resolve because nobody knows any more. So each expression goes on yielding
 * something as long as its own alert is firing and the condition is not known to be false.
 */
export function promTest(rule: AlertRule): PromTest {
  const { test } = rule;
  switch (test.kind) {
    case 'condition':
      return test.condition.kind === 'gate' ? gateTest(rule, test.condition) : signalTest(rule, test.condition);
    case 'unknown': {
      const known = signalMetric('lockgate_signal_known', rule.migration, test.signal);
      return { expr: `max(${known} == bool 0) == 1\nor\nmax(absent(${known}))`, forUs: test.forUs, now: null };
    }
    case 'gate-shut': {
      const gate = gateMetric(test.gate);
      const shut = `(max(${gate} == bool 0) == 1 and on () ${holds(test.while)})`;
      const operand = operandOf(test.while);
      const otherwise = `(${gate} == 1 or ${operand} ${OPPOSITE[test.while.op]} ${String(test.while.threshold)})`;
      return { expr: kept(rule, shut, otherwise), forUs: test.forUs, now: null };
    }
    case 'fence': {
      const fence = `lockgate_fence_state{migration=${quoted(rule.migration)},state=${quoted(test.state)}}`;
      // Without a fence there is no series of one, but the direction is always told.
      const told = `lockgate_direction{migration=${quoted(rule.migration)}}`;
      return { expr: kept(rule, `max(${fence} == 1)`, told), forUs: 0, now: null };
    }
  }
}

function signalTest(rule: AlertRule, condition: SignalCondition): PromTest {
  const metric = signalMetric('lockgate_signal', condition.migration, condition.signal);
  const known = condition.fn === null ? metric : `(${metric} and ${covered(condition, condition.fn.windowUs)})`;
  const operand = `${worst(condition.op)}(${operandOf(condition)})`;
  return {
    expr: kept(rule, holds(condition), known),
    forUs: condition.forUs,
    now: `{{ with query ${rawString(operand)} }}{{ . | first | value | ${TEMPLATE_OF_UNIT[condition.unit]} }}{{ else }}unknown{{ end }}`,
  };
}

function gateTest(rule: AlertRule, condition: GateCondition): PromTest {
  const gate = gateMetric(condition.gate);
  return { expr: kept(rule, `max(${gate} == 1)`, gate), forUs: condition.forUs, now: null };
}

/** `firing`, or this very alert fires already while the vector `known`, which would tell that all is well again, is empty. */
function kept(rule: AlertRule, firing: string, known: string): string {
  const labels = [
    `alertname=${quoted(alertName(rule.name))}`,
    'alertstate="firing"',
    `migration=${quoted(rule.migration)}`,
    `rule=${quoted(rule.name)}`,
  ];
  return `${firing}\nor\n(max(ALERTS{${labels.join(',')}}) unless on () ${known})`;
}

/** One element while the condition is true for any daemon that watches the migration. */
function holds(condition: SignalCondition): string {
  const compared = `${operandOf(condition)} ${condition.op} ${String(condition.threshold)}`;
  if (condition.fn === null || decided(condition)) return `${worst(condition.op)}(${compared})`;
  return `${worst(condition.op)}(${compared} and ${covered(condition, condition.fn.windowUs)})`;
}

function operandOf({ migration, signal, fn }: SignalCondition): string {
  const metric = signalMetric('lockgate_signal', migration, signal);
  return fn === null ? metric : OVER_TIME[fn.name](`${metric}[${promDuration(fn.windowUs)}]`);
}

/** One sample is enough for it, however little of the window was seen. */
function decided({ fn, op }: SignalCondition): boolean {
  return (fn?.name === 'max' && (op === '>' || op === '>=')) || (fn?.name === 'min' && (op === '<' || op === '<='));
}

function covered({ migration, signal }: SignalCondition, windowUs: Us): string {
  const metric = signalMetric('lockgate_signal_known', migration, signal);
  return `min_over_time(${metric}[${promDuration(windowUs)}]) == 1`;
}

/** Of several daemons, the value that says most about what is wrong. */
function worst(op: Comparator): 'min' | 'max' {
  return op === '<' || op === '<=' ? 'min' : 'max';
}

function signalMetric(name: string, migration: string, signal: string): string {
  return `${name}{migration=${quoted(migration)},signal=${quoted(signal)}}`;
}

function gateMetric(id: string): string {
  const slash = id.indexOf('/');
  const migration = id.slice(0, Math.max(0, slash));
  return `lockgate_gate_open{migration=${quoted(migration)},gate=${quoted(id.slice(slash + 1))}}`;
}

/** A raw string of Go's templates; names of migrations and signals hold no backtick. */
function rawString(text: string): string {
  return `\`${text.replaceAll('`', '')}\``;
}
