import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { testedFlavours } from '../support/flavours.js';
import { databaseAt } from '../support/listening.js';
import { LocalBench } from '../support/local-bench.js';
import { bedUser, installMysqlBed, startMysqlBed } from '../support/mysql-bed.js';
import { alone, startMysqlPair, type MysqlPair } from '../support/mysql-pair.js';

// MariaDB has GTIDs in its binlog whatever replication goes by; there it is the replica that knows places only.
describe.each(testedFlavours)('a replica by file and position on $flavour', ({ flavour, left }) => {
  describe.skipIf(left)('is read again from where it was', () => {
    let pair: MysqlPair;
    let bench: LocalBench;

    let id = 8_000_000;
    /** Far from what replication brings, which would stop at a key that is taken. */
    const write = (): Promise<unknown> =>
      alone(pair.target, `insert into ${pair.database}.orders (id, customer_id) values (${(id += 1)}, 1)`);
    const sessions = async (): Promise<{ id: string; command: string }[]> =>
      pair.onTarget("select ID as id, COMMAND as command from information_schema.processlist where USER = 'lg'");
    /** Ends the reader's session that the log comes over, or the one beside it. */
    const kill = async (dump: boolean): Promise<void> => {
      const found = (await sessions()).find(({ command }) => command.startsWith('Binlog Dump') === dump);
      await alone(pair.target, `kill ${found?.id ?? 'nobody'}`);
    };
    const interrupted = (since: number): boolean =>
      bench.seen.slice(since).some((o) => o.kind === 'local-watch' && !o.watching);

    beforeAll(async () => {
      const settings: Record<string, string> = flavour === 'mariadb' ? { gtid_strict_mode: 'OFF' } : {};
      pair = await startMysqlPair({ flavour, gtid: false, settings });
      await installMysqlBed(pair);
      bench = new LocalBench({
        ...databaseAt('aws', pair.daemonUrl('target'), bedUser),
        engine: 'mysql',
        read: 'auto',
      });
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

    it('tells a write by its place', async () => {
      await write();
      await bench.reads('1');
      expect(bench.memory.firstPosition).toMatch(flavour === 'mysql' ? /^binlog\.\d+:\d+$/ : /^\d+-2-\d+$/);
    });

    it.each([
      ['the log', true],
      ['its questions', false],
    ])(
      'after its session for %s was killed: what is written meanwhile is found, and nothing twice',
      async (_, dump) => {
        const since = bench.seen.length;
        await kill(dump);
        await write();
        // Into a later file.
        await alone(pair.target, 'flush binary logs');
        await write();
        await pair.placeOrder();
        await pair.settled();
        await bench.reads('2');
        await bench.confirmed();
        expect(interrupted(since)).toBe(true);
        expect(bench.memory).toMatchObject({ count: 2, gaps: [] });
      },
    );

    it('after a killed server', async () => {
      await write();
      await bench.reads('1');
      await bench.confirmed();
      await pair.target.kill();
      await pair.target.start();
      await write();
      await bench.reads('2', 20_000);
      await bench.confirmed(20_000);
      expect(bench.memory).toMatchObject({ count: 2, gaps: [] });
    });

    it('after a restart of the daemon, and what replication brought is none', async () => {
      await bench.stop();
      await write();
      await pair.bulk(1_000);
      await pair.settled();
      await alone(pair.target, 'flush binary logs');
      bench.start();
      await bench.reads('1');
      await bench.confirmed();
      expect(bench.memory).toMatchObject({ count: 1, gaps: [] });
    });

    it('heartbeats are seen by it', async () => {
      const bed = startMysqlBed(pair);
      const seen = (): number => bed.of('heartbeat-visible').filter((o) => o.by === 'binlog' && o.upTo !== null).length;
      try {
        await bed.until('heartbeats by binlog', () => seen() > 3, 20_000);
      } finally {
        await bed.stop();
      }
    });
  });
});
