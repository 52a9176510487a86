import { createHash } from 'node:crypto';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { SourceError } from '../../daemon/core/errors.js';
import { placeOf } from '../session/faults.js';
import type { BinlogFile } from './binlog-distance.js';
import { COMPRESSION } from './binlog-stream.js';
import type { LogOwner } from './binlog-transactions.js';
import type { MysqlConnection } from './connection.js';
import { ownPart, type LogMoment } from './local-mark.js';
import { errnoOf } from './mysql-errors.js';
import { binlogStatusSql } from './source-position.js';

/** Besides the replicas' own, so many threads may send the binlog before lockgate's reader gives way. */
const mostDumps = 8;
/** So many connections must stay free. */
const spareConnections = 5;

/** Readers of lockgate's call themselves by ids from here on, unless told otherwise; servers seldom do. */
export const firstReaderId = 2 ** 31;

/** What a server says of its binlog before it is read. */
export interface BinlogFacts {
  readonly owner: LogOwner;
  readonly moment: LogMoment;
  readonly files: readonly BinlogFile[];
  /** Why heartbeats that replication brings cannot be seen there; null when they can. */
  readonly noHeartbeats: string | null;
  /** The log has to be asked for by coordinates: a MySQL server takes what it has applied without logging it for purged. */
  readonly byPlace: boolean;
  /** What the reader calls itself among the replicas. */
  readonly serverId: number;
}

/** Looks at a server whose binlog is to be read; rejects with a SourceError that says what is in the way and what to change. */
export async function checkBinlog(
  connection: MysqlConnection,
  db: DatabaseConfig,
  daemonId: string,
): Promise<BinlogFacts> {
  const settings = await readSettings(connection);
  const refusal = refusalIn(settings, db);
  if (refusal !== null) throw refusal;
  const burden = burdenOf(await readRoom(connection), db);
  if (burden !== null) throw burden;
  const owner = ownerIn(settings);
  const serverId = chooseServerId(db, daemonId, new Set([owner.serverId, ...(await readReplicas(connection))]));
  const moment = await readMoment(connection, owner);
  if (moment === null) throw refusalIn(new Map([['log_bin', 'OFF']]), db) ?? new RangeError('unreachable');
  const files = await connection.query<{ Log_name: string; File_size: string | number }>('SHOW BINARY LOGS');
  return {
    owner,
    moment,
    files: files.map((row) => ({ name: row.Log_name, size: Number(row.File_size) })),
    noHeartbeats: noHeartbeatsIn(settings),
    byPlace: settings.get('log_replica_updates') === 'OFF',
    serverId,
  };
}

/** Settings of a server, by their names in lower case. */
export type Settings = ReadonlyMap<string, string>;

const SETTINGS = [
  'log_bin',
  'binlog_format',
  'binlog_transaction_compression',
  'log_slave_updates',
  'log_replica_updates',
  'server_id',
  'server_uuid',
] as const;

async function readSettings(connection: MysqlConnection): Promise<Settings> {
  const rows = await connection.query<{ Variable_name: string; Value: string }>(
    `SHOW GLOBAL VARIABLES WHERE Variable_name IN (${SETTINGS.map((name) => `'${name}'`).join(', ')})`,
  );
  return new Map(rows.map((row) => [row.Variable_name.toLowerCase(), row.Value]));
}

/** Why the binlog of a server with these settings cannot be read at all; null when it can. */
export function refusalIn(settings: Settings, db: DatabaseConfig): SourceError | null {
  const where = placeOf(db);
  if (settings.get('log_bin') !== 'ON') {
    const hint = 'start the server with log_bin (and log_slave_updates or log_replica_updates) in its configuration';
    return new SourceError('binlog_off', `${where}: the server keeps no binlog`, hint);
  }
  if (settings.get('binlog_transaction_compression') === 'ON') {
    const what = `${where}: binlog_transaction_compression is ON, and compressed transactions cannot be read`;
    return new SourceError('binlog_compressed', what, COMPRESSION);
  }
  return null;
}

/** Why heartbeats that replication brings cannot be seen in a binlog with these settings; null when they can. */
export function noHeartbeatsIn(settings: Settings): string | null {
  const name = settings.has('log_replica_updates') ? 'log_replica_updates' : 'log_slave_updates';
  if (settings.get(name) === 'OFF') {
    return (
      `${name} is OFF, so what replication applies is not in the binlog; ` +
      `set ${name} = ON in the server's configuration and start it again`
    );
  }
  const format = settings.get('binlog_format');
  if (format !== undefined && format !== 'ROW') {
    return (
      `binlog_format is ${format}, so heartbeats may be logged as statements; ` +
      'SET GLOBAL binlog_format = ROW here and on the source, and in their configuration'
    );
  }
  return null;
}

function ownerIn(settings: Settings): LogOwner {
  return {
    serverId: Number(settings.get('server_id')),
    uuid: settings.get('server_uuid')?.toLowerCase() ?? null,
  };
}

/** What a server has left. */
export interface Room {
  readonly dumps: number;
  readonly freeConnections: number;
}

async function readRoom(connection: MysqlConnection): Promise<Room> {
  const [row] = await connection.query<{ dumps: string | number; room: string | number }>(
    `SELECT COUNT(IF(COMMAND IN ('Binlog Dump', 'Binlog Dump GTID'), 1, NULL)) AS dumps,
        @@GLOBAL.max_connections - COUNT(*) AS room
      FROM information_schema.PROCESSLIST`,
  );
  return { dumps: Number(row?.dumps ?? 0), freeConnections: Number(row?.room ?? 0) };
}

/** Why one more reader would be a burden for the server; null when it would not. */
export function burdenOf({ dumps, freeConnections }: Room, db: DatabaseConfig): SourceError | null {
  const hint = 'end readers of the binlog that nobody needs, or set `read: off`; it is tried again after a rest';
  if (dumps >= mostDumps) {
    return new SourceError(
      'binlog_many_readers',
      `${placeOf(db)}: ${dumps} readers of its binlog are there already`,
      hint,
    );
  }
  if (freeConnections >= spareConnections) return null;
  const what = `${placeOf(db)}: fewer than ${spareConnections} connections are left`;
  return new SourceError('binlog_few_connections', what, 'raise max_connections, or free connections');
}

/** Ids of the replicas that have registered; none where the privilege to see them is missing. */
export async function readReplicas(connection: MysqlConnection): Promise<number[]> {
  const { flavour, number } = connection.version;
  const sql = flavour === 'mysql' && number >= 80_022 ? 'SHOW REPLICAS' : 'SHOW SLAVE HOSTS';
  try {
    const rows = await connection.query<{ Server_Id?: string | number; Server_id?: string | number }>(sql);
    return rows.map((row) => Number(row.Server_Id ?? row.Server_id));
  } catch (error) {
    if (errnoOf(error) === 1227) return [];
    throw error;
  }
}

/**
 * The id that the reader of a database shows to the server: the configured one, or one made from the daemon's id and the
 * database's name, from 2^31 on, where servers seldom have theirs. A server id that is taken would put a replica out, so a
 * derived one steps aside, and for a configured one a SourceError is thrown.
 */
export function chooseServerId(db: DatabaseConfig, daemonId: string, taken: ReadonlySet<number>): number {
  const configured = db.serverId ?? null;
  if (configured !== null) {
    if (!taken.has(configured)) return configured;
    throw new SourceError(
      'binlog_server_id',
      `${placeOf(db)}: \`server_id: ${configured}\` is that of the server or of one of its replicas`,
      `give databases.${db.name} a server_id of its own, or leave it out`,
    );
  }
  const span = 2 ** 31 - 1;
  let n = digest(daemonId, db).readUInt32BE(0) % span;
  while (taken.has(firstReaderId + n)) n = (n + 1) % span;
  return firstReaderId + n;
}

/** The UUID that the reader shows to a MySQL server, which is the same at each connection. */
export function replicaUuid(db: DatabaseConfig, daemonId: string): string {
  const hex = digest(daemonId, db).toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join('-');
}

function digest(daemonId: string, db: DatabaseConfig): Buffer {
  return createHash('sha256')
    .update(JSON.stringify(['lockgate binlog', daemonId, db.name]))
    .digest();
}

/** The server's log at this moment; null when it keeps none. */
export async function readMoment(connection: MysqlConnection, owner?: LogOwner): Promise<LogMoment | null> {
  const [row] = await connection.query<{ executed: string; state: string; id: string | number; uuid: string | null }>(
    positionsSql(connection.version.flavour === 'mariadb'),
  );
  const [head] = await connection.query<{ File: string; Position: string | number }>(binlogStatusSql(connection));
  if (row === undefined || head === undefined) return null;
  const { executed, state } = row;
  const who = owner ?? { serverId: Number(row.id), uuid: row.uuid?.toLowerCase() ?? null };
  const own = ownPart(executed, state, who);
  return { home: connection.home, executed, state, own, file: head.File, offset: Number(head.Position) };
}

/** Asks what a server has executed, in its own words, and who it is. */
export function positionsSql(mariadb: boolean): string {
  return mariadb
    ? `SELECT @@GLOBAL.gtid_binlog_pos AS executed, @@GLOBAL.gtid_binlog_state AS state, @@GLOBAL.server_id AS id,
        NULL AS uuid`
    : // In the permissive modes some transactions have no GTID, and a set says nothing of them.
      `SELECT IF(@@GLOBAL.gtid_mode = 'ON', REPLACE(@@GLOBAL.gtid_executed, '\\n', ''), '') AS executed, '' AS state,
        @@GLOBAL.server_id AS id, @@GLOBAL.server_uuid AS uuid`;
}
