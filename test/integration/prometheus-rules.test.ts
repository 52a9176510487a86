/** What the generated rules do, judged by Prometheus's own promtool, and the example files by its own checks. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { createMetrics } from '../../daemon/publish/prometheus.js';
import { FakePort } from '../support/fake-port.js';
import { withoutPrometheus } from '../support/flavours.js';
import { prometheusTools, runTool } from '../support/prometheus.js';
import { promtoolCheck, promtoolTest, rulesText, shopBegins } from '../support/rules.js';
import { load } from '../unit/config-inputs.js';

const example = (name: string): string => new URL(`../../deploy/prometheus/${name}`, import.meta.url).pathname;

const yaml = (rules = '', more = ''): string => `${shopBegins}
    forward: { via: postgres-logical, subscription: a, retention_limit: 5GiB }
    reverse: { via: postgres-logical, subscription: b }
    ${more}
    gates: { preset: runbook }
${rules === '' ? '' : `alerts: { resolve_after: 60s, rules: [ ${rules} ] }\n`}`;

const of = (rules = '', more = ''): Promise<string> => rulesText(load(yaml(rules, more)));

const signal = (name: string, instance = 'a:1'): string =>
  `lockgate_signal{migration="shop",signal="${name}",instance="${instance}",job="lockgate"}`;
const known = (name: string, instance = 'a:1'): string => signal(name, instance).replace('_signal{', '_signal_known{');
const gate = 'lockgate_gate_open{migration="shop",gate="rollback-ready",instance="a:1",job="lockgate"}';
const fence = 'lockgate_fence_state{migration="shop",state="violated",instance="a:1",job="lockgate"}';
const direction = 'lockgate_direction{migration="shop",direction="forward",instance="a:1",job="lockgate"}';
const own = (name: string): string => `lockgate_${name}{instance="a:1",job="lockgate"}`;

/** A daemon about which there is nothing to say, for as long as `is` says, in promtool's notation for the value 1. */
const calm = (is = '1x200', pulse = '0+15x200'): Record<string, string> => ({
  'up{instance="a:1",job="lockgate"}': is
    .replaceAll('stale', '0')
    .replaceAll(/_x(\d+)/g, (_, n) => `0x${Number(n) - 1}`),
  [own('build_info')]: is,
  [own('store_writable')]: is,
  [own('config_reload_success')]: is,
  [own('last_evaluation_timestamp_seconds')]: pulse,
  [direction]: is,
  [known('active.lag')]: is,
});

describe.skipIf(withoutPrometheus)('rules for Prometheus', () => {
  beforeAll(async () => {
    await prometheusTools();
  }, 300_000);

  it('are rules to promtool, whatever a rule is named and looks at', async () => {
    const text = await of(
      [
        '{ name: "lag high {{ $x }} `y`", when: "active.lag > 30s for 2m", severity: critical }',
        '{ name: replication-stopped, when: "active.running != 1 for 1500ms", severity: error }',
        ...['max', 'min', 'avg', 'p50', 'p90', 'p95', 'p99'].flatMap((fn) =>
          ['<', '>=', '=='].map(
            (op, i) => `{ name: "${fn} ${i}", when: "${fn}(forward.lag, 5m) ${op} 10us", severity: info }`,
          ),
        ),
        '{ name: bytes, when: "forward.backlog_bytes > 1GiB", severity: warning }',
        '{ name: ratio, when: "verify.coverage < 50%", severity: warning }',
        '{ name: percent, when: "dms.full_load_percent < 50", severity: warning }',
        '{ name: rate, when: "target.local_writes > 3", severity: warning }',
        '{ name: gate, when: "gate flip-writes open for 1h30m", severity: info }',
      ].join(', '),
      'maintenance: [ { from: 2026-12-01T01:00:00Z, to: 2026-12-01T03:00:00Z, note: "a {{ note }}" } ]',
    );
    await promtoolCheck(text);
  });

  it('are silent while all is well', async () => {
    const well = {
      ...calm(),
      [signal('active.running')]: '1x200',
      [signal('active.runway')]: '90000x200',
      [signal('standby.stray_writes')]: '0x200',
      [signal('split_brain')]: '0x200',
      [signal('direction.reverse')]: '0x200',
      [gate]: '0x200',
      'lockgate_collector_up{collector="onprem/side",instance="a:1",job="lockgate"}': '1x200',
    };
    await promtoolTest(
      await of(),
      well,
      [60, 600, 1800, 3000].map((at) => ({ at, firing: {} })),
    );
  });

  it('fire when replication stops, go on while nobody knows, and resolve once it is known to run', async () => {
    const LockgateReplicationStopped = (now: string) => ({ LockgateReplicationStopped: [{ now }] });
    await promtoolTest(
      await of(),
      {
        ...calm(),
        // Runs for 2 min, stands for 3, is unknown for 10, and runs again.
        [signal('active.running')]: '1x7 0x11 stale _x39 1x60',
        [known('active.running')]: '1x19 0x39 1x60',
      },
      [
        { at: 105, firing: {} },
        { at: 165, firing: {} },
        { at: 180, firing: LockgateReplicationStopped('0') },
        { at: 285, firing: LockgateReplicationStopped('0') },
        { at: 300, firing: LockgateReplicationStopped('unknown') },
        { at: 885, firing: LockgateReplicationStopped('unknown') },
        // Known to run again: for `resolve_after` the last that was said stands.
        { at: 945, firing: LockgateReplicationStopped('unknown') },
        { at: 975, firing: {} },
      ],
    );
  });

  it('do not let what fires resolve because the daemon has gone, and fire for the daemon too', async () => {
    const stopped = (now: string) => ({ LockgateReplicationStopped: [{ now }] });
    await promtoolTest(
      await of(),
      {
        // Gone from 5 min to 15 min.
        ...calm('1x19 stale _x39 1x60', '0+15x19 stale _x39 900+15x60'),
        [signal('active.running')]: '0x19 stale _x39 1x60',
      },
      [
        { at: 285, firing: stopped('0') },
        {
          at: 375,
          firing: {
            ...stopped('unknown'),
            LockgateDown: [{}],
            LockgateDaemonDown: [{ labels: { instance: 'a:1', job: 'lockgate' } }],
          },
        },
        {
          at: 885,
          firing: {
            ...stopped('unknown'),
            LockgateDown: [{}],
            LockgateReplicationUnknown: [{}],
            LockgateDaemonDown: [{ labels: { instance: 'a:1', job: 'lockgate' } }],
          },
        },
        { at: 1_005, firing: {} },
      ],
    );
  });

  it('fire when nothing is known of the lag for five minutes, and not before', async () => {
    await promtoolTest(await of(), { ...calm(), [known('active.lag')]: '1x7 0x40 1x40' }, [
      { at: 405, firing: {} },
      { at: 420, firing: { LockgateReplicationUnknown: [{}] } },
      { at: 840, firing: {} },
    ]);
  });

  it('believe the daemon that has the worst to say', async () => {
    await promtoolTest(
      await of(
        '{ name: lag-high, when: "active.lag > 2s", severity: warning }, { name: low, when: "active.runway < 1d", severity: info }',
      ),
      {
        ...calm(),
        [signal('active.lag')]: '0.1x40',
        [signal('active.lag', 'b:1')]: '0.1x10 3x30',
        [signal('active.runway')]: '100000x40',
        [signal('active.runway', 'b:1')]: '100000x10 7200x30',
      },
      [
        { at: 150, firing: {} },
        { at: 300, firing: { LockgateLagHigh: [{ now: '3s' }], LockgateLow: [{ now: '2h 0m 0s' }] } },
      ],
    );
  });

  it('take a window as gates do: decided by one sample, or else covered', async () => {
    const text = await of(
      '{ name: most, when: "max(forward.lag, 2m) > 2s", severity: warning }, { name: mean, when: "avg(forward.lag, 2m) > 2s", severity: info }',
    );
    await promtoolTest(
      text,
      {
        ...calm(),
        // One high sample at 150 s after an unknown stretch; all high from 600 s on.
        [signal('forward.lag')]: '0.1x7 stale _x1 9 0.1x28 9x60',
        [known('forward.lag')]: '1x7 0x1 1x200',
      },
      [
        { at: 135, firing: {} },
        { at: 150, firing: { LockgateMost: [{ now: '9s' }] } },
        { at: 255, firing: { LockgateMost: [{ now: '9s' }] } },
        { at: 345, firing: {} },
        { at: 600, firing: { LockgateMost: [{ now: '9s' }] } },
        { at: 720, firing: { LockgateMost: [{ now: '9s' }], LockgateMean: [{ now: '9s' }] } },
      ],
    );
    // Nobody knew for half a minute of the window: no mean of it.
    await promtoolTest(
      text,
      { ...calm(), [signal('forward.lag')]: '0.1x7 stale _x1 9x60', [known('forward.lag')]: '1x7 0x1 1x200' },
      [
        { at: 240, firing: { LockgateMost: [{ now: '9s' }] } },
        { at: 270, firing: { LockgateMost: [{ now: '9s' }], LockgateMean: [{ now: '9s' }] } },
      ],
    );
  });

  it('ask for the way back only once the writes have been flipped, and never take silence for readiness', async () => {
    await promtoolTest(
      await of(),
      {
        ...calm(),
        [signal('direction.reverse')]: '0x19 1x19 stale _x39 1x60',
        [gate]: '0x39 stale _x39 0x19 1x60',
      },
      [
        { at: 285, firing: {} },
        { at: 345, firing: {} },
        { at: 360, firing: { LockgateRollbackNotReady: [{}] } },
        { at: 1_185, firing: { LockgateRollbackNotReady: [{}] } },
        { at: 1_485, firing: { LockgateRollbackNotReady: [{}] } },
        { at: 1_590, firing: {} },
      ],
    );
  });

  it('fire on a violated fence until there is a new one', async () => {
    await promtoolTest(
      await of(),
      { ...calm('1x19 stale _x19 1x60', '0+15x19 stale _x19 600+15x60'), [fence]: '_x8 1x11 stale _x19 1x19 0x40' },
      [
        { at: 105, firing: {} },
        { at: 120, firing: { LockgateFenceViolated: [{}] } },
        {
          at: 585,
          firing: {
            LockgateFenceViolated: [{}],
            LockgateDown: [{}],
            LockgateDaemonDown: [{ labels: { instance: 'a:1', job: 'lockgate' } }],
          },
        },
        { at: 840, firing: { LockgateFenceViolated: [{}] } },
        { at: 975, firing: {} },
      ],
    );
  });

  it('tell what is wrong with lockgate itself', async () => {
    const labels = { instance: 'a:1', job: 'lockgate' };
    await promtoolTest(
      await of(),
      {
        ...calm('1x200', '0+15x200'),
        [own('store_writable')]: '1x19 0x10 1x100',
        [own('config_reload_success')]: '1x19 0x10 1x100',
        'lockgate_collector_up{collector="onprem/wal",instance="a:1",job="lockgate"}': '1x19 0x80',
        // Up for an instant at every try.
        'lockgate_collector_up{collector="aws/wal",instance="a:1",job="lockgate"}':
          '0 0 1 0 0 0 1 0 0x2 1 0x10 1 0x20 1 0x40',
        [direction]: '1x60 stale _x100',
      },
      [
        { at: 285, firing: {} },
        {
          at: 390,
          firing: {
            LockgateStoreNotWritable: [{ labels }],
            LockgateConfigReloadFailed: [{ labels }],
            LockgateCollectorDown: [{ labels: { ...labels, collector: 'aws/wal' } }],
          },
        },
        {
          at: 1_200,
          firing: {
            LockgateMigrationUnwatched: [{}],
            LockgateCollectorDown: ['aws/wal', 'onprem/wal'].map((collector) => ({ labels: { ...labels, collector } })),
          },
        },
      ],
    );
    await promtoolTest(await of(), calm('1x200', '0+15x19 300x100'), [
      { at: 345, firing: {} },
      { at: 435, firing: { LockgateEvaluationOld: [{ now: '2m 15s', labels }] } },
    ]);
  });

  it('tell that nobody was told, and of a change by force until it was looked at', async () => {
    const labels = { instance: 'a:1', job: 'lockgate', sink: 'webhook' };
    const text = await of('{ name: x, when: "active.lag > 30s", severity: info }');
    const sinks = await rulesText(
      load(
        yaml('{ name: x, when: "active.lag > 30s", severity: info }').replace(
          'resolve_after: 60s,',
          'resolve_after: 60s, webhook: { url: "http://hook.example" },',
        ),
      ),
    );
    expect(text).not.toContain('LockgateAlertRefused');
    const sink = 'sink="webhook",instance="a:1",job="lockgate"';
    await promtoolTest(
      sinks,
      {
        ...calm(),
        // The first refusal of this daemon, half an hour of quiet, and the next one.
        [`lockgate_alert_deliveries_total{outcome="refused",${sink}}`]: '_x20 1x120 2x60',
        [`lockgate_alert_queue_length{${sink}}`]: '0x20 3x40 0x140',
        'lockgate_alert_firing{migration="shop",rule="direction-forced",severity="critical",instance="a:1",job="lockgate"}':
          '0x20 1x20 0x160',
      },
      [
        { at: 285, firing: {} },
        {
          at: 345,
          firing: {
            LockgateAlertRefused: [{ labels: { ...labels, outcome: 'refused' } }],
            LockgateDirectionForced: [{}],
          },
        },
        {
          at: 900,
          firing: {
            LockgateAlertRefused: [{ labels: { ...labels, outcome: 'refused' } }],
            LockgateAlertsWait: [{ labels }],
          },
        },
        { at: 1_500, firing: {} },
        { at: 2_250, firing: { LockgateAlertRefused: [{ labels: { ...labels, outcome: 'refused' } }] } },
      ],
    );
  });

  it('have an alert that stands for each maintenance window', async () => {
    const windows =
      'maintenance: [ { from: 1970-01-01T00:02:00Z, to: 1970-01-01T00:04:00Z }, { from: 1970-01-01T00:10:00Z, to: 1970-01-01T00:11:00Z } ]';
    const open = { LockgateMaintenance: [{}] };
    await promtoolTest(await of('', windows), calm(), [
      { at: 105, firing: {} },
      { at: 120, firing: open },
      { at: 225, firing: open },
      { at: 240, firing: {} },
      { at: 600, firing: open },
      { at: 660, firing: {} },
    ]);
  });

  it('come with examples that amtool and promtool accept', async () => {
    const alertmanager = await runTool('amtool', ['check-config', example('alertmanager.yml')]);
    expect(alertmanager).toMatchObject({ code: 0, stdout: expect.stringContaining('SUCCESS') as string });
    // The files that it names are those of the machine that it is for.
    for (const name of [
      'prometheus.yml',
      'scrape/file-sd.yml',
      'scrape/kubernetes-sd.yml',
      '../compose/prometheus.yml',
    ]) {
      const syntax = ['check', 'config', '--syntax-only', example(name)];
      expect(await runTool('promtool', syntax), name).toMatchObject({ code: 0 });
    }
    await promtoolCheck(readFileSync(example('lockgate.rules.yml'), 'utf8'));
    // What is discovered by the file of targets, as Prometheus itself reads it.
    const folder = mkdtempSync(join(tmpdir(), 'lockgate-sd-'));
    try {
      const file = join(folder, 'prometheus.yml');
      const text = readFileSync(example('scrape/file-sd.yml'), 'utf8');
      writeFileSync(file, text.replace('/etc/prometheus/lockgate-targets.yml', example('scrape/lockgate-targets.yml')));
      const found = await runTool('promtool', ['check', 'service-discovery', '--timeout=1s', file, 'lockgate']);
      expect(found.stdout, found.stderr).toMatch(/"instance": "lockgate-b\.internal:9188"/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('stand over metrics that promtool finds clean', async () => {
    const metrics = createMetrics(new FakePort(), { nodeVersion: 'v20.0.0' });
    metrics.observeDelay('shop', 'forward', 0.02);
    metrics.configLoaded(true, 5_000);
    expect(await runTool('promtool', ['check', 'metrics'], await metrics.text())).toEqual({
      code: 0,
      stdout: '',
      stderr: '',
    });
    expect((await runTool('promtool', ['check', 'metrics'], 'x_ms 1\n')).code).not.toBe(0);
  });
});
