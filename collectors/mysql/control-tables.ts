/** DMS's control tables on a MySQL or MariaDB server; whatever database the task was told to make them in. */
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
import { connect, quoteIdent, type MysqlConnection } from './connection.js';
import { errnoOf } from './mysql-errors.js';
import { reopening } from './reopen.js';

interface TableRow {
  owner: string;
  name: string;
  made: string | null;
}

const find = (
  names: readonly string[],
): string => `SELECT table_schema AS owner, table_name AS name, create_time AS made FROM information_schema.tables
  WHERE lower(table_name) IN (${names.map((n) => `'${n}'`).join(', ')}) AND table_type = 'BASE TABLE' ORDER BY 1, 2`;
/** Of the table or of its columns. */
const NO_PRIVILEGE: ReadonlySet<number | null> = new Set([1142, 1143]);
/** Where DMS makes them on MySQL unless the task's ControlSchema says otherwise. */
const USUAL = 'awsdms_control';

/** What the control tables say; nothing of their rows is read, because they hold statements. */
export async function readControlTables(connection: MysqlConnection, db: DatabaseConfig): Promise<ControlSight> {
  const grantOn = (owner: string): string => `GRANT SELECT ON ${quoteIdent(owner)}.* TO '${db.address.user}'@'…'`;
  const tables: ControlTable[] = [];
  for (const { owner, name, made } of await connection.query<TableRow>(find([EXCEPTIONS, SUSPENDED]))) {
    const kind = name.toLowerCase() === EXCEPTIONS ? EXCEPTIONS : SUSPENDED;
    const table = { name: `${owner}.${name}`, kind, identity: `${owner}.${name} ${made ?? ''}` } as const;
    const text = `SELECT count(*) AS found FROM (SELECT 1 FROM ${quoteIdent(owner)}.${quoteIdent(name)} LIMIT ${MOST_ROWS + 1}) AS counted`;
    try {
      const [row] = await connection.query<{ found: string | number }>(text);
      if (row !== undefined) tables.push({ ...table, rows: Number(row.found) });
    } catch (error) {
      if (!NO_PRIVILEGE.has(errnoOf(error))) throw error;
      tables.push({ ...table, rows: { fault: `${table.name} may not be read on ${db.name}: ${grantOn(owner)}` } });
    }
  }
  const missing =
    `no table ${EXCEPTIONS} is to be seen on ${db.name}: DMS makes it when a task with changes begins, ` +
    `and without a privilege on it the server hides it: ${grantOn(USUAL)}, or on the task's ControlSchema`;
  return { tables, missing };
}

/** What DMS has written of its tasks there; without a privilege on it the server hides the table. */
export async function readTaskStatus(connection: MysqlConnection, db: DatabaseConfig): Promise<StatusTable[]> {
  const tables: StatusTable[] = [];
  for (const { owner, name } of await connection.query<TableRow>(find([STATUS]))) {
    const text = `SELECT * FROM ${quoteIdent(owner)}.${quoteIdent(name)} LIMIT ${MOST_STATUS_ROWS}`;
    try {
      tables.push({ name: `${owner}.${name}`, rows: await connection.query<Record<string, unknown>>(text) });
    } catch (error) {
      if (!NO_PRIVILEGE.has(errnoOf(error))) throw error;
      const grant = `GRANT SELECT ON ${quoteIdent(owner)}.* TO '${db.address.user}'@'…'`;
      tables.push({
        name: `${owner}.${name}`,
        rows: { fault: `${owner}.${name} may not be read on ${db.name}: ${grant}` },
      });
    }
  }
  return tables;
}

/** Watches the control tables on every server that a link by DMS ends at. */
export function controlTables(
  databases: readonly DatabaseConfig[],
  links: readonly LinkPlan[],
  context: CollectorContext,
  intervalMs = CONTROL_INTERVAL_MS,
): ControlTablesWatch<MysqlConnection>[] {
  const opening = (db: DatabaseConfig, applicationName: string): Open<MysqlConnection> =>
    reopening((signal) => connect(db, { applicationName, ...catalogSession }, signal));
  return watchControlTables(databases, links, context, opening, readControlTables, intervalMs);
}
