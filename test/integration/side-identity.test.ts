/** What stands between the daemon and a server: poolers, proxies that balance, names that lead to several servers. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Collector, CollectorContext } from '../../collectors/collector.js';
import { EntryHomes } from '../../daemon/homes.js';
import { connect } from '../../collectors/postgres/connection.js';
import { postgresEngine } from '../../collectors/postgres/engine.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import type { Observation } from '../../daemon/core/observation.js';
import { startPostgres, type PostgresServer } from '../../deploy/demo/postgres-server.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { contextOf, databaseAt, listenTo, planOf } from '../support/listening.js';
import { database, open, startPair, type Pair } from '../support/pair.js';
import { poolModes, startPgBouncer } from '../support/pgbouncer.js';
import { startProxy } from '../support/proxy.js';
import { administered, context, databaseOf, linkOf, rounds, setupOnce } from './setup-kit.js';

/** Runs collectors together and keeps what they say. */
function listenToAll(collectors: readonly Collector[], heard: Observation[]): { stop(): Promise<void> } {
  const all = collectors.map((c) => listenTo(c, (o) => heard.push(o)));
  return {
    stop: async () => {
      await Promise.all(all.map((l) => l.stop()));
    },
  };
}

const newest = <K extends Observation['kind']>(heard: readonly Observation[], kind: K) =>
  heard.findLast((o): o is Extract<Observation, { kind: K }> => o.kind === kind);

const contextWith = (homes: EntryHomes): CollectorContext => ({ ...contextOf(), homes });

describe('the sessions of a side', { timeout: 180_000 }, () => {
  let pair: Pair;
  let [onprem, aws]: DatabaseConfig[] = [];

  beforeAll(async () => {
    pair = await startPair();
    const [a, b] = [databaseOf('onprem', pair.source), databaseOf('aws', pair.target)];
    [onprem, aws] = [a, b];
    await rounds(() => setupOnce([administered(a, pair.source), administered(b, pair.target)], [linkOf('forward', a, b)])); // prettier-ignore
  });
  afterAll(() => pair.destroy());

  function given(): { onprem: DatabaseConfig; aws: DatabaseConfig } {
    if (onprem === undefined || aws === undefined) throw new Error('the pair was not started');
    return { onprem, aws };
  }

  it('that lead to two servers by turns break the chain, and nothing is read meanwhile', async () => {
    const { onprem: source, aws: target } = given();
    const other = await startPostgres({ name: 'other', database, password: pair.source.password });
    const upstream = { host: pair.source.host, port: pair.source.port };
    const proxy = await startProxy(upstream);
    const through = { ...source, address: { ...source.address, port: proxy.port } };
    const heard: Observation[] = [];
    const collectors = postgresEngine.collectors([through, target], [linkOf('forward', through, target)], contextWith(new EntryHomes())); // prettier-ignore
    const running = listenToAll(collectors, heard);
    try {
      await waitFor('heartbeats to be written', 20_000, () => newest(heard, 'heartbeat-acked') !== undefined);
      await waitFor('the chain to be seen', 20_000, () => newest(heard, 'chain-seen') !== undefined);
      const client = await open(other);
      await client.query(`create role lockgate login password 'pw of onprem'`);
      await client.end();
      // Sessions opened from now on lead elsewhere; one that was cut off comes back on the other server.
      upstream.port = other.port;
      const admin = await open(pair.source);
      await admin.query(`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'lockgate/test/side'`); // prettier-ignore
      await admin.end();
      const broken = await waitFor('the chain to be broken', 10_000, () => newest(heard, 'chain-broken'));
      expect(broken).toMatchObject({ link: 'shop/forward', heartbeatsSince: null });
      expect(broken.what).toMatch(
        new RegExp(
          `^connections to onprem lead to different servers at the same time \\(primary at 127.0.0.1:${pair.source.port} started .*; primary at 127.0.0.1:${other.port} started`,
        ),
      );
      heard.length = 0;
      // Whatever reads the side says why it knows nothing; the side is not called down either.
      const fault = await waitFor('the chain to be unknown', 10_000, () => newest(heard, 'chain-fault'));
      const writer = await waitFor('heartbeats to be unknown', 10_000, () => newest(heard, 'writer-fault'));
      const reachable = await waitFor('the side to be unknown', 10_000, () =>
        heard.find((o) => o.kind === 'side-reading' && o.database === 'onprem' && o.signal === 'reachable'),
      );
      expect(reachable).toMatchObject({ value: null });
      for (const o of [fault, writer, reachable]) {
        expect('reason' in o ? o.reason : null).toMatch(/lead to different servers at the same time.*own address/);
      }
      heard.length = 0;
      await waitFor('more looks', 10_000, () => newest(heard, 'chain-fault'));
      expect(heard.filter((o) => o.kind === 'heartbeat-acked' || o.kind === 'chain-seen')).toEqual([]);
      // One event, not one for each session.
      expect(heard.filter((o) => o.kind === 'chain-broken')).toEqual([]);
    } finally {
      await running.stop();
      await proxy.close();
      await other.destroy();
    }
  });

  it('break nothing when the server restarts or crashes', async () => {
    const { onprem: source, aws: target } = given();
    const heard: Observation[] = [];
    const collectors = postgresEngine.collectors([source, target], [linkOf('forward', source, target)], contextWith(new EntryHomes())); // prettier-ignore
    const running = listenToAll(collectors, heard);
    try {
      for (const step of [() => pair.source.stop(), () => pair.source.kill(), () => pair.target.kill()]) {
        await waitFor('heartbeats to be written', 20_000, () => newest(heard, 'heartbeat-acked') !== undefined);
        await waitFor('the chain to be seen', 20_000, () => newest(heard, 'chain-seen') !== undefined);
        await step();
        await pair.source.start().catch(() => undefined);
        await pair.target.start().catch(() => undefined);
        heard.length = 0;
      }
      await waitFor('heartbeats to be written', 20_000, () => newest(heard, 'heartbeat-acked') !== undefined);
      const split = heard.filter((o) => 'reason' in o && /different servers/.test(o.reason ?? ''));
      expect([split, newest(heard, 'chain-broken')]).toEqual([[], undefined]);
    } finally {
      await running.stop();
    }
  });

  it('of two entries that lead to one database are told apart from another daemon', async () => {
    const { onprem: source, aws: target } = given();
    const legacy = { ...source, name: 'legacy' };
    const heard: Observation[] = [];
    const homes = new EntryHomes();
    const links = [source, legacy].map((from) => ({ ...linkOf('forward', from, target, { migration: from.name }) }));
    const collectors = postgresEngine.collectors([source, legacy, target], links, contextWith(homes));
    const running = listenToAll(collectors.filter((c) => c.name.endsWith('/heartbeat')), heard); // prettier-ignore
    try {
      const fault = await waitFor('one of them to be refused', 20_000, () => newest(heard, 'writer-fault'));
      expect(fault.reason).toMatch(
        /^the entries (onprem and legacy|legacy and onprem) of `databases` lead to one and the same database/,
      );
    } finally {
      await running.stop();
    }
  });
});

describe('doctor', { timeout: 180_000 }, () => {
  it('finds connections that lead to different servers, and tells RDS and Aurora', async () => {
    const [one, two] = await Promise.all([startPostgres({ database }), startPostgres({ database })]);
    const proxies: Awaited<ReturnType<typeof startProxy>>[] = [];
    try {
      for (const [n, server] of [one, two].entries()) {
        await setupOnce([administered(databaseOf('onprem', server), server)], []);
        const client = await open(server);
        await client.query(n === 0 ? 'create role rds_superuser' : `create function aurora_version() returns text language sql as $$ select '16' $$`); // prettier-ignore
        await client.end();
      }
      const look = async (db: DatabaseConfig): Promise<string[]> => {
        const found = await postgresEngine.doctor([db], [], context, new AbortController().signal);
        return found.map((f) => `${f.level}: ${f.message} | ${f.remedy ?? ''}`);
      };
      expect(await look(databaseOf('onprem', one))).toContainEqual(expect.stringMatching(/^ok: this is RDS/));
      expect(await look(databaseOf('onprem', two))).toContainEqual(expect.stringMatching(/^ok: this is Aurora/));
      expect(await look(databaseOf('onprem', one))).toContainEqual(expect.stringMatching(/^ok: 4 connections lead/));

      // Whichever of the servers it takes, the next connection leads to the other one.
      let turn = 0;
      const upstream = {
        host: '127.0.0.1',
        get port() {
          turn += 1;
          return turn % 2 === 0 ? one.port : two.port;
        },
      };
      const proxy = await startProxy(upstream);
      proxies.push(proxy);
      const db = databaseOf('onprem', one);
      expect(await look({ ...db, address: { ...db.address, port: proxy.port } })).toContainEqual(
        expect.stringMatching(/^fault: connections lead to different servers .* \| .*own address/),
      );
    } finally {
      await Promise.all(proxies.map((p) => p.close()));
      await Promise.all([one.destroy(), two.destroy()]);
    }
  });
});

describe.each(poolModes)('PgBouncer in %s mode', { timeout: 180_000 }, (mode) => {
  let server: PostgresServer;
  let pooler: Awaited<ReturnType<typeof startPgBouncer>>;
  let behind: DatabaseConfig;

  beforeAll(async () => {
    server = await startPostgres({ database });
    const direct = databaseOf('onprem', server);
    await setupOnce([administered(direct, server)], []);
    pooler = await startPgBouncer(server, mode, { lockgate: 'pw of onprem' });
    behind = { ...direct, address: { ...direct.address, host: '127.0.0.1', port: pooler.port } };
  });
  afterAll(async () => {
    await pooler.close();
    await server.destroy();
  });

  it('is recognised by doctor, which says what to do', async () => {
    const findings = await postgresEngine.doctor([behind], [linkOf('forward', behind, behind)], context, new AbortController().signal); // prettier-ignore
    expect(findings.map((f) => f.level)).toEqual(['fault']);
    expect(findings[0]?.message).toMatch(/this is a connection pooler \(such as PgBouncer or RDS Proxy\)/);
    expect(findings[0]?.remedy).toMatch(/let the URL name the server's own address and port/);
    expect(findings[0]?.signals).toContain('shop.forward.lag');
  });

  it('is refused by the daemon, and left without its settings', async () => {
    const there = databaseAt('aws', server.adminUrl(database));
    const heard: Observation[] = [];
    const plan = planOf(behind, there, { via: 'postgres-logical', flows: ['shop_sub'] });
    const collectors = postgresEngine.collectors([behind], [plan], contextWith(new EntryHomes()));
    const running = listenToAll(collectors, heard);
    try {
      const fault = await waitFor('no heartbeats', 10_000, () => newest(heard, 'writer-fault'));
      const side = await waitFor('an unknown side', 10_000, () => newest(heard, 'side-reading'));
      for (const { reason } of [fault, side]) expect(reason).toMatch(/connection pooler.*own address/);
      expect(heard.filter((o) => o.kind === 'side-reading' && o.value !== null)).toEqual([]);
      expect(newest(heard, 'heartbeat-sent')).toBeUndefined();
    } finally {
      await running.stop();
    }
    // The pool has one session: what is asked for next gets the one that lockgate had.
    const tls = { ...behind.tls };
    await expect(connect({ ...behind, tls }, { applicationName: 'lockgate/test/x' })).rejects.toMatchObject({
      code: 'pg_pooler',
    });
    const { Client } = (await import('pg')).default;
    const client = new Client({ host: '127.0.0.1', port: pooler.port, user: 'lockgate', database });
    await client.connect();
    try {
      const { rows } = await client.query<{ setting: string }>(
        `select name || ' = ' || setting as setting from pg_settings
          where name in ('statement_timeout', 'lock_timeout', 'search_path', 'idle_in_transaction_session_timeout') and source = 'session'`,
      );
      expect(rows).toEqual([]);
    } finally {
      await client.end();
    }
  });
});
