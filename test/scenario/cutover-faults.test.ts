import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { setTimeout as sleep } from 'node:timers/promises';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { session } from '../support/cutover-postgres.js';
import { everyMajor } from '../support/cutover-everywhere.js';
import { PostgresNight } from '../support/postgres-night.js';

describe('fences that must not drain, 18 -> 18, both ways', { timeout: 180_000 }, () => {
  let night: PostgresNight;
  let began: number;

  beforeAll(async () => {
    night = await PostgresNight.start({ bothWays: true, second: true, settings: { max_prepared_transactions: '5' } });
  }, 120_000);
  afterEach(() => night.tidy());
  afterAll(() => night.stop(), 60_000);

  const place = async (deadline?: string): Promise<string> => {
    began = performance.now();
    return (await night.operator.fence(deadline)).id;
  };

  it('healthy, as a control: drains at once, and stays so', async () => {
    const note = await night.order();
    const id = await place();
    await night.until(id, 'drained', 3_000);
    expect(await night.has('target', note)).toBe(true);
    await night.timeline.of('drained').until(['open'], 2_000);
    const from = performance.now();
    await sleep(1_000);
    night.timeline.said('drained', from, performance.now(), ['open']);
    expect(await night.told(id)).toEqual(['placed', 'drained']);
  });

  everyMajor(() => night);

  it('a transaction that is prepared on the source and committed then', async () => {
    await night.on('source')(`begin; insert into public.orders (customer_id) values (1); prepare transaction 'late'`);
    const id = await place();
    await night.withheld(id, /prepared transaction 'late'/, 300);
    await night.on('source')(`commit prepared 'late'`);
    const fence = await night.until(id, 'violated', 3_000);
    expect(fence.violations).toMatchObject({ count: 1 });
    night.notGreen(began);
  });

  it.each([
    ['rollback', 'drained'],
    ['commit', 'violated'],
  ] as const)('a write transaction that is open on the source, then %s', async (end, state) => {
    const transaction = await night.pair.openTransaction();
    const id = await place();
    await night.withheld(id, /^onprem: backend \d+ .* is in a write transaction/);
    night.notGreen(began);
    await transaction[end]();
    await night.until(id, state);
    if (end === 'commit') night.notGreen(began);
  });

  it('DDL after the fence: drained, but a promotion is refused until the tables are as they were', async () => {
    const id = await place();
    await night.until(id, 'drained');
    await night.on('source')('alter table public.orders add column extra text');
    const refused = await night.operator.change('promote');
    expect(refused).toMatchObject({ status: 409, body: { code: 'schema_changed' } });
    expect((await night.operator.migration()).direction).toBe('forward');
    await night.on('source')('alter table public.orders drop column extra');
    expect((await night.operator.change('promote')).status).toBe(200);
  });

  it.each([
    ['is taken out of the publication', 'alter publication shop_pub drop table lockgate.heartbeat'],
    [
      'is filtered out of the publication',
      `alter publication shop_pub set table public.customers, public.orders, lockgate.heartbeat where (link = 'none')`,
    ],
  ])('the heartbeat table %s: positions alone do not do', async (_, sql) => {
    const [before] = await night.on('source')<{ qual: string | null }>(
      `select pg_get_expr(prqual, prrelid) as qual from pg_publication_rel r join pg_publication p on p.oid = r.prpubid
        where pubname = 'shop_pub' and prrelid = 'lockgate.heartbeat'::regclass`,
    );
    const filter = typeof before?.qual === 'string' ? ` where (${before.qual})` : '';
    await night.on('source')(sql);
    const note = await night.order();
    const id = await place('3s');
    await waitFor('the order', 5_000, () => night.has('target', note));
    const missing = (await night.withheld(id, /^the marker .* is not on aws yet$/, 1_000)).missing;
    expect(missing).toMatchObject({ flows: [], reasons: [expect.stringMatching(/marker/)] });
    const expired = await night.until(id, 'expired', 5_000);
    expect(expired.missing.reasons).toEqual([expect.stringMatching(/^the marker .* is not on aws yet$/)]);
    night.notGreen(began);
    await night.on('source')(
      `alter publication shop_pub set table public.customers, public.orders, lockgate.heartbeat${filter}`,
    );
    await night.until(await place(), 'drained');
  });

  it.each(['locked', 'disabled'])('a second flow that is %s: the marker comes by the first', async (how) => {
    const locked = how === 'locked';
    const unlock = locked ? await night.pair.lockTable('public.events') : undefined;
    if (!locked) await night.pair.disableSubscription('events_sub');
    await night.on('source')(`insert into public.events (kind) values ('${how}')`);
    const there = () => night.on('target')(`select from public.events where kind = '${how}'`);
    const id = await place();
    const { missing } = await night.withheld(id, /^events_sub lacks \d+ bytes/, 1_000);
    expect(missing.flows).toEqual(['events_sub']);
    expect(missing.reasons.join()).not.toMatch(/marker/);
    night.notGreen(began);
    await unlock?.();
    if (!locked) await night.pair.enableSubscription('events_sub');
    await night.until(id, 'drained');
    expect(await there()).toHaveLength(1);
  });

  it('a flow is dropped right after, with rows outstanding, and made anew past them', async () => {
    await night.pair.disableSubscription('events_sub');
    await night.on('source')(`insert into public.events (kind) values ('lost')`);
    const id = await place('4s');
    await night.withheld(id, /^events_sub lacks/, 300);
    const lost = async () => (await night.on('target')(`select from public.events where kind = 'lost'`)).length === 0;
    await night.on('target')('drop subscription events_sub');
    await night.withheld(id, /^events_sub/, 300);
    const { port } = night.pair.replicationProxy;
    await night.on('target')(`create subscription events_sub
      connection 'host=127.0.0.1 port=${port} dbname=app user=replicator password=replicator'
      publication events_pub with (copy_data = false)`);
    const expired = await night.until(id, 'expired', 6_000);
    expect(await lost()).toBe(true);
    expect(expired.missing.reasons.join('; ')).toMatch(/events_sub|chain/);
    night.notGreen(began);
    await night.attest('continuity-accepted');
    await night.until(await place(), 'drained');
  });

  it('the slot of the flow is dropped right after', async () => {
    const id = await place();
    await night.until(id, 'drained');
    await night.pair.disableSubscription('events_sub');
    await night.pair.dropSlot('events_sub');
    await sleep(200);
    const from = performance.now();
    await night.withheld(id, /^events_sub/, 600);
    night.notGreen(from);
    expect((await night.operator.change('promote')).status).toBe(409);
    await night.on('source')(`select pg_create_logical_replication_slot('events_sub', 'pgoutput')`);
    await night.pair.enableSubscription('events_sub');
    await night.attest('continuity-accepted');
    await sleep(1_000);
  });

  it('what it was drained by survives a crash of the target that applies without flushing', async () => {
    const on = night.on('target');
    const [trigger] = await on<{ name: string }>(
      `select tgname as name from pg_trigger where tgrelid = 'lockgate.heartbeat'::regclass and not tgisinternal`,
    );
    // Nobody on the target commits with a flush from now on: not the marker's trigger, not lockgate, not the WAL writer.
    await on(`alter table lockgate.heartbeat disable trigger ${trigger?.name ?? ''}`);
    await on('revoke insert, update, delete on lockgate.heartbeat from lockgate');
    await on(`alter system set wal_writer_delay = '10s'`);
    await on('select pg_reload_conf()');
    await sleep(700);
    const note = await night.order();
    const id = await place('60s');
    await night.until(id, 'drained');
    // Nothing can be sent once more, so that what the server has is what was durable.
    await night.pair.replicationProxy.cut();
    await night.pair.target.kill();
    await night.withheld(id, /aws/, 300);
    await night.pair.target.start();
    expect(await night.has('target', note)).toBe(true);
    await on('alter system reset wal_writer_delay');
    await on('select pg_reload_conf()');
    await on(`alter table lockgate.heartbeat enable always trigger ${trigger?.name ?? ''}`);
    await on('grant insert, update, delete on lockgate.heartbeat to lockgate');
    await night.pair.replicationProxy.restore();
    await night.until(id, 'drained', 15_000);
    expect((await night.told(id)).slice(0, 2)).toEqual(['placed', 'drained']);
  });

  it('the target restarts while it is drained: unknown, and drained again', async () => {
    const id = await place();
    await night.until(id, 'drained');
    await night.timeline.of('drained').until(['open'], 2_000);
    await night.pair.target.stop('immediate');
    const down = performance.now();
    await night.withheld(id, /aws/, 300);
    await night.timeline.of('drained').until(['unknown'], 4_000);
    const said = performance.now();
    expect(said - down).toBeLessThan(4_000);
    expect((await night.operator.change('promote')).status).toBe(409);
    night.notGreen(said);
    await night.pair.target.start();
    await night.until(id, 'drained', 15_000);
    await night.timeline.of('drained').until(['open'], 3_000);
  });

  it.each(['cut off', 'killed'])('the source is %s between the position and the marker', async (how) => {
    const locker = await session(night.pair, 'source');
    await locker.query('begin; lock table lockgate.heartbeat in exclusive mode');
    began = performance.now();
    const placing = night.operator.post<{ code: string }>('fences', { deadline: '30s' });
    await waitFor('the marker to wait', 3_000, async () => {
      const rows = await night.on('source')(
        `select from pg_stat_activity where application_name like 'lockgate/%/fence' and wait_event_type = 'Lock'`,
      );
      return rows.length > 0;
    });
    if (how === 'killed') await night.pair.source.kill();
    else await night.pair.sourceProxy.cut();
    const { status } = await placing;
    expect(status).toBeGreaterThanOrEqual(400);
    await locker.end().catch(() => undefined);
    if (how === 'killed') await night.pair.source.start();
    else await night.pair.sourceProxy.restore();
    night.notGreen(began);
    const { fence } = await night.operator.migration();
    expect(['closed', 'cancelled', 'expired', 'violated', undefined]).toContain(fence?.state);
    await night.direction('forward');
    await night.until(await place(), 'drained', 15_000);
  });

  it.each(['written to', 'silent'])('the source, %s, is not watched for a while', async (what) => {
    const unlock = await night.pair.lockTable();
    const note = await night.order();
    const id = await place('5s');
    await night.withheld(id, /^shop_sub lacks/, 200);
    await night.pair.sourceProxy.cut();
    await night.withheld(id, /onprem/, 200);
    if (what === 'written to') await night.order();
    await night.pair.sourceProxy.restore();
    await unlock();
    const ended = await waitFor('the fence to end', 8_000, async () => {
      const fence = await night.look(id);
      expect(fence.state).not.toBe('drained');
      return fence.state !== 'placed' && fence;
    });
    // That nothing was written in the gap is not known of the active side either.
    expect(ended.state).toBe('expired');
    expect(ended.unwatched).toHaveLength(1);
    expect(ended.missing.reasons).toContainEqual(expect.stringMatching(/^onprem was not watched from .* to /));
    expect(await night.has('target', note)).toBe(true);
    night.notGreen(began);
  });

  it.each(['placed', 'drained'])(
    'lockgate restarts while the fence is %s, and the source is written to meanwhile',
    async (state) => {
      const unlock = state === 'placed' ? await night.pair.lockTable() : undefined;
      await night.order();
      const id = await place('8s');
      await (unlock === undefined ? night.until(id, 'drained') : night.withheld(id, /^shop_sub lacks/, 200));
      await night.restart(() => night.order());
      const back = performance.now();
      await unlock?.();
      await night.withheld(id, /was not watched|not watched/, 2_000);
      night.notGreen(back);
      expect((await night.operator.change('promote')).status).toBe(409);
    },
  );

  it('lockgate restarts while the fence is drained, and nothing is written: that is not known', async () => {
    const id = await place('8s');
    await night.until(id, 'drained');
    await night.restart();
    const back = performance.now();
    await night.withheld(id, /^onprem was not watched from .* \(lockgate was not running\)/, 1_000);
    night.notGreen(back);
  });

  it('a subscription of another publisher is named, or one that does not exist', async () => {
    await night.on('target')('create database other');
    const elsewhere = night.pair.target.adminUrl('other');
    const { Client } = (await import('pg')).default;
    const other = new Client({ connectionString: elsewhere });
    await other.connect();
    await other.query('create table public.events (id bigint primary key, kind text)');
    await other.query('create publication other_pub for table public.events');
    await other.query(`select pg_create_logical_replication_slot('foreign_sub', 'pgoutput')`);
    await night.on('target')(`create subscription foreign_sub
      connection 'host=127.0.0.1 port=${night.pair.target.port} dbname=other user=postgres password=${night.pair.target.password}'
      publication other_pub with (copy_data = false, create_slot = false, slot_name = 'foreign_sub')`);
    const named = (list: string): string => night.yaml.replace('[ shop_sub, events_sub ]', `[ ${list} ]`);
    try {
      for (const [list, reason] of [
        ['shop_sub, no_such_sub', /^no_such_sub: /],
        ['shop_sub, foreign_sub', /^foreign_sub: /],
        ['foreign_sub', /^foreign_sub: /],
      ] as const) {
        night.bed.lockgate.write(named(list));
        night.bed.daemon.signal('SIGHUP');
        await sleep(500);
        await night.direction('forward');
        const id = await place('3s');
        await night.withheld(id, reason, 600);
        const expired = await night.until(id, 'expired', 5_000);
        expect(expired.missing.reasons.join('; ')).toMatch(new RegExp(reason.source.slice(1)));
        night.notGreen(began);
      }
    } finally {
      night.bed.lockgate.write(night.yaml);
      night.bed.daemon.signal('SIGHUP');
      await sleep(500);
      await night.on('target')('alter subscription foreign_sub disable');
      await night.on('target')('alter subscription foreign_sub set (slot_name = none)');
      await night.on('target')('drop subscription foreign_sub');
      await other.end();
    }
    await night.direction('forward');
    await night.until(await place(), 'drained');
  });

  it('with `read: off` nothing can watch the source, and placing is refused with the remedy', async () => {
    await night.restart(undefined, night.yaml.replace('read: on }\n  aws', 'read: off }\n  aws'));
    await night.direction('forward');
    const { status, body } = await night.operator.post<{ code: string; hint: string }>('fences', { deadline: '5s' });
    expect({ status, body }).toMatchObject({ status: 409, body: { code: 'not_watched' } });
    expect(JSON.stringify(body)).toMatch(/set `read: auto`/);
    await night.restart(undefined, night.yaml);
    await night.direction('forward');
    await night.until(await place(), 'drained', 15_000);
  });
});
