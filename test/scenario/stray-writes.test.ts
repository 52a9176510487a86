import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { MigrationJson } from '../../daemon/http/port.js';
import type { JournalEntry } from '../../daemon/store/store.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { GateWatch, workspace, type Daemon, type Workspace } from '../support/lockgate.js';
import { testedMajors } from '../support/majors.js';
import { open, startPair, type Pair } from '../support/pair.js';
import { boundMs, setUp, timing } from '../support/scenario-setup.js';

/** What every row that the tests write holds, so that it can be looked for where no row content may be. */
const content = 'nobody but the application may see this';
/** A stray write is told within a second, on a machine whose cores are busy too. */
const withinMs = 1_000;

/** Writes to the passive side, end to end: the real daemon, its store, its gates and its journal. */
describe.each(testedMajors)('stray writes on PostgreSQL %i', { timeout: 180_000 }, (major) => {
  let pair: Pair;
  let lockgate: Workspace;
  let daemon: Daemon;
  let silent: GateWatch;
  let quiet: GateWatch;

  beforeAll(async () => {
    pair = await startPair({ source: major, target: major, targetSettings: { max_prepared_transactions: '5' } });
    await pair.onTarget(`create table public.plain (id serial primary key, note text);
      create materialized view public.totals as select 1 as id, count(*) as n from public.plain;
      create unique index on public.totals (id)`);
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
    forward: { via: postgres-logical, subscription: shop_sub, heartbeat: { interval: ${timing.intervalMs}ms } }
    gates:
      silent: { require: "standby.stray_writes == 0" }
      quiet: { require: "target.local_writes == 0" }
`,
    );
    await setUp(lockgate, pair);
    daemon = await lockgate.start();
    silent = new GateWatch(lockgate.url, 'shop/silent');
    quiet = new GateWatch(lockgate.url, 'shop/quiet');
    await Promise.all([silent.until(['open'], 30_000), quiet.until(['open'], 30_000)]);
  });
  afterAll(async () => {
    await Promise.all([silent.stop(), quiet.stop()]);
    await lockgate.destroy();
    await pair.destroy();
  });

  const strays = async (): Promise<MigrationJson['sides']['target']['stray_writes']> =>
    (await daemon.get<MigrationJson>('/v1/migrations/shop')).body.sides.target.stray_writes;
  const journal = async (): Promise<JournalEntry[]> => {
    const { body } = await daemon.get<{ entries: JournalEntry[] }>('/v1/journal?limit=500');
    return body.entries.filter((e) => e.kind === 'stray-write');
  };
  /** Waits until the reader has confirmed what was committed before now; its reading. */
  const confirmed = async (): Promise<number | null> => {
    const from = Date.now();
    return waitFor('a confirmation by the reader of local writes', 20_000, async () => {
      const signal = (await daemon.signals()).get('target.local_writes');
      const watched = signal?.state === 'ok' || /^watched for less/.test(signal?.reason ?? '');
      const fresh = watched && Date.parse(signal?.observed_at ?? '') > from;
      return fresh ? { value: signal?.value ?? null } : undefined;
    }).then(({ value }) => value);
  };
  /** Waits until the gate says that nobody watched for a while; until the direction is known again, it says that first. */
  const gapShown = async (): Promise<void> => {
    await waitFor('the gap to be shown', 5_000, async () => {
      const { verdict } = await silent.until(['unknown'], 1_000);
      return /not watched from .*reconciled/.test(verdict?.conditions[0]?.reason ?? '');
    });
  };
  const reconcile = async (): Promise<void> => {
    const args = ['attest', 'shop', 'stray-writes-reconciled', '--by', 'a test', '--note', 'compared'];
    const { code, stderr } = await lockgate.run(args);
    expect([code, stderr]).toEqual([0, expect.any(String)]);
    await silent.until(['open'], 10_000);
  };
  /** Asserts that the gates were asked all the time since `from`, and open at every answer. */
  const stayedOpen = (from: number, watches = [silent, quiet]): void => {
    const to = performance.now();
    for (const watch of watches) {
      const samples = watch.between(from, to);
      expect(samples.length).toBeGreaterThan((to - from) / 500);
      const red = samples.find((x) => x.state !== 'open');
      expect(red, `a healthy stretch closed the gate: ${JSON.stringify(red?.verdict, null, 1)}`).toBeUndefined();
    }
  };
  /** Runs what commits a stray write, and asserts what everybody sees of it, and when. */
  const isStray = async (commit: () => Promise<unknown>): Promise<void> => {
    const before = (await journal()).length;
    await commit();
    const [written, wall] = [performance.now(), Date.now()];
    const [row] = await pair.onTarget<{ lsn: string }>('select pg_current_wal_flush_lsn()::text as lsn');
    const closed = await silent.until(['closed'], 5_000);
    const shown = await strays();
    const entry = (await journal()).at(-1);
    const shownMs = performance.now() - written;
    expect(closed.at - written).toBeLessThan(withinMs);
    expect(shownMs).toBeLessThan(withinMs + boundMs - timing.intervalMs);
    expect(shown).toMatchObject({
      count: 1,
      first_position: expect.stringMatching(/^[0-9A-F]+\/[0-9A-F]+$/) as unknown,
    });
    expect(Math.abs(Date.parse(shown.first_at ?? '') - wall)).toBeLessThan(withinMs);
    const [at] = await pair.onTarget<{ behind: string }>('select $1::pg_lsn - $2::pg_lsn as behind', [
      row?.lsn,
      shown.first_position,
    ]);
    expect(Number(at?.behind)).toBeGreaterThanOrEqual(0);
    expect(Number(at?.behind)).toBeLessThan(100_000);
    expect((await journal()).length).toBe(before + 1);
    expect(entry?.data).toEqual({
      side: 'target',
      count: 1,
      first_at: shown.first_at,
      first_position: shown.first_position,
    });
    await quiet.until(['closed'], 5_000);
  };

  it('what replication brings is none, at 2,000 rows a second', async () => {
    const from = performance.now();
    let rows = 0;
    while (performance.now() - from < 4_000) {
      const due = ((performance.now() - from) / 1_000) * 2_000 - rows;
      if (due >= 50) {
        await pair.bulk(Math.floor(due));
        rows += Math.floor(due);
      }
      await sleep(10);
    }
    await pair.onSource(
      `update public.orders set note = 'changed' where id % 10 = 0; delete from public.orders where id > 4000`,
    );
    await pair.settled();
    expect(await confirmed()).toBe(0);
    stayedOpen(from);
    expect((await strays()).count).toBe(0);
  });

  it('nor is what changes no rows of the application, or copies a table that joins', async () => {
    const from = performance.now();
    const heartbeat = 'lockgate.heartbeat (daemon, link, run, seq, sent_at)';
    for (const sql of [
      ...['analyze', 'vacuum', 'vacuum full public.plain', 'checkpoint'],
      'create table public.later (id int primary key)',
      'create index on public.orders (amount)',
      'alter table public.orders add column extra int default 7',
      'alter table public.plain alter column note type varchar(100)',
      'refresh materialized view public.totals',
      'refresh materialized view concurrently public.totals',
      `select nextval('public.plain_id_seq'), setval('public.orders_id_seq', 100000)`,
      `insert into ${heartbeat} values ('other', 'shop/reverse', 'r', 1, now())`,
      `update lockgate.heartbeat set seq = 2 where daemon = 'other'`,
      `delete from lockgate.heartbeat where daemon = 'other'`,
      'begin; delete from public.orders; rollback',
    ]) {
      await pair.onTarget(sql);
      await sleep(20);
      expect((await strays()).count, sql).toBe(0);
    }
    await pair.onSource(`create table public.later (id int primary key);
      insert into public.later select generate_series(1, 20000); alter publication shop_pub add table public.later`);
    await pair.onTarget('alter subscription shop_sub refresh publication');
    await waitFor('the copy', 20_000, async () => {
      return (await pair.onTarget(`select from pg_subscription_rel where srsubstate <> 'r'`)).length === 0;
    });
    await pair.onSource('update public.later set id = -id');
    await pair.settled();
    expect(await confirmed()).toBe(0);
    stayedOpen(from);
    // All the while it was looking.
    await isStray(() => pair.onTarget('delete from public.later where id = -1'));
    await reconcile();
  });

  it('a row closes the gates within a second, latched over a crash of the daemon, until it is reconciled', async () => {
    await isStray(() => pair.onTarget('insert into public.plain (note) values ($1)', [content]));
    await daemon.kill();
    daemon = await lockgate.start();
    await silent.until(['closed'], 10_000);
    expect((await strays()).count).toBe(1);
    await confirmed();
    expect(silent.state).toBe('closed');
    await reconcile();
    expect(await strays()).toEqual({ count: 0, first_at: null, first_position: null });
  });

  it('so does COPY', async () => {
    await isStray(() => pair.onTarget(`copy public.plain (note) from program 'echo ${content}'`));
    await reconcile();
  });

  it('so does a prepared transaction, when it is committed', async () => {
    const client = await open(pair.target);
    const from = performance.now();
    await client.query(`begin; insert into public.plain (note) values ('${content}'); prepare transaction 'later'`);
    await client.end();
    await confirmed();
    stayedOpen(from, [silent]);
    await isStray(() => pair.onTarget(`commit prepared 'later'`));
    await reconcile();
  });

  it('so does TRUNCATE', async () => {
    await isStray(() => pair.onTarget('truncate public.plain'));
    await reconcile();
  });

  it('what was written while the connections were cut is not none', async () => {
    await pair.targetProxy.cut();
    await pair.onTarget('insert into public.plain (note) values ($1)', [content]);
    const cut = performance.now();
    await silent.until(['unknown'], 10_000);
    await pair.targetProxy.restore();
    await confirmed();
    await gapShown();
    expect((await strays()).count).toBeNull();
    await sleep(1_500);
    const open = silent.between(cut + 3_000 + boundMs, performance.now()).filter((x) => x.state === 'open');
    expect(open).toEqual([]);
    await reconcile();
  });

  it('nor is what was written while the daemon was down', async () => {
    expect(await daemon.stop()).toBe(0);
    await pair.onTarget('insert into public.plain (note) values ($1)', [content]);
    const from = performance.now();
    daemon = await lockgate.start();
    await confirmed();
    await gapShown();
    expect((await strays()).count).toBeNull();
    expect(silent.between(from, performance.now()).filter((x) => x.state === 'open')).toEqual([]);
    await reconcile();
  });

  it('nothing of a row is kept or told anywhere', async () => {
    const told = await Promise.all(
      ['/v1/migrations/shop', '/v1/migrations/shop/signals', '/v1/journal?limit=500', '/v1/gates', '/metrics'].map(
        (path) => fetch(lockgate.url + path).then((answer) => answer.text()),
      ),
    );
    const files = readdirSync(lockgate.folder, { withFileTypes: true, recursive: true }).filter((f) => f.isFile());
    const kept = files.map((f) => readFileSync(join(f.parentPath, f.name), 'latin1'));
    expect(kept.length).toBeGreaterThan(1);
    expect(kept.some((text) => text.includes('stray-write'))).toBe(true);
    for (const text of [daemon.log(), ...told, ...kept]) expect(text).not.toContain(content);
  });
});
