import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { mysqlEngine } from '../../collectors/mysql/engine.js';
import { SystemClock } from '../../daemon/lifecycle/clock.js';
import { writeConfig } from '../bench/daemon.js';
import { measureWatch } from '../bench/lag.js';
import { mysqlBenchYaml } from '../bench/mysql.js';
import { busyPair, clearMysqlLoads, prepareMysqlLoads, startMysqlLoad } from '../bench/mysql-load.js';
import { testedFlavours } from '../support/flavours.js';
import { databaseAt } from '../support/listening.js';
import { LocalBench } from '../support/local-bench.js';
import { bedUser, installMysqlBed } from '../support/mysql-bed.js';
import { alone, startMysqlPair, type MysqlPair } from '../support/mysql-pair.js';

const mebibyte = 2 ** 20;
const clock = new SystemClock();

describe.each(testedFlavours)('the binlog reader of a busy target on $flavour', ({ flavour, left }) => {
  describe.skipIf(left)('that is written to beside replication', () => {
    let pair: MysqlPair;

    beforeAll(async () => {
      pair = await startMysqlPair(busyPair(flavour));
      await installMysqlBed(pair);
      await prepareMysqlLoads(pair);
    }, 300_000);
    afterEach(() => clearMysqlLoads(pair));
    afterAll(() => pair.destroy());

    it('never tells of a heartbeat too early, and not much too late, with 50 MB/s passing by', async () => {
      const result = await measureWatch({
        config: writeConfig(mysqlBenchYaml(pair, 'binlog')).config,
        engine: mysqlEngine,
        sides: { source: pair.source.adminUrl(pair.database), target: pair.target.adminUrl(pair.database) },
        watch: 'binlog',
        load: 'bulk-beside',
        seconds: 4,
        startLoad: (seconds) => startMysqlLoad(pair, 'bulk-beside', seconds),
      });
      // A machine that has other work, too, may not reach it; far below, nothing would be shown.
      expect(result.rate?.bytesPerSecond).toBeGreaterThan(10e6);
      expect(result.heartbeats).toBeGreaterThan(10);
      expect({ below: result.below, asked: result.askedBelow, early: result.early.beats }).toEqual({
        below: 0,
        asked: 0,
        early: 0,
      });
      expect(result.errorAtMostUs.p99).toBeLessThan(5e6);
    });

    it('loses nothing and keeps little while the daemon’s main thread does not listen', async () => {
      const db = { ...databaseAt('aws', pair.daemonUrl('target'), bedUser), engine: 'mysql', read: 'auto' } as const;
      const bench = new LocalBench({ ...db, address: { ...db.address, port: pair.target.port } });
      bench.start();
      try {
        await bench.reads('0', 20_000);
        const seconds = 7;
        const loads = Promise.all(
          (['bulk-beside', 'brisk-beside'] as const).map(async (name) => {
            const from = performance.now();
            const rate = await startMysqlLoad(pair, name, seconds);
            return { transactions: (rate?.tps ?? 0) * ((performance.now() - from) / 1_000), rate };
          }),
        );
        await sleep(500);
        const before = beginPeak();
        const from = clock.monotonicNow();
        // The thread would have some fifty messages a second to tell.
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5_000);
        const to = clock.monotonicNow();
        await loads;
        const [row] = await alone(
          pair.target,
          `select count(distinct if(name is null, id, null)) as single, sum(name is not null) as many from ${pair.database}.beside`,
        );
        const written = Number(row?.['single']) + Number(row?.['many']) / 1_250;
        expect(written).toBeGreaterThan(100);
        await bench.confirmed(30_000);
        expect(bench.memory).toMatchObject({ count: written, gaps: [] });
        expect((peak() - before) / mebibyte).toBeLessThan(300);
        const unheard = bench.seen.filter((o) => o.at > from && o.at < to).length;
        expect(unheard).toBeGreaterThan(20);
        expect(unheard).toBeLessThan(72);
      } finally {
        await bench.stop();
      }
    });
  });
});

/** What this process holds now, in bytes; from here on its peak is taken. */
function beginPeak(): number {
  writeFileSync('/proc/self/clear_refs', '5');
  return peak();
}

/** The most that it has held since then. */
function peak(): number {
  const found = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'));
  return Number(found?.[1]) * 1024;
}
