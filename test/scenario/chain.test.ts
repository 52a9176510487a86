import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startPostgres, type PostgresServer } from '../../deploy/demo/postgres-server.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { ChainScenario, type ChainFault } from '../support/chain-scenario.js';
import { testedMajors } from '../support/majors.js';
import { database, open, runAll, shopSchema, startPair, type Pair } from '../support/pair.js';
import { startPhysicalPair } from '../support/physical-pair.js';
import { startProxy } from '../support/proxy.js';

/** What lag cannot tell, end to end: the real daemon, its store, its gates and its journal. */
describe.each(testedMajors)('a chain that breaks while lag looks perfect (%i)', { timeout: 120_000 }, (major) => {
  let pair: Pair;
  let chain: ChainScenario;
  const backup = (): string => `${pair.source.dataDir}.backup`;

  beforeAll(async () => {
    pair = await startPair({ source: major, target: major });
    chain = await ChainScenario.start({
      source: pair.source,
      target: pair.target,
      sourcePort: pair.sourceProxy.port,
      targetPort: pair.targetProxy.port,
    });
  });
  afterAll(async () => {
    await chain.destroy();
    await pair.destroy();
  });

  const subscribe = (): Promise<unknown> =>
    pair.onTarget(`create subscription shop_sub connection 'host=127.0.0.1 port=${pair.replicationProxy.port}
      dbname=app user=replicator password=replicator' publication shop_pub with (copy_data = false)`);
  const dropSubscription = (): Promise<unknown> => pair.onTarget('drop subscription shop_sub');
  /** An order that arrives is one that replication has moved. */
  const trade = async (): Promise<void> => pair.arrived(await pair.placeOrder(), 20_000);
  const breaksBy = async (what: string, fault: ChainFault): Promise<void> => {
    await trade();
    const times = await chain.breaksBy(fault);
    if (process.env['LOCKGATE_TEST_TIMES'] !== undefined) console.log(major, what, fault.daemon, times);
    await trade();
  };
  const advanceOrigin = async (): Promise<unknown> => {
    const [row] = await pair.onSource<{ lsn: string }>('select pg_current_wal_lsn()::text as lsn');
    return pair.onTarget(
      `select pg_replication_origin_advance('pg_' || oid, $1) from pg_subscription where subname = 'shop_sub'`,
      [row?.lsn],
    );
  };
  const backUp = async (): Promise<void> => {
    await pair.source.stop();
    execFileSync('cp', ['-Rp', pair.source.dataDir, backup()]);
    await pair.source.start();
  };
  const copyBack = async (): Promise<void> => {
    await pair.source.stop();
    rmSync(pair.source.dataDir, { recursive: true });
    execFileSync('cp', ['-Rp', backup(), pair.source.dataDir]);
    await pair.source.start();
  };

  it('a healthy life leaves it whole, over restarts of the daemon too', async () => {
    const from = performance.now();
    const steps: [string, () => Promise<unknown>][] = [
      ['the daemon restarted while the source was backed up', () => chain.meanwhile(backUp)],
      ['disable and enable', () => pair.disableSubscription().then(() => pair.enableSubscription())],
      ['vacuum', () => Promise.all([pair.onSource('vacuum freeze'), pair.onTarget('vacuum freeze')])],
      [
        'a column more',
        async () => {
          await pair.onTarget('alter table public.orders add column extra text');
          await pair.onSource('alter table public.orders add column extra text');
        },
      ],
      ['an idle stretch', () => sleep(2_000)],
      [
        'reconnects without end',
        async () => {
          for (let n = 0; n < 8; n++) {
            const proxies = [pair.replicationProxy, pair.sourceProxy, pair.targetProxy];
            for (const proxy of proxies) await proxy.cut();
            await sleep(100);
            for (const proxy of proxies) await proxy.restore();
            await sleep(200);
          }
        },
      ],
      ['the source restarted', () => pair.source.stop().then(() => pair.source.start())],
      ['the target killed', () => pair.target.kill().then(() => pair.target.start())],
      ['the daemon killed', () => chain.crash()],
    ];
    for (const [what, step] of steps) {
      await step();
      await waitFor(`replication to go on after: ${what}`, 20_000, () =>
        trade().then(
          () => true,
          () => undefined,
        ),
      );
      await chain.whole.until(['open'], 20_000, `the chain to be whole after: ${what}`);
    }
    expect(chain.whole.between(from, performance.now()).filter((s) => s.state === 'closed')).toEqual([]);
    expect(await chain.breaks()).toEqual([]);
  });

  it.each(['running', 'down'] as const)('a subscription made anew without copying, the daemon %s', async (daemon) => {
    await breaksBy('a subscription made anew', {
      daemon,
      says: [
        /subscription shop_sub on aws was made anew/,
        /shop_sub on aws has taken up, without copying their rows, public\.customers, public\.orders/,
      ],
      async make(effect) {
        await dropSubscription();
        await pair.placeOrder();
        await subscribe();
        effect();
      },
    });
  });

  it.each(['running', 'down'] as const)('an origin advanced by hand, the daemon %s', async (daemon) => {
    await breaksBy('an origin advanced', {
      daemon,
      says: [
        daemon === 'running'
          ? /position that shop_sub on aws has applied moved .* by hand/
          : /shop_sub on aws was altered while lockgate was not looking: it may have been moved/,
      ],
      async make(effect) {
        await pair.disableSubscription();
        await sleep(1_000); // people are slow
        await pair.placeOrder();
        await advanceOrigin();
        effect();
        await sleep(500);
        await pair.enableSubscription();
      },
    });
  });

  it('a slot made anew', async () => {
    await breaksBy('a slot made anew', {
      daemon: 'running',
      says: [
        /slot shop_sub (on onprem was made anew|of shop_sub is missing)|position of slot shop_sub on onprem moved .* by hand|heartbeats that had committed .* never applied/,
      ],
      async make(effect) {
        await pair.disableSubscription();
        await sleep(1_500); // people are slow
        await pair.placeOrder();
        await pair.dropSlot();
        await pair.onSource(`select pg_create_logical_replication_slot('shop_sub', 'pgoutput')`);
        effect();
        await pair.enableSubscription();
      },
    });
  });

  it.runIf(major >= 15)('a transaction that is skipped', async () => {
    await breaksBy('a transaction skipped', {
      daemon: 'running',
      // Which one depends on how soon it is carried out.
      says: [/SKIP was set on aws, to skip the transaction at|was altered while its apply was failing.* told to skip/],
      async make(effect) {
        const failures = pair.applyFailures();
        const known = finished().length;
        await pair.createApplyConflict();
        await waitFor('apply to fail', 10_000, () => pair.applyFailures() > failures + 2);
        await sleep(500);
        await pair.onTarget(`alter subscription shop_sub skip (lsn = '${finished()[known] ?? ''}')`);
        effect();
      },
    });
  });

  it('a source restored from a backup', async () => {
    await breaksBy('a source restored', {
      daemon: 'running',
      says: [/the WAL of onprem went back from/],
      async make(effect) {
        await copyBack();
        effect();
      },
      // What people then do, and what makes lag perfect: replication begins again where the source stands.
      async goOn() {
        await dropSubscription();
        const [row] = await pair.onSource<{ id: string }>('select max(id) as id from public.orders');
        await pair.onTarget('delete from public.orders where id > $1', [row?.id]);
        await subscribe();
      },
    });
  });

  /** Where the transactions that could not be applied ended, by the target's log. */
  const finished = (): string[] =>
    [...pair.target.logTail(Infinity).matchAll(/finished at ([0-9A-F]+\/[0-9A-F]+)/g)].map((m) => m[1] ?? '');
});

describe.each(testedMajors)('a source that fails over (%i)', { timeout: 120_000 }, (major) => {
  it('breaks the chain, even when replication goes on at the same address', async () => {
    const cleanups: (() => Promise<void>)[] = [];
    try {
      const cluster = await startPhysicalPair({ major });
      cleanups.push(() => cluster.destroy());
      const address = { host: cluster.primary.host, port: cluster.primary.port };
      const proxy = await startProxy(address);
      cleanups.push(() => proxy.close());
      const subscriber = await startSubscriber(major);
      cleanups.push(() => subscriber.destroy());
      await cluster.onSource('create publication shop_pub for table public.customers, public.orders');
      const client = await open(subscriber);
      cleanups.push(() => client.end());
      await client.query(shopSchema);
      await client.query(`create subscription shop_sub connection 'host=127.0.0.1 port=${proxy.port} dbname=app
        user=postgres password=${cluster.primary.password}' publication shop_pub`);
      const chain = await ChainScenario.start({
        source: cluster.primary,
        target: subscriber,
        sourcePort: proxy.port,
        targetPort: subscriber.port,
      });
      cleanups.push(() => chain.destroy());
      await cluster.settled();
      const times = await chain.breaksBy({
        daemon: 'running',
        says: [/the timeline of onprem changed from 1 to 2/],
        async make(effect) {
          await cluster.primary.kill();
          await cluster.promote();
          await proxy.cut();
          address.port = cluster.standby.port;
          // What an operator does to let replication go on.
          await cluster.onTarget(`select pg_create_logical_replication_slot('shop_sub', 'pgoutput')`);
          await proxy.restore();
          effect();
        },
      });
      if (process.env['LOCKGATE_TEST_TIMES'] !== undefined) console.log(major, 'failover', times);
    } finally {
      await runAll(cleanups);
    }
  });
});

async function startSubscriber(major: number): Promise<PostgresServer> {
  return await startPostgres({
    name: 'subscriber',
    major,
    database,
    settings: { wal_retrieve_retry_interval: '500ms' },
  });
}
