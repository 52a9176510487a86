import { CloudWatchClient } from '@aws-sdk/client-cloudwatch';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AwsClients } from '../../collectors/session/aws.js';
import { putMetricData } from '../../collectors/session/put-metric-data.js';
import type { CloudWatchPublishConfig } from '../../daemon/core/config.js';
import { SystemClock } from '../../daemon/lifecycle/clock.js';
import { CloudWatchPublisher, type PublishStats } from '../../daemon/publish/cloudwatch.js';
import { createMetrics } from '../../daemon/publish/prometheus.js';
import { AwsError } from '../support/aws/aws-error.js';
import type { FakeAws } from '../support/aws/fake.js';
import { startFakeAws } from '../support/aws/fake.js';
import { FakeClock } from '../support/fake-clock.js';
import { FakePort } from '../support/fake-port.js';
import { largeWorld, PublishedWorld } from '../support/published-port.js';

const MINUTE_US = 60_000_000;

let aws: FakeAws;
let clock: FakeClock;
let client: CloudWatchClient;
let world: PublishedWorld;
let publisher: CloudWatchPublisher;
let logged: string[];
let crashes: unknown[];

beforeEach(async () => {
  clock = new FakeClock();
  aws = await startFakeAws({ now: () => clock.wallNow() });
  // One try, so that a failure takes no time; what the SDK itself tries again is shown below.
  client = new CloudWatchClient({
    ...{ region: 'eu-west-1', endpoint: aws.endpoint, maxAttempts: 1 },
    credentials: { accessKeyId: 'AKIATEST', secretAccessKey: 'secret' },
    requestHandler: { requestTimeout: 300, throwOnRequestTimeout: true },
  });
  world = new PublishedWorld();
  world.values.set('shop', new Map([['forward.lag', 0.4]]));
  world.states.set('shop/flip-writes', 'open');
  logged = [];
  crashes = [];
  const log = (level: string) => (_: object, message: string) => void logged.push(`${level}: ${message}`);
  publisher = new CloudWatchPublisher({
    ...{ port: world, clock, log: { info: log('info'), warn: log('warn'), error: log('error') } },
    put: (config, data, signal) => putMetricData(client, config.namespace, data, signal),
    crashed: (error) => void crashes.push(error),
    mostKept: 6_000,
  });
});

afterEach(async () => {
  aws.heal();
  await publisher.stop();
  client.destroy();
  expect(crashes).toEqual([]);
  expect(clock.sleepers).toBe(0);
  await aws.close();
});

const config = (change: Partial<CloudWatchPublishConfig> = {}): CloudWatchPublishConfig => ({
  ...{ region: 'eu-west-1', endpoint: aws.endpoint, assumeRole: null },
  ...{ namespace: 'Lockgate', everyUs: MINUTE_US, highResolution: false },
  ...change,
});
const stats = (): PublishStats => publisher.stats!;
const failures = (): number => Object.values(stats().failures).reduce((a, b) => a + b, 0);
async function until(done: () => boolean): Promise<void> {
  for (let n = 0; !done(); n += 1) {
    if (n > 2000) throw new Error(`never: ${done.toString()}; ${JSON.stringify(publisher.stats)}`);
    await new SystemClock().sleep(1);
  }
}
/** Lets a period pass, and what it sends be taken or refused. */
async function period(us = MINUTE_US): Promise<void> {
  const [failed, published] = [failures(), stats().published];
  await clock.advance(us);
  await until(() => failures() > failed || (stats().published > published && stats().kept === 0));
}
const stored = (name: string) => aws.cloudwatch.stored.filter((d) => d.MetricName === name);
const wallS = (): number => clock.wallNow() / 1000;

describe('a period', () => {
  it('is one request, with the instant at which it was taken', async () => {
    await publisher.apply(config());
    await until(() => stats().published === 2);
    const first = wallS();
    await period();
    expect(aws.requests.map((r) => r.operation)).toEqual(['PutMetricData', 'PutMetricData']);
    const frame = { Namespace: 'Lockgate', Timestamp: first, StorageResolution: 60 };
    const [migration, link, gate] = [['Migration', 'shop'], ['Link', 'forward'], ['Gate', 'flip-writes']].map(([Name, Value]) => ({ Name, Value })); // prettier-ignore
    expect(aws.cloudwatch.stored.slice(0, 2)).toEqual([
      { ...frame, MetricName: 'Lag', Dimensions: [migration, link], Value: 0.4, Unit: 'Seconds' },
      { ...frame, MetricName: 'GateOpen', Dimensions: [migration, gate], Value: 1, Unit: 'None' },
    ]);
    expect(stored('GateOpen').map((d) => d.Timestamp)).toEqual([first, first + 60]);
    expect(stats()).toMatchObject({ published: 4, dropped: 0, kept: 0, lastSuccess: clock.wallNow(), refused: false });
  });

  it('has GateOpen whatever is known, and no lag while that is unknown', async () => {
    await publisher.apply(config());
    world.values.set('shop', new Map([['forward.lag', null]]));
    world.states.set('shop/flip-writes', 'unknown');
    await period();
    await period();
    expect(stored('Lag')).toHaveLength(1);
    expect(stored('GateOpen').map((d) => d.Value)).toEqual([1, 0, 0]);
  });

  it('of a second is stored with a resolution of one', async () => {
    await publisher.apply(config({ everyUs: 1_000_000, highResolution: true }));
    for (let n = 0; n < 5; n += 1) await period(1_000_000);
    expect(new Set(aws.cloudwatch.stored.map((d) => d.StorageResolution))).toEqual(new Set([1]));
    expect(stored('GateOpen')).toHaveLength(6);
  });

  it('that was slept through is not made up', async () => {
    await publisher.apply(config());
    await until(() => stats().published === 2);
    clock.tick(10 * MINUTE_US);
    await period();
    expect(stored('GateOpen').length).toBeLessThanOrEqual(3);
  });

  it('of 300 gates and 100 links is within every limit, and gzipped', async () => {
    const large = largeWorld();
    Object.assign(world, { values: large.values, states: large.states });
    await publisher.apply(config());
    for (let n = 0; n < 3; n += 1) await period();
    expect(aws.requests).toHaveLength(4);
    expect(aws.requests.every((r) => r.gzipped && r.bytes < 100_000)).toBe(true);
    expect(stored('GateOpen')).toHaveLength(4 * 300);
    expect(stored('Lag')).toHaveLength(4 * 100);
    expect(aws.violations).toEqual([]);
  });
});

describe('an outage', () => {
  it('of an hour loses nothing: all comes later, with its own instants, the newest first', async () => {
    await publisher.apply(config());
    await until(() => stats().published === 2);
    const begun = wallS();
    aws.fault({ kind: 'internal' });
    for (let n = 0; n < 60; n += 1) await period();
    expect(stats()).toMatchObject({ published: 2, kept: 120, dropped: 0 });
    aws.heal();
    await period();
    expect(stats()).toMatchObject({ published: 124, kept: 0, dropped: 0 });
    const instants = stored('GateOpen').map((d) => (d.Timestamp! - begun) / 60);
    expect(instants).toEqual([0, 61, ...Array.from({ length: 60 }, (_, i) => i + 1)]);
    expect(logged).toEqual([
      expect.stringMatching(/^warn: nothing is published to CloudWatch: AWS failed/),
      'info: CloudWatch takes what is published again',
    ]);
  });

  it('of twenty minutes with 300 gates and 100 links keeps what there is room for, and counts what it drops', async () => {
    const large = largeWorld();
    Object.assign(world, { values: large.values, states: large.states });
    aws.fault({ kind: 'internal' });
    await publisher.apply(config());
    await until(() => failures() === 1);
    for (let n = 0; n < 19; n += 1) await period();
    const a = 600;
    const [most, all] = [6_000, 20 * a];
    expect(stats()).toMatchObject({ kept: most, dropped: all - most, published: 0 });
    const newest = wallS();
    aws.heal();
    await period();
    expect(stats()).toMatchObject({ published: most, kept: 0, dropped: all + a - most });
    expect(Math.min(...stored('GateOpen').map((d) => d.Timestamp!))).toBe(newest - (most / a - 2) * 60);
    expect(aws.violations).toEqual([]);
  });

  it('of weeks: what is too old for CloudWatch is dropped', async () => {
    aws.fault({ kind: 'internal' });
    await publisher.apply(config());
    await until(() => failures() === 1);
    clock.tick(15 * 86_400_000_000);
    aws.heal();
    await until(() => stats().published > 0);
    expect(stats()).toMatchObject({ dropped: 2, kept: 0 });
    expect(aws.violations).toEqual([]);
  });

  it('is not met with a request a second', async () => {
    aws.fault({ kind: 'throttle' });
    await publisher.apply(config({ everyUs: 1_000_000, highResolution: true }));
    for (let n = 0; n < 130; n += 1) {
      await clock.advance(1_000_000);
      await new SystemClock().sleep(1);
      await until(() => failures() === aws.requests.length);
    }
    expect(stats().failures.throttled).toBeGreaterThan(4);
    expect(stats().failures.throttled).toBeLessThan(12);
    expect(stats().kept).toBe(2 * 131);
    aws.heal();
    for (let n = 0; n < 60; n += 1) await clock.advance(1_000_000);
    await until(() => stats().kept === 0);
    // Every second has its gate: sampling waited for nothing.
    expect(new Set(stored('GateOpen').map((d) => d.Timestamp)).size).toBe(191);
  });

  it.each(['reset', 'half', 'mute', 'throttle', 'internal', 'expired', 'denied'] as const)(
    'by %s keeps the numbers',
    async (kind) => {
      aws.fault({ kind }, { times: 1 });
      await publisher.apply(config());
      await until(() => failures() === 1);
      expect(stats().kept).toBe(2);
      await period();
      expect(stats()).toMatchObject({ published: 4, dropped: 0, refused: false });
    },
  );
});

describe('a refusal', () => {
  it('of rights is said once, clearly, and shown until it is mended', async () => {
    aws.fault({ kind: 'denied' });
    await publisher.apply(config());
    await until(() => failures() === 1);
    for (let n = 0; n < 3; n += 1) await period();
    expect(logged).toEqual([expect.stringMatching(/^error: .*AWS denies cloudwatch:PutMetricData.*allow the action cloudwatch:PutMetricData/)]); // prettier-ignore
    expect(stats()).toMatchObject({ refused: true, kept: 8, failures: { denied: 4 } });
    aws.heal();
    await period();
    expect(stats()).toMatchObject({ refused: false, published: 10, dropped: 0 });
    expect(logged.at(-1)).toMatch(/takes what is published again/);
  });

  it('of the numbers drops them, and the next ones are tried', async () => {
    aws.on('PutMetricData', () => {
      throw new AwsError('InvalidParameterValue', 'no such thing');
    });
    await publisher.apply(config());
    await until(() => failures() === 1);
    expect(stats()).toMatchObject({ refused: true, kept: 0, dropped: 2, failures: { refused: 1 } });
    aws.on('PutMetricData', (input) => aws.cloudwatch.put(input));
    await period();
    expect(stats()).toMatchObject({ refused: false, published: 2 });
  });
});

describe('the end', () => {
  it('sends what is known then', async () => {
    await publisher.apply(config());
    await until(() => stats().published === 2);
    world.states.set('shop/flip-writes', 'closed');
    clock.tick(20_000_000);
    await publisher.stop();
    expect(stored('GateOpen').map((d) => d.Value)).toEqual([1, 0]);
    expect(publisher.stats).toBeNull();
  });

  it('waits no longer than three seconds', async () => {
    client.destroy();
    client = new CloudWatchClient({ region: 'eu-west-1', endpoint: aws.endpoint, credentials: { accessKeyId: 'A', secretAccessKey: 'b' } }); // prettier-ignore
    aws.fault({ kind: 'mute' });
    await publisher.apply(config());
    await until(() => aws.requests.length === 1);
    const stopped = publisher.stop();
    await clock.advance(3_000_000);
    await stopped;
    expect(aws.requests).toHaveLength(1);
  });

  it('comes with a reload that publishes otherwise or nothing, and with no other', async () => {
    await publisher.apply(config());
    await until(() => stats().published === 2);
    await publisher.apply(config());
    expect(aws.requests).toHaveLength(1);
    await publisher.apply(config({ namespace: 'Other' }));
    await until(() => stats().published === 6);
    expect(stored('GateOpen').map((d) => d.Namespace)).toEqual(['Lockgate', 'Lockgate', 'Other']);
    await publisher.apply(null);
    expect(publisher.stats).toBeNull();
    await clock.advance(5 * MINUTE_US);
    expect(stored('GateOpen')).toHaveLength(4);
  });
});

describe('metrics', () => {
  it('show what became of it', async () => {
    const metrics = createMetrics(new FakePort(), { nodeVersion: 'v1', processDefaults: false, cloudwatch: () => publisher.stats }); // prettier-ignore
    const lines = async () => (await metrics.text()).split('\n').filter((l) => l.startsWith('lockgate_cloudwatch'));
    expect(await lines()).toEqual([]);
    await publisher.apply(config());
    await until(() => stats().published === 2);
    aws.fault({ kind: 'denied' }, { times: 1 });
    await period();
    const expected = [
      'lockgate_cloudwatch_published_total 2',
      'lockgate_cloudwatch_dropped_total 0',
      ...['throttled', 'credentials'].map((kind) => `lockgate_cloudwatch_failures_total{kind="${kind}"} 0`),
      'lockgate_cloudwatch_failures_total{kind="denied"} 1',
      ...['refused', 'unreachable'].map((kind) => `lockgate_cloudwatch_failures_total{kind="${kind}"} 0`),
      'lockgate_cloudwatch_kept 2',
      'lockgate_cloudwatch_refused 1',
      `lockgate_cloudwatch_last_success_timestamp_seconds ${wallS() - 60}`,
    ];
    expect(await lines()).toEqual(expected);
    // Asked again, they say the same.
    expect(await lines()).toEqual(expected);
  });
});

describe("with the daemon's own clients", () => {
  it('a throttled request is tried again by the SDK, and is no failure', async () => {
    process.env['AWS_ACCESS_KEY_ID'] = 'AKIATEST';
    process.env['AWS_SECRET_ACCESS_KEY'] = 'secret';
    const clients = new AwsClients();
    const log = { info: () => undefined, warn: () => undefined, error: () => undefined };
    const own = new CloudWatchPublisher({
      ...{ port: world, clock, log, crashed: (error) => void crashes.push(error) },
      put: (c, data, signal) => putMetricData(clients.cloudwatch(c), c.namespace, data, signal),
    });
    aws.fault({ kind: 'throttle' }, { times: 1 });
    await own.apply(config());
    await until(() => own.stats?.published === 2);
    expect(own.stats?.failures.throttled).toBe(0);
    expect(aws.requests).toHaveLength(2);
    await own.stop();
    clients.close();
  });
});
