import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import mysql from 'mysql2/promise';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { SCHEMA, TABLES } from '../../collectors/mysql/setup/objects.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { testedFlavours } from '../support/flavours.js';
import { databaseAt } from '../support/listening.js';
import { LocalBench } from '../support/local-bench.js';
import { rootConnection } from '../support/mysql-connection.js';
import { resetBinlogs } from '../support/mysql-dialect.js';
import { alone, startMysqlPair, type MysqlPair } from '../support/mysql-pair.js';

describe.each(testedFlavours)('local writes on $flavour', ({ flavour, left }) => {
  describe.skipIf(left)('of a replica', () => {
    let pair: MysqlPair;
    let bench: LocalBench;

    const target = (read: DatabaseConfig['read'] = 'auto'): DatabaseConfig => ({
      ...databaseAt('aws', pair.daemonUrl('target'), { name: 'lg', password: 'lg' }),
      engine: 'mysql',
      read,
    });
    /** Runs statements on the target in a session of its own; outside of strict mode, or MariaDB's applier would stop. */
    const run = (sql: string): Promise<unknown> => alone(pair.target, `use app; ${sql}`);
    const position = async (): Promise<string> => {
      const [row] = await pair.onTarget<{ p: string }>(
        flavour === 'mariadb' ? 'select @@gtid_binlog_pos as p' : 'select @@gtid_executed as p',
      );
      return row?.p ?? '';
    };
    const sessions = async (): Promise<string[]> => {
      const rows = await pair.onTarget<{ Command: string }>(
        "select COMMAND as Command from information_schema.processlist where USER = 'lg'",
      );
      return rows.map((row) => row.Command);
    };

    beforeAll(async () => {
      const files = { local_infile: 'ON', secure_file_priv: '' };
      const settings = flavour === 'mariadb' ? { ...files, gtid_strict_mode: 'OFF' } : files;
      pair = await startMysqlPair({ flavour, settings });
      await pair.onSource(`${SCHEMA.make} ${TABLES.map(({ make }) => make).join('\n')}
        create table app.plain (id int auto_increment primary key, note longtext);
        create table app.awsdms_status (n int primary key);
        create table app.other (id int primary key);
        create database \`od\`\`d\`; create table \`od\`\`d\`.\`ta ble\` (id int primary key)`);
      await pair.settled();
      await run(`set sql_log_bin = 0; create user lg@'%' identified by 'lg';
        grant replication slave, process, ${flavour === 'mariadb' ? 'binlog monitor, slave monitor' : 'replication client'} on *.* to lg@'%';
        grant select on lockgate.* to lg@'%'`);
      if (flavour === 'mysql') await run("set sql_log_bin = 0; create user lg2@'%' identified by 'x'");
      bench = new LocalBench(target());
      bench.start();
      await bench.reads('0', 20_000);
    }, 300_000);
    afterAll(async () => {
      await bench.stop();
      await pair.destroy();
    });
    afterEach(async () => {
      await bench.confirmed(20_000);
      bench.reconcile();
      await bench.reads('0');
    });

    it.each([
      ['a row', "insert into plain (note) values ('x')"],
      ['an update of many', "update orders set note = 'BEGIN COMMIT'"],
      ['a delete', 'delete from orders where id = 1'],
      ['rows of two tables in one statement', 'update orders o join plain p on o.id > p.id set o.note = 1, p.note = 2'],
      ['a truncate', '/* gone */ truncate table plain'],
      ['a name with quotes', 'insert into `od``d`.`ta ble` values (1)'],
      ['a truncate of a name with quotes', 'truncate `od``d`.`ta ble`'],
      ['a huge transaction', "insert into plain (note) select repeat('x', 20000) from orders a, orders b limit 500"],
      [
        'lockgate and more',
        "begin; insert into lockgate.heartbeat values ('a', 'b', 'c', 1, now()); insert into plain values (); commit",
      ],
      ['a table made of rows', 'create table made as select 1 as n'],
      ['a statement', "set binlog_format = 'STATEMENT'; insert into plain (note) values ('x')"],
      ['XA', "xa start 'x'; insert into plain values (); xa end 'x'; xa prepare 'x'; xa commit 'x'"],
      ['XA in one phase', "xa start 'y'; insert into plain values (); xa end 'y'; xa commit 'y' one phase"],
    ])('%s is one stray write, seen within a second and with its position', async (_, sql) => {
      const before = bench.seen.length;
      await run(sql);
      const begun = performance.now();
      await bench.reads('1', 5_000);
      expect(performance.now() - begun).toBeLessThan(1_000);
      const { firstPosition, firstAt } = bench.memory;
      const now = await position();
      if (flavour === 'mariadb') expect(now.split(',')).toContain(firstPosition);
      else expect(now).toContain(firstPosition!.replace(/:\d+$/, ''));
      expect(Math.abs(firstAt! - Date.now())).toBeLessThan(3_000);
      // Nothing of a row is kept anywhere.
      const told = JSON.stringify(bench.seen.slice(before), (_, v: unknown) => (typeof v === 'bigint' ? '' : v));
      expect(told).not.toMatch(/COMMIT|note|plain/);
    });

    it.each([
      ['ROW', 'from the server’s own folder'],
      ['ROW', 'from the client'],
      ['STATEMENT', 'from the server’s own folder'],
      ['STATEMENT', 'from the client'],
    ])('LOAD DATA as %s, a file %s, is one stray write', async (format, where) => {
      // Of several blocks, in which a file travels through the log.
      const lines = Array.from({ length: 5_000 }, (_, n) => `${String(n).padStart(60, 'x')}\n`).join('');
      const file = join(pair.target.dataDir, 'app', 'loaded.txt');
      writeFileSync(file, lines);
      chmodSync(file, 0o644);
      const connection = await mysql.createConnection(pair.target.adminUrl('app'));
      try {
        await connection.query(`set binlog_format = '${format}'`);
        const sql = `load data ${where === 'from the client' ? 'local' : ''} infile ? into table app.plain (note)`;
        const fromHere = (): Readable => Readable.from([Buffer.from(lines)], { objectMode: false });
        const [done] = await connection.query<mysql.ResultSetHeader>({
          sql,
          values: ['loaded.txt'],
          infileStreamFactory: fromHere,
        });
        expect(done.affectedRows).toBe(5_000);
      } finally {
        connection.destroy();
      }
      await bench.reads('1', 5_000);
      await bench.confirmed();
      expect(bench.memory).toMatchObject({ count: 1, gaps: [] });
    });

    it('many statements of many rows in one transaction are one stray write, however long it is open', async () => {
      const connection = await rootConnection(pair.target, 'app');
      try {
        const rows = "select repeat('x', 400) from orders a, orders b, orders c limit 10000";
        await connection.query('begin');
        for (let n = 0; n < 8; n += 1) {
          await connection.query(`insert into plain (note) ${rows}; update orders set note = ${n} limit 5`);
        }
        await bench.confirmed();
        expect(bench.memory.count).toBe(0);
        await connection.query('commit');
      } finally {
        connection.destroy();
      }
      await bench.reads('1', 10_000);
      await bench.confirmed();
      expect(bench.memory).toMatchObject({ count: 1, gaps: [] });
    });

    it('DDL, ANALYZE, grants, what is rolled back, lockgate’s own tables, DMS’s, and what replication brings are none', async () => {
      await run(`create table t1 (id int primary key); alter table t1 add a int; analyze table t1; drop table t1;
        create user u1@'%'; grant select on *.* to u1@'%'; drop user u1@'%'`);
      await run('begin; insert into plain values (); rollback');
      await run("xa start 'z'; insert into plain values (); xa end 'z'; xa prepare 'z'; xa rollback 'z'");
      await run(
        "insert into lockgate.heartbeat values ('another', 'shop/forward', 'r', 1, now()); delete from lockgate.heartbeat",
      );
      await run(
        "set binlog_format = 'STATEMENT'; insert into lockgate.heartbeat values ('s', 'shop/forward', 'r', 1, now())",
      );
      await run('truncate lockgate.heartbeat; insert into awsdms_status values (1)');
      await pair.placeOrder();
      await pair.bulk(1_000);
      await pair.settled();
      await bench.confirmed();
      expect(bench.memory.count).toBe(0);
      expect(bench.touched).toBe(0);
      await run("insert into lockgate.direction values ('shop', 1, 'reverse', now(), 'x', 'y')");
      await bench.confirmed();
      expect([bench.memory.count, bench.touched]).toEqual([0, 1]);
      await run('delete from lockgate.direction');
      await bench.confirmed();
      bench.turn(bench.direction);
    });

    it('a prepared transaction counts when it is committed, also by another session', async () => {
      const connection = await rootConnection(pair.target, 'app');
      await connection.query("xa start 'p'; insert into plain values (); xa end 'p'; xa prepare 'p'");
      connection.destroy();
      await bench.confirmed();
      expect(bench.memory.count).toBe(0);
      await run("xa commit 'p'");
      await bench.reads('1');
    });

    it('what is written while nobody reads is found by the next start, with its position', async () => {
      await bench.stop();
      await run('insert into plain values ()');
      const written = await position();
      await pair.placeOrder();
      await pair.settled();
      bench.start();
      await bench.reads('1', 10_000);
      if (flavour === 'mariadb') expect(written.split(',')).toContain(bench.memory.firstPosition);
      expect(bench.memory.gaps).toEqual([]);
    });

    it('a start after which nothing was written has no gap', async () => {
      await bench.stop();
      await pair.placeOrder();
      await pair.settled();
      bench.start();
      await bench.reads('0', 10_000);
      expect(bench.memory.gaps).toEqual([]);
    });

    it('what was purged while nobody read is a gap that says so', async () => {
      await bench.stop();
      await run('insert into plain values ()');
      await waitFor('the dump to end', 5_000, async () => (await sessions()).length === 0);
      await run('flush binary logs; flush binary logs');
      // MariaDB keeps a file until what it needs for recovery is in a later one.
      await waitFor('the purge', 10_000, async () => {
        const logs = await pair.onTarget<{ Log_name: string }>('show binary logs');
        await run(`purge binary logs to '${logs.at(-1)!.Log_name}'`);
        return logs.length === 1;
      });
      bench.start();
      await bench.confirmed();
      expect(bench.state).toBe('unknown');
      expect(bench.reading.reason).toContain('is there no more (purged or reset)');
    });

    it('a killed reader comes back and misses nothing', async () => {
      const before = bench.seen.length;
      const [dump] = await pair.onTarget<{ id: number }>(
        "select ID as id from information_schema.processlist where USER = 'lg' and COMMAND like 'Binlog Dump%'",
      );
      await run(`kill ${dump!.id}`);
      await run('insert into plain values ()');
      await bench.reads('1', 10_000);
      expect(bench.seen.slice(before).some((o) => o.kind === 'local-watch' && !o.watching)).toBe(true);
      expect(bench.memory.gaps).toEqual([]);
    });

    it('a frozen network is noticed within 3.5 s, and a cut one at once', async () => {
      for (const [fault, limit] of [
        ['freeze', 4_500],
        ['cut', 1_000],
      ] as const) {
        const begun = performance.now();
        const before = bench.seen.length;
        if (fault === 'freeze') pair.targetProxy.freeze();
        else await pair.targetProxy.cut();
        await waitFor('the loss', 10_000, () =>
          bench.seen.slice(before).find((o) => o.kind === 'local-watch' && !o.watching),
        );
        expect(performance.now() - begun).toBeLessThan(limit);
        await run('insert into plain values ()');
        if (fault === 'freeze') pair.targetProxy.thaw();
        else await pair.targetProxy.restore();
        await bench.confirmed(20_000);
        await bench.reads('1', 10_000);
        bench.reconcile();
      }
    });

    it('leaves nothing behind', async () => {
      await waitFor('two sessions', 10_000, async () => (await sessions()).length === 2);
      await bench.stop();
      // A server notices that a reader is gone when it writes to it, which is once a second.
      await waitFor('the sessions to end', 5_000, async () => (await sessions()).length === 0);
      bench.start();
      await bench.reads('0');
    });

    it('a reset of the binlog is a gap that says so', async () => {
      await run(resetBinlogs(flavour));
      await waitFor('the gap', 20_000, () => bench.memory.gaps.length > 0);
      expect(bench.reading.reason).toMatch(/have gone back behind|is there no more|does not reach back/);
    });
  });
});
