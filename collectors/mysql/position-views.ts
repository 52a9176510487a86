import type { GtidSet } from '../../daemon/core/gtid.js';
import type { Position } from '../../daemon/core/position.js';
import type { BinlogFile } from './binlog-distance.js';
import type { MysqlConnection } from './connection.js';
import { readChannels, type ReplicaChannel } from './replica-status.js';
import { parseGtids, readBinlogHead, readPosition, type BinlogHead } from './source-position.js';

/** How replicas name a server. */
export interface ServerIdentity {
  /** `server_uuid`; null on MariaDB, which has none. */
  readonly uuid: string | null;
  readonly serverId: number;
}

/** What the source says of its log in one look. */
export interface SourceFacts {
  identity: ServerIdentity;
  position: Position | null;
  /** The set, where the position is one. */
  gtids: GtidSet | null;
  head: BinlogHead | null;
  /** In their order. */
  files: readonly BinlogFile[];
}

/** What the target says of its replication in one look. */
export interface TargetFacts {
  identity: ServerIdentity;
  channels: readonly ReplicaChannel[];
  /** Everything that was executed there by replication; null without GTIDs. */
  executed: GtidSet | null;
}

/**
 * Looks at the source once. The list of its files, which on a server with thousands of them is not for nothing, is asked
 * for only when the last of `known` is not the file that is written to now: the others do not change any more.
 */
export async function readSource(
  connection: MysqlConnection,
  timeoutMs: number,
  known: readonly BinlogFile[] = [],
): Promise<SourceFacts> {
  // The position first: whatever it holds lies before the head that is read after it.
  const position = await readPosition(connection, timeoutMs);
  const identity = await readIdentity(connection, timeoutMs);
  const head = position === null ? null : await readBinlogHead(connection, timeoutMs);
  const files = head === null ? [] : known.at(-1)?.name === head.file ? known : await readFiles(connection, timeoutMs);
  return {
    identity,
    position,
    gtids: position?.kind === 'gtid' ? position.set : null,
    head,
    files,
  };
}

async function readFiles(connection: MysqlConnection, timeoutMs: number): Promise<BinlogFile[]> {
  const rows = await connection.query<{ Log_name: string; File_size: string | number }>('SHOW BINARY LOGS', undefined, {
    timeoutMs,
  });
  return rows.map((row) => ({ name: row.Log_name, size: Number(row.File_size) }));
}

/** Looks at the target once. */
export async function readTarget(connection: MysqlConnection, timeoutMs: number): Promise<TargetFacts> {
  const mariadb = connection.version.flavour === 'mariadb';
  // The channels before the set, so that what a channel has executed is in it.
  const channels = await readChannels(connection, timeoutMs);
  const [row] = await connection.query<{ gtids: string; mode: string }>(
    mariadb
      ? "SELECT @@GLOBAL.gtid_slave_pos AS gtids, 'ON' AS mode"
      : 'SELECT @@GLOBAL.gtid_executed AS gtids, @@GLOBAL.gtid_mode AS mode',
    undefined,
    { timeoutMs },
  );
  return {
    identity: await readIdentity(connection, timeoutMs),
    channels,
    executed: row === undefined || row.mode === 'OFF' ? null : parseGtids(connection, row.gtids),
  };
}

/** Who a server is to its replicas. */
export async function readIdentity(connection: MysqlConnection, timeoutMs: number): Promise<ServerIdentity> {
  const uuid = connection.version.flavour === 'mariadb' ? 'NULL' : '@@GLOBAL.server_uuid';
  const [row] = await connection.query<{ id: string | number; uuid: string | null }>(
    `SELECT @@GLOBAL.server_id AS id, ${uuid} AS uuid`,
    undefined,
    { timeoutMs },
  );
  return { uuid: row?.uuid?.toLowerCase() ?? null, serverId: Number(row?.id) };
}
