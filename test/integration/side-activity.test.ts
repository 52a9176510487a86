import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import pg from 'pg';
import { SideCollector } from '../../collectors/postgres/side.js';
import type { Observation, SideReading } from '../../daemon/core/observation.js';
import type { SideSignal } from '../../daemon/core/signal.js';
import { startPostgres, type PostgresServer } from '../../deploy/demo/postgres-server.js';
import { contextOf, databaseAt, listenTo, type Listening } from '../support/listening.js';
import { testedMajors } from '../support/majors.js';

const isSide = (o: Observation): o is SideReading => o.kind === 'side-reading';

describe.each(testedMajors)('sessions and transactions of a side, PostgreSQL %i', (major) => {
  let server: PostgresServer;
  let l: Listening;
  const open = async (database = 'app', name = 'shop'): Promise<pg.Client> => {
    const client = new pg.Client({ connectionString: server.adminUrl(database), application_name: name });
    await client.connect();
    return client;
  };
  const during = async (body: () => Promise<void>, user = 'lg'): Promise<void> => {
    const database = databaseAt('onprem', server.adminUrl('app'), { name: user, password: 'lg' });
    l = listenTo(new SideCollector(database, contextOf(), { intervalMs: 200 }));
    try {
      await body();
    } finally {
      await l.stop();
    }
  };
  const reading = (signal: SideSignal, fits: (o: SideReading) => boolean): Promise<SideReading> =>
    l.next(signal, isSide, (o) => o.signal === signal && fits(o));

  beforeAll(async () => {
    server = await startPostgres({ major, database: 'app', settings: { max_prepared_transactions: '5' } });
    const admin = await open();
    await admin.query(`create role lg login password 'lg'; grant pg_read_all_stats to lg;
      create role nobody login password 'lg'; create table public.t (id int)`);
    await admin.query('create database other');
    await admin.end();
  });
  afterAll(() => server.destroy());

  it("counts client sessions of this database, not lockgate's", async () => {
    await during(async () => {
      await reading('connections', (o) => o.value === 0 && o.reason === null);
      const clients = [await open(), await open(), await open('app', 'lockgate/other/side'), await open('other')];
      await reading('connections', (o) => o.value === 2);
      for (const client of clients) await client.end();
      await reading('connections', (o) => o.value === 0);
    });
  });

  it('tells the age of the oldest write transaction, not of one that only reads', async () => {
    await during(async () => {
      await reading('longest_transaction', (o) => o.value === 0 && o.reason === null);
      const [reader, writer, elsewhere] = [await open(), await open(), await open('other')];
      await reader.query('begin; select * from public.t');
      await elsewhere.query('begin; create table t (id int)');
      await new Promise((resolve) => setTimeout(resolve, 600));
      expect((await reading('longest_transaction', () => true)).value).toBe(0);
      await writer.query('begin; insert into public.t values (1)');
      await reading('longest_transaction', (o) => (o.value ?? 0) > 1);
      await writer.query('rollback');
      await reading('longest_transaction', (o) => o.value === 0);
      for (const client of [reader, writer, elsewhere]) await client.end();
    });
  });

  it('counts a prepared transaction, which no session shows', async () => {
    await during(async () => {
      const client = await open();
      await client.query(`begin; insert into public.t values (2)`);
      await client.query(`prepare transaction 'left over'`);
      await client.end();
      const seen = await reading('longest_transaction', (o) => (o.value ?? 0) > 1);
      expect(seen.reason).toMatch(/prepared transaction/);
      const admin = await open();
      await admin.query(`rollback prepared 'left over'`);
      await admin.end();
      await reading('longest_transaction', (o) => o.value === 0);
    });
  });

  it('is unknown, with the grant, to a user from whom the server hides sessions', async () => {
    await during(async () => {
      const grant = /GRANT pg_read_all_stats TO "nobody"$/;
      await reading('longest_transaction', (o) => o.value === null && grant.test(o.reason ?? ''));
      await reading('connections', (o) => o.value === null && grant.test(o.reason ?? ''));
      await reading('reachable', (o) => o.value === 1);
    }, 'nobody');
  });
});
