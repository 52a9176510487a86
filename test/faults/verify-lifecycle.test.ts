import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { MigrationJson } from '../../daemon/http/port.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { GateWatch } from '../support/lockgate.js';
import type { Pair } from '../support/pair.js';
import { problemsOf } from '../support/verify/passes.js';
import {
  begin,
  ended,
  foundIn,
  journal,
  post,
  ready,
  scenarioText,
  signal,
  startVerifyScenario,
  verifyOf,
  type VerifyScenario,
} from '../support/verify/scenario.js';

const limit = 240_000;
const slow = { share: '2%', chunk: '10ms' };

describe('the life of a verification on PostgreSQL', { timeout: limit }, () => {
  let s: VerifyScenario;
  let pair: Pair;

  beforeAll(async () => {
    s = await startVerifyScenario({ kind: 'postgres' });
    pair = s.bed.pair as Pair;
    // So many rows that a pass has a middle.
    await pair.onSource(`insert into hot (id, pad) select 100000 + g, 'more ' || g from generate_series(1, 27000) g`);
    await s.bed.settled();
  }, 300_000);
  afterAll(async () => {
    await s.destroy();
  }, 120_000);

  // One that has failed leaves no pass to the next.
  afterEach(async () => {
    const { running } = await verifyOf(s.daemon);
    if (running === null) return;
    await fetch(`${s.daemon.url}/v1/migrations/shop/verify`, { method: 'DELETE' });
    await ended(s.daemon, running.pass);
  });

  const pace = async (of?: typeof slow): Promise<void> => {
    s.lockgate.write(scenarioText(s, { kind: 'postgres' }, of));
    s.daemon.signal('SIGHUP');
    await sleep(2_000);
    await ready(s);
  };
  const under = async (table: string): Promise<void> => {
    await waitFor(`${table} to be compared`, 120_000, async () => {
      const { running } = await verifyOf(s.daemon);
      if (running === null) throw new Error('the pass has ended too early');
      return running.table === table && running.rows_done > 0;
    });
  };
  const clean = async (): Promise<void> => {
    const done = await ended(s.daemon, await begin(s.daemon));
    expect(problemsOf(s.bed, [], foundIn(done))).toEqual([]);
  };

  it('killed in the middle of a pass, it goes on where it was', async () => {
    await pace(slow);
    const pass = await begin(s.daemon);
    await under('public.hot');
    // Well into the table, and then so long that it has said where it is, which it does once a second.
    const earlier = (await verifyOf(s.daemon)).running?.rows_done ?? 0;
    await waitFor('some ranges of it', 60_000, async () => {
      const { running } = await verifyOf(s.daemon);
      return (running?.rows_done ?? 0) >= earlier + 3_000;
    });
    await sleep(1_100);
    const before = await verifyOf(s.daemon);
    expect(before.running?.table).toBe('public.hot');
    const done = before.tables.filter((t) => t.compared_at !== null);
    expect(done.length).toBeGreaterThan(0);
    await s.daemon.kill();
    s.daemon = await s.lockgate.start();
    const resumed = await waitFor('the pass to go on', 60_000, async () => {
      const { running } = await verifyOf(s.daemon);
      return running !== null && running.rows_done > 0 ? running : undefined;
    });
    expect(resumed).toMatchObject({ pass, table: 'public.hot', started_at: before.running?.started_at });
    expect(resumed.tables_done).toBeGreaterThanOrEqual(done.length);
    // Well into the table: its first range has a thousand rows.
    expect(resumed.rows_done).toBeGreaterThan(3_000);
    expect((await journal(s.daemon, 'verify-resumed')).map((e) => e.data['pass'])).toEqual([pass]);
    const end = await ended(s.daemon, pass, 200_000);
    expect(end.last).toMatchObject({ pass, complete: true });
    expect(problemsOf(s.bed, [], foundIn(end))).toEqual([]);
    for (const t of done) expect(end.tables.find((x) => x.table === t.table)?.compared_at).toBe(t.compared_at);
    expect(end.tables.find((t) => t.table === 'public.hot')?.rows_compared).toBe(30_000);
  });

  it('a table whose shape changes while it is compared is compared anew, and it says so', async () => {
    const pass = await begin(s.daemon);
    await under('public.hot');
    const add = `alter table public.hot add column later text default 'later'`;
    await pair.onTarget(add);
    await pair.onSource(add);
    const end = await ended(s.daemon, pass, 200_000);
    expect(s.daemon.log()).toMatch(/the shape of a table has changed; it is compared anew/);
    expect(end.last).toMatchObject({ complete: true });
    // It counts once the catalogs were looked at again.
    await waitFor('what was compared anew to count', 45_000, async () => {
      const hot = (await verifyOf(s.daemon)).tables.find((t) => t.table === 'public.hot');
      return hot?.state === 'match' && hot.rows_compared === 30_000;
    });
    await pace();
    // What was added is compared as well.
    await s.bed.target.past(`update hot set later = 'Later' where id = 5`);
    const found = await ended(s.daemon, await begin(s.daemon, ['public.hot']));
    expect(found.tables.find((t) => t.table === 'public.hot')).toMatchObject({
      state: 'mismatch',
      mismatches: [{ kind: 'different', key: { id: '5' } }],
    });
    await s.bed.target.past(`update hot set later = 'later' where id = 5`);
    await clean();
  });

  it('a second pass is refused while one runs, an unknown table too; the command line waits and says how it ended', async () => {
    await pace(slow);
    const pass = await begin(s.daemon);
    expect(await post(s.daemon, 'verify', {})).toMatchObject({ status: 409, body: { pass } });
    const stopped = await fetch(`${s.daemon.url}/v1/migrations/shop/verify`, { method: 'DELETE' });
    expect(stopped.status).toBeLessThan(300);
    const end = await ended(s.daemon, pass);
    expect(end.last).toMatchObject({ complete: false });
    await pace();
    expect((await post(s.daemon, 'verify', { tables: ['public.nothing'] })).status).toBe(404);
    const told = await s.lockgate.run(['verify', 'shop', '--table', 'public.words'], {}, 60_000);
    expect(told.code, told.stdout + told.stderr).toBe(0);
    expect(told.stdout).toMatch(/public\.words/);
  });

  it('a stray write is found by its key, and reconciled by a complete verification begun afterwards', async () => {
    const silent = new GateWatch(s.lockgate.url, 'shop/silent');
    try {
      await clean();
      const stray = async (): Promise<number | null | undefined> =>
        (await s.daemon.get<MigrationJson>('/v1/migrations/shop')).body.sides.target.stray_writes.count;
      await pair.onTarget(`insert into emptied values (1000, 'stray')`);
      await silent.until(['closed'], 15_000);
      expect(await stray()).toBeGreaterThan(0);
      const found = await ended(s.daemon, await begin(s.daemon));
      expect(found.tables.find((t) => t.table === 'public.emptied')).toMatchObject({
        state: 'mismatch',
        mismatches: [{ kind: 'extra', key: { id: '1000' } }],
      });
      // It is there still: nothing is reconciled by having been found.
      expect(silent.state).toBe('closed');
      await pair.onTarget('delete from emptied where id = 1000');
      // A write of its own, and a stray one as well.
      await waitFor('the deletion to be counted', 15_000, async () => ((await stray()) ?? 0) >= 2);
      // A part of the tables is not enough.
      await ended(s.daemon, await begin(s.daemon, ['public.emptied']));
      expect(silent.state).toBe('closed');
      await clean();
      await silent.until(['open'], 10_000);
      expect((await journal(s.daemon, 'verify-cleared')).length).toBeGreaterThan(0);
    } finally {
      await silent.stop();
    }
  });

  it('rows lost by replication close the gate on continuity; what was compared before counts no more, and a complete match opens it', async () => {
    const unbroken = new GateWatch(s.lockgate.url, 'shop/unbroken');
    try {
      await unbroken.until(['open'], 30_000);
      await pair.disableSubscription();
      await pair.onSource(`insert into emptied values (500, 'lost')`);
      // Heartbeats are lost together with it.
      await sleep(1_000);
      const [row] = await pair.onSource<{ lsn: string }>('select pg_current_wal_lsn()::text as lsn');
      await pair.onTarget(
        `select pg_replication_origin_advance('pg_' || oid, $1) from pg_subscription where subname = 'shop_sub'`,
        [row?.lsn],
      );
      await pair.enableSubscription();
      await unbroken.until(['closed'], 30_000);
      await signal(s.daemon, 'verify.mismatched_rows', (x) => x.state === 'unknown');
      const found = await ended(s.daemon, await begin(s.daemon));
      expect(found.tables.find((t) => t.table === 'public.emptied')).toMatchObject({
        state: 'mismatch',
        mismatches: [{ kind: 'missing', key: { id: '500' } }],
      });
      expect(unbroken.state).toBe('closed');
      await s.bed.target.past(`insert into emptied values (500, 'lost')`);
      await clean();
      await unbroken.until(['open'], 10_000);
    } finally {
      await unbroken.stop();
    }
  });

  it('a promotion makes the results unknown', async () => {
    await clean();
    const { status, body } = await post(s.daemon, 'promote', { reason: 'test', expect: 'forward', force: true });
    expect(status, JSON.stringify(body)).toBeLessThan(300);
    await signal(s.daemon, 'verify.mismatched_rows', (x) => x.state === 'unknown');
    await s.clean.until(['unknown'], 5_000);
  });
});
