import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { setup } from '../../collectors/postgres/setup/setup.js';
import { grants } from '../../collectors/postgres/setup/grants.js';
import { startPostgres, type PostgresServer } from '../../deploy/demo/postgres-server.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { startPair, type Pair } from '../support/pair.js';
import { startPhysicalPair } from '../support/physical-pair.js';
import {
  administered,
  catalogSql,
  databaseOf,
  linkOf,
  outcomes,
  rounds,
  setupOnce,
  teardownOnce,
  type Administered,
} from './setup-kit.js';

const waiting = (reports: Parameters<typeof outcomes>[0]): string[] =>
  outcomes(reports).filter((o) => o.startsWith('would-do'));

describe('a refresh that would change other tables (18)', () => {
  let pair: Pair;
  let databases: Administered[];
  let links: ReturnType<typeof linkOf>[];
  beforeAll(async () => {
    pair = await startPair();
    const onprem = databaseOf('onprem', pair.source);
    const aws = databaseOf('aws', pair.target);
    databases = [administered(onprem, pair.source), administered(aws, pair.target)];
    links = [linkOf('forward', onprem, aws)];
    await pair.onSource(
      'create table public."Extra" (id int primary key); alter publication shop_pub add table public."Extra"',
    );
    await pair.onTarget('create table public."Extra" (id int primary key)');
  });
  afterAll(() => pair.destroy());

  test('is refused with the names of the tables, and done once the operator has decided', async () => {
    await setupOnce(databases.slice(0, 1), links); // makes the role that setup of the other side looks with
    await expect(setupOnce(databases.slice(1), links)).rejects.toMatchObject({
      code: 'refresh_would_change',
      message: expect.stringContaining('begin to replicate "public"."Extra" without copying') as string,
    });
    await setupOnce(databases.slice(0, 1), links);
    // That copies the heartbeat table as well: the subscription's login has got the right to read it.
    await pair.onTarget('alter subscription shop_sub refresh publication');
    await waitFor('the copy of the heartbeat table', 10_000, async () => {
      return (await pair.onTarget(`select from pg_subscription_rel where srsubstate <> 'r'`)).length === 0;
    });
    const { last } = await rounds(() => setupOnce(databases, links));
    expect(waiting(last)).toEqual([]);
  });

  test('is refused for a table that is no longer published', async () => {
    await pair.onSource('alter publication shop_pub drop table public."Extra"');
    await teardownOnce(databases, links);
    await setupOnce(databases.slice(0, 1), links);
    await expect(rounds(() => setupOnce(databases, links))).rejects.toMatchObject({
      code: 'refresh_would_change',
      message: expect.stringContaining('cease to replicate "public"."Extra"') as string,
    });
  });

  test('a wrong publisher, a missing publication and another database are refused', async () => {
    const [onprem, aws] = databases as [Administered, Administered];
    await expect(
      setupOnce(databases, [linkOf('forward', onprem.config, aws.config, { publication: 'nope' })]),
    ).rejects.toMatchObject({ code: 'publication_missing' });
    const options = { adminUrl: pair.source.adminUrl('postgres'), dryRun: false, signal: new AbortController().signal };
    await expect(setup(onprem.config, links, options).next()).rejects.toMatchObject({ code: 'admin_url' });
    await expect(
      setup(onprem.config, links, { ...options, adminUrl: 'postgres://:hunter2@x:y/' }).next(),
    ).rejects.not.toThrow(/hunter2/);
  });
});

describe('names that need quoting (18)', () => {
  const name = {
    database: `we"ird.db'x $1`,
    user: `Lock"Gate.'$lockgate$`,
    publication: `Pub "1".x'%`,
    subscription: `Sub "1".x'%`,
  };
  const servers: PostgresServer[] = [];
  const clients: pg.Client[] = [];
  afterAll(async () => {
    for (const client of clients) await client.end();
    for (const server of servers) await server.destroy();
  });

  test('work in setup, in the printed script, and in teardown', async () => {
    servers.push(await startPostgres({ database: name.database }), await startPostgres({ database: name.database }));
    for (const server of servers) {
      const client = new pg.Client({
        host: server.host,
        port: server.port,
        user: 'postgres',
        password: server.password,
        database: name.database,
      });
      client.on('error', () => undefined);
      await client.connect();
      clients.push(client);
      await client.query('create table public.t (id int primary key)');
    }
    const [s, t] = clients as [pg.Client, pg.Client];
    const [from, to] = servers as [PostgresServer, PostgresServer];
    const id = (n: string): string => pg.escapeIdentifier(n);
    await s.query(`create publication ${id(name.publication)} for table public.t`);
    const conninfo = `host=127.0.0.1 port=${from.port} user=postgres password=${from.password} dbname='${name.database.replaceAll("'", "\\'")}'`;
    await t.query(
      `create subscription ${id(name.subscription)} connection ${pg.escapeLiteral(conninfo)}
         publication ${id(name.publication)} with (slot_name = weird, create_slot = true)`,
    );
    await waitFor('the initial copy', 10_000, async () => {
      const { rows } = await t.query(`select from pg_subscription_rel where srsubstate = 'r'`);
      return rows.length === 1;
    });
    const before = [await s.query<{ line: string }>(catalogSql), await t.query<{ line: string }>(catalogSql)];
    const databases = [from, to].map((server, n) =>
      administered(
        databaseOf(n === 0 ? 'a' : 'b', server, {
          database: name.database,
          user: name.user,
          password: 'gehéim\u00a0"\'',
        }),
        server,
      ),
    );
    const [a, b] = databases as [Administered, Administered];
    const link = { flows: [name.subscription] };
    const { last } = await rounds(() => setupOnce(databases, [linkOf('forward', a.config, b.config, link)]));
    expect(waiting(last)).toEqual([]);
    await s.query(`insert into lockgate.heartbeat values ('d', 'shop/forward', 'r', 1, now())`);
    await waitFor(
      'the heartbeat',
      10_000,
      async () => (await t.query('select from lockgate.heartbeat')).rowCount === 1,
    );
    // The script is for the same things: run over a finished setup it changes nothing, over a bare server it makes them.
    const named = [linkOf('forward', a.config, b.config, { ...link, publication: name.publication })];
    // The script grants CONNECT in any case; setup finds that everybody has it.
    const lines = (r: { rows: { line: string }[] }): string[] =>
      r.rows.map((x) => x.line).filter((l) => !/^(role Lock|database )/.test(l));
    const done = [await s.query<{ line: string }>(catalogSql), await t.query<{ line: string }>(catalogSql)];
    for (const [n, client] of [s, t].entries()) {
      const script = grants(databases[n]!.config, named)
        .map((step) => step.sql)
        .join('\n');
      await client.query(script);
      expect(lines(await client.query(catalogSql))).toEqual(lines(done[n]!));
      expect(script).not.toContain('gehéim');
    }
    const { last: gone } = await rounds(() => teardownOnce(databases, named));
    expect(waiting(gone)).toEqual([]);
    for (const [n, client] of [t, s].entries()) {
      await client.query(
        grants(databases[1 - n]!.config, named)
          .map((step) => step.sql)
          .join('\n'),
      );
    }
    expect(waiting((await rounds(() => setupOnce(databases, named))).last)).toEqual([]);
    await rounds(() => teardownOnce(databases, named));
    expect(lines(await s.query(catalogSql))).toEqual(lines(before[0]!));
    expect(lines(await t.query(catalogSql))).toEqual(lines(before[1]!));
  });
});

describe('replication both ways', () => {
  let cleanups: (() => Promise<void>)[] = [];
  afterEach(async () => {
    for (const each of cleanups) await each();
    cleanups = [];
  });

  async function both(
    source: number,
    target: number,
    origin: 'any' | 'none',
    back = 'for table public.orders',
  ): Promise<{
    pair: Pair;
    databases: Administered[];
    links: ReturnType<typeof linkOf>[];
  }> {
    const pair = await startPair({ source, target });
    cleanups.push(() => pair.destroy());
    const onprem = databaseOf('onprem', pair.source);
    const aws = databaseOf('aws', pair.target);
    await pair.onTarget(`create publication back_pub ${back}`);
    const with_ = source >= 16 ? `, origin = ${origin}` : '';
    await pair.onSource(`create subscription back_sub connection
      'host=127.0.0.1 port=${pair.target.port} dbname=app user=postgres password=${pair.target.password}'
      publication back_pub with (copy_data = false${with_})`);
    if (origin === 'none') await pair.onTarget('alter subscription shop_sub set (origin = none)');
    return {
      pair,
      databases: [administered(onprem, pair.source), administered(aws, pair.target)],
      links: [linkOf('forward', onprem, aws), linkOf('reverse', aws, onprem, { flows: ['back_sub'] })],
    };
  }

  async function roundTrip(pair: Pair): Promise<void> {
    const write = `insert into lockgate.heartbeat values ('d', $1, 'r', 1, now())`;
    await pair.onSource(write, ['shop/forward']);
    await pair.onTarget(write, ['shop/reverse']);
    for (const run of [pair.onSource, pair.onTarget]) {
      await waitFor('both heartbeats', 10_000, async () => (await run('select from lockgate.heartbeat')).length === 2);
    }
    await pair.onSource(`update lockgate.heartbeat set seq = seq + 1 where link = 'shop/forward'`);
    await pair.settled();
    await sleep(300);
    // Neither has stopped on a row of its own that came back.
    const workers = `select from pg_stat_subscription where pid is not null and relid is null`;
    expect([(await pair.onSource(workers)).length, (await pair.onTarget(workers)).length]).toEqual([1, 1]);
    expect(pair.applyFailures()).toBe(0);
    const rows = `select link, seq from lockgate.heartbeat order by 1`;
    expect(await pair.onTarget(rows)).toEqual(await pair.onSource(rows));
  }

  test('works by row filters where nothing else tells the directions apart (18)', async () => {
    const { pair, databases, links } = await both(18, 18, 'any');
    const { count, last } = await rounds(() => setupOnce(databases, links));
    expect(waiting(last)).toEqual([]);
    expect(count).toBeLessThanOrEqual(3);
    await roundTrip(pair);
    expect(waiting((await rounds(() => teardownOnce(databases, links))).last)).toEqual([]);
  });

  test('a link back that comes later gets the first one its filter before anything can go round', async () => {
    const { pair, databases, links } = await both(18, 18, 'any');
    await rounds(() => setupOnce(databases, links.slice(0, 1)));
    const reports = await setupOnce(databases.slice(1), links);
    expect(waiting(reports).join()).toMatch(/publication of shop\/forward must get its row filter first/);
    expect(waiting((await rounds(() => setupOnce(databases, links))).last)).toEqual([]);
    await roundTrip(pair);
  });

  test('works by origin = none, also for all tables, whose direction rows stay where they are (18)', async () => {
    const { pair, databases, links } = await both(18, 18, 'none', 'for all tables');
    await rounds(() => setupOnce(databases, links.slice(0, 1)));
    expect(waiting((await rounds(() => setupOnce(databases, links))).last)).toEqual([]);
    await roundTrip(pair);
    await pair.onTarget(`insert into lockgate.direction values ('shop', 1, 'reverse')`);
    await pair.onSource(`insert into lockgate.direction values ('shop', 2, 'forward')`);
    await sleep(500);
    expect(await pair.onSource('select epoch from lockgate.direction')).toEqual([{ epoch: '2' }]);
    expect(await pair.onTarget('select epoch from lockgate.direction')).toEqual([{ epoch: '1' }]);
    await pair.onTarget(`update lockgate.heartbeat set seq = 99 where link = 'shop/reverse'`);
    await waitFor('the update', 10_000, async () => {
      return (await pair.onSource(`select from lockgate.heartbeat where seq = 99`)).length === 1;
    });
  });

  test('is refused for all tables without origin = none (18), and on 13, before anything is changed', async () => {
    const first = await both(18, 18, 'any', 'for all tables');
    await rounds(() => setupOnce(first.databases, first.links.slice(0, 1)));
    await expect(rounds(() => setupOnce(first.databases, first.links))).rejects.toMatchObject({ code: 'ping_pong' });
    const old = await both(13, 13, 'any');
    await expect(setupOnce(old.databases, old.links)).rejects.toMatchObject({ code: 'ping_pong' });
    expect(await old.pair.onSource(`select from pg_namespace where nspname = 'lockgate'`)).toEqual([]);
  });
});

describe('a physical standby (18)', () => {
  test('gets everything from its primary, its own user included', async () => {
    const pair = await startPhysicalPair();
    try {
      const a = databaseOf('a', pair.primary, { user: 'gate_a' });
      const b = databaseOf('b', pair.standby, { user: 'gate_b' });
      const databases = [administered(a, pair.primary), administered(b, pair.standby)];
      const links = [linkOf('forward', a, b, { via: 'postgres-physical', flows: ['standby'] })];
      const { last } = await rounds(() => setupOnce(databases, links));
      expect(waiting(last)).toEqual([]);
      await pair.settled();
      expect(await pair.onTarget(`select rolname from pg_roles where rolname like 'gate%' order by 1`)).toHaveLength(2);
      expect(grants(b, links)).toHaveLength(1);
      await rounds(() => teardownOnce(databases, links));
      expect(await pair.onSource(`select from pg_namespace where nspname = 'lockgate'`)).toEqual([]);
      const lost = [linkOf('forward', b, a)];
      await expect(setupOnce(databases.slice(1), lost)).rejects.toMatchObject({ code: 'in_recovery' });
    } finally {
      await pair.destroy();
    }
  });
});
