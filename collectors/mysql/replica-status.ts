import type { MysqlConnection } from './connection.js';

/** One replication channel of a replica, in one form for all servers. */
export interface ReplicaChannel {
  /** Empty for the default channel. */
  channel: string;
  sourceHost: string;
  sourcePort: number;
  /** Null where the server does not know it yet, and on MariaDB. */
  sourceUuid: string | null;
  sourceServerId: number;
  /** `Yes`, `No`, `Connecting`, … as the server writes it. */
  io: string;
  sql: string;
  ioErrno: number;
  ioError: string;
  sqlErrno: number;
  sqlError: string;
  /** Binlog coordinates on the source: read by the IO thread, executed by the SQL thread. */
  readFile: string;
  readOffset: number;
  executedFile: string;
  executedOffset: number;
  /** Seconds of a deliberate delay; 0 for none. */
  delay: number;
  /** GTIDs received (MySQL), or the position of the IO thread (MariaDB); empty without GTIDs. */
  receivedGtids: string;
  /** Whether the channel is placed by GTID. */
  byGtid: boolean;
  /** As the server shows them, `Replicate_Do_DB` and the like, empty ones left out. */
  filters: Readonly<Record<string, string>>;
}

/** A row of the status as the server sends it. */
export type StatusRow = Readonly<Record<string, string | number | null>>;

/** The statement that shows every channel: MySQL 8.0.22 renamed it, and 8.4 dropped the old name. */
export function replicaStatusSql({ version }: MysqlConnection): string {
  if (version.flavour === 'mariadb') return 'SHOW ALL SLAVES STATUS';
  return version.number >= 80_022 ? 'SHOW REPLICA STATUS' : 'SHOW SLAVE STATUS';
}

/** All channels of a server; none when it is no replica. */
export async function readChannels(connection: MysqlConnection, timeoutMs: number): Promise<ReplicaChannel[]> {
  const rows = await connection.query<StatusRow>(replicaStatusSql(connection), undefined, { timeoutMs });
  return rows.map(channelOf);
}

const FILTERS = [
  'Replicate_Do_DB',
  'Replicate_Ignore_DB',
  'Replicate_Do_Table',
  'Replicate_Ignore_Table',
  'Replicate_Wild_Do_Table',
  'Replicate_Wild_Ignore_Table',
  'Replicate_Rewrite_DB',
  'Replicate_Ignore_Server_Ids',
  'Replicate_Do_Domain_Ids',
  'Replicate_Ignore_Domain_Ids',
] as const;

/** Reads a row of either spelling (Master/Slave or Source/Replica). */
export function channelOf(row: StatusRow): ReplicaChannel {
  const text = (...names: string[]): string => {
    for (const name of names) {
      const value = row[name];
      if (value !== undefined && value !== null) return String(value);
    }
    return '';
  };
  const number = (...names: string[]): number => Number(text(...names) || 0);
  const filters: Record<string, string> = {};
  for (const name of FILTERS) if (text(name) !== '') filters[name] = text(name);
  const uuid = text('Source_UUID', 'Master_UUID');
  const usingGtid = text('Using_Gtid');
  return {
    channel: text('Channel_Name', 'Connection_name'),
    sourceHost: text('Source_Host', 'Master_Host'),
    sourcePort: number('Source_Port', 'Master_Port'),
    sourceUuid: uuid === '' ? null : uuid.toLowerCase(),
    sourceServerId: number('Source_Server_Id', 'Master_Server_Id'),
    io: text('Replica_IO_Running', 'Slave_IO_Running'),
    sql: text('Replica_SQL_Running', 'Slave_SQL_Running'),
    ioErrno: number('Last_IO_Errno'),
    ioError: text('Last_IO_Error'),
    sqlErrno: number('Last_SQL_Errno'),
    sqlError: text('Last_SQL_Error'),
    readFile: text('Source_Log_File', 'Master_Log_File'),
    readOffset: number('Read_Source_Log_Pos', 'Read_Master_Log_Pos'),
    executedFile: text('Relay_Source_Log_File', 'Relay_Master_Log_File'),
    executedOffset: number('Exec_Source_Log_Pos', 'Exec_Master_Log_Pos'),
    delay: number('SQL_Delay'),
    receivedGtids: text('Retrieved_Gtid_Set', 'Gtid_IO_Pos'),
    byGtid: usingGtid === '' ? number('Auto_Position') === 1 : usingGtid !== 'No',
    filters,
  };
}
