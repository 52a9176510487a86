import { execFileSync } from 'node:child_process';
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { startPostgres, type PostgresServer } from '../../deploy/demo/postgres-server.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { ChainBench } from '../support/chain-bench.js';
import { databaseAt } from '../support/listening.js';
import { testedMajors } from '../support/majors.js';
import { database, open, shopSchema, startPair, type Pair } from '../support/pair.js';
import { startPhysicalPair } from '../support/physical-pair.js';
import { startProxy } from '../support/proxy.js';

/** Keeps a copy of a stopped server's data folder, and puts it back. */
class Backup {
  private readonly copy: string;

  constructor(private readonly server: PostgresServer) {
    this.copy = `${server.dataDir}.backup`;
  }

  async take(): Promise<void> {
    await this.server.stop();
    execFileSync('cp', ['-Rp', this.server.dataDir, this.copy]);
    await this.server.start();
  }

  /** Without slots it is what a base backup holds. */
  async restore(slots: boolean): Promise<void> {
    await this.server.stop();
    rmSync(this.server.dataDir, { recursive: true });
    execFileSync('cp', ['-Rp', this.copy, this.server.dataDir]);
    const kept = join(this.server.dataDir, 'pg_replslot');
    if (!slots) for (const name of readdirSync(kept)) rmSync(join(kept, name), { recursive: true });
    await this.server.start();
  }
}

describe.each(testedMajors)('a server that is no longer what it was (%i)', { timeout: 180_000 }, (major) => {
  const benchOf = (pair: Pair): ChainBench =>
    new ChainBench(
      databaseAt('onprem', pair.daemonUrl('source')),
      databaseAt('aws', pair.daemonUrl('target')),
      'postgres-logical',
      ['shop_sub'],
    );

  async function withPair(use: (pair: Pair, bench: ChainBench) => Promise<void>): Promise<void> {
    const pair = await startPair({ source: major, target: major });
    const bench = benchOf(pair);
    try {
      await use(pair, bench);
    } finally {
      await bench.stop();
      await pair.destroy();
    }
  }

  it('a source restored from a backup breaks the chain, also while nobody looked', async () => {
    await withPair(async (pair, bench) => {
      const backup = new Backup(pair.source);
      await backup.take();
      await bench.start();
      for (let n = 0; n < 3; n++) await pair.arrived(await pair.placeOrder());
      await pair.bulk(2_000);
      await pair.settled();
      await bench.looks(2);
      expect(bench.breaks).toEqual([]);
      // Seen while it happens, slots and all.
      await backup.restore(true);
      await bench.broken(/the WAL of onprem went back from/);
      await bench.broken(/shop_sub on aws stands at a position beyond the WAL of onprem/);
      await bench.stop();
    });
    await withPair(async (pair, bench) => {
      const backup = new Backup(pair.source);
      await backup.take();
      await bench.start();
      await pair.arrived(await pair.placeOrder());
      await pair.bulk(2_000);
      await pair.settled();
      await bench.looks(2);
      await bench.stop();
      await backup.restore(false);
      await bench.start();
      await bench.broken(/the WAL of onprem went back from/);
      await bench.broken(/slot shop_sub of shop_sub is missing on onprem/);
    });
  });

  it('a target restored from a backup breaks the chain', async () => {
    await withPair(async (pair, bench) => {
      const backup = new Backup(pair.target);
      await pair.arrived(await pair.placeOrder());
      await backup.take();
      await bench.start();
      for (let n = 0; n < 3; n++) await pair.arrived(await pair.placeOrder());
      await bench.looks(2);
      await pair.disableSubscription();
      await bench.looks(2);
      expect(bench.breaks).toEqual([]);
      await pair.replicationProxy.cut();
      await backup.restore(true);
      await bench.broken(/shop_sub on aws has durably applied went back from/);
    });
  });

  it('two servers behind one address break the chain', async () => {
    await withPair(async (pair) => {
      const upstream = { host: pair.source.host, port: pair.source.port };
      const proxy = await startProxy(upstream);
      const url = new URL(pair.daemonUrl('source'));
      url.port = String(proxy.port);
      const through = new ChainBench(
        databaseAt('onprem', url.href),
        databaseAt('aws', pair.daemonUrl('target')),
        'postgres-logical',
        ['shop_sub'],
      );
      try {
        await through.start();
        // New connections lead elsewhere while the session lives on: a reader endpoint, or half of a failover.
        const other = await startPostgres({ name: 'other', major, database, password: pair.source.password });
        upstream.port = other.port;
        await through
          .broken(/connections to onprem lead to different servers at the same time/)
          .finally(() => other.destroy());
      } finally {
        await through.stop();
        await proxy.close();
      }
    });
  });

  it('a failover of the source to its standby breaks the chain, even when replication goes on', async () => {
    const cluster = await startPhysicalPair({ major });
    const upstream = { host: cluster.primary.host, port: cluster.primary.port };
    const proxy = await startProxy(upstream);
    const subscriber = await startPostgres({
      name: 'subscriber',
      major,
      database,
      settings: { wal_retrieve_retry_interval: '500ms' },
    });
    const url = new URL(cluster.primary.adminUrl(database));
    url.port = String(proxy.port);
    const bench = new ChainBench(
      databaseAt('onprem', url.href),
      databaseAt('aws', subscriber.adminUrl(database)),
      'postgres-logical',
      ['shop_sub'],
    );
    try {
      await cluster.onSource('create publication shop_pub for table public.customers, public.orders');
      const client = await open(subscriber);
      await client.query(shopSchema);
      await client.query(`create subscription shop_sub connection 'host=127.0.0.1 port=${proxy.port} dbname=app
        user=postgres password=${cluster.primary.password}' publication shop_pub`);
      const arrives = (id: string): Promise<unknown> =>
        waitFor(`order ${id}`, 20_000, async () => {
          return (await client.query('select from public.orders where id = $1', [id])).rowCount === 1;
        });
      await arrives(await cluster.placeOrder());
      await cluster.settled();
      await bench.start();
      expect(bench.breaks).toEqual([]);
      await cluster.primary.kill();
      await cluster.promote();
      await proxy.cut();
      upstream.port = cluster.standby.port;
      // What an operator does to let replication go on: a slot on the new primary.
      await cluster.onTarget(`select pg_create_logical_replication_slot('shop_sub', 'pgoutput')`);
      await proxy.restore();
      await bench.broken(/the timeline of onprem changed from 1 to 2/);
      await cluster.onTarget(`insert into public.orders (id, customer_id) values (4711, 1)`);
      await arrives('4711');
      await bench.accept();
      await bench.looks(2);
      expect(bench.breaks).toEqual([]);
      await client.end();
    } finally {
      await bench.stop();
      await proxy.close();
      await subscriber.destroy();
      await cluster.destroy();
    }
  });

  it('a standby is whole through restarts and crashes, and broken once it is promoted', async () => {
    const cluster = await startPhysicalPair({ major });
    const bench = new ChainBench(
      databaseAt('onprem', cluster.daemonUrl('source')),
      databaseAt('aws', cluster.daemonUrl('target')),
      'postgres-physical',
      ['standby'],
    );
    try {
      await bench.start();
      for (const step of [
        () => cluster.standby.stop().then(() => cluster.standby.start()),
        () => cluster.standby.kill().then(() => cluster.standby.start()),
        () => cluster.primary.stop().then(() => cluster.primary.start()),
        () => cluster.primary.kill().then(() => cluster.primary.start()),
        () => bench.stop().then(() => bench.start()),
      ]) {
        await cluster.placeOrder();
        await step();
        await cluster.arrived(await cluster.placeOrder(), 20_000);
        await bench.looks(3);
        expect(bench.breaks).toEqual([]);
      }
      await cluster.promote();
      await bench.broken(/aws is no standby of onprem any more: it has been promoted/);
      await bench.broken(/the timeline of aws changed from 1 to 2/);
    } finally {
      await bench.stop();
      await cluster.destroy();
    }
  });
});
