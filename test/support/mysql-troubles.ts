/** What tests do to the replication of a MySQL or MariaDB pair, and how each of it is healed. */
import { chownSync, copyFileSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Flavour } from '../../deploy/demo/mysql-install.js';
import type { MysqlServer } from '../../deploy/demo/mysql-server.js';
import { rootConnection, type MysqlQuery, type MysqlRow } from './mysql-connection.js';
import { resetBinlogs, sourceStatus, type ReplicaWords, type SourceAddress } from './mysql-dialect.js';
import { bulkOrders, mysqlDatabase as database } from './mysql-shop.js';
import type { OpenTransaction } from './pair.js';

/** Faults of replication, each with what heals it. */
export interface MysqlTroubles {
  stopReplica(): Promise<void>;
  startReplica(): Promise<void>;
  stopSqlThread(): Promise<void>;
  startSqlThread(): Promise<void>;
  stopIoThread(): Promise<void>;
  startIoThread(): Promise<void>;
  /** Makes the target forget its source; `attach` makes it a replica again, from where it was. */
  detach(): Promise<void>;
  attach(): Promise<void>;
  /** Stops and starts the replica so many times, each state lasting so many milliseconds. */
  flap(times: number, eachMs: number): Promise<void>;
  /** Locks a table on the target against writing so that apply waits for it; returns the function that releases it. */
  lockTable(table?: string): Promise<() => Promise<void>>;
  /** Inserts so many orders in one transaction on the source, a million at most. */
  bulk(rows: number): Promise<void>;
  openTransaction(): Promise<OpenTransaction>;
  /** Stops the replica, purges what it still needs from the source's binary log and starts it: its receiver fails with error 1236. */
  purgeBinlogs(): Promise<void>;
  /** Heals `purgeBinlogs`: puts the files back, which takes a restart of the source. */
  restoreBinlogs(): Promise<void>;
  /** Leaves tables (`database.table`) out of replication until it is called without any. */
  ignoreTables(...tables: string[]): Promise<void>;
  /** Applies changes so many seconds late; 0 ends it. */
  delay(seconds: number): Promise<void>;
  /** Commits a row on the target, as an application that went astray would; in MariaDB's strict mode the applier stops at the next change (1950). */
  errantWrite(): Promise<void>;
  /** Takes the row and, on MariaDB, its GTID away again and starts the replica. */
  healErrantWrite(): Promise<void>;
  /** Runs statements on the target past its binary log, so that no GTID tells of them. */
  onTargetUnlogged(sql: string): Promise<MysqlRow[]>;
  /** Makes apply fail on a duplicate key (1062) until it is healed. */
  createApplyConflict(): Promise<void>;
  healApplyConflict(): Promise<void>;
  /** Makes apply fail on a row that the target does not have (1032) until it is healed. */
  createMissingRow(): Promise<void>;
  healMissingRow(): Promise<void>;
}

/** What the troubles need of a pair. */
interface Ground {
  readonly flavour: Flavour;
  readonly gtid: boolean;
  readonly source: MysqlServer;
  readonly target: MysqlServer;
  readonly onSource: MysqlQuery;
  readonly words: ReplicaWords;
  readonly address: () => SourceAddress;
  readonly alone: (server: MysqlServer, sql: string) => Promise<MysqlRow[]>;
}

/** Ids far from those that the counter hands out: a conflicting order, an errant one, a missing one. */
const conflictIdsFrom = 9_000_000_000_000_000n;
const errantId = 8_000_000_000_000_000n;
const missingId = 7_000_000_000_000_000n;

/** Returns the troubles of a pair. */
export function mysqlTroubles(ground: Ground): MysqlTroubles {
  const { flavour, source, target, words } = ground;
  const onReplica = async (...statements: string[]): Promise<void> => {
    for (const statement of statements) await ground.alone(target, statement);
  };
  const unlogged = (sql: string): Promise<MysqlRow[]> => ground.alone(target, `set session sql_log_bin = 0; ${sql}`);
  const onSource = (sql: string): Promise<MysqlRow[]> => ground.onSource(sql);
  const kept = join(dirname(source.dataDir), 'purged');
  let conflicts = conflictIdsFrom;
  let leftAt: SourceAddress | undefined;

  return {
    stopReplica: () => onReplica(words.stop),
    startReplica: () => onReplica(words.start),
    stopSqlThread: () => onReplica(words.stopSql),
    startSqlThread: () => onReplica(words.startSql),
    stopIoThread: () => onReplica(words.stopIo),
    startIoThread: () => onReplica(words.startIo),
    async detach() {
      await onReplica(words.stop);
      leftAt = ground.address();
      if (!ground.gtid) {
        const [row] = await ground.alone(target, words.status);
        const file = row?.['Relay_Source_Log_File'] ?? row?.['Relay_Master_Log_File'];
        const position = row?.['Exec_Source_Log_Pos'] ?? row?.['Exec_Master_Log_Pos'];
        leftAt = { ...leftAt, from: { file: String(file), position: Number(position) } };
      }
      await onReplica(words.forget);
    },
    attach: () => onReplica(words.become(leftAt ?? ground.address()), words.start),
    async flap(times, eachMs) {
      for (let i = 0; i < times; i++) {
        await onReplica(words.stop);
        await sleep(eachMs);
        await onReplica(words.start);
        await sleep(eachMs);
      }
    },
    async lockTable(table = 'orders') {
      const connection = await rootConnection(target, database);
      await connection.query(`set session lock_wait_timeout = 5; lock tables ${table} read`);
      return async () => {
        // When the server was killed meanwhile, the lock went with it.
        await connection.query('unlock tables').catch(() => undefined);
        connection.destroy();
      };
    },
    async bulk(rows) {
      await onSource(bulkOrders(rows));
    },
    async openTransaction() {
      const connection = await rootConnection(source, database);
      await connection.query(`begin; insert into orders (customer_id, note) values (1, 'in an open transaction')`);
      const end = async (how: 'commit' | 'rollback'): Promise<void> => {
        await connection.query(how);
        connection.destroy();
      };
      return { commit: () => end('commit'), rollback: () => end('rollback') };
    },
    async purgeBinlogs() {
      await onReplica(words.stop);
      await onSource(
        `insert into orders (customer_id, note) values (1, 'purged before it was read'); flush binary logs`,
      );
      mkdirSync(kept);
      for (const file of binlogs(source)) copyFileSync(join(source.dataDir, file), join(kept, file));
      const [row] = await onSource(sourceStatus(flavour));
      // MariaDB keeps a file while a replica's connection to it is thought to be alive: again until it is gone.
      for (let attempt = 0; attempt < 50; attempt++) {
        await onSource(`purge binary logs to '${String(row?.['File'])}'`);
        if (binlogs(source).length === 1) break;
        await sleep(100);
      }
      await onReplica(words.start);
    },
    async restoreBinlogs() {
      await onReplica(words.stop);
      await source.kill(); // its threads that still serve the replica would hold an orderly end up for 10 s
      const { uid, gid } = statSync(source.dataDir);
      const place = (name: string, write: (path: string) => void): void => {
        const path = join(source.dataDir, name);
        write(path);
        chownSync(path, uid, gid);
      };
      const present = binlogs(source);
      for (const file of readdirSync(kept)) {
        if (!present.includes(file)) place(file, (path) => copyFileSync(join(kept, file), path));
      }
      const names = binlogs(source).map((file) => `./${file}\n`);
      place('binlog.index', (path) => writeFileSync(path, names.join('')));
      rmSync(kept, { recursive: true });
      await source.start();
      await onReplica(words.start);
    },
    async ignoreTables(...tables) {
      if (flavour === 'mysql') await onReplica(words.stopSql, words.ignore(tables), words.startSql);
      else await onReplica(words.stop, words.ignore(tables), words.start);
    },
    async delay(seconds) {
      if (flavour === 'mysql') await onReplica(words.stopSql, words.delay(seconds), words.startSql);
      else await onReplica(words.stop, words.delay(seconds), words.start);
    },
    async errantWrite() {
      await ground.alone(
        target,
        `insert into ${database}.orders (id, customer_id, note) values (${errantId}, 1, 'astray')`,
      );
    },
    async healErrantWrite() {
      await onReplica(words.stop);
      await unlogged(`delete from ${database}.orders where id = ${errantId}`);
      // What was applied is kept in a table; the binary log alone knows the errant GTID.
      if (flavour === 'mariadb') await onReplica(resetBinlogs(flavour));
      await onReplica(words.start);
    },
    onTargetUnlogged: unlogged,
    async createApplyConflict() {
      const id = String(++conflicts);
      await unlogged(`insert into ${database}.orders (id, customer_id, note) values (${id}, 1, 'in the way')`);
      await onSource(`insert into orders (id, customer_id, note) values (${id}, 1, 'conflicts')`);
    },
    async healApplyConflict() {
      await unlogged(`delete from ${database}.orders where id > ${conflictIdsFrom} and note = 'in the way'`);
      await onReplica(words.start);
    },
    async createMissingRow() {
      const values = `(id, customer_id, note, created_at) values (${missingId}, 1, 'missing', '2026-01-01')`;
      await ground.alone(source, `set session sql_log_bin = 0; replace into ${database}.orders ${values}`);
      await onSource(`update orders set amount = amount + 1 where id = ${missingId}`);
    },
    async healMissingRow() {
      await unlogged(
        `replace into ${database}.orders (id, customer_id, note, created_at) values (${missingId}, 1, 'missing', '2026-01-01')`,
      );
      await onReplica(words.start);
    },
  };
}

/** The files of a server's binary log, oldest first. */
function binlogs(server: MysqlServer): string[] {
  return readdirSync(server.dataDir)
    .filter((file) => /^binlog\.\d+$/.test(file))
    .sort();
}
