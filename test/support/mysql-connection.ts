/** Connections of tests to MariaDB and MySQL: every wait has an end, numbers and times arrive as the server spells them. */
import mysql from 'mysql2/promise';
import type { MysqlServer } from '../../deploy/demo/mysql-server.js';

/** A row of an answer, by column. */
export type MysqlRow = Record<string, unknown>;

/** Runs a statement and returns its rows; of several statements, those of the last that has rows. */
export type MysqlQuery = <R extends object = MysqlRow>(sql: string, values?: unknown[]) => Promise<R[]>;

const connectTimeoutMs = 5_000;
/** Long enough for a huge bulk(), short enough for a hung server not to hang the run. */
const queryTimeoutMs = 120_000;

function options(url: string): mysql.PoolOptions {
  return {
    uri: url,
    connectTimeout: connectTimeoutMs,
    multipleStatements: true,
    supportBigNumbers: true,
    bigNumberStrings: true,
    dateStrings: true,
    timezone: 'Z',
    charset: 'utf8mb4',
  };
}

/** A pool as root of a server; connections that die are replaced by the next query. */
export function rootPool(server: MysqlServer, database: string): { query: MysqlQuery; end(): Promise<void> } {
  const pool = mysql.createPool({ ...options(server.adminUrl(database)), connectionLimit: 4 });
  return {
    query: async <R extends object>(sql: string, values: unknown[] = []) => {
      const [answer] = await pool.query<mysql.RowDataPacket[]>({ sql, values, timeout: queryTimeoutMs });
      return rowsOf<R>(answer);
    },
    end: () => pool.end(),
  };
}

/** A connection as root with a transaction or a lock of its own. */
export interface RootConnection {
  readonly query: MysqlQuery;
  /** Closes it at once; the server ends what it held. */
  destroy(): void;
}

/** Connects as root. */
export async function rootConnection(
  server: MysqlServer,
  database: string,
  timeoutMs = queryTimeoutMs,
): Promise<RootConnection> {
  const connection = await mysql.createConnection({
    ...options(server.adminUrl(database)),
    connectTimeout: Math.min(connectTimeoutMs, timeoutMs),
  });
  connection.on('error', () => undefined); // servers are killed here on purpose; the next query says so
  return {
    query: async <R extends object>(sql: string, values: unknown[] = []) => {
      const [answer] = await connection.query<mysql.RowDataPacket[]>({ sql, values, timeout: timeoutMs });
      return rowsOf<R>(answer);
    },
    destroy: () => connection.destroy(),
  };
}

function rowsOf<R>(answer: unknown): R[] {
  if (!Array.isArray(answer)) return []; // a statement without rows
  const lists: unknown[] = answer;
  if (!lists.some((each) => Array.isArray(each) || isHeader(each))) return lists as R[];
  const last = lists.findLast((each) => Array.isArray(each));
  return (last ?? []) as R[];
}

/** What the driver returns for a statement without rows. */
function isHeader(each: unknown): boolean {
  return typeof each === 'object' && each !== null && each.constructor.name === 'ResultSetHeader';
}
