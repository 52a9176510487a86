import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Finding } from '../../collectors/collector.js';
import { testedFlavours } from '../support/flavours.js';
import { workspace, type Workspace } from '../support/lockgate.js';
import { mysqlScenarioYaml, setUpMysql } from '../support/mysql-scenario.js';
import { startMysqlPair, type MysqlPair } from '../support/mysql-pair.js';
import { runAll } from '../support/pair.js';

const limit = 120_000;
const fetchLimit = 300_000;

describe.each(testedFlavours)('doctor on $flavour', ({ flavour, left }) => {
  describe.skipIf(left)('against real servers', () => {
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

    const doctor = async (code: number): Promise<Finding[]> => {
      const result = await lockgate.run(['doctor', '--json', '--config', lockgate.configFile], {}, 60_000);
      expect(result.code, result.stdout + result.stderr).toBe(code);
      for (const secret of [pair.source.password, pair.target.password]) {
        expect(result.stdout + result.stderr).not.toContain(secret);
      }
      return (JSON.parse(result.stdout) as { findings: Finding[] }).findings;
    };
    const faults = (findings: readonly Finding[]): Finding[] => findings.filter((f) => f.level === 'fault');
    const like = (findings: readonly Finding[], message: RegExp): Finding => {
      const found = findings.find((f) => message.test(f.message));
      expect(found, `${String(message)} among ${JSON.stringify(findings, null, 1)}`).toBeDefined();
      return found as Finding;
    };
    /** Makes something wrong, looks, and heals it. */
    const with_ = async (
      make: () => Promise<unknown>,
      heal: () => Promise<unknown>,
      look: (findings: Finding[]) => void,
      code = 1,
    ): Promise<void> => {
      await make();
      try {
        look(await doctor(code));
      } finally {
        await heal();
      }
    };
    const unlogged = async (side: 'source' | 'target', sql: string): Promise<void> => {
      const ask = side === 'source' ? pair.onSource : pair.onTarget;
      await ask(`set session sql_log_bin = 0; ${sql}; set session sql_log_bin = 1`);
    };

    it('says that the user is refused before setup, and what would be unknown', { timeout: limit }, async () => {
      const found = faults(await doctor(1));
      expect(found.map((f) => f.database).sort()).toEqual(['aws', 'onprem']);
      for (const fault of found) {
        expect(fault.signals).toContain('shop.forward.lag');
        expect(fault.remedy).toMatch(/user or the password/);
      }
    });

    it('finds no fault after setup, and says what it has looked at', { timeout: limit }, async () => {
      await setUpMysql(lockgate, pair);
      const findings = await doctor(0);
      like(findings, flavour === 'mysql' ? /^MySQL 9\.\d+.* answers at/ : /^MariaDB 10\.\d+.* answers at/);
      like(findings, /log_bin is on, binlog_format is ROW/);
      like(findings, /give or take/);
      like(findings, /4 connections lead to one server/);
      like(findings, /the default channel replicates from onprem, by GTID/);
      like(findings, /things that the daemon does work/);
      // MySQL offers TLS by a certificate of its own making.
      const warned = findings.filter((f) => f.level === 'warning').map((f) => f.message);
      expect(warned.filter((m) => !m.includes("the server's certificate is not verified"))).toEqual([]);
    });

    it('names each missing right with the statement that gives it', { timeout: limit }, async () => {
      const who = "'lockgate'@'%'";
      await with_(
        () => unlogged('source', `revoke insert on lockgate.heartbeat from ${who}`),
        () => unlogged('source', `grant insert on lockgate.heartbeat to ${who}`),
        (findings) => {
          const fault = like(faults(findings), /it cannot write heartbeats/);
          expect(fault.remedy).toContain("GRANT INSERT, DELETE ON lockgate.heartbeat TO 'lockgate'@'%';");
          expect(fault.signals).toContain('shop.forward.lag');
          expect(faults(findings)).toHaveLength(1);
        },
      );
      const status = flavour === 'mysql' ? 'replication client' : 'slave monitor';
      await with_(
        () => unlogged('target', `revoke ${status} on *.* from ${who}`),
        () => unlogged('target', `grant ${status} on *.* to ${who}`),
        (findings) => {
          const fault = like(faults(findings), /it cannot read its replication status/);
          expect(fault.remedy).toMatch(flavour === 'mysql' ? /REPLICATION CLIENT/ : /SLAVE MONITOR/);
          expect(fault.signals).toContain('shop.forward.running');
        },
      );
      await with_(
        () => unlogged('source', `revoke process on *.* from ${who}`),
        () => unlogged('source', `grant process on *.* to ${who}`),
        (findings) => {
          const fault = like(faults(findings), /cannot see other sessions/);
          expect(fault.signals).toEqual([
            'shop.source.connections',
            'shop.source.longest_transaction',
            'shop.fence.drained',
          ]);
        },
      );
      if (flavour === 'mysql') {
        await with_(
          () => unlogged('source', `revoke xa_recover_admin on *.* from ${who}`),
          () => unlogged('source', `grant xa_recover_admin on *.* to ${who}`),
          (findings) => void like(faults(findings), /cannot see prepared transactions/),
        );
      }
    });

    it('finds the replication that does not run, its delay and its filters', { timeout: limit }, async () => {
      await with_(
        () => pair.stopSqlThread(),
        () => pair.startSqlThread(),
        (findings) => void like(faults(findings), /the SQL thread is stopped/),
      );
      await with_(
        () => pair.detach(),
        () => pair.attach(),
        (findings) => {
          const fault = like(faults(findings), /is no replica/);
          expect(fault).toMatchObject({ link: 'shop/forward', database: 'aws' });
          expect(fault.signals).toContain('shop.forward.lag');
        },
      );
      await with_(
        () => pair.ignoreTables('lockgate.heartbeat'),
        () => pair.ignoreTables(),
        (findings) => void like(findings, /leaves things out: Replicate_Ignore_Table = lockgate\.heartbeat/),
        0,
      );
      await with_(
        () => pair.delay(3),
        () => pair.delay(0),
        (findings) => void like(findings, /delayed on purpose by 3 s/),
        0,
      );
    });

    it('finds settings that ask for trouble', { timeout: limit }, async () => {
      await with_(
        () => pair.onSource('set global read_only = 1'),
        () => pair.onSource('set global read_only = 0'),
        (findings) => {
          const fault = like(faults(findings), /read_only is on, and this is the source/);
          expect(fault.signals).toContain('shop.forward.lag');
        },
      );
      await with_(
        () => pair.onTarget('set global read_only = 0'),
        () => pair.onTarget('set global read_only = 1'),
        (findings) => void like(findings, /read_only is off on this replica/),
        0,
      );
      await with_(
        () => pair.onSource("set global binlog_format = 'STATEMENT'"),
        () => pair.onSource("set global binlog_format = 'ROW'"),
        (findings) => void like(faults(findings), /binlog_format is STATEMENT/),
      );
    });

    it('says what is missing when the tables are gone, or are not as made', { timeout: limit }, async () => {
      await with_(
        () => unlogged('target', 'rename table lockgate.heartbeat to lockgate.other'),
        () => unlogged('target', 'rename table lockgate.other to lockgate.heartbeat'),
        (findings) => {
          const fault = like(faults(findings), /it cannot read the heartbeat table/);
          expect(fault.remedy).toContain('lockgate setup');
        },
      );
      await with_(
        () => unlogged('target', 'alter table lockgate.heartbeat modify seq int not null'),
        () => unlogged('target', 'alter table lockgate.heartbeat modify seq bigint not null'),
        (findings) => void like(faults(findings), /lockgate\.heartbeat is not as setup makes it/),
      );
    });

    it('says which server does not answer, and still looks at the other one', { timeout: limit }, async () => {
      await with_(
        () => pair.targetProxy.cut(),
        () => pair.targetProxy.restore(),
        (findings) => {
          expect(like(faults(findings), /connect|refused|127\.0\.0\.1/).database).toBe('aws');
          like(findings, /log_bin is on/);
        },
      );
    });
  });
});
