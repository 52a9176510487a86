import type { MysqlConnection } from './connection.js';

/**
 * When the server was started, by its own clock: the same for all of one life of the server, however its clock is set,
 * because the server counts its uptime by that clock too.
 */
export async function readStart(connection: MysqlConnection, timeoutMs: number): Promise<string> {
  const status =
    connection.version.flavour === 'mariadb' ? 'information_schema.GLOBAL_STATUS' : 'performance_schema.global_status';
  const [row] = await connection.query<{ started: string | number }>(
    `SELECT CAST(UNIX_TIMESTAMP() - VARIABLE_VALUE AS SIGNED) AS started FROM ${status} WHERE VARIABLE_NAME = 'Uptime'`,
    undefined,
    { timeoutMs },
  );
  return String(row?.started ?? '');
}
