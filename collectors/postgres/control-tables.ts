/** DMS's control tables in a PostgreSQL database; whatever schema the task was told to make them in. */
import type { DatabaseConfig } from '../../daemon/core/config.js';
import type { CollectorContext, LinkPlan } from '../collector.js';
import { catalogSession } from '../session/catalog-watch.js';
import {
  CONTROL_INTERVAL_MS,
  EXCEPTIONS,
  MOST_ROWS,
  MOST_STATUS_ROWS,
  STATUS,
  SUSPENDED,
  watchControlTables,
  type ControlSight,
  type ControlTable,
  type ControlTablesWatch,
  type StatusTable,
} from '../session/control-tables.js';
import type { Open } from '../session/session.js';
import { connect, quoteIdent, type PgConnection } from './connection.js';

interface TableRow {
  id: string;
  schema: string;
  name: string;
  usable: boolean;
  readable: boolean;
  filtered: boolean;
}

const find = (names: readonly string[]): string => `SELECT c.oid::text AS id, n.nspname AS schema, c.relname AS name,
    has_schema_privilege(n.oid, 'USAGE') AS usable, has_table_privilege(c.oid, 'SELECT') AS readable,
    row_security_active(c.oid) AS filtered
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p') AND lower(c.relname) IN (${names.map((n) => `'${n}'`).join(', ')}) ORDER BY 2, 3`;

/** What the control tables say; nothing of their rows is read, because they hold statements. */
export async function readControlTables(connection: PgConnection, db: DatabaseConfig): Promise<ControlSight> {
  const tables: ControlTable[] = [];
  for (const { id, schema, name, usable, readable, filtered } of await connection.query<TableRow>(
    find([EXCEPTIONS, SUSPENDED]),
  )) {
    const table = `${quoteIdent(schema)}.${quoteIdent(name)}`;
    const kind = name.toLowerCase() === EXCEPTIONS ? EXCEPTIONS : SUSPENDED;
    const made = { name: `${schema}.${name}`, kind, identity: id } as const;
    if (!usable || !readable) {
      tables.push({ ...made, rows: { fault: forbidden({ schema, name, usable, readable }, db) } });
    } else if (filtered) {
      tables.push({ ...made, rows: { fault: `row security hides rows of ${made.name} on ${db.name}` } });
    } else {
      const text = `SELECT count(*)::int AS rows FROM (SELECT 1 FROM ${table} LIMIT ${MOST_ROWS + 1}) AS counted`;
      const [row] = await connection.query<{ rows: number }>(text);
      if (row !== undefined) tables.push({ ...made, rows: row.rows });
    }
  }
  return {
    tables,
    missing: `there is no table ${EXCEPTIONS} on ${db.name}: DMS makes it when a task with changes begins`,
  };
}

function forbidden(
  { schema, name, usable, readable }: Pick<TableRow, 'schema' | 'name' | 'usable' | 'readable'>,
  db: DatabaseConfig,
): string {
  const user = quoteIdent(db.address.user);
  const grants = [
    ...(usable ? [] : [`GRANT USAGE ON SCHEMA ${quoteIdent(schema)} TO ${user}`]),
    ...(readable ? [] : [`GRANT SELECT ON ${quoteIdent(schema)}.${quoteIdent(name)} TO ${user}`]),
  ];
  return `${schema}.${name} may not be read on ${db.name}: ${grants.join('; ')}`;
}

/** What DMS has written of its tasks there. */
export async function readTaskStatus(connection: PgConnection, db: DatabaseConfig): Promise<StatusTable[]> {
  const tables: StatusTable[] = [];
  for (const table of await connection.query<TableRow>(find([STATUS]))) {
    const name = `${table.schema}.${table.name}`;
    if (!table.usable || !table.readable) {
      tables.push({ name, rows: { fault: forbidden(table, db) } });
      continue;
    }
    const text = `SELECT * FROM ${quoteIdent(table.schema)}.${quoteIdent(table.name)} LIMIT ${MOST_STATUS_ROWS}`;
    tables.push({ name, rows: await connection.query<Record<string, unknown>>(text) });
  }
  return tables;
}

/** Watches the control tables on every database that a link by DMS ends at. */
export function controlTables(
  databases: readonly DatabaseConfig[],
  links: readonly LinkPlan[],
  context: CollectorContext,
  intervalMs = CONTROL_INTERVAL_MS,
): ControlTablesWatch<PgConnection>[] {
  const opening = (db: DatabaseConfig, applicationName: string): Open<PgConnection> => {
    return (signal) => connect(db, { applicationName, ...catalogSession }, signal);
  };
  return watchControlTables(databases, links, context, opening, readControlTables, intervalMs);
}
