/** The gates: the selected one for the whole room, and all of them in the order of the phases. */
import type { MigrationJson } from '../../port.js';
import type { Now } from '../../../live/connection.js';
import type { Model } from '../../../live/model.js';
import { becauseOf, phaseOf, questionOf, railOf } from '../../../live/rail.js';
import { gateShown, worstState, type GateShown } from '../../../live/shown.js';
import { durationText } from '../../../live/words.js';
import type { Child, Node_ } from './dom.js';
import { h } from './dom.js';
import { shape } from './shapes.js';

/** The selected gate, to be read from the other end of the room. */
export function hero(shown: GateShown, nowMs: number): Node_ {
  const name = shown.gate.slice(shown.gate.indexOf('/') + 1);
  const phase = phaseOf(name);
  const question = questionOf(shown.gate);
  return h(
    'section',
    { class: 'hero', 'data-tone': shown.state, 'aria-labelledby': 'hero-title' },
    shape(shown.state),
    h(
      'div',
      {},
      h(
        'h1',
        { id: 'hero-title', class: 'phase' },
        phase === '' ? '' : `${phase}: `,
        h('b', {}, phase === '' ? question.charAt(0).toUpperCase() + question.slice(1) : question),
        h('span', { class: 'mono soft' }, ` ${shown.gate}`),
      ),
      h('p', { class: 'word' }, shown.state.toUpperCase()),
      h('p', { class: 'because' }, because(shown)),
    ),
    h('div', { class: 'aside' }, ...aside(shown, nowMs)),
  );
}

function because(shown: GateShown): string {
  const why = becauseOf(shown).replace(/; could open in .*$/, '');
  if (shown.state === 'open') return 'every condition holds';
  return why === '' ? '' : shown.doubt === null ? `because ${why}` : why;
}

function aside(shown: GateShown, nowMs: number): Child[] {
  if (shown.doubt !== null || shown.verdict === null) return [];
  const since = (nowMs - Date.parse(shown.verdict.since)) / 1000;
  if (shown.opensIn !== null) {
    return [
      h('p', { class: 'soft' }, 'could open in'),
      h('p', { class: 'big' }, durationText(Math.ceil(shown.opensIn))),
      bar(shown),
    ];
  }
  if (!Number.isFinite(since)) return [];
  return [
    h('p', { class: 'soft' }, `${shown.state} for`),
    h('p', { class: 'big' }, durationText(Math.max(0, Math.floor(since)))),
  ];
}

/** How far the slowest hold has come; nothing where nothing is being held. */
function bar(shown: GateShown): Child {
  const holds = shown.verdict?.conditions.filter((c) => c.needs_seconds > 0) ?? [];
  if (holds.length === 0 || shown.doubt !== null || shown.opensIn === null) return null;
  const part = Math.min(...holds.map((c) => Math.min(1, c.held_seconds / c.needs_seconds)));
  return h('span', { class: 'hold' }, h('span', { style: { '--part': part.toFixed(3) } }));
}

/** What the rail needs. */
export interface RailParts {
  model: Model;
  migration: MigrationJson;
  now: Now;
  selected: string | null;
  select: (gate: string) => void;
}

/** The phases of a migration in order, each with its gates. */
export function rail({ model, migration, now, selected, select }: RailParts): Node_ {
  return h(
    'ol',
    { class: 'rail', 'aria-label': `Phases and gates of ${migration.name}` },
    railOf(migration).map(({ number, name, gates }) => {
      const shown = gates.map((gate) => gateShown(model, `${migration.name}/${gate}`, now));
      return h(
        'li',
        { key: name, class: number === null ? 'any' : null, 'data-tone': worstState(shown.map((s) => s.state)) },
        h('h2', {}, number === null ? '' : `${number} `, h('b', {}, name)),
        h(
          'div',
          { class: 'gates' },
          shown.map((s) => tile(s, s.gate === selected, select)),
        ),
      );
    }),
  );
}

/** One gate: its state by shape, word and colour, and what it waits for. */
export function tile(shown: GateShown, selected: boolean, select: (gate: string) => void): Node_ {
  const { gate, state, doubt, opensIn } = shown;
  const note = doubt ?? (opensIn === null ? becauseOf(shown) : `could open in ${durationText(Math.ceil(opensIn))}`);
  return h(
    'button',
    {
      ...{ key: gate, type: 'button', class: 'gate', 'data-gate': gate, 'data-state': state },
      ...{ 'aria-pressed': selected ? 'true' : 'false', onclick: () => select(gate) },
    },
    h('span', { class: 'name' }, gate.slice(gate.indexOf('/') + 1)),
    h('span', { class: 'state' }, shape(state), state.toUpperCase()),
    note === '' ? null : h('span', { class: 'note' }, note),
    bar(shown),
  );
}
