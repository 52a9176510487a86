import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { CollectorContext } from '../../collectors/collector.js';
import { DmsCollector } from '../../collectors/dms/collector.js';
import { DmsReaches } from '../../collectors/dms/reach.js';
import { AwsClients } from '../../collectors/session/aws.js';
import { LazyAws } from '../../collectors/session/lazy-aws.js';
import { dmsService } from '../../collectors/dms/service.js';
import { RequestRate } from '../../collectors/session/request-rate.js';
import type { DmsConfig } from '../../daemon/core/config.js';
import type { DmsReading, LinkReading, Observation, TaskTablesSeen } from '../../daemon/core/observation.js';
import { SystemClock } from '../../daemon/lifecycle/clock.js';
import { DmsWorld, dmsArn, table } from '../support/aws/dms-world.js';
import type { FakeAws } from '../support/aws/fake.js';
import { startFakeAws } from '../support/aws/fake.js';
import { load } from '../unit/config-inputs.js';

const EVERY_MS = 40;
const log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
const clock = new SystemClock();
const context: CollectorContext = { clock, log, daemonId: 'tester' };

let aws: FakeAws;
let world: DmsWorld;
let stop: AbortController;
let running: Promise<void>[] = [];

beforeEach(async () => {
  aws = await startFakeAws();
  world = new DmsWorld(aws);
  stop = new AbortController();
  vi.stubEnv('AWS_ACCESS_KEY_ID', 'AKIATEST');
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'secret');
  vi.stubEnv('AWS_ENDPOINT_URL_CLOUDWATCH', aws.endpoint);
  // Nothing of the machine's own account, if it has one.
  vi.stubEnv('AWS_CONFIG_FILE', '/nonexistent');
  vi.stubEnv('AWS_SHARED_CREDENTIALS_FILE', '/nonexistent');
  vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true');
});

afterEach(async () => {
  stop.abort();
  await Promise.all(running);
  running = [];
  await aws.close();
  vi.unstubAllEnvs();
});

type Seen = LinkReading | DmsReading;

/** The newest reading of each signal, and all of them. */
class Sight {
  readonly all: Seen[] = [];
  listed: TaskTablesSeen | null = null;

  readonly emit = (o: Observation): void => {
    if (o.kind === 'link-reading' || o.kind === 'dms-reading') this.all.push(o);
    if (o.kind === 'task-tables') this.listed = o;
  };

  newest(signal: string): Seen | undefined {
    return this.all.findLast((o) => o.signal === signal);
  }

  value(signal: string): number | null | undefined {
    return this.newest(signal)?.value;
  }

  /** Waits until the newest reading of the signal is so. */
  async until(signal: string, matches: Partial<Seen> | ((o: Seen) => boolean), withinMs = 5_000): Promise<Seen> {
    const end = performance.now() + withinMs;
    for (;;) {
      const newest = this.newest(signal);
      const fits =
        newest !== undefined &&
        (typeof matches === 'function'
          ? matches(newest)
          : Object.entries(matches).every(
              ([key, value]) => (newest as unknown as Record<string, unknown>)[key] === value,
            ));
      if (fits) return newest;
      if (performance.now() > end) throw new Error(`${signal} is ${JSON.stringify(newest)}`);
      await sleep(5);
    }
  }
}

function configOf(...tasks: string[]): DmsConfig {
  return { tasks, region: 'eu-west-1', endpoint: aws.endpoint, assumeRole: null, everyUs: EVERY_MS * 1000 };
}

/** As fast as the tests like, unless the pace is what they are about. */
const hasty = () =>
  new DmsReaches(new AwsClients(), () => new RequestRate(() => 0, { perS: 500, burst: 500, firstPauseUs: 100_000 }));

function watch(dms: DmsConfig, reaches = hasty()): Sight {
  const sight = new Sight();
  const reach = () => Promise.resolve(reaches.of(dms, clock));
  const collector = new DmsCollector({ id: 'shop/forward', dms, clock, log, reach, random: () => 0 });
  running.push(collector.run(sight.emit, stop.signal));
  return sight;
}

const says = (pattern: RegExp) => (o: Seen) => o.value === null && pattern.test(o.reason ?? '');

describe('a DMS task', () => {
  it('that runs is running, with its tables, by the real client', async () => {
    const sight = watch(configOf(world.addTask('SHOP', ['orders', 'users'])));
    await sight.until('dms.tables_pending', { value: 0 });
    expect(sight.newest('running')).toMatchObject({
      kind: 'link-reading',
      value: 1,
      reason: null,
      freshUs: 600_000_000,
    });
    expect(sight.newest('errors')).toMatchObject({ value: 0, part: 'dms-tasks' });
    expect(sight.value('tables_syncing')).toBe(0);
    expect(sight.value('dms.running')).toBe(1);
    expect(sight.value('dms.full_load_percent')).toBe(100);
    expect(sight.value('dms.tables_errored')).toBe(0);
    expect(sight.newest('dms.validation_failed')?.reason).toContain('does not validate');
    expect(sight.value('dms.validation_failed')).toBeNull();
    const [first] = aws.requests;
    expect(first?.input).toEqual({
      Filters: [{ Name: 'replication-task-arn', Values: [dmsArn('task', 'SHOP')] }],
      WithoutSettings: true,
      MaxRecords: 100,
    });
  });

  it('tells which tables it carries whole, by its statistics and its table mappings', async () => {
    const filters = [{ 'filter-type': 'source', 'column-name': 'id', 'filter-conditions': [] }];
    const of = (name: string, more: object) => ({
      ...{ 'rule-type': 'selection', 'rule-id': name, 'rule-name': name, 'rule-action': 'include', ...more },
      'object-locator': { 'schema-name': 'app', 'table-name': name },
    });
    const TableMappings = JSON.stringify({ rules: [of('orders', {}), of('users', { filters })] });
    const arn = world.addTask('SHOP', ['orders', 'users'], { TableMappings });
    const sight = watch(configOf(arn));
    await sight.until('dms.tables_pending', { value: 0 });
    await vi.waitFor(() => expect(sight.listed?.tables).toHaveLength(2));
    expect(sight.listed).toMatchObject({
      link: 'shop/forward',
      tables: [
        { schema: 'app', name: 'orders', flaw: null },
        { schema: 'app', name: 'users', flaw: 'the task filters its rows' },
      ],
    });
    // Changed and started anew, it is asked again at once.
    const whole = JSON.stringify({ rules: [of('orders', {}), of('users', {})] });
    world.set(arn, { TableMappings: whole, ReplicationTaskStartDate: new Date('2026-11-27T09:30:00Z') });
    await vi.waitFor(() => expect(sight.listed?.tables?.map((t) => t.flaw)).toEqual([null, null]));
    world.set(arn, { TableMappings: '{' });
    const other = watch(configOf(arn));
    await vi.waitFor(() => expect(other.listed?.reason).toMatch(/table mappings of shop cannot be understood/));
    expect(other.listed?.tables).toBeNull();
  });

  it.each(['stopped', 'failed', 'modifying', 'something-new-of-2031', 'Running'])(
    'that is %s is not running, and says so',
    async (Status) => {
      const arn = world.addTask('SHOP', ['orders'], {
        Status,
        StopReason: 'Stop Reason FATAL_ERROR',
        LastFailureMessage: 'Last Error  no\nconnection',
      });
      const { reason } = await watch(configOf(arn)).until('running', { value: 0 });
      expect(reason).toBe(`shop is ${Status} (Stop Reason FATAL_ERROR; Last Error no connection)`);
    },
  );

  it('that fails and is started again between two looks was not running', async () => {
    const arn = world.addTask('SHOP');
    const sight = watch(configOf(arn));
    await sight.until('running', { value: 1 });
    world.set(arn, { Status: 'failed', StopReason: 'RECOVERABLE_ERROR' });
    await sight.until('running', { value: 0 });
    world.set(arn, { Status: 'running' });
    await sight.until('running', { value: 1 });
    world.set(arn, { ReplicationTaskStartDate: new Date('2026-11-27T09:00:00Z') });
    const seen = await sight.until('running', { value: 0 });
    expect(seen.reason).toContain('was started again since the look before');
    await sight.until('running', { value: 1 });
  });

  it('that does not exist is not running, and nothing else is known of it', async () => {
    world.addTask('OTHER');
    const sight = watch(configOf(dmsArn('task', 'SHOP')));
    const { reason } = await sight.until('running', { value: 0 });
    expect(reason).toContain('there is no arn:aws:dms:eu-west-1:123456789012:task:SHOP');
    await sight.until('dms.tables_errored', says(/there is no arn/));
    await sight.until('errors', says(/there is no arn/));
    await sight.until('dms.full_load_percent', says(/there is no arn/));
    await sight.until('dms.cdc_latency_source', says(/there is no arn/));
  });

  it('of which another one is answered is not there', async () => {
    const other = world.addTask('OTHER');
    aws.on('DescribeReplicationTasks', () => ({
      ReplicationTasks: world.tasks.filter((t) => t.ReplicationTaskArn === other),
    }));
    await watch(configOf(dmsArn('task', 'SHOP'))).until('running', { value: 0 });
  });

  it('with 600 tables has all of them counted, over the pages', async () => {
    const names = Array.from({ length: 600 }, (_, i) => `t${i}`);
    const arn = world.addTask('SHOP', names);
    world.tables
      .get(arn)
      ?.splice(598, 2, table('t598', { TableState: 'Table error' }), table('t599', { TableState: 'Full load' }));
    const sight = watch(configOf(arn));
    expect((await sight.until('dms.tables_errored', { value: 1 })).reason).toBe('app.t598 (Table error)');
    expect((await sight.until('dms.tables_pending', { value: 2 })).reason).toContain('app.t599 (Full load)');
    expect(sight.value('errors')).toBe(1);
    const asked = aws.requests.filter((r) => r.operation === 'DescribeTableStatistics').map((r) => r.input);
    expect(asked.slice(0, 2)).toEqual([
      { ReplicationTaskArn: arn, MaxRecords: 500 },
      { ReplicationTaskArn: arn, MaxRecords: 500, Marker: '500' },
    ]);
  });

  it('whose pages do not end has no answer', async () => {
    const arn = world.addTask('SHOP');
    aws.on('DescribeTableStatistics', () => ({ TableStatistics: [table('orders')], Marker: 'again' }));
    const { asker } = hasty().of(configOf(arn), clock);
    const name = { kind: 'task', region: '', account: '', id: 'SHOP' } as const;
    await expect(asker.tables(arn, name, stop.signal)).rejects.toThrow('more than 200 pages');
  });
});

describe('a serverless replication', () => {
  it('is asked for by its configuration, and its latency is not looked up', async () => {
    const arn = dmsArn('replication-config', 'SHOPCONFIG');
    world.replications = [
      {
        ReplicationConfigArn: arn,
        ReplicationConfigIdentifier: 'shop',
        ReplicationType: 'full-load-and-cdc',
        Status: 'running',
        ReplicationStats: { FullLoadProgressPercent: 97 },
      },
    ];
    world.tables.set(arn, [table('orders', { TableState: 'Full load' })]);
    const sight = watch(configOf(arn));
    await sight.until('dms.tables_pending', { value: 1 });
    expect(sight.value('running')).toBe(1);
    expect(sight.value('dms.full_load_percent')).toBe(97);
    await sight.until('dms.cdc_latency_target', says(/serverless/));
    world.replications = [{ ...world.replications[0], Status: 'failed', FailureMessages: ['no capacity'] }];
    expect((await sight.until('running', { value: 0 })).reason).toBe('shop is failed (no capacity)');
  });
});

describe('the latency', () => {
  const latency = (metric: string, points: { at: Date; value: number }[]) => ({
    namespace: 'AWS/DMS',
    metric,
    // The instance's name and the last part of the task's ARN: what CloudWatch knows them by.
    dimensions: { ReplicationInstanceIdentifier: 'instance-of-shop', ReplicationTaskIdentifier: 'SHOP' },
    points,
  });
  const ago = (s: number) => new Date(Date.now() - s * 1000);

  it('is the newest sample, as old as it is', async () => {
    aws.cloudwatch.series = [
      latency('CDCLatencySource', [
        { at: ago(240), value: 7 },
        { at: ago(180), value: 4 },
      ]),
      latency('CDCLatencyTarget', [{ at: ago(300), value: 9 }]),
    ];
    const sight = watch(configOf(world.addTask('SHOP')));
    const source = await sight.until('dms.cdc_latency_source', { value: 4 });
    const target = await sight.until('dms.cdc_latency_target', { value: 9 });
    for (const { askedAt = 0, at } of [source, target]) {
      // The oldest of its own metric: of the other one nothing is said.
      const age = (at - askedAt) / 1e6;
      const own = askedAt === source.askedAt ? 180 : 300;
      expect(age).toBeGreaterThan(own - 1);
      expect(age).toBeLessThan(own + 2);
    }
  });

  it('of 0 is said to prove nothing', async () => {
    aws.cloudwatch.series = [latency('CDCLatencySource', [{ at: ago(60), value: 0 }])];
    const sight = watch(configOf(world.addTask('SHOP')));
    expect((await sight.until('dms.cdc_latency_source', { value: 0 })).reason).toContain('not that all has arrived');
    await sight.until('dms.cdc_latency_target', says(/no sample of CDCLatencyTarget/));
  });

  it('without a sample of the last ten minutes is unknown', async () => {
    aws.cloudwatch.series = [latency('CDCLatencySource', [{ at: ago(660), value: 3 }])];
    await watch(configOf(world.addTask('SHOP'))).until('dms.cdc_latency_source', says(/no sample/));
  });

  it('that may not be asked is unknown, with the permission that is missing, and the task is known', async () => {
    aws.fault({ kind: 'denied' }, { operation: 'GetMetricData' });
    const sight = watch(configOf(world.addTask('SHOP')));
    await sight.until('dms.cdc_latency_source', says(/allow the action cloudwatch:GetMetricData/));
    expect(sight.value('running')).toBe(1);
    aws.heal();
    await sight.until('dms.cdc_latency_source', says(/no sample/));
  });

  it('needs the instance', async () => {
    const arn = world.addTask('SHOP');
    world.instances.clear();
    await watch(configOf(arn)).until('dms.cdc_latency_source', says(/there is no replication instance/));
  });
});

describe('what AWS does not answer', () => {
  it.each([
    ['denied', /allow the action dms:DescribeReplicationTasks to what lockgate runs as/],
    ['expired', /expired/],
  ] as const)('when it is %s, all is unknown at once and known again afterwards', async (kind, reason) => {
    const sight = watch(configOf(world.addTask('SHOP')));
    await sight.until('dms.cdc_latency_source', (o) => o.value === null);
    await sight.until('running', { value: 1 });
    aws.fault({ kind });
    for (const signal of [
      'running',
      'errors',
      'tables_syncing',
      'dms.running',
      'dms.tables_errored',
      'dms.cdc_latency_source',
    ])
      await sight.until(signal, says(reason));
    aws.heal();
    await sight.until('running', { value: 1 });
  });

  it('is unknown without credentials, with what to do', async () => {
    vi.stubEnv('AWS_ACCESS_KEY_ID', '');
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', '');
    await watch(configOf(world.addTask('SHOP'))).until('running', says(/no AWS credentials.*give the machine.*a role/));
  });

  it.each(['reset', 'half', 'internal', 'throttle'] as const)('is asked again when one answer is %s', async (kind) => {
    aws.fault({ kind }, { times: 1 });
    const sight = watch(configOf(world.addTask('SHOP')));
    await sight.until('running', { value: 1 });
    expect(sight.all.filter((o) => o.signal === 'running' && o.value !== 1)).toEqual([]);
  });

  it.each([
    ['reset', /does not answer|failed/],
    ['half', /does not answer|failed/],
    ['internal', /AWS failed/],
  ] as const)('is unknown when every answer is %s, and known again afterwards', async (kind, reason) => {
    const sight = watch(configOf(world.addTask('SHOP')));
    await sight.until('running', { value: 1 });
    aws.fault({ kind });
    await sight.until('running', says(reason));
    await sight.until('errors', says(reason));
    aws.heal();
    await sight.until('running', { value: 1 }, 8_000);
  });

  it('is waited for when it is slow', async () => {
    aws.fault({ kind: 'slow', ms: 300 }, { times: 1 });
    const sight = watch(configOf(world.addTask('SHOP')));
    const { at, askedAt = 0 } = await sight.until('running', { value: 1 });
    // As old as the question.
    expect(at - askedAt).toBeGreaterThan(290_000);
  });

  it('when it throttles three times is unknown, and everybody pauses', async () => {
    const arn = world.addTask('SHOP');
    aws.fault({ kind: 'throttle' }, { times: 3, operation: 'DescribeReplicationTasks' });
    const sight = watch(configOf(arn));
    await sight.until('running', says(/AWS throttles dms:DescribeReplicationTasks: Rate exceeded/));
    const [first, second, third] = aws.requests.map((r) => r.at);
    expect((second ?? 0) - (first ?? 0)).toBeGreaterThan(45);
    expect((third ?? 0) - (second ?? 0)).toBeGreaterThan(90);
  });
});

describe('many links', () => {
  it('stay together under four requests a second', async () => {
    const reaches = new DmsReaches(new AwsClients());
    for (let i = 0; i < 20; i += 1) watch(configOf(world.addTask(`T${i}`)), reaches);
    await sleep(1_000);
    const asked = aws.requests.filter((r) => r.service === 'dms').length;
    expect(asked).toBeGreaterThanOrEqual(8);
    expect(asked).toBeLessThanOrEqual(8 + 3 + 1);
  });
});

describe('the doctor', () => {
  const yaml = (arn: string) => `
databases:
  onprem: { engine: mysql, url: "mysql://lockgate@localhost/app" }
  aws: { engine: postgres, url: "postgres://lockgate@localhost/app" }
migrations:
  shop:
    source: onprem
    target: aws
    forward: { via: dms, dms: { tasks: [ "${arn}" ], region: eu-west-1, endpoint: "${aws.endpoint}" } }
    gates: { flip: { require: "forward.lag < 1s" } }
`;
  const examine = (arn: string) => dmsService(new LazyAws()).doctor(load(yaml(arn)), context, stop.signal);

  it('names what settings mean', async () => {
    const settings = {
      TargetMetadata: { BatchApplyEnabled: true, ParallelApplyThreads: 4, LimitedSizeLobMode: true, LobMaxSize: 32 },
      ControlTablesSettings: { StatusTableEnabled: true },
    };
    const arn = world.addTask('SHOP', ['orders'], { ReplicationTaskSettings: JSON.stringify(settings) });
    const findings = await examine(arn);
    expect(findings.every((f) => f.link === 'shop/forward')).toBe(true);
    const said = findings.map((f) => `${f.level} ${f.message}`).join('\n');
    expect(said).toMatch(/ok shop is running/);
    expect(said).toMatch(/warning shop: BatchApplyEnabled is on: .* may overtake rows/);
    expect(said).toMatch(/warning shop: ParallelApplyThreads is 4/);
    expect(said).toMatch(/warning shop: limited LOB mode: values longer than LobMaxSize \(32 KB\) are cut off/);
    expect(said).toMatch(/warning .*SuspendedTablesTableEnabled is off/);
    expect(said).not.toMatch(/StatusTableEnabled is off/);
    expect(said).toMatch(/TaskRecoveryTableEnabled is off/);
    expect(said).toMatch(/warning shop: CloudWatch has no sample of CDCLatencySource/);
  });

  it('names a task that is not there or not running, and a permission that is missing', async () => {
    expect(await examine(dmsArn('task', 'GONE'))).toMatchObject([
      {
        level: 'fault',
        message: expect.stringContaining('there is no arn') as string,
        signals: expect.arrayContaining(['running']) as string[],
      },
    ]);
    const arn = world.addTask('SHOP', ['orders'], { Status: 'stopped' });
    expect((await examine(arn))[0]).toMatchObject({ level: 'fault', message: 'shop is stopped' });
    aws.fault({ kind: 'denied' }, { operation: 'DescribeTableStatistics' });
    expect((await examine(arn)).find((f) => f.message.includes('denies'))).toMatchObject({
      level: 'fault',
      remedy: 'allow the action dms:DescribeTableStatistics to what lockgate runs as',
    });
  });
});
