import type { DatabaseConfig } from '../../daemon/core/config.js';
import type { TableSelection } from '../../daemon/core/table-pattern.js';
import type { CollectorContext } from '../collector.js';
import { CatalogWatch, catalogSession, catalogTimeoutMs, type CatalogQuestion } from '../session/catalog-watch.js';
import { LazySession } from '../session/lazy-session.js';
import { connect, quoteLiteral, type MysqlConnection } from './connection.js';
import { reopening } from './reopen.js';

/**
 * What information_schema says of tables. It hides whatever a user has no privilege on, without a word; REFERENCES is the
 * least that shows every table, column and counter on both flavours, and alone it lets nobody read a row or change
 * anything (SHOW VIEW, TRIGGER and INDEX hide the columns, SHOW DATABASES and PROCESS hide the tables).
 */

/** A table or sequence of the application. */
export interface CatalogTable {
  readonly schema: string;
  readonly name: string;
  /** A MariaDB sequence is a table of its own kind. */
  readonly sequence: boolean;
  /** Null when the server cannot open the table. */
  readonly engine: string | null;
  /** What an insert would be given next; null without such a column. */
  readonly autoIncrement: bigint | null;
}

/** What a user is shown. */
export interface Sight {
  readonly everything: boolean;
  /** Databases of which everything is shown. */
  readonly schemas: ReadonlySet<string>;
}

/** A name that no other can be mistaken for. */
export function nameKey(schema: string, name: string): string {
  return JSON.stringify([schema, name]);
}

/** Asks a question about the catalogs of two MySQL servers again and again. */
export function catalogWatch(
  question: CatalogQuestion<MysqlConnection>,
  context: CollectorContext,
): CatalogWatch<MysqlConnection> {
  const [first, second] = question.databases;
  const sessions = [
    catalogSessions(first, context, question.purpose),
    catalogSessions(second, context, question.purpose),
  ] as const;
  return new CatalogWatch(question, sessions, context);
}

/** Sessions for catalogs: long lists, and counters as they are now instead of a day ago. */
function catalogSessions(db: DatabaseConfig, context: CollectorContext, purpose: string): LazySession<MysqlConnection> {
  const applicationName = `lockgate/${context.daemonId}/${purpose}`;
  const open = async (signal: AbortSignal): Promise<MysqlConnection> => {
    const connection = await connect(db, { applicationName, ...catalogSession }, signal);
    try {
      const fresh = connection.version.flavour === 'mysql' ? ', information_schema_stats_expiry = 0' : '';
      await connection.execute(`SET SESSION group_concat_max_len = 1048576${fresh}`);
      return connection;
    } catch (error) {
      await connection.close();
      throw error;
    }
  };
  return new LazySession(reopening(open), context.clock);
}

/** How long the server worked for a statement, in ms. */
const BUSY = `TIMESTAMPDIFF(MICROSECOND, NOW(6), SYSDATE(6)) / 1000 AS busy`;
/** Databases that hold no table of an application: the server's own, and lockgate's. */
export const APPLICATION = `TABLE_SCHEMA NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema', 'lockgate')`;

interface TableRow {
  s: string;
  t: string;
  type: string;
  engine: string | null;
  next: string | number | null;
  busy: string | number;
}

/** All tables and sequences of the application; `counters` asks for AUTO_INCREMENT, for which the server opens each table. */
export async function readTables(
  connection: MysqlConnection,
  counters: boolean,
): Promise<{ tables: CatalogTable[]; busyMs: number }> {
  const rows = await connection.query<TableRow>(
    `SELECT TABLE_SCHEMA AS s, TABLE_NAME AS t, TABLE_TYPE AS type, ENGINE AS engine,
        ${counters ? 'AUTO_INCREMENT' : 'NULL'} AS next, ${BUSY}
      FROM information_schema.TABLES
      WHERE TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED', 'SEQUENCE') AND ${APPLICATION}`,
    undefined,
    { timeoutMs: catalogTimeoutMs },
  );
  const tables = rows.map((row) => ({
    schema: row.s,
    name: row.t,
    sequence: row.type === 'SEQUENCE',
    engine: row.engine,
    autoIncrement: row.next === null ? null : BigInt(row.next),
  }));
  return { tables, busyMs: longest(rows) };
}

/** Names of the columns of every table of the application, in their order and in lower case, by `nameKey`. */
export async function readColumns(
  connection: MysqlConnection,
): Promise<{ columns: Map<string, readonly string[]>; busyMs: number }> {
  const rows = await connection.query<{ s: string; t: string; names: string; busy: string | number }>(
    String.raw`SELECT TABLE_SCHEMA AS s, TABLE_NAME AS t,
        GROUP_CONCAT(COLUMN_NAME ORDER BY ORDINAL_POSITION SEPARATOR '\n') AS names, ${BUSY}
      FROM information_schema.COLUMNS WHERE ${APPLICATION} GROUP BY TABLE_SCHEMA, TABLE_NAME`,
    undefined,
    { timeoutMs: catalogTimeoutMs },
  );
  const columns = new Map(rows.map((row) => [nameKey(row.s, row.t), row.names.toLowerCase().split('\n')] as const));
  return { columns, busyMs: longest(rows) };
}

/** Which of some tables there are, by `nameKey`. */
export async function existingTables(
  connection: MysqlConnection,
  wanted: readonly { readonly schema: string; readonly name: string }[],
): Promise<ReadonlySet<string>> {
  if (wanted.length === 0) return new Set();
  const list = wanted.map(({ schema, name }) => `(${quoteLiteral(schema)}, ${quoteLiteral(name)})`).join(', ');
  const rows = await connection.query<{ s: string; t: string }>(
    `SELECT TABLE_SCHEMA AS s, TABLE_NAME AS t FROM information_schema.TABLES WHERE (TABLE_SCHEMA, TABLE_NAME) IN (${list})`,
    undefined,
    { timeoutMs: catalogTimeoutMs },
  );
  return new Set(rows.map((row) => nameKey(row.s, row.t)));
}

function longest(rows: readonly { readonly busy: string | number }[]): number {
  return rows.reduce((most, { busy }) => Math.max(most, Number(busy)), 0);
}

/** Any of these on a table shows it with its columns. */
const SHOWING = `PRIVILEGE_TYPE IN ('REFERENCES', 'SELECT')`;

/** What the session's user is shown; to be asked after the tables, for a privilege may be taken away meanwhile. */
export async function readSight(connection: MysqlConnection): Promise<Sight> {
  const rows = await connection.query<{ s: string | null }>(
    `SELECT NULL AS s FROM information_schema.USER_PRIVILEGES WHERE ${SHOWING}
      UNION SELECT TABLE_SCHEMA FROM information_schema.SCHEMA_PRIVILEGES WHERE ${SHOWING}`,
    undefined,
    { timeoutMs: catalogTimeoutMs },
  );
  const everywhere = rows.some(({ s }) => s === null);
  const schemas = new Set(
    rows.flatMap(({ s }) => {
      // Unescaped, these two stand for other names too, of which it is not plain what is shown.
      if (s === null || /(?<!\\)[%_]/.test(s)) return [];
      return [s.replaceAll(/\\([%_])/g, '$1')];
    }),
  );
  return { everything: everywhere && !(await isRestricted(connection)), schemas };
}

/** Whether a privilege on everything has been taken back for some database (MySQL's partial revokes). */
async function isRestricted(connection: MysqlConnection): Promise<boolean> {
  if (connection.version.flavour !== 'mysql' || connection.version.number < 80_016) return false;
  const rows = await connection.query<Record<string, string>>('SHOW GRANTS', undefined, {
    timeoutMs: catalogTimeoutMs,
  });
  return rows.some((row) => /^REVOKE .*\b(REFERENCES|SELECT)\b/.test(Object.values(row)[0] ?? ''));
}

/** Why not every table that is meant can be seen, with the grant that mends it; null when all can. */
export function whyHidden(db: DatabaseConfig, sight: Sight, selection: TableSelection | null): string | null {
  if (sight.everything) return null;
  const include = selection?.include ?? ['*.*'];
  const shown = include.every((pattern) => {
    const schema = /^([^".*\s]+)\./.exec(pattern)?.[1];
    return schema !== undefined && sight.schemas.has(schema);
  });
  if (shown) return null;
  return (
    `${db.name} hides tables from a user without a privilege on them, so that nobody knows how many there are: ` +
    `GRANT REFERENCES ON *.* TO '${db.address.user}'@'…' (alone it lets nobody read or change anything)`
  );
}
