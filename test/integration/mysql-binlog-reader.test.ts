import { readdirSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { testedFlavours } from '../support/flavours.js';
import { bedUser, installMysqlBed, startMysqlBed, type MysqlBed, type MysqlBedOptions } from '../support/mysql-bed.js';
import { alone, startMysqlPair, type MysqlPair } from '../support/mysql-pair.js';

describe.each(testedFlavours)('the binlog reader on $flavour', ({ flavour, left }) => {
  describe.skipIf(left)('of a pair', () => {
    let pair: MysqlPair;
    let bed: MysqlBed;
    const updates = flavour === 'mariadb' ? 'log_slave_updates' : 'log_replica_updates';

    const start = (options: MysqlBedOptions = {}): void => void (bed = startMysqlBed(pair, options));
    const seenBy = (by: string, since = 0): number =>
      bed.of('heartbeat-visible', since).filter((o) => o.by === by && o.upTo !== null).length;
    /** Waits until heartbeats arrive by the binlog. */
    const streams = async (since = bed.seen.length): Promise<void> => {
      await bed.until(
        'heartbeats by binlog',
        () => bed.watched().mode === 'binlog' && seenBy('binlog', since) > 2,
        20_000,
      );
    };
    const polled = async (why: RegExp): Promise<void> => {
      await bed.until('the fallback', () => bed.watched().mode === 'poll' && why.test(bed.watched().why), 25_000);
      const since = bed.seen.length;
      await bed.until('heartbeats by polling', () => seenBy('poll', since) > 3);
    };
    const watching = (since: number): boolean => bed.of('local-watch', since).some((o) => o.watching);
    const sessions = async (): Promise<{ id: string; command: string }[]> =>
      pair.onTarget("select ID as id, COMMAND as command from information_schema.processlist where USER = 'lg'");
    const threads = (): number => readdirSync('/proc/self/task').length;

    beforeAll(async () => {
      // In strict mode a local write stops MariaDB's applier.
      pair = await startMysqlPair({ flavour, settings: flavour === 'mariadb' ? { gtid_strict_mode: 'OFF' } : {} });
      await installMysqlBed(pair);
    }, 300_000);
    afterEach(() => bed.stop());
    afterAll(() => pair.destroy());

    it('tells of heartbeats on the target, by instants of the daemon’s own clock', async () => {
      // The first one brings the threads that they share.
      start();
      await streams();
      await bed.stop();
      const before = threads();
      start({ sourceRead: 'on' });
      await streams();
      await bed.until('capture delays', () => bed.of('link-reading').filter((o) => o.value !== null).length > 20);
      expect(threads()).toBeGreaterThan(before);
      const delays = bed
        .of('link-reading')
        .flatMap((o) => (o.signal === 'capture_delay' && o.value !== null ? [o.value] : []))
        .sort((a, b) => a - b);
      // Read in the thread, and taken from the instant before the write in the main thread: never before it, and by the same
      // clock, however busy the machine is.
      expect(delays[0]).toBeGreaterThan(0);
      expect(delays[Math.floor(delays.length / 2)]).toBeLessThan(5);
      await bed.stop();
      expect(threads()).toBe(before);
      await waitFor('the sessions to end', 5_000, async () => (await sessions()).length === 0);
    });

    it('counts what it has read: as many transactions, and as many bytes, as the log has grown by', async () => {
      start();
      await streams();
      // Nothing but what is written here comes into the log then.
      await pair.stopSqlThread();
      const status = flavour === 'mysql' ? 'show binary log status' : 'show master status';
      const head = async (): Promise<{ File: string; Position: string | number }> => {
        const [row] = await pair.onTarget<{ File: string; Position: string | number }>(status);
        if (row === undefined) throw new Error('no binlog');
        return row;
      };
      const read = (): { transactions: number; bytes: number } => bed.read.get('target/binlog') ?? { transactions: 0, bytes: 0 }; // prettier-ignore
      let last = read();
      await bed.until('what was read before to be counted', async () => {
        const before = last;
        await new Promise((resolve) => setTimeout(resolve, 1_200));
        last = read();
        return last.bytes === before.bytes;
      });
      const from = await head();
      await alone(
        pair.target,
        `insert into app.orders (customer_id, note) select id, repeat('x', 200) from app.customers;
         insert into app.orders (customer_id) values (1); create table app.counted (id int); drop table app.counted`,
      );
      const to = await head();
      expect(to.File).toBe(from.File);
      const wanted = { transactions: 4, bytes: Number(to.Position) - Number(from.Position) };
      expect(wanted.bytes).toBeGreaterThan(4_000);
      const since = (): object => ({ transactions: read().transactions - last.transactions, bytes: read().bytes - last.bytes }); // prettier-ignore
      await bed
        .until('the count', () => JSON.stringify(since()) === JSON.stringify(wanted), 5_000)
        .finally(() => pair.startSqlThread());
      expect(since()).toEqual(wanted);
    });

    it('reads nothing on the active side, and says why', async () => {
      start();
      await streams();
      expect(bed.logged.filter((line) => line.startsWith('streaming'))).toHaveLength(1);
      const reasons = bed.of('link-reading').map((o) => o.reason);
      expect(reasons).toContain(
        'source carries production writes: its binlog is read only with `read: on`, or for a fence',
      );
    });

    it('where it is switched off, heartbeats are polled and the server’s GTIDs show that it writes nothing', async () => {
      start({ targetRead: 'off', watch: 'binlog' });
      await polled(/read: off/);
      await bed.until('silence', () => watching(0));
      const since = bed.seen.length;
      await alone(pair.target, 'set sql_log_bin = 1; create table app.by_hand (id int)');
      await bed.until('the reason', () =>
        bed
          .of('local-watch', since)
          .some((o) => /has written transactions of its own \(GTIDs .* → .*\)/.test(o.reason ?? '')),
      );
      await alone(pair.target, 'drop table app.by_hand');
      expect(bed.of('local-writes')).toEqual([]);
    });

    it('what a poor reader could not look into is read once it may', async () => {
      await alone(pair.target, "set sql_log_bin = 0; revoke replication slave on *.* from lg@'%'");
      start();
      await polled(/REPLICATION SLAVE|privilege|grants/);
      await bed.until('silence', () => watching(0));
      await alone(pair.target, 'insert into app.orders (customer_id) values (1)');
      await bed.until('the reason', () =>
        bed.of('local-watch').some((o) => /transactions of its own/.test(o.reason ?? '')),
      );
      expect(bed.of('local-writes')).toEqual([]);
      const since = bed.seen.length;
      await alone(pair.target, "set sql_log_bin = 0; grant replication slave on *.* to lg@'%'");
      await bed.until('the write', () => bed.of('local-writes', since).length > 0, 20_000);
      await bed.until('no gap', () => bed.of('local-watch', since).some((o) => o.watching && o.emptyGap));
    });

    it('needs row format for heartbeats, and says so; local writes are seen in any', async () => {
      const format = async (name: string): Promise<void> => {
        await pair.stopSqlThread();
        await alone(pair.target, `set global binlog_format = '${name}'`);
        await pair.startSqlThread();
      };
      await format('MIXED');
      start();
      await polled(/binlog_format is MIXED.*SET GLOBAL binlog_format = ROW/);
      await bed.until('the watch', () => watching(0));
      await alone(pair.target, 'insert into app.orders (customer_id) values (1)');
      await bed.until('the write', () => bed.of('local-writes').length === 1);
      await format('ROW');
    });

    it.skipIf(flavour === 'mariadb')('reads no compressed transactions, and says so', async () => {
      await alone(pair.target, 'set global binlog_transaction_compression = ON');
      start();
      await polled(/binlog_transaction_compression is ON.*SET PERSIST binlog_transaction_compression = OFF/);
      await bed.stop();
      await alone(pair.target, 'set global binlog_transaction_compression = OFF');
      start();
      await streams();
      // A session may still choose it for itself.
      await alone(
        pair.target,
        'set binlog_transaction_compression = ON; insert into app.orders (customer_id) values (1)',
      );
      await polled(/a transaction in the binlog is compressed/);
      expect(bed.of('local-writes')).toEqual([]);
    });

    it('is no obstacle that JSON is logged in parts', { skip: flavour === 'mariadb' }, async () => {
      start();
      await streams();
      const since = bed.seen.length;
      await alone(
        pair.target,
        `set binlog_row_value_options = PARTIAL_JSON;
         update app.customers set settings = json_set(settings, '$.n', 17) where id = 1`,
      );
      await bed.until('the write', () => bed.of('local-writes', since).length === 1);
      await streams();
    });

    it('a server id that is taken is refused, before anybody is put out', async () => {
      start({ serverId: 2 });
      await polled(/`server_id: 2` is that of the server or of one of its replicas/);
    });

    // By a UUID of its own each of two daemons has its place on MySQL, whatever their ids; a daemon's twin has the same one.
    it.each([
      ['a daemon and its twin', { daemonId: 'twin' }, { daemonId: 'twin' }, false],
      ['two daemons with one configured server_id', { serverId: 77 }, { serverId: 77 }, flavour === 'mysql'],
    ])('%s do not fight for ever: one gives way and polls', async (_, first, second, peace) => {
      start(first);
      await streams();
      const other = startMysqlBed(pair, second);
      const begun = (of: MysqlBed): number => of.logged.filter((line) => line.startsWith('streaming')).length;
      try {
        await other.until('the other one to stream', () => begun(other) > 0, 20_000);
        if (peace) {
          await streams();
          await other.until('both', () => other.watched().mode === 'binlog');
        } else {
          await polled(/has taken the binlog over.*server_id.*of its own/);
          await bed.until('the end of the watch', () =>
            bed.of('local-watch').some((o) => !o.watching && /has taken the binlog over/.test(o.reason ?? '')),
          );
        }
        await new Promise((resolve) => setTimeout(resolve, 3_000));
        expect([begun(bed), begun(other)]).toEqual([1, 1]);
        expect(other.logged.filter((line) => line.includes('has taken the binlog over'))).toEqual([]);
        expect(other.of('local-watch').at(-1)?.watching).toBe(true);
        // Nothing goes unseen meanwhile, nor is it taken for none by whoever does not look.
        const [mine, others] = [bed.seen.length, other.seen.length];
        await alone(pair.target, 'insert into app.orders (customer_id) values (1)');
        await other.until('the write', () => other.of('local-writes', others).length === 1);
        if (!peace) {
          await bed.until('doubt', () => bed.of('local-watch', mine).some((o) => !o.watching));
          expect(bed.of('local-watch', mine).at(-1)?.watching).toBe(false);
        }
      } finally {
        await other.stop();
      }
    });

    it('a new password is named as the reason, and read anew', async () => {
      start();
      await streams();
      await alone(pair.target, "set sql_log_bin = 0; alter user lg@'%' identified by 'changed'");
      for (const { id } of await sessions()) await alone(pair.target, `kill ${id}`).catch(() => undefined);
      await bed.until('the reason', () =>
        bed.logged.some((line) => /binlog reader.*Access denied|Access denied.*target.binlog/.test(line)),
      );
      const since = bed.seen.length;
      await alone(pair.target, `set sql_log_bin = 0; alter user lg@'%' identified by '${bedUser.password}'`);
      await bed.until('the return', () => bed.watched().mode === 'binlog' && seenBy('binlog', since) > 2, 30_000);
    });

    it('a killed server is read again from where it was', async () => {
      start();
      await streams();
      await bed.until('the watch', () => watching(0));
      await pair.target.kill();
      const since = bed.seen.length;
      await pair.target.start();
      await bed.until('the return', () => bed.of('local-watch', since).some((o) => o.watching && o.emptyGap), 30_000);
      await streams();
    });

    it('what replication applies must be logged for heartbeats, and is not needed for local writes', async () => {
      await pair.target.kill();
      await pair.target.start({ [updates]: 'OFF' });
      start();
      await polled(new RegExp(`${updates} is OFF.*set ${updates} = ON`));
      await bed.until('the watch', () => watching(0));
      await alone(pair.target, 'insert into app.orders (customer_id) values (1)');
      await bed.until('the write', () => bed.of('local-writes').length === 1);
    });

    it.skipIf(flavour === 'mariadb')('a server without a binlog says so', async () => {
      await pair.target.kill();
      await pair.target.start({ skip_log_bin: 'ON', [updates]: 'OFF' });
      start();
      await polled(/keeps no binlog.*log_bin/);
      await bed.until('the reason', () => bed.of('local-watch').some((o) => /keeps no binlog/.test(o.reason ?? '')));
      expect(watching(0)).toBe(false);
    });
  });
});
