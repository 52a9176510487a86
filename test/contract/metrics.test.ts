import { afterEach, describe, expect, it } from 'vitest';
import type { Metrics } from '../../daemon/publish/prometheus.js';
import { createMetrics } from '../../daemon/publish/prometheus.js';
import { FakePort, signal, verdict, verification } from '../support/fake-port.js';
import type { Running } from '../support/http-server.js';
import { startServer } from '../support/http-server.js';

const RUNNING = {
  ...{ pass: 'p1', started_at: '2026-11-22T00:00:00.000Z', tables_done: 1, tables_total: 3, rows_done: 10 },
  ...{ rows_estimated: 90, eta_seconds: 8, table: 'public.orders', paused: null },
};

function made(): { port: FakePort; metrics: Metrics } {
  const port = new FakePort();
  return { port, metrics: createMetrics(port, { nodeVersion: 'v20.0.0', processDefaults: false }) };
}

/** The samples of a scrape by name and labels, as they are written. */
async function scrape(metrics: Metrics): Promise<Map<string, number>> {
  const lines = (await metrics.text()).split('\n').filter((l) => l !== '' && !l.startsWith('#'));
  return new Map(lines.map((l) => [l.slice(0, l.lastIndexOf(' ')), Number(l.slice(l.lastIndexOf(' ') + 1))]));
}

describe('metrics', () => {
  it('say what the daemon says', async () => {
    const { metrics } = made();
    metrics.configLoaded(true, 1_700_000_000_500);
    expect(Object.fromEntries(await scrape(metrics))).toEqual({
      'lockgate_lag_seconds{migration="shop",link="forward"}': 0.012,
      'lockgate_backlog_bytes{migration="shop",link="forward"}': 4096,
      'lockgate_signal{migration="shop",signal="forward.lag"}': 0.012,
      'lockgate_signal{migration="shop",signal="forward.backlog_bytes"}': 4096,
      'lockgate_signal{migration="shop",signal="source.reachable"}': 1,
      'lockgate_signal_known{migration="shop",signal="forward.lag"}': 1,
      'lockgate_signal_known{migration="shop",signal="forward.backlog_bytes"}': 1,
      'lockgate_signal_known{migration="shop",signal="reverse.lag"}': 0,
      'lockgate_signal_known{migration="shop",signal="source.reachable"}': 1,
      ...gate('shop', 'flip-writes', 'open', 600),
      ...gate('shop', 'drained', 'closed', 412),
      ...gate('shop', 'verified', 'unknown', 412),
      ...gate('', 'all-shards', 'open', 600),
      'lockgate_direction{migration="shop",direction="forward"}': 1,
      'lockgate_direction{migration="shop",direction="reverse"}': 0,
      'lockgate_direction{migration="shop",direction="unknown"}': 0,
      'lockgate_verify_running{migration="shop"}': 0,
      'lockgate_verify_tables{migration="shop",state="match"}': 1,
      'lockgate_verify_tables{migration="shop",state="mismatch"}': 1,
      'lockgate_verify_tables{migration="shop",state="not-settled"}': 0,
      'lockgate_verify_tables{migration="shop",state="not-covered"}': 0,
      'lockgate_verify_tables{migration="shop",state="unknown"}': 0,
      'lockgate_verify_last_pass_timestamp_seconds{migration="shop"}': Date.parse('2026-11-22T00:00:00Z') / 1000,
      'lockgate_collector_up{collector="onprem/wal"}': 1,
      'lockgate_collector_restarts_total{collector="onprem/wal"}': 2,
      'lockgate_build_info{version="0.0.0-test",node="v20.0.0"}': 1,
      lockgate_last_evaluation_timestamp_seconds: Date.parse('2026-11-22T00:00:00Z') / 1000,
      'lockgate_alert_firing{migration="shop",rule="replication-stopped",severity="critical"}': 1,
      'lockgate_alert_firing{migration="shop",rule="lag-high",severity="critical"}': 0,
      'lockgate_alert_deliveries_total{sink="pagerduty",outcome="delivered"}': 5,
      'lockgate_alert_deliveries_total{sink="pagerduty",outcome="retried"}': 3,
      'lockgate_alert_deliveries_total{sink="pagerduty",outcome="refused"}': 1,
      'lockgate_alert_queue_length{sink="pagerduty"}': 2,
      'lockgate_alert_queue_dropped_total{sink="pagerduty"}': 0,
      lockgate_store_writable: 1,
      lockgate_http_waiters: 0,
      lockgate_http_event_clients: 0,
      lockgate_http_event_clients_cut_total: 0,
      lockgate_config_reload_success: 1,
      lockgate_config_last_reload_success_timestamp_seconds: 1_700_000_000.5,
    });
  });

  it('count rows that were compared, and say nothing of what is not compared or has gone', async () => {
    const { port, metrics } = made();
    metrics.rowsCompared('shop', 40);
    metrics.rowsCompared('shop', 2);
    port.verify = verification({ running: { ...RUNNING }, last_complete_at: null });
    const first = await scrape(metrics);
    expect(first.get('lockgate_verify_rows_total{migration="shop"}')).toBe(42);
    expect(first.get('lockgate_verify_running{migration="shop"}')).toBe(1);
    expect([...first.keys()].filter((name) => name.includes('last_pass'))).toEqual([]);
    port.verify = verification({ configured: false });
    expect([...(await scrape(metrics)).keys()].filter((name) => /verify_(running|tables|last)/.test(name))).toEqual([]);
  });

  it('leave nothing behind: neither a stale value nor a migration that has gone', async () => {
    const { port, metrics } = made();
    metrics.observeDelay('shop', 'forward', 0.02);
    metrics.observeDelay('shop', 'forward', NaN);
    const before = await scrape(metrics);
    expect(before.get('lockgate_heartbeat_delay_seconds_count{migration="shop",link="forward"}')).toBe(1);
    expect(before.get('lockgate_heartbeat_delay_seconds_bucket{le="0.025",migration="shop",link="forward"}')).toBe(1);

    port.signalsOf.set('shop', [{ ...signal('forward.lag', 9), state: 'stale' }]);
    const stale = await scrape(metrics);
    expect(stale.has('lockgate_lag_seconds{migration="shop",link="forward"}')).toBe(false);
    expect(stale.get('lockgate_signal_known{migration="shop",signal="forward.lag"}')).toBe(0);

    port.signalsOf.clear();
    port.verdicts.clear();
    port.collectorList = [];
    port.alertList = [];
    expect([...(await scrape(metrics)).keys()].filter((k) => k.includes('shop') || k.includes('onprem'))).toEqual([]);
  });

  it('show the newest fence, one-hot, and nothing without one', async () => {
    const { port, metrics } = made();
    const fenceSeries = async (): Promise<Record<string, number>> =>
      Object.fromEntries([...(await scrape(metrics))].filter(([key]) => key.startsWith('lockgate_fence')));
    expect(await fenceSeries()).toEqual({});
    const states = ['placed', 'drained', 'unknown', 'violated', 'expired', 'closed', 'cancelled'] as const;
    for (const state of states) {
      port.setFence('f1', state);
      expect(await fenceSeries()).toEqual({
        ...Object.fromEntries(
          states.map((s) => [`lockgate_fence_state{migration="shop",state="${s}"}`, s === state ? 1 : 0]),
        ),
        ...(state === 'drained' || state === 'closed' ? { 'lockgate_fence_drain_seconds{migration="shop"}': 1.3 } : {}),
        'lockgate_fence_violations{migration="shop"}': 0,
      });
    }
    port.setFence('f2', 'violated', { violations: { count: 3, first_position: '0/1', first_at: null } });
    expect((await fenceSeries())['lockgate_fence_violations{migration="shop"}']).toBe(3);
    port.signalsOf.clear();
    expect(await fenceSeries()).toEqual({});
  });

  it('count for each fence once whether its drain was foreseen', async () => {
    const { port, metrics } = made();
    const tell = (id: string, high: number | null, took: number): void => {
      port.setFence(id, 'drained');
      const fence = port.migration('shop')?.fence;
      const predicted = high === null ? null : { drain_eta: 0, drain_eta_high: high };
      if (fence !== null && fence !== undefined) metrics.fenceTold({ ...fence, drain_seconds: took, predicted });
    };
    tell('f1', 0.2, 0.1);
    tell('f1', 0.2, 0.1);
    tell('f2', 0.2, 0.3);
    tell('f3', null, 9);
    tell('f4', 0.2, 0.2);
    const found = [...(await scrape(metrics))].filter(([key]) => key.startsWith('lockgate_drain_predictions_total'));
    expect(Object.fromEntries(found)).toEqual({
      'lockgate_drain_predictions_total{migration="shop",held="true"}': 2,
      'lockgate_drain_predictions_total{migration="shop",held="false"}': 1,
    });
  });

  it('count what was read of each log, from zero, for as long as there is a reader', async () => {
    const { port, metrics } = made();
    const found = async (): Promise<object> =>
      Object.fromEntries([...(await scrape(metrics))].filter(([key]) => key.startsWith('lockgate_stream')));
    expect(await found()).toEqual({});
    metrics.streamed('onprem', 'wal', 0, 0);
    expect(await found()).toEqual({
      'lockgate_stream_transactions_total{database="onprem",stream="wal"}': 0,
      'lockgate_stream_bytes_total{database="onprem",stream="wal"}': 0,
    });
    metrics.streamed('onprem', 'wal', 2, 300);
    metrics.streamed('onprem', 'wal', 1, 100);
    expect(await found()).toEqual({
      'lockgate_stream_transactions_total{database="onprem",stream="wal"}': 3,
      'lockgate_stream_bytes_total{database="onprem",stream="wal"}': 400,
    });
    port.collectorList = [];
    expect(await found()).toEqual({});
  });

  it('do not count restarts twice', async () => {
    const { metrics } = made();
    await scrape(metrics);
    expect((await scrape(metrics)).get('lockgate_collector_restarts_total{collector="onprem/wal"}')).toBe(2);
  });

  it('show the hold that takes longest', async () => {
    const { port, metrics } = made();
    const [first] = verdict('shop/x', 'closed').conditions;
    const conditions = [
      { ...first!, held_seconds: 1, needs_seconds: 0 },
      { ...first!, held_seconds: 400, needs_seconds: 600 },
      { ...first!, held_seconds: 5, needs_seconds: 60 },
    ];
    port.verdicts.set('shop/x', { ...verdict('shop/x', 'closed'), conditions });
    const samples = await scrape(metrics);
    expect(samples.get('lockgate_gate_held_seconds{migration="shop",gate="x"}')).toBe(400);
    expect(samples.get('lockgate_gate_needs_seconds{migration="shop",gate="x"}')).toBe(600);
  });

  it('remember that a reload failed, and when the last one worked', async () => {
    const { metrics } = made();
    expect((await scrape(metrics)).has('lockgate_config_reload_success')).toBe(false);
    metrics.configLoaded(true, 5000);
    metrics.configLoaded(false, 9000);
    const samples = await scrape(metrics);
    expect(samples.get('lockgate_config_reload_success')).toBe(0);
    expect(samples.get('lockgate_config_last_reload_success_timestamp_seconds')).toBe(5);
  });

  it('keep the rules that promtool checks', async () => {
    const port = new FakePort();
    const metrics = createMetrics(port, { nodeVersion: 'v20.0.0' });
    metrics.observeDelay('shop', 'forward', 0.02);
    const text = await metrics.text();
    const types = [...text.matchAll(/^# TYPE (\S+) (\w+)$/gm)].map((m) => [m[1] ?? '', m[2] ?? ''] as const);
    const helps = [...text.matchAll(/^# HELP (\S+) (.+)$/gm)].map((m) => m[1]);
    expect(helps).toEqual(types.map(([name]) => name));
    expect(new Set(helps).size).toBe(helps.length);
    for (const [name, type] of types) {
      expect(name.endsWith('_total'), name).toBe(type === 'counter');
      expect(name).not.toMatch(/_(milliseconds|ms|kilobytes|count|sum|bucket)$/);
      expect(name).toMatch(/^[a-z][a-z0-9_]*$/);
    }
    expect(helps).toContain('nodejs_eventloop_lag_p99_seconds');
    expect(helps).toContain('process_resident_memory_bytes');
  });
});

describe('GET /metrics', () => {
  let running: Running;
  afterEach(() => running.server.close(1000));

  it('serves them in the format that it names', async () => {
    running = await startServer({
      metrics: (port) => createMetrics(port, { nodeVersion: 'v20.0.0', http: () => running.server.stats() }),
    });
    const answer = await running.ask('/metrics');
    expect(answer.status).toBe(200);
    expect(answer.headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(answer.body).toContain('lockgate_gate_open{migration="shop",gate="flip-writes"} 1\n');
  });
});

function gate(migration: string, name: string, state: string, held: number): Record<string, number> {
  const labels = `migration="${migration}",gate="${name}"`;
  return {
    [`lockgate_gate_open{${labels}}`]: state === 'open' ? 1 : 0,
    ...Object.fromEntries(
      ['open', 'closed', 'unknown'].map((s) => [`lockgate_gate_state{${labels},state="${s}"}`, s === state ? 1 : 0]),
    ),
    [`lockgate_gate_held_seconds{${labels}}`]: held,
    [`lockgate_gate_needs_seconds{${labels}}`]: 600,
  };
}
