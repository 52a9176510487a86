import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connect, type PgConnection } from '../../collectors/postgres/connection.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { startPair, type Pair } from '../support/pair.js';
import {
  administered,
  catalogSql,
  databaseOf,
  linkOf,
  outcomes,
  rounds,
  setupOnce,
  teardownOnce,
  type Administered,
} from './setup-kit.js';

describe.each([
  { source: 18, target: 18 },
  { source: 13, target: 13 },
  { source: 13, target: 18 },
])('setup and teardown, $source to $target', ({ source, target }) => {
  let pair: Pair;
  let databases: Administered[];
  let links: ReturnType<typeof linkOf>[];
  let before: { source: unknown[]; target: unknown[] };
  const onBoth = async (): Promise<typeof before> => ({
    source: (await pair.onSource<{ line: string }>(catalogSql)).map((r) => r.line),
    target: (await pair.onTarget<{ line: string }>(catalogSql)).map((r) => r.line),
  });

  beforeAll(async () => {
    pair = await startPair({ source, target, targetSettings: { wal_writer_delay: '10s' } });
    const onprem = databaseOf('onprem', pair.source);
    const aws = databaseOf('aws', pair.target);
    databases = [administered(onprem, pair.source), administered(aws, pair.target)];
    links = [linkOf('forward', onprem, aws)];
    before = await onBoth();
  });
  afterAll(() => pair.destroy());

  test('a dry run changes nothing', async () => {
    const reports = await setupOnce(databases, links, true);
    expect(outcomes(reports).filter((o) => o.startsWith('done'))).toEqual([]);
    // The subscription belongs to a superuser, who may write any table.
    expect(outcomes(reports).filter((o) => o.startsWith('unchanged'))).toHaveLength(1);
    expect(await onBoth()).toEqual(before);
  });

  test('setup makes everything in two rounds, and then finds nothing to do', async () => {
    const { count, last } = await rounds(() => setupOnce(databases, links));
    expect(outcomes(last).filter((o) => o.startsWith('would-do'))).toEqual([]);
    expect(count).toBe(2);
    const again = await setupOnce(databases, links);
    expect(outcomes(again).filter((o) => !o.startsWith('unchanged'))).toEqual([]);
    expect(again.map((r) => r.step.sql).join('\n')).not.toContain('pw of');
    expect((await setupOnce(databases, links, true)).every((r) => r.outcome === 'unchanged')).toBe(true);
  });

  test("the daemon's own user can do all that it needs, and little else", async () => {
    const [from, to] = await Promise.all(
      databases.map((d) => connect(d.config, { applicationName: 'lockgate/test/daemon' })),
    );
    const [s, t] = [from!, to!];
    try {
      await t.query('LISTEN lockgate_heartbeat');
      const write = (seq: number): Promise<unknown> =>
        s.query(
          `INSERT INTO lockgate.heartbeat (daemon, link, run, seq, sent_at) VALUES ('a', 'shop/forward', 'r', $1, now())
             ON CONFLICT (daemon, link, run) DO UPDATE SET seq = excluded.seq`,
          [seq],
        );
      await write(1);
      const seen = (seq: number): Promise<unknown> =>
        waitFor(`heartbeat ${seq}`, 10_000, async () => {
          const rows = await t.query<{ seq: string }>(`SELECT seq FROM lockgate.heartbeat WHERE run = 'r'`);
          return rows[0]?.seq === String(seq);
        });
      await seen(1);
      await write(2);
      await seen(2);
      await s.query(`DELETE FROM lockgate.heartbeat WHERE run = 'r'`);
      await expect(t.query('DELETE FROM lockgate.heartbeat')).rejects.toThrow(/permission denied/);
      for (const c of [s, t]) {
        await c.query(`INSERT INTO lockgate.direction VALUES ('shop', 1, 'forward', now(), 'me', 'test')
          ON CONFLICT (migration) DO UPDATE SET epoch = excluded.epoch`);
        await c.query('SELECT * FROM lockgate.direction');
        await expect(c.query('SELECT * FROM public.orders')).rejects.toThrow(/permission denied/);
        await expect(c.query('CREATE TABLE lockgate.x ()')).rejects.toThrow(/permission denied/);
        await temporarySlot(databases[c === s ? 0 : 1]!);
      }
      const positions = await s.query<{ flush: string | null }>(
        `SELECT flush_lsn::text AS flush FROM pg_stat_replication WHERE application_name = 'shop_sub'`,
      );
      expect(positions[0]?.flush).toMatch(/^[0-9A-F]+\/[0-9A-F]+$/);
      expect(await originProgress(t)).toMatch(/^[0-9A-F]+\/[0-9A-F]+$/);
    } finally {
      await Promise.all([s.close(), t.close()]);
    }
  });

  test('the trigger makes heartbeats durable at once', async () => {
    expect(
      await pair.onTarget(
        `SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'lockgate.heartbeat'::regclass AND NOT tgisinternal`,
      ),
    ).toEqual([{ tgname: 'heartbeat_flush', tgenabled: 'A' }]);
    // The WAL writer sleeps for ten seconds: what is flushed sooner, the trigger had flushed.
    const delays: number[] = [];
    for (let n = 0; n < 5; n++) delays.push(await timeToFlush(pair, n));
    expect(Math.max(...delays)).toBeLessThan(2_000);
  });

  test('teardown takes the sending side first, and leaves nothing but the role', async () => {
    // A table that a change could still arrive for stays.
    const early = await teardownOnce([databases[1]!], links);
    expect(
      outcomes(early)
        .filter((o) => o.startsWith('would-do'))
        .join('\n'),
    ).toMatch(/onprem still publishes it/);
    const { last } = await rounds(() => teardownOnce(databases, links));
    expect(outcomes(last).filter((o) => o.startsWith('would-do'))).toEqual([]);
    expect((await teardownOnce(databases, links)).every((r) => r.outcome === 'unchanged')).toBe(true);
    const role = /^role lockgate(true|false)/;
    const after = await onBoth();
    expect(after.source.filter((l) => role.test(l as string))).toHaveLength(1);
    expect({
      source: after.source.filter((l) => !role.test(l as string)),
      target: after.target.filter((l) => !role.test(l as string)),
    }).toEqual(before);
    // Replication goes on.
    await pair.arrived(await pair.placeOrder());
  });
});

/** Milliseconds from a heartbeat on the source until the target reports to have flushed it. */
async function timeToFlush(pair: Pair, seq: number): Promise<number> {
  const begun = performance.now();
  await pair.onSource(
    `INSERT INTO lockgate.heartbeat VALUES ('a', 'shop/forward', 'flush', $1, now())
       ON CONFLICT (daemon, link, run) DO UPDATE SET seq = excluded.seq`,
    [seq],
  );
  await pair.settled();
  return performance.now() - begun;
}

async function temporarySlot({ config }: Administered): Promise<void> {
  const conn = await connect(config, { applicationName: 'lockgate/test/reader', replication: 'database' });
  try {
    await conn.query('CREATE_REPLICATION_SLOT lockgate_test TEMPORARY LOGICAL pgoutput NOEXPORT_SNAPSHOT');
  } finally {
    await conn.close();
  }
}

async function originProgress(conn: PgConnection): Promise<string | undefined> {
  const fn = conn.serverVersion >= 140000 ? 'pg_catalog.pg_replication_origin_progress' : 'lockgate.origin_progress';
  const [row] = await conn.query<{ lsn: string }>(
    `SELECT ${fn}('pg_' || subid, true)::text AS lsn FROM pg_stat_subscription WHERE subname = 'shop_sub'`,
  );
  return row?.lsn;
}
