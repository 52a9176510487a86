import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Flavour } from '../../deploy/demo/mysql-install.js';
import { startCrossScenario, type CrossScenario } from '../support/cross-scenario.js';
import { Night } from '../support/cutover-night.js';
import { testedFlavours } from '../support/flavours.js';

const IN_ORDER = 'dms-applies-in-order';

/** A fence where only the marker can tell: the tests' relay in the place of DMS. */
function crossCutover(from: Flavour | 'postgres', to: Flavour | 'postgres', left: boolean): void {
  describe.skipIf(left)(`from ${from} to ${to}`, { timeout: 180_000 }, () => {
    let s: CrossScenario;
    let night: Night<CrossScenario>;
    let orders = 0;

    const order = async (): Promise<number> => {
      orders += 1;
      await s.pair.source.ask(`insert into orders (id, customer_id, note) values (${orders}, 1, 'before the fence')`);
      return orders;
    };
    const arrived = async (id: number): Promise<boolean> =>
      (await s.pair.target.ask(`select id from orders where id = ${id}`)).length > 0;

    beforeAll(async () => {
      s = await startCrossScenario({ from, to });
      // Its rows are writes of the source.
      await s.observer?.stop();
      night = new Night(s, ['drained']);
    }, 300_000);
    afterAll(async () => {
      await night.timeline.stop();
      await s.destroy();
    }, 60_000);

    it('needs someone to vouch for the order in which it applies, and says that it rests on the marker alone', async () => {
      const id = await order();
      const fence = await night.operator.fence('60s');
      await night.holdsBack(fence.id, 1_500, new RegExp(`attest ${IN_ORDER}`));
      const { status } = await night.operator.post(`attestations/${IN_ORDER}`, { by: 'a test', note: 'one relay' });
      expect(status).toBeLessThan(300);
      const drained = await night.drains(fence.id);
      expect(drained).toMatchObject({ basis: ['marker'], missing: { flows: [], reasons: [] } });
      expect(await arrived(id)).toBe(true);
      await night.operator.cancel(fence.id);
    });

    it('does not drain while the relay stalls or is stopped, and is violated by a write', async () => {
      const stalled = await (async () => {
        s.pair.relay.pause();
        const id = await order();
        return { id, fence: await night.operator.fence('60s') };
      })();
      await night.holdsBack(stalled.fence.id, 1_500, /the marker that was committed on onprem is not on aws yet/);
      expect(await arrived(stalled.id)).toBe(false);
      s.pair.relay.resume();
      await night.drains(stalled.fence.id);
      expect(await arrived(stalled.id)).toBe(true);
      await night.operator.cancel(stalled.fence.id);

      await s.pair.relay.stop();
      const stopped = await night.operator.fence('60s');
      await night.holdsBack(stopped.id, 1_500, /the marker/);
      await order();
      expect((await night.ends(stopped.id, 'violated')).violations.count).toBe(1);
      expect((await night.operator.change('promote')).status).toBe(409);
      s.pair.relay.start();
    });

    it('does not drain while the task is not running, whatever the marker says', async () => {
      s.pair.dms.set(s.pair.task, { Status: 'stopped' });
      await expect.poll(async () => (await s.daemon.signals()).get('forward.running')?.value).toBe(0);
      const fence = await night.operator.fence('60s');
      await night.holdsBack(fence.id, 1_500, /the DMS task is not known to run: shop is stopped/);
      s.pair.dms.set(s.pair.task, { Status: 'running' });
      await night.drains(fence.id);
      await night.operator.cancel(fence.id);
    });

    it('a promotion on it is declared, and a write of the old side is stray from then on', async () => {
      const id = await order();
      const fence = await night.operator.fence('60s');
      await night.drains(fence.id);
      expect(await arrived(id)).toBe(true);
      const done = await night.operator.changed('promote');
      expect(done).toMatchObject({ direction: 'reverse', forced: false, fence: { id: fence.id, state: 'closed' } });
      const declared = performance.now();
      await order();
      await night.strayed('source', 1);
      await sleep(500);
      night.timeline.said('drained', declared, performance.now(), ['unknown']);
    });
  });
}

describe.each(testedFlavours)('a fence across engines: $flavour', ({ flavour, left }) => {
  crossCutover(flavour, 'postgres', left);
  crossCutover('postgres', flavour, left);
});
