import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mysqlEngine } from '../../collectors/mysql/engine.js';
import { ShapeChanged, TooSlow, type DataSession, type Key, type KeyRange, type ReadSpec, type TableReader, type TableShape, type TypeFamily } from '../../collectors/verify/port.js'; // prettier-ignore
import type { RowFilter } from '../../daemon/core/config.js';
import { SourceError, TransientError } from '../../daemon/core/errors.js';
import { startMysql, type MysqlServer } from '../../deploy/demo/mysql-server.js';
import { testedFlavours } from '../support/flavours.js';
import { contextOf, databaseAt } from '../support/listening.js';
import { rootConnection, type RootConnection } from '../support/mysql-connection.js';

const limit = 120_000;
const fetchLimit = 300_000;
const soon = { timeoutMs: 10_000 };
const all: KeyRange = { after: null, upTo: null };

describe.each(testedFlavours)('data of $flavour', ({ flavour, left }) => {
  describe.skipIf(left)('as verification asks for it', () => {
    const mariadb = flavour === 'mariadb';
    let server: MysqlServer;
    let root: RootConnection;
    let session: DataSession;
    const closing = new AbortController();

    beforeAll(async () => {
      server = await startMysql({ flavour, database: 'app', settings: { max_allowed_packet: '16M' } });
      root = await rootConnection(server, 'app');
      await sql(`set sql_mode = '', time_zone = '+00:00', sql_log_bin = 0`);
      session = await open();
    }, fetchLimit);
    afterAll(async () => {
      await session.close();
      root.destroy();
      await server.destroy();
    }, limit);

    const sql = (text: string, values?: unknown[]): Promise<object[]> => root.query(text, values);
    const open = (user?: { name: string; password: string }, signal = closing.signal): Promise<DataSession> => {
      const db = { ...databaseAt('onprem', server.adminUrl('app'), user), engine: 'mysql' as const };
      return mysqlEngine.data(db, contextOf()).open(signal);
    };
    const shapeOf = async (name: string): Promise<TableShape> => {
      const [shape] = await session.tables(soon, [{ schema: 'app', name }]);
      if (shape === undefined) throw new Error(`no table ${name}`);
      return shape;
    };

    interface Reading {
      form?: ReadSpec['form'];
      key?: readonly string[] | null;
      by?: 'index' | 'bytes';
      as?: Readonly<Record<string, TypeFamily>>;
      where?: readonly RowFilter[];
      standIns?: ReadonlyMap<string, string | null>;
      columns?: readonly string[];
    }
    const read = async (name: string, reading: Reading = {}): Promise<TableReader> => {
      const shape = await shapeOf(name);
      const {
        form = 'native',
        by = 'index',
        as = {},
        where = [],
        standIns = new Map<string, string | null>(),
      } = reading;
      const key = reading.key === undefined ? (shape.keys[0]?.columns ?? null) : reading.key;
      const columns = shape.columns.filter((c) => reading.columns?.includes(c.name) ?? true);
      const familyOf = (c: { name: string; family: TypeFamily }): TypeFamily => as[c.name] ?? c.family;
      const softOf = (f: TypeFamily): 'float4' | 'float8' | 'json' | null =>
        form === 'canonical' && (f === 'float4' || f === 'float8' || f === 'json') ? f : null;
      return session.reader({
        schema: 'app',
        name,
        form,
        columns: columns.map((c) => ({ shape: c, as: familyOf(c), soft: softOf(familyOf(c)) })),
        key: key === null ? null : shape.columns.filter((c) => key.includes(c.name)).sort((a, b) => key.indexOf(a.name) - key.indexOf(b.name)).map((c) => ({ shape: c, as: familyOf(c), by })), // prettier-ignore
        where,
        standIns,
      });
    };
    const sumOf = async (name: string, reading?: Reading): Promise<string> =>
      (await (await read(name, reading)).digest(all, soon)).sum;

    /** Digests of a table, before and after each statement: all of them have to be different. */
    const differ = async (name: string, changes: readonly string[], reading?: Reading): Promise<void> => {
      const reader = await read(name, reading);
      const range = reading?.key === null ? { bucket: 0, of: 1 } : all;
      const seen = new Map([[(await reader.digest(range, soon)).sum, 'the beginning']]);
      for (const change of changes) {
        await sql(change);
        const { sum } = await reader.digest(range, soon);
        expect(seen.get(sum), `${change} looks like`).toBeUndefined();
        seen.set(sum, change);
      }
    };

    it('notices the smallest change of a value of every type', { timeout: limit }, async () => {
      const columns: [string, string, ...string[]][] = [
        ['tinyint', '1', '-1', '0', 'null'],
        ['tinyint(1)', '0', '1', '2', 'null'],
        ['bigint unsigned', '18446744073709551615', '18446744073709551614'],
        ['int(8) zerofill', '12', '13', 'null'],
        ['decimal(65,30)', '1.000000000000000000000000000001', '1.000000000000000000000000000002', 'null'],
        ['float', '16777216', '16777215', '1.17549435e-38', '1.17549449e-38', '-3.4028233e38', '-3.4028235e38', '0.1', '0.10000001', 'null'],
        ['double', '0.1', '0.10000000000000002', '-2.2250738585072014e-308', '-2.2250738585072019e-308', '-1.7976931348623157e308', '-1.7976931348623155e308', 'null'],
        ['double(20,3)', '1.001', '1.002', 'null'],
        ['bit(64)', "b'1'", '0x8000000000000000', '0x8000000000000001', 'null'],
        ['bit(1)', '0', '1', 'null'],
        ['char(10)', "'a'", "'A'", "''", "'á'", 'null'],
        ['varchar(50)', "'a'", "'a '", "'A'", "''", "'0'", "_utf8mb4 0xC3A9", "_utf8mb4 0x65CC81", 'null'],
        ['varchar(50) character set latin1', "'a'", "'é'", "'É'", "''", "'\u00c3'", 'null'],
        ['varchar(50) character set utf16', "'a'", "'é'", "''", 'null'],
        ['longtext', "'a'", "'a '", "''", 'null', "repeat('x', 1000000)", "concat(repeat('x', 999999), 'y')"],
        ['tinytext', "'a'", "''", 'null'],
        ['binary(3)', "'a'", '0x610001', '0x000000', 'null'],
        ['varbinary(20)', "''", '0x00', '0xFF', '0xFE', '0xFFFE', '0x0000', 'null'],
        ['longblob', "''", '0x00', '0xFF', 'null', "repeat(0x00, 1000000)", "repeat(0x00, 1000001)"],
        ['date', "'2020-01-01'", "'0000-00-00'", "'2020-00-01'", 'null'],
        ['time(6)', "'10:00:00'", "'10:00:00.000001'", "'-10:00:00.000001'", "'838:59:59'", 'null'],
        ['datetime(6)', "'2020-01-01 00:00:00'", "'2020-01-01 00:00:00.000001'", "'0000-00-00'", 'null'],
        ['timestamp(6) null', "'2020-01-01 00:00:00'", "'2020-01-01 00:00:00.000001'", 'null'],
        ['year', '2020', '2021', '0', 'null'],
        ["enum('a','b','null')", "'a'", "'b'", "'null'", 'null'],
        ["set('a','b')", "'a'", "'b'", "'a,b'", "''", 'null'],
        ['json', `'{"a": 1}'`, `'{"a": 2}'`, `'null'`, `'"a"'`, `'[1, 2]'`, `'[2, 1]'`, 'null'],
        ['geometry', "ST_GeomFromText('POINT(1 2)')", "ST_GeomFromText('POINT(2 1)')", 'null'],
        ...(mariadb
          ? ([
              ['uuid', "'12345678-1234-1234-1234-123456789abc'", "'12345678-1234-1234-1234-123456789abd'", 'null'],
              ['inet6', "'::1'", "'::2'", 'null'],
            ] as [string, string, ...string[]][])
          : []),
      ]; // prettier-ignore
      const defs = columns.map(([type], i) => `c${i} ${type}`);
      const firsts = columns.map(([, value]) => value);
      await sql(`create table every (id int primary key, ${defs.join(', ')}) charset utf8mb4`);
      await sql(`insert into every values (1, ${firsts.join(', ')}), (2, ${firsts.join(', ')})`);
      const changes = columns.flatMap(([, first, ...others], i) => [
        ...others.map((value) => `update every set c${i} = ${value} where id = 1`),
        // Both rows alike: equal errors must not cancel.
        `update every set c${i} = ${others[0] ?? first} `,
      ]);
      await differ('every', changes);
    });

    it(
      'notices swapped values, equal errors, moved separators and NULL moved to the next column',
      { timeout: limit },
      async () => {
        await sql(`create table pairs (id int primary key, a varchar(20), b varchar(20), c varbinary(20), d int, e int) charset utf8mb4`); // prettier-ignore
        await sql(`insert into pairs values (1, 'one', 'x', 0xFF, 1, 2), (2, 'two', 'x', 0xFF, 1, 2)`);
        await differ('pairs', [
          `update pairs set a = if(id = 1, 'two', 'one')`,
          `update pairs set d = d + 1`,
          `update pairs set a = 'onex', b = ''`,
          `update pairs set a = 'one', b = 'x', d = 12, e = 3`,
          `update pairs set d = 1, e = 23`,
          `update pairs set d = null, e = 1`,
          `update pairs set d = 1, e = null`,
          `update pairs set a = null, b = 'q'`,
          `update pairs set a = 'q', b = null`,
          `update pairs set a = '', b = null`,
          `update pairs set a = null, b = ''`,
          `update pairs set c = 0xFEFF`,
          `update pairs set c = 0xFF31FF`,
        ]);
        await sql(`create table twice (a int, b int)`);
        await sql(`insert into twice values (1, 1), (1, 1), (2, 2)`);
        await differ('twice', ['update twice set a = 3 - a, b = 3 - b', 'update twice set a = 1, b = 1', 'insert into twice values (1, 1)'], { key: null }); // prettier-ignore
      },
    );

    /** The bounds of ranges of `n` rows cut the table so that each row is in one of them. */
    const partitions = async (name: string, n: number, reading?: Reading): Promise<Key[]> => {
      const reader = await read(name, reading);
      const whole = await reader.digest(all, soon);
      const bounds: Key[] = [];
      let after: Key | null = null;
      let rows = 0;
      let sum = 0n;
      const keys: Key[] = [];
      for (;;) {
        const upTo: Key | null = await reader.bound({ after, upTo: null }, n, soon);
        const range: KeyRange = { after, upTo };
        const digest = await reader.digest(range, soon);
        const marks = await reader.marks(range, 1_000, soon);
        expect(marks.length).toBe(digest.rows);
        if (upTo !== null) expect(digest.rows).toBe(n);
        if (upTo !== null) expect(marks.at(-1)?.key).toEqual(upTo);
        keys.push(...marks.map((m) => m.key));
        rows += digest.rows;
        sum += BigInt(digest.sum.split(':')[1] ?? 0);
        if (upTo === null) break;
        bounds.push(upTo);
        after = upTo;
      }
      expect(rows).toBe(whole.rows);
      expect(String(sum)).toBe(whole.sum.split(':')[1]);
      expect(new Set(keys.map((k) => JSON.stringify(k))).size).toBe(rows);
      const some = keys.filter((_, i) => i % 3 === 0);
      const found = await reader.lookup([...some, keys[0] ?? []], soon);
      expect(found.map((m) => JSON.stringify(m.key)).sort()).toEqual(some.map((k) => JSON.stringify(k)).sort());
      return bounds;
    };

    it('cuts keys of every kind into ranges that hold each row once', { timeout: limit }, async () => {
      await sql(`create table composite (a int, b bigint unsigned, c varchar(20) collate utf8mb4_general_ci, d int, primary key (a, b, c)) charset utf8mb4`); // prettier-ignore
      const rows = [1, -2, 3].flatMap((a) => ['0', '18446744073709551615', '18446744073709551614'].flatMap((b) => ['a', 'B', 'c ', "q'\\\\", 'é'].map((c) => `(${a}, ${b}, "${c}", 1)`))); // prettier-ignore
      await sql(`insert into composite values ${rows.join(', ')}`);
      await partitions('composite', 4);
      await partitions('composite', 4, { by: 'bytes' });
      await partitions('composite', 4, { form: 'canonical', by: 'bytes' });
      await sql(`create table bins (k varbinary(20) primary key)`);
      await sql(`insert into bins values (''), (0x00), (0x0000), (0xFF), (0x5C), (0x27), (0x5C78), ('abc')`);
      await partitions('bins', 3);
      await partitions('bins', 3, { form: 'canonical', by: 'bytes' });
      await sql(`create table texts (k varchar(20) collate utf8mb4_bin primary key, v int) charset utf8mb4`);
      await sql(`insert into texts (k) values (''), ('a'), ('A'), ('á'), ('\\n'), ('a\\'b'), ('a\\\\b'), ('😀')`);
      await partitions('texts', 3);
      await sql(`create table latin (k varchar(20) character set latin1 primary key, d decimal(20,4))`);
      await sql(`insert into latin (k) values (''), ('a'), ('é'), ('ö'), ('z')`);
      await partitions('latin', 2);
      await sql(
        `create table times (d datetime(6), e decimal(30,10), f double, g enum('z','a') not null, primary key (d, e, f))`,
      );
      await sql(`insert into times values ('2020-01-01', 1, 0.1, 'a'), ('2020-01-01', 1.0000000001, 0.1, 'a'), ('2020-01-01', 1, 0.10000000000000002, 'a'), ('2020-01-01 00:00:00.000001', -1, -1e300, 'z')`); // prettier-ignore
      await partitions('times', 1);
      await partitions('times', 1, { form: 'canonical' });
    });

    it('finds ranges by the index of the key', { timeout: limit }, async () => {
      await sql(
        'create table many (a int, b int, c varchar(10), v varchar(100), primary key (a, b, c)) charset utf8mb4',
      );
      await sql(
        `insert into many values ${Array.from({ length: 10_000 }, (_, i) => `(${i % 10}, ${i}, 'x', repeat('v', 100))`).join(', ')}`,
      );
      await sql('analyze table many');
      const rowsRead = async (): Promise<number> => {
        const found = await root.query<{ n: string }>(`select sum(variable_value) as n from ${mariadb ? 'information_schema' : 'performance_schema'}.global_status where variable_name in ('Handler_read_next', 'Handler_read_key', 'Handler_read_rnd_next', 'Handler_read_prev')`); // prettier-ignore
        return Number(found[0]?.n);
      };
      const reader = await read('many');
      await reader.digest({ after: ['9', '9999', 'x'], upTo: null }, soon);
      for (const ask of [
        () => reader.digest({ after: ['3', '5003', 'x'], upTo: ['3', '5103', 'x'] }, soon),
        () => reader.digest({ after: ['3', '9983', 'x'], upTo: ['4', '54', 'x'] }, soon),
        () => reader.bound({ after: ['3', '5003', 'x'], upTo: null }, 10, soon),
        () => reader.lookup([['3', '5003', 'x'], ['9', '9', 'x'], ['1', '2', 'x']], soon), // prettier-ignore
      ]) {
        const before = await rowsRead();
        await ask();
        expect((await rowsRead()) - before).toBeLessThan(800);
      }
    });

    it('takes keys by their bytes where the collation takes them for the same', { timeout: limit }, async () => {
      await sql('create table names (k varchar(20) collate utf8mb4_general_ci primary key, v int) charset utf8mb4');
      await sql(`insert into names values ('A', 1), ('b', 2)`);
      const reader = await read('names');
      expect(await reader.lookup([['a'], ['b']], soon)).toMatchObject([{ key: ['b'] }]);
      expect(await reader.values([['A'], ['B']], soon)).toEqual([{ key: ['A'], values: { k: 'A', v: '1' } }]);
    });

    it('reads a table without a key by hashes', { timeout: limit }, async () => {
      await sql('create table bare (a int, b varchar(10))');
      await sql(`insert into bare values ${Array.from({ length: 50 }, (_, i) => `(${i % 20}, null)`).join(', ')}`);
      const reader = await read('bare', { key: null });
      const whole = await reader.digest({ bucket: 0, of: 1 }, soon);
      const buckets = await reader.buckets(4, soon);
      expect(buckets.reduce((n, b) => n + b.rows, 0)).toBe(whole.rows);
      expect(buckets.filter((b) => b.rows > 0).length).toBeGreaterThan(1);
      const marks = (
        await Promise.all([0, 1, 2, 3].map((bucket) => reader.marks({ bucket, of: 4 }, 100, soon)))
      ).flat();
      for (const [i, bucket] of buckets.entries())
        expect(await reader.digest({ bucket: i, of: 4 }, soon)).toEqual(bucket);
      expect(marks).toHaveLength(20);
      expect(marks.reduce((n, m) => n + Number(m.hash), 0)).toBe(50);
      const [first] = marks;
      expect(await reader.lookup([first?.key ?? []], soon)).toEqual([first]);
      const values = await reader.values([first?.key ?? []], soon);
      expect(values).toHaveLength(Number(first?.hash));
    });

    it('compares huge values, and refuses loudly what it cannot', { timeout: limit }, async () => {
      await sql('create table huge (id int primary key, v longblob, w longtext)');
      await sql(`insert into huge values (1, repeat('x', 12000000), repeat('y', 12000000))`);
      await differ('huge', [
        `update huge set v = concat(repeat('x', 11999999), 'z')`,
        `update huge set w = concat(repeat('y', 11999999), 'z')`,
      ]);
      // Twice as long in hexadecimal digits, which is more than a text may have.
      for (const ask of ['digest', 'marks'] as const) {
        const reader = await read('huge', { form: 'canonical' });
        const asked = ask === 'digest' ? reader.digest(all, soon) : reader.marks(all, 5, soon);
        await expect(asked).rejects.toThrow(/app\.huge holds rows that are longer than max_allowed_packet/);
      }
      await expect((await read('huge', { form: 'canonical', key: null })).buckets(3, soon)).rejects.toThrow(
        SourceError,
      );
    });

    it('writes every family as PostgreSQL does', { timeout: limit }, async () => {
      const uuid = '12345678-1234-1234-1234-123456789ABC';
      const cases: [string, string, TypeFamily, string | null][] = [
        ['int', '-5', 'integer', '-5'],
        ['int(5) zerofill', '5', 'integer', '5'],
        ['bigint unsigned', '18446744073709551615', 'decimal', '18446744073709551615'],
        ['tinyint(1)', '1', 'boolean', '1'],
        ['bit(1)', "b'1'", 'boolean', '1'],
        ['bit(64)', '0xFFFFFFFFFFFFFFFF', 'bit', '18446744073709551615'],
        ['decimal(20,4)', '100.5000', 'decimal', '100.5'],
        ['decimal(20,4)', '-0.0000', 'decimal', '0'],
        ['decimal(20,0)', '100', 'decimal', '100'],
        ['float', '0.1', 'float4', '0.1'],
        ['float', '16777217', 'float4', '16777216'],
        ['float', '3.4028235e38', 'float4', '340282350000000000000000000000000000000'],
        ['float', '-1.5e-7', 'float4', '-0.00000015'],
        ['double', '0.30000000000000004', 'float8', '0.30000000000000004'],
        ['double', '-1.2345678901234567e20', 'float8', '-123456789012345670000'],
        ['double', '1.5e-20', 'float8', '0.000000000000000000015'],
        ['double', '-0e0', 'float8', '0'],
        ['double', '1e15', 'float8', '1000000000000000'],
        ['varchar(20)', "'a '", 'text', 'a '],
        ['varchar(20) character set latin1', "'é'", 'text', 'é'],
        ['char(5)', "'a'", 'char', 'a'],
        ["enum('x','y')", "'y'", 'enum', 'y'],
        ['varbinary(10)', '0x00FF', 'bytes', '00ff'],
        ['char(36)', `'${uuid}'`, 'uuid', '12345678123412341234123456789abc'],
        ['binary(16)', '0x12345678123412341234123456789ABC', 'uuid', '12345678123412341234123456789abc'],
        ['date', "'2020-02-29'", 'date', '2020-02-29'],
        ['date', "'2020-02-29'", 'timestamp', '2020-02-29 00:00:00.000000'],
        ['datetime', "'2020-02-29 10:00:00'", 'timestamp', '2020-02-29 10:00:00.000000'],
        ['timestamp(3) null', "'2020-02-29 10:00:00.123'", 'timestamptz', '2020-02-29 10:00:00.123000'],
        ['time', "'24:00:00'", 'time', '24:00:00.000000'],
        ['time(6)', "'10:00:00.5'", 'time', '10:00:00.500000'],
        ['year', '0', 'integer', '0'],
        ['json', `'{"b": 1, "aa": [1, "x"]}'`, 'json', '{"b": 1, "aa": [1, "x"]}'],
        ['int', 'null', 'integer', null],
      ];
      const defs = cases.map(([type], i) => `c${i} ${type}`);
      await sql(`create table forms (id int primary key, ${defs.join(', ')}) charset utf8mb4`);
      await sql(`insert into forms values (1, ${cases.map(([, value]) => value).join(', ')})`);
      const as = Object.fromEntries(cases.map(([, , family], i) => [`c${i}`, family]));
      const reader = await read('forms', { form: 'canonical', as });
      const [row] = await reader.values([['1']], soon);
      for (const [i, [type, value, family, text]] of cases.entries()) {
        const shown = family === 'bytes' ? `\\x${text ?? ''}` : text;
        expect(row?.values[`c${i}`], `${type} ${value} as ${family}`).toBe(shown);
      }
      await sql('create table small (id int primary key, b varchar(5), c int)');
      await sql(`insert into small values (7, 'é', null)`);
      const digest = await (await read('small', { form: 'canonical' })).digest(all, soon);
      // sha256('V1:7V2:éN')
      const hash = (await import('node:crypto')).createHash('sha256').update('V1:7V2:éN').digest('hex');
      expect(digest.sum).toBe(`1:${BigInt(`0x${hash.slice(0, 16)}`)}:${BigInt(`0x${hash.slice(16, 32)}`)}`);
      const [mark] = await (await read('small', { form: 'canonical' })).marks(all, 5, soon);
      expect(mark).toEqual({ key: ['7'], hash: hash.slice(0, 32), soft: [], version: null });
    });

    it(
      'counts values that the other engine cannot hold, or takes what stands for them',
      { timeout: limit },
      async () => {
        await sql('create table odds (id int primary key, d date, t datetime, m time)');
        await sql(
          `insert into odds values (1, '0000-00-00', '2020-00-01', '-1:00:00'), (2, '2020-01-01', null, '25:00:00'), (3, null, null, '1:00:00')`,
        );
        const form = 'canonical';
        expect((await (await read('odds', { form })).digest(all, soon)).odd).toEqual({ d: 1, t: 1, m: 2 });
        const standIns = new Map<string, string | null>([['zero_date', null], ['out_of_range', '00:00:00.000000']]); // prettier-ignore
        const digest = await (await read('odds', { form, standIns })).digest(all, soon);
        expect(digest.odd).toEqual({});
        await sql(`update odds set d = null, t = null where id = 1`);
        await sql(`update odds set m = 0 where id < 3`);
        expect(await sumOf('odds', { form })).toBe(digest.sum);
      },
    );

    it('compares only the rows that the filters leave', { timeout: limit }, async () => {
      await sql(`create table some (id int primary key, s varchar(10) collate utf8mb4_general_ci) charset utf8mb4`);
      await sql(`insert into some values (1, 'a'), (2, 'A'), (3, null)`);
      const rows = async (...where: RowFilter[]): Promise<number> =>
        (await (await read('some', { where })).digest(all, soon)).rows;
      expect(await rows({ column: 's', op: '=', value: 'a' })).toBe(1);
      expect(await rows({ column: 's', op: 'is null', value: null })).toBe(1);
      expect(await rows({ column: 'id', op: '>', value: '1' }, { column: 'id', op: '<>', value: '3' })).toBe(1);
      await expect(rows({ column: 'id', op: '=', value: '1 or 1' })).rejects.toThrow(/filter on id/);
    });

    it('lists tables with their keys, and none of others’', { timeout: limit }, async () => {
      await sql(`create table keys_of (id int not null, a varchar(10) not null, b int, c varchar(600) not null, unique z (a, id), unique y (b), unique x (c(10)), unique w (id)) charset utf8mb4`); // prettier-ignore
      await sql('create view looking as select 1 as one');
      await sql('create table awsdms_status (a int)');
      await sql('create database if not exists lockgate');
      await sql('create table if not exists lockgate.heartbeat (a int)');
      const tables = await session.tables(soon);
      const names = tables.map((t) => `${t.schema}.${t.name}`);
      expect(names).toContain('app.keys_of');
      expect(names.filter((n) => !n.startsWith('app.') || /looking|awsdms/.test(n))).toEqual([]);
      expect((await shapeOf('keys_of')).keys.map((k) => k.name)).toEqual(['w', 'z']);
      expect(await session.tables(soon, [{ schema: 'app', name: 'nothing' }])).toEqual([]);
      expect((await shapeOf('every')).columns.map((c) => c.family)).not.toContain(undefined);
      expect((await shapeOf('every')).columns.find((c) => c.type === 'tinyint(1)')).toMatchObject({ family: 'boolean', order: 'value' }); // prettier-ignore
      expect((await shapeOf('every')).columns.filter((c) => c.family === 'json')).toHaveLength(1);
    });

    it('says which grant is missing', { timeout: limit }, async () => {
      await sql(`create table secret (id int primary key, a int)`);
      await sql(`create user lg identified by 'lg'`);
      const name = { schema: 'app', name: 'secret' };
      const user = { name: 'lg', password: 'lg' };
      const asked = async <T>(ask: (s: DataSession) => Promise<T>): Promise<T> => {
        const one = await open(user);
        try {
          return await ask(one);
        } finally {
          await one.close();
        }
      };
      // Who sees nothing must not believe that there is nothing.
      await expect(asked((s) => s.tables(soon))).rejects.toMatchObject({ code: 'mysql_privilege', hint: expect.stringMatching(/GRANT REFERENCES/) as unknown }); // prettier-ignore
      await sql('grant select (id) on app.secret to lg');
      await expect(asked((s) => s.tables(soon, [name]))).rejects.toThrow(SourceError);
      await expect(asked((s) => s.running(soon))).rejects.toMatchObject({ hint: expect.stringMatching(/GRANT PROCESS/) as unknown }); // prettier-ignore
      await sql('grant references, process on *.* to lg');
      const [shape] = await asked((s) => s.tables(soon, [name]));
      expect(shape?.unreadable).toContain('GRANT SELECT ON `app`.`secret`');
      const columns = (shape?.columns ?? []).map((c) => ({ shape: c, as: c.family, soft: null }));
      const spec: ReadSpec = { ...name, form: 'native', columns, key: null, where: [], standIns: new Map() };
      await expect(asked((s) => s.reader(spec).digest({ bucket: 0, of: 1 }, soon))).rejects.toMatchObject({ code: 'mysql_privilege', hint: expect.stringContaining('GRANT SELECT ON `app`.`secret`') as unknown }); // prettier-ignore
      await sql('grant select on app.secret to lg');
      expect((await asked((s) => s.tables(soon, [name])))[0]?.unreadable).toBeNull();
      expect(await asked((s) => s.running(soon))).toBe(0);
      const busy = await rootConnection(server, 'app');
      const sleeping = busy.query('select sleep(2)');
      await expect.poll(() => session.running(soon).catch(() => -1)).toBeGreaterThanOrEqual(0);
      await expect.poll(() => asked((s) => s.running(soon))).toBeGreaterThanOrEqual(1);
      await sleeping;
      busy.destroy();
    });

    it(
      'ends a statement that takes too long and goes on; says when a table is another one',
      { timeout: limit },
      async () => {
        await sql('create table slow (id int primary key, v varchar(50))');
        await sql(`insert into slow select a.a * 1000 + b.b, repeat('x', 50) from (${numbers(400)}) a (a), (${numbers(1000)}) b (b)`.replaceAll(/\) ([ab]) \([ab]\)/g, ') $1')); // prettier-ignore
        const reader = await read('slow');
        await reader.bound(all, 1, soon);
        await expect(reader.digest(all, { timeoutMs: 20 })).rejects.toThrow(TooSlow);
        expect((await reader.digest({ after: null, upTo: ['9000'] }, soon)).rows).toBeGreaterThan(0);
        await sql('alter table slow drop column v');
        await expect(reader.digest(all, soon)).rejects.toThrow(ShapeChanged);
        await sql('alter table slow add column v varchar(51)');
        const other = session.reader({ schema: 'app', name: 'slow', form: 'native', columns: (await shapeOf('slow')).columns.map((shape) => ({ shape: { ...shape, type: 'varchar(50)' }, as: shape.family, soft: null })), key: null, where: [], standIns: new Map() }); // prettier-ignore
        await expect(other.digest({ bucket: 0, of: 1 }, soon)).rejects.toThrow(/slow has changed: column id is int/);
        await sql('drop table slow');
        await expect(reader.digest(all, soon)).rejects.toThrow(ShapeChanged);
        // Somebody holds the table: that passes.
        await sql('create table held (id int primary key)');
        const holder = await read('held');
        await holder.digest(all, soon);
        await sql('lock tables held write');
        await expect(holder.digest(all, soon)).rejects.toThrow(TransientError);
        await sql('unlock tables');
      },
    );

    it('can only read, and is closed at once when it is given up', { timeout: limit }, async () => {
      const ending = new AbortController();
      const one = await open(undefined, ending.signal);
      await sql('create table idle (id int primary key)');
      await sql('insert into idle values (1)');
      const slow = one.reader({ schema: 'app', name: 'idle', form: 'native', columns: [], key: null, where: [], standIns: new Map() }); // prettier-ignore
      await slow.digest({ bucket: 0, of: 1 }, soon);
      await sql('lock tables idle write');
      const asked = slow.digest({ bucket: 0, of: 1 }, soon);
      const at = performance.now();
      setTimeout(() => ending.abort(), 50);
      await expect(asked).rejects.toThrow(/closed/);
      expect(performance.now() - at).toBeLessThan(500);
      await sql('unlock tables');
      await expect(open(undefined, AbortSignal.abort())).rejects.toThrow(TransientError);
    });
  });
});

/** A list of the numbers from 1 on, in a column named as its alias is. */
function numbers(n: number): string {
  const column = n === 400 ? 'a' : 'b';
  return Array.from({ length: n }, (_, i) => (i === 0 ? `select 1 as ${column}` : `select ${i + 1}`)).join(
    ' union all ',
  );
}
