import { parseLsn } from '../../daemon/core/position.js';
import type { PgConnection } from './connection.js';
import type { ErrorCount } from '../session/error-window.js';
import type { SlotFacts, SubscriptionFacts } from './flow-state.js';
import type { SlotRetention } from './retention.js';

/**
 * What the servers' own views say about subscriptions, slots and walsenders. One statement for each side covers all
 * flows; both read shared memory and small catalogs only, and take no lock that anyone waits for.
 */

/** A session on the target, together with what its user may read there. */
export interface TargetView {
  readonly connection: PgConnection;
  /** How the progress of an origin can be asked for. */
  readonly originBy: 'built-in' | 'helper' | null;
  /** Versions up to 13 hide the ids of subscriptions from ordinary users. */
  readonly idReadable: boolean;
}

/** A session on the source, together with whose WAL its positions are of. */
export interface SourceView {
  readonly connection: PgConnection;
  /** Null when this user may not read it. */
  readonly systemIdentifier: string | null;
}

/** All that one look at the target found. */
export interface TargetFacts {
  inRecovery: boolean;
  /** By name; what is missing does not exist in this database. */
  subscriptions: ReadonlyMap<string, SubscriptionFacts & { errors: ErrorCount | null }>;
}

/** All that one look at the source found. */
export interface SourceFacts {
  /** System identifier and timeline, as far as they can be read: positions of another identity mean nothing here. */
  identity: string;
  /** The end of what walsenders may send: the flushed WAL, or on a standby what was replayed. */
  sendable: bigint;
  /** Nothing on this server is beyond it. */
  insert: bigint;
  /** By name; what is missing does not exist on this server. */
  slots: ReadonlyMap<string, SlotFacts & SlotRetention>;
}

const capabilities = `
  SELECT pg_catalog.has_column_privilege('pg_catalog.pg_subscription', 'oid', 'SELECT') AS id_readable,
         pg_catalog.current_setting('is_superuser') = 'on' AS superuser,
         pg_catalog.has_function_privilege(
           'pg_catalog.pg_replication_origin_progress(text, boolean)', 'EXECUTE') AS built_in,
         EXISTS (
           SELECT 1
             FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
            WHERE n.nspname = 'lockgate' AND p.proname = 'origin_progress'
              AND p.proargtypes = '25 16'::pg_catalog.oidvector
              AND p.prorettype = 'pg_catalog.pg_lsn'::pg_catalog.regtype
              AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
              AND pg_catalog.has_function_privilege(p.oid, 'EXECUTE')) AS helper`;

/** Finds out what the session's user may read on the target. */
export async function targetView(connection: PgConnection, timeoutMs: number): Promise<TargetView> {
  const [row] = await connection.query<{
    id_readable: boolean;
    superuser: boolean;
    built_in: boolean;
    helper: boolean;
  }>(capabilities, undefined, { timeoutMs });
  // Version 13 and older check for a superuser inside the function, whatever has been granted.
  const builtIn = row?.superuser === true || (row?.built_in === true && connection.serverVersion >= 140000);
  return {
    connection,
    originBy: builtIn ? 'built-in' : row?.helper === true ? 'helper' : null,
    idReadable: row?.superuser === true || row?.id_readable === true,
  };
}

/** The statement that reads subscriptions, for a version and for what may be read. */
export function subscriptionsSql(version: number, view: Pick<TargetView, 'originBy' | 'idReadable'>): string {
  // A name may be taken in several databases; the view that everyone may read does not say in which.
  const id = view.idReadable
    ? 's.oid'
    : `(SELECT CASE WHEN pg_catalog.count(DISTINCT v.subid) = 1 THEN pg_catalog.min(v.subid::pg_catalog.int8) END
          FROM pg_catalog.pg_stat_subscription v WHERE v.subname = s.subname)::pg_catalog.oid`;
  const leader = version >= 160000 ? 'AND w.leader_pid IS NULL' : '';
  const apply = version >= 170000 ? `AND w.worker_type = 'apply'` : '';
  const errors = version >= 150000;
  const ask = { 'built-in': 'pg_catalog.pg_replication_origin_progress', helper: 'lockgate.origin_progress' };
  // It flushes the WAL of what the origin stands for before it answers, so that the answer is durable.
  const progress = view.originBy === null ? 'NULL' : `${ask[view.originBy]}(o.roname, true)`;
  return `
  SELECT h.in_recovery, s.subname AS name, i.id::pg_catalog.text AS id, s.subenabled AS enabled,
         s.subslotname AS slot, w.pid AS worker, w.received_lsn::pg_catalog.text AS received,
         (CASE WHEN o.roname IS NOT NULL AND NOT h.in_recovery THEN ${progress} END)::pg_catalog.text AS origin,
         ${errors ? '(e.apply_error_count + e.sync_error_count)::pg_catalog.text' : 'NULL'} AS errors,
         ${errors ? 'e.stats_reset::pg_catalog.text' : 'NULL'} AS errors_since
    FROM (SELECT pg_catalog.pg_is_in_recovery() AS in_recovery, d.oid AS database
            FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()) h
    LEFT JOIN pg_catalog.pg_subscription s ON s.subdbid = h.database AND s.subname = ANY ($1::pg_catalog.name[])
    LEFT JOIN LATERAL (SELECT ${id} AS id) i ON true
    LEFT JOIN LATERAL (
      SELECT w.pid, w.received_lsn FROM pg_catalog.pg_stat_get_subscription(i.id) w
       WHERE w.subid = i.id AND w.relid IS NULL AND w.pid IS NOT NULL ${leader} ${apply} LIMIT 1) w ON true
    LEFT JOIN pg_catalog.pg_replication_origin o ON o.roname = 'pg_' || i.id::pg_catalog.text
    ${errors ? 'LEFT JOIN LATERAL pg_catalog.pg_stat_get_subscription_stats(i.id) e ON true' : ''}`;
}

interface SubscriptionRow {
  in_recovery: boolean;
  name: string | null;
  id: string | null;
  enabled: boolean;
  slot: string | null;
  worker: number | null;
  received: string | null;
  origin: string | null;
  errors: string | null;
  errors_since: string | null;
}

/** Looks at the named subscriptions. */
export async function readTarget(view: TargetView, names: readonly string[], timeoutMs: number): Promise<TargetFacts> {
  const text = subscriptionsSql(view.connection.serverVersion, view);
  // The text depends on what may be read, and a name stands for one text as long as the session lasts.
  const name = `subscriptions ${view.originBy ?? 'no origin'} ${view.idReadable ? 'by id' : 'by name'}`;
  const rows = await view.connection.query<SubscriptionRow>({ name, text }, [names], { timeoutMs });
  const subscriptions = new Map<string, SubscriptionFacts & { errors: ErrorCount | null }>();
  for (const row of rows) {
    if (row.name === null) continue;
    subscriptions.set(row.name, {
      id: row.id,
      enabled: row.enabled,
      slot: row.slot,
      worker: row.worker,
      received: lsn(row.received),
      originReadable: view.originBy !== null,
      origin: lsn(row.origin),
      errors:
        row.errors === null
          ? null
          : {
              total: Number(row.errors),
              reset: row.errors_since !== null,
              identity: `${row.id ?? ''} since ${row.errors_since ?? ''}`,
            },
    });
  }
  return { inRecovery: rows[0]?.in_recovery === true, subscriptions };
}

/** The server's system identifier, where the session's user may read it; the guard keeps errors out of the server's log. */
export const systemIdentifierSql = `
  SELECT CASE WHEN pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
              THEN (SELECT c.system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system() c) END AS id`;

/** Finds out whose WAL the session's positions are of. */
export async function sourceView(connection: PgConnection, timeoutMs: number): Promise<SourceView> {
  const [row] = await connection.query<{ id: string | null }>(systemIdentifierSql, undefined, { timeoutMs });
  return { connection, systemIdentifier: row?.id ?? null };
}

// pg_stat_get_wal_senders is what the view pg_stat_replication is made of, without a scan of all sessions.
const slotsSql = `
  SELECT h.sendable::pg_catalog.text, h.insert::pg_catalog.text, h.timeline, s.slot_name AS name, s.database,
         s.database = pg_catalog.current_database() AS ours, s.plugin, s.active_pid, s.wal_status,
         s.restart_lsn::pg_catalog.text AS restart, s.safe_wal_size::pg_catalog.text AS safe_wal_size,
         r.pid AS walsender, r.state, r.flush_lsn::pg_catalog.text AS flush,
         EXTRACT(epoch FROM r.write_lag)::pg_catalog.float8 AS write_lag,
         EXTRACT(epoch FROM r.replay_lag)::pg_catalog.float8 AS replay_lag
    FROM (SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
                      ELSE pg_catalog.pg_current_wal_flush_lsn() END AS sendable,
                 CASE WHEN pg_catalog.pg_is_in_recovery()
                      THEN GREATEST(pg_catalog.pg_last_wal_replay_lsn(), pg_catalog.pg_last_wal_receive_lsn())
                      ELSE pg_catalog.pg_current_wal_insert_lsn() END AS insert,
                 CASE WHEN NOT pg_catalog.pg_is_in_recovery()
                      THEN pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8)
                 END AS timeline) h
    LEFT JOIN pg_catalog.pg_replication_slots s ON s.slot_name = ANY ($1::pg_catalog.name[])
    LEFT JOIN pg_catalog.pg_stat_get_wal_senders() r ON r.pid = s.active_pid`;

interface SlotRow {
  sendable: string;
  insert: string;
  timeline: string | null;
  name: string | null;
  database: string | null;
  ours: boolean | null;
  plugin: string | null;
  active_pid: number | null;
  wal_status: string | null;
  restart: string | null;
  safe_wal_size: string | null;
  walsender: number | null;
  state: string | null;
  flush: string | null;
  write_lag: number | null;
  replay_lag: number | null;
}

/** Looks at the named slots, their walsenders, and the server's own position. */
export async function readSource(view: SourceView, slots: readonly string[], timeoutMs: number): Promise<SourceFacts> {
  const rows = await view.connection.query<SlotRow>({ name: 'slots', text: slotsSql }, [slots], { timeoutMs });
  const found = new Map<string, SlotFacts & SlotRetention>();
  for (const row of rows) {
    if (row.name === null) continue;
    found.set(row.name, {
      database: row.database,
      ours: row.ours === true,
      plugin: row.plugin,
      activePid: row.active_pid,
      walStatus: row.wal_status,
      restart: lsn(row.restart),
      safeWalSize: row.safe_wal_size === null ? null : Number(row.safe_wal_size),
      walsender: row.walsender !== null,
      // Every walsender has a state; without the privilege all columns but the process id are null.
      visible: row.state !== null,
      state: row.state,
      flush: lsn(row.flush),
      writeLag: row.write_lag,
      replayLag: row.replay_lag,
    });
  }
  const head = rows[0];
  if (head === undefined) throw new RangeError('a statement that always returns a row returned none');
  return {
    identity: `${view.systemIdentifier ?? ''}/${head.timeline ?? ''}`,
    sendable: parseLsn(head.sendable),
    insert: parseLsn(head.insert),
    slots: found,
  };
}

function lsn(text: string | null): bigint | null {
  if (text === null) return null;
  const value = parseLsn(text);
  return value === 0n ? null : value;
}
