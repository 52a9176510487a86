import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { MigrationJson } from '../../daemon/http/port.js';
import type { JournalEntry } from '../../daemon/store/store.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { GateWatch, workspace, type Daemon, type Workspace } from '../support/lockgate.js';
import { startPair, type Pair } from '../support/pair.js';
import { setUp } from '../support/scenario.js';

/** What lag cannot tell, end to end: the real daemon, its store, its gates and its journal. */
describe('a chain that breaks while lag looks perfect (18)', { timeout: 90_000 }, () => {
  let pair: Pair;
  let lockgate: Workspace;
  let daemon: Daemon;
  let whole: GateWatch;
  let silent: GateWatch;
  let lag: GateWatch;

  beforeAll(async () => {
    pair = await startPair();
    const url = (port: number): string => `postgres://lockgate:pw@127.0.0.1:${port}/${pair.database}?sslmode=disable`;
    lockgate = await workspace(
      (port) => `
daemon: { id: tester, listen: 127.0.0.1:${port} }
databases:
  onprem: { engine: postgres, url: "${url(pair.sourceProxy.port)}" }
  aws: { engine: postgres, url: "${url(pair.targetProxy.port)}" }
migrations:
  shop:
    source: onprem
    target: aws
    forward: { via: postgres-logical, subscription: shop_sub, heartbeat: { interval: 500ms } }
    gates:
      lag: { require: "forward.lag < 2s" }
      whole: { require: "forward.continuity is 1" }
      silent: { require: "standby.stray_writes is 0" }
`,
    );
    await setUp(lockgate, pair);
    daemon = await lockgate.start();
    whole = new GateWatch(lockgate.url, 'shop/whole');
    silent = new GateWatch(lockgate.url, 'shop/silent');
    lag = new GateWatch(lockgate.url, 'shop/lag');
    await Promise.all([whole.until(['open'], 30_000), silent.until(['open'], 30_000), lag.until(['open'], 30_000)]);
  });
  afterAll(async () => {
    await Promise.all([whole.stop(), silent.stop(), lag.stop()]);
    await lockgate.destroy();
    await pair.destroy();
  });

  const attest = async (name: string): Promise<void> => {
    const args = ['attest', 'shop', name, '--by', 'a test', '--note', 'it is known'];
    const { code, stderr } = await lockgate.run(args);
    expect([code, stderr]).toEqual([0, expect.any(String)]);
  };
  const journal = async (kind: string): Promise<JournalEntry[]> => {
    const { body } = await daemon.get<{ entries: JournalEntry[] }>('/v1/journal?limit=500');
    return body.entries.filter((e) => e.kind === kind);
  };
  const strays = async (): Promise<MigrationJson['sides']['target']['stray_writes']> =>
    (await daemon.get<MigrationJson>('/v1/migrations/shop')).body.sides.target.stray_writes;
  const reason = async (signal: string): Promise<string> => (await daemon.signals()).get(signal)?.reason ?? '';
  /** Stops the daemon, lets something happen, and starts it again. */
  const meanwhile = async (what: () => Promise<unknown>): Promise<void> => {
    expect(await daemon.stop()).toBe(0);
    await what();
    daemon = await lockgate.start();
  };

  it('a write on the passive side closes its gate within a second, and is known by position and time', async () => {
    expect(await strays()).toEqual({ count: 0, first_at: null, first_position: null });
    await pair.onTarget('delete from public.orders where id = 1');
    const written = performance.now();
    const closed = await silent.until(['closed'], 5_000);
    expect(closed.at - written).toBeLessThan(1_000);
    const latched = await strays();
    expect(latched).toMatchObject({
      count: 1,
      first_position: expect.stringMatching(/^[0-9A-F]+\/[0-9A-F]+$/) as unknown,
    });
    expect(Math.abs(Date.parse(latched.first_at ?? '') - Date.now())).toBeLessThan(5_000);
    expect((await journal('stray-write')).at(-1)?.data).toMatchObject({
      side: 'target',
      count: 1,
      first_position: latched.first_position,
    });
    // Latched, over a crash of the daemon too.
    await daemon.kill();
    daemon = await lockgate.start();
    await silent.until(['closed'], 10_000);
    expect((await strays()).count).toBe(1);
    await waitFor(
      'the reader',
      15_000,
      async () => (await daemon.signals()).get('target.local_writes')?.state === 'ok',
    );
    await attest('stray-writes-reconciled');
    await silent.until(['open'], 10_000);
    expect(lag.state).toBe('open');
  });

  it('what was written while the daemon was down is not none', async () => {
    await meanwhile(() => pair.onTarget('delete from public.orders where id = 2'));
    await waitFor(
      'the reader',
      15_000,
      async () => (await daemon.signals()).get('target.local_writes')?.state === 'ok',
    );
    expect((await silent.until(['unknown'], 10_000)).verdict?.conditions[0]?.reason).toMatch(
      /not watched from .*reconciled/,
    );
    expect((await strays()).count).toBeNull();
    await attest('stray-writes-reconciled');
    await silent.until(['open'], 10_000);
  });

  it('a healthy life leaves the chain whole, over a restart of the daemon too', async () => {
    const from = performance.now();
    await pair.disableSubscription();
    await pair.enableSubscription();
    await pair.onTarget('vacuum');
    await pair.source.stop();
    await pair.source.start();
    await whole.until(['open'], 20_000);
    await pair.target.kill();
    await pair.target.start();
    await whole.until(['open'], 20_000);
    await meanwhile(() => sleep(500));
    await whole.until(['open'], 20_000);
    expect(whole.between(from, performance.now()).filter((s) => s.state === 'closed')).toEqual([]);
    expect(await journal('continuity-broken')).toEqual([]);
    await waitFor(
      'the reader',
      20_000,
      async () => (await daemon.signals()).get('target.local_writes')?.state === 'ok',
    );
    await attest('stray-writes-reconciled');
    await silent.until(['open'], 10_000);
  });

  it('a slot made anew closes its gate for good, while lag is perfect again', async () => {
    await pair.disableSubscription();
    await sleep(1_500);
    await pair.placeOrder();
    await pair.dropSlot();
    await pair.onSource(`select pg_create_logical_replication_slot('shop_sub', 'pgoutput')`);
    await pair.enableSubscription();
    await whole.until(['closed'], 10_000);
    await lag.until(['open'], 20_000);
    await waitFor('the heartbeats that are missing', 10_000, async () => {
      return (await journal('continuity-broken')).some((e) =>
        /heartbeats .* were never applied on aws/.test(JSON.stringify(e)),
      );
    });
    expect(await reason('forward.continuity')).toMatch(/slot shop_sub .*continuity-accepted/);
    expect(whole.state).toBe('closed');
    await attest('continuity-accepted');
    await whole.until(['open'], 10_000);
  });

  it('a subscription made anew without copying, while the daemon was down, is found when it starts', async () => {
    await meanwhile(async () => {
      await pair.onTarget('drop subscription shop_sub');
      await pair.placeOrder();
      await pair.onTarget(`create subscription shop_sub connection 'host=127.0.0.1 port=${pair.replicationProxy.port}
        dbname=app user=replicator password=replicator' publication shop_pub with (copy_data = false)`);
    });
    await whole.until(['closed'], 10_000);
    await lag.until(['open'], 20_000);
    expect(await reason('forward.continuity')).toMatch(/subscription shop_sub on aws was made anew/);
    await attest('continuity-accepted');
    await whole.until(['open'], 10_000);
    await meanwhile(() => Promise.resolve());
    await whole.until(['open'], 20_000);
  });
});
