/** The dashboard for the wall: every migration, its gates, and whether there is anybody who watches. */
import * as common from '@grafana/grafana-foundation-sdk/common';
import { RowBuilder, type Dashboard } from '@grafana/grafana-foundation-sdk/dashboard';
import { PanelBuilder as TableBuilder } from '@grafana/grafana-foundation-sdk/table';
import { dashboard, limitVariable, linkVariable, migrationsVariable, numbered, transitions, UID } from './frame.js';
import { againstLimit, HEARTBEAT_LAG, joined } from './panels.js';
import {
  COLOUR,
  DIRECTION_WORDS,
  FENCE_WORDS,
  framed,
  GATE_WORDS,
  mapped,
  OR_UNKNOWN,
  OUGHT_NOT,
  stat,
  steps,
  timeline,
  type Words,
} from './look.js';
import {
  alertsFiring,
  direction,
  fence,
  fresh,
  gateStates,
  gatesIn,
  ofDaemon,
  ofMigration,
  worstOrUnknown,
} from './promql.js';

interface Column {
  readonly name: string;
  readonly expr: string;
  readonly unit?: string;
  readonly words?: Words;
  readonly bad?: number | null;
}

const COLUMNS: readonly Column[] = [
  { name: 'direction', expr: direction(), words: DIRECTION_WORDS },
  { name: 'gates open', expr: gatesIn('open') },
  { name: 'gates closed', expr: gatesIn('closed') },
  { name: 'gates unknown', expr: gatesIn('unknown'), bad: null },
  { name: 'lag', expr: worstOrUnknown('active.lag'), unit: 's', bad: 30 },
  { name: 'lag of the way back', expr: worstOrUnknown('standby.lag'), unit: 's', bad: 30 },
  { name: 'stray writes', expr: worstOrUnknown('standby.stray_writes'), bad: 1 },
  { name: 'split brain', expr: worstOrUnknown('split_brain'), words: OUGHT_NOT },
  { name: 'tables that differ', expr: worstOrUnknown('verify.mismatched_tables'), bad: 1 },
  { name: 'verified', expr: worstOrUnknown('verify.age'), unit: 's' },
  { name: 'fence', expr: fence(), words: FENCE_WORDS },
  { name: 'alerts', expr: alertsFiring(), bad: 1 },
];

/** Builds it. */
export function overview(): Dashboard {
  const builder = dashboard('overview', 'Every migration that lockgate watches, and whether it may go on.')
    .withVariable(migrationsVariable())
    .withVariable(linkVariable())
    .withVariable(limitVariable());
  for (const each of transitions()) builder.annotation(each);
  return numbered(
    builder
      .withPanel(
        stat(
          {
            title: 'Daemons',
            about:
              'Whether Prometheus can scrape each daemon. DOWN: what that one knew is no longer shown anywhere here. "?": there is not even a target.',
            width: 8,
            height: 4,
          },
          [{ expr: ofDaemon('up'), legend: '{{instance}}' }],
          { words: { 0: ['DOWN', COLOUR.bad], 1: ['answers', COLOUR.plain] } },
        ),
      )
      .withPanel(
        stat(
          {
            title: 'Judged',
            about:
              'How long ago each daemon last judged a gate. After a minute nothing of it is shown any more: the gates become "?".',
            width: 6,
            height: 4,
          },
          [{ expr: `time() - ${ofDaemon('lockgate_last_evaluation_timestamp_seconds')}`, legend: '{{instance}}' }],
          { unit: 's', bad: 60, decimals: 0, words: {} },
        ),
      )
      .withPanel(
        stat(
          {
            title: 'Journal',
            about: 'While the journal cannot be written, no gate newly opens and operators are refused.',
            width: 4,
            height: 4,
          },
          [{ expr: `min(${fresh(ofDaemon('lockgate_store_writable'))})` }],
          { words: { 0: ['NOT WRITABLE', COLOUR.bad], 1: ['writable', COLOUR.plain] } },
        ),
      )
      .withPanel(
        stat(
          {
            title: "Firing by lockgate's own rules",
            about:
              'Alerts of the section `alerts` of the configuration, silenced ones included. "none set up": no daemon has such a section. Those of Prometheus are in the table.',
            width: 6,
            height: 4,
          },
          [{ expr: `sum(max by (migration, rule) (${fresh(ofMigration('lockgate_alert_firing'))}))` }],
          { bad: 1, empty: 'none set up' },
        ),
      )
      .withPanel(table())
      .withPanel(
        timeline(
          {
            title: 'Gates across migrations',
            about:
              'The gates at the top level of the configuration. "?" is neither open nor closed; empty: there are none.',
            width: 24,
            height: 4,
          },
          [{ expr: gateStates('migration=""'), legend: '{{gate}}' }],
          GATE_WORDS,
        ).noValue('no gates across migrations'),
      )
      .withRow(new RowBuilder('$migration').repeat('migration'))
      .withPanel(
        timeline(
          {
            title: 'Gates of $migration',
            about:
              'Each gate over time, of several daemons the worst. OPEN is the only state that says go. "?": it cannot be told, or nobody has judged it for a minute. A name that was removed stays for an hour.',
            width: 14,
            height: 9,
          },
          [{ expr: gateStates(), legend: '{{gate}}' }],
          GATE_WORDS,
        ),
      )
      .withPanel(
        againstLimit(
          {
            title: 'Lag of $migration',
            about:
              'How late a row arrives, by the heartbeat, upper bound, worst daemon. Grey with a gap: unknown, which is not 0. The dashed line is the variable "lag limit" and no threshold of a gate.',
            width: 10,
            height: 9,
          },
          HEARTBEAT_LAG,
          '($link).lag',
        ),
      )
      .build(),
  );
}

function table(): TableBuilder {
  const panel = framed(
    new TableBuilder(),
    {
      title: 'Migrations',
      about:
        'One row a migration, of several daemons the worst. "?": at least one daemon that watches it cannot tell; it is never 0. Only what is bad has a colour: whether a lag is small enough is for the gates to say.',
      width: 24,
      height: 7,
    },
    '–',
  )
    .cellHeight(common.TableCellHeight.Lg)
    .filterable(false);
  joined(panel, 'migration', COLUMNS).overrideByName('migration', [
    {
      id: 'links',
      value: [
        {
          title: 'this migration',
          url: `/d/${UID.migration}?\${__url_time_range}&\${datasource:queryparam}&var-migration=\${__value.raw}`,
        },
      ],
    },
  ]);
  for (const { name, unit = 'short', words = OR_UNKNOWN, bad = null } of COLUMNS) {
    panel.overrideByName(name, [
      { id: 'unit', value: unit },
      { id: 'mappings', value: mapped(words) },
      { id: 'thresholds', value: { mode: 'absolute', steps: steps(bad) } },
      { id: 'custom.cellOptions', value: { type: 'color-text' } },
      { id: 'custom.align', value: 'center' },
    ]);
  }
  return panel;
}
