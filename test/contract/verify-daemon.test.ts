import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { EnginePort } from '../../collectors/collector.js';
import { LazyAws } from '../../collectors/session/lazy-aws.js';
import type { VerifierOptions } from '../../collectors/verify/verifier.js';
import { createBackend } from '../../daemon/app.js';
import type { RunningDaemon } from '../../daemon/cli/backend.js';
import type { SignalJson, VerifyJson } from '../../daemon/http/port.js';
import { SystemClock } from '../../daemon/lifecycle/clock.js';
import { FakeVerifier, found } from '../support/fake-verifier.js';

// The whole daemon, but for the databases and for what compares them.

const clock = new SystemClock();
const TABLES = ['public.a', 'public.b'];
let folder: string;
let daemon: RunningDaemon | null = null;
let verifiers: FakeVerifier[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lockgate-verify-'));
  verifiers = [];
});

afterEach(async () => {
  await daemon?.stop();
  daemon = null;
  rmSync(folder, { recursive: true });
});

/** Databases that say that nobody has changed the direction, and nothing else. */
const engine: EnginePort = {
  engine: 'postgres',
  collectors: (databases) =>
    databases.map((db) => ({
      name: `${db.name}/direction`,
      run: async (emit, signal) => {
        while (!signal.aborted) {
          const at = clock.monotonicNow();
          emit({ kind: 'direction-rows', database: db.name, rows: [], reason: null, at });
          await clock.sleep(200, signal);
        }
      },
      down: () => [],
    })),
  data: (db) => ({ database: db.name, engine: 'postgres', open: () => Promise.reject(new Error('nobody opens it')) }),
} as Partial<EnginePort> as EnginePort;

function write(verify: string, via = 'postgres-logical, subscription: s'): string {
  const file = join(folder, 'lockgate.yaml');
  const text = [
    'daemon: { listen: 127.0.0.1:0, id: test }',
    `store: { path: ${join(folder, 'lockgate.db')} }`,
    'databases:',
    '  onprem: { engine: postgres, url: "postgres://lockgate@localhost:1/app" }',
    '  aws: { engine: postgres, url: "postgres://lockgate@localhost:2/app" }',
    'migrations:',
    '  shop:',
    '    source: onprem',
    '    target: aws',
    `    forward: { via: ${via} }`,
    ...(verify === '' ? [] : [`    verify: ${verify}`]),
    '    gates: { equal: { require: [ "verify.mismatched_rows is 0", "verify.coverage >= 100%", "verify.age < 1d" ] } }',
  ].join('\n');
  writeFileSync(file, text);
  return file;
}

async function start(file: string): Promise<void> {
  const silent = () => undefined;
  const backend = createBackend({
    ...{ clock, env: {}, nodeVersion: process.version, version: '0', engines: [engine], services: [] },
    ...{ aws: new LazyAws(), log: { debug: silent, info: silent, warn: silent, error: silent } },
    verifier: (options: VerifierOptions) => {
      const verifier = new FakeVerifier(TABLES, options);
      verifiers.push(verifier);
      return verifier;
    },
  });
  daemon = await backend.start(file, new AbortController().signal);
}

const ask = async <T>(path: string, method = 'GET'): Promise<T> =>
  (await (await fetch(`${daemon!.address}${path}`, { method })).json()) as T;
const VERIFY = '/v1/migrations/shop/verify';
const gate = async (): Promise<string> => (await ask<{ state: string }>('/v1/gates/shop/equal')).state;
const signal = async (name: string): Promise<SignalJson | undefined> =>
  (await ask<{ signals: SignalJson[] }>('/v1/migrations/shop/signals')).signals.find((s) => s.name === name);

it('opens a gate on a comparison of everything, keeps it across a restart, and shuts it on a mismatch', async () => {
  const file = write('{ schedule: "0 0 1 1 *" }');
  await start(file);
  expect(await gate()).not.toBe('open');
  const options = verifiers[0]?.options;
  expect([options?.source.database, options?.target.database, options?.carried]).toEqual(['onprem', 'aws', null]);
  expect(options?.settling).toMatchObject({ by: 'link' });
  if (options?.settling.by === 'link') {
    expect(options.settling.gauge.passedAt()).toBe(-Infinity);
    expect(options.settling.gauge.lag().seconds).toBeNull();
  }
  let pass = '';
  await vi.waitFor(async () => {
    const started = await ask<{ pass?: string }>(VERIFY, 'POST');
    expect(started.pass).toMatch(/^[0-9a-f]{12}$/);
    pass = started.pass ?? '';
  });
  expect(await ask(VERIFY, 'POST')).toMatchObject({ status: 409, code: 'verify_running', pass });
  await vi.waitFor(() => expect(verifiers[0]?.passes).toHaveLength(1));
  const first = verifiers[0]!.pass;
  for (const table of TABLES) first.hooks.table(found(first.order, table, 'match', Date.now()));
  first.hooks.save({ order: first.order, version: 1, where: 7 });
  await vi.waitFor(async () => expect(await gate()).toBe('open'), { timeout: 3_000 });
  const known = await ask<VerifyJson>(VERIFY);
  expect(known).toMatchObject({
    configured: true,
    running: { pass },
    tables: [{ state: 'match' }, { state: 'match' }],
  });
  expect(known.next_at).toMatch(/-01-01T00:00:00/);
  const metrics = await (await fetch(`${daemon!.address}/metrics`)).text();
  expect(metrics).toContain('lockgate_verify_tables{migration="shop",state="match"} 2');
  expect(metrics).toContain('lockgate_verify_rows_total{migration="shop"} 20');

  await daemon!.stop();
  await start(file);
  await vi.waitFor(() => expect(verifiers[1]?.passes[0]?.from?.where).toBe(7), { timeout: 3_000 });
  await vi.waitFor(async () => expect(await gate()).toBe('open'), { timeout: 3_000 });
  const second = verifiers[1]!.pass;
  second.hooks.table(found(second.order, 'public.b', 'mismatch', Date.now()));
  expect(await gate()).toBe('closed');
  expect(await signal('verify.mismatched_rows')).toMatchObject({ state: 'ok', value: 1, reason: 'public.b 1' });
  second.end(true);
  await vi.waitFor(async () => expect((await ask<VerifyJson>(VERIFY)).last).toMatchObject({ pass, complete: true }));
  const { entries } = await ask<{ entries: { kind: string }[] }>('/v1/journal?limit=100');
  const kinds = entries.map((e) => e.kind).filter((kind) => kind.startsWith('verify'));
  expect(kinds).toEqual(['verify-started', 'verify-resumed', 'verify-mismatch', 'verify-ended']);
});

it('begins and ends with its section, and waits where nothing is replicated', async () => {
  await start(write(''));
  expect(await ask(VERIFY, 'POST')).toMatchObject({ status: 409, code: 'not_configured' });
  expect((await signal('verify.coverage'))?.reason).toBe('this migration has no `verify` section');
  write('{}', 'none');
  await daemon!.reload();
  expect(verifiers[0]?.options?.settling).toEqual({ by: 'waiting', settleUs: 5_000_000 });
  await vi.waitFor(async () => expect(await signal('verify.coverage')).toMatchObject({ state: 'ok', value: 0 }), { timeout: 3_000 }); // prettier-ignore
  expect((await signal('forward.lag'))?.reason).toContain('no replication');
  expect((await signal('standby.stray_writes'))?.reason).toContain('writes to both sides');
  write('');
  await daemon!.reload();
  expect(verifiers[0]?.closed).toBe(1);
  expect((await signal('verify.coverage'))?.state).toBe('unknown');
});
