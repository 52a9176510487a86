/** Fences that must not drain, whatever the versions: held against the newest ones, and against the oldest as a control. */
import { expect, it } from 'vitest';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PostgresNight } from './postgres-night.js';

/** Registers the cases; each leaves an open fence to `PostgresNight.tidy`. */
export function everyMajor(night: () => PostgresNight): void {
  let began = NaN;
  const place = async (): Promise<string> => {
    began = performance.now();
    return (await night().operator.fence()).id;
  };

  it.each(['source', 'target'] as const)('a transaction that is prepared on the %s', async (side) => {
    await night().on(side)(
      `begin; insert into public.orders (customer_id) values (1); prepare transaction 'half done'`,
    );
    const id = await place();
    await night().withheld(id, /^(onprem|aws): prepared transaction 'half done'/);
    night().notGreen(began);
    await night().on(side)(`rollback prepared 'half done'`);
    await night().until(id, 'drained');
    expect((await night().look(id)).basis).toEqual(['marker', 'position']);
  });

  it('a write that slips in before it is drained, and one after', async () => {
    const unlock = await night().pair.lockTable();
    await night().order();
    const first = await place();
    await night().withheld(first, /^shop_sub lacks \d+ bytes/, 300);
    await night().order();
    await night().until(first, 'violated', 3_000);
    await unlock();
    await sleep(300);
    const { state, violations, missing } = await night().look(first);
    expect([state, violations.count]).toEqual(['violated', 1]);
    expect(violations.first_position).toMatch(/^[0-9A-F]+\/[0-9A-F]+$/);
    expect(missing.reasons.join()).toContain(violations.first_position);
    night().notGreen(began);
    await night().timeline.of('drained').until(['closed'], 2_000);

    const second = await place();
    await night().until(second, 'drained');
    await night().timeline.of('drained').until(['open'], 2_000);
    await night().order();
    const wrote = performance.now();
    const refused = await night().operator.change('promote');
    expect(refused, JSON.stringify(refused.body)).toMatchObject({ status: 409 });
    night().notGreen(wrote + 1_000 < performance.now() ? wrote + 1_000 : performance.now());
    expect((await night().look(second)).violations.count).toBe(1);
    await night().timeline.of('drained').until(['closed'], 2_000);
    expect((await night().operator.migration()).direction).toBe('forward');
    expect(await night().told(second)).toEqual(['placed', 'drained', 'violated']);
    expect([await night().strays('source'), await night().strays('target')]).toEqual([null, 0]);
  });

  it('the replica is detached right after: disabled, with rows outstanding', async () => {
    const unlock = await night().pair.lockTable();
    const note = await night().order();
    const id = await place();
    await night().on('target')('alter subscription shop_sub disable');
    // While it waits for the lock, so that it has applied nothing of it when it ends.
    await night().on('target')(`select pg_terminate_backend(pid) from pg_stat_subscription where subname = 'shop_sub'`);
    await unlock();
    await night().withheld(id, /^shop_sub/, 1_500);
    night().notGreen(began);
    await night().timeline.of('flip-writes').until(['closed', 'unknown'], 4_000);
    await night().pair.enableSubscription();
    await night().until(id, 'drained');
    expect(await night().has('target', note)).toBe(true);
  });
}
