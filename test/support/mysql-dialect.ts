/** The words of replication in each flavour of MySQL. */
import type { Flavour } from '../../deploy/demo/mysql-install.js';

/** Where replication starts in the source's binary log, when not by GTID. */
export interface BinlogPosition {
  readonly file: string;
  readonly position: number;
}

/** What a replica needs to know of its source. */
export interface SourceAddress {
  readonly port: number;
  readonly user: string;
  readonly password: string;
  /** `gtid`: the replica says what it has; otherwise where to begin. */
  readonly from: 'gtid' | BinlogPosition;
}

/** Statements about one channel of a replica. */
export interface ReplicaWords {
  readonly stop: string;
  readonly start: string;
  readonly stopSql: string;
  readonly startSql: string;
  readonly stopIo: string;
  readonly startIo: string;
  readonly status: string;
  /** Makes the server forget its source and what it has not applied yet. */
  readonly forget: string;
  /** Makes the server a replica of this source; does not start it. */
  become(address: SourceAddress): string;
  /** Applies changes so many seconds late; the applier must be stopped. */
  delay(seconds: number): string;
  /** Leaves tables out, an empty list none; the applier must be stopped. */
  ignore(tables: readonly string[]): string;
}

/** Returns the statements of a flavour for a channel; '' is the one without a name. */
export function replicaWords(flavour: Flavour, channel = ''): ReplicaWords {
  return flavour === 'mysql' ? mysqlWords(channel) : mariadbWords(channel);
}

/** Statements of a source, by flavour. */
export function sourceStatus(flavour: Flavour): string {
  return flavour === 'mysql' ? 'show binary log status' : 'show master status';
}

/** Empties the binary log and, in MySQL, the set of executed GTIDs. */
export function resetBinlogs(flavour: Flavour): string {
  return flavour === 'mysql' ? 'reset binary logs and gtids' : 'reset master';
}

function mysqlWords(channel: string): ReplicaWords {
  const to = ` for channel '${channel}'`;
  return {
    stop: `stop replica${to}`,
    start: `start replica${to}`,
    stopSql: `stop replica sql_thread${to}`,
    startSql: `start replica sql_thread${to}`,
    stopIo: `stop replica io_thread${to}`,
    startIo: `start replica io_thread${to}`,
    status: `show replica status${to}`,
    forget: `reset replica all${to}`,
    become({ port, user, password, from }) {
      const begin =
        from === 'gtid'
          ? 'source_auto_position = 1'
          : `source_auto_position = 0, source_log_file = '${from.file}', source_log_pos = ${from.position}`;
      // By default 10 attempts a minute apart, and then the receiver stops for good.
      const retry = 'source_connect_retry = 1, source_retry_count = 86400, get_source_public_key = 1';
      return `change replication source to source_host = '127.0.0.1', source_port = ${port}, source_user = '${user}',
        source_password = '${password}', ${begin}, ${retry}${to}`;
    },
    delay: (seconds) => `change replication source to source_delay = ${seconds}${to}`,
    ignore: (tables) => `change replication filter replicate_ignore_table = (${tables.join(', ')})${to}`,
  };
}

function mariadbWords(channel: string): ReplicaWords {
  // Of this session: every statement below is about this connection then.
  const on = `set session default_master_connection = '${channel}'; `;
  return {
    stop: `${on}stop slave`,
    start: `${on}start slave`,
    stopSql: `${on}stop slave sql_thread`,
    startSql: `${on}start slave sql_thread`,
    stopIo: `${on}stop slave io_thread`,
    startIo: `${on}start slave io_thread`,
    status: `show slave '${channel}' status`,
    forget: `${on}reset slave all`,
    become({ port, user, password, from }) {
      const begin =
        from === 'gtid'
          ? 'master_use_gtid = slave_pos'
          : `master_use_gtid = no, master_log_file = '${from.file}', master_log_pos = ${from.position}`;
      return `${on}change master to master_host = '127.0.0.1', master_port = ${port}, master_user = '${user}',
        master_password = '${password}', ${begin}, master_connect_retry = 1`;
    },
    delay: (seconds) => `${on}change master to master_delay = ${seconds}`,
    ignore: (tables) => `${on}set global replicate_ignore_table = '${tables.join(',')}'`,
  };
}
