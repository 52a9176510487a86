/** The dashboard of the daemons themselves: whether the instrument can be relied upon. */
import { RowBuilder, type Dashboard, type DashboardBuilder } from '@grafana/grafana-foundation-sdk/dashboard';
import { dashboard, numbered } from './frame.js';
import { COLOUR, coloured, dashed, lines, stat, timeline, type Ask, type LineLook, type StatLook } from './look.js';
import { fresh, ofDaemon } from './promql.js';

const RATE = '$__rate_interval';

/** Builds it. */
export function daemon(): Dashboard {
  const builder = dashboard('daemon', 'The daemons: whether they run, judge, remember, and tell others.');
  addNow(builder);
  addProcess(builder);
  addCollectors(builder);
  addOutputs(builder);
  return numbered(builder.build());
}

function tile(title: string, about: string, ask: Ask, look: StatLook, width = 4) {
  return stat({ title, about, width, height: 5 }, [{ legend: '{{instance}}', ...ask }], look);
}

function chart(title: string, about: string, asks: readonly Ask[], look: LineLook, width = 8) {
  return lines({ title, about, width, height: 7 }, asks, look);
}

function addNow(builder: DashboardBuilder): void {
  builder
    .withRow(new RowBuilder('Now'))
    .withPanel(
      tile(
        'Answers',
        'Whether Prometheus can scrape it. DOWN: nothing else here is known of it.',
        { expr: ofDaemon('up') },
        { words: { 0: ['DOWN', COLOUR.bad], 1: ['answers', COLOUR.plain] } },
      ),
    )
    .withPanel(
      tile(
        'Judged',
        'How long ago it last judged a gate. Grows: a cache in between, a hanging daemon, or two clocks that differ.',
        { expr: `time() - ${ofDaemon('lockgate_last_evaluation_timestamp_seconds')}` },
        { unit: 's', bad: 60, decimals: 0, words: {} },
      ),
    )
    .withPanel(
      tile(
        'Journal',
        'NOT WRITABLE: no gate newly opens, and operators are refused. See the disk of `store.path`.',
        { expr: fresh(ofDaemon('lockgate_store_writable')) },
        { words: { 0: ['NOT WRITABLE', COLOUR.bad], 1: ['writable', COLOUR.plain] } },
      ),
    )
    .withPanel(
      tile(
        'Configuration',
        'REFUSED: the file was not taken up at the last reload; the old one goes on, and a restart would fail.',
        { expr: fresh(ofDaemon('lockgate_config_reload_success')) },
        { words: { 0: ['REFUSED', COLOUR.bad], 1: ['taken up', COLOUR.plain] } },
      ),
    )
    .withPanel(
      tile(
        'Configuration loaded',
        'How long ago the configuration in use was loaded.',
        { expr: `time() - ${ofDaemon('lockgate_config_last_reload_success_timestamp_seconds')}` },
        { unit: 's', decimals: 0, words: {} },
      ),
    )
    .withPanel(
      tile(
        'Runs since',
        'How long ago the process was started. A restart begins every hold anew.',
        { expr: `time() - ${ofDaemon('process_start_time_seconds')}` },
        { unit: 's', decimals: 0, words: {} },
      ),
    )
    .withPanel(
      timeline(
        { title: 'Answers', about: 'The same over time.', width: 16, height: 5 },
        [{ expr: ofDaemon('up'), legend: '{{instance}}' }],
        { 0: ['DOWN', COLOUR.bad], 1: ['answers', COLOUR.first] },
      ),
    )
    .withPanel(
      tile(
        'Version',
        'Which versions run. Two daemons of different versions may judge differently.',
        { expr: ofDaemon('lockgate_build_info'), legend: '{{instance}}: {{version}}, Node {{node}}' },
        { words: { 1: ['runs', COLOUR.plain] } },
        8,
      ),
    );
}

function addProcess(builder: DashboardBuilder): void {
  builder
    .withRow(new RowBuilder('Process'))
    .withPanel(
      chart(
        'Event loop delay',
        '99th percentile and maximum (dashed) since the last scrape. A delay is a gap in what is observed; beyond the freshness it breaks holds.',
        [
          { expr: ofDaemon('nodejs_eventloop_lag_p99_seconds'), legend: '{{instance}} p99' },
          { expr: ofDaemon('nodejs_eventloop_lag_max_seconds'), legend: '{{instance}} max', id: 'max' },
        ],
        { unit: 's' },
      ).overrideByQuery('max', [dashed([2, 4])]),
    )
    .withPanel(
      chart(
        'Memory',
        'Resident, and the used heap (dashed). It ought to be flat over days.',
        [
          { expr: ofDaemon('process_resident_memory_bytes'), legend: '{{instance}} resident' },
          { expr: ofDaemon('nodejs_heap_size_used_bytes'), legend: '{{instance}} heap', id: 'heap' },
        ],
        { unit: 'bytes' },
      ).overrideByQuery('heap', [dashed([2, 4])]),
    )
    .withPanel(
      chart(
        'CPU',
        'Cores in use, and of that the share of garbage collection (dashed).',
        [
          { expr: `rate(${ofDaemon('process_cpu_seconds_total')}[${RATE}])`, legend: '{{instance}}' },
          {
            expr: `sum by (instance) (rate(${ofDaemon('nodejs_gc_duration_seconds_sum')}[${RATE}]))`,
            legend: '{{instance}} GC',
            id: 'gc',
          },
        ],
        { unit: 'short' },
      ).overrideByQuery('gc', [dashed([2, 4])]),
    )
    .withPanel(
      chart(
        'Scrapes',
        'How long Prometheus takes to scrape it; more than its timeout is DOWN.',
        [{ expr: ofDaemon('scrape_duration_seconds'), legend: '{{instance}}' }],
        { unit: 's' },
        12,
      ),
    )
    .withPanel(
      chart(
        'Open files',
        'Connections and files. Steady growth is a leak.',
        [{ expr: ofDaemon('process_open_fds'), legend: '{{instance}}' }],
        { unit: 'short' },
        12,
      ),
    );
}

function addCollectors(builder: DashboardBuilder): void {
  builder
    .withRow(new RowBuilder('What it observes'))
    .withPanel(
      timeline(
        {
          title: 'Collectors',
          about:
            'Each runs or is being tried again. While it does not run, what it observes is unknown; why is in `lockgate status`.',
          width: 16,
          height: 11,
        },
        [
          {
            expr: `min by (instance, collector) (${ofDaemon('lockgate_collector_up')})`,
            legend: '{{instance}} {{collector}}',
          },
        ],
        { 0: ['DOWN', COLOUR.bad], 1: ['runs', COLOUR.first] },
      ),
    )
    .withPanel(
      chart(
        'Restarts of collectors',
        'Within the last five minutes.',
        [
          {
            expr: `sum by (instance, collector) (increase(${ofDaemon('lockgate_collector_restarts_total')}[5m]))`,
            legend: '{{instance}} {{collector}}',
          },
        ],
        { unit: 'short' },
      ).height(11),
    )
    .withPanel(
      chart(
        'Log that is read',
        'WAL or binlog, or what was decoded from it, per second.',
        [
          {
            expr: `sum by (instance, database, stream) (rate(${ofDaemon('lockgate_stream_bytes_total')}[${RATE}]))`,
            legend: '{{instance}} {{database}} {{stream}}',
          },
        ],
        { unit: 'Bps' },
        12,
      ).noValue('no log is read'),
    )
    .withPanel(
      chart(
        'Transactions that are read',
        'Per second, of the same readers.',
        [
          {
            expr: `sum by (instance, database, stream) (rate(${ofDaemon('lockgate_stream_transactions_total')}[${RATE}]))`,
            legend: '{{instance}} {{database}} {{stream}}',
          },
        ],
        { unit: 'short' },
        12,
      ).noValue('no log is read'),
    );
}

function addOutputs(builder: DashboardBuilder): void {
  const deliveries = chart(
    'Alerts told',
    'Attempts within five minutes, by what became of them. "refused" is final: nobody was told.',
    [
      {
        expr: `sum by (sink, outcome) (increase(${ofDaemon('lockgate_alert_deliveries_total')}[5m]))`,
        legend: '{{sink}} {{outcome}}',
      },
    ],
    { unit: 'short' },
  ).noValue('no sinks set up');
  builder
    .withRow(new RowBuilder('Whom it tells'))
    .withPanel(
      chart(
        'Clients that wait',
        'For a gate or a fence, and readers of the event stream.',
        [
          { expr: ofDaemon('lockgate_http_waiters'), legend: '{{instance}} waiting' },
          { expr: ofDaemon('lockgate_http_event_clients'), legend: '{{instance}} event stream' },
          {
            expr: `increase(${ofDaemon('lockgate_http_event_clients_cut_total')}[5m])`,
            legend: '{{instance}} cut off in 5 min: did not read',
            id: 'cut',
          },
        ],
        { unit: 'short' },
      ).overrideByQuery('cut', [coloured(COLOUR.bad)]),
    )
    .withPanel(deliveries.overrideByRegexp('/refused$/', [coloured(COLOUR.bad)]))
    .withPanel(
      chart(
        'Alerts that wait',
        'Events that a sink has not taken yet, and those given up because too many waited.',
        [
          { expr: `sum by (sink) (${ofDaemon('lockgate_alert_queue_length')})`, legend: '{{sink}} waiting' },
          {
            expr: `sum by (sink) (increase(${ofDaemon('lockgate_alert_queue_dropped_total')}[5m]))`,
            legend: '{{sink}} given up in 5 min',
            id: 'dropped',
          },
        ],
        { unit: 'short' },
      )
        .noValue('no sinks set up')
        .overrideByQuery('dropped', [coloured(COLOUR.bad)]),
    )
    .withPanel(
      stat(
        {
          title: 'CloudWatch',
          about:
            'REFUSED: somebody has to mend it (credentials, permission, limits). An alarm with missing data = breaching fires.',
          width: 4,
          height: 7,
        },
        [{ expr: fresh(ofDaemon('lockgate_cloudwatch_refused')), legend: '{{instance}}' }],
        { words: { 0: ['takes it', COLOUR.plain], 1: ['REFUSED', COLOUR.bad] }, empty: 'not published' },
      ),
    )
    .withPanel(
      stat(
        {
          title: 'CloudWatch last took it',
          about: 'How long ago. Longer than a few periods: the alarms there see nothing.',
          width: 4,
          height: 7,
        },
        [
          {
            expr: `time() - ${ofDaemon('lockgate_cloudwatch_last_success_timestamp_seconds')}`,
            legend: '{{instance}}',
          },
        ],
        { unit: 's', bad: 300, decimals: 0, words: {}, empty: 'never, or not published' },
      ),
    )
    .withPanel(
      chart(
        'CloudWatch: numbers',
        'Taken and given up per second, and how many wait.',
        [
          { expr: `rate(${ofDaemon('lockgate_cloudwatch_published_total')}[${RATE}])`, legend: '{{instance}} taken' },
          {
            expr: `rate(${ofDaemon('lockgate_cloudwatch_dropped_total')}[${RATE}])`,
            legend: '{{instance}} given up',
            id: 'dropped',
          },
          { expr: ofDaemon('lockgate_cloudwatch_kept'), legend: '{{instance}} waiting', id: 'kept' },
        ],
        { unit: 'short' },
      )
        .noValue('not published')
        .overrideByQuery('dropped', [coloured(COLOUR.bad)])
        .overrideByQuery('kept', [dashed([2, 4])]),
    )
    .withPanel(
      chart(
        'CloudWatch: requests that failed',
        'Within five minutes, by why.',
        [
          {
            expr: `sum by (instance, kind) (increase(${ofDaemon('lockgate_cloudwatch_failures_total')}[5m]))`,
            legend: '{{instance}} {{kind}}',
          },
        ],
        { unit: 'short' },
      ).noValue('not published'),
    );
}
