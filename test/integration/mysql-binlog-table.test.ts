import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { testedFlavours } from '../support/flavours.js';
import { installMysqlBed, startMysqlBed, type MysqlBed } from '../support/mysql-bed.js';
import { alone, startMysqlPair, type MysqlPair } from '../support/mysql-pair.js';

describe.each(testedFlavours)('the binlog reader on $flavour', ({ flavour, left }) => {
  describe.skipIf(left)('that cannot learn the columns of the heartbeat table', () => {
    let pair: MysqlPair;
    let bed: MysqlBed;

    const streams = async (since = bed.seen.length): Promise<void> => {
      const seen = (): number =>
        bed.of('heartbeat-visible', since).filter((o) => o.by === 'binlog' && o.upTo !== null).length;
      await bed.until('heartbeats by binlog', () => bed.watched().mode === 'binlog' && seen() > 2, 20_000);
    };
    const sessions = async (): Promise<{ id: string; command: string }[]> =>
      pair.onTarget("select ID as id, COMMAND as command from information_schema.processlist where USER = 'lg'");

    beforeAll(async () => {
      // In strict mode a local write stops MariaDB's applier.
      pair = await startMysqlPair({ flavour, settings: flavour === 'mariadb' ? { gtid_strict_mode: 'OFF' } : {} });
      await installMysqlBed(pair);
    }, 300_000);
    afterEach(() => bed.stop());
    afterAll(() => pair.destroy());

    // The library asks for the columns of a table whenever its number in the log is new; without an answer it waits for ever.
    it.each([
      [
        'may not be seen any more',
        ["revoke select, insert, delete on lockgate.* from lg@'%'", 'flush tables lockgate.heartbeat'],
        "grant select, insert, delete on lockgate.* to lg@'%'",
      ],
      [
        'is gone when the log is read again',
        ['rename table lockgate.heartbeat to lockgate.away'],
        'rename table lockgate.away to lockgate.heartbeat',
      ],
    ])('a heartbeat table that %s is named as the reason, and read once it is there', async (_, takes, gives) => {
      bed = startMysqlBed(pair);
      await streams();
      await bed.until('the watch', () => bed.of('local-watch').some((o) => o.watching));
      const unlogged = (sql: string): Promise<unknown> => alone(pair.target, `set sql_log_bin = 0; ${sql}`);
      const since = bed.seen.length;
      for (const sql of takes) await unlogged(sql);
      await alone(pair.target, 'insert into app.orders (customer_id) values (1)');
      try {
        if (gives.startsWith('rename')) {
          // A stream that begins at the mark comes upon heartbeats of before, in a table that is there no more.
          for (const { id, command } of await sessions()) {
            if (command.startsWith('Binlog Dump')) await alone(pair.target, `kill ${id}`);
          }
        }
        await bed.until(
          'the fallback',
          () => bed.watched().mode === 'poll' && /columns of lockgate.heartbeat cannot be read/.test(bed.watched().why),
        );
        // Polling cannot see them either, and says so.
        await bed.until('the fault', () => bed.of('watch-fault', since).some((o) => /denied|exist/i.test(o.reason)));
        await bed.until('doubt about local writes', () => bed.of('local-watch', since).some((o) => !o.watching));
        const after = bed.seen.length;
        await new Promise((resolve) => setTimeout(resolve, 1_500));
        expect(bed.of('heartbeat-visible', after)).toEqual([]);
        // That the server has written nothing since may be known by its GTIDs, but only once that write was told of.
        if (bed.of('local-writes', since).length === 0) {
          expect(bed.of('local-watch', after).filter((o) => o.watching)).toEqual([]);
        }
      } finally {
        await unlogged(gives);
        if (gives.startsWith('rename')) await pair.startSqlThread();
      }
      await bed.until('the return', () => bed.watched().mode === 'binlog', 30_000);
      await streams();
      await bed.until('the write', () => bed.of('local-writes', since).length > 0);
      expect(bed.of('local-watch', since).filter((o) => o.watching && !o.emptyGap && o.reason !== null)).toEqual([]);
    });
  });
});
