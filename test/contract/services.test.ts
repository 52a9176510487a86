import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { LazyAws } from '../../collectors/session/lazy-aws.js';
import { trafficService } from '../../collectors/traffic/service.js';
import { createBackend } from '../../daemon/app.js';
import type { RunningDaemon } from '../../daemon/cli/backend.js';
import type { SignalJson } from '../../daemon/http/port.js';
import { SystemClock } from '../../daemon/lifecycle/clock.js';
import type { FakeAws } from '../support/aws/fake.js';
import { startFakeAws } from '../support/aws/fake.js';
import { startFakePrometheus, vector, type FakePrometheus } from '../support/fake-prometheus.js';
import { startFakeResolver, type FakeResolver } from '../support/fake-resolver.js';

// The whole daemon, but for the databases: what is asked of other systems opens a gate, and that goes out to CloudWatch.

const clock = new SystemClock();
let folder: string;
let aws: FakeAws;
let prometheus: FakePrometheus;
let resolver: FakeResolver;
let daemon: RunningDaemon | null = null;
let errors: string;

beforeEach(async () => {
  vi.stubEnv('AWS_ACCESS_KEY_ID', 'AKIATEST');
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'secret');
  folder = mkdtempSync(join(tmpdir(), 'lockgate-services-'));
  [aws, prometheus, resolver] = await Promise.all([startFakeAws(), startFakePrometheus(), startFakeResolver()]);
  errors = '0.2';
  prometheus.answer = ({ params }) => {
    const at = Date.now() / 1000;
    return vector(at, params.get('query')!.startsWith('timestamp') ? at.toFixed(3) : errors);
  };
  resolver.answer = (type) => ({ authoritative: true, records: type === 'A' ? [{ owner: 'app.example.com', ttl: 30, type }] : [] }); // prettier-ignore
});

afterEach(async () => {
  await daemon?.stop();
  daemon = null;
  await Promise.all([aws.close(), prometheus.close(), resolver.close()]);
  rmSync(folder, { recursive: true });
  vi.unstubAllEnvs();
});

function write(publish: boolean): string {
  const file = join(folder, 'lockgate.yaml');
  const text = [
    'daemon: { listen: 127.0.0.1:0, id: test }',
    'databases:',
    '  onprem: { engine: postgres, url: "postgres://lockgate@localhost:1/app" }',
    '  aws: { engine: postgres, url: "postgres://lockgate@localhost:2/app" }',
    'migrations:',
    '  shop:',
    '    source: onprem',
    '    target: aws',
    '    forward: { via: postgres-logical, subscription: s }',
    `    traffic: { errors: { prometheus: "http://u:p@127.0.0.1:${prometheus.port}", query: errors, every: 1s, unit: "%" } }`,
    `    dns: { app: { name: app.example.com, resolver: "${resolver.address}" } }`,
    '    gates:',
    '      ramp: { require: [ "traffic.errors < 0.5%", "dns.app.ttl <= 60s" ] }',
    '      other: { require: "forward.lag < 2s" }',
    ...(publish
      ? [
          `publish: { cloudwatch: { region: eu-west-1, every: 1s, high_resolution: true, endpoint: "${aws.endpoint}" } }`,
        ]
      : []),
  ].join('\n');
  writeFileSync(file, text);
  return file;
}

const signals = async (): Promise<Map<string, SignalJson>> => {
  const response = await fetch(`${daemon!.address}/v1/migrations/shop/signals`);
  const body = (await response.json()) as { signals: SignalJson[] };
  return new Map(body.signals.map((s) => [s.name, s]));
};
const open = (gate: string): (number | undefined)[] =>
  aws.cloudwatch.stored
    .filter((d) => d.MetricName === 'GateOpen' && d.Dimensions?.some((x) => x.Value === gate))
    .map((d) => d.Value);

it('asks, judges and publishes, until it is told otherwise and to the end', async () => {
  const clients = new LazyAws();
  const silent = () => undefined;
  const backend = createBackend({
    ...{ clock, env: {}, nodeVersion: process.version, version: '0', engines: [], aws: clients },
    log: { debug: silent, info: silent, warn: silent, error: silent },
    services: [trafficService(clients)],
  });
  daemon = await backend.start(write(true), new AbortController().signal);
  await vi.waitFor(() => expect(open('ramp')).toContain(1), { timeout: 4_000 });
  expect(new Set(open('other'))).toEqual(new Set([0]));
  expect(aws.cloudwatch.stored.map((d) => d.MetricName)).not.toContain('Lag');
  const before = await signals();
  expect(before.get('traffic.errors')).toMatchObject({ state: 'ok', value: 0.002, unit: '0..1' });
  expect(before.get('dns.app.ttl')).toMatchObject({ state: 'ok', value: 30, unit: 's' });
  expect(prometheus.requests[0]!.authorization).toBe(`Basic ${Buffer.from('u:p').toString('base64')}`);

  errors = 'NaN';
  await vi.waitFor(() => expect(open('ramp').at(-1)).toBe(0), { timeout: 4_000 });
  expect((await signals()).get('traffic.errors')).toMatchObject({ state: 'unknown', value: null });
  const metrics = await (await fetch(`${daemon.address}/metrics`)).text();
  expect(metrics).toMatch(/^lockgate_cloudwatch_published_total [1-9]/m);
  expect(metrics).toMatch(/^lockgate_collector_up\{collector="shop\/traffic.errors"\} 1$/m);

  write(false);
  await daemon.reload();
  const count = open('other').length;
  await clock.sleep(1_200);
  expect(open('other')).toHaveLength(count);
  write(true);
  await daemon.reload();
  await vi.waitFor(() => expect(open('other').length).toBeGreaterThan(count), { timeout: 2_000 });
  const running = open('other').length;
  await daemon.stop();
  // What was known in the end has been sent.
  expect(open('other').length).toBeGreaterThan(running);
  expect(aws.violations).toEqual([]);
});
