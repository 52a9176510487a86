import { expect, test } from 'vitest';
import type { Collector, Emit, EnginePort } from '../../collectors/collector.js';
import { Collecting } from '../../daemon/collecting.js';
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
