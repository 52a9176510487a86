import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LinkPlan, SqlStep } from '../../collectors/collector.js';
import { postgresEngine } from '../../collectors/postgres/engine.js';
import { rowReading, rowRevocation } from '../../collectors/postgres/setup/reading-objects.js';
import { sidePlan } from '../../collectors/postgres/setup/side-plan.js';
import { ShapeChanged, TooSlow, type DataSession } from '../../collectors/verify/port.js';
import type { VerifyConfig } from '../../daemon/core/config.js';
import { SourceError, TransientError } from '../../daemon/core/errors.js';
import { startPostgres, type PostgresServer } from '../../deploy/demo/postgres-server.js';
import {
  ALL,
  LIMIT,
  added,
  boundsOf,
  canonicalDigest,
  canonicalHash,
  shapeOf,
  specOf,
} from '../support/data-reading.js';
import { CHANGES } from '../support/data-types.js';
import { contextOf, databaseAt, planOf } from '../support/listening.js';

const collated = `CREATE COLLATION und (provider = icu, locale = 'und'); CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`;

describe('the data of a PostgreSQL database', () => {
  let server: PostgresServer;
  let admin: pg.Client;
  let session: DataSession;
  const opened: DataSession[] = [];
  const open = async (user?: { name: string; password: string }): Promise<DataSession> => {
    const db = databaseAt('app', server.adminUrl('app'), user);
    const made = await postgresEngine.data(db, contextOf()).open(new AbortController().signal);
    opened.push(made);
    return made;
  };
  const run = async (sql: string): Promise<void> => {
    await admin.query(sql);
  };

  beforeAll(async () => {
    server = await startPostgres({ major: 18, name: 'verify', database: 'app' });
    admin = new pg.Client({ connectionString: server.adminUrl('app') });
    await admin.connect();
    await run(`CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE TYPE pair AS (a int4, b text);
      CREATE DOMAIN short AS varchar(5) CHECK (value <> ''); ${collated};
      CREATE ROLE lg LOGIN PASSWORD 'lg'; GRANT pg_read_all_stats TO lg`);
    session = await open();
  });
  afterAll(async () => {
    for (const each of opened) await each.close();
    await admin.end();
    await server.destroy();
  });

  it('sees the smallest change of a value of every type, in the row and in the range', async () => {
    const columns = CHANGES.map(([type], i) => `c${String(i)} ${type}`).join(', ');
    await run(`CREATE TABLE kinds (id int PRIMARY KEY, ${columns})`);
    const values = CHANGES.map(([, value]) => pg.escapeLiteral(value)).join(', ');
    await run(`INSERT INTO kinds VALUES (1, ${values}), (2, ${values}), (3, ${values})`);
    const reader = session.reader(specOf(await shapeOf(session, 'kinds')));
    const whole = await reader.digest(ALL, LIMIT);
    const [mark] = await reader.lookup([['2']], LIMIT);
    expect(whole.rows).toBe(3);
    for (const [i, [type, value, other]] of CHANGES.entries()) {
      for (const changed of [pg.escapeLiteral(other), 'NULL']) {
        await run(`UPDATE kinds SET c${String(i)} = ${changed} WHERE id = 2`);
        const what = `${type} ${value} becomes ${changed}`;
        expect((await reader.digest(ALL, LIMIT)).sum, what).not.toBe(whole.sum);
        expect((await reader.lookup([['2']], LIMIT))[0]?.hash, what).not.toBe(mark?.hash);
        await run(`UPDATE kinds SET c${String(i)} = ${pg.escapeLiteral(value)} WHERE id = 2`);
      }
    }
    // Back where it was, at another place in the table.
    expect(await reader.digest(ALL, LIMIT)).toEqual(whole);
    const [again] = await reader.lookup([['2']], LIMIT);
    expect(again?.hash).toBe(mark?.hash);
    expect(again?.version).not.toBe(mark?.version);
  });

  it('does not count CHAR padding, and tells NULL from the empty text', async () => {
    await run(`CREATE TABLE pads (id int PRIMARY KEY, c char(5), w char(9), t text);
      INSERT INTO pads VALUES (1, 'a', 'a', NULL), (2, 'b', 'b', '')`);
    const shape = await shapeOf(session, 'pads');
    const of = (column: string, id: number): Promise<string> => {
      const columns = specOf(shape).columns.filter((c) => c.shape.name === column);
      return session
        .reader(specOf(shape, { columns }))
        .lookup([[String(id)]], LIMIT)
        .then(([mark]) => mark?.hash ?? '');
    };
    expect(await of('c', 1)).toBe(await of('w', 1));
    expect(await of('t', 1)).not.toBe(await of('t', 2));
  });

  it('sees values that changed places, and errors that are alike', async () => {
    await run(`CREATE TABLE swaps (id int PRIMARY KEY, a text, b text);
      INSERT INTO swaps SELECT i, 'a' || i, 'same' FROM generate_series(1, 10) i`);
    const reader = session.reader(specOf(await shapeOf(session, 'swaps')));
    const seen = new Set([(await reader.digest(ALL, LIMIT)).sum]);
    const steps = [
      `UPDATE swaps SET a = CASE id WHEN 1 THEN 'a2' ELSE 'a1' END WHERE id <= 2`,
      `UPDATE swaps SET b = 'other' WHERE id IN (4, 5)`,
      `UPDATE swaps SET a = b, b = a WHERE id = 7`,
      `UPDATE swaps SET id = 11 WHERE id = 8`,
      `DELETE FROM swaps WHERE id = 9`,
    ];
    for (const step of steps) {
      await run(step);
      seen.add((await reader.digest(ALL, LIMIT)).sum);
    }
    expect(seen.size).toBe(steps.length + 1);
  });

  describe('cuts a table into ranges that hold every row once', () => {
    const tables: [name: string, make: string, order: (string | null)[], by?: 'bytes'][] = [
      ['numbers', `a int8, b int4, PRIMARY KEY (a, b)`, ['value', 'value']],
      ['texts', `a text COLLATE "C" PRIMARY KEY, b int`, ['bytes']],
      ['icus', `a text COLLATE und PRIMARY KEY, b int`, [null]],
      ['cis', `a text COLLATE ci PRIMARY KEY, b int`, [null], 'bytes'],
      ['uuids', `a uuid PRIMARY KEY, b int`, ['value']],
      ['enums', `a mood, b date, PRIMARY KEY (a, b)`, ['value:["sad","glad"]', 'value']],
      ['pads', `a char(12) COLLATE "C", b bytea, PRIMARY KEY (b, a)`, ['value', 'bytes']],
    ];
    const values: Record<string, [string, string]> = {
      numbers: ['i % 7 - 3', 'i'],
      texts: [
        `CASE i % 3 WHEN 0 THEN 'Ä' WHEN 1 THEN 'a' ELSE 'Z' END || i || CASE WHEN i % 2 = 0 THEN ' ' ELSE '' END`,
        'i',
      ],
      icus: [`CASE i % 3 WHEN 0 THEN 'Ä' WHEN 1 THEN 'a' ELSE 'Z' END || i`, 'i'],
      cis: [`CASE i % 3 WHEN 0 THEN 'Ä' WHEN 1 THEN 'a' ELSE 'Z' END || i`, 'i'],
      uuids: ['md5(i::text)::uuid', 'i'],
      enums: [`CASE WHEN i % 2 = 0 THEN 'sad'::mood ELSE 'glad' END`, `date '2020-01-01' + i`],
      pads: [`md5((i / 2)::text)::char(6)`, `decode(md5((i % 40)::text), 'hex')`],
    };
    it.each(tables)('%s', async (name, columns, order, by) => {
      const table = `cut_${name}`;
      const [a, b] = values[name] ?? ['', ''];
      await run(`CREATE TABLE ${table} (${columns});
        INSERT INTO ${table} SELECT ${a}, ${b} FROM generate_series(1, 200) i ON CONFLICT DO NOTHING`);
      const shape = await shapeOf(session, table);
      const keyed = (shape.keys[0]?.columns ?? []).map((c) => shape.columns.find((x) => x.name === c)?.order);
      for (const [i, each] of order.entries()) {
        if (each === null) expect(keyed[i]).toMatch(/^icu und/);
        else expect(keyed[i]).toBe(each);
      }
      for (const way of by === undefined ? (['index', 'bytes'] as const) : [by]) {
        const reader = session.reader(specOf(shape, { by: way }));
        const whole = await reader.digest(ALL, LIMIT);
        expect(whole.rows).toBeGreaterThan(50);
        for (const n of [1, 7, whole.rows, 1000]) {
          const ranges = await boundsOf(reader, n);
          const parts = [];
          for (const range of ranges) parts.push(await reader.digest(range, LIMIT));
          expect(added(parts), `${way} by ${String(n)}`).toBe(whole.sum);
          expect(parts.slice(0, -1).every((p) => p.rows === n)).toBe(true);
        }
        const marks = await reader.marks(ALL, 1000, LIMIT);
        expect(marks).toHaveLength(whole.rows);
        const some = marks.filter((_, i) => i % 9 === 0);
        expect(
          new Set(
            await reader.lookup(
              some.map((m) => m.key),
              LIMIT,
            ),
          ),
        ).toEqual(new Set(some));
        const upTo = marks[30]?.key ?? null;
        const after = marks[20]?.key ?? null;
        expect(await reader.marks({ after, upTo }, 4, LIMIT)).toEqual(marks.slice(21, 25));
        expect(await reader.bound({ after, upTo }, 10, LIMIT)).toEqual(upTo);
        expect(await reader.bound({ after, upTo }, 11, LIMIT)).toBeNull();
      }
    });
  });

  it('reads a table without a key by what its rows hold', async () => {
    await run(`CREATE TABLE keyless (a int, b text);
      INSERT INTO keyless SELECT i % 50, CASE WHEN i % 50 = 0 THEN NULL ELSE 'x' END FROM generate_series(1, 200) i`);
    const shape = await shapeOf(session, 'keyless');
    expect(shape.keys).toEqual([]);
    for (const form of ['native', 'canonical'] as const) {
      const reader = session.reader(specOf(shape, { form }));
      const whole = await reader.digest({ bucket: 0, of: 1 }, LIMIT);
      const buckets = await reader.buckets(7, LIMIT);
      expect(added(buckets)).toBe(whole.sum);
      for (const [bucket, digest] of buckets.entries()) {
        expect(await reader.digest({ bucket, of: 7 }, LIMIT)).toEqual(digest);
        const marks = await reader.marks({ bucket, of: 7 }, 1000, LIMIT);
        expect(marks.reduce((n, m) => n + Number(m.hash), 0)).toBe(digest.rows);
      }
      const marks = await reader.marks({ bucket: 0, of: 1 }, 1000, LIMIT);
      expect(marks).toHaveLength(50);
      expect(marks[0]).toMatchObject({ hash: '4', version: null });
      expect(await reader.lookup([marks[3]?.key ?? []], LIMIT)).toEqual([marks[3]]);
      expect(await reader.values([marks[3]?.key ?? []], LIMIT)).toHaveLength(4);
    }
    // As many rows, and each of them is there as before; only how often is another matter.
    const reader = session.reader(specOf(shape));
    const before = await reader.digest({ bucket: 0, of: 1 }, LIMIT);
    await run(`UPDATE keyless SET a = 2 WHERE ctid = (SELECT min(ctid) FROM keyless WHERE a = 1);`);
    expect((await reader.digest({ bucket: 0, of: 1 }, LIMIT)).sum).not.toBe(before.sum);
  });

  it('takes partitions as one table, and those that inherit as tables of their own', async () => {
    await run(`CREATE TABLE parts (id int, at date, v text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
      CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2020-01-01') TO ('2021-01-01') PARTITION BY LIST (id);
      CREATE TABLE parts_1_1 PARTITION OF parts_1 FOR VALUES IN (1, 2, 3);
      CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM ('2021-01-01') TO ('2022-01-01');
      INSERT INTO parts SELECT i, '2020-05-05', 'x' FROM generate_series(1, 3) i;
      INSERT INTO parts SELECT i, '2021-05-05', 'x' FROM generate_series(1, 50) i;
      CREATE TABLE plain (id int PRIMARY KEY, v text, w text);
      ALTER TABLE plain DROP COLUMN w; ALTER TABLE plain ADD COLUMN g int GENERATED ALWAYS AS (id * 2) VIRTUAL;
      INSERT INTO plain (id, v) SELECT i, v FROM parts p, LATERAL (SELECT p.id * 10 + extract(year FROM p.at)::int AS i) i;
      CREATE TABLE parent (id int PRIMARY KEY, v text); CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent);
      INSERT INTO parent VALUES (1, 'p'); INSERT INTO child VALUES (1, 'c'), (2, 'c'); ANALYZE`);
    const names = (await session.tables(LIMIT)).map((t) => t.name);
    expect(names).toEqual(expect.arrayContaining(['parts', 'parent', 'child', 'plain']));
    expect(names.filter((n) => n.startsWith('parts'))).toEqual(['parts']);
    const parts = await shapeOf(session, 'parts');
    expect(parts).toMatchObject({ estimatedRows: 53, unreadable: null });
    const reader = session.reader(specOf(parts));
    expect((await reader.digest(ALL, LIMIT)).rows).toBe(53);
    expect((await reader.lookup([['2', '2020-05-05']], LIMIT))[0]?.version).toMatch(/^\d+:\d+:\(/);
    expect((await session.reader(specOf(await shapeOf(session, 'parent'))).digest(ALL, LIMIT)).rows).toBe(1);
    const plain = await shapeOf(session, 'plain');
    expect(plain.columns.map((c) => c.name)).toEqual(['id', 'v', 'g']);
  });

  it('takes only keys that hold a row each', async () => {
    await run(`CREATE TABLE keys (a int NOT NULL, b int NOT NULL, c int, d int NOT NULL, e int NOT NULL, f int NOT NULL, g int);
      CREATE UNIQUE INDEX k2 ON keys (b, a) INCLUDE (c); CREATE UNIQUE INDEX k1 ON keys (d);
      CREATE UNIQUE INDEX nullable ON keys (c); CREATE UNIQUE INDEX partial ON keys (e) WHERE e > 0;
      CREATE UNIQUE INDEX expressed ON keys ((f + 1)); ALTER TABLE keys ADD CONSTRAINT late UNIQUE (f) DEFERRABLE;
      INSERT INTO keys VALUES (1, 1, 1, 1, 1, 1, NULL); CREATE UNIQUE INDEX unsure ON keys (g);
      ALTER TABLE keys ADD CONSTRAINT g_there NOT NULL g NOT VALID`);
    const shape = await shapeOf(session, 'keys');
    expect(shape.keys.map((k) => k.name)).toEqual(['k1', 'k2']);
    expect(shape.keys[1]?.columns).toEqual(['b', 'a']);
    expect(shape.columns.find((c) => c.name === 'g')?.nullable).toBe(true);
  });

  it('leaves out what is no table of an application', async () => {
    await run(`CREATE SCHEMA lockgate; CREATE TABLE lockgate.heartbeat (id int); CREATE TABLE awsdms_status (id int);
      CREATE TEMP TABLE fleeting (id int); CREATE VIEW seen AS SELECT 1 AS id; CREATE TABLE "Odd.""Name" ("a b" int PRIMARY KEY)`);
    const names = (await session.tables(LIMIT)).map((t) => `${t.schema}.${t.name}`);
    expect(names.filter((n) => /heartbeat|awsdms|fleeting|seen|pg_catalog|information_schema/.test(n))).toEqual([]);
    const odd = await shapeOf(session, 'Odd."Name');
    expect((await session.reader(specOf(odd)).digest(ALL, LIMIT)).sum).toBe('0:0:0');
    expect(await session.tables(LIMIT, [{ schema: 'public', name: 'nothing' }])).toEqual([]);
  });

  it('says of a table that may not be read, or not wholly, what would mend it', async () => {
    await run(`CREATE TABLE secret (id int PRIMARY KEY); CREATE TABLE guarded (id int PRIMARY KEY, who text);
      GRANT SELECT ON guarded TO lg; ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
      CREATE POLICY mine ON guarded USING (who = current_user); INSERT INTO guarded VALUES (1, 'lg'), (2, 'x')`);
    const other = await open({ name: 'lg', password: 'lg' });
    const secret = await shapeOf(other, 'secret');
    expect(secret.unreadable).toMatch(/GRANT SELECT ON "public"."secret" TO "lg"/);
    const guarded = await shapeOf(other, 'guarded');
    expect(guarded.unreadable).toMatch(/row security .*ALTER ROLE "lg" BYPASSRLS/);
    for (const shape of [secret, guarded]) {
      await expect(other.reader(specOf(shape)).digest(ALL, LIMIT)).rejects.toThrow(SourceError);
    }
    await run('ALTER ROLE lg BYPASSRLS');
    expect((await shapeOf(other, 'guarded')).unreadable).toBeNull();
    expect((await other.reader(specOf(guarded)).digest(ALL, LIMIT)).rows).toBe(2);
  });

  it('may read what setup grants where the data is compared, until teardown', async () => {
    await run(
      `CREATE SCHEMA "My ""Shop"; CREATE TABLE "My ""Shop"."Its rows" (id int PRIMARY KEY); CREATE TABLE "My ""Shop".more (id int)`,
    );
    const db = databaseAt('app', server.adminUrl('app'), { name: 'lg', password: 'lg' });
    const link = planOf(db, databaseAt('other', server.adminUrl('other')), { via: 'postgres-logical', flows: ['s'] });
    const told = (links: LinkPlan[]): SqlStep[] =>
      postgresEngine.grants(db, links).filter(({ why }) => /compare the data/.test(why));
    expect(told([link])).toEqual([]);
    const [step] = told([{ ...link, verify: {} as VerifyConfig }]);
    const plan = sidePlan(db, [{ ...link, verify: {} as VerifyConfig }]);
    const [user] = plan.users;
    if (user === undefined) throw new RangeError('there is no user');
    const granted = async (): Promise<boolean> =>
      (await admin.query<{ ok: boolean }>(`SELECT ${rowReading(plan, user).check} AS ok`)).rows[0]?.ok === true;
    expect(await granted()).toBe(false);
    await run(step?.sql ?? '');
    expect(await granted()).toBe(true);
    const other = await open({ name: 'lg', password: 'lg' });
    expect((await other.tables(LIMIT)).filter((t) => t.unreadable !== null)).toEqual([]);
    const { present, sql } = rowRevocation(user);
    const left = async (): Promise<boolean> =>
      (await admin.query<{ ok: boolean }>(`SELECT ${present} AS ok`)).rows[0]?.ok === true;
    expect(await left()).toBe(true);
    await run(sql);
    expect(await left()).toBe(false);
    expect((await shapeOf(other, 'more', 'My "Shop')).unreadable).toMatch(/GRANT USAGE ON SCHEMA "My ""Shop" TO "lg"/);
    await run(step?.sql ?? '');
  });

  it('has a statement ended that takes too long, and goes on', async () => {
    await run(
      `CREATE TABLE large (id int PRIMARY KEY, v text); INSERT INTO large SELECT i, md5(i::text) FROM generate_series(1, 200000) i`,
    );
    const shape = await shapeOf(session, 'large');
    const reader = session.reader(specOf(shape));
    await expect(reader.digest(ALL, { timeoutMs: 20 })).rejects.toThrow(TooSlow);
    expect((await reader.digest({ after: null, upTo: ['1000'] }, LIMIT)).rows).toBe(1000);
    await run('BEGIN; LOCK TABLE large IN ACCESS EXCLUSIVE MODE');
    const locked = reader.digest({ after: null, upTo: ['10'] }, LIMIT);
    await expect(locked).rejects.toThrow(TransientError);
    await run('ROLLBACK');
    expect((await reader.digest({ after: null, upTo: ['10'] }, LIMIT)).rows).toBe(10);
  });

  it('says so when a table is not what it was', async () => {
    const changes = [
      'DROP TABLE moving',
      'ALTER TABLE moving DROP COLUMN v',
      'ALTER TABLE moving RENAME COLUMN id TO other',
      'ALTER TABLE moving ALTER COLUMN id TYPE text',
      'ALTER TABLE moving RENAME TO moved; CREATE VIEW moving AS SELECT * FROM moved',
    ];
    await run('CREATE TABLE wider (id int PRIMARY KEY, v varchar(5))');
    const narrow = specOf(await shapeOf(session, 'wider'));
    await run('ALTER TABLE wider ALTER COLUMN v TYPE varchar(6)');
    await expect(session.reader(narrow).digest(ALL, LIMIT)).rejects.toThrow(ShapeChanged);
    for (const change of changes) {
      await run('DROP VIEW IF EXISTS moving; DROP TABLE IF EXISTS moved').catch(() => undefined);
      await run(
        'DROP TABLE IF EXISTS moving; CREATE TABLE moving (id int PRIMARY KEY, v text); INSERT INTO moving VALUES (1)',
      );
      const spec = specOf(await shapeOf(session, 'moving'));
      const [begun, fresh] = [session.reader(spec), session.reader(spec)];
      await begun.digest(ALL, LIMIT);
      await run(change);
      await expect(begun.lookup([['1']], LIMIT), change).rejects.toThrow(ShapeChanged);
      await expect(fresh.digest(ALL, LIMIT), change).rejects.toThrow(ShapeChanged);
    }
  });

  it('is not misled by the settings of a role, and can only read', async () => {
    const reader = (of: DataSession): Promise<string> =>
      shapeOf(of, 'kinds')
        .then((shape) => of.reader(specOf(shape)).digest(ALL, LIMIT))
        .then(({ sum }) => sum);
    await run('UPDATE kinds SET c7 = 1 / 3.0::float8 WHERE id = 2');
    const expected = await reader(session);
    await run(`CREATE ROLE odd LOGIN SUPERUSER PASSWORD 'lg'; ALTER ROLE odd SET DateStyle = 'German, DMY';
      ALTER ROLE odd SET TimeZone = 'Asia/Tokyo'; ALTER ROLE odd SET IntervalStyle = 'iso_8601';
      ALTER ROLE odd SET extra_float_digits = 0; ALTER ROLE odd SET bytea_output = 'escape'; ALTER ROLE odd SET xmloption = 'document';
      ALTER ROLE odd SET client_encoding = 'LATIN1'; ALTER ROLE odd SET search_path = 'public'; ALTER ROLE odd SET lc_monetary = 'C.UTF-8'`);
    const other = await open({ name: 'odd', password: 'lg' });
    expect(await reader(other)).toBe(expected);
    expect(other.traits).toEqual(session.traits);
    const writes = `CREATE FUNCTION public.writes(int) RETURNS bool LANGUAGE plpgsql AS 'BEGIN DELETE FROM public.swaps; RETURN true; END'`;
    await run(`${writes}; CREATE TABLE trap (id int PRIMARY KEY, v int); INSERT INTO trap VALUES (1, 1);
      ALTER TABLE trap ADD CONSTRAINT never CHECK (id > 0)`);
    await expect(
      (other as unknown as { connection: { query(sql: string): Promise<unknown> } }).connection.query(
        'SELECT public.writes(1)',
      ),
    ).rejects.toThrow(/read-only/);
  });

  it('never tells what a row holds when a statement is refused', async () => {
    await run(
      `CREATE TABLE leaks (id text PRIMARY KEY, j json); INSERT INTO leaks VALUES ('classified', '{"a":"\\u0000 classified"}')`,
    );
    const reader = session.reader(specOf(await shapeOf(session, 'leaks'), { form: 'canonical' }));
    const error = await reader.digest(ALL, LIMIT).then(
      () => null,
      (e: unknown) => e as Error,
    );
    expect(error).toBeInstanceOf(SourceError);
    expect(error?.message).toMatch(/public\.leaks.*22P05/);
    expect(JSON.stringify([error?.message, (error as SourceError).hint, error?.cause])).not.toMatch(/classified/);
  });

  it('tells what runs, and refuses to guess', async () => {
    const client = new pg.Client({ connectionString: server.adminUrl('app'), application_name: 'shop' });
    await client.connect();
    const before = await session.running(LIMIT);
    const sleeping = client.query('SELECT pg_sleep(1)');
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect((await session.running(LIMIT)) - before).toBe(1);
    await sleeping;
    await run('REVOKE pg_read_all_stats FROM lg');
    await expect((await open({ name: 'lg', password: 'lg' })).running(LIMIT)).rejects.toThrow(/hidden/);
    await client.end();
  });

  it('writes the canonical form as its page says', async () => {
    const columns: [type: string, value: string, text: string | null][] = [
      ['int8', '-5', '-5'],
      ['bool', 'true', '1'],
      ['numeric', '-0.00', '0'],
      ['numeric', '100.500', '100.5'],
      ['numeric', '1e20', '100000000000000000000'],
      ['float8', '-0', '0'],
      ['float8', '1.5e-7', '0.00000015'],
      ['float4', '16777216', '16777216'],
      ['float4', '0.1', '0.1'],
      ['text', 'é ', 'é '],
      ['char(9)', 'é', 'é'],
      ['mood', 'glad', 'glad'],
      ['bytea', '\\x00FF', '00ff'],
      ['bit(9)', '100000001', '257'],
      ['bit(64)', '1'.repeat(64), '18446744073709551615'],
      ['uuid', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', 'a0eebc999c0b4ef8bb6d6bb9bd380a11'],
      ['date', '0001-01-01', '0001-01-01'],
      ['timestamp', '2024-01-01 10:00:00.5', '2024-01-01 10:00:00.500000'],
      ['timestamptz', '2024-01-01 10:00:00+02', '2024-01-01 08:00:00.000000'],
      ['time', '24:00', '24:00:00.000000'],
      ['time', '01:02:03.000004', '01:02:03.000004'],
      ['jsonb', '{"bb": 1, "a": [1, 2]}', '{"a": [1, 2], "bb": 1}'],
      ['text', '', ''],
    ];
    await run(`CREATE TABLE forms (id int PRIMARY KEY, ${columns.map(([type], i) => `c${String(i)} ${type}`).join(', ')});
      INSERT INTO forms VALUES (1, ${columns.map(([, value]) => pg.escapeLiteral(value)).join(', ')}); INSERT INTO forms VALUES (2)`);
    const shape = await shapeOf(session, 'forms');
    const rows = [
      ['1', ...columns.map(([, , text]) => text)],
      ['2', ...columns.map(() => null)],
    ];
    const reader = session.reader(specOf(shape, { form: 'canonical' }));
    const [shown] = await reader.values([['1']], LIMIT);
    for (const [i, [type, value, text]] of columns.entries()) {
      const bytes = type === 'bytea' ? '\\x' : '';
      expect(shown?.values[`c${String(i)}`], `${type} ${value}`).toBe(`${bytes}${text ?? ''}`);
    }
    expect(await reader.digest(ALL, LIMIT)).toEqual({ rows: 2, sum: canonicalDigest(rows), odd: {} });
    const soft = (type: string): boolean => /^(float|json)/.test(type);
    const hard = ['1', ...columns.filter(([type]) => !soft(type)).map(([, , text]) => text)];
    const [mark] = await reader.marks(ALL, 1, LIMIT);
    expect(mark?.hash).toBe(canonicalHash(hard).toString('hex', 0, 16));
    expect(mark?.soft).toEqual(columns.filter(([type]) => soft(type)).map(([, , text]) => text));
  });

  it('writes it alike on a server of another encoding, whose own hashes are its own', async () => {
    await run(`CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'`);
    const client = new pg.Client({ connectionString: server.adminUrl('latin') });
    await client.connect();
    await client.query(
      `CREATE TABLE words (w text PRIMARY KEY, b bit(3)); INSERT INTO words VALUES ('é', '101'), ('z', '001'), ('ä ', NULL)`,
    );
    await client.end();
    const port = postgresEngine.data(databaseAt('latin', server.adminUrl('latin')), contextOf());
    const latin = await port.open(new AbortController().signal);
    opened.push(latin);
    expect(latin.traits.probe).not.toBe(session.traits.probe);
    const shape = await shapeOf(latin, 'words');
    expect(shape.columns[0]?.order).toBe('bytes of LATIN1');
    const reader = latin.reader(specOf(shape, { form: 'canonical', by: 'bytes' }));
    const rows = [
      ['é', '5'],
      ['z', '1'],
      ['ä ', null],
    ];
    expect((await reader.digest(ALL, LIMIT)).sum).toBe(canonicalDigest(rows));
    expect((await reader.marks(ALL, 5, LIMIT)).map((m) => m.key)).toEqual([['z'], ['ä '], ['é']]);
    expect((await reader.digest({ after: ['z'], upTo: ['ä '] }, LIMIT)).rows).toBe(1);
    expect(await reader.lookup([['é']], LIMIT)).toHaveLength(1);
  });

  it('counts what the other engine cannot hold, or lets something stand for it', async () => {
    await run(`CREATE TABLE odd (id int PRIMARY KEY, n numeric, f float8, d date, t timestamptz);
      INSERT INTO odd VALUES (1, 'NaN', 'Infinity', 'infinity', '0044-03-15 00:00+00 BC'), (2, '-Infinity', 'NaN', '10000-01-01', '-infinity'),
        (3, 0, 0, '9999-12-31', '0001-01-01 00:00+00'), (4, NULL, NULL, NULL, NULL)`);
    const shape = await shapeOf(session, 'odd');
    const plain = session.reader(specOf(shape, { form: 'canonical' }));
    expect((await plain.digest(ALL, LIMIT)).odd).toEqual({ n: 2, f: 2, d: 2, t: 2 });
    const standIns = new Map([['infinity', '9999-12-31 23:59:59.000000']]);
    const some = session.reader(specOf(shape, { form: 'canonical', standIns }));
    expect((await some.digest(ALL, LIMIT)).odd).toEqual({ d: 1, t: 1 });
    const all = session.reader(
      specOf(shape, { form: 'canonical', standIns: new Map([...standIns, ['out_of_range', null]]) }),
    );
    const [x, last] = ['9999-12-31 23:59:59.000000', '9999-12-31'];
    const rows = [
      ['1', x, x, x, null],
      ['2', x, x, null, x],
      ['3', '0', '0', last, '0001-01-01 00:00:00.000000'],
      ['4', null, null, null, null],
    ];
    expect(await all.digest(ALL, LIMIT)).toEqual({ rows: 4, sum: canonicalDigest(rows), odd: {} });
  });

  it('compares only the rows that the filter takes, everywhere', async () => {
    await run(`CREATE TABLE filtered (id int PRIMARY KEY, kind text, at date);
      INSERT INTO filtered SELECT i, CASE WHEN i % 2 = 0 THEN 'a''b' ELSE 'B' END, CASE WHEN i % 5 = 0 THEN NULL ELSE date '2024-01-01' + i END
        FROM generate_series(1, 40) i`);
    const shape = await shapeOf(session, 'filtered');
    const where = [
      { column: 'kind', op: '=', value: "a'b" },
      { column: 'at', op: 'is not null', value: null },
      { column: 'id', op: '<=', value: '30' },
    ] as const;
    const reader = session.reader(specOf(shape, { where }));
    expect((await reader.digest(ALL, LIMIT)).rows).toBe(12);
    expect(await reader.bound(ALL, 12, LIMIT)).toEqual(['28']);
    expect((await reader.lookup([['2'], ['3'], ['10'], ['32']], LIMIT)).map((m) => m.key)).toEqual([['2']]);
    expect(await reader.marks(ALL, 100, LIMIT)).toHaveLength(12);
  });
});
