import type { MysqlConnection } from './connection.js';

/**
 * When the server was started, by its own clock: the same for all of one life of the server, however its clock is set,
 * because the server counts its uptime by that clock too.
 */
export async function readStart(connection: MysqlConnection, timeoutMs: number): Promise<string> {
  const status =
    connection.version.flavour === 'mariadb' ? 'information_schema.GLOBAL_STATUS' : 'performance_schema.global_status';
  const [row] = await connection.query<{ now: string | number; uptime: string }>(
    `SELECT UNIX_TIMESTAMP() AS now, VARIABLE_VALUE AS uptime FROM ${status} WHERE VARIABLE_NAME = 'Uptime'`,
    undefined,
    { timeoutMs },
  );
  return row === undefined ? '' : startOf(String(row.now), row.uptime);
}

/** Seconds since 1970; an uptime below zero, as after the clock was set back, is shown as 64 bits without a sign. */
export function startOf(now: string, uptime: string): string {
  return String(BigInt.asIntN(64, BigInt(now) - BigInt(uptime)));
}
