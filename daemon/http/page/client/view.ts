/** The whole page as a function of what is known, what was chosen, and the time. */
import type { MigrationJson } from '../../port.js';
import type { Now } from '../../../live/connection.js';
import type { Model } from '../../../live/model.js';
import { topGates } from '../../../live/rail.js';
import {
  connectionWords,
  doubtOf,
  fenceShown,
  gateShown,
  isLive,
  signalShown,
  worstState,
} from '../../../live/shown.js';
import { instantText } from '../../../live/words.js';
import { ACTION_LABELS, possibleActions, type ActionName } from './actions.js';
import type { Child, Node_ } from './dom.js';
import { h } from './dom.js';
import { conditionsPanel } from './panel-gate.js';
import { fencePanel } from './panel-fence.js';
import { alertsPanel, journalPanel } from './panel-journal.js';
import { sidesPanel } from './panel-sides.js';
import { verifyPanel } from './panel-verify.js';
import type { Theme } from './session.js';
import { shape } from './shapes.js';
import { hero, rail, tile } from './view-gates.js';

/** What the person at the page has chosen. */
export interface Chosen {
  migration: string | null;
  /** The gate whose state is shown large, by id. */
  gate: string | null;
  table: string | null;
  theme: Theme;
}

/** What the page can ask of whoever runs it. */
export interface Handlers {
  selectGate(gate: string): void;
  selectTable(table: string | null): void;
  cycleTheme(): void;
  forget: (() => void) | null;
  act(action: ActionName): void;
  mountChart: (element: Element) => void;
}

/** What is drawn. `nowMs` is the daemon's time of day, as well as it is known. */
export interface Scene {
  model: Model;
  now: Now;
  nowMs: number;
  chosen: Chosen;
  on: Handlers;
}

/** The bar, the banner when the connection is lost, and everything that is known. */
export function page(scene: Scene): Child[] {
  const { model, now, chosen } = scene;
  const migration = chosen.migration === null ? undefined : model.migrations.get(chosen.migration);
  return [
    bar(scene),
    banner(model, now),
    h(
      'main',
      { id: 'main', key: 'main' },
      tabs(scene),
      // The selected one first, however many there are.
      migration === undefined ? null : section(scene, migration, true),
      across(scene),
      [...model.migrations.values()].filter((m) => m !== migration).map((m) => section(scene, m, false)),
      model.migrations.size === 0
        ? h('p', { class: 'soft' }, model.asOf === null ? 'Asking the daemon …' : 'This daemon has no migrations.')
        : null,
    ),
  ];
}

const THEMES: Readonly<Record<Theme, string>> = { auto: 'Look: system', light: 'Look: light', dark: 'Look: dark' };

/** Who answers, what time it is there, and whether that is so now. */
export function bar({ model, now, nowMs, chosen, on }: Scene): Node_ {
  const live = isLive(model, now);
  const { daemon } = model;
  const hash = [...model.gates.values()][0]?.verdict.config_hash ?? '';
  return h(
    'header',
    { class: 'bar', key: 'bar' },
    h('span', { class: 'brand' }, 'lockgate'),
    daemon === null
      ? null
      : h(
          'p',
          { class: 'identity' },
          h('span', {}, h('b', {}, daemon.id)),
          h('span', {}, daemon.version),
          hash === '' ? null : h('span', { title: hash }, 'config ', h('span', { class: 'mono' }, hash.slice(0, 8))),
          h('span', {}, daemon.role),
        ),
    h(
      'p',
      { class: `clock${live ? '' : ' stale'}`, title: 'The daemon’s clock, UTC' },
      live ? instantText(nowMs, nowMs) : '--:--:--Z',
    ),
    h(
      'p',
      { class: 'connection', 'data-connection': live ? 'live' : 'lost' },
      live
        ? 'live'
        : model.connection.state === 'connecting'
          ? 'connecting'
          : model.asOf === null
            ? 'not connected'
            : 'lost',
    ),
    h('button', { type: 'button', class: 'quiet', onclick: () => on.cycleTheme() }, THEMES[chosen.theme]),
    on.forget === null ? null : h('button', { type: 'button', class: 'quiet', onclick: on.forget }, 'Forget token'),
  );
}

function banner(model: Model, now: Now): Child {
  const doubt = doubtOf(model, now);
  if (doubt === null) return null;
  const { connection: c } = model;
  // Nothing was ever known: while that is being asked for there is nothing to warn of.
  if (model.asOf === null && c.state === 'connecting' && c.after === null) return null;
  return h(
    'div',
    { class: 'banner', role: 'alert', key: 'banner' },
    `${doubt.charAt(0).toUpperCase()}${doubt.slice(1)}. Every gate is unknown.`,
    h(
      'small',
      {},
      `${connectionWords(model, now).replace(/; trying again$/, '')}. Trying again${model.asOf === null ? '' : '; what is greyed below was true then'}.`,
    ),
  );
}

function tabs({ model, now, chosen }: Scene): Child {
  if (model.migrations.size < 2) return null;
  return h(
    'nav',
    { class: 'tabs', 'aria-label': 'Migrations' },
    [...model.migrations.values()].map((m) => {
      const worst = worstState(m.gates.map((g) => gateShown(model, `${m.name}/${g.name}`, now).state));
      return h(
        'a',
        {
          href: `#${m.name}`,
          key: m.name,
          'data-tone': worst,
          'aria-current': m.name === chosen.migration ? 'true' : null,
        },
        m.name,
      );
    }),
  );
}

function across({ model, now, chosen, on }: Scene): Child {
  const ids = topGates(model);
  if (ids.length === 0) return null;
  return h(
    'section',
    { class: 'migration', key: '/across' },
    h('h2', {}, 'Across migrations'),
    h(
      'div',
      { class: 'gates row' },
      ids.map((id) => tile(gateShown(model, id, now), id === chosen.gate, (g) => on.selectGate(g))),
    ),
  );
}

function section(scene: Scene, m: MigrationJson, selected: boolean): Node_ {
  const { model, now, nowMs, chosen, on } = scene;
  const gate = selected && chosen.gate !== null ? gateShown(model, chosen.gate, now) : null;
  return h(
    'section',
    { class: 'migration', key: m.name, id: m.name, 'aria-label': `Migration ${m.name}` },
    gate === null ? h('h2', {}, h('a', { href: `#${m.name}` }, m.name)) : hero(gate, nowMs),
    rail({ model, migration: m, now, selected: selected ? chosen.gate : null, select: (g) => on.selectGate(g) }),
    selected ? details(scene, m) : null,
  );
}

function details(scene: Scene, m: MigrationJson): Node_ {
  const { model, now, nowMs, chosen, on } = scene;
  const live = isLive(model, now);
  const gate = chosen.gate === null ? null : gateShown(model, chosen.gate, now);
  const names = [...(model.signals.get(m.name)?.keys() ?? [])];
  const signals = new Map(
    names.flatMap((name) => {
      const shown = signalShown(model, m.name, name, now);
      return shown === undefined ? [] : [[name, shown] as const];
    }),
  );
  const fence = fenceShown(model, m.name, now);
  return h(
    'div',
    { class: 'details' },
    h(
      'div',
      { class: 'column' },
      gate === null ? null : conditionsPanel(gate.gate, gate.verdict, gate.doubt === null, nowMs),
      lagPanel(m, live, on),
      verifyPanel({
        verify: model.verify.get(m.name) ?? null,
        known: live,
        nowMs,
        chosen: chosen.table,
        choose: (t) => on.selectTable(t),
      }),
      journalPanel(model.journal, m.name, live),
    ),
    h(
      'div',
      { class: 'column' },
      m.alerts.length === 0 ? null : alertsPanel(m.alerts, live, nowMs),
      fencePanel(fence, nowMs),
      sidesPanel({ migration: m, signals, known: live, nowMs }),
      actionsPanel(scene, m, live),
      m.alerts.length === 0 ? alertsPanel([], live, nowMs) : null,
    ),
  );
}

function lagPanel(m: MigrationJson, live: boolean, on: Handlers): Node_ {
  return h(
    'section',
    { key: 'lag', class: 'panel', 'aria-labelledby': 'lag-title' },
    h('h2', { id: 'lag-title' }, 'Lag', h('span', {}, 'upper bound, UTC; a gap is time without an observation')),
    h(
      'div',
      { class: live ? '' : 'stale' },
      h('div', {
        class: 'chart',
        key: `chart-${m.name}`,
        role: 'img',
        'aria-label': 'Lag of both directions over time; the present values are under Both sides',
        mount: on.mountChart,
      }),
    ),
    h(
      'p',
      { class: 'legend' },
      h('span', { style: { '--c': 'var(--forward)' } }, h('i', {}), 'forward'),
      h('span', { class: 'reverse', style: { '--c': 'var(--reverse)' } }, h('i', {}), 'reverse'),
      h('span', { class: 'threshold' }, h('i', {}), 'what the gate asks'),
    ),
  );
}

function actionsPanel({ model, on }: Scene, m: MigrationJson, live: boolean): Node_ {
  const operator = model.daemon?.role === 'operator';
  return h(
    'section',
    { key: 'actions', class: 'panel', 'aria-labelledby': 'actions-title' },
    h('h2', { id: 'actions-title' }, 'Declare'),
    h(
      'div',
      { class: 'actions' },
      possibleActions(m, model.fences.get(m.name)?.[0] ?? null).map((action) =>
        h(
          'button',
          { key: action, type: 'button', 'data-action': action, disabled: !live, onclick: () => on.act(action) },
          ACTION_LABELS[action],
        ),
      ),
    ),
    h(
      'p',
      { class: 'soft', style: { 'margin-top': '0.6rem' } },
      !live
        ? 'The connection is lost: nothing can be declared.'
        : operator
          ? 'Each asks before it does anything. To force a change of direction there is the command line.'
          : 'These need an operator’s token; yours is a reader’s.',
    ),
  );
}

/** What is asked for before anything can be shown. */
export function tokenForm(refused: string | null, given: (token: string, remember: boolean) => void): Node_ {
  const form = h(
    'form',
    {
      ...{ class: 'ask', autocomplete: 'off' },
      onsubmit: (event: Event) => {
        event.preventDefault();
        const form = event.target as HTMLFormElement;
        const token = (form.elements.namedItem('token') as HTMLInputElement).value.trim();
        if (token !== '') given(token, (form.elements.namedItem('remember') as HTMLInputElement).checked);
      },
    },
    h('h1', {}, 'Which token?'),
    h(
      'p',
      {},
      'This page shows nothing without one. A reader’s token is enough to look; to declare something it takes an operator’s.',
    ),
    refused === null ? null : h('p', { class: 'refused', role: 'alert' }, `The daemon refused it: ${refused}`),
    h(
      'label',
      { class: 'field' },
      h('span', {}, 'Token'),
      h('input', {
        type: 'password',
        name: 'token',
        required: true,
        autocomplete: 'off',
        spellcheck: 'false',
        autofocus: true,
      }),
    ),
    h(
      'label',
      { class: 'tick' },
      h('input', { type: 'checkbox', name: 'remember' }),
      'Remember in this tab until it is closed',
    ),
    h('button', { type: 'submit', class: 'primary' }, 'Show'),
  );
  return h('main', { id: 'main', key: 'ask' }, form);
}

/** Shown in place of the token's form where none is asked for and the daemon refuses all the same. */
export function refusedNote(refused: string): Node_ {
  return h(
    'div',
    { class: 'ask' },
    h('h1', {}, shape('unknown'), 'The daemon refuses'),
    h('p', { role: 'alert' }, refused),
  );
}
