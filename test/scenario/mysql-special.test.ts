import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { testedFlavours } from '../support/flavours.js';
import { workspace } from '../support/lockgate.js';
import { replicaWords } from '../support/mysql-dialect.js';
import { alone } from '../support/mysql-pair.js';
import { mysqlAdmins, mysqlScenarioYaml, startMysqlScenario, type MysqlScenario } from '../support/mysql-scenario.js';
import { opened } from '../support/scenario.js';
import { timing } from '../support/scenario-setup.js';

const limit = 120_000;
const fetchLimit = 300_000;
const settleMs = timing.thresholdMs + 3_000;

describe.each(testedFlavours)('a replica of two sources on $flavour', ({ flavour, left }) => {
  describe.skipIf(left)('of which a link has one', () => {
    let s: MysqlScenario;
    const words = (channel: string) => replicaWords(flavour, channel);
    beforeAll(async () => {
      s = await startMysqlScenario({ flavour, channels: ['shop', 'crm'], linked: ['shop'] });
    }, fetchLimit);
    afterAll(() => s.destroy(), limit);

    it('is open whatever the other channel does', { timeout: limit }, async () => {
      await opened(s);
      const from = performance.now();
      await alone(s.pair.target, words('crm').stop);
      await sleep(settleMs);
      const red = s.wholeGate.between(from, Infinity).find((x) => x.state !== 'open');
      expect(red, JSON.stringify(red?.verdict, null, 1)).toBeUndefined();
      await alone(s.pair.target, words('crm').start);
    });

    it('closes when its own channel stops, which it names', { timeout: limit }, async () => {
      await opened(s);
      await alone(s.pair.target, words('shop').stop);
      const closed = await s.wholeGate.until(['closed'], settleMs);
      await s.lagGate.until(['closed'], settleMs);
      expect(JSON.stringify(closed.verdict)).toContain('channel shop on aws: the SQL thread is stopped');
      await alone(s.pair.target, words('shop').start);
      await opened(s);
    });

    it('knows lag by position alone while the source takes no writes', { timeout: limit }, async () => {
      await opened(s);
      // The observer is root, who writes all the same, so that positions have something to tell.
      await s.pair.onSource('set global read_only = 1');
      try {
        await s.lagGate.until(['unknown'], settleMs);
        await sleep(1_000);
        const signals = await s.daemon.signals();
        expect(signals.get('forward.lag')).toMatchObject({ state: 'unknown' });
        expect(signals.get('forward.lag')?.reason).toContain('onprem is read-only');
        expect(signals.get('forward.lag_by_position')?.state).toBe('ok');
        expect(signals.get('source.writable')?.value).toBe(0);
      } finally {
        await s.pair.onSource('set global read_only = 0');
      }
      await opened(s);
    });

    it('lets one daemon of an id write, and the other one says who does', { timeout: limit }, async () => {
      const second = await workspace(
        mysqlScenarioYaml(s.pair, { flavour, channels: ['shop', 'crm'], linked: ['shop'] }),
      );
      try {
        const daemon = await second.start();
        await waitFor('the second daemon to say so', 10_000, async () => {
          const reason = (await daemon.signals()).get('forward.lag')?.reason ?? '';
          return reason.includes('writes heartbeats as daemon tester already');
        });
        await daemon.stop();
      } finally {
        await second.destroy();
      }
      await opened(s);
    });

    it('never opens where both databases are one server', { timeout: limit }, async () => {
      const same = await workspace((port) =>
        mysqlScenarioYaml(s.pair, { flavour, channels: ['shop'], linked: ['shop'] })(port)
          .replace('id: tester', 'id: same')
          // By another port, as by another name: the text does not tell that it is the same server.
          .replaceAll(`:${s.pair.targetProxy.port}/`, `:${s.pair.source.port}/`),
      );
      try {
        const daemon = await same.start();
        for (let i = 0; i < 30; i++) {
          expect((await daemon.verdict('shop/lag')).state).not.toBe('open');
          expect((await daemon.verdict('shop/whole')).state).not.toBe('open');
          await sleep(200);
        }
        await daemon.stop();
      } finally {
        await same.destroy();
      }
    });

    it('takes no other server for its source', { timeout: limit }, async () => {
      await opened(s);
      const [other] = s.pair.others;
      if (other === undefined) throw new Error('the pair has no further source');
      // The channel of the link now comes from the source of the other one.
      for (const channel of ['crm', 'shop']) {
        await alone(s.pair.target, words(channel).stop);
        await alone(s.pair.target, words(channel).forget);
      }
      const address = { port: other.port, user: 'replicator', password: 'replicator', from: 'gtid' } as const;
      await alone(s.pair.target, words('shop').become(address));
      await alone(s.pair.target, words('shop').start);
      await s.wholeGate.until(['closed', 'unknown'], settleMs);
      await s.lagGate.until(['closed', 'unknown'], settleMs);
      await waitFor('the other source to be named', 10_000, async () =>
        JSON.stringify(await s.daemon.verdict('shop/whole')).includes('which is not onprem'),
      );
    });
  });
});

describe.each(testedFlavours)('replication both ways on $flavour', ({ flavour, left }) => {
  describe.skipIf(left)('both watched', () => {
    let s: MysqlScenario;
    beforeAll(async () => {
      s = await startMysqlScenario({
        flavour,
        ring: true,
        require: [`reverse.lag < ${timing.thresholdMs}ms for ${timing.holdMs}ms`, 'reverse.running is 1'],
      });
    }, fetchLimit);
    afterAll(() => s.destroy(), limit);

    it('measures the way back by heartbeats of its own', { timeout: limit }, async () => {
      await opened(s);
      const signals = await s.daemon.signals();
      expect(signals.get('reverse.lag')?.state).toBe('ok');
      expect(signals.get('reverse.lag_by_position')?.state).toBe('ok');
    });

    it('writes none where nothing carries it back', { timeout: limit }, async () => {
      const words = replicaWords(flavour);
      await alone(s.pair.source, words.stop);
      await s.wholeGate.until(['closed', 'unknown'], settleMs);
      await sleep(2_000);
      const newest = async (): Promise<string> => {
        const [row] = await s.pair.onTarget<{ n: string | number }>(
          "select count(*) as n from lockgate.heartbeat where link = 'shop/reverse'",
        );
        return String(row?.n);
      };
      const before = await newest();
      await sleep(2_000);
      expect(await newest()).toBe(before);
      expect((await s.daemon.signals()).get('reverse.running')?.value).toBe(0);
      await alone(s.pair.source, words.start);
      await opened(s);
    });

    it('is torn down on both sides', { timeout: limit }, async () => {
      const teardown = async (): Promise<string> => {
        const args = ['teardown', '--config', s.lockgate.configFile, ...mysqlAdmins(s.pair)];
        const { stdout, stderr } = await s.lockgate.run(args, {}, 60_000);
        return stdout + stderr;
      };
      expect(await teardown()).toContain('stop the daemon first');
      await s.daemon.stop();
      await sleep(11_000);
      const said = await teardown();
      expect(said).toMatch(/done\s+onprem: drop the heartbeat table/);
      expect(said).not.toContain('waits');
      for (const ask of [s.pair.onSource, s.pair.onTarget]) {
        expect(await ask("select table_name from information_schema.tables where table_schema = 'lockgate'")).toEqual(
          [],
        );
      }
      for (const server of [s.pair.source, s.pair.target]) {
        const [row] = await alone(server, replicaWords(flavour).status);
        expect(row?.['Replica_SQL_Running'] ?? row?.['Slave_SQL_Running']).toBe('Yes');
      }
    });
  });
});
