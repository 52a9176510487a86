/** What a condition says, read back from its text: for people and for charts; nothing is judged by it. */
import type { VerdictJson } from '../http/port.js';
import { parseBytes, parseDurationUs } from '../core/units.js';
import { durationText, plain, valueText } from './words.js';

type ConditionJson = VerdictJson['conditions'][number];

/** What a condition asks of a signal. */
export interface Asked {
  /** As it is written, for example `forward.lag`. */
  signal: string;
  /** The function that is taken over a window; null when the signal itself counts. */
  fn: string | null;
  op: '<' | '<=' | '>' | '>=' | '==' | '!=';
  /** In the unit in which the API gives the signal's value. */
  threshold: number;
  /** As it is written, for example `2s`. */
  thresholdText: string;
}

const WORDS: Readonly<Record<string, Asked['op']>> = { under: '<', below: '<', over: '>', above: '>', is: '==' };
const SIGNS: Readonly<Record<Asked['op'], string>> = {
  '<': '<',
  '<=': 'at most',
  '>': '>',
  '>=': 'at least',
  '==': 'exactly',
  '!=': 'anything but',
};
const FORM =
  /^(?:(max|min|avg|p50|p90|p95|p99)\s*\(\s*)?([A-Za-z0-9_][A-Za-z0-9_.-]*)\s*(?:,[^)]*\)\s*)?(<=|>=|==|!=|<|>|under|below|over|above|is)\s*(.+?)(?:\s+for\s+.+)?$/;

/** What the text of a condition asks of a signal; null when it is about a gate, or cannot be read. */
export function askedOf(text: string): Asked | null {
  const m = FORM.exec(text.trim());
  if (m === null || /^gate\s/.test(text.trim())) return null;
  const [, fn, signal = '', sign = '', value = ''] = m;
  const op = WORDS[sign] ?? (sign as Asked['op']);
  const threshold = numberOf(value.trim());
  return threshold === null ? null : { signal, fn: fn ?? null, op, threshold, thresholdText: value.trim() };
}

/** The tightest upper bound that conditions set to one of these signals, and the condition that sets it; null when none does. */
export function tightestBound(
  conditions: readonly ConditionJson[],
  signals: readonly string[],
): { asked: Asked; condition: ConditionJson } | null {
  let tightest: { asked: Asked; condition: ConditionJson } | null = null;
  for (const condition of conditions) {
    const asked = askedOf(condition.text);
    if (asked === null || !signals.includes(asked.signal) || !asked.op.startsWith('<')) continue;
    if (tightest === null || asked.threshold < tightest.asked.threshold) tightest = { asked, condition };
  }
  return tightest;
}

function numberOf(text: string): number | null {
  const percent = /^([+-]?\d+(?:\.\d+)?)\s*%$/.exec(text);
  if (percent !== null) return Number(percent[1]) / 100;
  if (/^[+-]?\d+(?:\.\d+)?$/.test(text)) return Number(text);
  const bytes = parseBytes(text);
  if (bytes !== null) return bytes;
  const us = parseDurationUs(text);
  return us === null ? null : us / 1e6;
}

/** What is measured, without the link or side in front where that is understood: `lag`, `drain eta high`, `stray writes`. */
export function signalWords(signal: string): string {
  return plain(signal).replace(/^(forward|active)\./, '').replace(/^(reverse|source|target|standby)\./, '$1 ').replace(/[._]/g, ' '); // prettier-ignore
}

/** A condition in a few words with its value against its threshold, for example `lag 3.66 s, needs < 1s`. */
export function conditionWords(c: ConditionJson): string {
  const asked = askedOf(c.text);
  if (asked === null || c.state === 'unknown') {
    const told = c.state === 'unknown' ? 'unknown' : c.state === 'broken' ? 'not so' : c.state;
    const why = c.reason === null ? '' : `: ${plain(c.reason)}`;
    return `${asked === null ? plain(c.text) : signalWords(asked.signal)} ${told}${why}`;
  }
  const name = `${asked.fn === null ? '' : `${asked.fn} of `}${signalWords(asked.signal)}`;
  const measured = c.value === null ? name : `${name} ${measuredText(c.value, c.unit)}`;
  if (c.state === 'held') return measured;
  if (c.state === 'holding') return `${measured}, held ${holdText(c)}`;
  return `${measured}, needs ${needsText(asked, c.unit)}`;
}

function measuredText(value: number, unit: string): string {
  if (unit === '0/1' || unit === 'flag') return value === 1 ? 'yes' : value === 0 ? 'no' : String(value);
  return valueText(value, unit);
}

function needsText(asked: Asked, unit: string): string {
  if (unit === '0/1' || unit === 'flag') return asked.threshold === 1 ? 'yes' : 'no';
  return asked.op === '==' ? asked.thresholdText : `${SIGNS[asked.op]} ${asked.thresholdText}`;
}

/** `412 s of 10m`: how long it has held and how long it needs to. */
export function holdText(c: Pick<ConditionJson, 'held_seconds' | 'needs_seconds'>): string {
  return `${durationText(c.held_seconds)} of ${durationText(c.needs_seconds)}`;
}
