import { parseMariadbGtidSet, parseMysqlGtidSet, type GtidSet } from '../../daemon/core/gtid.js';
import type { Position } from '../../daemon/core/position.js';
import type { MysqlConnection } from './connection.js';

/** The binlog of a server at one moment. */
export interface BinlogHead {
  file: string;
  offset: number;
}

/** Parses a set in the flavour of the server that said it. */
export function parseGtids(connection: MysqlConnection, text: string): GtidSet {
  return connection.version.flavour === 'mariadb' ? parseMariadbGtidSet(text) : parseMysqlGtidSet(text);
}

/** The statement that tells where the binlog ends; MySQL 8.2 renamed it, and 8.4 dropped the old name. */
export function binlogStatusSql({ version }: MysqlConnection): string {
  if (version.flavour === 'mariadb') return 'SHOW MASTER STATUS';
  return version.number >= 80_200 ? 'SHOW BINARY LOG STATUS' : 'SHOW MASTER STATUS';
}

/** Where the server's binlog ends; null when it keeps none. */
export async function readBinlogHead(connection: MysqlConnection, timeoutMs: number): Promise<BinlogHead | null> {
  const [row] = await connection.query<{ File: string; Position: string | number }>(
    binlogStatusSql(connection),
    undefined,
    { timeoutMs },
  );
  return row === undefined ? null : { file: row.File, offset: Number(row.Position) };
}

/**
 * The position after all that the server has committed by now: its GTID set, or its binlog coordinates where it gives no
 * GTIDs; null when it keeps no binlog, so that nothing is replicated from it.
 */
export async function readPosition(connection: MysqlConnection, timeoutMs: number): Promise<Position | null> {
  const mariadb = connection.version.flavour === 'mariadb';
  const [row] = await connection.query<{ gtids: string; mode: string; log_bin: string | number }>(
    mariadb
      ? "SELECT @@GLOBAL.gtid_binlog_pos AS gtids, 'ON' AS mode, @@GLOBAL.log_bin AS log_bin"
      : 'SELECT @@GLOBAL.gtid_executed AS gtids, @@GLOBAL.gtid_mode AS mode, @@GLOBAL.log_bin AS log_bin',
    undefined,
    { timeoutMs },
  );
  if (row === undefined || Number(row.log_bin) !== 1) return null;
  // In the permissive modes some transactions have no GTID, and a set says nothing of them.
  if (row.mode === 'ON') return { kind: 'gtid', set: parseGtids(connection, row.gtids) };
  const head = await readBinlogHead(connection, timeoutMs);
  return head === null ? null : { kind: 'binlog', server: connection.home, ...head };
}

/**
 * The same for a fence, which no transaction may slip under. Outside of strict mode MariaDB's position names the newest
 * transaction of each domain, whose number may be lower than that of an older one by another server; how far the domain
 * has got is in the state of the binlog.
 */
export async function readFencePosition(connection: MysqlConnection, timeoutMs: number): Promise<Position | null> {
  if (connection.version.flavour === 'mysql') return readPosition(connection, timeoutMs);
  const [row] = await connection.query<{ gtids: string; log_bin: string | number }>(
    'SELECT @@GLOBAL.gtid_binlog_state AS gtids, @@GLOBAL.log_bin AS log_bin',
    undefined,
    { timeoutMs },
  );
  if (row === undefined || Number(row.log_bin) !== 1) return null;
  return { kind: 'gtid', set: parseGtids(connection, row.gtids) };
}
