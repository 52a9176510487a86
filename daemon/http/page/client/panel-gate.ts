/** What the selected gate is judged by: each condition with its value, its hold and what last broke it. */
import type { VerdictJson } from '../../port.js';
import { askedOf, conditionWords, holdText } from '../../../live/condition-words.js';
import { durationText, instantText, valueText } from '../../../live/words.js';
import type { Child, Node_ } from './dom.js';
import { h } from './dom.js';
import { shape, type Shape } from './shapes.js';

type Condition = VerdictJson['conditions'][number];

const SHAPES: Readonly<Record<Condition['state'], Shape>> = {
  held: 'open',
  holding: 'holding',
  broken: 'closed',
  unknown: 'unknown',
};

/** The conditions of a verdict; `known` is false when nothing in it may count as now. */
export function conditionsPanel(gate: string, verdict: VerdictJson | null, known: boolean, nowMs: number): Node_ {
  const list = verdict?.conditions ?? [];
  const held = list.filter((c) => c.state === 'held').length;
  return h(
    'section',
    { key: 'conditions', class: 'panel', 'aria-labelledby': 'conditions-title' },
    h(
      'h2',
      { id: 'conditions-title' },
      `What ${gate.slice(gate.indexOf('/') + 1)} asks`,
      h('span', {}, known ? `${held} of ${list.length} hold` : 'as it was last known'),
    ),
    verdict === null || verdict.reason === null
      ? null
      : h('p', { class: 'alarm' }, h('b', {}, 'Held back'), verdict.reason),
    h(
      'ul',
      { class: `conditions${known ? '' : ' stale'}` },
      list.map((c) => condition(c, known, nowMs)),
    ),
  );
}

function condition(c: Condition, known: boolean, nowMs: number): Child {
  const state = known ? c.state : 'unknown';
  const part = c.needs_seconds > 0 ? Math.min(1, c.held_seconds / c.needs_seconds) : 0;
  const asked = askedOf(c.text);
  const value = c.value === null ? (state === 'unknown' ? '–' : '') : valueText(c.value, c.unit);
  const why = [
    c.reason,
    c.last_broken === null
      ? null
      : `last broken ${ago(c.last_broken.at, nowMs)}${c.last_broken.value === null ? '' : ` at ${valueText(c.last_broken.value, c.unit)}`}`,
  ].filter((text) => text !== null && text !== '');
  return h(
    'li',
    { key: c.text, 'data-condition': state },
    shape(SHAPES[state]),
    h('span', { class: 'text', title: asked === null ? c.text : conditionWords(c) }, c.text),
    h('span', { class: 'value' }, value, h('small', {}, state.toUpperCase())),
    why.length === 0 && c.needs_seconds === 0
      ? null
      : h(
          'span',
          { class: 'why' },
          c.needs_seconds > 0 ? `held ${holdText(c)}${why.length === 0 ? '' : '; '}` : '',
          why.join('; '),
        ),
    c.needs_seconds > 0 ? h('span', { class: 'hold' }, h('span', { style: { '--part': String(part) } })) : null,
  );
}

/** How long ago something was, and at what time. */
export function ago(at: string, nowMs: number): string {
  const seconds = (nowMs - Date.parse(at)) / 1000;
  if (!Number.isFinite(seconds)) return instantText(at, nowMs);
  return `${durationText(Math.max(0, seconds))} ago (${instantText(at, nowMs)})`;
}
