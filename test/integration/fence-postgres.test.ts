import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CollectorContext, SidePort } from '../../collectors/collector.js';
import { SampledPositions } from '../../collectors/heartbeat/needs.js';
import { postgresEngine } from '../../collectors/postgres/engine.js';
import { LocalWritesCollector } from '../../collectors/postgres/local-writes.js';
import { PositionsCollector } from '../../collectors/postgres/positions.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import type { DirectionRow } from '../../daemon/core/direction.js';
import { LockgateError } from '../../daemon/core/errors.js';
import type { LocalWatch, LocalWrites, Observation } from '../../daemon/core/observation.js';
import { isBeyond } from '../../daemon/core/position.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { installHeartbeats, startBed } from '../support/heartbeat-bed.js';
import { contextOf, databaseAt, listenTo, planOf, type Listening } from '../support/listening.js';
import { testedMajors } from '../support/majors.js';
import { open, startPair, type Pair } from '../support/pair.js';
import { startPhysicalPair, type PhysicalPair } from '../support/physical-pair.js';

const link = 'shop/forward';
const directionTable = `create table lockgate.direction (migration text primary key, epoch bigint not null,
  direction text not null, changed_at timestamptz, changed_by text, reason text)`;
const roles = `create role lg login password 'lg'; grant pg_read_all_stats to lg;
  create role lg_poor login password 'lg_poor'; grant usage on schema lockgate to lg, lg_poor;
  grant select, insert, update, delete on lockgate.heartbeat to lg; grant select, insert, update on lockgate.direction to lg`;

const within = (ms = 5_000): AbortSignal => AbortSignal.timeout(ms);
let markers = 0;
const newMarker = (): string => `fence-test-${++markers}`;

/** What a call was refused with: its message and what it says to do. */
async function refusal(call: Promise<unknown>): Promise<string> {
  const error: unknown = await call.then(
    () => null,
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(LockgateError);
  return error instanceof LockgateError ? `${error.message}; ${String(error.hint)}` : '';
}

const row = (epoch: number, direction: DirectionRow['direction'], migration = 'shop'): DirectionRow => ({
  ...{ migration, epoch, direction, changedAt: '2026-11-27T10:00:00.000Z', changedBy: 'runbook', reason: "it's time" },
});

describe.each(testedMajors)('fences on PostgreSQL %i', (major) => {
  let pair: Pair;
  let ports: SidePort[] = [];
  let source: SidePort;
  let target: SidePort;

  const portTo = (side: 'source' | 'target', name = 'lg'): SidePort => {
    const db = databaseAt(side, pair.daemonUrl(side), { name, password: name });
    const port = postgresEngine.side(db, contextOf());
    ports.push(port);
    return port;
  };
  const sessions = async (): Promise<number> =>
    (await pair.onSource(`select 1 from pg_stat_activity where application_name = 'lockgate/test/fence'`)).length;

  beforeAll(async () => {
    pair = await startPair({ source: major, target: major, settings: { max_prepared_transactions: '5' } });
    await installHeartbeats(pair);
    for (const on of [pair.onSource, pair.onTarget]) await on(`${directionTable}; ${roles}`);
    source = portTo('source');
    target = portTo('target');
  });
  afterEach(async () => {
    for (const port of ports.slice(2)) await port.close();
    ports = ports.slice(0, 2);
  });
  afterAll(async () => {
    await Promise.all(ports.map((port) => port.close()));
    await pair.destroy();
  });

  it('the position lies between what was committed before and the marker, which arrives on the target', async () => {
    await pair.onSource(`select pg_create_logical_replication_slot('observer', 'test_decoding')`);
    try {
      await pair.onSource(`insert into public.orders (customer_id, note) values (1, 'before')`);
      const marker = newMarker();
      const begun = contextOf().clock.monotonicNow();
      const place = await source.place(link, marker, within());
      await pair.onSource(`insert into public.orders (customer_id, note) values (1, 'after')`);
      expect(place.marked).toBe(true);
      expect(place.askedAt).toBeGreaterThanOrEqual(begun);
      expect(place.at).toBeGreaterThan(place.askedAt);
      const commits = await pair.onSource<{ lsn: string; what: string | null }>(`
        select max(lsn) filter (where data like 'COMMIT%')::text as lsn,
               string_agg(substring(data from 'before|after|fence-test'), '') as what
          from pg_logical_slot_get_changes('observer', null, null) group by xid::text having count(*) > 2 order by 1`);
      const beyond = commits.filter((c) => c.what !== null).map((c) => [c.what, isBeyond(c.lsn, place.position)]);
      expect(beyond).toEqual([
        ['before', false],
        ['fence-test', true],
        ['after', true],
      ]);
      await waitFor('the marker on the target', 5_000, async () => {
        return (await target.lookAtTarget(link, marker, within())).marker;
      });
      expect((await target.lookAtTarget(link, 'fence-another', within())).marker).toBe(false);
      expect((await target.lookAtTarget('shop/reverse', marker, within())).marker).toBe(false);
      expect((await target.lookAtTarget(link, null, within())).marker).toBeNull();
      // A second attempt under the same name would find a marker older than its position.
      expect(await refusal(source.place(link, marker, within()))).toMatch(/place another fence/);
    } finally {
      await pair.onSource(`select pg_drop_replication_slot('observer')`);
    }
  });

  it('an open write transaction may still commit; a reader, an idle one and lockgate itself do not', async () => {
    expect((await source.lookAtSource(within())).open).toEqual([]);
    const [writer, reader, own] = await Promise.all([open(pair.source), open(pair.source), open(pair.source)]);
    try {
      await reader.query('begin; select count(*) from public.orders');
      await own.query(`set application_name = 'lockgate/another/heartbeat'; begin;
        insert into public.orders (customer_id) values (1)`);
      expect((await source.lookAtSource(within())).open).toEqual([]);
      await writer.query(`set application_name = 'shop'; begin; update public.orders set note = 'x' where id = 1`);
      const [only, ...others] = (await source.lookAtSource(within())).open;
      expect(only).toMatch(/^backend \d+ \(postgres, shop\) is in a write transaction for 0 s, idle in transaction$/);
      expect(others).toEqual([]);
      await writer.query('commit');
      expect((await source.lookAtSource(within())).open).toEqual([]);
      // On the target replication writes, and others may prepare what comes after the switch.
      expect((await target.lookAtTarget(link, null, within())).open).toEqual([]);
    } finally {
      await Promise.all([writer.end(), reader.end(), own.end()]);
    }
  });

  it('prepared transactions are named on either side', async () => {
    for (const on of [pair.onSource, pair.onTarget]) {
      await on(`begin; update public.customers set name = name where id = 1; prepare transaction 'half done'`);
    }
    try {
      const said = /^prepared transaction 'half done' \(of postgres\) waits for its end for \d+ s$/;
      expect((await source.lookAtSource(within())).open).toEqual([expect.stringMatching(said)]);
      expect((await target.lookAtTarget(link, null, within())).open).toEqual([expect.stringMatching(said)]);
    } finally {
      for (const on of [pair.onSource, pair.onTarget]) await on(`rollback prepared 'half done'`);
    }
    expect((await source.lookAtSource(within())).open).toEqual([]);
    expect((await target.lookAtTarget(link, null, within())).open).toEqual([]);
  });

  it.runIf(major >= 15)('what a subscription has prepared is named with the subscription', async () => {
    await pair.onSource('create table public.late (n int primary key); grant select on public.late to replicator');
    await pair.onTarget('create table public.late (n int primary key)');
    await pair.onSource('create publication late_pub for table public.late');
    await pair.onTarget(`create subscription late_sub
      connection 'host=127.0.0.1 port=${pair.replicationProxy.port} dbname=app user=replicator password=replicator'
      publication late_pub with (two_phase = true)`);
    try {
      await waitFor('two_phase to be enabled', 20_000, async () => {
        const rows = await pair.onTarget(`select 1 from pg_subscription where subtwophasestate = 'e'`);
        return rows.length === 1;
      });
      await pair.onSource(`begin; insert into public.late values (1); prepare transaction 'both'`);
      const open = await waitFor('it to be prepared on the target', 10_000, async () => {
        const { open } = await target.lookAtTarget(link, null, within());
        return open.length > 0 && open;
      });
      expect(open).toEqual([
        expect.stringMatching(/'pg_gid_\d+_\d+' \(of postgres, prepared by subscription late_sub\)/),
      ]);
      await pair.onSource(`commit prepared 'both'`);
      await waitFor('it to be committed on the target', 10_000, async () => {
        return (await target.lookAtTarget(link, null, within())).open.length === 0;
      });
    } finally {
      await pair.onTarget('drop subscription late_sub');
      await pair.onSource('drop publication late_pub; drop table public.late');
      await pair.onTarget('drop table public.late');
    }
  });

  it('on a source that takes no writes any more there is a position and no marker', async () => {
    const warm = await source.place(link, newMarker(), within());
    expect(warm.marked).toBe(true);
    await pair.onSource('alter database app set default_transaction_read_only = on');
    try {
      const marker = newMarker();
      const place = await source.place(link, marker, within());
      expect(place.marked).toBe(false);
      expect(place.position.kind).toBe('lsn');
      expect(place.at).toBeGreaterThan(place.askedAt);
      expect(await pair.onSource(`select 1 from lockgate.heartbeat where run = '${marker}'`)).toEqual([]);
      expect((await source.lookAtSource(within())).open).toEqual([]);
    } finally {
      // A session that was there before may still write.
      await pair.onSource('begin read write; alter database app reset default_transaction_read_only; commit');
    }
    expect((await source.place(link, newMarker(), within())).marked).toBe(true);
  });

  it('the writer of heartbeats prunes no marker that may be asked for', async () => {
    const daemonId = 'pruner';
    const insert = `insert into lockgate.heartbeat values ('${daemonId}', '${link}', $1, 1, now() - $2::interval)`;
    await pair.onSource(insert, ['old', '1 hour']);
    await pair.onSource(insert, ['fence-open', '23 hours']);
    await pair.onSource(insert, ['fence-forgotten', '25 hours']);
    await pair.settled();
    const bed = startBed(pair, { daemonId });
    try {
      const runs = async (): Promise<string[]> => {
        const rows = await pair.onSource<{ run: string }>('select run from lockgate.heartbeat where daemon = $1', [
          daemonId,
        ]);
        return rows.map((r) => r.run);
      };
      await bed.until('old rows to go', async () => !(await runs()).some((r) => /^old|forgotten$/.test(r)), 20_000);
      expect(await runs()).toContain('fence-open');
      expect(bed.of('watch-fault')).toEqual([]);
      await bed.beats(bed.mark(), 3);
    } finally {
      await bed.stop();
    }
  });

  it('the digest of the schema changes with every change of tables, and with nothing else', async () => {
    await pair.onSource(`create table public.shape (id bigserial primary key, kind text not null, n int);
      create type public.mood as enum ('good', 'bad'); create table public.parted (n int) partition by range (n)`);
    try {
      let last = (await source.stand(within())).schema;
      const unchanged = async (sql: string): Promise<void> => {
        await pair.onSource(sql);
        expect([sql, (await source.stand(within())).schema]).toEqual([sql, last]);
      };
      const changed = async (sql: string): Promise<void> => {
        await pair.onSource(sql);
        const { schema } = await source.stand(within());
        expect(schema, sql).not.toBe(last);
        last = schema;
      };
      await unchanged(`insert into public.shape (kind, n) select 'x', g from generate_series(1, 1000) g`);
      await unchanged('analyze public.shape');
      await unchanged('vacuum full public.shape');
      await unchanged('reindex table public.shape');
      await unchanged(`select nextval('public.shape_id_seq')`);
      await unchanged('truncate public.shape');
      await unchanged('create index on public.shape (kind)');
      await unchanged('create temporary table passing (n int)');
      await unchanged('create view public.seen as select * from public.shape; drop view public.seen');
      await changed('alter table public.shape add column note text');
      await changed('alter table public.shape alter column n type bigint');
      await changed('alter table public.shape alter column kind drop not null');
      await changed('alter table public.shape rename column note to remark');
      await changed('create unique index shape_kind on public.shape (kind)');
      await changed('drop index public.shape_kind; create unique index shape_kind on public.shape (lower(kind))');
      await changed('alter table public.shape drop constraint shape_pkey');
      await changed('alter table public.shape replica identity full');
      await changed('create table public.parted_1 partition of public.parted for values from (0) to (10)');
      await changed('alter table public.parted detach partition public.parted_1');
      await changed(`alter type public.mood add value 'mixed'`);
      await changed('alter table public.shape rename to shapes');
      await changed('alter table public.shapes rename to shape');
      await unchanged('create table lockgate.mine (n int); drop table lockgate.mine');
      expect((await source.place(link, newMarker(), within())).schema).toBe(last);
    } finally {
      await pair.onSource('drop table if exists public.shape, public.shapes, public.parted, public.parted_1');
      await pair.onSource('drop type public.mood');
    }
  });

  it('of two declarations the higher epoch counts, and the table is read back', async () => {
    const first = await target.declare(row(1, 'reverse'), within());
    expect(first).toMatchObject({
      kind: 'direction-rows',
      database: 'target',
      rows: [row(1, 'reverse')],
      reason: null,
    });
    // The same epoch, or a lower one, changes nothing.
    expect((await target.declare(row(1, 'forward'), within())).rows).toEqual([row(1, 'reverse')]);
    expect((await target.declare(row(0, 'forward'), within())).rows).toEqual([row(1, 'reverse')]);
    expect((await target.declare(row(2, 'forward'), within())).rows).toEqual([row(2, 'forward')]);
    const both = await target.declare({ ...row(7, 'reverse', 'crm'), changedAt: null, reason: null }, within());
    expect(both.rows).toHaveLength(2);
    expect(both.rows).toContainEqual({ ...row(7, 'reverse', 'crm'), changedAt: null, reason: null });
    await pair.onTarget('truncate lockgate.direction');
  });

  it('a synchronous standby that does not answer holds no declaration up', async () => {
    await pair.onTarget(`alter system set synchronous_standby_names = 'nobody'`);
    await pair.onTarget('select pg_reload_conf()');
    try {
      const begun = performance.now();
      const answer = await target.declare(row(3, 'reverse'), within(10_000));
      expect(performance.now() - begun).toBeLessThan(4_000);
      expect(answer.rows).toEqual([row(3, 'reverse')]);
      // The marker does not wait for it at all.
      const placed = performance.now();
      expect((await target.place('shop/reverse', newMarker(), within())).marked).toBe(true);
      expect(performance.now() - placed).toBeLessThan(1_000);
    } finally {
      await pair.onTarget('alter system reset synchronous_standby_names');
      await pair.onTarget('select pg_reload_conf()');
      await pair.onTarget('truncate lockgate.direction');
    }
  });

  it('what may not be seen is refused with the grant that mends it, and never taken for nothing', async () => {
    const [poorSource, poorTarget] = [portTo('source', 'lg_poor'), portTo('target', 'lg_poor')];
    expect(await refusal(poorSource.lookAtSource(within()))).toMatch(
      /are hidden; GRANT pg_read_all_stats TO "lg_poor"/,
    );
    expect(await refusal(poorTarget.lookAtTarget(link, 'fence-x', within()))).toMatch(
      /GRANT SELECT ON TABLE lockgate.heartbeat TO "lg_poor"/,
    );
    expect(await refusal(poorSource.place(link, newMarker(), within()))).toMatch(
      /GRANT INSERT ON TABLE lockgate.heartbeat TO "lg_poor"/,
    );
    expect(await refusal(poorTarget.declare(row(1, 'reverse'), within()))).toMatch(
      /GRANT SELECT, INSERT, UPDATE ON TABLE lockgate.direction TO "lg_poor"/,
    );
    await pair.onTarget('alter table lockgate.direction rename to elsewhere');
    expect(await refusal(target.declare(row(1, 'reverse'), within()))).toMatch(/run `lockgate setup`/);
    await pair.onTarget('alter table lockgate.elsewhere rename to direction');
    await pair.onTarget('alter table lockgate.heartbeat enable row level security');
    expect(await refusal(target.lookAtTarget(link, 'fence-x', within()))).toMatch(/DISABLE ROW LEVEL SECURITY/);
    await pair.onTarget('alter table lockgate.heartbeat disable row level security');
  });

  it('calls that come in numbers share a session, and close() leaves none behind', async () => {
    const port = portTo('source');
    await source.close();
    const burst = await Promise.all(Array.from({ length: 50 }, () => port.lookAtSource(within())));
    expect(burst).toHaveLength(50);
    for (let n = 0; n < 40; n++) {
      await Promise.all([port.lookAtSource(within()), port.lookAtTarget(link, 'fence-x', within())]);
      if (n % 10 === 0) await port.stand(within());
      await sleep(50);
      expect(await sessions()).toBeLessThanOrEqual(2);
    }
    // A session that was lost is replaced, once.
    await pair.onSource(
      `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'lockgate/test/fence'`,
    );
    await waitFor('it to answer again', 3_000, () =>
      port.lookAtSource(within()).then(
        () => true,
        () => false,
      ),
    );
    // Closed while it connects.
    await port.close();
    const asked = port.lookAtSource(within()).catch(() => undefined);
    await port.close();
    await asked;
    await waitFor('no session to be left', 3_000, async () => (await sessions()) === 0);
    expect((await port.lookAtSource(within())).open).toEqual([]);
  });

  it('a server that hangs is given up in time', async () => {
    const port = portTo('source');
    await port.lookAtSource(within());
    pair.sourceProxy.freeze();
    try {
      const begun = performance.now();
      const calls = [
        port.lookAtSource(within()),
        port.lookAtSource(within()),
        port.place(link, newMarker(), within(2_000)),
      ];
      for (const call of calls) expect(await refusal(call)).toMatch(/no answer|in time|no session|given up/);
      expect(performance.now() - begun).toBeLessThan(4_000);
    } finally {
      pair.sourceProxy.thaw();
    }
    await waitFor('it to answer again', 5_000, () =>
      port.lookAtSource(within()).then(
        () => true,
        () => false,
      ),
    );
  });

  it('a restart changes no identity', async () => {
    const before = await target.stand(within());
    expect((await target.lookAtTarget(link, null, within())).identity).toBe(before.identity);
    await pair.target.stop();
    expect(await refusal(target.stand(within()))).toMatch(/target/);
    await pair.target.start();
    const after = await waitFor('it to answer again', 10_000, () => target.stand(within()).catch(() => false as const));
    expect(after.identity).toBe(before.identity);
    expect(after.schema).toBe(before.schema);
  });
});

describe.each(testedMajors)('what a fence waits for on PostgreSQL %i', (major) => {
  let pair: Pair;
  let close = false;
  let listening: Listening;

  beforeAll(async () => {
    pair = await startPair({ source: major, target: major });
    await installHeartbeats(pair);
    await pair.onSource(`create role lg superuser replication login password 'lg'; ${directionTable}`);
    await pair.onTarget(`create role lg superuser login password 'lg'`);
  });
  afterEach(async () => {
    close = false;
    await listening.stop();
  });
  afterAll(() => pair.destroy());

  const db = (side: 'source' | 'target', read: DatabaseConfig['read'] = 'auto'): DatabaseConfig => ({
    ...databaseAt(side, pair.daemonUrl(side), { name: 'lg', password: 'lg' }),
    read,
  });
  const context = (): CollectorContext => ({
    ...contextOf(),
    isPassive: (name) => name === 'target',
    watchClosely: (name) => close && name === 'source',
  });
  /** Arrivals of what is said of local writes, with how long after its question or its commit each came, in ms. */
  let arrivals: { o: LocalWatch | LocalWrites; ageMs: number }[] = [];
  const watch = (read?: DatabaseConfig['read']): void => {
    arrivals = [];
    const { clock } = contextOf();
    listening = listenTo(new LocalWritesCollector(db('source', read), context()), (o) => {
      if (o.kind !== 'local-watch' && o.kind !== 'local-writes') return;
      const wall = clock.wallNow();
      const from = o.kind === 'local-watch' ? wall - (clock.monotonicNow() - o.at) / 1_000 : o.writes[0]?.committedAt;
      arrivals.push({ o, ageMs: wall - (from ?? 0) });
    });
  };
  const isWatch = (o: Observation): o is LocalWatch => o.kind === 'local-watch';
  const says = (what: string, fits: (o: LocalWatch) => boolean, timeoutMs?: number): Promise<LocalWatch> =>
    listening.next(what, isWatch, fits, timeoutMs);

  it('the local writes of the active side are watched for as long as a fence asks for it, and confirmed at once', async () => {
    watch();
    await waitFor('the side to be left alone', 3_000, () => {
      return arrivals.some(({ o }) => o.kind === 'local-watch' && /carries production writes/.test(o.reason ?? ''));
    });
    close = true;
    const begun = performance.now();
    await says('that it is watched', (o) => o.watching);
    expect(performance.now() - begun).toBeLessThan(3_000);
    await sleep(2_000);
    const confirmations = arrivals.filter(({ o }) => o.kind === 'local-watch' && o.watching).slice(1);
    expect(confirmations.length).toBeGreaterThan(10);
    const ages = confirmations.map(({ ageMs }) => ageMs).sort((a, b) => a - b);
    expect(ages[Math.floor(ages.length / 2)]).toBeLessThan(100);
    // A write is told before anybody may say that all was seen until after it.
    for (let n = 0; n < 5; n++) {
      arrivals.length = 0;
      await pair.onSource(`insert into public.orders (customer_id) values (1)`);
      const committed = contextOf().clock.monotonicNow();
      await says('that it was seen', (o) => o.watching && o.at > committed, 2_000);
      expect((contextOf().clock.monotonicNow() - committed) / 1_000).toBeLessThan(1_000);
      const told = arrivals.find(({ o }) => o.kind === 'local-writes' || o.at > committed);
      expect(told?.o.kind).toBe('local-writes');
    }
    close = false;
    const ended = await says('that it is left alone again', (o) => !o.watching);
    expect(ended.reason).toMatch(/carries production writes/);
  });

  it('says which transactions a watch waits for before it can begin', async () => {
    const writer = await open(pair.source);
    try {
      await writer.query('begin; insert into public.orders (customer_id) values (1)');
      close = true;
      watch();
      const waiting = await waitFor('the reason', 5_000, () => {
        const found = arrivals.find(
          ({ o }) => o.kind === 'local-watch' && /slot creation waits for/.test(o.reason ?? ''),
        );
        return found?.o as LocalWatch | undefined;
      });
      expect(waiting.watching).toBe(false);
      expect(waiting.reason).toMatch(/write transactions that are open: oldest: backend \d+, idle in transaction/);
      expect(arrivals.some(({ o }) => o.kind === 'local-watch' && o.watching)).toBe(false);
      await writer.query('commit');
      await says('that it is watched', (o) => o.watching, 5_000);
    } finally {
      await writer.end();
    }
  });

  it('with `read: off` nothing is watched, and that is said', async () => {
    close = true;
    watch('off');
    await waitFor('the reason', 3_000, () => {
      return arrivals.some(({ o }) => o.kind === 'local-watch' && /`read: off` for source/.test(o.reason ?? ''));
    });
    await sleep(500);
    expect(arrivals.some(({ o }) => o.kind === 'local-watch' && o.watching)).toBe(false);
  });

  it('applied positions are looked at often while a fence is open, and as usual after it', async () => {
    const plan = planOf(db('source'), db('target'), { via: 'postgres-logical', flows: ['shop_sub'] });
    const needs = new SampledPositions([{ id: plan.id, flows: ['shop_sub'] }]);
    let looks = 0;
    listening = listenTo(new PositionsCollector(db('source'), db('target'), [plan], context(), { needs }), (o) => {
      if (o.kind === 'applied') looks += 1;
    });
    await waitFor('the first look', 5_000, () => looks > 0);
    const during = async (ms: number): Promise<number> => {
      const before = looks;
      await sleep(ms);
      return looks - before;
    };
    expect(await during(2_000)).toBeLessThanOrEqual(3);
    close = true;
    await sleep(150);
    expect(await during(2_000)).toBeGreaterThan(15);
    close = false;
    await sleep(150);
    expect(await during(2_000)).toBeLessThanOrEqual(3);
  });
});

describe.each(testedMajors)('fences on a physical standby of PostgreSQL %i', (major) => {
  let pair: PhysicalPair;
  let source: SidePort;
  let target: SidePort;

  beforeAll(async () => {
    pair = await startPhysicalPair({ major, settings: { max_prepared_transactions: '5' } });
    await pair.onSource(`create schema lockgate; create table lockgate.heartbeat (daemon text, link text, run text,
      seq bigint, sent_at timestamptz, primary key (daemon, link, run)); ${directionTable}; ${roles}`);
    await pair.settled();
    const portTo = (side: 'source' | 'target'): SidePort =>
      postgresEngine.side(databaseAt(side, pair.daemonUrl(side), { name: 'lg', password: 'lg' }), contextOf());
    source = portTo('source');
    target = portTo('target');
  });
  afterAll(async () => {
    await Promise.all([source.close(), target.close()]);
    await pair.destroy();
  });

  it('the marker arrives; the standby takes no marker and no direction, and tells nothing of its primary', async () => {
    const marker = newMarker();
    const place = await source.place(link, marker, within());
    const sight = await waitFor('the marker on the standby', 10_000, async () => {
      const sight = await target.lookAtTarget(link, marker, within());
      return sight.marker === true && sight;
    });
    expect(sight.open).toEqual([]);
    expect(sight.identity).not.toBe(place.identity);
    expect((await target.stand(within())).schema).toBe(place.schema);
    expect((await target.place('shop/reverse', newMarker(), within())).marked).toBe(false);
    expect(await refusal(target.lookAtSource(within()))).toMatch(/this is a standby/);
    expect(await refusal(target.declare(row(1, 'reverse'), within()))).toMatch(
      /promote the database first \(pg_promote\)/,
    );
  });

  it('a promotion changes the identity, and then a direction is taken', async () => {
    const before = (await target.stand(within())).identity;
    await pair.promote();
    const after = await target.stand(within());
    expect(after.identity).not.toBe(before);
    expect(after.identity).not.toBe((await source.stand(within())).identity);
    expect((await target.declare(row(1, 'reverse'), within())).rows).toEqual([row(1, 'reverse')]);
  });
});
