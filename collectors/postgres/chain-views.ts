/** Reads what the chain of a link hangs on: one statement for each side, over small catalogs and shared memory only. */
import { parseLsn } from '../../daemon/core/position.js';
import type { ChainSlot, ChainSubscription, ServerFacts, SourceSight, TargetSight } from './chain-state.js';
import type { PgConnection } from './connection.js';
import type { TargetView } from './logical-views.js';

/** How the state of origins can be asked for, beside what a TargetView says. */
export interface ChainTargetView extends TargetView {
  readonly statusBy: 'built-in' | 'helper' | null;
  /** The version of a subscription's row can be read. */
  readonly rowReadable: boolean;
}

const capabilities = `
  SELECT pg_catalog.current_setting('is_superuser') = 'on' AS superuser,
         pg_catalog.has_function_privilege('pg_catalog.pg_show_replication_origin_status()', 'EXECUTE') AS built_in,
         pg_catalog.has_column_privilege('pg_catalog.pg_subscription', 'xmin', 'SELECT') AS row_readable,
         EXISTS (
           SELECT 1
             FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
            WHERE n.nspname = 'lockgate' AND p.proname = 'origin_status' AND p.pronargs = 0
              AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
              AND pg_catalog.has_function_privilege(p.oid, 'EXECUTE')) AS helper`;

/** Finds out what the session's user may read of the chain on the target. */
export async function chainTargetView(view: TargetView, timeoutMs: number): Promise<ChainTargetView> {
  const { connection } = view;
  const [row] = await connection.query<{
    superuser: boolean;
    built_in: boolean;
    row_readable: boolean;
    helper: boolean;
  }>(capabilities, undefined, { timeoutMs });
  // Version 13 checks for a superuser inside the function, whatever has been granted.
  const builtIn = row?.superuser === true || (row?.built_in === true && connection.serverVersion >= 140000);
  return {
    ...view,
    statusBy: builtIn ? 'built-in' : row?.helper === true ? 'helper' : null,
    rowReadable: row?.superuser === true || row?.row_readable === true,
  };
}

// In recovery there is no insertion timeline to ask for; the control file has that of the last restart point.
const serverSql = `
  SELECT r.recovery,
         CASE WHEN pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
              THEN (SELECT c.system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system() c) END AS system,
         CASE WHEN NOT r.recovery
              THEN pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8)
              WHEN pg_catalog.has_function_privilege('pg_catalog.pg_control_checkpoint()', 'EXECUTE')
              THEN (SELECT pg_catalog.lpad(pg_catalog.to_hex(c.timeline_id), 8, '0')
                      FROM pg_catalog.pg_control_checkpoint() c) END AS timeline,
         CASE WHEN r.recovery THEN pg_catalog.pg_last_wal_replay_lsn()
              ELSE pg_catalog.pg_current_wal_flush_lsn() END::pg_catalog.text AS position,
         CASE WHEN r.recovery
              THEN GREATEST(pg_catalog.pg_last_wal_replay_lsn(), pg_catalog.pg_last_wal_receive_lsn())
              ELSE pg_catalog.pg_current_wal_insert_lsn() END::pg_catalog.text AS wal_end,
         pg_catalog.pg_postmaster_start_time()::pg_catalog.text AS started,
         pg_catalog.pg_stat_get_bgwriter_stat_reset_time()::pg_catalog.text AS statistics
    FROM (SELECT pg_catalog.pg_is_in_recovery() AS recovery) r`;

interface ServerRow {
  recovery: boolean;
  system: string | null;
  timeline: string | null;
  position: string | null;
  wal_end: string | null;
  started: string;
  statistics: string | null;
}

function serverOf(row: ServerRow): ServerFacts {
  return {
    systemIdentifier: row.system,
    timeline: row.timeline === null ? null : Number.parseInt(row.timeline, 16),
    inRecovery: row.recovery,
    position: parseLsn(row.position ?? '0/0'),
    end: parseLsn(row.wal_end ?? '0/0'),
    startedAt: row.started,
    statistics: row.statistics ?? '',
  };
}

/** Looks at a server alone. */
export async function readServer(connection: PgConnection, timeoutMs: number): Promise<ServerFacts> {
  const [row] = await connection.query<ServerRow>({ name: 'server', text: serverSql }, undefined, { timeoutMs });
  if (row === undefined) throw new RangeError('a statement that always returns a row returned none');
  return serverOf(row);
}

/** The statement that reads subscriptions, for a version and for what may be read. */
function targetSql(version: number, view: ChainTargetView): string {
  // A name may be taken in several databases; the view that everyone may read does not say in which.
  const id = view.idReadable
    ? 's.oid'
    : `(SELECT CASE WHEN pg_catalog.count(DISTINCT v.subid) = 1 THEN pg_catalog.min(v.subid::pg_catalog.int8) END
          FROM pg_catalog.pg_stat_subscription v WHERE v.subname = s.subname)::pg_catalog.oid`;
  const leader = version >= 160000 ? 'AND w.leader_pid IS NULL' : '';
  const apply = version >= 170000 ? `AND w.worker_type = 'apply'` : '';
  const progress = { 'built-in': 'pg_catalog.pg_replication_origin_progress', helper: 'lockgate.origin_progress' };
  const durable = view.originBy === null ? 'NULL' : `${progress[view.originBy]}(o.roname, true)`;
  const status =
    view.statusBy === 'helper'
      ? 'SELECT f.name, f.remote_lsn, f.local_lsn FROM lockgate.origin_status() f'
      : 'SELECT f.external_id, f.remote_lsn, f.local_lsn FROM pg_catalog.pg_show_replication_origin_status() f';
  const none = 'SELECT NULL::pg_catalog.text, NULL::pg_catalog.pg_lsn, NULL::pg_catalog.pg_lsn';
  // Who made the last change of the row: an apply worker acts under its subscription's origin.
  const skipped =
    version >= 150000 && view.rowReadable
      ? `CASE WHEN s.subenabled AND s.subtwophasestate = 'd' AND pg_catalog.current_setting('track_commit_timestamp') = 'on'
              THEN (SELECT c.roident <> 0 FROM pg_catalog.pg_xact_commit_timestamp_origin(s.xmin) c) END`
      : 'NULL::boolean';
  return `
  SELECT v.*, s.subname AS name, i.id::pg_catalog.text AS id, s.subenabled AS enabled, s.subslotname AS slot, w.pid AS worker,
         ${view.rowReadable ? 's.xmin::pg_catalog.text' : 'NULL'} AS row_version,
         ${version >= 150000 ? `NULLIF(s.subskiplsn, '0/0')::pg_catalog.text` : 'NULL'} AS skip,
         ${skipped} AS skipped,
         (CASE WHEN o.roname IS NOT NULL AND NOT v.recovery THEN ${durable} END)::pg_catalog.text AS applied,
         t.remote::pg_catalog.text AS remote, t.local::pg_catalog.text AS local,
         ${version >= 150000 ? '(e.apply_error_count + e.sync_error_count)::pg_catalog.text' : 'NULL'} AS errors,
         ARRAY(SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) || ' ' || r.xmin::pg_catalog.text
                 FROM pg_catalog.pg_subscription_rel r
                 JOIN pg_catalog.pg_class c ON c.oid = r.srrelid
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                WHERE r.srsubid = i.id AND r.srsubstate = 'r' AND r.srsublsn IS NULL AND n.nspname <> 'lockgate'
                ORDER BY 1) AS uncopied
    FROM (${serverSql}) v
    LEFT JOIN pg_catalog.pg_subscription s ON s.subname = ANY ($1::pg_catalog.name[])
     AND s.subdbid = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
    LEFT JOIN LATERAL (SELECT ${id} AS id) i ON true
    LEFT JOIN LATERAL (
      SELECT w.pid FROM pg_catalog.pg_stat_get_subscription(i.id) w
       WHERE w.subid = i.id AND w.relid IS NULL AND w.pid IS NOT NULL ${leader} ${apply} LIMIT 1) w ON true
    LEFT JOIN pg_catalog.pg_replication_origin o ON o.roname = 'pg_' || i.id::pg_catalog.text
    LEFT JOIN (${view.statusBy === null ? none : status}) t (name, remote, local)
      ON t.name = 'pg_' || i.id::pg_catalog.text
    ${version >= 150000 ? 'LEFT JOIN LATERAL pg_catalog.pg_stat_get_subscription_stats(i.id) e ON true' : ''}`;
}

interface SubscriptionRow extends ServerRow {
  name: string | null;
  id: string | null;
  enabled: boolean;
  slot: string | null;
  worker: number | null;
  row_version: string | null;
  skip: string | null;
  skipped: boolean | null;
  applied: string | null;
  remote: string | null;
  local: string | null;
  errors: string | null;
  uncopied: string[];
}

/** Looks at the target and its named subscriptions. */
export async function readChainTarget(
  view: ChainTargetView,
  flows: readonly string[],
  timeoutMs: number,
): Promise<TargetSight> {
  const { connection, originBy, idReadable, statusBy, rowReadable } = view;
  const text = targetSql(connection.serverVersion, view);
  // The text depends on what may be read, and a name stands for one text as long as the session lasts.
  const name = `chain ${String(originBy)} ${String(idReadable)} ${String(statusBy)} ${String(rowReadable)}`;
  const rows = await connection.query<SubscriptionRow>({ name, text }, [flows], { timeoutMs });
  const [head] = rows;
  if (head === undefined) throw new RangeError('a statement that always returns a row returned none');
  const subscriptions = new Map<string, ChainSubscription>();
  for (const row of rows) {
    if (row.name === null) continue;
    subscriptions.set(row.name, {
      id: row.id,
      enabled: row.enabled,
      slot: row.slot,
      worker: row.worker,
      rowVersion: row.row_version,
      skip: row.skip,
      skipped: row.skipped,
      applied: lsn(row.applied),
      origin: row.remote === null ? null : { remote: parseLsn(row.remote), local: row.local ?? '' },
      errors: row.errors === null ? null : Number(row.errors),
      uncopied: row.uncopied.map(uncopiedOf),
    });
  }
  return {
    server: serverOf(head),
    originsReadable: statusBy !== null,
    version: connection.serverVersion,
    subscriptions,
  };
}

/** The statement that reads slots. */
function sourceSql(version: number): string {
  const invalid =
    version >= 170000
      ? `CASE WHEN s.invalidation_reason IS NOT NULL THEN 'invalidated (' || s.invalidation_reason || ')'`
      : version >= 160000
        ? `CASE WHEN s.conflicting THEN 'it conflicts with recovery'`
        : 'CASE WHEN false THEN NULL';
  return `
  SELECT v.*, s.slot_name AS name, s.plugin, s.database, s.active_pid,
         ${invalid} WHEN s.wal_status = 'lost' THEN 'it has lost WAL that it needs' END AS invalid,
         s.confirmed_flush_lsn::pg_catalog.text AS confirmed,
         ${version >= 140000 ? 't.total_txns::pg_catalog.text' : 'NULL'} AS decoded,
         ${version >= 140000 ? 't.stats_reset::pg_catalog.text' : 'NULL'} AS decoded_since
    FROM (${serverSql}) v
    LEFT JOIN pg_catalog.pg_replication_slots s ON s.slot_name = ANY ($1::pg_catalog.name[])
    ${version >= 140000 ? 'LEFT JOIN pg_catalog.pg_stat_replication_slots t ON t.slot_name = s.slot_name' : ''}`;
}

interface SlotRow extends ServerRow {
  name: string | null;
  plugin: string | null;
  database: string | null;
  active_pid: number | null;
  invalid: string | null;
  confirmed: string | null;
  decoded: string | null;
  decoded_since: string | null;
}

/** Looks at the source and the named slots. */
export async function readChainSource(
  connection: PgConnection,
  slots: readonly string[],
  timeoutMs: number,
): Promise<SourceSight> {
  const text = sourceSql(connection.serverVersion);
  const rows = await connection.query<SlotRow>({ name: 'chain slots', text }, [slots], { timeoutMs });
  const [head] = rows;
  if (head === undefined) throw new RangeError('a statement that always returns a row returned none');
  const found = new Map<string, ChainSlot>();
  for (const row of rows) {
    if (row.name === null) continue;
    found.set(row.name, {
      plugin: row.plugin,
      database: row.database,
      activePid: row.active_pid,
      invalid: row.invalid,
      confirmed: lsn(row.confirmed),
      decoded: row.decoded === null ? null : { count: Number(row.decoded), since: row.decoded_since ?? '' },
    });
  }
  return { server: serverOf(head), slots: found };
}

/** A table's quoted name, a space, and the version of its row. */
function uncopiedOf(text: string): { table: string; version: string } {
  const end = text.lastIndexOf(' ');
  return { table: text.slice(0, end), version: text.slice(end + 1) };
}

function lsn(text: string | null): bigint | null {
  if (text === null) return null;
  const value = parseLsn(text);
  return value === 0n ? null : value;
}
