import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startMysql, type MysqlServer } from '../../deploy/demo/mysql-server.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { testedFlavours } from '../support/flavours.js';
import { databaseAt } from '../support/listening.js';
import { LocalBench } from '../support/local-bench.js';
import { bedUser, installMysqlBed, makeBedUser, startMysqlBed, type MysqlBed } from '../support/mysql-bed.js';
import { replicaWords } from '../support/mysql-dialect.js';
import { alone, startMysqlPair, type MysqlPair } from '../support/mysql-pair.js';
import { runAll } from '../support/pair.js';
import { startProxy, type Proxy } from '../support/proxy.js';

describe.each(testedFlavours)('the address of a target on $flavour', ({ flavour, left }) => {
  describe.skipIf(left)('that comes to lead to another server', () => {
    const cleanups: (() => Promise<void>)[] = [];
    const settings: Record<string, string> = flavour === 'mariadb' ? { gtid_strict_mode: 'OFF' } : {};
    const leadsTo = { host: '127.0.0.1', port: 0 };
    let pair: MysqlPair;
    let other: MysqlServer;
    let address: Proxy;
    let bed: MysqlBed;

    const localWrite = (server: MysqlServer): Promise<unknown> =>
      alone(server, `insert into ${pair.database}.orders (id, customer_id) values (8000000 + floor(rand() * 1e6), 1)`);
    const url = (): string => {
      const at = new URL(pair.target.adminUrl(pair.database));
      at.port = String(address.port);
      return at.href;
    };
    const byBinlog = (since: number): number =>
      bed.of('heartbeat-visible', since).filter((o) => o.by === 'binlog' && o.upTo !== null).length;
    const watches = (since = 0) => bed.of('local-watch', since);

    beforeAll(async () => {
      pair = await startMysqlPair({ flavour, settings });
      cleanups.push(() => pair.destroy());
      await installMysqlBed(pair);
      other = await startMysql({ flavour, name: 'other', serverId: 5, database: pair.database, settings });
      cleanups.push(() => other.destroy());
      const words = replicaWords(flavour);
      const login = { user: 'replicator', password: 'replicator' };
      await alone(other, words.become({ ...login, port: pair.source.port, from: 'gtid' }));
      await alone(other, words.start);
      const tables =
        "select 1 from information_schema.tables where table_schema = 'lockgate' and table_name = 'direction'";
      await waitFor('the tables on the other server', 20_000, async () => (await alone(other, tables)).length > 0);
      await makeBedUser(other);
      address = await startProxy(leadsTo);
      cleanups.push(() => address.close());
    }, 300_000);
    beforeEach(() => void (leadsTo.port = pair.target.port));
    afterEach(() => bed.stop());
    afterAll(() => runAll(cleanups));

    const start = async (): Promise<void> => {
      bed = startMysqlBed({ ...pair, daemonUrl: (side) => (side === 'target' ? url() : pair.daemonUrl(side)) });
      await bed.until('heartbeats by binlog', () => bed.watched().mode === 'binlog' && byBinlog(0) > 2, 20_000);
      await bed.until('the watch', () => watches().some((o) => o.watching));
    };

    it('is read anew: heartbeats go on, and local writes of the time between are unknown', async () => {
      await start();
      const db = { ...databaseAt('aws', url(), bedUser), engine: 'mysql', read: 'auto' } as const;
      const bench = new LocalBench(db);
      bench.start();
      try {
        await bench.reads('0', 20_000);
        await address.cut();
        const since = bed.seen.length;
        // Nobody reads it here, and on the new server nobody has read before.
        await localWrite(other);
        leadsTo.port = other.port;
        await address.restore();
        await bed.until('the watch of the new server', () => watches(since).some((o) => o.watching), 20_000);
        const first = watches(since).find((o) => o.watching);
        expect(first).toMatchObject({ emptyGap: false });
        expect(first?.reason).toMatch(/another server answers/);
        expect(watches(since).filter((o) => o.watching && o.emptyGap)).toEqual([]);
        await bed.until('heartbeats by binlog', () => bed.watched().mode === 'binlog' && byBinlog(since) > 2, 20_000);
        await bench.confirmed(20_000);
        expect(bench.state).toBe('unknown');
        expect(bench.reading.reason).toMatch(/another server answers/);
        const seen = bed.seen.length;
        await localWrite(other);
        await bed.until('the write', () => bed.of('local-writes', seen).length > 0);
        // What was written here before is never known, so that a count is a least one.
        await bench.reads('>=1');
      } finally {
        await bench.stop();
      }
    });

    it('while the old server lives on: who still reads that one is not believed', async () => {
      await start();
      const sessions = async (): Promise<{ id: number; dump: boolean }[]> => {
        const rows = await pair.onTarget<{ id: string; command: string }>(
          "select ID as id, COMMAND as command from information_schema.processlist where USER = 'lg'",
        );
        return rows.map(({ id, command }) => ({ id: Number(id), dump: command.startsWith('Binlog Dump') }));
      };
      const all = await sessions();
      const dump = all.find((each) => each.dump)?.id ?? NaN;
      // The reader's two sessions are opened together.
      const others = all.filter(({ id }) => Math.abs(id - dump) > 1);
      expect(others.length).toBeLessThan(all.length - 1);
      leadsTo.port = other.port;
      const since = bed.seen.length;
      for (const { id } of others) await alone(pair.target, `kill ${id}`);
      await localWrite(other);
      await bed.until(
        'the reason',
        () => watches(since).some((o) => !o.watching && /lead to different servers/.test(o.reason ?? '')),
        20_000,
      );
      const after = bed.seen.length;
      await new Promise((resolve) => setTimeout(resolve, 2_500));
      expect(watches(after).filter((o) => o.watching)).toEqual([]);
    });
  });
});
