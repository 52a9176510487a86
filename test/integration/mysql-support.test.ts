import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fetchDebian } from '../../deploy/demo/debian.js';
import { startMysql, type MysqlServer } from '../../deploy/demo/mysql-server.js';
import { isAlive, waitFor } from '../../deploy/demo/run-folder.js';
import { testedFlavours } from '../support/flavours.js';
import { rootConnection } from '../support/mysql-connection.js';
import { startMysqlObserver } from '../support/mysql-observer.js';
import { startMysqlPair, type MysqlPair } from '../support/mysql-pair.js';
import type { Observer } from '../support/observer.js';

const limit = 120_000;
/** The first start of all fetches the programs. */
const fetchLimit = 300_000;

it('says what to do when packages cannot be fetched, and leaves nothing behind', { timeout: limit }, async () => {
  const name = `nothing-${process.pid}`;
  const failure = fetchDebian({
    name,
    what: 'Nothing',
    packages: ['lockgate-no-such-package'],
    suite: 'no-such-suite',
    remedy: 'or do without',
  });
  await expect(failure).rejects.toThrow(
    /Nothing could not be fetched into \S+: apt-get[^]*What to do: .*; or do without/,
  );
  await expect(failure).rejects.toThrow('LOCKGATE_TEST_SERVERS');
});

describe.each(testedFlavours)('$flavour', ({ flavour, left }) => {
  describe.skipIf(left)('server', () => {
    let server: MysqlServer;
    beforeAll(async () => {
      server = await startMysql({ flavour, database: 'app', serverId: 7, settings: { sort_buffer_size: '300000' } });
    }, fetchLimit);
    afterAll(() => server.destroy(), limit);

    const ask = async (sql: string): Promise<string | undefined> => {
      const connection = await rootConnection(server, 'app', 10_000);
      try {
        const [row] = await connection.query(sql);
        return row === undefined ? undefined : String(Object.values(row)[0]);
      } finally {
        connection.destroy();
      }
    };

    it('starts with settings that replication needs and an empty binary log', { timeout: limit }, async () => {
      expect(String(await ask('select @@version')).startsWith(server.version)).toBe(true);
      expect(/mariadb/i.test(String(await ask('select @@version')))).toBe(flavour === 'mariadb');
      expect(await ask('select @@server_id')).toBe('7');
      expect(await ask('select @@sort_buffer_size')).toBe('300000');
      expect(await ask('select @@binlog_format')).toBe('ROW');
      expect(await ask('select @@sync_binlog')).toBe('1');
      expect(await ask('select @@innodb_flush_log_at_trx_commit')).toBe('1');
      expect(await ask('select @@log_slave_updates')).toBe('1');
      if (flavour === 'mysql') {
        expect(await ask('select @@gtid_mode')).toBe('ON');
        expect(await ask('select @@gtid_executed')).toBe('');
      } else {
        expect(await ask('select @@gtid_strict_mode')).toBe('1');
        expect(await ask('select @@gtid_binlog_pos')).toBe('');
      }
    });

    it('stops, survives a kill and is gone after destroy', { timeout: limit }, async () => {
      await ask('create table kept (n int primary key)');
      await ask('insert into kept values (1)');
      const { port } = server;
      await server.stop();
      expect(() => server.pid()).toThrow('not running');
      await server.start({ sort_buffer_size: '400000' });
      expect(await ask('select @@sort_buffer_size')).toBe('400000');
      const pid = server.pid();
      await server.kill();
      expect(isAlive(pid)).toBe(false);
      await server.start();
      expect(server.port).toBe(port);
      expect(await ask('select n from kept')).toBe('1');

      const other = await startMysql({ flavour, name: 'short-lived' });
      try {
        const wrong = { ...other, adminUrl: () => other.adminUrl().replace(/:[^:@]+@/, ':wrong@') };
        await expect(rootConnection(wrong, '')).rejects.toThrow('Access denied');
      } finally {
        await other.destroy();
        await other.destroy();
      }
      expect(existsSync(other.dataDir)).toBe(false);
    });

    it('says what the server said when it does not start', { timeout: limit }, async () => {
      const failure = startMysql({ flavour, settings: { no_such_setting: '1' } });
      await expect(failure).rejects.toThrow(/did not start[^]*no_such_setting/);
    });
  });

  describe.skipIf(left)('pair', () => {
    let pair: MysqlPair;
    let observer: Observer;
    beforeAll(async () => {
      pair = await startMysqlPair({ flavour });
      observer = await startMysqlObserver(pair);
    }, fetchLimit);
    afterAll(async () => {
      await observer.stop();
      await pair.destroy();
    }, limit);

    /** One of the status's fields under either of its names. */
    const status = async (newer: string, older: string): Promise<unknown> => {
      const row = await pair.replicaStatus();
      return row?.[newer] ?? row?.[older];
    };
    const threads = async (): Promise<string> =>
      `${String(await status('Replica_IO_Running', 'Slave_IO_Running'))} ${String(await status('Replica_SQL_Running', 'Slave_SQL_Running'))}`;
    const isThere = async (id: string): Promise<boolean> =>
      (await pair.onTarget('select 1 from orders where id = ?', [id])).length > 0;
    /** Proves that a fault holds a new order up, and that healing lets it through. */
    const holdsUp = async (heal: () => Promise<unknown>, during?: () => Promise<unknown>): Promise<void> => {
      const id = await pair.placeOrder();
      await sleep(400);
      expect(await isThere(id)).toBe(false);
      await during?.();
      expect(await isThere(id)).toBe(false);
      await heal();
      await pair.arrived(id, 20_000);
    };

    it('replicates rows of every kind alike', { timeout: limit }, async () => {
      const id = await pair.placeOrder();
      await pair.arrived(id);
      await pair.settled();
      for (const table of ['customers', 'orders']) {
        const sql = `select * from ${table} order by id`;
        const [source, target] = await Promise.all([pair.onSource(sql), pair.onTarget(sql)]);
        expect(source.length).toBeGreaterThanOrEqual(20);
        expect(target).toEqual(source);
      }
      expect(await threads()).toBe('Yes Yes');
    });

    it('is watched by an observer that knows the truth', { timeout: limit }, async () => {
      await waitFor('a true lag', 5_000, () => observer.trueLagAt(performance.now() - 100));
      const stoppedAt = performance.now();
      await pair.stopSqlThread();
      const during = await waitFor('a true lag of 0.8 s', 20_000, () => {
        const lag = observer.trueLagAt(performance.now() - 100);
        return lag !== null && lag.lowMs > 800 && lag;
      });
      expect(during.highMs).toBeLessThan(performance.now() - stoppedAt + 1_000);
      await pair.startSqlThread();
      await waitFor('the true lag to go', 10_000, () => {
        const lag = observer.trueLagAt(performance.now() - 100);
        return lag !== null && lag.highMs < 500;
      });
    });

    it('stops and starts the threads, and flaps', { timeout: limit }, async () => {
      await pair.stopSqlThread();
      await holdsUp(
        () => pair.startSqlThread(),
        async () => expect(await threads()).toBe('Yes No'),
      );
      await pair.stopIoThread();
      await holdsUp(
        () => pair.startIoThread(),
        async () => expect(await threads()).toBe('No Yes'),
      );
      await pair.stopReplica();
      await holdsUp(
        () => pair.startReplica(),
        async () => expect(await threads()).toBe('No No'),
      );
      await pair.flap(3, 50);
      await pair.settled();
    });

    it('detaches the target and attaches it again', { timeout: limit }, async () => {
      await pair.detach();
      await holdsUp(
        () => pair.attach(),
        async () => expect(await pair.replicaStatus()).toBeUndefined(),
      );
    });

    it('makes apply wait: for a lock, for a delay', { timeout: limit }, async () => {
      const release = await pair.lockTable();
      await holdsUp(release, async () => expect(await threads()).toBe('Yes Yes'));
      await pair.delay(600);
      await holdsUp(
        () => pair.delay(0),
        async () => expect(Number((await pair.replicaStatus())?.['SQL_Delay'])).toBe(600),
      );
    });

    it('makes apply fail: on a duplicate key, on a missing row', { timeout: limit }, async () => {
      const failed = (errno: number) => async () =>
        expect(Number((await pair.replicaStatus())?.['Last_SQL_Errno'])).toBe(errno);
      await pair.createApplyConflict();
      await holdsUp(() => pair.healApplyConflict(), failed(1062));
      await pair.createMissingRow();
      await holdsUp(() => pair.healMissingRow(), failed(1032));
    });

    it('leaves a table out of replication', { timeout: limit }, async () => {
      await pair.onSource(
        'create database if not exists lockgate; create table lockgate.heartbeat (n int primary key)',
      );
      await pair.settled();
      await pair.ignoreTables('lockgate.heartbeat');
      await pair.onSource('insert into lockgate.heartbeat values (1)');
      await pair.settled();
      expect(await pair.onTarget('select * from lockgate.heartbeat')).toEqual([]);
      await pair.ignoreTables();
      await pair.onSource('insert into lockgate.heartbeat values (2)');
      await pair.settled();
      expect(await pair.onTarget('select n from lockgate.heartbeat')).toEqual([{ n: 2 }]);
    });

    it('writes astray on the target', { timeout: limit }, async () => {
      await pair.settled();
      await pair.errantWrite();
      if (flavour === 'mariadb') {
        const stopped = async (): Promise<boolean> => Number((await pair.replicaStatus())?.['Last_SQL_Errno']) === 1950;
        await holdsUp(
          () => pair.healErrantWrite(),
          () => waitFor('error 1950', 5_000, stopped),
        );
      } else {
        const id = await pair.placeOrder();
        await pair.arrived(id);
        const [row] = await pair.onTarget<{ astray: string }>(
          `select gtid_subtract(@@gtid_executed, '${String((await pair.onSource('select @@gtid_executed as s'))[0]?.['s']).replaceAll('\n', '')}') as astray`,
        );
        expect(row?.astray).toMatch(/^[0-9a-f-]{36}:1$/);
        await pair.healErrantWrite();
      }
      expect(await pair.onTarget(`select 1 from orders where note = 'astray'`)).toEqual([]);
      await pair.settled();
    });

    it('holds a huge and an open transaction', { timeout: limit }, async () => {
      const open = await pair.openTransaction();
      await pair.bulk(20_000);
      await pair.settled();
      const count = async (note: string): Promise<unknown> =>
        (await pair.onTarget('select count(*) as n from orders where note like ?', [note]))[0]?.['n'];
      expect(Number(await count('bulk %'))).toBe(20_000);
      expect(Number(await count('in an open transaction'))).toBe(0);
      await open.commit();
      await pair.settled();
      expect(Number(await count('in an open transaction'))).toBe(1);
    });

    it('loses the network, a server, and what the target still needed', { timeout: limit }, async () => {
      pair.replicationProxy.freeze();
      await holdsUp(() => {
        pair.replicationProxy.thaw();
        return Promise.resolve();
      });
      await pair.replicationProxy.cut();
      await holdsUp(() => pair.replicationProxy.restore());

      await pair.source.kill();
      await pair.source.start();
      await pair.arrived(await pair.placeOrder(), 20_000);
      await pair.target.kill();
      await pair.target.start();
      await pair.arrived(await pair.placeOrder(), 20_000);

      await pair.purgeBinlogs();
      await holdsUp(
        () => pair.restoreBinlogs(),
        async () => {
          const error = await waitFor('error 1236', 5_000, async () => {
            const said = String((await pair.replicaStatus())?.['Last_IO_Error']);
            return said.includes('1236') ? said : undefined;
          });
          expect(error).toMatch(/purged/);
        },
      );
      await pair.settled();
      const sql = 'select count(*) as n, sum(amount) as amount from orders';
      expect(await pair.onTarget(sql)).toEqual(await pair.onSource(sql));
    });
  });

  it.skipIf(left)('replicates by file and position, on a named channel', { timeout: 2 * limit }, async () => {
    const pair = await startMysqlPair({ flavour, gtid: false, channels: ['to_aws'] });
    try {
      expect(await pair.replicaStatus('')).toBeUndefined();
      await pair.detach();
      expect(await pair.replicaStatus()).toBeUndefined();
      const id = await pair.placeOrder();
      await pair.attach();
      await pair.arrived(id);
      const row = await pair.replicaStatus();
      expect(row?.['Auto_Position'] ?? row?.['Using_Gtid']).toBe(flavour === 'mysql' ? 0 : 'No');
    } finally {
      await pair.destroy();
    }
  });
});
