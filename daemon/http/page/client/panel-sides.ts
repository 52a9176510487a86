/** Both sides and which of them is written to, what lies between them, and what went wrong. */
import type { MigrationJson, SignalJson } from '../../port.js';
import { plural, valueText } from '../../../live/words.js';
import type { Child, Node_ } from './dom.js';
import { h } from './dom.js';
import { ago } from './panel-gate.js';

/** What the panel is made from. */
export interface SidesParts {
  migration: MigrationJson;
  signals: ReadonlyMap<string, SignalJson>;
  known: boolean;
  nowMs: number;
}

/** Direction, both sides, backlog and drain time. */
export function sidesPanel(parts: SidesParts): Node_ {
  const { migration: m, signals, known, nowMs } = parts;
  const value = (name: string): string => {
    const s = signals.get(name);
    return s?.state === 'ok' && s.value !== null ? valueText(s.value, s.unit) : 'unknown';
  };
  const link = m.direction === 'reverse' ? 'reverse' : 'forward';
  const direction =
    m.direction === 'unknown'
      ? 'unknown'
      : `${m.direction}: writes belong on ${m.direction === 'forward' ? m.source : m.target}`;
  const [eta, high] = [signals.get(`${link}.drain_eta`), signals.get(`${link}.drain_eta_high`)];
  return h(
    'section',
    { key: 'sides', class: 'panel', 'aria-labelledby': 'sides-title' },
    h('h2', { id: 'sides-title' }, 'Both sides', h('span', {}, m.epoch === null ? '' : `epoch ${m.epoch}`)),
    h(
      'div',
      { class: known ? '' : 'stale' },
      h('div', { class: 'sides' }, side(parts, 'source'), arrow(m.direction), side(parts, 'target')),
      splitBrain(signals),
      (['source', 'target'] as const).map((which) => strayAlarm(m, which, nowMs)),
      h(
        'dl',
        { class: 'facts' },
        fact('Direction', direction),
        fact('Since', m.direction_since === null ? '–' : ago(m.direction_since, nowMs)),
        Object.keys(m.links).flatMap((name) => [
          ...fact(`Lag, ${name}`, value(`${name}.lag`)),
          ...fact(`Backlog, ${name}`, value(`${name}.backlog_bytes`)),
        ]),
        fact(
          'Drains in, if writes stopped now',
          eta?.state !== 'ok'
            ? 'unknown'
            : `${value(eta.name)}${high === undefined ? '' : ` (at most ${value(high.name)})`}`,
        ),
      ),
    ),
  );
}

function fact(name: string, value: string): Child[] {
  return [h('dt', {}, name), h('dd', {}, value)];
}

/** The flags by their signals, which come every second; what is latched of stray writes by the migration. */
function side({ migration: m, signals, known }: SidesParts, which: 'source' | 'target'): Node_ {
  const s = m.sides[which];
  const active = m.direction !== 'unknown' && (m.direction === 'forward') === (which === 'source');
  const flag = (name: string, yes: string, no: string): string => {
    const signal = signals.get(`${which}.${name}`);
    if (signal?.state !== 'ok' || signal.value === null) return `? ${yes}: not known`;
    return signal.value === 1 ? `✓ ${yes}` : `✕ ${no}`;
  };
  const strays = strayWords(s.stray_writes.count, active ? null : signals.get('standby.stray_writes'), known);
  return h(
    'div',
    { class: `side${active ? ' active' : ''}`, 'data-side': which },
    h(
      'p',
      { class: 'role' },
      `${which}${m.direction === 'unknown' ? '' : active ? ', active: takes the writes' : ', passive'}`,
    ),
    h('p', { class: 'database' }, s.database),
    h(
      'ul',
      {},
      h('li', {}, flag('reachable', 'reachable', 'NOT reachable')),
      h('li', {}, flag('writable', 'accepts writes', 'read-only')),
      strays === null ? null : h('li', {}, strays),
    ),
  );
}

/** Whether anybody wrote where nobody should; nothing where writes belong and none was ever astray. */
function strayWords(latched: number | null, signal: SignalJson | null | undefined, known: boolean): string | null {
  if (latched !== null && latched > 0) return `✕ ${plural(latched, 'stray write')}`;
  if (signal === null) return null;
  if (!known || signal?.state !== 'ok' || signal.value === null) return '? not known whether anybody wrote here';
  return signal.value === 0 ? '✓ no stray writes' : `✕ ${plural(signal.value, 'stray write')}`;
}

function strayAlarm(m: MigrationJson, which: 'source' | 'target', nowMs: number): Child {
  const { count, first_at: at, first_position: position } = m.sides[which].stray_writes;
  if (count === null || count === 0) return null;
  const first = `first ${at === null ? 'at an unknown time' : ago(at, nowMs)}${position === null ? '' : ` at ${position}`}`;
  return h(
    'p',
    { class: 'alarm', 'data-strays': which },
    h('b', {}, `${plural(count, 'stray write')} on ${m.sides[which].database}`),
    first,
  );
}

function splitBrain(signals: ReadonlyMap<string, SignalJson>): Child {
  const split = signals.get('split_brain');
  if (split?.state !== 'ok' || split.value !== 1) return null;
  return h(
    'p',
    { class: 'alarm', role: 'alert' },
    h('b', {}, 'SPLIT BRAIN: both sides are written to'),
    split.reason ?? '',
  );
}

function arrow(direction: MigrationJson['direction']): Node_ {
  const d =
    direction === 'forward'
      ? 'M3 12h16M13 6l6 6-6 6'
      : direction === 'reverse'
        ? 'M21 12H5M11 6l-6 6 6 6'
        : 'M4 12h3M11 12h3M18 12h2';
  const words =
    direction === 'unknown'
      ? 'direction unknown'
      : direction === 'forward'
        ? 'from source to target'
        : 'from target to source';
  return h(
    'svg',
    { class: 'arrow', viewBox: '0 0 24 24', role: 'img', 'aria-label': words },
    h('path', {
      d,
      fill: 'none',
      stroke: 'currentColor',
      'stroke-width': 2.5,
      'stroke-linecap': 'round',
      'stroke-linejoin': 'round',
    }),
  );
}
