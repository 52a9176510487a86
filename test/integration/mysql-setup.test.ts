import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testedFlavours } from '../support/flavours.js';
import { workspace, type CommandResult, type Workspace } from '../support/lockgate.js';
import { mysqlAdmins, mysqlScenarioYaml } from '../support/mysql-scenario.js';
import { startMysqlPair, type MysqlPair } from '../support/mysql-pair.js';
import { runAll } from '../support/pair.js';

const limit = 120_000;
const fetchLimit = 300_000;

describe.each(testedFlavours)('setup on $flavour', ({ flavour, left }) => {
  describe.skipIf(left)('one step after the other', () => {
    const cleanups: (() => Promise<void>)[] = [];
    let pair: MysqlPair;
    let lockgate: Workspace;
    beforeAll(async () => {
      pair = await startMysqlPair({ flavour });
      cleanups.push(() => pair.destroy());
      lockgate = await workspace(mysqlScenarioYaml(pair, { flavour }));
      cleanups.push(() => lockgate.destroy());
    }, fetchLimit);
    afterAll(() => runAll(cleanups), limit);

    const run = async (...args: string[]): Promise<CommandResult> => {
      const result = await lockgate.run([args[0] ?? '', '--config', lockgate.configFile, ...args.slice(1)]);
      expect(result.code, result.stdout + result.stderr).toBe(0);
      for (const secret of [pair.source.password, pair.target.password, "'pw'"]) {
        expect(result.stdout + result.stderr).not.toContain(secret);
      }
      return result;
    };
    const step = (what: string, ...more: string[]): Promise<CommandResult> => run(what, ...mysqlAdmins(pair), ...more);

    /** Everything of ours that a server has. */
    const ours = async (side: 'source' | 'target'): Promise<string[]> => {
      const ask = side === 'source' ? pair.onSource : pair.onTarget;
      const found = await ask<{ what: string }>(
        `select concat('table ', table_name) as what from information_schema.tables where table_schema = 'lockgate'
          union all select concat('account ', user) from mysql.user where user = 'lockgate'`,
      );
      return found.map(({ what }) => what).sort();
    };
    const granted = async (side: 'source' | 'target'): Promise<string[]> => {
      const ask = side === 'source' ? pair.onSource : pair.onTarget;
      const grantee = "'lockgate'@'%'";
      const found = await ask<{ what: string }>(
        `select concat(privilege_type, ' on *') as what from information_schema.user_privileges where grantee = ?
          union all select concat(privilege_type, ' on lockgate') from information_schema.schema_privileges where grantee = ?
          union all select concat(privilege_type, ' on ', table_name) from information_schema.table_privileges where grantee = ?`,
        [grantee, grantee, grantee],
      );
      return found.map(({ what }) => what).sort();
    };
    /** GTIDs of transactions that began on the target. */
    const errant = async (): Promise<string> => {
      const sql =
        flavour === 'mysql'
          ? `select @@global.gtid_executed like concat('%', @@server_uuid, '%') as own`
          : `select concat(',', @@global.gtid_binlog_state) regexp ',[0-9]+-2-' as own`;
      const [row] = await pair.onTarget<{ own: string | number }>(sql);
      return String(row?.own);
    };

    it('changes nothing in a dry run', { timeout: limit }, async () => {
      const { stdout } = await step('setup', '--dry-run');
      expect(stdout).toMatch(/15 to do, 0 unchanged/);
      expect(stdout).toContain('arrives by replication from onprem');
      expect(await ours('source')).toEqual([]);
      expect(await ours('target')).toEqual([]);
    });

    it('makes all of it, without a transaction of the target’s own', { timeout: limit }, async () => {
      const { stdout } = await step('setup');
      expect(stdout).toMatch(/unchanged {2}aws: create the heartbeat table/);
      const all = ['account lockgate', 'table direction', 'table heartbeat'];
      expect(await ours('source')).toEqual(all);
      expect(await ours('target')).toEqual(all);
      expect(await errant()).toBe('0');
    });

    it('grants no more than is needed', async () => {
      const common = [
        'INSERT on direction',
        'PROCESS on *',
        'REFERENCES on *',
        'REPLICATION SLAVE on *',
        'SELECT on lockgate',
      ];
      const status =
        flavour === 'mysql'
          ? ['REPLICATION CLIENT on *', 'XA_RECOVER_ADMIN on *']
          : ['BINLOG MONITOR on *', 'SLAVE MONITOR on *'];
      const target = [...common, ...status, 'UPDATE on direction'].sort();
      expect(await granted('target')).toEqual(target);
      expect(await granted('source')).toEqual([...target, 'DELETE on heartbeat', 'INSERT on heartbeat'].sort());
    });

    it('changes nothing the second time', { timeout: limit }, async () => {
      expect((await step('setup')).stdout).toMatch(/^0 done, 15 unchanged/m);
    });

    it('keeps the table on the replica while heartbeats may come, also in a dry run', { timeout: limit }, async () => {
      const { stdout } = await step('teardown', '--dry-run');
      expect(stdout).toMatch(/aws: drop the heartbeat table \(waits: onprem still has it/);
      expect(await ours('source')).toContain('table heartbeat');
      // With the replica stopped the drop cannot come by replication, and heartbeats are still to be applied.
      await pair.stopSqlThread();
      await pair.onSource(`insert into lockgate.heartbeat values ('d', 'l', 'r', 1, now(6))`);
      const stuck = await step('teardown');
      expect(stuck.stdout).toMatch(/aws: drop the heartbeat table \(waits: aws has not applied yet/);
      expect(await ours('target')).toContain('table heartbeat');
      await pair.startSqlThread();
      await pair.settled();
      expect(await ours('target')).toEqual(['account lockgate']);
    });

    it('leaves the accounts without privileges on what is gone', { timeout: limit }, async () => {
      await step('teardown');
      expect((await granted('target')).filter((g) => !g.endsWith('*'))).toEqual([]);
      expect(await errant()).toBe('0');
      expect((await step('teardown')).stdout).toMatch(/^0 done/m);
    });

    it('prints a script that any server takes as it is', { timeout: limit }, async () => {
      const { stdout } = await run('grants');
      expect(stdout).toContain('SET SESSION sql_log_bin = 0;');
      const script = stdout.slice(0, stdout.search(/keep what follows out of the binlog/)).replace(/^.*aws.*$/gm, '');
      await pair.onSource(script);
      expect((await step('setup', '--dry-run')).stdout).toMatch(/unchanged {2}onprem: create the account/);
    });
  });
});
