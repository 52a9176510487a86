/** The lower part of a migration's dashboard: verification, the sides, DMS, other systems, and all that is unknown. */
import * as common from '@grafana/grafana-foundation-sdk/common';
import { RowBuilder, type DashboardBuilder } from '@grafana/grafana-foundation-sdk/dashboard';
import { PanelBuilder as TableBuilder } from '@grafana/grafana-foundation-sdk/table';
import { COLOUR, coloured, framed, lines, now, OUGHT, stat, timeline } from './look.js';
import { fresh, ofMigration, unknownSignals, worstOrUnknown, worstSignals } from './promql.js';

const TABLE_COLOURS = {
  match: COLOUR.first,
  mismatch: COLOUR.bad,
  'not-settled': COLOUR.second,
  'not-covered': COLOUR.third,
  unknown: COLOUR.unknown,
};

/** Adds the rows. */
export function addEvidence(builder: DashboardBuilder): void {
  addVerification(builder);
  addSides(builder);
  addDms(builder);
  addOthers(builder);
  builder.withRow(new RowBuilder('What is unknown')).withPanel(unknownTable());
}

function addVerification(builder: DashboardBuilder): void {
  const tables = lines(
    {
      title: 'Tables by what their newest comparison found',
      about:
        'All tables that ought to be compared. Only "match" is good; "not-settled" kept changing, "not-covered" cannot be compared, "unknown" was not compared yet.',
      width: 10,
      height: 8,
    },
    [{ expr: `max by (state) (${fresh(ofMigration('lockgate_verify_tables'))})`, legend: '{{state}}' }],
    { unit: 'short', stacked: true },
  ).noValue('verification is not configured');
  for (const [state, colour] of Object.entries(TABLE_COLOURS)) tables.overrideByName(state, [coloured(colour)]);
  const tile = (title: string, about: string, expr: string, look: Parameters<typeof stat>[2]) =>
    stat({ title, about, width: 3, height: 4 }, [{ expr }], look);
  builder
    .withRow(new RowBuilder('Verification'))
    .withPanel(tables)
    .withPanel(
      lines(
        {
          title: 'Rows compared',
          about: 'Per second, over all daemons. 0: nothing is being compared now.',
          width: 5,
          height: 8,
        },
        [
          {
            expr: `sum(rate(${ofMigration('lockgate_verify_rows_total')}[$__rate_interval]))`,
            legend: 'rows per second',
          },
        ],
        { unit: 'short' },
      ),
    )
    .withPanel(
      tile(
        'Tables that differ',
        'Exact however many rows differ. "?": not every table was compared since the direction changed or the chain broke.',
        worstOrUnknown('verify.mismatched_tables'),
        { bad: 1 },
      ),
    )
    .withPanel(
      tile(
        'Rows that differ',
        '"?" also where a table has more than 10,000 of them: look at the tables.',
        worstOrUnknown('verify.mismatched_rows'),
        { bad: 1 },
      ),
    )
    .withPanel(
      tile(
        'Difference in rows',
        'Sum over the tables of how many rows more one side has.',
        worstOrUnknown('verify.row_count_delta'),
        {
          bad: 1,
        },
      ),
    )
    .withPanel(
      tile('Coverage', 'Share of the tables that were really compared.', worstOrUnknown('verify.coverage', 'min'), {
        unit: 'percentunit',
      }),
    )
    .withPanel(
      tile('Oldest comparison', 'How old the oldest comparison is that still counts.', worstOrUnknown('verify.age'), {
        unit: 's',
      }),
    )
    .withPanel(
      tile(
        'Last complete pass',
        'How long ago it ended; "?" before the first.',
        `time() - max(${fresh(ofMigration('lockgate_verify_last_pass_timestamp_seconds'))})`,
        { unit: 's' },
      ),
    )
    .withPanel(
      tile(
        'Pass',
        'Whether a pass runs or waits for its turn.',
        `max(${fresh(ofMigration('lockgate_verify_running'))})`,
        {
          words: { 0: ['idle', COLOUR.plain], 1: ['running', COLOUR.first] },
        },
      ),
    );
}

function addSides(builder: DashboardBuilder): void {
  const chart = (title: string, about: string, names: string, unit: string, width = 6) =>
    lines({ title, about, width, height: 7 }, [{ expr: worstSignals(names), legend: '{{signal}}' }], { unit });
  builder
    .withRow(new RowBuilder('Both sides'))
    .withPanel(
      timeline(
        {
          title: 'Reachable, writable',
          about:
            'Source and target by their original roles. A passive side that is not writable is no fault. A gap: unknown, since the daemon could not ask.',
          width: 12,
          height: 7,
        },
        [{ expr: worstSignals('(source|target).(reachable|writable)', 'min'), legend: '{{signal}}' }],
        OUGHT,
      ),
    )
    .withPanel(
      chart(
        'Local writes',
        'Transactions per second that came neither by replication nor from lockgate. On the passive side there ought to be none. A gap: unknown.',
        '(source|target).local_writes',
        'short',
      ),
    )
    .withPanel(
      chart(
        'Longest open transaction',
        'The oldest open write transaction, prepared ones included. A long one keeps a fence from draining.',
        '(source|target).longest_transaction',
        's',
      ),
    )
    .withPanel(
      chart(
        'Since the last local write',
        'How long each side has been silent.',
        '(source|target).last_local_write_age',
        's',
      ),
    )
    .withPanel(
      chart(
        'Connections',
        "Client sessions other than replication and lockgate's.",
        '(source|target).connections',
        'short',
      ),
    )
    .withPanel(
      chart(
        'Tables that are not carried whole',
        'Not in the replication, or still being copied, by link. Which ones: `lockgate status`.',
        '($link).tables_(uncovered|syncing)',
        'short',
      ),
    )
    .withPanel(
      chart(
        'Apply errors, and sequences that are behind',
        'New errors within ten minutes; sequences of the passive side that would hand out a value already used.',
        '($link).errors|sequences.behind',
        'short',
      ),
    )
    .withPanel(
      chart('Backlog in transactions', 'Where the servers tell it.', '($link).backlog_transactions', 'short').noValue(
        'the servers do not tell',
      ),
    );
}

function addDms(builder: DashboardBuilder): void {
  const chart = (title: string, about: string, names: string, unit: string, width: number) =>
    lines({ title, about, width, height: 7 }, [{ expr: worstSignals(names), legend: '{{signal}}' }], { unit }).noValue(
      'no DMS, or nothing known of it',
    );
  builder
    .withRow(new RowBuilder('AWS DMS'))
    .withPanel(
      timeline(
        {
          title: 'Every task runs',
          about: 'Of the direction that carries production writes now. A gap: unknown, or there is no DMS.',
          width: 6,
          height: 7,
        },
        [{ expr: worstSignals('dms.running', 'min'), legend: '{{signal}}' }],
        OUGHT,
      ).noValue('no DMS, or nothing known of it'),
    )
    .withPanel(
      chart(
        'Tables and rows in trouble',
        'Tables in error or not loaded, and rows that DMS could not apply. A gap: unknown.',
        'dms[.](tables_errored|tables_pending|apply_exceptions)',
        'short',
        6,
      ),
    )
    .withPanel(chart('Validation', 'Records by what DMS itself says of them.', 'dms[.]validation_.+', 'short', 6))
    .withPanel(
      chart(
        'Full load',
        'The least of the tasks. 100 % loaded is not caught up.',
        'dms.full_load_percent',
        'percent',
        3,
      ),
    )
    .withPanel(
      chart(
        'CDC latency',
        'Minutes old when it comes, and 0 never proves that it has caught up. The lag by heartbeat counts.',
        'dms[.]cdc_latency_.+',
        's',
        3,
      ),
    );
}

function addOthers(builder: DashboardBuilder): void {
  const chart = (title: string, about: string, names: string, empty: string, unit: string) =>
    lines({ title, about, width: 8, height: 7 }, [{ expr: worstSignals(names), legend: '{{signal}}' }], {
      unit,
    }).noValue(empty);
  builder
    .withRow(new RowBuilder('Traffic, DNS, attestations'))
    .withPanel(
      chart(
        'Traffic',
        'Error rates and latencies as they are configured, each in its own unit. A gap: unknown.',
        'traffic[.].+',
        'none configured, or nothing known',
        'short',
      ),
    )
    .withPanel(
      chart(
        'TTL that is handed out',
        'How long resolvers may keep the old answer.',
        'dns[.].+',
        'none configured, or nothing known',
        's',
      ),
    )
    .withPanel(
      chart(
        'Since it was attested',
        'What somebody has vouched for, and how long ago.',
        'attest[.].+',
        'nothing was attested',
        's',
      ),
    );
}

/** Every signal that at least one daemon does not know. */
function unknownTable(): TableBuilder {
  return framed(
    new TableBuilder(),
    {
      title: 'Signals that are unknown now',
      about:
        'Not known to at least one daemon that watches. Many are so by nature (the way back before there is one, DMS without DMS); the reasons are in `lockgate status`. Empty while the daemons are up: everything is known.',
      width: 24,
      height: 9,
    },
    'none, if a daemon answers',
  )
    .cellHeight(common.TableCellHeight.Sm)
    .withTarget(now({ expr: unknownSignals('.+') }, 'A', true))
    .withTransformation({
      id: 'organize',
      options: { excludeByName: { Time: true, Value: true, migration: true }, renameByName: {}, indexByName: {} },
    });
}
