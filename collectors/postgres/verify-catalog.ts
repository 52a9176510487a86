import type { DatabaseConfig } from '../../daemon/core/config.js';
import type { ColumnShape, KeyShape, TableName, TableShape, TypeFamily } from '../verify/port.js';
import { APPLICATION_SCHEMA } from './coverage-views.js';
import { bypassGrant, quoted, readGrant } from './verify-errors.js';

/**
 * What the catalog says about tables whose data is compared: their columns, unique keys, sizes, and whether their rows
 * can be read. One statement, answered as JSON in one row: no privilege hides a row of these catalogs, so that a table
 * that may not be read is known all the same.
 */

/** What is compared of `pg_class c` with `pg_namespace n`: the application's tables, of partitioned ones their parents only. */
export const COMPARABLE = `c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence IN ('p', 'u')
       AND c.oid >= 16384 AND ${APPLICATION_SCHEMA} AND c.relname !~ '^awsdms_'
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                        AND e.objid = c.oid AND e.objsubid = 0 AND e.deptype = 'e')`;

/** A column as its own server has it, besides what both sides need to know. */
export interface ColumnFacts {
  readonly shape: ColumnShape;
  /** The type below all domains, without its modifiers, as SQL takes it. */
  readonly cast: string;
  /** Its operators are the server's own, so that they are found whatever the search path. */
  readonly comparable: boolean;
}

/** A table as its own server has it. */
export interface TableFacts {
  readonly shape: TableShape;
  /** Tables inherit from it that are no partitions: its own rows are read with ONLY. */
  readonly only: boolean;
  readonly columns: ReadonlyMap<string, ColumnFacts>;
}

/** The whole answer of `catalogSql`. */
export interface CatalogRow {
  encoding: string;
  /** What text without a collation of its own is ordered by. */
  collation: CollationRow;
  tables: TableRow[] | null;
}

interface TableRow {
  schema: string;
  name: string;
  parent: boolean;
  rows: number | null;
  bytes: number | null;
  selectable: boolean;
  filtered: boolean;
  away: boolean;
  columns: ColumnRow[] | null;
  keys: { name: string; primary: boolean; columns: string[] }[] | null;
}

interface ColumnRow {
  name: string;
  type: string;
  cast: string;
  /** Name of the type below all domains; null when it is none of the server's own. */
  base: string | null;
  not_null: boolean;
  labels: string[] | null;
  /** Null: this type has no collation. */
  collation: CollationRow | 'default' | null;
}

/** A collation, as both `pg_collation` and `pg_database` have one. */
export interface CollationRow {
  provider: string;
  locale: string | null;
  rules: string | null;
  deterministic: boolean;
  /** When it was made or last refreshed, and what the server's library has now. */
  recorded: string | null;
  actual: string | null;
}

/** The version of 13 and 14 for the database's own collation: that of any other of the same library. */
const libraryVersion = `(SELECT pg_catalog.pg_collation_actual_version(k.oid) FROM pg_catalog.pg_collation k
    WHERE k.collprovider = 'c' AND k.collcollate NOT IN ('C', 'POSIX', '') LIMIT 1)`;

function databaseCollation(version: number): string {
  const locale =
    version >= 170000
      ? `CASE d.datlocprovider WHEN 'c' THEN d.datcollate ELSE d.datlocale END`
      : version >= 150000
        ? `CASE d.datlocprovider WHEN 'c' THEN d.datcollate ELSE d.daticulocale END`
        : 'd.datcollate';
  return `pg_catalog.json_build_object('provider', ${version >= 150000 ? 'd.datlocprovider' : "'c'"}, 'locale', ${locale},
    'rules', ${version >= 160000 ? 'd.daticurules' : 'NULL'}, 'deterministic', true,
    'recorded', ${version >= 150000 ? 'd.datcollversion' : 'NULL'},
    'actual', ${version >= 150000 ? 'pg_catalog.pg_database_collation_actual_version(d.oid)' : libraryVersion})`;
}

function columnCollation(version: number): string {
  const locale =
    version >= 170000
      ? `CASE k.collprovider WHEN 'c' THEN k.collcollate ELSE k.colllocale END`
      : version >= 150000
        ? `CASE k.collprovider WHEN 'c' THEN k.collcollate ELSE k.colliculocale END`
        : 'k.collcollate';
  return `CASE WHEN a.attcollation = 0 THEN NULL WHEN k.collprovider = 'd' THEN '"default"'::pg_catalog.json
    ELSE pg_catalog.json_build_object('provider', k.collprovider, 'locale', ${locale},
      'rules', ${version >= 160000 ? 'k.collicurules' : 'NULL'}, 'deterministic', k.collisdeterministic,
      'recorded', k.collversion, 'actual', pg_catalog.pg_collation_actual_version(k.oid)) END`;
}

/**
 * The statement that reads the catalog, for a version: of all application tables, or of those with the schemas `$1` and
 * the names `$2`, which it finds by indexes.
 */
export function catalogSql(version: number, named: boolean): string {
  const from = named
    ? `ROWS FROM (pg_catalog.unnest($1::pg_catalog.name[]), pg_catalog.unnest($2::pg_catalog.name[])) AS q (s, t)
      JOIN pg_catalog.pg_namespace n ON n.nspname = q.s JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = q.t`
    : 'pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace';
  // From 18 on a column may be declared NOT NULL while NULLs of earlier times are still in it.
  const notNull =
    version >= 180000
      ? `(a.attnotnull AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint v WHERE v.conrelid = a.attrelid
           AND v.contype = 'n' AND NOT v.convalidated AND a.attnum = ANY (v.conkey)))`
      : 'a.attnotnull';
  return `
  WITH RECURSIVE wanted AS (
    SELECT c.oid, n.oid AS schema_oid, n.nspname AS schema, c.relname AS name, c.relkind, c.relpersistence
      FROM ${from}
     WHERE ${COMPARABLE}
  ), below AS (
    SELECT w.oid AS root, w.oid FROM wanted w
    UNION ALL
    SELECT b.root, i.inhrelid FROM below b JOIN pg_catalog.pg_inherits i ON i.inhparent = b.oid
      JOIN pg_catalog.pg_class p ON p.oid = i.inhrelid AND p.relispartition
  ), size AS (
    SELECT b.root,
           sum(CASE WHEN c.reltuples < 0 OR (c.reltuples = 0 AND c.relpages = 0) THEN NULL ELSE c.reltuples END) AS rows,
           sum(CASE WHEN c.relpages = 0 THEN NULL ELSE c.relpages + coalesce(t.relpages, 0)::pg_catalog.int8 END) AS pages
      FROM below b JOIN pg_catalog.pg_class c ON c.oid = b.oid AND c.relkind = 'r'
      LEFT JOIN pg_catalog.pg_class t ON t.oid = c.reltoastrelid
     GROUP BY b.root
  ), type AS (
    SELECT DISTINCT a.atttypid AS id, a.atttypid AS at FROM wanted w JOIN pg_catalog.pg_attribute a ON a.attrelid = w.oid AND a.attnum > 0
    UNION ALL
    SELECT y.id, t.typbasetype FROM type y JOIN pg_catalog.pg_type t ON t.oid = y.at AND t.typtype = 'd'
  ), columns AS (
    SELECT a.attrelid, pg_catalog.json_agg(pg_catalog.json_build_object('name', a.attname,
             'type', pg_catalog.format_type(a.atttypid, a.atttypmod), 'cast', pg_catalog.format_type(b.oid, -1),
             'base', CASE WHEN b.typnamespace = 'pg_catalog'::pg_catalog.regnamespace THEN b.typname END,
             'not_null', ${notNull},
             'labels', CASE WHEN b.typtype = 'e' THEN (SELECT pg_catalog.json_agg(e.enumlabel ORDER BY e.enumsortorder)
                                                        FROM pg_catalog.pg_enum e WHERE e.enumtypid = b.oid) END,
             'collation', ${columnCollation(version)}) ORDER BY a.attnum) AS columns
      FROM wanted w JOIN pg_catalog.pg_attribute a ON a.attrelid = w.oid AND a.attnum > 0 AND NOT a.attisdropped
      JOIN type d ON d.id = a.atttypid JOIN pg_catalog.pg_type b ON b.oid = d.at AND b.typtype <> 'd'
      LEFT JOIN pg_catalog.pg_collation k ON k.oid = a.attcollation
     GROUP BY a.attrelid
  ), keys AS (
    SELECT x.indrelid, pg_catalog.json_agg(pg_catalog.json_build_object('name', i.relname, 'primary', x.indisprimary,
             'columns', c.columns) ORDER BY x.indisprimary DESC, x.indnkeyatts, i.relname::pg_catalog.text COLLATE "C") AS keys
      FROM wanted w JOIN pg_catalog.pg_index x ON x.indrelid = w.oid JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
      JOIN pg_catalog.pg_am m ON m.oid = i.relam AND m.amname = 'btree'
      CROSS JOIN LATERAL (
        SELECT pg_catalog.json_agg(a.attname ORDER BY k.at) AS columns, pg_catalog.bool_and(${notNull}) AS whole
          FROM pg_catalog.unnest(x.indkey::pg_catalog.int2[]) WITH ORDINALITY AS k (num, at)
          LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.num
         WHERE k.at <= x.indnkeyatts) c
     WHERE x.indisunique AND x.indisvalid AND x.indisready AND x.indimmediate AND x.indpred IS NULL AND x.indexprs IS NULL AND c.whole
     GROUP BY x.indrelid
  )
  SELECT pg_catalog.current_setting('server_encoding') AS encoding,
         (SELECT ${databaseCollation(version)} FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()) AS collation,
         (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('schema', w.schema, 'name', w.name,
                   'parent', w.relkind = 'r' AND EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhparent = w.oid),
                   'rows', s.rows, 'bytes', s.pages * pg_catalog.current_setting('block_size')::pg_catalog.int8,
                   'selectable', pg_catalog.has_schema_privilege(w.schema_oid, 'USAGE') AND pg_catalog.has_table_privilege(w.oid, 'SELECT'),
                   'filtered', pg_catalog.row_security_active(w.oid),
                   'away', w.relpersistence = 'u' AND pg_catalog.pg_is_in_recovery(),
                   'columns', c.columns, 'keys', k.keys)
                 ORDER BY w.schema::pg_catalog.text COLLATE "C", w.name::pg_catalog.text COLLATE "C")
            FROM wanted w LEFT JOIN size s ON s.root = w.oid LEFT JOIN columns c ON c.attrelid = w.oid
            LEFT JOIN keys k ON k.indrelid = w.oid) AS tables`;
}

/** The tables of an answer. `home` tells this server apart from every other one. */
export function factsOf(row: CatalogRow, database: DatabaseConfig, home: string): TableFacts[] {
  return (row.tables ?? []).map((table) => {
    const columns = (table.columns ?? []).map((column): ColumnFacts => ({
      shape: {
        name: column.name,
        type: column.type,
        family: familyOf(column),
        nullable: !column.not_null,
        order: orderOf(column, row, home),
      },
      cast: column.cast,
      comparable: column.base !== null || column.labels !== null,
    }));
    const keys: KeyShape[] = table.keys ?? [];
    return {
      shape: {
        schema: table.schema,
        name: table.name,
        columns: columns.map((c) => c.shape),
        keys,
        estimatedRows: table.rows,
        estimatedBytes: table.bytes,
        unreadable: unreadable(table, database.address.user),
      },
      only: table.parent,
      columns: new Map(columns.map((c) => [c.shape.name, c])),
    };
  });
}

function unreadable(
  table: TableName & Pick<TableRow, 'selectable' | 'filtered' | 'away'>,
  user: string,
): string | null {
  if (!table.selectable) return `may not be read; ${readGrant(table, user)}`;
  if (table.filtered) return `row security on ${quoted(table)} may hide rows; ${bypassGrant(user)}`;
  if (table.away) return 'an unlogged table, which a standby does not have';
  return null;
}

const families: Readonly<Record<string, TypeFamily>> = {
  int2: 'integer',
  int4: 'integer',
  int8: 'integer',
  oid: 'integer',
  numeric: 'decimal',
  float4: 'float4',
  float8: 'float8',
  bool: 'boolean',
  text: 'text',
  varchar: 'text',
  name: 'text',
  xml: 'text',
  bpchar: 'char',
  bytea: 'bytes',
  date: 'date',
  time: 'time',
  timestamp: 'timestamp',
  timestamptz: 'timestamptz',
  json: 'json',
  jsonb: 'jsonb',
  uuid: 'uuid',
  bit: 'bit',
};

function familyOf({ base, labels, cast }: ColumnRow): TypeFamily {
  if (labels !== null) return 'enum';
  // Of an extension, and text but for how it compares.
  if (base === null) return /(^|\.)citext$/.test(cast) ? 'text' : 'other';
  return families[base] ?? 'other';
}

// What a btree orders by value. Types of extensions are left out: their operators are found by a search path only; and bit
// strings, because what they are compared by across engines is a number.
const ordered = new Set([
  ...['int2', 'int4', 'int8', 'oid', 'numeric', 'money', 'float4', 'float8', 'bool', 'bytea', 'uuid'],
  ...[
    'date',
    'time',
    'timetz',
    'timestamp',
    'timestamptz',
    'interval',
    'inet',
    'cidr',
    'macaddr',
    'macaddr8',
    'pg_lsn',
  ],
]);

function orderOf({ base, labels, collation }: ColumnRow, server: CatalogRow, home: string): string | null {
  if (labels !== null) return `value:${JSON.stringify(labels)}`;
  if (base === null) return null;
  if (ordered.has(base)) return 'value';
  if (!['text', 'varchar', 'bpchar', 'name'].includes(base) || collation === null) return null;
  return collationOrder(collation === 'default' ? server.collation : collation, server.encoding, home);
}

/** What text of a collation is ordered by; null where its indexes cannot be relied on, because its library was changed. */
export function collationOrder(collation: CollationRow, encoding: string, home: string): string | null {
  const { provider, locale, rules, deterministic, recorded, actual } = collation;
  const plain = provider === 'b' || (provider === 'c' && (locale === 'C' || locale === 'POSIX'));
  if (plain) return encoding === 'UTF8' ? 'bytes' : `bytes of ${encoding}`;
  if (recorded !== null && recorded !== actual) return null;
  // A version that nobody knows is not known to be another server's.
  const version = actual ?? `unknown on ${home}`;
  const parts = [provider === 'i' ? 'icu' : 'libc', locale ?? '', version, encoding];
  if (rules !== null && rules !== '') parts.push(rules);
  return `${parts.join(' ')}${deterministic ? '' : ' nondeterministic'}`;
}
