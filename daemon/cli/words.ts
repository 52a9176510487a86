import type { Comparator, Condition, WindowFunction } from '../core/condition.js';
import { formatDurationUs, formatValue, type Unit } from '../core/units.js';

const OPERATORS: Readonly<Record<Comparator, string>> = {
  '<': 'below',
  '<=': 'at most',
  '>': 'above',
  '>=': 'at least',
  '==': 'exactly',
  '!=': 'anything but',
};

const FUNCTIONS: Readonly<Record<WindowFunction, string>> = {
  max: 'the highest',
  min: 'the lowest',
  avg: 'the mean',
  p50: 'the median',
  p90: 'the 90th percentile',
  p95: 'the 95th percentile',
  p99: 'the 99th percentile',
};

/** A condition as a sentence, so that a reader can see whether the grammar means what they meant. */
export function conditionInWords(condition: Condition): string {
  if (condition.kind === 'gate') {
    const held =
      condition.forUs === 0 ? 'is open' : `has been open for ${formatDurationUs(condition.forUs)} without a break`;
    return `gate ${condition.gate} ${held}`;
  }
  const { fn, signal, migration, op, threshold, unit, forUs } = condition;
  const subject = fn === null ? '' : `${FUNCTIONS[fn.name]} of `;
  const window = fn === null ? '' : ` over the last ${formatDurationUs(fn.windowUs)}`;
  const bound =
    unit === 'flag' && op === '==' ? (threshold === 1 ? '1 (yes)' : '0 (no)') : thresholdText(threshold, unit);
  const value = unit === 'flag' && op === '==' ? bound : `${OPERATORS[op]} ${bound}${unit === 'count/s' ? '/s' : ''}`;
  const held = forUs === 0 ? 'is' : 'has been';
  // Only what may be negative makes a difference.
  const anything = op === '>=' && threshold === 0 && !signal.endsWith('.clock_skew');
  const hold = forUs === 0 ? '' : ` for ${formatDurationUs(forUs)} without a break`;
  return `${subject}${signal} of ${migration}${window} ${held} ${anything ? 'known, whatever it is,' : value}${hold}`;
}

/** A day is read more easily than 86400 s; every digit is kept, because this is what the gate compares with. */
function thresholdText(threshold: number, unit: Unit): string {
  return unit === 's' && threshold >= 60 ? formatDurationUs(threshold * 1e6) : formatValue(threshold, unit);
}
