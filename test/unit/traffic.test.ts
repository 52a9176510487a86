import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { ServicePort } from '../../collectors/collector.js';
import { AwsClients } from '../../collectors/session/aws.js';
import { LazyAws } from '../../collectors/session/lazy-aws.js';
import { AskedNumber, type Answer } from '../../collectors/traffic/asked-number.js';
import { askCloudWatch } from '../../collectors/traffic/cloudwatch.js';
import { trafficService } from '../../collectors/traffic/service.js';
import type { CloudWatchQuery, Config } from '../../daemon/core/config.js';
import { LockgateError, reasonOf, TransientError } from '../../daemon/core/errors.js';
import type { MigrationReading, Observation } from '../../daemon/core/observation.js';
import type { FakeAws, Fault } from '../support/aws/fake.js';
import { startFakeAws } from '../support/aws/fake.js';
import type { Series } from '../support/aws/cloudwatch-world.js';
import { FakeClock } from '../support/fake-clock.js';
import { startFakePrometheus, vector } from '../support/fake-prometheus.js';
import { startFakeResolver } from '../support/fake-resolver.js';
import { load, small } from './config-inputs.js';

const never = new AbortController().signal;
const log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
let clock: FakeClock;

beforeEach(() => {
  clock = new FakeClock({ wall: '2026-11-22T00:00:20Z' });
});

describe('a number that is asked for again and again', () => {
  let seen: MigrationReading[];
  let stop: AbortController;
  beforeEach(() => {
    seen = [];
    stop = new AbortController();
  });
  const emit = (o: Observation): void => void seen.push(o as MigrationReading);
  const asking = (ask: () => Promise<Answer>): AskedNumber =>
    new AskedNumber('shop/traffic.x', { migration: 'shop', signal: 'traffic.x', everyUs: 15e6, freshUs: 45e6, ask }, clock); // prettier-ignore
  const answer = (change: Partial<Answer> = {}): Promise<Answer> =>
    Promise.resolve({ value: 1, observedAt: clock.monotonicNow() - 5e6, ...change });

  it('is a reading with its own age at each interval', async () => {
    const running = asking(answer).run(emit, stop.signal);
    await clock.advance(31e6);
    stop.abort();
    await running;
    expect(seen).toHaveLength(3);
    const [first] = seen;
    expect(first).toEqual({
      ...{ kind: 'migration-reading', migration: 'shop', signal: 'traffic.x', value: 1, reason: null },
      ...{ at: 1e9, askedAt: 1e9 - 5e6, freshUs: 45e6 },
    });
    expect(clock.sleepers).toBe(0);
  });

  it('is unknown as soon as it cannot be had, and known again afterwards', async () => {
    let n = 0;
    const running = asking(() => {
      n += 1;
      return n === 2 ? Promise.reject(new TransientError('x', 'gone', 'look')) : answer();
    }).run(emit, stop.signal);
    await clock.advance(31e6);
    stop.abort();
    await running;
    expect(seen.map((r) => [r.value, r.reason])).toEqual([[1, null], [null, 'gone; look'], [1, null]]); // prettier-ignore
  });

  it('may ask for itself to be asked sooner', async () => {
    const running = asking(() => answer({ againMs: 2_000, bound: 'at-least' })).run(emit, stop.signal);
    await clock.advance(9e6);
    stop.abort();
    await running;
    expect(seen.map((r) => r.bound)).toEqual(new Array(5).fill('at-least'));
  });

  it('says nothing that was under way when it was stopped', async () => {
    let end: (a: Answer) => void = () => undefined;
    const running = asking(() => new Promise((resolve) => (end = resolve))).run(emit, stop.signal);
    stop.abort();
    end(await answer());
    await running;
    expect(seen).toEqual([]);
  });

  it('leaves a bug to the supervisor, and says what it is then', async () => {
    const collector = asking(() => Promise.reject(new RangeError('a bug')));
    await expect(collector.run(emit, stop.signal)).rejects.toThrow('a bug');
    expect(collector.down('it failed')).toMatchObject([{ signal: 'traffic.x', value: null, reason: 'it failed' }]);
  });
});

describe('CloudWatch', () => {
  let aws: FakeAws;
  let clients: AwsClients;
  beforeEach(async () => {
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'AKIATEST');
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'secret');
    aws = await startFakeAws({ now: () => clock.wallNow() });
    clients = new AwsClients();
  });
  afterEach(async () => {
    clients.close();
    await aws.close();
    vi.unstubAllEnvs();
  });
  const query = (): CloudWatchQuery => ({
    ...{ kind: 'cloudwatch', region: 'eu-west-1', endpoint: aws.endpoint, assumeRole: null, stat: 'p99' },
    ...{ namespace: 'AWS/ApplicationELB', metric: 'TargetResponseTime', dimensions: { LoadBalancer: 'app/x' } },
  });
  const ask = (scale = 1): Promise<Answer> => askCloudWatch(clients, query(), { clock, scale }, never);
  const at = (text: string): Date => new Date(`2026-11-2${text}Z`);
  const series = (points: Series['points'], status?: string): Series[] => [
    { ...query(), points, ...(status === undefined ? {} : { status }) },
  ];
  async function reason(): Promise<string> {
    const error: unknown = await ask().then(() => null, (e: unknown) => e); // prettier-ignore
    expect(error).toBeInstanceOf(LockgateError);
    return reasonOf(error);
  }

  it('answers with the newest whole minute, as old as its beginning is', async () => {
    aws.cloudwatch.series = series([
      { at: at('1T23:55:00'), value: 9 },
      { at: at('1T23:57:00'), value: 250 },
      // The minute under way would be a part of the truth.
      { at: at('2T00:00:00'), value: 1 },
    ]);
    expect(await ask(0.001)).toEqual({ value: 0.25, observedAt: clock.monotonicNow() - 200e6 });
    const [request] = aws.requests;
    expect(request!.input).toMatchObject({
      StartTime: at('1T23:50:00').getTime() / 1000,
      EndTime: at('2T00:00:00').getTime() / 1000,
      MetricDataQueries: [{ MetricStat: { Period: 60, Stat: 'p99' } }],
    });
  });

  it.each<[string, () => Series[], RegExp]>([
    ['no sample', () => [], /no sample of the last 10 minutes.*all and exact/],
    ['samples that are too old', () => series([{ at: at('1T23:49:00'), value: 1 }]), /no sample/],
    ['an error of its own', () => series([{ at: at('1T23:57:00'), value: 1 }], 'InternalError'), /InternalError/],
    ['a refusal', () => series([], 'Forbidden'), /Forbidden/],
  ])('is unknown with %s', async (_, given, expected) => {
    aws.cloudwatch.series = given();
    expect(await reason()).toMatch(expected);
  });

  it.each<[Fault['kind'], RegExp]>([
    ['denied', /denies cloudwatch:GetMetricData/],
    ['expired', /credentials have expired/],
  ])('is unknown when it is %s', async (kind, expected) => {
    aws.fault({ kind } as Fault);
    expect(await reason()).toMatch(expected);
  });

  it('is asked again by the SDK when it is throttled once', async () => {
    aws.cloudwatch.series = series([{ at: at('1T23:57:00'), value: 2 }]);
    aws.fault({ kind: 'throttle' }, { times: 1 });
    expect((await ask()).value).toBe(2);
  });
});

describe('the service', () => {
  const clients = new LazyAws();
  const service: ServicePort = trafficService(clients);
  const config = (sections: string, env = 'traffic'): Config => load(small({ shop: `${env}:\n${sections}` }));
  const keys = (c: Config): string[] => service.parts(c).map((p) => p.key);

  it('has one part for each number, whose key changes with it and is no secret', () => {
    const one = config(
      '  e: { prometheus: "http://u:${env:PW}@prom:9090", query: up }\n  f: { prometheus: "http://prom", query: up }',
    );
    const other = config(
      '  e: { prometheus: "http://u:${env:TOKEN_A}@prom:9090", query: up }\n  f: { prometheus: "http://prom", query: up }',
    );
    const [a, b] = [keys(one), keys(other)];
    expect(a).toHaveLength(2);
    expect(a.join()).not.toContain('p@ss');
    expect([a[0] === b[0], a[1] === b[1]]).toEqual([false, true]);
    expect(keys(one)).toEqual(a);
    const names = service.parts(one).flatMap((p) => p.make({ clock, log, daemonId: 'x' }).map((c) => c.name));
    expect(names).toEqual(['shop/traffic.e', 'shop/traffic.f']);
    expect(keys(load(small()))).toEqual([]);
  });

  it('has a doctor that asks each once and says what came', async () => {
    const prometheus = await startFakePrometheus();
    const resolver = await startFakeResolver();
    const now = clock.wallNow() / 1000;
    prometheus.answer = ({ params }) => (params.get('query')!.includes('up') ? vector(now, params.get('query')!.startsWith('t') ? String(now - 90) : '1') : vector(now)); // prettier-ignore
    resolver.answer = (type) => ({ records: type === 'A' ? [{ owner: 'app.example.com', ttl: 30, type }] : [] });
    const c = load(small({ shop: [
      'traffic:',
      `  none: { prometheus: "${prometheus.url}", query: none }`,
      `  old: { prometheus: "${prometheus.url}", query: up }`,
      `  well: { prometheus: "${prometheus.url}", query: up, every: 60s }`,
      `dns: { app: { name: app.example.com, resolver: "${resolver.address}" } }`,
    ].join('\n') })); // prettier-ignore
    const findings = await service.doctor(c, { clock, log, daemonId: 'x' }, never);
    expect(findings.map((f) => [f.level, f.message, f.signals, f.remedy === null])).toEqual([
      ['fault', 'shop.traffic.none: the query yields no series', ['shop.traffic.none'], false],
      ['fault', 'shop.traffic.old: Prometheus says 1 count, 90 s old, too old to be used', ['shop.traffic.old'], false],
      ['ok', 'shop.traffic.well: Prometheus says 1 count, 90 s old', [], true],
      ['warning', expect.stringMatching(/^shop\.dns\.app\.ttl: 127\.0\.0\.1:\d+ says at least 30 s \(.*30 s are left/), ['shop.dns.app.ttl'], false], // prettier-ignore
    ]);
    await Promise.all([prometheus.close(), resolver.close()]);
  });
});
