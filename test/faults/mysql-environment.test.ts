/** The surroundings of a pair of MariaDB or MySQL servers go wrong; what is too long for the short run. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { signalOf } from '../support/environment.js';
import { everyFlavour } from '../support/flavours.js';
import { GateWatch, workspace, type Daemon } from '../support/lockgate.js';
import { rootConnection, type MysqlQuery } from '../support/mysql-connection.js';
import { mysqlScenarioYaml, startMysqlScenario, type MysqlScenario } from '../support/mysql-scenario.js';
import { runAll } from '../support/pair.js';
import { expectNoFalseGreen, opened, runFault } from '../support/scenario.js';
import { smallDisk, type SmallDisk } from '../support/small-disk.js';

const limit = 180_000;
const fetchLimit = 300_000;

describe.each(everyFlavour)('the disk of the relay log is full on $flavour', ({ flavour, left }) => {
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

describe.each(everyFlavour)('what the daemon may, and whether it runs, on $flavour', ({ flavour, left }) => {
  describe.skipIf(left)('by the least privileges', () => {
    let s: MysqlScenario;
    beforeAll(async () => {
      s = await startMysqlScenario({ flavour });
    }, fetchLimit);
    afterAll(() => s.destroy(), limit);

    // Past the binlog: the replica's account is another one.
    const unlogged = (on: MysqlQuery, sql: string): Promise<unknown> =>
      on(`set session sql_log_bin = 0; ${sql}; set session sql_log_bin = 1`);
    const rights =
      flavour === 'mysql'
        ? { source: 'REPLICATION CLIENT', target: 'REPLICATION CLIENT' }
        : { source: 'BINLOG MONITOR', target: 'SLAVE MONITOR' };

    it.each(['source', 'target'] as const)(
      'without the right to see positions on the %s: unknown, and the grant in the reason mends it',
      { timeout: limit },
      async (side) => {
        const { pair } = s;
        const on = side === 'source' ? pair.onSource : pair.onTarget;
        await runFault(s, {
          name: `${rights[side]} revoked on the ${side}`,
          class: 'blind',
          // Its sessions are ended, which lag shows for a moment too.
          expect: 'truth',
          state: 'unknown',
          async make() {
            await unlogged(on, `revoke ${rights[side]} on *.* from 'lockgate'@'%'`);
            // What a session was allowed at its beginning it keeps.
            await endSessions(on);
            return async () => {
              const hidden = await signalOf(s.daemon, 'forward.running', (x) => x.state === 'unknown');
              expect(hidden.reason).toContain(rights[side]);
              expect(hidden.reason).toContain('apply the grants that `lockgate grants` prints for this database');
              await unlogged(on, `grant ${rights[side]} on *.* to 'lockgate'@'%'`);
              await endSessions(on);
            };
          },
        });
      },
    );

    it('without PROCESS: sessions are unknown, not none, until it is granted', { timeout: limit }, async () => {
      const { pair } = s;
      for (const [side, on] of [
        ['source', pair.onSource],
        ['target', pair.onTarget],
      ] as const) {
        await unlogged(on, "revoke process on *.* from 'lockgate'@'%'");
        await endSessions(on);
        for (const name of [`${side}.connections`, `${side}.longest_transaction`]) {
          await signalOf(s.daemon, name, (x) => {
            return x.state === 'unknown' && /PROCESS.*(GRANT|lockgate grants)|GRANT PROCESS/.test(x.reason ?? '');
          });
        }
        await unlogged(on, "grant process on *.* to 'lockgate'@'%'");
        await endSessions(on);
        for (const name of [`${side}.connections`, `${side}.longest_transaction`]) {
          await signalOf(s.daemon, name, (x) => x.state === 'ok');
        }
      }
      await opened(s);
    });

    // The least that MariaDB takes.
    const most = 10;
    it('all connections taken by others: what cannot be seen is unknown', { timeout: limit }, async () => {
      await runFault(s, {
        name: 'no connection left on the target',
        class: 'blind',
        expect: 'breaks',
        state: 'unknown',
        withinMs: 4_500,
        lastsMs: 6_000,
        async make({ pair }) {
          // More than there may be soon, so that none of those that are ended then comes back.
          const taken = await Promise.all(Array.from({ length: most + 2 }, () => rootConnection(pair.target, '')));
          await pair.onTarget(`set global max_connections = ${most}`);
          await waitFor('the daemon to be without any', 10_000, async () => {
            // One that was being opened when the server was told to be full is ended as well once it is through.
            await endSessions(pair.onTarget);
            const others = await pair.onTarget(
              "select id from information_schema.processlist where user in ('lockgate', 'unauthenticated user')",
            );
            return others.length === 0;
          });
          await expect(rootConnection(pair.target, ''), 'a connection more').rejects.toMatchObject({ errno: 1040 });
          return async () => {
            for (const connection of taken) connection.destroy();
            await waitFor('a connection to be free', 10_000, async () => {
              await pair.onTarget('set global max_connections = 100').catch(() => undefined);
              const [row] = await pair.onTarget<{ most: string | number }>('select @@global.max_connections as most');
              return Number(row?.most) === 100;
            });
          };
        },
      });
    });

    it('a daemon frozen while replication stops does not say open when it wakes', { timeout: limit }, async () => {
      await opened(s);
      s.daemon.signal('SIGSTOP');
      await s.pair.stopSqlThread();
      await sleep(8_000);
      s.daemon.signal('SIGCONT');
      const resumed = performance.now();
      await sleep(4_000);
      for (const watch of [s.lagGate, s.wholeGate]) {
        const answers = watch.samples.filter((x) => x.at > resumed && x.state !== 'unreachable');
        expect(answers.length).toBeGreaterThan(10);
        expect(answers.filter((x) => x.state === 'open')).toEqual([]);
      }
      await s.pair.startSqlThread();
      await opened(s);
    });
  });
});

/** Ends the sessions of the daemon. */
async function endSessions(on: MysqlQuery): Promise<void> {
  const sessions = await on<{ id: string | number }>(
    "select id from information_schema.processlist where user = 'lockgate'",
  );
  // One may be gone already.
  for (const { id } of sessions) await on(`kill ${id}`).catch(() => undefined);
}

describe.each(everyFlavour)('two daemons watch one pair of $flavour', ({ flavour, left }) => {
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
