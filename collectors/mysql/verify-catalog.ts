import type { DatabaseConfig } from '../../daemon/core/config.js';
import { SourceError } from '../../daemon/core/errors.js';
import { placeOf } from '../session/faults.js';
import type { ColumnShape, KeyShape, TableName, TableShape, TypeFamily } from '../verify/port.js';
import { APPLICATION, nameKey, type Sight } from './catalog.js';
import { quoteIdent, quoteLiteral, type ServerVersion } from './connection.js';

/** A column, with what its values are written and compared by. */
export interface ColumnFacts {
  readonly shape: ColumnShape;
  /** Without its modifiers, for example `varchar`. */
  readonly dataType: string;
  /** Of text; null for everything else. */
  readonly charset: string | null;
  readonly collation: string | null;
}

/** A table, with all its columns by name. */
export interface TableFacts {
  readonly shape: TableShape;
  readonly columns: ReadonlyMap<string, ColumnFacts>;
}

/** One column of a table, as information_schema lists it. */
export interface ColumnRow {
  readonly s: string;
  readonly t: string;
  readonly name: string;
  readonly type: string;
  readonly base: string;
  readonly nullable: string;
  readonly charset: string | null;
  readonly collation: string | null;
  readonly privileges: string | null;
  readonly rows_: string | number | null;
  readonly bytes_: string | number | null;
}

/** One part of a unique index. */
export interface KeyRow {
  readonly s: string;
  readonly t: string;
  readonly name: string;
  readonly part: string | number;
  /** Null where the part is an expression. */
  readonly column_: string | null;
  readonly prefix: string | number | null;
  readonly type: string;
}

/** The check that makes a column of MariaDB one of JSON. */
export interface CheckRow {
  readonly s: string;
  readonly t: string;
  readonly clause: string;
}

/** The statements that read the catalog; with `only` of these tables alone. */
export function catalogSql(
  version: ServerVersion,
  only: readonly TableName[] | null,
): { columns: string; keys: string; checks: string | null } {
  const of = (alias: string, schema = 'TABLE_SCHEMA'): string => {
    const own = APPLICATION.replace('TABLE_SCHEMA', `${alias}.${schema}`);
    if (only === null) return own;
    // Pairs of names would be no condition that the server can look a table up by.
    const names = only.map(
      ({ schema: s, name }) =>
        `${alias}.${schema} = ${quoteLiteral(s)} AND ${alias}.TABLE_NAME = ${quoteLiteral(name)}`,
    );
    return `${own} AND ${names.length === 1 ? (names[0] ?? '') : `(${names.map((n) => `(${n})`).join(' OR ')})`}`;
  };
  return {
    // Control tables of DMS are no tables of an application.
    columns: String.raw`SELECT c.TABLE_SCHEMA AS s, c.TABLE_NAME AS t, c.COLUMN_NAME AS name, c.COLUMN_TYPE AS type,
        c.DATA_TYPE AS base, c.IS_NULLABLE AS nullable, c.CHARACTER_SET_NAME AS charset, c.COLLATION_NAME AS collation,
        c.PRIVILEGES AS privileges, t.TABLE_ROWS AS rows_, t.DATA_LENGTH AS bytes_
      FROM information_schema.TABLES t JOIN information_schema.COLUMNS c
        ON c.TABLE_SCHEMA = t.TABLE_SCHEMA AND c.TABLE_NAME = t.TABLE_NAME
      WHERE t.TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') AND t.TABLE_NAME NOT LIKE 'awsdms\\_%' AND ${of('t')} AND ${of('c')}
      ORDER BY c.TABLE_SCHEMA, c.TABLE_NAME, c.ORDINAL_POSITION`,
    keys: `SELECT k.TABLE_SCHEMA AS s, k.TABLE_NAME AS t, k.INDEX_NAME AS name, k.SEQ_IN_INDEX AS part,
        k.COLUMN_NAME AS column_, k.SUB_PART AS prefix, k.INDEX_TYPE AS type
      FROM information_schema.STATISTICS k WHERE k.NON_UNIQUE = 0 AND ${of('k')}
      ORDER BY k.TABLE_SCHEMA, k.TABLE_NAME, k.INDEX_NAME, k.SEQ_IN_INDEX`,
    checks:
      version.flavour === 'mariadb'
        ? `SELECT k.CONSTRAINT_SCHEMA AS s, k.TABLE_NAME AS t, k.CHECK_CLAUSE AS clause
            FROM information_schema.CHECK_CONSTRAINTS k
            WHERE k.CHECK_CLAUSE LIKE 'json_valid(%' AND ${of('k', 'CONSTRAINT_SCHEMA')}`
        : null,
  };
}

/** The tables that these rows describe, for a user of `db`. */
export function factsOf(
  rows: { columns: readonly ColumnRow[]; keys: readonly KeyRow[]; checks: readonly CheckRow[] },
  version: ServerVersion,
  db: DatabaseConfig,
): TableFacts[] {
  const json = new Set(rows.checks.map(({ s, t, clause }) => JSON.stringify([s, t, clause])));
  const keysByTable = grouped(rows.keys, ({ s, t }) => nameKey(s, t));
  return [...grouped(rows.columns, ({ s, t }) => nameKey(s, t))].flatMap(([key, columns]) => {
    const [first] = columns;
    if (first === undefined) return [];
    const facts = new Map(
      columns.map((c) => {
        const isJson = json.has(JSON.stringify([c.s, c.t, `json_valid(${quoteIdent(c.name)})`]));
        return [c.name, columnOf(c, isJson, version)] as const;
      }),
    );
    const hidden = columns.some(({ privileges }) => !/\bselect\b/i.test(privileges ?? ''));
    const shape: TableShape = {
      schema: first.s,
      name: first.t,
      columns: [...facts.values()].map((c) => c.shape),
      keys: keysOf(keysByTable.get(key) ?? [], facts),
      estimatedRows: first.rows_ === null ? null : Number(first.rows_),
      estimatedBytes: first.bytes_ === null ? null : Number(first.bytes_),
      unreadable: hidden
        ? `${db.address.user} may not read it: ${selectGrant(db, { schema: first.s, name: first.t })}`
        : null,
    };
    return [{ shape, columns: facts }];
  });
}

/** The statement that lets the daemon's user read a table. */
export function selectGrant(db: DatabaseConfig, { schema, name }: TableName): string {
  return `GRANT SELECT ON ${quoteIdent(schema)}.${quoteIdent(name)} TO '${db.address.user}'@'…'`;
}

/** An error when tables may be hidden from the user, so that nobody knows which there are; null when none of those asked for is. */
export function hiddenTables(db: DatabaseConfig, sight: Sight, only: readonly TableName[] | null): SourceError | null {
  if (sight.everything || (only !== null && only.every(({ schema }) => sight.schemas.has(schema)))) return null;
  return new SourceError(
    'mysql_privilege',
    `${placeOf(db)}: tables are hidden from a user without a privilege on them, so that nobody knows how many there are`,
    `GRANT REFERENCES ON *.* TO '${db.address.user}'@'…' (alone it lets nobody read or change anything)`,
  );
}

function keysOf(rows: readonly KeyRow[], columns: ReadonlyMap<string, ColumnFacts>): KeyShape[] {
  const keys = [...grouped(rows, ({ name }) => name)].flatMap(([name, parts]) => {
    const usable = parts.every(({ column_, prefix, type }) => {
      const column = column_ === null ? undefined : columns.get(column_);
      // MariaDB keeps long unique values by their hash, which cuts no ranges.
      return column !== undefined && !column.shape.nullable && prefix === null && type === 'BTREE';
    });
    if (!usable) return [];
    return [{ name, primary: name === 'PRIMARY', columns: parts.map((p) => p.column_ ?? '') }];
  });
  const rank = (k: KeyShape): number => (k.primary ? 0 : k.columns.length);
  return keys.sort((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1));
}

function columnOf(row: ColumnRow, isJson: boolean, version: ServerVersion): ColumnFacts {
  const dataType = row.base.toLowerCase();
  const type = row.type.toLowerCase().startsWith('enum') || row.type.toLowerCase().startsWith('set') ? row.type : row.type.toLowerCase(); // prettier-ignore
  const family = isJson ? 'json' : familyOf(dataType, type);
  const detail = detailOf(type, family, row.collation);
  const shape: ColumnShape = {
    name: row.name,
    type,
    family,
    nullable: row.nullable === 'YES',
    order: orderOf(dataType, family, row.collation, version),
    ...(detail === null ? {} : { detail }),
  };
  return { shape, dataType, charset: row.charset, collation: row.collation };
}

const FAMILIES: Readonly<Record<string, TypeFamily>> = {
  tinyint: 'integer',
  smallint: 'integer',
  mediumint: 'integer',
  int: 'integer',
  bigint: 'integer',
  decimal: 'decimal',
  float: 'float4',
  double: 'float8',
  bit: 'bit',
  year: 'year',
  date: 'date',
  time: 'time',
  datetime: 'timestamp',
  timestamp: 'timestamptz',
  char: 'char',
  varchar: 'text',
  tinytext: 'text',
  text: 'text',
  mediumtext: 'text',
  longtext: 'text',
  enum: 'enum',
  set: 'text',
  binary: 'bytes',
  varbinary: 'bytes',
  tinyblob: 'bytes',
  blob: 'bytes',
  mediumblob: 'bytes',
  longblob: 'bytes',
  json: 'json',
  uuid: 'uuid',
};

function familyOf(dataType: string, type: string): TypeFamily {
  return type === 'tinyint(1)' ? 'boolean' : (FAMILIES[dataType] ?? 'other');
}

function detailOf(type: string, family: TypeFamily, collation: string | null): string | null {
  if (type === 'tinyint(1)' || type === 'bit(1)') return type;
  return family === 'json' ? null : collation;
}

/** Byte by byte, and without padding, so that UTF-8 is ordered as PostgreSQL's "C" does. */
const BYTEWISE = /^(?:utf8mb4|utf8mb3|utf8|ascii)_(?:0900|nopad)_bin$/;

function orderOf(
  dataType: string,
  family: TypeFamily,
  collation: string | null,
  { flavour, number }: ServerVersion,
): string | null {
  switch (family) {
    case 'json':
    case 'jsonb':
    case 'enum':
    case 'other':
      return null;
    case 'bytes':
      return 'bytes';
    case 'uuid':
      // MariaDB has changed the order of its UUIDs from one release to another.
      return `uuid (${flavour} ${String(number)})`;
    case 'text':
    case 'char':
      if (dataType === 'set' || collation === null) return null;
      // A collation's order never changes under its name.
      return BYTEWISE.test(collation) ? 'bytes' : `${collation} (${flavour})`;
    default:
      return 'value';
  }
}

/** What `Map.groupBy` does, which Node has from 21 on. */
function grouped<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  return groups;
}
