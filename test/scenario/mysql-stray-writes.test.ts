import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { MigrationJson } from '../../daemon/http/port.js';
import type { JournalEntry } from '../../daemon/store/store.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { testedFlavours } from '../support/flavours.js';
import { GateWatch } from '../support/lockgate.js';
import { startMysqlScenario, type MysqlScenario } from '../support/mysql-scenario.js';

const limit = 120_000;
/** A stray write is told within a second. */
const withinMs = 1_000;

/** Errant transactions on a replica, end to end: the real daemon, its store, its gate and its journal. */
describe.each(testedFlavours)('an errant write on a replica of $flavour', { timeout: limit }, ({ flavour, left }) => {
  describe.skipIf(left)('watched by its binlog', () => {
    let s: MysqlScenario;
    let gate: GateWatch;

    beforeAll(async () => {
      // In strict mode MariaDB's applier stops at the write; that is a fault of its own.
      const settings = flavour === 'mariadb' ? { gtid_strict_mode: 'OFF' } : {};
      s = await startMysqlScenario({ flavour, settings, gates: { silent: 'standby.stray_writes is 0' } });
      gate = new GateWatch(s.lockgate.url, 'shop/silent');
      await gate.until(['open'], 30_000);
    }, 300_000);
    afterAll(async () => {
      await gate.stop();
      await s.destroy();
    }, limit);

    const position = async (): Promise<string> => {
      const [row] = await s.pair.onTarget<{ p: string }>(
        flavour === 'mariadb' ? 'select @@gtid_binlog_state as p' : 'select @@gtid_executed as p',
      );
      return row?.p ?? '';
    };
    const strays = async (): Promise<MigrationJson['sides']['target']['stray_writes']> =>
      (await s.daemon.get<MigrationJson>('/v1/migrations/shop')).body.sides.target.stray_writes;
    const journal = async (): Promise<JournalEntry[]> => {
      const { body } = await s.daemon.get<{ entries: JournalEntry[] }>('/v1/journal?limit=500');
      return body.entries.filter((e) => e.kind === 'stray-write');
    };
    const reconcile = async (): Promise<void> => {
      const args = ['attest', 'shop', 'stray-writes-reconciled', '--by', 'a test', '--note', 'compared'];
      expect((await s.lockgate.run(args)).code).toBe(0);
      await gate.until(['open'], 10_000);
    };
    /** The newest transaction of the target's own, as MariaDB lists it and MySQL counts it. */
    const isOwnNewest = async (gtid: string): Promise<void> => {
      const now = await position();
      if (flavour === 'mariadb') expect(now.split(',')).toContain(gtid);
      else expect(now).toMatch(new RegExp(`${gtid.split(':')[0] ?? ''}:(1-)?${gtid.split(':')[1] ?? ''}\\b`));
    };

    it('closes the gate within a second, counted once and named by its GTID, and an attestation opens it', async () => {
      const written = performance.now();
      await s.pair.errantWrite();
      const closed = await gate.until(['closed'], 5_000);
      expect(closed.at - written).toBeLessThan(withinMs);
      expect((await s.daemon.signals()).get('standby.stray_writes')).toMatchObject({ state: 'ok', value: 1 });
      const shown = await strays();
      expect(shown.count).toBe(1);
      await isOwnNewest(shown.first_position ?? '');
      const [entry] = await journal();
      expect(JSON.stringify(entry)).toContain(shown.first_position);
      expect(JSON.stringify([entry, closed.verdict])).not.toContain('astray');
      await reconcile();
    });

    it('is found after a restart of the daemon, when it was made while none ran', async () => {
      await s.daemon.stop();
      await s.pair.onTarget("insert into orders (customer_id, note) values (1, 'astray')");
      s.daemon = await s.lockgate.start();
      // It is found before all of the time since has been read, and until then it is a bound.
      await waitFor('one stray write, and no more', 20_000, async () => {
        const { verdict } = await gate.until(['closed'], 20_000);
        const [condition] = verdict?.conditions ?? [];
        return condition?.value === 1 && (condition.reason ?? '').startsWith('1 stray, the first at');
      });
      await isOwnNewest((await strays()).first_position ?? '');
      await reconcile();
    });

    it('leaves no gap behind where nothing was written while no daemon ran', async () => {
      await s.daemon.stop();
      s.daemon = await s.lockgate.start();
      await gate.until(['open'], 20_000);
      expect((await strays()).count).toBe(0);
    });
  });
});
