/** What passes between the daemon's main thread and a thread that reads one binlog: only what is small. */
import type { Us } from '../../daemon/core/clock.js';
import type { LogCount, LogOwner } from './binlog-transactions.js';

/** Where a stream begins: after all transactions of a set, or at a place in the files. */
export type BinlogStart = { readonly gtids: string } | { readonly file: string; readonly offset: number };

/** What a reading thread is started with. */
export interface BinlogOrder {
  readonly login: BinlogLogin;
  /** As the server is to know the reader among its replicas. */
  readonly serverId: number;
  readonly replicaUuid: string;
  readonly mariadb: boolean;
  /** Answers which server it is, in one column `home`; every connection must give `home`. */
  readonly homeSql: string;
  readonly home: string;
  readonly owner: LogOwner;
  readonly start: BinlogStart;
  /** Between questions where the log ends, in ms. */
  readonly askEveryMs: number;
  /** Answers what was executed, and the server's id. */
  readonly positionsSql: string;
  /** Answers where the binlog ends. */
  readonly statusSql: string;
  /** Whose heartbeats are told of. */
  readonly daemonId: string;
}

/** How the two connections of a stream log in. */
export interface BinlogLogin {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password?: string;
  readonly ssl?: object;
  /** Whether the server may ask for the password as it is: for tokens of IAM only. */
  readonly enableCleartextPlugin?: boolean;
  readonly connectTimeout: number;
  readonly connectAttributes: Readonly<Record<string, string>>;
}

/** A heartbeat row that was inserted. */
export interface LoggedHeartbeat {
  readonly link: string;
  readonly run: string;
  readonly seq: number;
  readonly at: Us;
}

/** The stream has passed the end of the log as it was at `at`: everything committed before was seen. */
export interface Passed {
  readonly at: Us;
  /** Everything executed here before `at`; on MariaDB the position of its binlog. Empty without GTIDs. */
  readonly executed: string;
  /** MariaDB: the newest transaction of each server in each domain of its binlog. */
  readonly state: string;
  readonly file: string;
  readonly offset: number;
}

/** Why a stream ended: an error as the library or the server gave it, or what the thread itself found. */
export interface BinlogFailure {
  readonly kind:
    'error' | 'stalled' | 'silent-control' | 'other-server' | 'reset' | 'compressed' | 'incident' | 'ended';
  readonly message: string;
  readonly errno: number | null;
  readonly code: string | null;
  readonly sqlState: string | null;
}

/**
 * From the reading thread; each but `pulse`, `streaming` and `tally` is acknowledged, and without that it reads no further.
 */
export type FromReader =
  | { readonly kind: 'streaming' }
  | { readonly kind: 'pulse' }
  /** What was read since the last one. */
  | ({ readonly kind: 'tally' } & LogCount)
  | { readonly kind: 'heartbeats'; readonly rows: readonly LoggedHeartbeat[] }
  /** Local writes in their order; columns, because many short arrays cost more. */
  | {
      readonly kind: 'writes';
      readonly positions: readonly string[];
      readonly committedAt: readonly number[];
      readonly at: Us;
    }
  | { readonly kind: 'direction'; readonly at: Us }
  | { readonly kind: 'passed'; readonly passed: Passed }
  | { readonly kind: 'failed'; readonly failure: BinlogFailure };

/** To the reading thread. */
export type ToReader =
  | { readonly kind: 'took' }
  /** From now on it is asked so often where the log ends, in ms, and once at once. */
  | { readonly kind: 'pace'; readonly askEveryMs: number }
  | { readonly kind: 'stop' };
