import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { testedFlavours } from '../support/flavours.js';
import { workspace, type Daemon, type Workspace } from '../support/lockgate.js';
import { makeBedUser, startMysqlBed, type MysqlBedOptions } from '../support/mysql-bed.js';
import { mysqlScenarioYaml, setUpMysql } from '../support/mysql-scenario.js';
import { startMysqlPair, type MysqlPair } from '../support/mysql-pair.js';
import { runAll } from '../support/pair.js';

const limit = 120_000;
const root = fileURLToPath(new URL('../../', import.meta.url));

beforeAll(async () => {
  await promisify(execFile)('npm', ['run', '--silent', 'build'], { cwd: root, timeout: 120_000 });
}, 130_000);

describe.each(testedFlavours)('the compiled daemon on $flavour', ({ flavour, left }) => {
  describe.skipIf(left)('reads the binlog in a thread of its own', () => {
    const cleanups: (() => Promise<void>)[] = [];
    let pair: MysqlPair;
    let lockgate: Workspace;
    let daemon: Daemon;
    beforeAll(async () => {
      // In strict mode a local write stops MariaDB's applier.
      pair = await startMysqlPair({ flavour, settings: flavour === 'mariadb' ? { gtid_strict_mode: 'OFF' } : {} });
      cleanups.push(() => pair.destroy());
      lockgate = await workspace(mysqlScenarioYaml(pair, { flavour }), { main: `${root}dist/daemon/main.js` });
      cleanups.push(() => lockgate.destroy());
      await setUpMysql(lockgate, pair);
      daemon = await lockgate.start();
    }, 300_000);
    afterAll(() => runAll(cleanups), limit);

    it('heartbeats arrive by it, and local writes are seen', { timeout: limit }, async () => {
      const signal = async (name: string) => (await daemon.signals()).get(name);
      await waitFor('lag', 20_000, async () => (await signal('forward.lag'))?.state === 'ok');
      await waitFor('heartbeats by binlog', 20_000, () => /"mode":"binlog"/.test(daemon.log()));
      await waitFor('no stray write', 20_000, async () => (await signal('standby.stray_writes'))?.value === 0);
      // Neither a stream that ended nor one that is silent, which are polled instead.
      const modes = [...daemon.log().matchAll(/"mode":"(\w+)"/g)].map(([, mode]) => mode);
      expect(modes.at(-1)).toBe('binlog');
      expect(daemon.log()).not.toMatch(/thread that reads the binlog/);
      const readers = await pair.onTarget(
        "select 1 from information_schema.processlist where USER = 'lockgate' and COMMAND like 'Binlog Dump%'",
      );
      expect(readers).toHaveLength(1);
      await pair.errantWrite();
      await waitFor('the stray write', 10_000, async () => (await signal('standby.stray_writes'))?.value === 1);
      expect(await daemon.stop()).toBe(0);
    });

    it('and it is the thread that tells of heartbeats, not the poll behind it', { timeout: limit }, async () => {
      for (const server of [pair.source, pair.target]) await makeBedUser(server);
      const file = `${root}dist/collectors/mysql/heartbeats.js`;
      const made = (await import(file)) as { mysqlHeartbeats: NonNullable<MysqlBedOptions['collectors']> };
      const bed = startMysqlBed(pair, { collectors: made.mysqlHeartbeats });
      const by = (way: string): number =>
        bed.of('heartbeat-visible').filter((o) => o.by === way && o.upTo !== null).length;
      try {
        await bed.until('heartbeats by binlog', () => by('binlog') > 10, 20_000);
      } finally {
        await bed.stop();
      }
    });
  });
});
