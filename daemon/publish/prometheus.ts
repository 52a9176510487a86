import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import { FAILURE_KINDS, type PublishStats } from './cloudwatch.js';
import type { DaemonPort, FenceJson, FenceStateJson, GateState, SignalJson, VerdictJson } from '../http/port.js';

/** The metrics of one daemon; their text is computed from the port at each scrape. */
export interface Metrics {
  readonly contentType: string;
  text(): Promise<string>;
  /** Counts one heartbeat's delay, in seconds, into the histogram of its link. */
  observeDelay(migration: string, link: string, seconds: number): void;
  /** Counts what a stream of a database's log has brought. */
  streamed(database: string, stream: string, transactions: number, bytes: number): void;
  /** Counts, once for each fence that drains, whether it took no longer than `drain_eta_high` had said when it was placed. */
  fenceTold(fence: FenceJson): void;
  /** Counts rows that verification has compared. */
  rowsCompared(migration: string, rows: number): void;
  /** Remembers how the last reload of the configuration went; the first one is the start. */
  configLoaded(success: boolean, wallMs: number): void;
}

/** What the metrics need besides the port. */
export interface MetricsOptions {
  /** `process.version`. */
  nodeVersion: string;
  /** Clients that hang on to the HTTP server; asked at each scrape. */
  http?: () => { waiters: number; eventClients: number; eventClientsCut: number };
  /** What became of what is published to CloudWatch, null while nothing is; asked at each scrape. */
  cloudwatch?: () => PublishStats | null;
  /** False leaves the metrics of the process itself out. */
  processDefaults?: boolean;
}

/** From a local pair (a millisecond) to a stall that pages someone. */
const DELAY_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

/** Gauges of prom-client whose names claim to be counters; promtool objects, and resources tell the same by type. */
const MISNAMED = ['nodejs_active_handles_total', 'nodejs_active_requests_total', 'nodejs_active_resources_total'];

const STATES: readonly GateState[] = ['open', 'closed', 'unknown'];
const FENCE_STATES: readonly FenceStateJson[] = [
  'placed',
  'drained',
  'unknown',
  'violated',
  'expired',
  'closed',
  'cancelled',
];
const DIRECTIONS = ['forward', 'reverse', 'unknown'] as const;
const TABLE_STATES = ['match', 'mismatch', 'not-settled', 'not-covered', 'unknown'] as const;
const LINK_GAUGES = { lag: 'lag', backlog_bytes: 'backlog' } as const;

/** Creates the metrics with a registry of their own. */
export function createMetrics(port: DaemonPort, options: MetricsOptions): Metrics {
  const registry = new Registry();
  if (options.processDefaults !== false) {
    collectDefaultMetrics({ register: registry });
    for (const name of MISNAMED) registry.removeSingleMetric(name);
  }
  const series = createSeries(registry);
  /** The newest fence whose drain was counted, by migration. */
  const counted = new Map<string, string>();
  const delays = new Map<string, { migration: string; link: string }>();
  /** By the name of the collector that reads it. */
  const streams = new Map<string, { database: string; stream: string }>();
  /** Migrations whose rows are counted. */
  const compared = new Set<string>();
  // An unlabelled gauge starts at 0, which here would read as "never" and "failed"; absent until there is something to say.
  for (const gauge of [series.evaluated, series.reloadSuccess, series.reloadedAt]) gauge.remove();
  series.build.set({ version: port.version, node: options.nodeVersion }, 1);

  // Without an await from first to last: a second scrape meanwhile never sees half of the series.
  const refresh = (): void => {
    for (const gauge of series.computed) gauge.reset();
    const migrations = port.migrations();
    for (const migration of migrations) setMigration(series, port, migration);
    let evaluated = 0;
    for (const id of port.gates()) {
      const verdict = port.verdict(id);
      if (verdict === undefined) continue;
      setGate(series, id, verdict);
      evaluated = Math.max(evaluated, Date.parse(verdict.evaluated_at));
    }
    if (evaluated > 0) series.evaluated.set(evaluated / 1_000);
    const collectors = port.collectors();
    for (const { name, up, restarts } of collectors) {
      series.collectorUp.set({ collector: name }, flag(up));
      series.collectorRestarts.inc({ collector: name }, restarts);
    }
    setAlerts(series, port);
    series.storeWritable.set(flag(port.storeWritable()));
    if (options.http !== undefined) {
      const { waiters, eventClients, eventClientsCut } = options.http();
      series.waiters.set(waiters);
      series.eventClients.set(eventClients);
      series.eventClientsCut.inc(eventClientsCut);
    }
    setCloudWatch(series, options.cloudwatch?.() ?? null);
    for (const [key, labels] of delays) {
      if (migrations.includes(labels.migration)) continue;
      series.delay.remove(labels);
      delays.delete(key);
    }
    for (const migration of compared) {
      if (migrations.includes(migration)) continue;
      series.verifyRows.remove({ migration });
      compared.delete(migration);
    }
    for (const [key, labels] of streams) {
      if (collectors.some(({ name }) => name === key)) continue;
      series.streamTransactions.remove(labels);
      series.streamBytes.remove(labels);
      streams.delete(key);
    }
  };

  return {
    contentType: registry.contentType,
    text() {
      refresh();
      return registry.metrics();
    },
    observeDelay(migration, link, seconds) {
      if (!Number.isFinite(seconds)) return;
      const labels = { migration, link };
      delays.set(`${migration}/${link}`, labels);
      series.delay.observe(labels, seconds);
    },
    streamed(database, stream, transactions, bytes) {
      const labels = { database, stream };
      streams.set(`${database}/${stream}`, labels);
      series.streamTransactions.inc(labels, transactions);
      series.streamBytes.inc(labels, bytes);
    },
    fenceTold({ id, migration, state, drain_seconds, predicted }) {
      if (state !== 'drained' || drain_seconds === null || predicted === null) return;
      if (counted.get(migration) === id) return;
      counted.set(migration, id);
      series.predictions.inc({ migration, held: String(drain_seconds <= predicted.drain_eta_high) });
    },
    rowsCompared(migration, rows) {
      compared.add(migration);
      series.verifyRows.inc({ migration }, rows);
    },
    configLoaded(success, wallMs) {
      series.reloadSuccess.set(flag(success));
      if (success) series.reloadedAt.set(wallMs / 1_000);
    },
  };
}

type Series = ReturnType<typeof createSeries>;

function createSeries(registry: Registry) {
  const registers = [registry];
  const gauge = <L extends string>(name: string, help: string, ...labelNames: L[]): Gauge<L> =>
    new Gauge({ name: `lockgate_${name}`, help, labelNames, registers });
  const counter = <L extends string>(name: string, help: string, ...labelNames: L[]): Counter<L> =>
    new Counter({ name: `lockgate_${name}`, help, labelNames, registers });
  const computed = {
    lag: gauge(
      'lag_seconds',
      'End-to-end delay of replication by the heartbeat row, upper bound; absent while unknown.',
      'migration',
      'link',
    ),
    backlog: gauge(
      'backlog_bytes',
      'Source position minus applied position; absent while unknown.',
      'migration',
      'link',
    ),
    signal: gauge('signal', 'Value of a signal in its own unit; absent while stale or unknown.', 'migration', 'signal'),
    known: gauge('signal_known', '1 while the signal is known and fresh, else 0.', 'migration', 'signal'),
    open: gauge('gate_open', '1 while the gate is open; 0 while it is closed or unknown.', 'migration', 'gate'),
    state: gauge('gate_state', 'The state of the gate, one-hot.', 'migration', 'gate', 'state'),
    held: gauge(
      'gate_held_seconds',
      'For how long the condition that needs longest has held without a break.',
      'migration',
      'gate',
    ),
    needs: gauge(
      'gate_needs_seconds',
      'For how long the condition of lockgate_gate_held_seconds has to hold.',
      'migration',
      'gate',
    ),
    direction: gauge('direction', 'The direction of replication, one-hot.', 'migration', 'direction'),
    fenceState: gauge(
      'fence_state',
      'The state of the newest fence, one-hot, as it was last proved; absent without one.',
      'migration',
      'state',
    ),
    fenceDrain: gauge(
      'fence_drain_seconds',
      'From the placing of the newest fence to its drain; absent until it has drained.',
      'migration',
    ),
    fenceViolations: gauge(
      'fence_violations',
      'Writes after the newest fence on the side that ought to be silent; absent without a fence.',
      'migration',
    ),
    verifyRunning: gauge(
      'verify_running',
      '1 while a pass of verification runs or waits for its turn; absent without a `verify` section.',
      'migration',
    ),
    verifyTables: gauge(
      'verify_tables',
      'Tables that are to be compared, by the state of their newest comparison; absent without a `verify` section.',
      'migration',
      'state',
    ),
    verifyLastPass: gauge(
      'verify_last_pass_timestamp_seconds',
      'When the newest complete pass of verification ended, in seconds since 1970; absent before the first.',
      'migration',
    ),
    collectorUp: gauge('collector_up', '1 while the collector runs, 0 while it is being restarted.', 'collector'),
    collectorRestarts: counter('collector_restarts_total', 'How often the collector was restarted.', 'collector'),
    alertFiring: gauge(
      'alert_firing',
      '1 while the alert fires, also while a maintenance window silences it; else 0.',
      'migration',
      'rule',
      'severity',
    ),
    alertDeliveries: counter('alert_deliveries_total', 'Attempts to tell a sink of an alert.', 'sink', 'outcome'),
    alertQueue: gauge('alert_queue_length', 'Events that wait to be told to the sink.', 'sink'),
    alertDropped: counter(
      'alert_queue_dropped_total',
      'Events that were given up because too many waited for the sink.',
      'sink',
    ),
    storeWritable: gauge('store_writable', '0 while the journal cannot be written and no gate newly opens.'),
    waiters: gauge('http_waiters', 'Clients that wait for a gate or a fence.'),
    eventClients: gauge('http_event_clients', 'Clients that read server-sent events.'),
    cloudwatchPublished: counter('cloudwatch_published_total', 'Numbers that CloudWatch has taken.'),
    cloudwatchDropped: counter(
      'cloudwatch_dropped_total',
      'Numbers that were not published: too many were kept, they were too old, or refused for good.',
    ),
    cloudwatchFailures: counter(
      'cloudwatch_failures_total',
      'Requests to CloudWatch that failed: throttled, credentials, denied, refused, unreachable.',
      'kind',
    ),
    cloudwatchKept: gauge('cloudwatch_kept', 'Numbers that wait to be published; absent while nothing is.'),
    cloudwatchRefused: gauge(
      'cloudwatch_refused',
      '1 while CloudWatch refuses what is published and somebody has to mend it; absent while nothing is published.',
    ),
    cloudwatchSuccess: gauge(
      'cloudwatch_last_success_timestamp_seconds',
      'When CloudWatch last took what is published, in seconds since 1970; absent before that.',
    ),
    eventClientsCut: counter('http_event_clients_cut_total', 'Event clients cut off because they did not read.'),
  };
  return {
    ...computed,
    computed: Object.values(computed),
    /** Not reset: it keeps its last value when nothing was evaluated, and that shows as a dead man's silence. */
    evaluated: gauge('last_evaluation_timestamp_seconds', 'When a gate was last evaluated, in seconds since 1970.'),
    build: gauge('build_info', 'Always 1; the version is in the labels.', 'version', 'node'),
    predictions: counter(
      'drain_predictions_total',
      'Fences that have drained, by whether drain_eta_high had held.',
      'migration',
      'held',
    ),
    streamTransactions: counter(
      'stream_transactions_total',
      'Transactions that a reader of the log (binlog, WAL) was sent.',
      'database',
      'stream',
    ),
    streamBytes: counter(
      'stream_bytes_total',
      'Bytes of the log, or of what was decoded from it, that a reader was sent.',
      'database',
      'stream',
    ),
    verifyRows: counter('verify_rows_total', 'Rows that verification has compared since the start.', 'migration'),
    delay: new Histogram({
      name: 'lockgate_heartbeat_delay_seconds',
      help: 'Delay of each heartbeat from its commit on the source to its arrival on the target, upper bound.',
      labelNames: ['migration', 'link'] as const,
      buckets: DELAY_BUCKETS,
      registers,
    }),
    reloadSuccess: gauge('config_reload_success', '1 if the last load of the configuration succeeded, else 0.'),
    reloadedAt: gauge(
      'config_last_reload_success_timestamp_seconds',
      'When the configuration in use was loaded, in seconds since 1970.',
    ),
  };
}

/** Absent where nothing is published: a 0 would read as "nothing gets through". */
function setCloudWatch(series: Series, stats: PublishStats | null): void {
  if (stats === null) {
    for (const metric of [series.cloudwatchPublished, series.cloudwatchDropped]) metric.remove();
    for (const metric of [series.cloudwatchKept, series.cloudwatchRefused, series.cloudwatchSuccess]) metric.remove();
    return;
  }
  series.cloudwatchPublished.inc(stats.published);
  series.cloudwatchDropped.inc(stats.dropped);
  for (const kind of FAILURE_KINDS) series.cloudwatchFailures.inc({ kind }, stats.failures[kind]);
  series.cloudwatchKept.set(stats.kept);
  series.cloudwatchRefused.set(flag(stats.refused));
  if (stats.lastSuccess === null) series.cloudwatchSuccess.remove();
  else series.cloudwatchSuccess.set(stats.lastSuccess / 1_000);
}

function setMigration(series: Series, port: DaemonPort, migration: string): void {
  for (const signal of port.signals(migration) ?? []) setSignal(series, migration, signal);
  const found = port.migration(migration);
  const now = found?.direction ?? 'unknown';
  for (const direction of DIRECTIONS) series.direction.set({ migration, direction }, flag(direction === now));
  if (found !== undefined && found.fence !== null) setFence(series, migration, found.fence);
  setVerification(series, port, migration);
}

function setVerification(series: Series, port: DaemonPort, migration: string): void {
  const verify = port.verification(migration);
  if (verify === undefined || verify.configured !== true) return;
  series.verifyRunning.set({ migration }, flag(verify.running !== null));
  for (const state of TABLE_STATES) {
    series.verifyTables.set({ migration, state }, verify.tables.filter((t) => t.state === state).length);
  }
  const last = verify.last_complete_at ?? null;
  if (last !== null) series.verifyLastPass.set({ migration }, Date.parse(last) / 1_000);
}

function setAlerts(series: Series, port: DaemonPort): void {
  const { alerts, sinks } = port.alerts();
  for (const { migration, rule, severity, state } of alerts) {
    series.alertFiring.set({ migration, rule, severity }, flag(state === 'firing'));
  }
  for (const sink of sinks) {
    for (const outcome of ['delivered', 'retried', 'refused'] as const) {
      series.alertDeliveries.inc({ sink: sink.name, outcome }, sink[outcome]);
    }
    series.alertQueue.set({ sink: sink.name }, sink.waiting);
    series.alertDropped.inc({ sink: sink.name }, sink.dropped);
  }
}

function setFence(series: Series, migration: string, fence: FenceJson): void {
  for (const state of FENCE_STATES) series.fenceState.set({ migration, state }, flag(state === fence.state));
  if (fence.drain_seconds !== null) series.fenceDrain.set({ migration }, fence.drain_seconds);
  series.fenceViolations.set({ migration }, fence.violations.count);
}

function setSignal(series: Series, migration: string, { name, state, value }: SignalJson): void {
  const known = state === 'ok' && value !== null;
  series.known.set({ migration, signal: name }, flag(known));
  if (!known) return;
  series.signal.set({ migration, signal: name }, value);
  const [link = '', tail = ''] = name.split('.');
  if ((link === 'forward' || link === 'reverse') && (tail === 'lag' || tail === 'backlog_bytes')) {
    series[LINK_GAUGES[tail]].set({ migration, link }, value);
  }
}

function setGate(series: Series, id: string, verdict: VerdictJson): void {
  const slash = id.indexOf('/');
  const labels = { migration: id.slice(0, Math.max(0, slash)), gate: id.slice(slash + 1) };
  series.open.set(labels, flag(verdict.open));
  for (const state of STATES) series.state.set({ ...labels, state }, flag(state === verdict.state));
  // The condition that holds the gate up longest: of "held 1 s, needs 0" and "held 400 s, needs 600" it is the second.
  const [slowest] = verdict.conditions.toSorted(
    (a, b) => a.held_seconds - a.needs_seconds - (b.held_seconds - b.needs_seconds),
  );
  if (slowest === undefined) return;
  series.held.set(labels, slowest.held_seconds);
  series.needs.set(labels, slowest.needs_seconds);
}

function flag(value: boolean): 0 | 1 {
  return value ? 1 : 0;
}
