import type { GateState, VerdictJson } from '../http/port.js';
import { durationText, instantText, plain, valueText } from '../live/words.js';
import { columns, type Colour, type Paint } from './text.js';

type ConditionJson = VerdictJson['conditions'][number];

const COLOUR: Readonly<Record<GateState | ConditionJson['state'], Colour>> = {
  open: 'green',
  closed: 'red',
  unknown: 'magenta',
  held: 'green',
  holding: 'yellow',
  broken: 'red',
};

/** Width of the longest state, so that gates line up. */
const STATE_WIDTH = 'UNKNOWN'.length;

/** The state in capitals, padded, in its colour: the first word of every line about a gate. */
export function stateWord(state: GateState, paint: Paint): string {
  return paint(state.toUpperCase().padEnd(STATE_WIDTH), COLOUR[state]);
}

/** `opens in 3m 20s (at 02:14:05Z)`, or nothing when that is not known. */
export function opensText(opensAt: string | null, evaluatedAt: string): string {
  if (opensAt === null) return '';
  // Both instants are the daemon's, so its clock and ours need not agree.
  const left = (Date.parse(opensAt) - Date.parse(evaluatedAt)) / 1000;
  if (!Number.isFinite(left)) return '';
  return `opens in ${durationText(Math.max(0, left))} (at ${instantText(opensAt, Date.parse(evaluatedAt))})`;
}

/** A verdict for people: one line for the gate, then one per condition with its evidence. */
export function verdictText(verdict: VerdictJson, paint: Paint, from: string | null): string {
  const now = Date.parse(verdict.evaluated_at);
  const opens = opensText(verdict.opens_at, verdict.evaluated_at);
  const since = verdict.since === '' ? '' : `since ${instantText(verdict.since, now)}`;
  const head = [
    stateWord(verdict.state, paint),
    paint(plain(verdict.gate), 'bold'),
    opens === '' ? since : opens,
    from === null ? '' : `at ${from}${verdict.daemon === '' ? '' : ` (${plain(verdict.daemon)})`}`,
  ];
  const lines = [head.filter((part) => part !== '').join('  ')];
  if (verdict.reason !== null) lines.push(`  held back: ${plain(verdict.reason)}`);
  const rows = columns(verdict.conditions.map((c) => [c.state, plain(c.text), valueCell(c), heldText(c)]));
  verdict.conditions.forEach((condition, i) => {
    const row = rows[i] ?? '';
    lines.push(
      `  ${paint(row.slice(0, condition.state.length), COLOUR[condition.state])}${row.slice(condition.state.length)}`,
    );
    const why = whyText(condition, now);
    if (why !== '') lines.push(`${' '.repeat(4)}${paint(why, 'dim')}`);
  });
  return `${lines.join('\n')}\n`;
}

/** The conditions that keep a gate from being open, in a few words, for a line of a list or of progress. */
export function briefReason(verdict: VerdictJson): string {
  if (verdict.state === 'open') return '';
  if (verdict.reason !== null) return `held back: ${plain(verdict.reason)}`;
  const broken = verdict.conditions.filter((c) => c.state === 'broken');
  const unknown = verdict.conditions.filter((c) => c.state === 'unknown');
  const holding = verdict.conditions.filter((c) => c.state === 'holding');
  const [first, ...more] = broken.length > 0 ? broken : unknown.length > 0 ? unknown : holding;
  if (first === undefined) return '';
  const reason = first.reason === null ? '' : `: ${plain(first.reason)}`;
  const detail = first.state === 'holding' ? heldText(first) : first.state === 'unknown' ? 'unknown' : valueCell(first);
  return `${plain(first.text)} (${detail})${reason}${more.length === 0 ? '' : ` and ${String(more.length)} more`}`;
}

function valueCell(c: ConditionJson): string {
  // A condition on another gate has no value of its own.
  if (c.value === null) return c.state === 'unknown' ? 'unknown' : '';
  return valueText(c.value, c.unit);
}

function heldText(c: ConditionJson): string {
  if (c.needs_seconds > 0) return `held ${durationText(c.held_seconds)} of ${durationText(c.needs_seconds)}`;
  return c.state === 'held' ? `held ${durationText(c.held_seconds)}` : '';
}

function whyText(c: ConditionJson, now: number): string {
  const parts: string[] = [];
  if (c.reason !== null) parts.push(plain(c.reason));
  if (c.last_broken !== null) {
    const value = c.last_broken.value === null ? '' : `, ${valueText(c.last_broken.value, c.unit)}`;
    parts.push(`last broken ${instantText(c.last_broken.at, now)}${value}`);
  }
  return parts.join('; ');
}
