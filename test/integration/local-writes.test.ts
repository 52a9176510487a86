import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { connect } from '../../collectors/postgres/connection.js';
import { gapIsEmpty, lookLocally } from '../../collectors/postgres/local-proof.js';
import { parseLsn } from '../../daemon/core/position.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { startPostgres } from '../../deploy/demo/postgres-server.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { databaseAt } from '../support/listening.js';
import { LocalBench } from '../support/local-bench.js';
import { testedMajors } from '../support/majors.js';
import { database, open, startPair, type Pair } from '../support/pair.js';
import { startPhysicalPair } from '../support/physical-pair.js';
import { startProxy } from '../support/proxy.js';

const reader = { name: 'lg', password: 'lg' };
const poor = { name: 'lg_poor', password: 'lg_poor' };

describe.each(testedMajors)('local writes on PostgreSQL %i', (major) => {
  let pair: Pair;
  let bench: LocalBench;

  beforeAll(async () => {
    pair = await startPair({
      source: major,
      target: major,
      settings: { max_prepared_transactions: '5' },
      targetSettings: { track_commit_timestamp: 'on' },
    });
    await pair.onTarget(`create role lg login replication password 'lg'; create role lg_poor login password 'lg_poor';
      create schema lockgate; create table lockgate.heartbeat (daemon text, link text, run text, seq bigint,
        sent_at timestamptz, primary key (daemon, link, run));
      create table lockgate.direction (migration text primary key, epoch bigint);
      create table public.awsdms_status (n int); create table public.plain (id serial primary key, note text);
      create table public.parts (n int) partition by range (n);
      create table public.parts_1 partition of public.parts for values from (0) to (1000);
      create materialized view public.totals as select 1 as id, count(*) as n from public.plain;
      create unique index on public.totals (id);
      create materialized view public.once as select 1 as id;
      create schema "we""ird. schema"; create table "we""ird. schema"."ta: ble, x" (n int)`);
    bench = benchOf();
    bench.start();
    await bench.reads('0', 20_000);
  });
  afterAll(async () => {
    await bench.stop();
    await pair.destroy();
  });
  afterEach(async () => {
    await bench.confirmed(20_000);
    bench.reconcile();
    await bench.reads('0');
  });

  const target = (who = reader, read: DatabaseConfig['read'] = 'auto'): DatabaseConfig => ({
    ...databaseAt('aws', pair.daemonUrl('target'), who),
    read,
  });
  const benchOf = (db = target(), daemon = 'test'): LocalBench => new LocalBench(db, daemon);

  it.each([
    ['a row', `insert into public.plain (note) values ('x')`],
    ['an update of many', `update public.orders set note = 'COMMIT 1 (at now)' where id < 50`],
    ['a delete', `delete from public.orders where id = 1`],
    ['a truncate of two tables', `truncate public.plain, "we""ird. schema"."ta: ble, x"`],
    ['an odd name', `insert into "we""ird. schema"."ta: ble, x" values (1)`],
    ['a partition', `insert into public.parts values (1)`],
    [
      'rows that look like the end',
      `insert into public.plain (note) values (E'\\nCOMMIT 1 (at 2020-01-01 00:00:00+00)')`,
    ],
    [
      'a huge row',
      `insert into public.plain (note) select string_agg(md5(n::text), '') from generate_series(1, 300000) n`,
    ],
    [
      'lockgate and more',
      `with d as (insert into lockgate.heartbeat values ('a', 'b', 'c', 1, now())) delete from public.plain`,
    ],
    ['do block', `do $$ begin insert into public.plain (note) values ('x'); end $$`],
  ])('%s is one stray write, seen within a second and with its position', async (name, sql) => {
    await pair.onTarget(`insert into public.plain (note) values ('something to delete')`);
    await bench.reads('1');
    bench.reconcile();
    await bench.confirmed();
    const client = await open(pair.target);
    await client.query(sql);
    const [begun, wall] = [performance.now(), Date.now()];
    const [row] = await pair.onTarget<{ lsn: string }>('select pg_current_wal_flush_lsn()::text as lsn');
    await bench.reads('1', 5_000);
    // Its 10 MB pass through the proxy first.
    expect(performance.now() - begun).toBeLessThan(name === 'a huge row' ? 2_000 : 1_000);
    const { firstPosition, firstAt } = bench.memory;
    expect(parseLsn(firstPosition!)).toBeLessThanOrEqual(parseLsn(row!.lsn));
    expect(parseLsn(row!.lsn) - parseLsn(firstPosition!)).toBeLessThan(100_000n);
    expect(Math.abs(firstAt! - wall)).toBeLessThan(1_500);
    expect(bench.local.writes.value).toBeGreaterThan(0);
    await client.query('rollback');
    await client.end();
    // Nothing of a row is kept anywhere.
    expect(JSON.stringify(bench.seen, (_, v: unknown) => (typeof v === 'bigint' ? '' : v))).not.toMatch(
      /COMMIT|note|plain/,
    );
  });

  it('what is committed without waiting for its flush is not taken for seen before it is sent', async () => {
    await pair.onTarget(`alter system set wal_writer_delay = '2s'`);
    await pair.onTarget('select pg_reload_conf()');
    const client = await open(pair.target);
    await client.query('set synchronous_commit = off');
    try {
      for (let n = 1; n <= 3; n++) {
        await client.query(`insert into public.plain (note) values ('not flushed')`);
        await bench.confirmed();
        expect(bench.memory.count).toBe(n);
      }
    } finally {
      await client.end();
      await pair.onTarget('alter system reset wal_writer_delay');
      await pair.onTarget('select pg_reload_conf()');
    }
  });

  it('subtransactions and what was spilled to disk are seen, each transaction once', async () => {
    const client = await open(pair.target);
    await client.query(`begin; savepoint a; insert into public.plain (note) values ('kept'); release a; savepoint b;
      insert into public.plain (note) select 'undone' from generate_series(1, 10); rollback to b; commit`);
    await bench.reads('1');
    await client.query(`begin; savepoint a; delete from public.plain; rollback to a; commit`);
    // Beyond logical_decoding_work_mem, and with more subtransactions than a backend shows to others.
    await client.query('create table public.spilled (note text)');
    await client.query(`do $$ begin for n in 1..100 loop begin
      insert into public.spilled select repeat('x', 1000) from generate_series(1, 1000);
      exception when others then null; end; end loop; end $$`);
    await client.end();
    await bench.confirmed(20_000);
    expect(bench.memory.count).toBe(2);
  });

  it('a table that has got the name of a materialized view is one', async () => {
    await pair.onTarget('drop materialized view public.once; create table public.once (id int)');
    await bench.confirmed();
    expect(bench.memory.count).toBe(0);
    await pair.onTarget('insert into public.once values (1)');
    await bench.reads('1');
  });

  it('COPY is a stray write', async () => {
    const client = await open(pair.target);
    await client.query(`copy public.plain (note) from program 'echo hello'`);
    await bench.reads('1');
    await client.end();
  });

  it('a prepared transaction counts at its commit, and not when it is rolled back', async () => {
    const client = await open(pair.target);
    await client.query(`begin; insert into public.plain (note) values ('p'); prepare transaction 'one'`);
    await client.query(`begin; insert into public.plain (note) values ('q'); prepare transaction 'two'`);
    await bench.confirmed();
    await bench.reads('0');
    await client.query(`rollback prepared 'two'`);
    await bench.confirmed();
    await bench.reads('0');
    await client.query(`commit prepared 'one'`);
    await bench.reads('1');
    await client.end();
  });

  it('what is rolled back, and what changes no rows of the application, is none', async () => {
    await pair.onTarget(`insert into public.plain (note) values ('changes the totals')`);
    await bench.reads('1');
    bench.reconcile();
    const statements = [
      `begin; insert into public.plain (note) values ('x'); rollback`,
      `insert into lockgate.heartbeat values ('other', 'shop/reverse', 'r', 1, now())`,
      `update lockgate.heartbeat set seq = 2`,
      `delete from lockgate.heartbeat`,
      `insert into public.awsdms_status values (1)`,
      `select nextval('public.plain_id_seq')`,
      `select setval('public.plain_id_seq', 1000)`,
      'analyze',
      'vacuum',
      'create table public.made (n int)',
      'create index on public.made (n)',
      'alter table public.made add column m int default 7',
      'drop table public.made',
      'create temp table gone (n int); insert into gone values (1)',
      'create unlogged table public.fast (n int); insert into public.fast values (1); drop table public.fast',
      `select pg_logical_emit_message(true, 'x', 'table public.plain: INSERT: id[integer]:1')`,
      'create materialized view public.mv as select 1 as id, random() as n from public.orders limit 1',
      'create unique index on public.mv (id)',
      'refresh materialized view public.mv',
      'refresh materialized view concurrently public.mv',
      'refresh materialized view concurrently public.totals',
      'drop materialized view public.mv',
      'checkpoint',
    ];
    for (const sql of statements) {
      // What a name stood for can only be asked while it is there.
      if (sql.startsWith('drop materialized')) await bench.confirmed();
      await pair.onTarget(sql);
      await sleep(major >= 14 ? 20 : 100);
      expect(bench.memory.count, sql).toBe(0);
    }
    await bench.confirmed();
    expect(bench.state).toBe('0');
    expect(bench.memory.count).toBe(0);
  });

  it('what replication brings is none, copies of new tables included', async () => {
    for (let n = 0; n < 3; n++) await pair.arrived(await pair.placeOrder());
    await pair.bulk(5_000);
    const create = 'create table public.later (id int primary key)';
    await pair.onTarget(`${create}; create table public.later_parts (n int primary key) partition by range (n);
      create table public.later_parts_1 partition of public.later_parts for values from (0) to (1000000)`);
    await pair.onSource(`${create}; insert into public.later select generate_series(1, 20000);
      create table public.later_parts (n int primary key) partition by range (n);
      create table public.later_parts_1 partition of public.later_parts for values from (0) to (1000000);
      insert into public.later_parts select generate_series(1, 10);
      grant select on all tables in schema public to replicator;
      alter publication shop_pub add table public.later, public.later_parts`);
    await pair.onTarget('alter subscription shop_sub refresh publication');
    await waitFor('the copy', 20_000, async () => {
      return (await pair.onTarget(`select from pg_subscription_rel where srsubstate <> 'r'`)).length === 0;
    });
    await pair.onSource(
      'update public.later set id = -id; delete from public.orders where id > 2000; truncate public.later',
    );
    await pair.settled();
    await bench.confirmed();
    expect(bench.state).toBe('0');
    // Once a table is ready, rows that are put into it here do count.
    await pair.onTarget('insert into public.later values (1)');
    await bench.reads('1');
    await pair.onTarget('delete from public.later');
    await bench.reads('2');
  });

  it('a row put into a table that is about to be copied is not taken for the copy', async () => {
    await pair.onTarget('create table public.filled (id int primary key)');
    await pair.onSource(`create table public.filled (id int primary key);
      insert into public.filled select generate_series(1, 1000); grant select on public.filled to replicator`);
    const source = await open(pair.source);
    await source.query('alter publication shop_pub add table public.filled');
    try {
      // The copy needs a slot, which waits for the end of this write transaction.
      await source.query('begin; select txid_current()');
      await pair.onTarget('alter subscription shop_sub refresh publication');
      await pair.onTarget('insert into public.filled values (-1)');
      await bench.confirmed();
    } finally {
      await source.query('commit');
      await source.end();
    }
    await waitFor('the copy', 20_000, async () => {
      return (await pair.onTarget(`select from pg_subscription_rel where srsubstate <> 'r'`)).length === 0;
    });
    await bench.confirmed();
    expect(bench.state).toBe('1');
  });

  it('a write while the reader was down is not none', async () => {
    const pid = await readerPid();
    bench.seen.length = 0;
    await pair.onTarget('select pg_terminate_backend($1)', [pid]);
    await pair.onTarget(`insert into public.plain (note) values ('unseen')`);
    await waitFor('the loss', 5_000, () => bench.seen.some((o) => o.kind === 'local-watch' && !o.watching));
    await bench.confirmed();
    // Either it was read by a stream that had already begun again, or nobody knows.
    expect(['unknown', '1', '>=1']).toContain(bench.state);
    await bench.stop();
    bench.reconcile();
    await pair.onTarget(`insert into public.plain (note) values ('unseen')`);
    bench.start();
    await bench.confirmed();
    expect(bench.state).toBe('unknown');
    expect(bench.reading.reason).toMatch(
      /not watched from .* to .* \(lockgate was not running\).*stray-writes-reconciled/,
    );
    await pair.onTarget(`insert into public.plain (note) values ('seen')`);
    await bench.reads('>=1');
  });

  it.runIf(major >= 14)('the server itself shows that nothing was written meanwhile', async () => {
    // How far back the server remembers is known from its last checkpoint.
    await pair.onTarget('checkpoint');
    await pair.onTarget('alter table public.orders set (autovacuum_enabled = off)');
    await bench.confirmed();
    await bench.confirmed();
    await bench.stop();
    for (let n = 0; n < 3; n++) await pair.arrived(await pair.placeOrder());
    bench.start();
    await bench.confirmed();
    await bench.reads('0');
    // And that something was.
    await bench.confirmed();
    await bench.stop();
    await pair.onTarget(`insert into public.plain (note) values ('unseen')`);
    bench.start();
    await bench.confirmed();
    expect(bench.state).toBe('unknown');
  });

  it.runIf(major >= 14)('a server that was set back shows nothing', async () => {
    await pair.onTarget('checkpoint');
    const connection = await connect(target(), { applicationName: 'lockgate/test' });
    try {
      const look = await lookLocally(connection, 5_000);
      const mark = (xmin: bigint): string =>
        JSON.stringify({ ...(JSON.parse(look.mark!) as object), xmin: String(xmin) });
      expect(await gapIsEmpty(connection, mark(look.xmax), look, 5_000)).toBe(true);
      expect(await gapIsEmpty(connection, mark(look.xmax + 1_000n), look, 5_000)).toBe(false);
    } finally {
      await connection.close();
    }
  });

  it('two daemons do not see each other', async () => {
    const other = benchOf(target(), 'other');
    other.start();
    await other.reads('0', 20_000);
    for (let n = 0; n < 5; n++) {
      await pair.onTarget(`insert into lockgate.heartbeat values ('other', 'shop/reverse', $1, 1, now())`, [`r${n}`]);
    }
    await Promise.all([bench.confirmed(), other.confirmed()]);
    expect([bench.state, other.state]).toEqual(['0', '0']);
    await pair.onTarget(`insert into public.plain (note) values ('x')`);
    await Promise.all([bench.reads('1'), other.reads('1')]);
    await other.stop();
  });

  it('is not watched while it is active, and not stray when it becomes so by its own row of direction', async () => {
    const client = await open(pair.target);
    await client.query(`insert into public.plain (note) values ('stray')`);
    await client.query(`insert into lockgate.direction values ('shop', 1)`);
    for (let n = 0; n < 20; n++) await client.query(`insert into public.plain (note) values ('production')`);
    await waitFor('the change', 5_000, () => bench.touched === 1);
    await bench.confirmed();
    bench.promote();
    expect(bench.memory.count).toBe(1);
    expect(bench.local.writes.value).toBeGreaterThan(0);
    await waitFor('the slot to be gone', 5_000, async () => (await slots()).length === 0);
    await client.query(`insert into public.plain (note) values ('production')`);
    await client.query('delete from lockgate.direction');
    await client.end();
    // Back again: what is written before the reader is there was not seen.
    bench.rollback();
    await bench.confirmed(15_000);
    expect(bench.memory.count).toBe(1);
    expect(bench.state).toBe('>=1');
    expect(bench.reading.reason).toMatch(/carries production writes/);
  });

  it('a direction that is unknown for a while leaves no gap', async () => {
    await bench.confirmed();
    bench.turn({ direction: 'unknown', reason: 'the other side is away' });
    await sleep(1_500);
    await bench.confirmed();
    bench.turn({ direction: 'forward', epoch: 2, changedAt: null });
    bench.turn(bench.direction);
    await bench.confirmed();
    await bench.reads('0');
  });

  it('keeps no WAL back and leaves nothing behind', async () => {
    await pair.bulk(20_000);
    await pair.settled();
    await bench.confirmed();
    await bench.confirmed();
    const [row] = await pair.onTarget<{ behind: string }>(
      `select pg_current_wal_flush_lsn() - confirmed_flush_lsn as behind from pg_replication_slots where slot_name like 'lockgate%'`,
    );
    expect(Number(row!.behind)).toBeLessThan(100_000);
    await bench.stop();
    await waitFor('the slot to be gone', 5_000, async () => (await slots()).length === 0);
    expect(await pair.onTarget(`select 1 from pg_stat_activity where application_name like 'lockgate/%'`)).toEqual([]);
    bench.start();
    await bench.confirmed(15_000);
  });

  it('a restart of the server hides no write', async () => {
    await pair.target.stop();
    await waitFor('the loss', 5_000, () => bench.state === 'unknown');
    await pair.target.start();
    await pair.onTarget(`insert into public.plain (note) values ('perhaps before the reader is back')`);
    await bench.confirmed(30_000);
    expect(['unknown', '1', '>=1']).toContain(bench.state);
  });

  it('a frozen network is no longer watched within seconds', async () => {
    await bench.confirmed();
    pair.targetProxy.freeze();
    try {
      await waitFor('the doubt', 6_000, () => bench.state === 'unknown' || bench.state === 'stale');
    } finally {
      pair.targetProxy.thaw();
    }
    await bench.confirmed(30_000);
  });

  it('a stream from one server is not confirmed by another', async () => {
    const upstream = { host: '127.0.0.1', port: pair.target.port };
    const proxy = await startProxy(upstream);
    const url = new URL(pair.target.adminUrl(database));
    url.port = String(proxy.port);
    const wandering = benchOf({ ...databaseAt('aws', url.href), read: 'auto' }, 'wandering');
    try {
      wandering.start();
      await wandering.reads('0', 20_000);
      upstream.port = pair.source.port;
      await pair.onTarget(`select pg_terminate_backend(pid) from pg_stat_activity
        where application_name = 'lockgate/wandering/local' and backend_type = 'client backend'`);
      await waitFor('the reason', 5_000, () =>
        wandering.seen.some((o) => o.kind === 'local-watch' && /not the one that answers/.test(o.reason ?? '')),
      );
      await wandering.confirmed(20_000);
      expect(wandering.state).toBe('unknown');
    } finally {
      await wandering.stop();
      await proxy.close();
    }
  });

  it('says what it lacks', async () => {
    const without = benchOf(target(poor));
    without.start();
    await waitFor('the reason', 10_000, () => /REPLICATION/.test(without.reading.reason ?? ''));
    expect(without.state).toBe('unknown');
    expect(without.reading.reason).toMatch(/ALTER ROLE "lg_poor" REPLICATION/);
    expect(without.local.writes.reason).toMatch(/ALTER ROLE "lg_poor" REPLICATION/);
    await without.stop();
    const off = benchOf(target(reader, 'off'));
    off.start();
    await waitFor('the reason', 5_000, () => /read: off/.test(off.reading.reason ?? ''));
    await off.stop();
  });

  async function slots(): Promise<unknown[]> {
    return pair.onTarget(`select 1 from pg_replication_slots where slot_name like 'lockgate%'`);
  }

  async function readerPid(): Promise<number> {
    const [row] = await pair.onTarget<{ active_pid: number }>(
      `select active_pid from pg_replication_slots where slot_name like 'lockgate_test_local_%'`,
    );
    return row!.active_pid;
  }
});

describe('local writes where the server is not fit (18)', () => {
  it('gives way where few slots are left, and says so', async () => {
    const server = await startPostgres({ database, settings: { max_replication_slots: '2' } });
    const bench = new LocalBench({ ...databaseAt('aws', server.adminUrl(database)), read: 'auto' });
    try {
      bench.start();
      await waitFor('the reason', 10_000, () => /fewer than 2 replication slots/.test(bench.reading.reason ?? ''));
    } finally {
      await bench.stop();
      await server.destroy();
    }
  });

  it('an open write transaction that holds the slot up is named', { timeout: 180_000 }, async () => {
    const server = await startPostgres({ database });
    const bench = new LocalBench({ ...databaseAt('aws', server.adminUrl(database)), read: 'auto' });
    const client = new pg.Client({ connectionString: server.adminUrl(database) });
    await client.connect();
    try {
      await client.query('create table t (n int); begin; insert into t values (1)');
      bench.start();
      await waitFor('the reason', 20_000, () => /in a write transaction/.test(bench.reading.reason ?? ''));
      await client.query('commit');
      await bench.confirmed(20_000);
      await bench.reads('0');
    } finally {
      await client.end();
      await bench.stop();
      await server.destroy();
    }
  });

  it('a standby takes no writes, and is watched from its promotion on', { timeout: 180_000 }, async () => {
    const cluster = await startPhysicalPair({ major: 18 });
    const bench = new LocalBench({ ...databaseAt('aws', cluster.daemonUrl('target')), read: 'auto' });
    try {
      bench.start();
      await bench.reads('0');
      // Under logical replication a standby is not the target itself, whose writes would not be seen here.
      const other = new LocalBench({ ...databaseAt('aws', cluster.daemonUrl('target')), read: 'auto' }, 'test', false);
      other.start();
      await waitFor('the reason', 5_000, () => /this is a standby/.test(other.reading.reason ?? ''));
      expect(other.state).toBe('unknown');
      await other.stop();
      await cluster.placeOrder();
      await cluster.standby.stop();
      await waitFor('the loss', 5_000, () => bench.state === 'unknown');
      await cluster.standby.start();
      await bench.reads('0', 20_000);
      await cluster.promote();
      await waitFor('the slot', 15_000, async () => {
        return (
          (await cluster.onTarget(`select 1 from pg_replication_slots where slot_name like 'lockgate%'`)).length > 0
        );
      });
      await bench.confirmed(15_000);
      expect(bench.reading.reason).toMatch(/was a standby and has been promoted/);
      await cluster.onTarget('delete from public.orders where id = 1');
      await bench.reads('>=1');
    } finally {
      await bench.stop();
      await cluster.destroy();
    }
  });
});
