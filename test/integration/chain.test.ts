import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { setTimeout as sleep } from 'node:timers/promises';
import { originStatus } from '../../collectors/postgres/setup/origin-objects.js';
import { sidePlan } from '../../collectors/postgres/setup/side-plan.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { ChainBench } from '../support/chain-bench.js';
import { databaseAt, planOf } from '../support/listening.js';
import { testedMajors } from '../support/majors.js';
import { startPair, type Pair } from '../support/pair.js';

const flows = ['shop_sub', 'events_sub'];
const user = { name: 'lg', password: 'lg' };
const poor = { name: 'lg_poor', password: 'lg_poor' };

describe.each(testedMajors)('the chain of logical replication on PostgreSQL %i', (major) => {
  let pair: Pair;
  let bench: ChainBench;

  beforeAll(async () => {
    // With commit timestamps the target remembers who changed the row of a subscription.
    const targetSettings = { track_commit_timestamp: 'on' };
    pair = await startPair({ source: major, target: major, second: true, targetSettings });
    for (const on of [pair.onSource, pair.onTarget]) {
      await on(`create role lg login password 'lg'; create role lg_poor login password 'lg_poor'`);
    }
    await pair.onTarget(`create schema lockgate; grant usage on schema lockgate to lg`);
    const [from, to] = sides();
    const plan = sidePlan(to, [planOf(from, to, { via: 'postgres-logical', flows })]);
    await pair.onTarget(originStatus(plan, { name: 'lg', password: null, reads: true }).make);
    await pair.onTarget(
      major >= 14
        ? 'grant execute on function pg_replication_origin_progress(text, boolean) to lg'
        : `create function lockgate.origin_progress(name text, flush boolean) returns pg_lsn language sql
             security definer set search_path = pg_catalog as 'select pg_replication_origin_progress($1, $2)'`,
    );
    bench = begin();
    await bench.start();
  });
  afterAll(async () => {
    await bench.stop();
    await pair.destroy();
  });
  afterEach(async () => {
    // Every test leaves a whole pair behind, and whoever accepts what was broken finds the chain whole.
    await pair.settled();
    await bench.looks(3);
    await bench.accept();
    expect(bench.breaks).toEqual([]);
    expect(bench.reading).toMatchObject({ value: 1 });
  });

  const sides = (who = user): [ReturnType<typeof databaseAt>, ReturnType<typeof databaseAt>] => [
    databaseAt('onprem', pair.daemonUrl('source'), who),
    databaseAt('aws', pair.daemonUrl('target'), who),
  ];
  const begin = (who = user): ChainBench => new ChainBench(...sides(who), 'postgres-logical', flows);
  const subscribe = (options: string): Promise<unknown> =>
    pair.onTarget(`create subscription shop_sub connection 'host=127.0.0.1 port=${pair.replicationProxy.port}
      dbname=app user=replicator password=replicator' publication shop_pub with (${options})`);
  /** Moves an order through, so that every position is one that replication has brought about. */
  const trade = async (): Promise<void> => pair.arrived(await pair.placeOrder());
  const slotFree = (): Promise<unknown> =>
    waitFor('the slot to be free', 10_000, async () => {
      const [row] = await pair.onSource(`select from pg_replication_slots where slot_name = 'shop_sub' and not active`);
      return row !== undefined;
    });
  const restored = async (): Promise<void> => {
    await pair.onTarget('drop subscription if exists shop_sub');
    await pair.onTarget('truncate public.orders, public.customers');
    await subscribe('copy_data = true');
    await waitFor('the copy', 20_000, async () => {
      const rows = await pair.onTarget(`select from pg_subscription_rel where srsubstate <> 'r'`);
      return rows.length === 0;
    });
  };

  it('is whole, for both flows, at once', async () => {
    expect(bench.reading).toMatchObject({ value: 1, reason: null });
    await trade();
    await bench.looks(2);
    expect(bench.breaks).toEqual([]);
  });

  it('breaks when a subscription is made anew without copying', async () => {
    await trade();
    await pair.onTarget('drop subscription shop_sub');
    await pair.placeOrder();
    await subscribe('copy_data = false');
    await bench.broken(/subscription shop_sub on aws was made anew: its id changed/);
    await bench.broken(/shop_sub on aws has taken up, without copying their rows, public\.customers, public\.orders/);
    expect(bench.reading).toMatchObject({ value: 0 });
    await bench.accept();
    // The tables stay marked for ever, but that was accepted; a table more is news.
    await pair.onTarget('create table public.extra (id int primary key)');
    await pair.onSource(
      'create table public.extra (id int primary key); alter publication shop_pub add table public.extra',
    );
    await pair.onTarget('alter subscription shop_sub refresh publication with (copy_data = false)');
    expect(await bench.broken(/taken up, without/)).toMatch(/rows, public\.extra$/);
    await pair.onSource('alter publication shop_pub drop table public.extra; drop table public.extra');
    await pair.onTarget('alter subscription shop_sub refresh publication');
    await pair.onTarget('drop table public.extra');
    await restored();
  });

  it('breaks when the slot is dropped, and again when it is made anew', async () => {
    await trade();
    await pair.disableSubscription();
    await pair.dropSlot();
    await bench.broken(/slot shop_sub of shop_sub is missing on onprem/);
    await pair.onSource(`select pg_create_logical_replication_slot('shop_sub', 'pgoutput')`);
    await pair.enableSubscription();
    await trade();
  });

  it('breaks when the slot was dropped and made anew between two looks', async () => {
    await trade();
    await bench.looks(2);
    await bench.stop();
    await pair.disableSubscription();
    await pair.dropSlot();
    await pair.onSource(`select pg_create_logical_replication_slot('shop_sub', 'pgoutput')`);
    await bench.start();
    if (major >= 14) await bench.broken(/slot shop_sub on onprem was made anew: its statistics began again/);
    // For 13, which keeps no statistics of slots.
    await bench.broken(/subscription shop_sub on aws was altered while lockgate was not looking/);
    await pair.enableSubscription();
  });

  it('breaks when the slot is advanced by hand', async () => {
    await trade();
    await pair.disableSubscription();
    await slotFree();
    await bench.looks(3);
    await pair.placeOrder();
    await pair.onSource(`select pg_replication_slot_advance('shop_sub', pg_current_wal_lsn())`);
    await bench.broken(/position of slot shop_sub on onprem moved from .* by hand: its subscription was disabled/);
    await pair.enableSubscription();
  });

  it('breaks when the origin is advanced by hand', async () => {
    await trade();
    await pair.disableSubscription();
    await pair.placeOrder();
    const [row] = await pair.onSource<{ lsn: string }>('select pg_current_wal_lsn()::text as lsn');
    await bench.looks(2);
    await advance(row!.lsn);
    await bench.broken(/position that shop_sub on aws has applied moved from .* by hand: nothing was applied/);
    await pair.enableSubscription();
    await trade();
  });

  it('breaks when the origin was advanced while nobody looked and the subscription was disabled', async () => {
    await trade();
    await pair.disableSubscription();
    await slotFree();
    await bench.looks(3);
    await bench.stop();
    await pair.placeOrder();
    const [row] = await pair.onSource<{ lsn: string }>('select pg_current_wal_lsn()::text as lsn');
    // A restart forgets by which local commit the origin stands where it does.
    await pair.target.stop();
    await pair.target.start();
    await advance(row!.lsn);
    await bench.start();
    await bench.broken(/shop_sub on aws has applied moved from .* by hand: its subscription was disabled all the time/);
    await pair.enableSubscription();
    await trade();
  });

  it('breaks when the origin is set back, and when it stands beyond the source', async () => {
    await trade();
    await pair.disableSubscription();
    const [before] = await pair.onTarget<{ lsn: string }>(
      `select pg_replication_origin_progress('pg_' || oid, true)::text as lsn from pg_subscription where subname = 'shop_sub'`,
    );
    await bench.looks(2);
    await advance('0/100');
    await bench.broken(/durably applied went back from .* to 0\/100/);
    await advance('F/0');
    await bench.broken(/shop_sub on aws stands at a position beyond the WAL of onprem/);
    await advance(before!.lsn);
    await pair.enableSubscription();
    await trade();
  });

  it.runIf(major >= 15)('breaks when a transaction is skipped, and sees it afterwards too', async () => {
    await trade();
    await pair.createApplyConflict();
    await waitFor('apply to fail', 10_000, () => pair.applyFailures() > 0);
    const finish = await waitFor('the failed transaction in the log', 10_000, () => {
      return /finished at ([0-9A-F]+\/[0-9A-F]+)/.exec(pair.target.logTail(200))?.[1];
    });
    await bench.looks(3);
    await bench.stop(); // nobody looks while it is set
    await pair.onTarget(`alter subscription shop_sub skip (lsn = '${finish}')`);
    await waitFor('the skip to be carried out', 15_000, async () => {
      const [row] = await pair.onTarget(
        `select from pg_subscription where subname = 'shop_sub' and subskiplsn = '0/0'`,
      );
      return row !== undefined;
    });
    await bench.start();
    await bench.broken(/shop_sub on aws has skipped a transaction/);
    await bench.accept();
    // One that is set and not yet carried out.
    await pair.disableSubscription();
    await pair.onTarget(`alter subscription shop_sub skip (lsn = 'F/0')`);
    await bench.broken(/ALTER SUBSCRIPTION shop_sub SKIP was set on aws, to skip the transaction at F\/0/);
    await pair.onTarget(`alter subscription shop_sub skip (lsn = none)`);
    await pair.enableSubscription();
    await pair.healApplyConflict();
    await restored();
  });

  it('breaks when the slot has lost WAL', async () => {
    await trade();
    await pair.disableSubscription();
    await slotFree();
    // The other flow's slot is no part of this: the limit comes only once it is far ahead of the one that is left behind.
    const segment = 16 * 1024 * 1024;
    await waitFor('the other slot to be ahead', 30_000, async () => {
      await pair.onSource(`select pg_logical_emit_message(true, 'x', 'x')`);
      await pair.onSource('select pg_switch_wal()');
      await pair.onSource('checkpoint');
      const rows = await pair.onSource(
        `select from pg_replication_slots left_behind, pg_replication_slots other
          where left_behind.slot_name = 'shop_sub' and pg_current_wal_lsn() - left_behind.restart_lsn > 6 * $1
            and other.slot_name = 'events_sub' and pg_current_wal_lsn() - other.restart_lsn < 2 * $1`,
        [segment],
      );
      return rows.length > 0;
    });
    await pair.onSource(`alter system set max_slot_wal_keep_size = '64MB'`);
    await pair.onSource('select pg_reload_conf()');
    await waitFor('the slot to be lost', 20_000, async () => {
      await pair.onSource('checkpoint');
      const rows = await pair.onSource(
        `select from pg_replication_slots where slot_name = 'shop_sub' and wal_status = 'lost'`,
      );
      return rows.length > 0;
    });
    await bench.broken(/slot shop_sub on onprem is of no use any more/);
    await pair.onSource('alter system reset max_slot_wal_keep_size');
    await pair.onSource('select pg_reload_conf()');
    await pair.onTarget('alter subscription shop_sub set (slot_name = none)');
    await pair.onTarget('drop subscription shop_sub');
    await pair.onSource(`select pg_drop_replication_slot('shop_sub')`);
    await restored();
  });

  it('stays whole through a healthy life', { timeout: 120_000 }, async () => {
    const steps: [string, () => Promise<unknown>][] = [
      ['checkpoint', () => Promise.all([pair.onSource('checkpoint'), pair.onTarget('checkpoint')])],
      ['vacuum', () => Promise.all([pair.onSource('vacuum freeze'), pair.onTarget('vacuum freeze')])],
      ['disable and enable', () => pair.disableSubscription().then(() => pair.enableSubscription())],
      [
        'disable under load, and enable after a while',
        async () => {
          const bulk = pair.bulk(20_000);
          await pair.disableSubscription();
          await bulk;
          await bench.looks(5);
          await pair.enableSubscription();
        },
      ],
      ['an idle stretch', () => bench.looks(3)],
      ['a lost network', () => pair.replicationProxy.cut().then(() => pair.replicationProxy.restore())],
      ['walsenders terminated', () => pair.onSource('select pg_terminate_backend(pid) from pg_stat_replication')],
      [
        'apply workers terminated',
        async () => {
          for (const pid of await pair.applyWorkerPids()) {
            await pair.onTarget('select pg_terminate_backend($1)', [pid]);
          }
        },
      ],
      [
        'a conflict that is healed',
        async () => {
          const failures = pair.applyFailures();
          await pair.createApplyConflict();
          await waitFor('apply to fail', 10_000, () => pair.applyFailures() > failures + 1);
          await pair.healApplyConflict();
        },
      ],
      [
        'a new table that is copied',
        async () => {
          const create = 'create table public.later (id int primary key)';
          await pair.onTarget(create);
          await pair.onSource(`${create}; insert into public.later select generate_series(1, 1000);
            grant select on public.later to replicator; alter publication shop_pub add table public.later`);
          await pair.onTarget('alter subscription shop_sub refresh publication');
          await waitFor('the copy', 20_000, async () => {
            return (await pair.onTarget(`select from pg_subscription_rel where srsubstate <> 'r'`)).length === 0;
          });
        },
      ],
      [
        'settings of the subscription',
        () => pair.onTarget(`alter subscription shop_sub set (synchronous_commit = local)`),
      ],
      [
        'statistics reset',
        async () => {
          for (const on of [pair.onSource, pair.onTarget]) {
            await on(`select pg_stat_reset(), pg_stat_reset_shared('bgwriter')`);
          }
          if (major >= 14) await pair.onSource('select pg_stat_reset_replication_slot(null)');
        },
      ],
      ['source restarted', () => pair.source.stop().then(() => pair.source.start())],
      ['target restarted', () => pair.target.stop().then(() => pair.target.start())],
      ['source killed under load', () => crash('source')],
      ['target killed under load', () => crash('target')],
      ['a backend of the source killed', () => crashBackend('source')],
      ['a backend of the target killed', () => crashBackend('target')],
      ['the daemon restarted', () => bench.stop().then(() => bench.start())],
      [
        'both crashed while the daemon was down and the subscription disabled',
        async () => {
          await pair.disableSubscription();
          await bench.looks(3);
          await bench.stop();
          await Promise.all([crash('source'), crash('target')]);
          await bench.start();
          await pair.enableSubscription();
        },
      ],
    ];
    for (const [what, step] of steps) {
      await step();
      await waitFor('replication to go on', 30_000, () =>
        trade().then(
          () => true,
          () => undefined,
        ),
      );
      await bench.looks(3);
      expect(bench.breaks, `after ${what}`).toEqual([]);
    }
    await pair.settled();
  });

  it('is unknown, with the grant that would mend it, to a user who may see no origins', async () => {
    const other = begin(poor);
    other.begin();
    await waitFor('the fault', 10_000, () => other.reading !== null);
    expect(other.reading).toMatchObject({ value: null });
    expect(other.reading?.reason).toMatch(
      major >= 14
        ? /GRANT EXECUTE ON FUNCTION pg_catalog\.pg_show_replication_origin_status\(\) TO "lg_poor"/
        : /lockgate\.origin_status/,
    );
    await other.stop();
  });

  async function advance(lsn: string): Promise<void> {
    await waitFor('the origin to be free', 5_000, () =>
      pair
        .onTarget(
          `select pg_replication_origin_advance('pg_' || oid, $1) from pg_subscription where subname = 'shop_sub'`,
          [lsn],
        )
        .then(
          () => true,
          () => undefined,
        ),
    );
  }

  async function crash(side: 'source' | 'target'): Promise<void> {
    const bulk = pair.bulk(5_000).catch(() => undefined);
    await sleep(50);
    await pair[side].kill();
    await bulk;
    await pair[side].start();
  }

  /** All backends of a server are ended and its memory is made anew, but its postmaster lives on. */
  async function crashBackend(side: 'source' | 'target'): Promise<void> {
    const on = side === 'source' ? pair.onSource : pair.onTarget;
    const [row] = await on<{ pid: number }>(
      `select pid from pg_stat_activity where backend_type = 'background writer' or backend_type = 'walwriter' limit 1`,
    );
    pair[side].signal(row!.pid, 'SIGKILL');
    await sleep(300);
    await waitFor('the server to be back', 20_000, () =>
      on('select 1').then(
        () => true,
        () => undefined,
      ),
    );
  }
});
