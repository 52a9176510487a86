/** The data of both sides as a map: a cell a table, as large as the table, with what its newest comparison found. */
import type { VerifyJson, VerifyTableJson } from '../../port.js';
import { durationText, plural } from '../../../live/words.js';
import type { Child, Node_ } from './dom.js';
import { h } from './dom.js';
import { ago } from './panel-gate.js';

const MARKS: Readonly<Record<VerifyTableJson['state'], string>> = {
  match: '✓ match',
  mismatch: '✕ MISMATCH',
  'not-settled': '~ not settled',
  'not-covered': '∅ not covered',
  unknown: '? not compared',
};
/** Keys that are listed; the API has more. */
const KEYS_SHOWN = 50;

/** What the panel is made from. */
export interface VerifyParts {
  verify: VerifyJson | null;
  known: boolean;
  nowMs: number;
  /** The table whose mismatches are shown. */
  chosen: string | null;
  choose: (table: string | null) => void;
}

/** Progress, the last pass, and the map. */
export function verifyPanel({ verify, known, nowMs, chosen, choose }: VerifyParts): Node_ {
  const tables = verify?.tables ?? [];
  const bad = tables.filter((t) => t.state === 'mismatch').length;
  const good = tables.filter((t) => t.state === 'match').length;
  const table = tables.find((t) => t.table === chosen) ?? null;
  return h(
    'section',
    { key: 'verify', class: 'panel', 'aria-labelledby': 'verify-title' },
    h(
      'h2',
      { id: 'verify-title' },
      'Data on both sides',
      h(
        'span',
        {},
        !known
          ? 'as last known'
          : tables.length === 0
            ? ''
            : `${good} of ${plural(tables.length, 'table')} match${bad === 0 ? '' : `, ${bad} differ`}`,
      ),
    ),
    h(
      'div',
      { class: known ? '' : 'stale' },
      verify === null || verify.configured === false
        ? h('p', { class: 'soft' }, 'Verification is not configured for this migration: nobody compares the data.')
        : null,
      verify === null || verify.running === null ? lastPass(verify, nowMs) : running(verify.running),
      verify === null || verify.narrower === null ? null : h('p', { class: 'soft' }, verify.narrower),
      h(
        'div',
        { key: 'map', class: 'map' },
        tables.map((t) => cell(t, known, t.table === chosen, () => choose(t.table === chosen ? null : t.table))),
      ),
      table === null ? null : keys(table, nowMs),
    ),
  );
}

function running(r: NonNullable<VerifyJson['running']>): Child {
  const part =
    r.rows_estimated > 0 ? Math.min(1, r.rows_done / r.rows_estimated) : r.tables_done / Math.max(1, r.tables_total);
  const eta = r.eta_seconds === null ? '' : `, about ${durationText(r.eta_seconds)} to go`;
  return h(
    'div',
    { key: 'running' },
    h(
      'p',
      {},
      h('b', {}, `Comparing ${r.table ?? ''}`),
      ` ${r.tables_done} of ${plural(r.tables_total, 'table')}${eta}${r.paused === null ? '' : `; paused: ${r.paused}`}`,
    ),
    h('div', { class: 'progress' }, h('span', { style: { '--part': String(part) } })),
  );
}

function lastPass(verify: VerifyJson | null, nowMs: number): Child {
  const last = verify?.last ?? null;
  if (verify === null || last === null)
    return verify === null ? null : h('p', { class: 'soft' }, 'No pass has ended yet.');
  const next = verify.next_at === null ? '' : `; the next at ${verify.next_at.slice(11, 16)}Z`;
  return h(
    'p',
    { key: 'last', class: 'soft' },
    `Last pass ${last.complete ? 'complete' : 'NOT complete'}, ended ${ago(last.ended_at, nowMs)}${last.reason === null ? '' : `: ${last.reason}`}${next}`,
  );
}

function cell(t: VerifyTableJson, known: boolean, chosen: boolean, toggle: () => void): Child {
  const rows = t.source_rows ?? t.target_rows;
  // By the order of magnitude: one of a million rows is six times as wide as one of ten.
  const size = Math.max(1, Math.log10((rows ?? 0) + 1));
  const differ =
    t.mismatched_rows === null || t.mismatched_rows === 0
      ? ''
      : `${t.mismatched_at_least ? '≥ ' : ''}${plural(t.mismatched_rows, 'row')}`;
  return h(
    'button',
    {
      ...{ key: t.table, type: 'button', 'aria-expanded': chosen ? 'true' : 'false', onclick: toggle },
      'data-table': known ? t.state : 'unknown',
      style: { '--size': size.toFixed(2) },
    },
    h('b', {}, t.table),
    h('span', {}, known ? MARKS[t.state] : `? was ${t.state}`),
    h('span', { class: 'soft' }, ` ${differ === '' ? (rows === null ? '' : plural(rows, 'row')) : differ}`),
  );
}

function keys(t: VerifyTableJson, nowMs: number): Child {
  const shown = t.mismatches.slice(0, KEYS_SHOWN);
  const more = t.mismatches.length > shown.length || t.mismatches_truncated;
  return h(
    'div',
    { key: 'keys', class: 'keys', tabindex: '0', role: 'region', 'aria-label': `Comparison of ${t.table}` },
    h(
      'p',
      {},
      h('b', {}, t.table),
      t.compared_at === null
        ? ' has not been compared.'
        : ` compared ${ago(t.compared_at, nowMs)}: ${t.source_rows ?? '?'} rows on the source, ${t.target_rows ?? '?'} on the target.`,
    ),
    t.reason === null ? null : h('p', {}, t.reason),
    t.ignored_columns.length === 0 ? null : h('p', {}, `Columns left out: ${t.ignored_columns.join(', ')}.`),
    shown.length === 0
      ? null
      : h(
          'table',
          {},
          h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Row'), h('th', { scope: 'col' }, 'How it differs'))),
          h(
            'tbody',
            {},
            shown.map(({ kind, key }) =>
              h(
                'tr',
                {},
                h(
                  'td',
                  { class: 'mono' },
                  Object.entries(key)
                    .map(([n, v]) => `${n}=${v}`)
                    .join(', '),
                ),
                h('td', {}, KINDS[kind]),
              ),
            ),
          ),
        ),
    more ? h('p', { class: 'soft' }, 'More keys differ: `lockgate verify` lists them.') : null,
  );
}

const KINDS = { missing: 'missing on the target', extra: 'only on the target', different: 'different values' } as const;
