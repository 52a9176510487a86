import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { testedFlavours, withoutPtHeartbeat } from '../support/flavours.js';
import { GateWatch, workspace, type Daemon, type Workspace } from '../support/lockgate.js';
import { mysqlScenarioYaml, setUpMysql } from '../support/mysql-scenario.js';
import { startMysqlPair, type MysqlPair } from '../support/mysql-pair.js';
import { runAll } from '../support/pair.js';
import { PtHeartbeat } from '../support/pt-heartbeat.js';

const limit = 120_000;
const fetchLimit = 300_000;

describe.each(testedFlavours)('the heartbeat of pt-heartbeat on $flavour', ({ flavour, left }) => {
  describe.skipIf(left || withoutPtHeartbeat)('is watched instead of our own', () => {
    const cleanups: (() => Promise<void>)[] = [];
    let pair: MysqlPair;
    let lockgate: Workspace;
    let daemon: Daemon;
    let writer: PtHeartbeat;
    let gate: GateWatch;
    let lagGate: GateWatch;
    beforeAll(async () => {
      pair = await startMysqlPair({ flavour });
      cleanups.push(() => pair.destroy());
      writer = await PtHeartbeat.install(pair);
      cleanups.push(() => writer.stop());
      await writer.start();
      await pair.settled();
      lockgate = await workspace((port) =>
        mysqlScenarioYaml(pair, { flavour })(port).replace(
          /heartbeat: \{.*\}/,
          'heartbeat: { external: percona.heartbeat }',
        ),
      );
      cleanups.push(() => lockgate.destroy());
      await setUpMysql(lockgate, pair);
      daemon = await lockgate.start();
      gate = new GateWatch(lockgate.url, 'shop/whole');
      lagGate = new GateWatch(lockgate.url, 'shop/lag');
      cleanups.push(
        () => gate.stop(),
        () => lagGate.stop(),
      );
      await gate.until(['open'], 30_000);
    }, fetchLimit);
    afterAll(() => runAll(cleanups), limit);

    const opened = async (): Promise<unknown> => gate.until(['open'], 30_000);
    const lag = async () => (await daemon.signals()).get('forward.lag');

    it('with setup giving no more than it needs, and no heartbeat of ours', { timeout: limit }, async () => {
      const privileges = await pair.onSource<{ what: string }>(
        `select concat(privilege_type, ' on ', table_schema, '.', table_name) as what
          from information_schema.table_privileges where grantee like '%lockgate%' order by 1`,
      );
      // Of the heartbeat table only what the marker of a fence takes.
      expect(privileges.map((p) => p.what).sort()).toEqual([
        'INSERT on lockgate.direction',
        'INSERT on lockgate.heartbeat',
        'SELECT on percona.heartbeat',
        'UPDATE on lockgate.direction',
      ]);
      expect(await pair.onSource('select * from lockgate.heartbeat')).toEqual([]);
    });

    it('tells small lag whatever the clock of its host says', { timeout: limit }, async () => {
      for (const skew of [0, 744, -744]) {
        await writer.stop();
        writer.skewSeconds = skew;
        await writer.start();
        const [row] = await pair.onSource<{ ts: string }>('select ts from percona.heartbeat');
        const ahead = (Date.parse(`${row?.ts.slice(0, 23)}Z`) - Date.now()) / 1_000;
        expect(Math.abs(ahead - skew), String(row?.ts)).toBeLessThan(30);
        await sleep(2_500);
        await opened();
        const { value, state } = (await lag()) ?? {};
        expect(state, `skew ${skew}`).toBe('ok');
        expect(value, `skew ${skew}`).toBeLessThan(1);
        const low = (await daemon.signals()).get('forward.lag_low')?.value ?? NaN;
        expect(low).toBeLessThanOrEqual(value ?? NaN);
      }
      expect((await daemon.signals()).get('forward.lag_by_position')?.state).toBe('ok');
    });

    it(
      'closes when replication stops, with the clock that makes others green for ever',
      { timeout: limit },
      async () => {
        await opened();
        expect(writer.skewSeconds).toBe(-744);
        await pair.stopSqlThread();
        try {
          const closed = await lagGate.until(['closed'], 6_000);
          expect(closed.verdict?.conditions[0]?.state).toBe('broken');
          const before = (await lag())?.value ?? 0;
          await sleep(2_000);
          expect(((await lag())?.value ?? 0) - before).toBeGreaterThan(1.5);
        } finally {
          await pair.startSqlThread();
        }

        await opened();
      },
    );

    it('tells a dead writer from lag', { timeout: limit }, async () => {
      await opened();
      await writer.stop();
      try {
        await gate.until(['unknown'], 6_000);
        await waitFor('the reason', 5_000, async () => (await lag())?.reason?.includes('is dead or stopped'));
        expect((await lag())?.state).toBe('unknown');
        // Nor does a stopped replica make it anything else than lag of what was written before, or unknown.
        await pair.stopSqlThread();
        await sleep(1_500);
        expect(gate.state).not.toBe('open');
      } finally {
        await writer.start();
        await pair.startSqlThread();
      }
      await opened();
    });

    it('says when the row is not there, or not to be read', { timeout: limit }, async () => {
      await writer.stop();
      await pair.onSource('delete from percona.heartbeat');
      await waitFor('the reason', 6_000, async () => (await lag())?.reason?.includes('has no row of this server'));
      await writer.start();
      await opened();
      const unlogged = (sql: string): Promise<unknown> =>
        pair.onTargetUnlogged(sql.replaceAll('LOCKGATE', "'lockgate'@'%'"));
      await unlogged('revoke select on percona.heartbeat from LOCKGATE');
      const blind = await gate.until(['unknown'], 6_000);
      expect(JSON.stringify(blind.verdict)).toMatch(/denied/i);
      await unlogged('grant select on percona.heartbeat to LOCKGATE');
      await opened();
    });
  });
});
