/** The dashboard of one migration: what a person looks at during the night of the cutover. */
import { RowBuilder, type Dashboard, type DashboardBuilder } from '@grafana/grafana-foundation-sdk/dashboard';
import * as common from '@grafana/grafana-foundation-sdk/common';
import { PanelBuilder as TableBuilder } from '@grafana/grafana-foundation-sdk/table';
import { dashboard, limitVariable, linkVariable, migrationVariable, numbered, transitions } from './frame.js';
import { addBacklog } from './migration-drain.js';
import { addEvidence } from './migration-evidence.js';
import { againstLimit, HEARTBEAT_LAG, joined } from './panels.js';
import {
  byLink,
  DIRECTION_WORDS,
  framed,
  GATE_WORDS,
  lines,
  mapped,
  OUGHT,
  OUGHT_NOT,
  stat,
  steps,
  timeline,
  type StatLook,
} from './look.js';
import { direction, fresh, gateStates, ofMigration, worstOrUnknown, worstSignals } from './promql.js';

/** Builds it. */
export function migration(): Dashboard {
  const builder = dashboard(
    'migration',
    'One migration: its gates, its lag both ways, and what the next step waits for.',
  )
    .withVariable(migrationVariable())
    .withVariable(linkVariable())
    .withVariable(limitVariable());
  for (const each of transitions()) builder.annotation(each);
  addNow(builder);
  addGates(builder);
  addLag(builder);
  addBacklog(builder);
  addEvidence(builder);
  return numbered(builder.build());
}

/** A number of the migration with what it looks like. */
function tile(title: string, about: string, expr: string, look: StatLook, width = 3) {
  return stat({ title, about, width, height: 4 }, [{ expr }], look);
}

function addNow(builder: DashboardBuilder): void {
  const flag = (name: string, title: string, about: string) =>
    tile(title, about, worstOrUnknown(name, 'min'), { words: OUGHT });
  builder
    .withRow(new RowBuilder('Now'))
    .withPanel(
      tile(
        'Direction',
        'Which way production writes are replicated now: forward = the source carries them, reverse = the target does. "daemons disagree": believe neither before you know why.',
        direction(),
        { words: DIRECTION_WORDS },
      ),
    )
    .withPanel(
      tile(
        'Lag',
        'How late a row arrives on the passive side, by the heartbeat, upper bound. "?": not known, which is not 0. It has no colour up to half a minute: what is small enough is for the gates to say.',
        worstOrUnknown('active.lag'),
        { unit: 's', bad: 30 },
      ),
    )
    .withPanel(
      tile(
        'Lag by position',
        'The same by what each flow has applied, the worst flow. Always "?" where the mechanism tells no position (DMS).',
        worstOrUnknown('active.lag_by_position'),
        { unit: 's', bad: 30 },
      ),
    )
    .withPanel(flag('active.running', 'Running', 'Whether the replication itself runs, every flow of it.'))
    .withPanel(
      flag(
        'active.agreement',
        'Agreement',
        'Whether heartbeat and positions tell the same story. NO: one of the two is wrong, and so is any conclusion from it.',
      ),
    )
    .withPanel(
      flag(
        'active.continuity',
        'Continuity',
        'NO: something has broken the chain (a slot made anew, transactions skipped, a failover). It stays so until a complete verification or an attestation.',
      ),
    )
    .withPanel(
      tile(
        'Stray writes',
        'Transactions that somebody else wrote to the passive side. They stay counted until they are reconciled.',
        worstOrUnknown('standby.stray_writes'),
        { bad: 1 },
      ),
    )
    .withPanel(
      tile('Split brain', 'Both sides are being written to.', worstOrUnknown('split_brain'), { words: OUGHT_NOT }),
    );
}

function addGates(builder: DashboardBuilder): void {
  builder
    .withRow(new RowBuilder('Gates'))
    .withPanel(
      timeline(
        {
          title: 'Gates',
          about:
            'Each gate over time, of several daemons the worst. OPEN is the only state that says go. "?": it cannot be told, or nobody has judged it for a minute. Why a gate is not open is in `lockgate status` and on the status page.',
          width: 14,
          height: 10,
        },
        [{ expr: gateStates(), legend: '{{gate}}' }],
        GATE_WORDS,
      ),
    )
    .withPanel(holds());
}

/** How long each gate's slowest condition has held, and how long it has to. */
function holds(): TableBuilder {
  const held = `min by (gate) (${fresh(ofMigration('lockgate_gate_held_seconds'))})`;
  const needs = `max by (gate) (${fresh(ofMigration('lockgate_gate_needs_seconds'))})`;
  const columns = [
    { name: 'state', expr: `max by (gate) (${gateStates()})` },
    { name: 'has held', expr: held },
    { name: 'has to hold', expr: needs },
    { name: 'still', expr: `clamp_min(${needs} - ${held}, 0)` },
  ];
  const panel = framed(
    new TableBuilder(),
    {
      title: 'What the gates wait for',
      about:
        'The condition of each gate that is furthest from having held for long enough. "still" 0 and not open: another condition is broken or unknown. "–": no daemon says.',
      width: 10,
      height: 10,
    },
    '–',
  ).cellHeight(common.TableCellHeight.Sm);
  joined(panel, 'gate', columns).overrideByName('state', [
    { id: 'mappings', value: mapped(GATE_WORDS) },
    { id: 'custom.cellOptions', value: { type: 'color-text' } },
  ]);
  for (const name of ['has held', 'has to hold', 'still']) {
    panel.overrideByName(name, [
      { id: 'unit', value: 's' },
      { id: 'thresholds', value: { mode: 'absolute', steps: steps(null) } },
    ]);
  }
  return panel;
}

function addLag(builder: DashboardBuilder): void {
  const quantile = (q: number): string =>
    `histogram_quantile(${q}, sum by (link, le) (rate(${ofMigration('lockgate_heartbeat_delay_seconds_bucket', 'link=~"$link"')}[$__rate_interval])))`;
  builder
    .withRow(new RowBuilder('Lag'))
    .withPanel(
      againstLimit(
        {
          title: 'Lag by heartbeat',
          about:
            'How late a row arrives, upper bound, worst daemon. While nothing arrives it grows by a second per second. Grey with a gap: unknown, which is not 0. The dashed line is the variable "lag limit".',
          width: 12,
          height: 9,
        },
        HEARTBEAT_LAG,
        '($link).lag',
      ),
    )
    .withPanel(
      againstLimit(
        {
          title: 'Lag by position',
          about:
            'Until every flow has applied what the source had, the worst flow. It has to tell the same story as the lag by heartbeat. Grey: unknown; with DMS it always is.',
          width: 12,
          height: 9,
        },
        { expr: worstSignals('($link).lag_by_position'), legend: '{{signal}}' },
        '($link).lag_by_position',
      ),
    )
    .withPanel(
      byLink(
        lines(
          {
            title: 'Delay of heartbeats that arrived',
            about:
              'Median and 99th percentile. Only what arrives is counted: while nothing does, this says nothing and the lag grows.',
            width: 8,
            height: 8,
          },
          [
            { expr: quantile(0.5), legend: '{{link}} p50' },
            { expr: quantile(0.99), legend: '{{link}} p99' },
          ],
          { unit: 's' },
        ),
      ),
    )
    .withPanel(
      lines(
        {
          title: 'Where the time goes',
          about: 'Reading, carrying and applying, as far as the servers tell. For people; no gate should look at it.',
          width: 8,
          height: 8,
        },
        [{ expr: worstSignals('($link).(capture|transit|apply)_delay'), legend: '{{signal}}' }],
        { unit: 's' },
      ).noValue('the servers do not tell'),
    )
    .withPanel(
      lines(
        {
          title: 'Clock against the daemon',
          about:
            "Each database's clock minus the daemon's. It never enters a lag; it tells you whose timestamps to believe.",
          width: 8,
          height: 8,
        },
        [{ expr: worstSignals('(source|target).clock_skew'), legend: '{{signal}}' }],
        { unit: 's', negative: true },
      ),
    );
}
