/** The surroundings of a pair go wrong while replication itself is sound, on MariaDB and MySQL. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { fakeTime, type FakeTime } from '../support/fake-time.js';
import { signalOf } from '../support/environment.js';
import { everyFlavour } from '../support/flavours.js';
import type { MysqlFault } from '../support/mysql-faults.js';
import { startMysqlScenario, type MysqlScenario } from '../support/mysql-scenario.js';
import { opened, runFault } from '../support/scenario.js';
import { timing } from '../support/scenario-setup.js';

const limit = 120_000;
const fetchLimit = 300_000;

const standstill: MysqlFault = {
  name: 'replication stands still',
  class: 'apply',
  expect: 'breaks',
  state: 'closed',
  async make({ pair }) {
    const release = await pair.lockTable();
    await pair.placeOrder();
    return release;
  },
};

describe.each(everyFlavour)('clocks of 744 s (source) and -744 s (target) on $flavour', ({ flavour, left }) => {
  describe.skipIf(left)('of both servers', () => {
    let s: MysqlScenario;
    let source: FakeTime;
    let target: FakeTime;
    beforeAll(async () => {
      [source, target] = [await fakeTime(744), await fakeTime(-744)];
      s = await startMysqlScenario({ flavour, sourceEnv: source.env, targetEnv: target.env });
    }, fetchLimit);
    afterAll(() => s.destroy(), limit);

    const undisturbed = async (clocks: { source: number; target: number }): Promise<void> => {
      await opened(s);
      const open = await s.pair.openTransaction();
      await signalOf(s.daemon, 'source.longest_transaction', (x) => (x.value ?? 0) > 1 && (x.value ?? 0) < 30);
      await open.rollback();
      for (const name of ['forward.lag', 'forward.lag_by_position', 'forward.lag_low']) {
        const inTime = await signalOf(s.daemon, name, (x) => (x.value ?? Infinity) < timing.thresholdMs / 1_000);
        expect(inTime.value, name).toBeGreaterThanOrEqual(0);
      }
      const signals = await s.daemon.signals();
      for (const side of ['source', 'target'] as const) {
        const skew = signals.get(`${side}.clock_skew`);
        expect(skew?.state).toBe('ok');
        expect(Math.abs((skew?.value ?? 0) - clocks[side]), `${side}: ${String(skew?.value)}`).toBeLessThan(1.5);
      }
    };

    it('disturb nothing', { timeout: limit }, async () => {
      // A server under libfaketime is itself late for a second or two now and then, which the observer sees as well.
      await runFault(s, { name: 'none', class: 'load', expect: 'truth', lastsMs: 5_000, make: nothing });
      await undisturbed({ source: 744, target: -744 });
    });

    it('do not hide that replication stands still', { timeout: limit }, async () => {
      await runFault(s, standstill);
    });

    it('disturb nothing when they are set while all runs', { timeout: limit }, async () => {
      await runFault(s, {
        name: 'clocks set',
        class: 'load',
        expect: 'truth',
        make() {
          source.set(-744);
          target.set(744);
          return Promise.resolve(undefined);
        },
      });
      await undisturbed({ source: -744, target: 744 });
      await runFault(s, standstill);
    });
  });
});

describe.each(everyFlavour)('restarts on $flavour', ({ flavour, left }) => {
  describe.skipIf(left)('in good order', () => {
    let s: MysqlScenario;
    beforeAll(async () => {
      s = await startMysqlScenario({ flavour });
    }, fetchLimit);
    afterAll(() => s.destroy(), limit);

    it('of the replica: whatever the observer says, and open again by itself', { timeout: limit }, async () => {
      await runFault(s, {
        name: 'replica restarted',
        class: 'server',
        expect: 'truth',
        async make({ pair }) {
          await pair.target.stop();
          await pair.target.start();
          return undefined;
        },
      });
    });

    it('of the daemon in a hold: the hold starts again', { timeout: limit }, async () => {
      await opened(s);
      await s.daemon.kill();
      const killed = performance.now();
      s.daemon = await s.lockgate.start();
      await opened(s);
      const open = s.wholeGate.between(killed, Infinity).find((x) => x.state === 'open');
      expect((open?.at ?? 0) - killed).toBeGreaterThan(timing.holdMs);
    });

    it('of the daemon leave no session behind', { timeout: limit }, async () => {
      await s.daemon.stop();
      for (const ask of [s.pair.onSource, s.pair.onTarget]) {
        await waitFor('its sessions to be gone', 5_000, async () => {
          const rows = await ask("select id from information_schema.processlist where user = 'lockgate'");
          return rows.length === 0;
        });
      }
      await sleep(500);
      s.daemon = await s.lockgate.start();
      await opened(s);
    });
  });
});

const nothing = (): Promise<undefined> => Promise.resolve(undefined);
