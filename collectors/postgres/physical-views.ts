import { parseLsn } from '../../daemon/core/position.js';
import type { PgConnection } from './connection.js';
import { systemIdentifierSql } from './logical-views.js';
import { applicationNameOf, type PrimaryFacts, type StandbyFacts, type WalsenderFacts } from './physical-state.js';
import type { SlotRetention } from './retention.js';

/** Reads the system identifier of the server that a session leads to; null where this user may not. */
export async function systemIdentifier(connection: PgConnection, timeoutMs: number): Promise<string | null> {
  const [row] = await connection.query<{ id: string | null }>(systemIdentifierSql, undefined, { timeoutMs });
  return row?.id ?? null;
}

const standbySql = `
  SELECT h.in_recovery,
         CASE WHEN h.in_recovery THEN pg_catalog.pg_last_wal_replay_lsn() END::pg_catalog.text AS replayed,
         NULLIF(pg_catalog.current_setting('primary_slot_name'), '') AS primary_slot,
         r.pid, r.status, r.received_tli AS timeline, r.slot_name AS slot, r.conninfo,
         r.sender_host || ':' || r.sender_port AS sender
    FROM (SELECT pg_catalog.pg_is_in_recovery() AS in_recovery) h
    LEFT JOIN pg_catalog.pg_stat_wal_receiver r ON true`;

/** Looks at the target: whether it is a standby, how far it has replayed, and its WAL receiver. */
export async function readStandby(
  connection: PgConnection,
  identifier: string | null,
  timeoutMs: number,
): Promise<StandbyFacts & { slotName: string | null }> {
  const [row] = await connection.query<{
    in_recovery: boolean;
    replayed: string | null;
    primary_slot: string | null;
    pid: number | null;
    status: string | null;
    timeline: number | null;
    slot: string | null;
    conninfo: string | null;
    sender: string | null;
  }>({ name: 'standby', text: standbySql }, undefined, { timeoutMs });
  if (row === undefined) throw new RangeError('a statement that always returns a row returned none');
  return {
    inRecovery: row.in_recovery,
    systemIdentifier: identifier,
    replayed: row.replayed === null ? null : parseLsn(row.replayed),
    // The receiver says what it uses, but a standby that cannot connect has none, and its slot goes on keeping WAL.
    slotName: row.slot === null || row.slot === '' ? row.primary_slot : row.slot,
    receiver:
      row.pid === null
        ? null
        : {
            // Every receiver has a status; without the privilege all columns but the process id are null.
            visible: row.status !== null,
            status: row.status,
            timeline: row.timeline,
            slot: row.slot === '' ? null : row.slot,
            applicationName: applicationNameOf(row.conninfo),
            sender: row.sender,
          },
  };
}

const primarySql = `
  SELECT h.sendable::pg_catalog.text, h.timeline, h.slots, r.pid, r.application_name, r.state, s.slot_name AS slot,
         EXTRACT(epoch FROM r.write_lag)::pg_catalog.float8 AS write_lag,
         EXTRACT(epoch FROM r.replay_lag)::pg_catalog.float8 AS replay_lag
    FROM (SELECT CASE WHEN pg_catalog.pg_is_in_recovery()
                      THEN GREATEST(pg_catalog.pg_last_wal_replay_lsn(), pg_catalog.pg_last_wal_receive_lsn())
                      ELSE pg_catalog.pg_current_wal_flush_lsn() END AS sendable,
                 CASE WHEN NOT pg_catalog.pg_is_in_recovery()
                      THEN pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8)
                 END AS timeline,
                 (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(
                           p.slot_name, p.wal_status, p.restart_lsn::pg_catalog.text, p.safe_wal_size))
                    FROM pg_catalog.pg_replication_slots p WHERE p.slot_type = 'physical') AS slots) h
    LEFT JOIN (pg_catalog.pg_stat_replication r
               LEFT JOIN pg_catalog.pg_replication_slots s ON s.active_pid = r.pid)
           ON s.slot_type IS DISTINCT FROM 'logical'`;

/** Looks at the source: its own position and timeline, and the walsenders that serve no logical slot. */
export async function readPrimary(
  connection: PgConnection,
  identifier: string | null,
  timeoutMs: number,
): Promise<PrimaryFacts & { slots: ReadonlyMap<string, SlotRetention> }> {
  const rows = await connection.query<{
    sendable: string;
    timeline: string | null;
    slots: [string, string | null, string | null, number | null][] | null;
    pid: number | null;
    application_name: string | null;
    state: string | null;
    slot: string | null;
    write_lag: number | null;
    replay_lag: number | null;
  }>({ name: 'primary', text: primarySql }, undefined, { timeoutMs });
  const [head] = rows;
  if (head === undefined) throw new RangeError('a statement that always returns a row returned none');
  const walsenders: WalsenderFacts[] = rows
    .filter((row) => row.pid !== null)
    .map((row) => ({
      visible: row.state !== null,
      applicationName: row.application_name,
      slot: row.slot,
      state: row.state,
      writeLag: row.write_lag,
      replayLag: row.replay_lag,
    }));
  return {
    systemIdentifier: identifier,
    timeline: head.timeline === null ? null : Number.parseInt(head.timeline, 16),
    sendable: parseLsn(head.sendable),
    walsenders,
    slots: new Map(
      (head.slots ?? []).map(([name, walStatus, restart, safeWalSize]) => [
        name,
        { walStatus, restart: restart === null ? null : parseLsn(restart), safeWalSize },
      ]),
    ),
  };
}
