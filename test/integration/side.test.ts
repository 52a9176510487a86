import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { SideCollector, type DirectionSight } from '../../collectors/postgres/side.js';
import type { Observation, SideReading } from '../../daemon/core/observation.js';
import type { SideSignal } from '../../daemon/core/signal.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { startPostgres, type PostgresServer } from '../../deploy/demo/postgres-server.js';
import { contextOf, databaseAt, listenTo, type Listening } from '../support/listening.js';
import { testedMajors } from '../support/majors.js';
import { startProxy, type Proxy } from '../support/proxy.js';

const isSide = (o: Observation): o is SideReading => o.kind === 'side-reading';

describe.each(testedMajors)('one side, PostgreSQL %i', (major) => {
  let server: PostgresServer;
  let proxy: Proxy;

  beforeAll(async () => {
    server = await startPostgres({ major, database: 'app' });
    proxy = await startProxy(server);
    await sql(`create role lg login password 'lg'`);
  });
  afterAll(async () => {
    await proxy.close();
    await server.destroy();
  });

  const sql = async (text: string): Promise<void> => {
    // Whatever the test has set the database to, this must be able to set it back.
    const options = '-c default_transaction_read_only=off';
    const client = new pg.Client({ connectionString: server.adminUrl('app'), options });
    await client.connect();
    await client.query(text).finally(() => client.end());
  };
  const listen = (password = 'lg', onDirection?: (sight: DirectionSight) => void): Listening => {
    const url = new URL(server.adminUrl('app'));
    url.port = String(proxy.port);
    const database = databaseAt('onprem', url.href, { name: 'lg', password });
    return listenTo(new SideCollector(database, contextOf(), onDirection === undefined ? {} : { onDirection }));
  };
  const reading = (l: Listening, signal: SideSignal, value?: number | null): Promise<SideReading> =>
    l.next(
      `${signal} ${value === undefined ? '' : String(value)}`,
      isSide,
      (o) => o.signal === signal && (value === undefined || o.value === value),
    );
  const during = async (body: (l: Listening) => Promise<void>, password?: string): Promise<void> => {
    const l = listen(password);
    try {
      await body(l);
    } finally {
      await l.stop();
    }
    await waitFor('all connections to be closed', 1_000, () => proxy.connections() === 0);
  };

  it('answers, accepts writes, and its clock is ours', async () => {
    await during(async (l) => {
      const [reachable, writable, skew] = await Promise.all([
        reading(l, 'reachable'),
        reading(l, 'writable'),
        reading(l, 'clock_skew'),
      ]);
      expect(reachable).toMatchObject({ value: 1, reason: null, database: 'onprem' });
      expect(writable).toMatchObject({ value: 1, reason: null });
      expect(Math.abs(skew.value ?? NaN)).toBeLessThan(0.02);
      expect(skew.reason).toMatch(/^± \d+(\.\d+)? ms/);
      for (const each of [reachable, writable, skew]) expect(each.askedAt).toBeLessThan(each.at);
    });
  });

  it('sees at once that the database was made read-only for new sessions', async () => {
    await during(async (l) => {
      await reading(l, 'writable', 1);
      await sql('alter database app set default_transaction_read_only = on');
      try {
        expect((await reading(l, 'writable', 0)).reason).toMatch(/default_transaction_read_only is on/);
        // The session was opened anew for that, which is no outage.
        expect(l.heard.filter(isSide).filter((o) => o.signal === 'reachable' && o.value !== 1)).toEqual([]);
      } finally {
        await sql('alter database app reset default_transaction_read_only');
      }
      await reading(l, 'writable', 1);
    });
  });

  it('sees that the server was made read-only', async () => {
    await during(async (l) => {
      await reading(l, 'writable', 1);
      await sql('alter system set default_transaction_read_only = on');
      await sql('select pg_reload_conf()');
      try {
        await reading(l, 'writable', 0);
      } finally {
        await sql('alter system reset default_transaction_read_only');
        await sql('select pg_reload_conf()');
      }
      await reading(l, 'writable', 1);
    });
  });

  it('is not reachable, and nothing else is known, while the network is frozen', async () => {
    await during(async (l) => {
      await reading(l, 'reachable', 1);
      proxy.freeze();
      try {
        const from = performance.now();
        const gone = await reading(l, 'reachable', 0);
        expect(performance.now() - from).toBeLessThan(2_500);
        expect(gone.reason).toMatch(/no answer within/);
        expect((await reading(l, 'writable')).value).toBeNull();
        l.forget();
        await sleep(6_000);
        const seen = l.heard.filter(isSide).filter((o) => o.signal === 'reachable');
        expect(seen.every((o) => o.value === 0)).toBe(true);
        // Never so rarely that the last 0 would be stale (3 s).
        const at = seen.map((o) => o.at);
        expect(Math.max(...at.slice(1).map((each, i) => each - (at[i] ?? 0)))).toBeLessThan(3_000_000);
        expect(at.length).toBeGreaterThanOrEqual(2);
      } finally {
        proxy.thaw();
      }
      await reading(l, 'reachable', 1);
    });
  });

  it('is not reachable while connections are refused, without a flood of attempts', async () => {
    await during(async (l) => {
      await reading(l, 'reachable', 1);
      await proxy.cut();
      try {
        await reading(l, 'reachable', 0);
        l.forget();
        await sleep(5_000);
        const count = l.heard.filter(isSide).filter((o) => o.signal === 'reachable').length;
        expect(count).toBeGreaterThanOrEqual(2);
        expect(count).toBeLessThanOrEqual(9);
      } finally {
        await proxy.restore();
      }
      await reading(l, 'reachable', 1);
    });
  });

  it('is not reachable when the server refuses us, with the reason', async () => {
    await during(async (l) => {
      expect((await reading(l, 'reachable', 0)).reason).toMatch(/password/);
    }, 'wrong');
  });

  it('reads directions, and tells none from not allowed and from not answering', async () => {
    const sights: DirectionSight[] = [];
    const l = listen('lg', (sight) => sights.push(sight));
    const next = async (what: string, fits: (sight: DirectionSight) => boolean): Promise<DirectionSight> => {
      const from = sights.length;
      return await waitFor(what, 5_000, () => sights.slice(from).find(fits));
    };
    try {
      await next('no table', (s) => s.rows?.length === 0 && 'tableMissing' in s && s.tableMissing);
      await sql(`create schema lockgate;
        create table lockgate.direction (migration text primary key, epoch bigint not null, direction text not null,
          changed_at timestamptz, changed_by text, reason text)`);
      const hidden = await next('no privilege', (s) => s.rows === null);
      expect(hidden.reason).toContain('GRANT SELECT ON lockgate.direction TO "lg"');
      await sql('grant usage on schema lockgate to lg; grant select on lockgate.direction to lg');
      await next('an empty table', (s) => s.rows?.length === 0 && 'tableMissing' in s && !s.tableMissing);
      await sql(`insert into lockgate.direction values
        ('shop', 2, 'reverse', '2026-11-22T03:04:05.678Z', 'ops', 'cutover'), ('crm', 1, 'forward', null, null, null)`);
      const seen = await next('two rows', (s) => s.rows?.length === 2);
      expect(seen.rows).toContainEqual({
        migration: 'shop',
        epoch: 2,
        direction: 'reverse',
        changedAt: '2026-11-22T03:04:05.678Z',
        changedBy: 'ops',
        reason: 'cutover',
      });
      await sql('alter table lockgate.direction enable row level security');
      expect((await next('row security', (s) => s.rows === null)).reason).toMatch(/row security/);
      await sql('alter table lockgate.direction disable row level security');
      // A lock that makes the table wait is no reason to call the whole side unreachable.
      const locker = new pg.Client({ connectionString: server.adminUrl('app') });
      await locker.connect();
      await locker.query('begin; lock table lockgate.direction');
      await next('a locked table', (s) => s.rows === null);
      await locker.query('rollback');
      await locker.end();
      await next('rows again', (s) => s.rows?.length === 2);
      expect(l.heard.filter(isSide).filter((o) => o.signal === 'reachable' && o.value !== 1)).toEqual([]);
      await proxy.cut();
      await next('nothing', (s) => s.rows === null);
      await proxy.restore();
    } finally {
      await proxy.restore();
      await l.stop();
    }
  });

  it('stops promptly although the network is frozen', async () => {
    const l = listen();
    await reading(l, 'reachable', 1);
    proxy.freeze();
    try {
      await sleep(1_100);
      const from = performance.now();
      await l.stop();
      expect(performance.now() - from).toBeLessThan(2_500);
    } finally {
      proxy.thaw();
    }
  });
});
