/** The surroundings of a pair of MariaDB or MySQL servers go wrong; what is too long for the short run. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { signalOf } from '../support/environment.js';
import { testedFlavours } from '../support/flavours.js';
import { GateWatch, workspace, type Daemon } from '../support/lockgate.js';
import { mysqlScenarioYaml, startMysqlScenario, type MysqlScenario } from '../support/mysql-scenario.js';
import { runAll } from '../support/pair.js';
import { expectNoFalseGreen, opened, runFault } from '../support/scenario.js';
import { smallDisk, type SmallDisk } from '../support/small-disk.js';

const limit = 180_000;
const fetchLimit = 300_000;

describe.each(testedFlavours)('the disk of the relay log is full on $flavour', ({ flavour, left }) => {
  describe.skipIf(left)('under load', () => {
    let s: MysqlScenario;
    let disk: SmallDisk;
    beforeAll(async () => {
      disk = await smallDisk();
      s = await startMysqlScenario({ flavour, targetSettings: { relay_log: `${disk.folder}/relay` } });
    }, fetchLimit);
    afterAll(async () => {
      await s.destroy();
      await disk.destroy();
    }, limit);

    it('replication stands still, and goes on when there is room', { timeout: limit }, async () => {
      await runFault(s, {
        name: 'disk full',
        class: 'apply',
        expect: 'breaks',
        state: 'closed',
        lastsMs: 8_000,
        async make({ pair }) {
          disk.fill();
          await pair.bulk(5_000);
          return async () => {
            expect(pair.target.logTail(500)).toMatch(/No space left on device|Disk is full/);
            disk.makeRoom();
            // The server waits a minute before it looks again.
            await pair.settled(100_000);
          };
        },
      });
    });
  });
});

describe.each(testedFlavours)('two daemons watch one pair of $flavour', ({ flavour, left }) => {
  describe.skipIf(left)('each with an id of its own', () => {
    let s: MysqlScenario;
    let other: Daemon;
    const watches: GateWatch[] = [];
    const cleanups: (() => Promise<void>)[] = [];
    beforeAll(async () => {
      s = await startMysqlScenario({ flavour });
      cleanups.push(() => s.destroy());
      const yaml = mysqlScenarioYaml(s.pair, { flavour });
      const lockgate = await workspace((port) => yaml(port).replace('id: tester', 'id: another'));
      cleanups.push(() => lockgate.destroy());
      other = await lockgate.start();
      watches.push(new GateWatch(lockgate.url, 'shop/lag'), new GateWatch(lockgate.url, 'shop/whole'));
      cleanups.push(...watches.map((watch) => () => watch.stop()));
      await Promise.all(watches.map((watch) => watch.until(['open'], 40_000)));
    }, fetchLimit);
    afterAll(() => runAll(cleanups), limit);

    it('both measure the truth, and both see that replication stands still', { timeout: limit }, async () => {
      await opened(s);
      const from = performance.now();
      await runFault(s, {
        name: 'none',
        class: 'load',
        expect: 'healthy',
        lastsMs: 5_000,
        make: () => Promise.resolve(undefined),
      });
      const between = performance.now();
      await runFault(s, {
        name: 'SQL thread stopped',
        class: 'replication',
        expect: 'breaks',
        state: 'closed',
        async make({ pair }) {
          await pair.stopSqlThread();
          return () => pair.startSqlThread();
        },
      });
      const until = performance.now();
      if (s.observer === null) throw new Error('nobody observes');
      for (const watch of watches) {
        expect(watch.between(from, between).filter((x) => x.state !== 'open')).toEqual([]);
        expect(expectNoFalseGreen(watch, s.observer, from, until).notOpen).toBeGreaterThan(0);
        await watch.until(['open'], 20_000);
      }
      for (const daemon of [s.daemon, other]) {
        await signalOf(daemon, 'forward.lag', (x) => x.state === 'ok' && (x.value ?? 9) < 0.75);
      }
    });

    it('one may end, and the other goes on', { timeout: limit }, async () => {
      await other.kill();
      await runFault(s, {
        name: 'none',
        class: 'load',
        expect: 'healthy',
        lastsMs: 4_000,
        make: () => Promise.resolve(undefined),
      });
    });
  });
});
