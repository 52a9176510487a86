import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Finding } from '../../collectors/collector.js';
import { doctor } from '../../collectors/postgres/setup/doctor.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { startPostgres } from '../../deploy/demo/postgres-server.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { startPair, type Pair } from '../support/pair.js';
import { startPhysicalPair } from '../support/physical-pair.js';
import {
  administered,
  context,
  databaseOf,
  linkOf,
  rounds,
  secret,
  setupOnce,
  wall,
  type Administered,
} from './setup-kit.js';

async function examine(databases: readonly DatabaseConfig[], links: Parameters<typeof doctor>[1]): Promise<Finding[]> {
  return doctor(databases, links, context, new AbortController().signal);
}

const notOk = (findings: readonly Finding[]): string[] =>
  findings.filter((f) => f.level !== 'ok').map((f) => `${f.level} ${f.database ?? ''}: ${f.message}`);

describe.each([
  { source: 18, target: 18 },
  { source: 13, target: 13 },
  { source: 13, target: 18 },
])('doctor, $source to $target', ({ source, target }) => {
  let pair: Pair;
  let databases: Administered[];
  let configs: DatabaseConfig[];
  let links: ReturnType<typeof linkOf>[];
  const look = (): Promise<Finding[]> => examine(configs, links);

  /** Breaks one thing, looks, mends it by what the finding says or by setup, and looks again. */
  async function broken(run: Pair['onSource'], how: string, mend?: string): Promise<Finding[]> {
    for (const sql of how.split(';;')) await run(sql);
    const findings = (await look()).filter((f) => f.level !== 'ok');
    if (mend !== undefined) for (const sql of mend.split(';;')) await run(sql);
    await rounds(() => setupOnce(databases, links));
    return findings;
  }

  beforeAll(async () => {
    pair = await startPair({ source, target });
    const onprem = databaseOf('onprem', pair.source);
    const aws = databaseOf('aws', pair.target);
    configs = [onprem, aws];
    databases = [administered(onprem, pair.source), administered(aws, pair.target)];
    links = [linkOf('forward', onprem, aws)];
    await rounds(() => setupOnce(databases, links));
  });
  afterAll(() => pair.destroy());

  test('finds nothing on a pair that was set up, and leaves no slot behind', async () => {
    const findings = await look();
    expect(notOk(findings)).toEqual([]);
    expect(findings.map((f) => f.message).join('\n')).toMatch(/a temporary slot can be made/);
    for (const run of [pair.onSource, pair.onTarget]) {
      expect(await run(`select from pg_replication_slots where slot_name like 'lockgate%'`)).toEqual([]);
    }
  });

  test.each([
    [
      'a privilege on the table',
      'source',
      'revoke insert on lockgate.heartbeat from lockgate',
      /SELECT, INSERT, UPDATE, DELETE on the heartbeat table/,
      'shop.forward.lag',
    ],
    [
      'USAGE on the schema',
      'target',
      'revoke usage on schema lockgate from lockgate',
      /USAGE on the schema lockgate/,
      'shop.forward.lag',
    ],
    [
      'the statistics',
      'source',
      'revoke pg_read_all_stats from lockgate',
      /pg_read_all_stats/,
      'shop.forward.lag_by_position',
    ],
    ['REPLICATION', 'source', 'alter role lockgate noreplication', /REPLICATION/, 'shop.source.local_writes'],
    ['a trigger', 'target', 'drop trigger heartbeat_flush on lockgate.heartbeat', /trigger heartbeat_flush/, null],
    [
      'ENABLE ALWAYS',
      'target',
      'alter table lockgate.heartbeat enable trigger heartbeat_flush',
      /trigger heartbeat_flush/,
      null,
    ],
    ['our publication', 'target', 'drop publication lockgate', /publication lockgate/, 'shop.target.local_writes'],
    [
      'a column',
      'source',
      'alter table lockgate.heartbeat rename sent_at to at;;',
      /the heartbeat table is missing, or/,
      'shop.forward.lag',
      'alter table lockgate.heartbeat rename at to sent_at',
    ],
    [
      'the table in the publication',
      'source',
      'alter publication shop_pub drop table lockgate.heartbeat',
      /does not carry the heartbeat table/,
      'shop.forward.lag',
    ],
    [
      'inserts in the publication',
      'source',
      `alter publication shop_pub set (publish = 'update')`,
      /leaves out inserts/,
      'shop.forward.lag',
      `alter publication shop_pub set (publish = 'insert, update, delete, truncate')`,
    ],
    [
      'the subscription',
      'target',
      'alter subscription shop_sub rename to renamed',
      /there is no subscription "shop_sub" .*"renamed"/,
      'shop.forward.lag',
      'alter subscription renamed rename to shop_sub',
    ],
    [
      'its being enabled',
      'target',
      'alter subscription shop_sub disable',
      /is disabled/,
      null,
      'alter subscription shop_sub enable',
    ],
  ] as const)('finds that %s is missing', async (_what, side, how, message, signal, mend?: string) => {
    const run = side === 'source' ? pair.onSource : pair.onTarget;
    const found = await broken(run, how.replace(/;;$/, ''), mend);
    const match = found.filter((f) => message.test(f.message));
    expect(match, found.map((f) => f.message).join('\n')).not.toEqual([]);
    expect(match[0]?.remedy).toBeTruthy();
    if (signal !== null) {
      expect(match[0]?.level).toBe('fault');
      expect(match[0]?.signals).toContain(signal);
    }
    if (mend !== undefined) await sleep(1_000); // for the worker to be back
    expect(notOk(await look())).toEqual([]);
  });

  test('finds origin progress that cannot be read, a refresh not made, other tables, and unnamed subscriptions', async () => {
    const revoke =
      target >= 14
        ? 'revoke execute on function pg_replication_origin_progress(text, boolean) from lockgate'
        : 'drop function lockgate.origin_progress(text, boolean)';
    expect((await broken(pair.onTarget, revoke)).map((f) => f.message).join()).toMatch(/durable applied positions/);
    await pair.onSource('create table public.more (id int primary key)');
    await pair.onSource('alter publication shop_pub add table public.more');
    expect(notOk(await look()).join()).toMatch(/warning aws: .*"shop_sub" does not carry "public"."more"/);
    await pair.onSource('drop table public.more');
    await pair.onSource('create publication other_pub');
    await pair.onTarget(`create subscription other_sub connection
      'host=127.0.0.1 port=${pair.source.port} dbname=app user=replicator password=replicator' publication other_pub`);
    expect(notOk(await look()).join()).toMatch(/warning aws: "other_sub" also replicates from onprem/);
    await pair.onTarget('drop subscription other_sub');
  });

  test('says what an open transaction does to slots', async () => {
    const open = await pair.openTransaction();
    try {
      const found = notOk(await look());
      expect(found.join()).toMatch(
        /warning onprem: a slot could not be made within 5 s: backend \d+ of postgres has been in a write/,
      );
    } finally {
      await open.rollback();
    }
    await waitFor('slots to be gone', 5_000, async () => {
      return (await pair.onSource(`select from pg_replication_slots where slot_name like 'lockgate%'`)).length === 0;
    });
  });

  test('finds a wrong password, an unreachable server, a missing database, and skewed clocks', async () => {
    const [onprem, aws] = configs as [DatabaseConfig, DatabaseConfig];
    const wrong = await examine([{ ...onprem, password: secret('nope') }], []);
    expect(wrong).toHaveLength(1);
    expect(wrong[0]).toMatchObject({ level: 'fault', database: 'onprem' });
    expect(JSON.stringify(wrong)).not.toContain('nope');
    const nowhere = { ...aws, address: { ...aws.address, port: 1 } };
    const away = await examine([onprem, nowhere], [linkOf('forward', onprem, nowhere)]);
    expect(notOk(away).join('\n')).toMatch(/^fault aws: .*ECONNREFUSED/);
    expect(away.find((f) => f.level === 'fault')?.signals).toContain('shop.forward.lag');
    wall.offsetMs = 5_000;
    expect(notOk(await look()).join()).toMatch(/clock is -5\d{3}\.\d ms ahead/);
    wall.offsetMs = 0;
  });
});

describe('servers that are not fit', () => {
  test('wal_level, slots, walsenders and synchronous names', async () => {
    const server = await startPostgres({
      database: 'app',
      settings: {
        wal_level: 'replica',
        max_replication_slots: '2',
        max_wal_senders: '1',
        synchronous_standby_names: '*',
        synchronous_commit: 'local',
      },
    });
    try {
      const config = databaseOf('small', server);
      await setupOnce([administered(config, server)], []);
      const found = notOk(await examine([config], [])).join('\n');
      expect(found).toMatch(/fault small: wal_level is replica/);
      expect(found).toMatch(/fault small: only 2 of max_replication_slots/);
      expect(found).toMatch(/fault small: only 1 of max_wal_senders/);
      expect(found).toMatch(/fault small: synchronous_standby_names = \*/);
      const off = notOk(await examine([{ ...config, read: 'off' }], []));
      expect(off.filter((f) => f.startsWith('fault'))).toEqual([]);
    } finally {
      await server.destroy();
    }
  });

  test('a certificate for another name', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'lockgate-doctor-'));
    const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
    const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
    execFileSync(
      'openssl',
      [...args, '-subj', '/CN=db', '-addext', 'subjectAltName=DNS:db.example', '-keyout', key, '-out', cert],
      { stdio: 'ignore' },
    );
    const server = await startPostgres({
      database: 'app',
      tls: { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') },
    });
    try {
      const config = databaseOf('tls', server);
      await setupOnce([administered(config, server)], []);
      const full: DatabaseConfig = { ...config, tls: { ...config.tls, mode: 'verify-full', ca: cert } };
      expect((await examine([full], [])).map((f) => `${f.level}: ${f.remedy ?? ''}`)).toEqual([
        expect.stringMatching(/^fault: .*certificate is for another name/) as string,
      ]);
      const require: DatabaseConfig = { ...config, tls: { ...config.tls, mode: 'require' } };
      expect(notOk(await examine([require], []))).toEqual([
        expect.stringMatching(/certificate is not verified/) as string,
      ]);
    } finally {
      await server.destroy();
      rmSync(folder, { recursive: true });
    }
  });

  test('a physical pair is fine, and its standby is told from a mistake', async () => {
    const pair = await startPhysicalPair();
    try {
      const a = databaseOf('a', pair.primary, { password: 'same' });
      const b = databaseOf('b', pair.standby, { password: 'same' });
      const links = [linkOf('forward', a, b, { via: 'postgres-physical', flows: ['standby'] })];
      await rounds(() => setupOnce([administered(a, pair.primary), administered(b, pair.standby)], links));
      await pair.settled();
      expect(notOk(await examine([a, b], links))).toEqual([]);
      expect(notOk(await examine([a, b], [linkOf('forward', b, a)])).join()).toMatch(/fault b: this is a standby/);
    } finally {
      await pair.destroy();
    }
  });
});
