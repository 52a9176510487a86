import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { connect } from '../../collectors/postgres/connection.js';
import { doctor } from '../../collectors/postgres/setup/doctor.js';
import { setup } from '../../collectors/postgres/setup/setup.js';
import { startPair, type Pair } from '../support/pair.js';
import {
  administered,
  context,
  databaseOf,
  linkOf,
  outcomes,
  rounds,
  setupOnce,
  type Administered,
} from './setup-kit.js';

/** Milliseconds from an update on the source until the target reports to have flushed it. */
async function timeToFlush(pair: Pair): Promise<number> {
  const begun = performance.now();
  await pair.onSource(`UPDATE lockgate.heartbeat SET seq = seq + 1`);
  await pair.settled();
  return performance.now() - begun;
}

async function heartbeatArrives(pair: Pair, run: string): Promise<void> {
  const seq = async (n: number): Promise<void> => {
    await pair.onSource(
      `INSERT INTO lockgate.heartbeat VALUES ('a', 'shop/forward', $1, $2, now())
         ON CONFLICT (daemon, link, run) DO UPDATE SET seq = excluded.seq`,
      [run, n],
    );
    await waitFor(`heartbeat ${n} of ${run}`, 10_000, async () => {
      const [row] = await pair.onTarget<{ seq: string }>('SELECT seq FROM lockgate.heartbeat WHERE run = $1', [run]);
      return row?.seq === String(n);
    });
  };
  await seq(1);
  await seq(2);
}

describe('a subscription whose owner is no superuser (18)', () => {
  let pair: Pair;
  let databases: Administered[];
  let links: ReturnType<typeof linkOf>[];

  beforeAll(async () => {
    pair = await startPair({ targetSettings: { wal_writer_delay: '3s' } });
    const onprem = databaseOf('onprem', pair.source);
    const aws = databaseOf('aws', pair.target);
    databases = [administered(onprem, pair.source), administered(aws, pair.target)];
    links = [linkOf('forward', onprem, aws)];
    await pair.onTarget(`create role mover login; grant create on database app to mover;
      grant create, usage on schema public to mover;
      alter table public.orders owner to mover; alter table public.customers owner to mover;`);
    await pair.onTarget('alter subscription shop_sub owner to mover');
  });
  afterAll(() => pair.destroy());

  test('its apply worker can write the heartbeat, with the trigger, as itself and as the table owner', async () => {
    const { last } = await rounds(() => setupOnce(databases, links));
    expect(outcomes(last).filter((o) => o.startsWith('would-do'))).toEqual([]);
    for (const asOwner of [false, true]) {
      await pair.onTarget(`alter subscription shop_sub set (run_as_owner = ${asOwner})`);
      await heartbeatArrives(pair, `run_as_owner ${asOwner}`);
      expect(await timeToFlush(pair)).toBeLessThan(1_500);
    }
    await pair.arrived(await pair.placeOrder());
  });

  test('the notification comes as well', async () => {
    const notifying = [linkOf('forward', links[0]!.from, links[0]!.to, { watch: 'notify' })];
    await rounds(() => setupOnce(databases, notifying));
    const conn = await connect(links[0]!.to, { applicationName: 'lockgate/test/listen' });
    try {
      const got: string[] = [];
      conn.client.on('notification', (n) => got.push(n.payload ?? ''));
      await conn.query('LISTEN lockgate_heartbeat');
      await pair.onSource(`INSERT INTO lockgate.heartbeat VALUES ('a', 'shop/forward', 'notified', 7, now())`);
      await waitFor('the notification', 10_000, () => got.length > 0);
      expect(JSON.parse(got[0] ?? '')).toEqual(['a', 'shop/forward', 'notified', 7]);
    } finally {
      await conn.close();
    }
  });
});

describe('a heartbeat table whose owner may not become the owner of the subscription (18)', () => {
  test('loses what the trigger sets, and doctor says so', async () => {
    const pair = await startPair({ targetSettings: { wal_writer_delay: '3s' } });
    try {
      const onprem = databaseOf('onprem', pair.source);
      const aws = databaseOf('aws', pair.target);
      const links = [linkOf('forward', onprem, aws)];
      await rounds(() => setupOnce([administered(onprem, pair.source), administered(aws, pair.target)], links));
      await pair.onSource(`INSERT INTO lockgate.heartbeat VALUES ('a', 'shop/forward', 'r', 1, now())`);
      await pair.onTarget('create role plain; alter table lockgate.heartbeat owner to plain');
      await timeToFlush(pair); // ends when the WAL writer wakes, so that the next one takes a whole period
      expect(await timeToFlush(pair)).toBeGreaterThan(1_500);
      const findings = await doctor([onprem, aws], links, context, new AbortController().signal);
      expect(findings.filter((f) => f.level !== 'ok').map((f) => f.message)).toEqual([
        expect.stringContaining("the trigger's setting is taken back by the server") as string,
      ]);
    } finally {
      await pair.destroy();
    }
  });
});

describe('an administrator who is no superuser, as on a managed service (18)', () => {
  let pair: Pair;
  beforeAll(async () => {
    pair = await startPair();
    for (const run of [pair.onSource, pair.onTarget]) {
      await run(`create role rds_replication;
        create role dba login createrole password 'dba';
        grant rds_replication, pg_monitor to dba with admin option;
        alter database app owner to dba;`);
    }
    await pair.onSource('alter publication shop_pub owner to dba');
    await pair.onTarget(
      `grant pg_create_subscription to dba; alter table public.orders owner to dba; alter table public.customers owner to dba;`,
    );
    await pair.onTarget('alter subscription shop_sub owner to dba');
  });
  afterAll(() => pair.destroy());

  test('sets up all but what only a superuser may, and says what that is', async () => {
    const onprem = databaseOf('onprem', pair.source, { password: 'x' });
    const aws = databaseOf('aws', pair.target, { password: 'x' });
    const url = (server: Pair['source']): string => `postgres://dba:dba@${server.host}:${server.port}/app`;
    const databases = [
      { config: onprem, adminUrl: url(pair.source) },
      { config: aws, adminUrl: url(pair.target) },
    ];
    const links = [linkOf('forward', onprem, aws)];
    const { last: left } = await rounds(() => setupOnce(databases, links));
    expect(outcomes(left).filter((o) => o.startsWith('would-do'))).toEqual([
      expect.stringMatching(/^would-do: onprem: let the daemon compare sequences.*permission denied for sequence/),
      expect.stringMatching(/^would-do: aws: let the daemon read how far .* \(needs a superuser or the owner: .*$/),
      expect.stringMatching(/^would-do: aws: let the daemon see whether .* \(needs a superuser or the owner: .*$/),
    ]);
    // Whoever owns them (or the provider) grants these; all else goes on.
    await pair.onSource('grant select on all sequences in schema public to lockgate');
    await pair.onTarget('grant execute on function pg_replication_origin_progress(text, boolean) to dba');
    await pair.onTarget('grant execute on function pg_show_replication_origin_status() to dba');
    const { last } = await rounds(() => setupOnce(databases, links));
    expect(outcomes(last).filter((o) => o.startsWith('would-do'))).toEqual([]);
    const [role] = await pair.onSource<{ rds: boolean; stats: boolean }>(
      `SELECT pg_has_role('lockgate', 'rds_replication', 'MEMBER') AS rds, pg_has_role('lockgate', 'pg_read_all_stats', 'USAGE') AS stats`,
    );
    expect(role).toEqual({ rds: true, stats: true });
    await heartbeatArrives(pair, 'dba');
  });

  test('without a password no role is made', async () => {
    const config = databaseOf('onprem', pair.source, { user: 'nobody_yet', password: null });
    const steps = setup(config, [], {
      adminUrl: pair.source.adminUrl('app'),
      dryRun: false,
      signal: new AbortController().signal,
    });
    await expect(steps.next()).rejects.toMatchObject({ code: 'role_missing' });
  });
});
