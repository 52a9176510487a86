/** A table with a column of every type that an engine has, its rows, and for each column the smallest change there is. */

/** Which database a column is for. */
export type Flavoured = 'postgres' | 'mysql' | 'mariadb';

/** A column of the table `kinds`. */
export interface Kind {
  readonly name: string;
  /** As the source declares it. */
  readonly type: string;
  /** The value in row `n`, as an expression of the source's SQL. */
  readonly value: (n: number) => string;
  /** Another value that is as near as can be, as an expression of the target's SQL over the column. */
  readonly changed: string;
  /** Across engines: how the target declares it, and its spelling of the value. */
  readonly target?: { readonly type: string; readonly value: (n: number) => string };
}

/** Quotes a text for either engine; it must hold no backslash. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** Bytes in hexadecimal that depend on `n`, so many of them. */
function hex(n: number, bytes: number): string {
  let state = (n * 2_654_435_761 + 12_345) >>> 0;
  let text = '';
  for (let i = 0; i < bytes; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    text += (state >>> 24).toString(16).padStart(2, '0');
  }
  return text;
}

function uuidOf(n: number): string {
  const h = hex(n, 16);
  return `${h.slice(0, 8)}-${h.slice(8, 12)}-4${h.slice(13, 16)}-8${h.slice(17, 20)}-${h.slice(20)}`;
}

function dayOf(n: number): string {
  return new Date(Date.UTC(2000, 0, 1 + ((n * 37) % 9_000))).toISOString().slice(0, 10);
}

function timeOf(n: number): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  return `${two(n % 24)}:${two((n * 7) % 60)}:${two((n * 11) % 60)}.${String((n * 7_919) % 1_000_000).padStart(6, '0')}`;
}

/** Some rows hold text of several kilobytes, with letters of one to four bytes. */
function textOf(n: number): string {
  return `row ${n} äöü €uro 😀 it's `.repeat(n % 50 === 1 ? 200 : 1) + 'end';
}

const labels = ['sad', 'ok', 'happy'] as const;
const label = (n: number): string => quoted(labels[n % 3] ?? 'ok');

/** Floats whose shortest text needs all digits. */
const third = (n: number): string => String((n + 1) / 3);

const docs = (n: number): string => quoted(`{"b": ${n}, "a": [1, ${n % 7}, null, true], "c": {"text": "ä${n}"}}`);

const postgres: readonly Kind[] = [
  { name: 'k_small', type: 'smallint', value: (n) => String(n % 30_000), changed: 'k_small # 1::smallint' },
  { name: 'k_int', type: 'integer', value: (n) => String(-n * 7), changed: 'k_int # 1' },
  { name: 'k_big', type: 'bigint', value: (n) => String(n * 1_234_567_890_123), changed: 'k_big # 1' },
  { name: 'k_numeric', type: 'numeric(12,2)', value: (n) => `${n}.17`, changed: 'k_numeric + 0.01' },
  { name: 'k_exact', type: 'numeric', value: (n) => `${n}.12345678901234567891`, changed: 'k_exact + 1e-20' },
  // Equal as numbers, and stored differently.
  { name: 'k_scale', type: 'numeric', value: (n) => `${n}.0`, changed: 'round(k_scale, 2) + 0.00' },
  { name: 'k_real', type: 'real', value: third, changed: '(k_real::float8 * (1 + 1.2e-7))::real' },
  { name: 'k_double', type: 'double precision', value: third, changed: 'k_double * (1 + 2.3e-16::float8)' },
  { name: 'k_zero', type: 'double precision', value: () => '0', changed: `'-0'::float8` },
  { name: 'k_bool', type: 'boolean', value: (n) => String(n % 2 === 0), changed: 'not k_bool' },
  {
    name: 'k_text',
    type: 'text',
    value: (n) => quoted(textOf(n)),
    changed: `overlay(k_text placing 'ene' from length(k_text) - 2)`,
  },
  {
    name: 'k_accent',
    type: 'text',
    value: (n) => quoted(`caf\u00e9 ${n}`),
    changed: `replace(k_accent, U&'\\00e9', U&'e\\0301')`,
  },
  {
    name: 'k_varchar',
    type: 'varchar(40)',
    value: (n) => quoted(`name ${n}`),
    changed: `replace(k_varchar, 'n', 'o')`,
  },
  { name: 'k_char', type: 'char(10)', value: (n) => quoted(`c${n}`), changed: `replace(k_char, 'c', 'b')` },
  { name: 'k_null', type: 'text', value: () => 'null', changed: `''` },
  {
    name: 'k_bytea',
    type: 'bytea',
    value: (n) => `'\\x${hex(n, 24)}'`,
    changed: 'set_bit(k_bytea, 17, 1 - get_bit(k_bytea, 17))',
  },
  { name: 'k_date', type: 'date', value: (n) => quoted(dayOf(n)), changed: 'k_date + 1' },
  { name: 'k_time', type: 'time', value: (n) => quoted(timeOf(n)), changed: `k_time + interval '1 us'` },
  { name: 'k_timetz', type: 'timetz', value: (n) => quoted(`${timeOf(n)}+02`), changed: `k_timetz at time zone 'UTC'` },
  {
    name: 'k_ts',
    type: 'timestamp',
    value: (n) => quoted(`${dayOf(n)} ${timeOf(n)}`),
    changed: `k_ts + interval '1 us'`,
  },
  {
    name: 'k_tstz',
    type: 'timestamptz',
    value: (n) => quoted(`${dayOf(n)} ${timeOf(n)}+00`),
    changed: `k_tstz + interval '1 us'`,
  },
  {
    name: 'k_interval',
    type: 'interval',
    value: (n) => quoted(`${n} days`),
    changed: `justify_interval(k_interval) + interval '1 us'`,
  },
  { name: 'k_json', type: 'json', value: docs, changed: 'k_json::jsonb::json' },
  { name: 'k_jsonb', type: 'jsonb', value: docs, changed: `jsonb_set(k_jsonb, '{a,0}', '2')` },
  {
    name: 'k_uuid',
    type: 'uuid',
    value: (n) => quoted(uuidOf(n)),
    changed: `overlay(k_uuid::text placing case right(k_uuid::text, 1) when '1' then '0' else '1' end from 36)::uuid`,
  },
  { name: 'k_enum', type: 'mood', value: label, changed: `case k_enum when 'sad' then 'ok'::mood else 'sad' end` },
  {
    name: 'k_bit',
    type: 'bit(8)',
    value: (n) => `B'${(n % 256).toString(2).padStart(8, '0')}'`,
    changed: `k_bit # B'00000001'`,
  },
  {
    name: 'k_varbit',
    type: 'bit varying(20)',
    value: (n) => `B'${(n % 512).toString(2)}'`,
    changed: `k_varbit || B'0'`,
  },
  {
    name: 'k_ints',
    type: 'integer[]',
    value: (n) => `array[${n}, null, ${n % 3}]`,
    changed: 'array_append(k_ints, null)',
  },
  {
    name: 'k_texts',
    type: 'text[]',
    value: (n) => `array['a', 'b,c', ${quoted(`x${n}`)}]`,
    changed: `array['a,b', 'c', k_texts[3]]`,
  },
  {
    name: 'k_tsv',
    type: 'tsvector',
    value: (n) => `to_tsvector('simple', 'film ${n} of the academy')`,
    changed: `k_tsv || 'new'::tsvector`,
  },
  { name: 'k_inet', type: 'inet', value: (n) => `'10.0.${n % 256}.7/24'`, changed: 'k_inet + 1' },
  { name: 'k_mac', type: 'macaddr', value: () => `'08:00:2b:01:02:03'`, changed: `'08:00:2b:01:02:02'` },
  {
    name: 'k_point',
    type: 'point',
    value: (n) => `point(${n}, ${third(n)})`,
    changed: 'point(k_point[0], k_point[1] * (1 + 2.3e-16::float8))',
  },
  {
    name: 'k_range',
    type: 'int4range',
    value: (n) => `int4range(${n}, ${n + 5})`,
    changed: `int4range(lower(k_range), upper(k_range), '[]')`,
  },
  { name: 'k_xml', type: 'xml', value: (n) => `'<a n="${n}"/>'`, changed: `replace(k_xml::text, '/>', ' />')::xml` },
  { name: 'k_pair', type: 'spot', value: (n) => `row(${n}, null)::spot`, changed: `row((k_pair).x, '')::spot` },
  { name: 'k_domain', type: 'short', value: (n) => quoted(`d${n}`), changed: `k_domain || ' '` },
  { name: 'k_letter', type: '"char"', value: () => `'c'`, changed: `'b'` },
  { name: 'k_oid', type: 'oid', value: (n) => String(n), changed: '(k_oid::bigint # 1)::oid' },
  { name: 'k_lsn', type: 'pg_lsn', value: (n) => `'0/${n.toString(16)}'`, changed: 'k_lsn + 1' },
];

/** What the columns need before the table is made. */
export const POSTGRES_TYPES = `
  create type public.mood as enum ('sad', 'ok', 'happy');
  create type public.spot as (x integer, y text);
  create domain public.short as varchar(20);`;

const bits = (n: number): string => `b'${(n % 256).toString(2).padStart(8, '0')}'`;
const bytes =
  (length: number) =>
  (n: number): string =>
    `x'${hex(n, length)}'`;
/** The lowest bit of the last byte. */
const lastByte = (column: string): string =>
  `insert(${column}, length(${column}), 1, char(ascii(right(${column}, 1)) ^ 1))`;

/** Both flavours have these. */
const mysqlCommon: readonly Kind[] = [
  {
    name: 'k_tiny',
    type: 'tinyint',
    value: (n) => String((n % 256) - 128),
    changed: 'k_tiny + if(k_tiny < 127, 1, -1)',
  },
  { name: 'k_bool', type: 'tinyint(1)', value: (n) => String(n % 2), changed: '1 - k_bool' },
  { name: 'k_small', type: 'smallint', value: (n) => String(-n), changed: 'k_small - 1' },
  { name: 'k_medium', type: 'mediumint unsigned', value: (n) => String(n * 7), changed: 'k_medium ^ 1' },
  { name: 'k_int', type: 'int', value: (n) => String(-n * 7), changed: 'k_int + 1' },
  { name: 'k_big', type: 'bigint', value: (n) => String(-n * 1_234_567_890_123), changed: 'k_big + 1' },
  {
    name: 'k_ubig',
    type: 'bigint unsigned',
    value: (n) => String(2n ** 64n - 2n - BigInt(2 * n)),
    changed: 'k_ubig ^ 1',
  },
  { name: 'k_decimal', type: 'decimal(12,2)', value: (n) => `${n}.17`, changed: 'k_decimal + 0.01' },
  {
    name: 'k_exact',
    type: 'decimal(40,20)',
    value: (n) => `${n}.12345678901234567891`,
    changed: 'k_exact + 0.00000000000000000001',
  },
  { name: 'k_float', type: 'float', value: third, changed: 'k_float * (1 + 1.2e-7)' },
  { name: 'k_double', type: 'double', value: third, changed: 'k_double * (1 + 2.3e-16)' },
  { name: 'k_char', type: 'char(10)', value: (n) => quoted(`c${n}`), changed: `replace(k_char, 'c', 'b')` },
  {
    name: 'k_varchar',
    type: 'varchar(40)',
    value: (n) => quoted(`name ${n}`),
    changed: `replace(k_varchar, 'n', 'N')`,
  },
  {
    name: 'k_accent',
    type: 'varchar(40)',
    value: (n) => quoted(`caf\u00e9 ${n}`),
    changed: `concat('cafe', convert(x'cc81' using utf8mb4), substr(k_accent, 5))`,
  },
  {
    name: 'k_latin',
    type: 'varchar(40) character set latin1',
    value: (n) => quoted(`für ${n}`),
    changed: `replace(k_latin, 'ü', 'u')`,
  },
  { name: 'k_tinytext', type: 'tinytext', value: (n) => quoted(`tiny ${n}`), changed: `concat(k_tinytext, ' ')` },
  {
    name: 'k_text',
    type: 'mediumtext',
    value: (n) => quoted(textOf(n)),
    changed: `concat(left(k_text, char_length(k_text) - 1), 'e')`,
  },
  {
    name: 'k_long',
    type: 'longtext',
    value: (n) => quoted(textOf(n + 50)),
    changed: `concat(left(k_long, char_length(k_long) - 1), 'D')`,
  },
  { name: 'k_null', type: 'varchar(40)', value: () => 'null', changed: `''` },
  { name: 'k_binary', type: 'binary(8)', value: bytes(8), changed: lastByte('k_binary') },
  { name: 'k_varbinary', type: 'varbinary(40)', value: bytes(24), changed: lastByte('k_varbinary') },
  { name: 'k_blob', type: 'blob', value: bytes(60), changed: lastByte('k_blob') },
  { name: 'k_longblob', type: 'longblob', value: bytes(300), changed: `concat(k_longblob, x'00')` },
  { name: 'k_enum', type: `enum('sad', 'ok', 'happy')`, value: label, changed: `if(k_enum = 'sad', 'ok', 'sad')` },
  {
    name: 'k_set',
    type: `set('a', 'b', 'c')`,
    value: (n) => quoted(['a', 'a,b', 'c'][n % 3] ?? ''),
    changed: 'k_set ^ 2',
  },
  { name: 'k_date', type: 'date', value: (n) => quoted(dayOf(n)), changed: 'k_date + interval 1 day' },
  { name: 'k_time', type: 'time(6)', value: (n) => quoted(timeOf(n)), changed: `addtime(k_time, '00:00:00.000001')` },
  { name: 'k_past', type: 'time', value: (n) => `'-${100 + (n % 700)}:10:20'`, changed: `addtime(k_past, '00:00:01')` },
  {
    name: 'k_dt',
    type: 'datetime(6)',
    value: (n) => quoted(`${dayOf(n)} ${timeOf(n)}`),
    changed: 'k_dt + interval 1 microsecond',
  },
  {
    name: 'k_ts',
    type: 'timestamp(6) null',
    value: (n) => quoted(`${dayOf(n)} ${timeOf(n)}`),
    changed: 'k_ts + interval 1 microsecond',
  },
  { name: 'k_year', type: 'year', value: (n) => String(1950 + (n % 150)), changed: 'k_year + 1' },
  { name: 'k_bit', type: 'bit(8)', value: bits, changed: 'k_bit ^ 1' },
  { name: 'k_json', type: 'json', value: docs, changed: `json_replace(k_json, '$.a[0]', 2)` },
  {
    name: 'k_point',
    type: 'point',
    value: (n) => `st_geomfromtext('POINT(${n} ${third(n)})')`,
    changed: `st_geomfromtext('POINT(0.5 0.25)')`,
  },
];

const mariadbOnly: readonly Kind[] = [
  {
    name: 'k_uuid',
    type: 'uuid',
    value: (n) => quoted(uuidOf(n)),
    changed: `concat(left(k_uuid, 35), if(right(k_uuid, 1) = '1', '0', '1'))`,
  },
  { name: 'k_inet', type: 'inet6', value: (n) => `'2001:db8::${(n + 1).toString(16)}'`, changed: `'2001:db8::ffff:1'` },
];

/** All columns that one engine has; the same on both sides. */
export function kindsOf(flavour: Flavoured): readonly Kind[] {
  if (flavour === 'postgres') return postgres;
  return flavour === 'mysql' ? mysqlCommon : [...mysqlCommon, ...mariadbOnly];
}

/** How the target of another engine has a column of MySQL's. */
const across: Readonly<Record<string, { type: string; changed: string; value?: (n: number) => string }>> = {
  k_tiny: { type: 'smallint', changed: 'k_tiny # 1::smallint' },
  k_bool: { type: 'boolean', changed: 'not k_bool', value: (n) => String(n % 2 === 1) },
  k_small: { type: 'smallint', changed: 'k_small # 1::smallint' },
  k_medium: { type: 'integer', changed: 'k_medium # 1' },
  k_int: { type: 'integer', changed: 'k_int # 1' },
  k_big: { type: 'bigint', changed: 'k_big # 1' },
  k_ubig: { type: 'numeric(20)', changed: 'k_ubig + 1' },
  k_decimal: { type: 'numeric(12,2)', changed: 'k_decimal + 0.01' },
  k_exact: { type: 'numeric(40,20)', changed: 'k_exact + 1e-20' },
  // The last digit that counts: the sixth of a single, the fifteenth of a double.
  k_float: { type: 'real', changed: '(k_float::float8 * (1 + 1e-5))::real' },
  k_double: { type: 'double precision', changed: 'k_double * (1 + 1e-14::float8)' },
  k_char: { type: 'char(10)', changed: `replace(k_char, 'c', 'b')` },
  k_varchar: { type: 'varchar(40)', changed: `replace(k_varchar, 'n', 'N')` },
  k_accent: { type: 'varchar(40)', changed: `replace(k_accent, U&'\\00e9', U&'e\\0301')` },
  k_latin: { type: 'varchar(40)', changed: `replace(k_latin, 'ü', 'u')` },
  k_tinytext: { type: 'text', changed: `k_tinytext || ' '` },
  k_text: { type: 'text', changed: `overlay(k_text placing 'ene' from length(k_text) - 2)` },
  k_long: { type: 'text', changed: `overlay(k_long placing 'enD' from length(k_long) - 2)` },
  k_null: { type: 'varchar(40)', changed: `''` },
  k_binary: {
    type: 'bytea',
    changed: 'set_bit(k_binary, 17, 1 - get_bit(k_binary, 17))',
    value: (n) => `'\\x${hex(n, 8)}'`,
  },
  k_varbinary: {
    type: 'bytea',
    changed: 'set_bit(k_varbinary, 17, 1 - get_bit(k_varbinary, 17))',
    value: (n) => `'\\x${hex(n, 24)}'`,
  },
  k_blob: {
    type: 'bytea',
    changed: 'set_bit(k_blob, 17, 1 - get_bit(k_blob, 17))',
    value: (n) => `'\\x${hex(n, 60)}'`,
  },
  k_longblob: { type: 'bytea', changed: `k_longblob || '\\x00'::bytea`, value: (n) => `'\\x${hex(n, 300)}'` },
  k_enum: { type: 'mood', changed: `case k_enum when 'sad' then 'ok'::mood else 'sad' end` },
  k_date: { type: 'date', changed: 'k_date + 1' },
  k_time: { type: 'time(6)', changed: `k_time + interval '1 us'` },
  k_dt: { type: 'timestamp(6)', changed: `k_dt + interval '1 us'` },
  k_ts: {
    type: 'timestamptz(6)',
    changed: `k_ts + interval '1 us'`,
    value: (n) => quoted(`${dayOf(n)} ${timeOf(n)}+00`),
  },
  k_year: { type: 'smallint', changed: 'k_year + 1::smallint' },
  k_json: { type: 'jsonb', changed: `jsonb_set(k_json, '{a,0}', '2')` },
};

/** The columns of a source of this flavour that PostgreSQL has as well. */
export function kindsAcross(flavour: 'mysql' | 'mariadb'): readonly Kind[] {
  return kindsOf(flavour).flatMap((kind) => {
    const there = across[kind.name];
    if (there === undefined) return [];
    return [{ ...kind, changed: there.changed, target: { type: there.type, value: there.value ?? kind.value } }];
  });
}

/** Row `n` has this id; between two of them is room for rows that ought not to be there. */
export function idOf(n: number): number {
  return 10 * n;
}

/** The statement that makes the table on one side. */
export function createKinds(kinds: readonly Kind[], side: 'source' | 'target'): string {
  const columns = kinds.map((k) => `${k.name} ${side === 'target' && k.target !== undefined ? k.target.type : k.type}`);
  return `create table kinds (id bigint not null primary key, ${columns.join(', ')});`;
}

/** Inserts the rows `from` to `to`, both included; `id` replaces the key of each. */
export function insertKinds(
  kinds: readonly Kind[],
  side: 'source' | 'target',
  from: number,
  to: number,
  id: (n: number) => number = idOf,
): string {
  const rows: string[] = [];
  for (let n = from; n <= to; n++) {
    const values = kinds.map((k) => (side === 'target' && k.target !== undefined ? k.target : k).value(n));
    rows.push(`(${[id(n), ...values].join(', ')})`);
  }
  return `insert into kinds (id, ${kinds.map((k) => k.name).join(', ')}) values ${rows.join(', ')};`;
}
