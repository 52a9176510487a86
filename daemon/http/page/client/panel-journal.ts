/** What fires, and what happened: newest first. */
import type { MigrationJson } from '../../port.js';
import type { JournalLine } from '../../../live/model.js';
import { entryCells } from '../../../live/journal-words.js';
import { plural, valueText } from '../../../live/words.js';
import type { Node_ } from './dom.js';
import { h } from './dom.js';
import { ago } from './panel-gate.js';

/** Alerts that fire now. */
export function alertsPanel(alerts: MigrationJson['alerts'], known: boolean, nowMs: number): Node_ {
  return h(
    'section',
    { key: 'alerts', class: 'panel', 'aria-labelledby': 'alerts-title' },
    h(
      'h2',
      { id: 'alerts-title' },
      'Alerts',
      h('span', {}, known ? (alerts.length === 0 ? '' : `${plural(alerts.length, 'alert')} firing`) : 'as last known'),
    ),
    h(
      'div',
      { class: known ? '' : 'stale' },
      alerts.length === 0
        ? h('p', { class: 'soft' }, known ? 'Nothing fires.' : 'None fired when last heard of.')
        : null,
      alerts.map((a) =>
        h(
          'div',
          { class: 'alarm', key: a.rule },
          h('b', {}, `${a.severity.toUpperCase()} ${a.rule}`),
          h(
            'p',
            {},
            `${a.summary}${a.value === null ? '' : ` (${valueText(a.value, a.unit ?? '')})`}${a.reason === null ? '' : `: ${a.reason}`}`,
          ),
          h(
            'p',
            { class: 'soft' },
            `since ${ago(a.since, nowMs)}${a.silenced_until === null ? '' : `; silenced until ${a.silenced_until}`}`,
          ),
        ),
      ),
    ),
  );
}

/** The journal of a migration and of the daemon itself. */
export function journalPanel(entries: readonly JournalLine[], migration: string, known: boolean): Node_ {
  const mine = entries.filter((e) => e['migration'] === migration || (e['migration'] ?? null) === null);
  return h(
    'section',
    { key: 'journal', class: 'panel', 'aria-labelledby': 'journal-title' },
    h('h2', { id: 'journal-title' }, 'Journal', h('span', {}, 'newest first, UTC')),
    h(
      'ol',
      { class: `journal${known ? '' : ' stale'}`, tabindex: '0', 'aria-label': 'Journal, newest first' },
      [...mine].reverse().map((entry) => {
        const [at = '', kind = '', subject = '', by = '', gist = ''] = entryCells(entry);
        const who = by === 'lockgate' || by === '-' ? '' : ` by ${by}`;
        return h(
          'li',
          { key: String(entry.id) },
          h('time', { datetime: at, title: at }, at.slice(11, 19)),
          h(
            'p',
            {},
            h('b', {}, `${kind} ${subject === '-' ? '' : subject}`),
            ` ${gist}`,
            h('span', { class: 'soft' }, who),
          ),
        );
      }),
    ),
  );
}
