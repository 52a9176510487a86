import { expect, test } from 'vitest';
import type { Collector, Emit, EnginePort } from '../../collectors/collector.js';
import { Collecting, linkPlans } from '../../daemon/collecting.js';
import type { Config, DatabaseConfig, LinkConfig } from '../../daemon/core/config.js';
import type { Observation } from '../../daemon/core/observation.js';
import { FakeClock } from '../support/fake-clock.js';

const database = (name: string, host: string): DatabaseConfig => ({
  name,
  engine: 'postgres',
  address: { host, port: 5432, database: 'app', user: 'lockgate' },
  password: null,
  tls: { mode: 'disable', ca: null, cert: null, key: null },
  read: 'off',
});

function config(targetHost: string): Config {
  const forward: LinkConfig = {
    name: 'forward',
    via: 'postgres-logical',
    from: 'onprem',
    to: 'aws',
    flows: ['shop_sub'],
    publication: null,
    heartbeat: { intervalUs: 1_000_000, watch: 'auto' },
    freshnessUs: 3_000_000,
    retentionLimitBytes: null,
    tables: null,
  };
  return {
    file: 'lockgate.yaml',
    hash: 'hash',
    daemon: { id: 'a', listen: { host: '127.0.0.1', port: 0 }, tls: null, auth: null },
    store: { path: ':memory:', retainUs: 0 },
    databases: new Map([
      ['onprem', database('onprem', 'db')],
      ['aws', database('aws', targetHost)],
    ]),
    migrations: new Map([
      [
        'shop',
        { name: 'shop', source: 'onprem', target: 'aws', links: { forward }, promotion: 'manual', gates: new Map() },
      ],
    ]),
    gates: new Map(),
    warnings: [],
  };
}

test('an answer that comes when its collector is being ended is not taken for one of the new databases', async () => {
  const seen: Observation[] = [];
  const quiet = (): void => undefined;
  const reachable = (value: number): Observation => {
    return { kind: 'side-reading', database: 'aws', signal: 'reachable', value, reason: null, at: 0 };
  };
  const slow: Collector = {
    name: 'aws/side',
    run: (emit: Emit, signal) =>
      new Promise((resolve) => {
        emit(reachable(0));
        signal.addEventListener('abort', () => {
          emit(reachable(1));
          resolve();
        });
      }),
    down: () => [],
  };
  const engine = { engine: 'postgres', collectors: () => [slow] } as unknown as EnginePort;
  const context = {
    clock: new FakeClock(),
    log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
    daemonId: 'a',
  };
  const collecting = new Collecting([engine], context, (o) => void seen.push(o), quiet);
  await collecting.apply(config('old.example'));
  await collecting.apply(config('new.example'));
  await collecting.stop();
  expect(seen).toEqual([reachable(0), reachable(0)]);
});

test('setup and doctor learn what is compared, and another way to compare leaves the collectors alone', async () => {
  const compared = (chunkUs: number): Config => {
    const made = config('aws.example');
    const shop = made.migrations.get('shop');
    if (shop === undefined) throw new RangeError('the configuration has no shop');
    const verify = {
      ...{
        schedule: null,
        tables: null,
        exclude: [],
        ignoreColumns: new Map(),
        filters: new Map(),
        schemas: new Map(),
      },
      ...{ chunkUs, sourceShare: 1, pauseAboveLagUs: 1, pauseAboveRunning: null, standIns: new Map() },
    };
    return { ...made, migrations: new Map([['shop', { ...shop, verify }]]) };
  };
  expect(linkPlans(compared(1)).map((plan) => plan.verify?.chunkUs)).toEqual([1]);
  expect(linkPlans(config('aws.example'))[0]).not.toHaveProperty('verify');

  let begun = 0;
  const idle = (): Collector => ({
    name: 'aws/side',
    run: (_, signal) => {
      begun += 1;
      return new Promise((resolve) => signal.addEventListener('abort', () => resolve()));
    },
    down: () => [],
  });
  const quiet = (): void => undefined;
  const engine = { engine: 'postgres', collectors: () => [idle()] } as unknown as EnginePort;
  const log = { debug: quiet, info: quiet, warn: quiet, error: quiet };
  const collecting = new Collecting([engine], { clock: new FakeClock(), log, daemonId: 'a' }, quiet, quiet);
  await collecting.apply(compared(1));
  await collecting.apply(compared(2));
  expect(begun).toBe(1);
  await collecting.apply({ ...compared(2), databases: config('new.example').databases });
  expect(begun).toBe(2);
  await collecting.stop();
});
