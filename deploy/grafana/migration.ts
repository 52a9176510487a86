/** The dashboard of one migration: what a person looks at during the night of the cutover. */
import { RowBuilder, type Dashboard, type DashboardBuilder } from '@grafana/grafana-foundation-sdk/dashboard';
import * as common from '@grafana/grafana-foundation-sdk/common';
import { PanelBuilder as TableBuilder } from '@grafana/grafana-foundation-sdk/table';
import { dashboard, limitVariable, linkVariable, migrationVariable, numbered, transitions } from './frame.js';
import { addEvidence } from './migration-evidence.js';
import {
  byLink,
  COLOUR,
  coloured,
  dashed,
  DIRECTION_WORDS,
  FENCE_WORDS,
  framed,
  GATE_WORDS,
  greyed,
  LIMIT_LINE,
  lines,
  mapped,
  now,
  OUGHT,
  OUGHT_NOT,
  stat,
  steps,
  timeline,
  type StatLook,
} from './look.js';
import {
  direction,
  fence,
  fresh,
  gateStates,
  ofMigration,
  unknownSignals,
  worstOrUnknown,
  worstSignals,
} from './promql.js';

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
  const columns: readonly (readonly [string, string])[] = [
    ['state', `max by (gate) (${gateStates()})`],
    ['has held', held],
    ['has to hold', needs],
    ['still', `clamp_min(${needs} - ${held}, 0)`],
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
  for (const [name, expr] of columns) panel.withTarget(now({ expr, id: name }, name, true));
  panel
    .withTransformation({ id: 'merge', options: {} })
    .withTransformation({
      id: 'organize',
      options: {
        excludeByName: { Time: true },
        indexByName: Object.fromEntries(['gate', ...columns.map(([n]) => `Value #${n}`)].map((n, i) => [n, i])),
        renameByName: Object.fromEntries(columns.map(([n]) => [`Value #${n}`, n])),
      },
    })
    .overrideByName('state', [
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
      greyed(
        byLink(
          lines(
            {
              title: 'Lag by heartbeat',
              about:
                'How late a row arrives, upper bound, worst daemon. While nothing arrives it grows by a second per second. Grey with a gap: unknown, which is not 0. The dashed line is the variable "lag limit".',
              width: 12,
              height: 9,
            },
            [
              {
                expr: `max by (link) (${fresh(ofMigration('lockgate_lag_seconds', 'link=~"$link"'))})`,
                legend: '{{link}}',
              },
              { expr: 'vector($lag_limit)', legend: 'lag limit', id: 'limit' },
              { expr: unknownSignals('($link).lag'), legend: '{{signal}} unknown', id: 'unknown' },
            ],
            { unit: 's' },
          ),
        ).overrideByQuery('limit', LIMIT_LINE),
        'unknown',
      ),
    )
    .withPanel(
      greyed(
        byLink(
          lines(
            {
              title: 'Lag by position',
              about:
                'Until every flow has applied what the source had, the worst flow. It has to tell the same story as the lag by heartbeat. Grey: unknown; with DMS it always is.',
              width: 12,
              height: 9,
            },
            [
              { expr: worstSignals('($link).lag_by_position'), legend: '{{signal}}' },
              { expr: 'vector($lag_limit)', legend: 'lag limit', id: 'limit' },
              { expr: unknownSignals('($link).lag_by_position'), legend: '{{signal}} unknown', id: 'unknown' },
            ],
            { unit: 's' },
          ),
        ).overrideByQuery('limit', LIMIT_LINE),
        'unknown',
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

function addBacklog(builder: DashboardBuilder): void {
  builder
    .withRow(new RowBuilder('Backlog and drain'))
    .withPanel(
      byLink(
        lines(
          {
            title: 'Backlog',
            about:
              'What the source has and the target has not, in bytes. A gap: unknown. Bytes are no measure of time.',
            width: 6,
            height: 8,
          },
          [
            {
              expr: `max by (link) (${fresh(ofMigration('lockgate_backlog_bytes', 'link=~"$link"'))})`,
              legend: '{{link}}',
            },
          ],
          { unit: 'bytes' },
        ),
      ),
    )
    .withPanel(
      byLink(
        lines(
          {
            title: 'Time to drain',
            about:
              'How long the backlog would take if writes stopped now, and its upper 95 % bound (dashed). A gap: it cannot be predicted.',
            width: 6,
            height: 8,
          },
          [
            { expr: worstSignals('($link).drain_eta'), legend: '{{signal}}' },
            { expr: worstSignals('($link).drain_eta_high'), legend: '{{signal}}', id: 'high' },
          ],
          { unit: 's' },
        ),
      ).overrideByQuery('high', [dashed([2, 4])]),
    )
    .withPanel(
      byLink(
        lines(
          {
            title: 'Log kept for the link',
            about: 'WAL or binlog that the source keeps because this link has not taken it yet.',
            width: 6,
            height: 8,
          },
          [{ expr: worstSignals('($link).retained_bytes'), legend: '{{signal}}' }],
          { unit: 'bytes' },
        ),
      ),
    )
    .withPanel(
      greyed(
        byLink(
          lines(
            {
              title: 'Runway',
              about:
                'Until the source drops what was not carried over, at the present rate. Short means: act. Grey: nothing is known of it, which does not mean that there is time.',
              width: 6,
              height: 8,
            },
            [
              { expr: worstSignals('($link).runway', 'min'), legend: '{{signal}}' },
              { expr: unknownSignals('($link).runway'), legend: '{{signal}} unknown', id: 'unknown' },
            ],
            { unit: 's' },
          ),
        ),
        'unknown',
      ),
    )
    .withPanel(
      timeline(
        {
          title: 'Fence',
          about:
            'The newest fence. DRAINED: the target has everything that the source had. VIOLATED: writes had not stopped. Empty: there has been none.',
          width: 12,
          height: 5,
        },
        [{ expr: fence(), legend: 'fence' }],
        FENCE_WORDS,
      ).noValue('no fence yet'),
    )
    .withPanel(
      stat(
        {
          title: 'Drained in',
          about: 'From the placing of the newest fence to its drain; empty until it has drained.',
          width: 4,
          height: 5,
        },
        [{ expr: `max(${fresh(ofMigration('lockgate_fence_drain_seconds'))})` }],
        { unit: 's', empty: 'not drained' },
      ),
    )
    .withPanel(
      stat(
        {
          title: 'Writes after the fence',
          about: 'On the side that ought to be silent. Any: the fence is violated.',
          width: 4,
          height: 5,
        },
        [{ expr: `max(${fresh(ofMigration('lockgate_fence_violations'))})` }],
        { bad: 1, empty: 'no fence yet' },
      ),
    )
    .withPanel(
      stat(
        {
          title: 'Drains as foretold',
          about:
            'Fences since the start of the daemon, by whether the upper bound of the prediction held (true) or not (false).',
          width: 4,
          height: 5,
        },
        [{ expr: `sum by (held) (${ofMigration('lockgate_drain_predictions_total')})`, legend: '{{held}}' }],
        { empty: 'none yet' },
      ).overrideByName('false', [coloured(COLOUR.bad)]),
    );
}
