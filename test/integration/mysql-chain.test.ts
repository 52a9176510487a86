import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { setTimeout as sleep } from 'node:timers/promises';
import { ChainBench } from '../support/chain-bench.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { testedFlavours } from '../support/flavours.js';
import { databaseAt } from '../support/listening.js';
import { rootConnection } from '../support/mysql-connection.js';
import { replicaWords, resetBinlogs } from '../support/mysql-dialect.js';
import { alone, startMysqlPair, type MysqlPair } from '../support/mysql-pair.js';

const limit = 120_000;
const fetchLimit = 300_000;

describe.each(testedFlavours)('the chain on $flavour', ({ flavour, left }) => {
  describe.skipIf(left).each([{ gtid: true }, { gtid: false }])('with GTIDs: $gtid', ({ gtid }) => {
    let pair: MysqlPair;
    let bench: ChainBench;
    const words = replicaWords(flavour);
    const onTarget = async (...statements: string[]): Promise<void> => {
      for (const sql of statements) await alone(pair.target, sql);
    };
    beforeAll(async () => {
      pair = await startMysqlPair({ flavour, gtid });
      const grant = 'process, replication slave, replication client, references';
      for (const server of [pair.source, pair.target]) {
        await alone(
          server,
          `set session sql_log_bin = 0; create user lg identified by 'lg'; grant ${grant} on *.* to lg;
           ${flavour === 'mariadb' ? 'grant slave monitor on *.* to lg' : ''}`,
        );
      }
      const user = { name: 'lg', password: 'lg' };
      bench = new ChainBench(
        databaseAt('onprem', pair.daemonUrl('source'), user),
        databaseAt('aws', pair.daemonUrl('target'), user),
        'mysql',
        ['default channel'],
      );
      await bench.start();
    }, fetchLimit);
    afterAll(async () => {
      await bench.stop();
      await pair.destroy();
    }, limit);
    afterEach(async () => {
      // Every test leaves a whole pair behind, and whoever accepts what was broken finds the chain whole.
      await pair.settled();
      await bench.looks(3);
      await bench.accept();
      expect(bench.breaks).toEqual([]);
      expect(bench.reading).toMatchObject({ value: 1 });
    }, limit);
    /** Moves an order through, so that every position is one that replication has brought about. */
    const order = async (): Promise<void> => pair.arrived(await pair.placeOrder());
    const whole = async (): Promise<void> => {
      await bench.looks(3);
      expect(bench.breaks).toEqual([]);
    };
    let conflicts = 1_000;
    /** Stops apply on a duplicate key; in a table whose counter nothing else depends on. */
    const conflict = async (): Promise<void> => {
      const values = `(id, name) values (${--conflicts}, 'in the way')`;
      await pair.onTargetUnlogged(`insert into app.customers ${values}`);
      await pair.onSource(`insert into customers ${values}`);
    };
    /** Rows that come while the target does not apply. */
    const missed = async (count = 1): Promise<void> => {
      for (let i = 0; i < count; i++) await pair.placeOrder();
    };

    it('is whole through load, stops, delays and killed servers', { timeout: 2 * limit }, async () => {
      await pair.bulk(5_000);
      await order();
      await pair.stopReplica();
      await missed(3);
      await bench.looks(3);
      await pair.startReplica();
      await pair.delay(1);
      await order();
      await pair.delay(0);
      await pair.flap(3, 100);
      await pair.onSource('create table more (id int primary key); insert into more values (1); drop table more');
      await order();
      await conflict();
      await bench.looks(5);
      await pair.onTargetUnlogged(`delete from app.customers where id = ${conflicts}`);
      await pair.startReplica();
      await order();
      await pair.onSource('flush binary logs');
      await pair.onTarget('flush binary logs');
      await order();
      await pair.ignoreTables('app.customers');
      await pair.onSource("insert into customers (name) values ('left out')");
      await order();
      await pair.ignoreTables();
      await pair.target.kill();
      await missed();
      await pair.target.start();
      await order();
      await pair.source.kill();
      await pair.source.start();
      await pair.settled();
      await order();
      await whole();
    });

    it('is whole when nothing happened while nobody looked', { timeout: limit }, async () => {
      await order();
      await bench.stop();
      await order();
      await bench.start();
      await whole();
    });

    it.runIf(flavour === 'mysql' && gtid)(
      'is broken by an empty transaction in place of another',
      { timeout: limit },
      async () => {
        // prettier-ignore
        await order();
        await conflict();
        await bench.looks(4);
        const [row] = await pair.onTarget<{ g: string }>('select @@global.gtid_executed as g');
        const [, uuid = '', last = ''] = /([0-9a-f-]{36}):1-(\d+)/.exec(row?.g ?? '') ?? [];
        const next = `${uuid}:${Number(last) + 1}`;
        await onTarget(
          `${words.stop}; set gtid_next = '${next}'; begin; commit; set gtid_next = 'automatic'; ${words.start}`,
        );
        expect(await bench.broken(/was skipped on aws/)).toContain(next);
        await order();
      },
    );

    it.runIf(flavour === 'mysql' && gtid)('is broken by gtid_purged set by hand', { timeout: limit }, async () => {
      await order();
      await bench.looks(2);
      await pair.stopReplica();
      await missed(2);
      const [row] = await pair.onSource<{ g: string }>('select @@global.gtid_executed as g');
      await onTarget(`set global gtid_purged = '+${(row?.g ?? '').replace(/:1-(\d+)$/, ':$1')}'`, words.start);
      await bench.broken(/gtid_purged of aws moved from .* by hand: none of its binlogs was purged/);
      // What is lacking still comes, but for the last one.
      await order();
      await bench.accept();
      await onTarget('flush binary logs');
      const [status] = await pair.onTarget<{ File: string }>('show binary log status');
      await onTarget(`purge binary logs to '${status?.File ?? ''}'`);
      await whole();
    });

    it.runIf(flavour === 'mariadb')('is broken by gtid_slave_pos set by hand', { timeout: limit }, async () => {
      await order();
      await bench.looks(2);
      await pair.stopReplica();
      await missed(3);
      const [row] = await pair.onSource<{ g: string }>('select @@global.gtid_binlog_pos as g');
      const set = `set global gtid_slave_pos = '${row?.g ?? ''}'`;
      const [head] = await pair.onSource<{ File: string; Position: string }>('show master status');
      const place = gtid ? [] : [`change master to master_log_file = '${head?.File ?? ''}', master_log_pos = ${String(head?.Position)}`]; // prettier-ignore
      await onTarget(set, ...place, words.start);
      await order();
      await bench.broken(/moved further than what was applied there/);
    });

    it.runIf(flavour === 'mariadb' || !gtid)('is broken by a skip counter', { timeout: limit }, async () => {
      await order();
      await bench.looks(2);
      await conflict();
      await bench.looks(4);
      const variable = flavour === 'mysql' ? 'sql_replica_skip_counter' : 'sql_slave_skip_counter';
      await onTarget(`set global ${variable} = 1`);
      // People are slow; MariaDB shows it all the same when they are not.
      if (flavour === 'mysql') await sleep(600);
      await onTarget(words.start);
      await bench.broken(flavour === 'mysql' ? /told to skip changes/ : /told to skip|moved further/);
      await order();
    });

    it.runIf(!gtid)('is broken by another place', { timeout: limit }, async () => {
      await order();
      await bench.looks(2);
      await pair.stopReplica();
      await missed(2);
      const [head] = await pair.onSource<{ File: string; Position: string }>(
        flavour === 'mysql' ? 'show binary log status' : 'show master status',
      );
      await bench.looks(2);
      const [file, position] = [head?.File ?? '', String(head?.Position)];
      await onTarget(
        flavour === 'mysql'
          ? `change replication source to source_log_file = '${file}', source_log_pos = ${position}`
          : `change master to master_log_file = '${file}', master_log_pos = ${position}`,
      );
      await bench.looks(2);
      await onTarget(words.start);
      await order();
      await bench.broken(/by hand: its SQL thread stood still|moved further than what was applied/);
    });

    it.runIf(flavour === 'mariadb' && gtid)(
      'is whole while an older transaction is overtaken by others, and broken by one that is left out then',
      { timeout: limit },
      async () => {
        const [was] = await pair.onTarget<{ n: string }>('select @@global.slave_parallel_threads as n');
        await onTarget(words.stop, 'set global slave_parallel_threads = 4', words.start);
        const lock = await rootConnection(pair.target, pair.database);
        const older = await rootConnection(pair.source, pair.database);
        await older.query('set session gtid_domain_id = 7');
        /** An update of another domain waits for a lock, orders overtake it, and it comes through after all. */
        const overtaken = async (meanwhile: () => Promise<unknown>): Promise<void> => {
          await lock.query('begin; select * from customers where id = 2 for update');
          await older.query(`update customers set email = concat('late', rand()) where id = 2`);
          await missed(3);
          const [row] = await pair.onSource<{ g: string }>('select @@global.gtid_binlog_pos as g');
          const newest = /\b0-1-\d+/.exec(row?.g ?? '')?.[0] ?? '';
          const applied = async (): Promise<string> =>
            (await pair.onTarget<{ g: string }>('select @@global.gtid_slave_pos as g'))[0]?.g ?? '';
          await waitFor('the orders to overtake it', 10_000, async () => (await applied()).includes(newest));
          expect(await applied()).not.toContain(/\b7-1-\d+/.exec(row?.g ?? '')?.[0]);
          await bench.looks(3);
          await meanwhile();
          await bench.looks(3);
          await lock.query('rollback');
          await pair.settled();
          await whole();
        };
        try {
          await overtaken(missed);
          await overtaken(() => onTarget(words.stopIo, words.startIo));
          await overtaken(async () => {
            await pair.replicationProxy.cut();
            await sleep(200);
            await pair.replicationProxy.restore();
            await missed();
          });
          // It ends only when what was begun is done.
          let again = Promise.resolve();
          await overtaken(async () => {
            again = onTarget(words.stopSql).then(() => onTarget(words.startSql));
            await sleep(200);
          });
          await again;
          await onTarget('set global innodb_lock_wait_timeout = 1', words.stopSql, words.startSql);
          // It is tried again each second, and counts each time.
          await overtaken(() => sleep(2_200));
          await overtaken(() => missed(10));
          expect(bench.breaks).toEqual([]);
          await pair.stopReplica();
          await bench.looks(2);
          await older.query("update customers set email = 'never' where id = 2");
          const [row] = await pair.onSource<{ g: string }>('select @@global.gtid_binlog_pos as g');
          await onTarget(`set global gtid_slave_pos = '${row?.g ?? ''}'`, words.start);
          await order();
          await bench.broken(/moved further than what was applied there/);
        } finally {
          lock.destroy();
          older.destroy();
          await onTarget(
            words.stop,
            `set global slave_parallel_threads = ${was?.n ?? '0'}`,
            'set global innodb_lock_wait_timeout = 50',
            words.start,
          );
        }
      },
    );

    it('is broken by settings that pass over errors', { timeout: limit }, async () => {
      const mode = flavour === 'mysql' ? 'replica_exec_mode' : 'slave_exec_mode';
      await onTarget(words.stop, `set global ${mode} = 'IDEMPOTENT'`, words.start);
      await bench.broken(/passes over rows that are missing or in the way/);
      await onTarget(words.stop, `set global ${mode} = 'STRICT'`, words.start);
    });

    it('is broken by another server at the same address', { timeout: 2 * limit }, async () => {
      await bench.stop();
      const other = await startMysqlPair({ flavour, gtid });
      const user = { name: 'root', password: other.source.password };
      try {
        const changed = new ChainBench(
          databaseAt('onprem', other.daemonUrl('source'), user),
          databaseAt('aws', pair.daemonUrl('target'), { name: 'root', password: pair.target.password }),
          'mysql',
          ['default channel'],
        );
        await changed.start();
        await changed.broken(/replicates from another server than onprem|that onprem does not have/);
        await changed.stop();
      } finally {
        await other.destroy();
        await bench.start();
      }
    });

    // The last ones, for nothing heals them but a replica made anew.
    it('is broken by a source whose binlog was reset', { timeout: limit }, async () => {
      await order();
      await bench.looks(2);
      await pair.onSource(resetBinlogs(flavour));
      await bench.broken(/the binlog of onprem went back|that onprem does not have/);
      // The replica is told to begin at the beginning again, with all its data there already.
      await pair.detach();
      if (flavour === 'mysql' && gtid) await onTarget(resetBinlogs(flavour));
      if (flavour === 'mariadb') await onTarget(resetBinlogs(flavour), "set global gtid_slave_pos = ''");
      const from = gtid ? 'gtid' : ({ file: 'binlog.000001', position: 4 } as const);
      const port = pair.replicationProxy.port;
      await onTarget(words.become({ port, user: 'replicator', password: 'replicator', from }), words.start);
      await order();
    });
  });
});
