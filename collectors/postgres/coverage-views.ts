import type { PgConnection } from './connection.js';
import { catalogTimeoutMs } from '../session/catalog-watch.js';
import {
  nameKey,
  type Membership,
  type Operation,
  type Publication,
  type SourceTable,
  type SubscriptionTables,
} from './coverage.js';

/**
 * What the catalogs say about tables, publications and subscriptions: one statement for each side, answered as JSON in one
 * row, so that ten thousand tables are one snapshot and are taken apart quickly. Everyone may read these catalogs, and no
 * privilege hides a row of them.
 */

/** Schemas that hold no table of an application: the server's own, and lockgate's. */
export const APPLICATION_SCHEMA = `n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'lockgate')`;

/** How long the server worked: the last column, so that it is computed last. */
export const BUSY = `(EXTRACT(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.statement_timestamp()) * 1000)::pg_catalog.float8 AS busy`;

/** All that one look at the source found. */
export interface SourceCatalog {
  tables: ReadonlyMap<number, SourceTable>;
  publications: ReadonlyMap<string, Publication>;
  busyMs: number;
}

type TableRow = [oid: number, schema: string, name: string, kind: string, persistence: string, parent: number | null];
type PublicationRow = [
  name: string,
  all: boolean,
  viaRoot: boolean,
  operations: [boolean, boolean, boolean, boolean],
  members: [oid: number, filtered: boolean, lacks: string[] | null][] | null,
  schemas: string[] | null,
];

// Not temporary tables, which are nobody's data; and not what initdb made, wherever it lies.
const tablesSql = `
  SELECT pg_catalog.json_agg(pg_catalog.json_build_array(
           c.oid::pg_catalog.int8, n.nspname, c.relname, c.relkind, c.relpersistence, i.inhparent::pg_catalog.int8))
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid AND c.relispartition
   WHERE c.relkind IN ('r', 'p') AND c.relpersistence IN ('p', 'u') AND c.oid >= 16384 AND ${APPLICATION_SCHEMA}`;

/** The statement that reads the source, for a version; row filters, column lists and whole schemas came with 15. */
export function sourceSql(version: number): string {
  const recent = version >= 150000;
  // A generated column is computed on the other side too, and a column list need not have it.
  const lacks = `CASE WHEN r.prattrs IS NOT NULL THEN ARRAY(
                     SELECT a.attname::pg_catalog.text FROM pg_catalog.pg_attribute a
                      WHERE a.attrelid = r.prrelid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
                        AND a.attnum <> ALL (r.prattrs::pg_catalog.int2[]) ORDER BY a.attnum) END`;
  return `
  SELECT (${tablesSql}) AS tables,
         (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(p.pubname, p.puballtables, p.pubviaroot,
                   pg_catalog.json_build_array(p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate),
                   (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(r.prrelid::pg_catalog.int8,
                             ${recent ? 'r.prqual IS NOT NULL' : 'false'}, ${recent ? lacks : 'NULL'}))
                      FROM pg_catalog.pg_publication_rel r WHERE r.prpubid = p.oid),
                   ${
                     recent
                       ? `(SELECT pg_catalog.json_agg(s.nspname) FROM pg_catalog.pg_publication_namespace m
                      JOIN pg_catalog.pg_namespace s ON s.oid = m.pnnspid WHERE m.pnpubid = p.oid)`
                       : 'NULL'
                   }))
            FROM pg_catalog.pg_publication p WHERE p.pubname = ANY ($1::pg_catalog.name[])) AS publications,
         ${BUSY}`;
}

/** Reads the application tables of the source, and the publications of these names. */
export async function readSourceCatalog(conn: PgConnection, publications: readonly string[]): Promise<SourceCatalog> {
  const [row] = await conn.query<{ tables: TableRow[] | null; publications: PublicationRow[] | null; busy: number }>(
    { name: 'source catalog', text: sourceSql(conn.serverVersion) },
    [publications],
    { timeoutMs: catalogTimeoutMs },
  );
  if (row === undefined) throw new RangeError('a statement that always returns a row returned none');
  return {
    tables: new Map(
      (row.tables ?? []).map(([oid, schema, name, kind, persistence, parent]) => [
        oid,
        { oid, schema, name, partitioned: kind === 'p', unlogged: persistence === 'u', parent },
      ]),
    ),
    publications: new Map((row.publications ?? []).map((each) => [each[0], publicationOf(each)])),
    busyMs: row.busy,
  };
}

function publicationOf([name, allTables, viaRoot, sends, members, schemas]: PublicationRow): Publication {
  const [insert, update, del, truncate] = sends;
  const operations: [Operation, boolean][] = [
    ['insert', insert],
    ['update', update],
    ['delete', del],
    ['truncate', truncate],
  ];
  return {
    name,
    allTables,
    viaRoot,
    operations: new Set(operations.flatMap(([operation, on]) => (on ? [operation] : []))),
    members: new Map(
      (members ?? []).map(([oid, filtered, lacks]): [number, Membership] => [oid, { filtered, lacks: lacks ?? [] }]),
    ),
    schemas: new Set(schemas ?? []),
  };
}

// By way of pg_stat_subscription, because before 14 nobody but a superuser may read pg_subscription.oid; ids of the same
// name in other databases have no tables in this one.
const targetSql = `
  SELECT (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(s.subname, s.subpublications,
                   (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(n.nspname, c.relname, r.srsubstate))
                      FROM pg_catalog.pg_subscription_rel r JOIN pg_catalog.pg_class c ON c.oid = r.srrelid
                      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                     WHERE r.srsubid IN (SELECT v.subid FROM pg_catalog.pg_stat_subscription v
                                          WHERE v.subname = s.subname))))
            FROM pg_catalog.pg_subscription s
           WHERE s.subname = ANY ($1::pg_catalog.name[])
             AND s.subdbid = (SELECT d.oid FROM pg_catalog.pg_database d
                               WHERE d.datname = pg_catalog.current_database())) AS subscriptions,
         ${BUSY}`;

type SubscriptionRow = [name: string, publications: string[], tables: [string, string, string][] | null];

/** Reads what the subscriptions of these names know; those that do not exist are missing. */
export async function readSubscriptionTables(
  conn: PgConnection,
  names: readonly string[],
): Promise<{ subscriptions: ReadonlyMap<string, SubscriptionTables>; busyMs: number }> {
  const [row] = await conn.query<{ subscriptions: SubscriptionRow[] | null; busy: number }>(
    { name: 'target catalog', text: targetSql },
    [names],
    { timeoutMs: catalogTimeoutMs },
  );
  if (row === undefined) throw new RangeError('a statement that always returns a row returned none');
  const subscriptions = new Map<string, SubscriptionTables>();
  for (const [name, publications, tables] of row.subscriptions ?? []) {
    const known = (tables ?? []).map(([schema, table, state]) => ({ schema, name: table, state }));
    subscriptions.set(name, { publications, tables: new Map(known.map((t) => [nameKey(t.schema, t.name), t])) });
  }
  return { subscriptions, busyMs: row.busy };
}

const existingSql = `
  SELECT n.nspname AS schema, c.relname AS name
    FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.name[]), pg_catalog.unnest($2::pg_catalog.name[])) AS w (schema, name)
    JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.name AND c.relkind IN ('r', 'p')`;

/** Which of the names are tables, as `nameKey`s. */
export async function existingTables(
  conn: PgConnection,
  names: readonly { readonly schema: string; readonly name: string }[],
): Promise<ReadonlySet<string>> {
  if (names.length === 0) return new Set();
  const rows = await conn.query<{ schema: string; name: string }>(
    { name: 'existing tables', text: existingSql },
    [names.map((n) => n.schema), names.map((n) => n.name)],
    { timeoutMs: catalogTimeoutMs },
  );
  return new Set(rows.map((r) => nameKey(r.schema, r.name)));
}
