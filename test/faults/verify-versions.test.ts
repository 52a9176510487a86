import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { postgresEngine } from '../../collectors/postgres/engine.js';
import type { DataSession } from '../../collectors/verify/port.js';
import { majors, startPostgres, type PostgresServer } from '../../deploy/demo/postgres-server.js';
import { ALL, LIMIT, added, boundsOf, shapeOf, specOf } from '../support/data-reading.js';
import { CHANGES } from '../support/data-types.js';
import { contextOf, databaseAt } from '../support/listening.js';

const newest = Math.max(...majors());
const older = majors().filter((major) => major >= 13 && major !== newest);

interface Side {
  server: PostgresServer;
  session: DataSession;
}

async function sideOf(major: number): Promise<Side> {
  const server = await startPostgres({ major, name: `verify-${String(major)}`, database: 'app' });
  const admin = new pg.Client({ connectionString: server.adminUrl('app') });
  await admin.connect();
  const columns = CHANGES.map(([type], i) => `c${String(i)} ${type}`).join(', ');
  const row = (at: 1 | 2): string => CHANGES.map((change) => pg.escapeLiteral(change[at])).join(', ');
  await admin.query(`CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE TYPE pair AS (a int4, b text); CREATE DOMAIN short AS varchar(5);
    CREATE TABLE kinds (id int PRIMARY KEY, ${columns}); INSERT INTO kinds VALUES (1, ${row(1)}), (2, ${row(2)}); INSERT INTO kinds VALUES (3);
    CREATE TABLE floats (id int PRIMARY KEY, f float8, g float4, n numeric, t timestamptz, i interval, j jsonb, b bytea);
    INSERT INTO floats SELECT i, ln(i + 1) * 10 ^ (i % 80 - 40), sqrt(i)::float4, exp(i::numeric / 300), to_timestamp(i * 1e6 / 7),
      i * interval '1 hour 7.3 seconds', jsonb_build_object('k', i, 'v', ln(i + 1)), sha256(i::text::bytea) FROM generate_series(1, 2000) i;
    CREATE TABLE parts (id int, at date, v text COLLATE "C", PRIMARY KEY (v, at)) PARTITION BY RANGE (at);
    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
    CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM ('2021-01-01') TO ('2022-01-01');
    INSERT INTO parts SELECT i, date '2020-01-01' + i % 600, 'v' || i FROM generate_series(1, 1500) i; ANALYZE`);
  await admin.end();
  const port = postgresEngine.data(databaseAt('app', server.adminUrl('app')), contextOf());
  return { server, session: await port.open(new AbortController().signal) };
}

describe.skipIf(older.length === 0)(`the data of PostgreSQL ${String(newest)} as that of`, () => {
  let to: Side;
  beforeAll(async () => void (to = await sideOf(newest)));
  afterAll(async () => {
    await to.session.close();
    await to.server.destroy();
  });

  it.each(older)('PostgreSQL %i', async (major) => {
    const from = await sideOf(major);
    try {
      expect(from.session.traits.probe).toBe(to.session.traits.probe);
      for (const name of ['kinds', 'floats', 'parts']) {
        const [a, b] = [await shapeOf(from.session, name), await shapeOf(to.session, name)];
        expect(a.columns.map((c) => ({ ...c, order: null }))).toEqual(b.columns.map((c) => ({ ...c, order: null })));
        expect(a.keys).toEqual(b.keys);
        expect(a.estimatedRows).toBe(b.estimatedRows);
        const holdable = a.columns.filter((c) => c.family !== 'other' && c.type !== '"char"').map((c) => c.name);
        for (const form of ['native', 'canonical'] as const) {
          const spec = (shape: typeof a): ReturnType<typeof specOf> => {
            const whole = specOf(shape, { form });
            if (form === 'native') return whole;
            return { ...whole, columns: whole.columns.filter((c) => holdable.includes(c.shape.name)) };
          };
          const [x, y] = [from.session.reader(spec(a)), to.session.reader(spec(b))];
          const whole = await x.digest(ALL, LIMIT);
          expect(whole, `${name} ${form}`).toEqual(await y.digest(ALL, LIMIT));
          const ranges = await boundsOf(x, 97);
          const parts = [];
          for (const range of ranges) parts.push(await y.digest(range, LIMIT));
          expect(added(parts)).toBe(whole.sum);
          const hashes = async (of: typeof x): Promise<unknown> =>
            (await of.marks(ALL, 3000, LIMIT)).map((m) => ({ ...m, version: null }));
          expect(await hashes(x)).toEqual(await hashes(y));
        }
      }
    } finally {
      await from.session.close();
      await from.server.destroy();
    }
  });
});
