/** What a server is asked about its local writes besides the stream of them. */
import type { Us } from '../../daemon/core/clock.js';
import { parseLsn } from '../../daemon/core/position.js';
import type { PgConnection } from './connection.js';
import type { TableName } from './local-decoder.js';
import { walEnd } from './wal-end.js';

/**
 * A look at the server: once the stream has passed `inserted`, everything committed before the look was seen. `inserted`
 * may be far from being flushed, and so from being sent; once the stream has passed `flushed`, all was seen that was
 * committed `asyncUs` before the look or earlier.
 */
export interface LocalLook {
  inRecovery: boolean;
  /** Where the next WAL is put; on a standby the end of what was replayed. */
  inserted: bigint;
  /** The end of the flushed WAL; on a standby of what was replayed. */
  flushed: bigint;
  /** So long after a commit with synchronous_commit = off its WAL is flushed at the latest, in microseconds. */
  asyncUs: Us;
  /** No transaction below it is open any more. */
  xmin: bigint;
  /** No transaction from here on has begun yet. */
  xmax: bigint;
  /** Which start of which server this is. */
  home: string;
  /** Where evidence about what comes later can begin; null when the server keeps none. */
  mark: string | null;
  /** Free replication slots and walsenders. */
  slotsLeft: number;
  sendersLeft: number;
}

interface Mark {
  system: string;
  timeline: string;
  /** No transaction below it is open any more. */
  xmin: string;
}

/** More transactions than this are not looked at one by one. */
const mostTransactions = 100_000;

// Reading the origins of transactions one by one needs track_commit_timestamp, and a function of version 14.
const lookSql = `
  SELECT r.recovery,
         CASE WHEN r.recovery THEN coalesce(pg_catalog.pg_last_wal_replay_lsn(), '0/0')
              ELSE pg_catalog.pg_current_wal_flush_lsn() END::pg_catalog.text AS flushed,
         CASE WHEN r.recovery THEN coalesce(pg_catalog.pg_last_wal_replay_lsn(), '0/0')
              ELSE pg_catalog.pg_current_wal_insert_lsn() END::pg_catalog.text AS inserted,
         -- The WAL writer flushes an asynchronous commit in its third round at the latest.
         (3000000 * EXTRACT(epoch FROM pg_catalog.current_setting('wal_writer_delay')::pg_catalog.interval))::pg_catalog.text
           AS async_us,
         CASE WHEN r.recovery THEN NULL
              ELSE pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8) END AS timeline,
         pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::pg_catalog.text AS xmin,
         pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::pg_catalog.text AS xmax,
         pg_catalog.current_setting('track_commit_timestamp') = 'on' AS tracked,
         pg_catalog.current_setting('max_replication_slots')::pg_catalog.int4
           - (SELECT pg_catalog.count(*) FROM pg_catalog.pg_replication_slots)::pg_catalog.int4 AS slots_left,
         pg_catalog.current_setting('max_wal_senders')::pg_catalog.int4
           - (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_get_wal_senders())::pg_catalog.int4 AS senders_left,
         CASE WHEN pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
              THEN (SELECT c.system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system() c) END AS system
    FROM (SELECT pg_catalog.pg_is_in_recovery() AS recovery) r`;

/** Looks at where the server is. */
export async function lookLocally(connection: PgConnection, timeoutMs: number): Promise<LocalLook> {
  const [row] = await connection.query<{
    recovery: boolean;
    flushed: string;
    inserted: string;
    async_us: string;
    timeline: string | null;
    xmin: string;
    xmax: string;
    tracked: boolean;
    slots_left: number;
    senders_left: number;
    system: string | null;
  }>({ name: 'local', text: lookSql }, undefined, { timeoutMs });
  if (row === undefined) throw new RangeError('a statement that always returns a row returned none');
  const { recovery, timeline, xmin, tracked, system } = row;
  const tells = tracked && connection.serverVersion >= 140000 && system !== null && timeline !== null;
  const mark: Mark | null = tells ? { system, timeline, xmin } : null;
  return {
    inRecovery: recovery,
    inserted: walEnd(parseLsn(row.flushed), parseLsn(row.inserted)),
    flushed: parseLsn(row.flushed),
    asyncUs: Math.ceil(Number(row.async_us)),
    xmin: BigInt(xmin),
    xmax: BigInt(row.xmax),
    home: connection.home,
    mark: mark === null ? null : JSON.stringify(mark),
    slotsLeft: row.slots_left,
    sendersLeft: row.senders_left,
  };
}

// A transaction that committed has a time here, and an origin other than 0 when it came by replication. What was
// forgotten has none, so the server must remember as far back as the mark.
const gapSql = `
  SELECT s.xmax::pg_catalog.text AS xmax,
         (SELECT c.oldest_commit_ts_xid::pg_catalog.text FROM pg_catalog.pg_control_checkpoint() c) AS oldest,
         CASE WHEN s.xmax - $1::pg_catalog.int8 <= ${mostTransactions} THEN (
           SELECT pg_catalog.count(*)
             FROM pg_catalog.generate_series($1::pg_catalog.int8, s.xmax - 1) x (id),
                  LATERAL (SELECT (x.id % 4294967296)::pg_catalog.text::pg_catalog.xid AS xid, x.id % 4294967296 AS short) y,
                  LATERAL pg_catalog.pg_xact_commit_timestamp_origin(y.xid) o
            WHERE y.short >= 3 AND o.timestamp IS NOT NULL AND o.roident = 0) END::pg_catalog.text AS local
    FROM (SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::pg_catalog.text::pg_catalog.int8 AS xmax) s`;

/**
 * Whether the server itself shows that no local transaction committed since the look that `mark` comes from: every
 * transaction since then that committed came by replication. False also when it cannot be told.
 */
export async function gapIsEmpty(
  connection: PgConnection,
  mark: string | null,
  now: LocalLook,
  timeoutMs: number,
): Promise<boolean> {
  const [before, after] = [parseMark(mark), parseMark(now.mark)];
  if (before === null || after === null) return false;
  if (before.system !== after.system || before.timeline !== after.timeline) return false;
  const [row] = await connection.query<{ xmax: string; oldest: string; local: string | null }>(gapSql, [before.xmin], {
    timeoutMs,
  });
  if (row === undefined) return false;
  // A server that has begun fewer transactions than it had was set back: it shows nothing of what it has lost.
  if (BigInt(row.xmax) < BigInt(before.xmin)) return false;
  // Ids of transactions are compared in a circle of 2^32, of which at most half is in use.
  const oldest = Number(row.oldest);
  const since = Number((BigInt(before.xmin) - BigInt(oldest)) & 0xffffffffn);
  return oldest >= 3 && since < 2 ** 31 && row.local === '0';
}

function parseMark(text: string | null): Mark | null {
  if (text === null) return null;
  try {
    const mark = JSON.parse(text) as Partial<Mark>;
    const { system, timeline, xmin } = mark;
    if (system === undefined || timeline === undefined || xmin === undefined || !/^\d+$/.test(xmin)) return null;
    return { system, timeline, xmin };
  } catch {
    return null;
  }
}

const matviewsSql = `
  SELECT n.nspname AS schema, c.relname AS name
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'm'`;

/** Lists the materialized views; refreshing one concurrently changes it row by row. */
export async function readMatviews(connection: PgConnection, timeoutMs: number): Promise<TableName[]> {
  return connection.query<TableName>(matviewsSql, undefined, { timeoutMs });
}

const stillSql = `
  SELECT pg_catalog.count(*) AS other
    FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) t (schema, name)
   WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid
                      WHERE n.nspname = t.schema AND c.relname = t.name AND c.relkind = 'm')`;

/** Whether all of these relations are materialized views now; what is gone may have got another name. */
export async function areMatviews(
  connection: PgConnection,
  tables: readonly TableName[],
  timeoutMs: number,
): Promise<boolean> {
  const values = [tables.map((t) => t.schema), tables.map((t) => t.name)];
  const [row] = await connection.query<{ other: string }>({ name: 'still', text: stillSql }, values, { timeoutMs });
  return row?.other === '0';
}

// The row that says a table is ready was written after the copy committed, and no later write can be older than it.
const copySql = `
  SELECT pg_catalog.count(*) AS other
    FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) t (schema, name)
   WHERE NOT EXISTS (
     SELECT FROM pg_catalog.pg_namespace n
       JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.name
       LEFT JOIN pg_catalog.pg_subscription_rel r
         ON r.srrelid = c.oid OR r.srrelid IN (SELECT a.relid FROM pg_catalog.pg_partition_ancestors(c.oid) a)
      WHERE n.nspname = t.schema
        AND (c.relkind = 'm' OR r.srsubstate <> 'r'
             OR r.srsublsn IS NOT NULL AND pg_catalog.age(r.xmin) <= pg_catalog.age($3::pg_catalog.text::pg_catalog.xid)))`;

/**
 * Whether a transaction that only filled these tables can have been the initial copy of a subscription, which version 13
 * shows as a local write. Whatever else fills a table before it is ready looks the same.
 */
export async function isInitialCopy(
  connection: PgConnection,
  tables: readonly TableName[],
  xid: string,
  timeoutMs: number,
): Promise<boolean> {
  const [row] = await connection.query<{ other: string }>(
    { name: 'copy', text: copySql },
    [tables.map((t) => t.schema), tables.map((t) => t.name), xid],
    { timeoutMs },
  );
  return row?.other === '0';
}
