import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { Application, Operator } from '../support/cutover.js';
import { workspace, type Daemon, type Workspace } from '../support/lockgate.js';
import { testedMajors } from '../support/majors.js';
import { open } from '../support/pair.js';
import { startPhysicalPair, type PhysicalPair } from '../support/physical-pair.js';
import { scenarioYaml, setUp } from '../support/scenario-setup.js';

/** A standby can take the row of the direction only once it is promoted, and no flow runs into it any more by then. */
describe.each(testedMajors)('a cutover to a physical standby on PostgreSQL %i', { timeout: 120_000 }, (major) => {
  let pair: PhysicalPair;
  let lockgate: Workspace;
  let daemon: Daemon;
  let operator: Operator;

  beforeAll(async () => {
    pair = await startPhysicalPair({ major });
    lockgate = await workspace(scenarioYaml(pair, { via: 'postgres-physical' }));
    await setUp(lockgate, pair);
    daemon = await lockgate.start();
    operator = new Operator(lockgate.url);
    await waitFor('a level standby', 30_000, async () => {
      return (await daemon.signals()).get('forward.lag')?.state === 'ok';
    });
  }, 180_000);
  afterAll(async () => {
    await lockgate.destroy();
    await pair.destroy();
  });

  it('drains, refuses while it is a standby, and is declared once it was promoted, without a row missing', async () => {
    const application = new Application({
      async connect(side) {
        const client = await open(side === 'source' ? pair.primary : pair.standby);
        return {
          async write(token) {
            await client.query('insert into public.orders (customer_id, note) values (1, $1)', [token]);
          },
          close: () => client.end(),
        };
      },
    });
    await application.start('source');
    await waitFor('some rows', 10_000, () => Promise.resolve(application.acknowledged.size > 100));
    await application.stop();
    const fence = await operator.drained();
    const early = await operator.change('promote');
    expect([early.status, JSON.stringify(early.body)]).toEqual([503, expect.stringContaining('pg_promote')]);
    // Until it has been read again whether the row was written after all, the direction is unknown.
    const again = (): Promise<boolean> => operator.settled(fence.id).then((f) => f.state === 'drained');
    await waitFor('the fence to be drained again', 5_000, again);

    await pair.promote();
    const promoted = performance.now();
    await waitFor('the fence of the promoted standby to be drained', 5_000, again);
    const done = await operator.changed('promote');
    expect(done).toMatchObject({ direction: 'reverse', forced: false, fence: { id: fence.id, state: 'closed' } });
    expect((await operator.migration()).direction).toBe('reverse');
    const rows = await pair.onTarget<{ note: string }>("select note from public.orders where note like 'source-%'");
    const found = new Set(rows.map((r) => r.note));
    expect([...application.acknowledged].filter((token) => !found.has(token))).toEqual([]);
    console.log(`declared ${Math.round(performance.now() - promoted)} ms after pg_promote, ${found.size} rows`);
  });
});
