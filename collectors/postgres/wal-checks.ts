import type { DatabaseConfig } from '../../daemon/core/config.js';
import { SourceError } from '../../daemon/core/errors.js';
import type { PgConnection } from './connection.js';
import { placeOf } from './pg-errors.js';

interface Facts {
  recovery: boolean;
  wal_level: string;
  slots_left: number;
  senders_left: number;
  sync_names: string;
  published: boolean;
  publication: boolean;
}

/** Slots and walsenders that a reader leaves for replication itself. */
const spare = 2;
/** More WAL than this must not be kept back for a monitor. */
const maxRetainedBytes = 1024 ** 3;
/** More than this must not be written to the server's disk to decode for a monitor. */
const maxSpilledBytes = 1024 ** 3;

/** How the temporary slots of a daemon's WAL readers begin, before `_` and something random. */
export function readerSlotPrefix(daemonId: string): string {
  return `lockgate_${daemonId.toLowerCase().replace(/[^a-z0-9]+/g, '_')}`.slice(0, 50);
}

/** What a daemon's readers of local writes call themselves in pg_stat_activity. */
export function localApplicationName(daemonId: string): string {
  return `lockgate/${daemonId}/local`;
}

/** What a daemon's WAL readers call themselves in pg_stat_activity. */
export function readerApplicationName(daemonId: string): string {
  return `lockgate/${daemonId}/wal`;
}

/**
 * Looks at the server before a slot is made, over the walsender connection itself; throws a SourceError when WAL cannot or
 * should not be read. `publication` is what is to be read by pgoutput, null for a plugin that needs none.
 */
export async function checkWalReading(
  connection: PgConnection,
  db: DatabaseConfig,
  publication: string | null,
): Promise<void> {
  // One text without parameters: a walsender takes the simple protocol only. The name is a constant of ours.
  const [facts] = await connection.query<Facts>(`
    SELECT pg_catalog.pg_is_in_recovery() AS recovery,
      pg_catalog.current_setting('wal_level') AS wal_level,
      pg_catalog.current_setting('max_replication_slots')::int
        - (SELECT count(*) FROM pg_catalog.pg_replication_slots)::int AS slots_left,
      pg_catalog.current_setting('max_wal_senders')::int
        - (SELECT count(*) FROM pg_catalog.pg_stat_get_wal_senders())::int AS senders_left,
      pg_catalog.current_setting('synchronous_standby_names') AS sync_names,
      EXISTS (SELECT FROM pg_catalog.pg_publication WHERE pubname = '${publication ?? ''}') AS publication,
      EXISTS (SELECT FROM pg_catalog.pg_publication_tables WHERE pubname = '${publication ?? ''}'
        AND schemaname = 'lockgate' AND tablename = 'heartbeat') AS published`);
  if (facts === undefined) return;
  const refuse = (code: string, message: string, hint: string): never => {
    throw new SourceError(code, `${placeOf(db)}: ${message}`, hint);
  };
  if (facts.recovery) {
    refuse('wal_standby', 'the WAL of a standby is not read', 'nothing to do: heartbeats are polled there');
  }
  if (facts.wal_level !== 'logical') {
    const hint = 'set wal_level = logical and restart the server (RDS: rds.logical_replication = 1), or `read: off`';
    refuse('wal_level', `wal_level is ${facts.wal_level}`, hint);
  }
  if (publication !== null && (!facts.publication || !facts.published)) {
    const what = facts.publication
      ? `publication ${publication} lacks lockgate.heartbeat`
      : `there is no publication ${publication}`;
    refuse('wal_publication', what, 'run `lockgate setup` on this database');
  }
  if (/(^|[(,\s])"?\*"?($|[),\s])/.test(facts.sync_names)) {
    const hint = 'name the standbys in synchronous_standby_names, or set `read: off` for this database';
    refuse('wal_synchronous', 'synchronous_standby_names = * would make commits wait for a monitor', hint);
  }
  // The slot is still to be made, while our walsender is counted already.
  const few = tooFew(db, facts.slots_left - 1, facts.senders_left);
  if (few !== null) throw few;
}

/**
 * Looks over an ordinary connection, before a replication connection is opened, whether a reader would leave enough slots
 * and walsenders; throws the SourceError that says so when not. The connection itself would be a walsender already, and
 * for that moment it could be the one that a subscription needs to come back.
 */
export async function checkRoom(
  side: <R>(sql: string, values: readonly unknown[]) => Promise<R[]>,
  db: DatabaseConfig,
): Promise<void> {
  const [room] = await side<Pick<Facts, 'slots_left' | 'senders_left'>>(
    `SELECT pg_catalog.current_setting('max_replication_slots')::int
        - (SELECT count(*) FROM pg_catalog.pg_replication_slots)::int AS slots_left,
      pg_catalog.current_setting('max_wal_senders')::int
        - (SELECT count(*) FROM pg_catalog.pg_stat_get_wal_senders())::int AS senders_left
      WHERE NOT pg_catalog.pg_is_in_recovery() AND pg_catalog.current_setting('wal_level') = 'logical'`,
    [],
  );
  const few = room === undefined ? null : tooFew(db, room.slots_left - 1, room.senders_left - 1);
  if (few !== null) throw few;
}

/** The error that says a reader leaves too few slots or walsenders for replication itself; null when it leaves enough. */
export function tooFew(db: DatabaseConfig, slotsLeft: number, sendersLeft: number): SourceError | null {
  if (slotsLeft >= spare && sendersLeft >= spare) return null;
  return new SourceError(
    'wal_few_slots',
    `${placeOf(db)}: fewer than ${spare} replication slots or walsenders would be left for replication`,
    'raise max_replication_slots and max_wal_senders, drop unused slots, or set `read: off`',
  );
}

/** Whether the reader's slot has become a burden on the server: the error that says so, or null. */
export async function checkWalUse(
  side: <R>(sql: string, values: readonly unknown[]) => Promise<R[]>,
  db: DatabaseConfig,
  slotPrefix: string,
): Promise<SourceError | null> {
  const slots = await side<{ slot_name: string; retained: string | null; stats: boolean }>(
    `SELECT slot_name::text, pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), restart_lsn)::text AS retained,
        pg_catalog.to_regclass('pg_catalog.pg_stat_replication_slots') IS NOT NULL AS stats
      FROM pg_catalog.pg_replication_slots WHERE temporary AND pg_catalog.starts_with(slot_name::text, $1)
        AND pg_catalog.length(slot_name::text) = pg_catalog.length($1) + 8`, // else those of another reader would count
    [`${slotPrefix}_`],
  );
  const hint = 'end long write transactions; the reader starts again after a rest; or set `read: off`';
  for (const slot of slots) {
    if (Number(slot.retained ?? 0) > maxRetainedBytes) {
      return new SourceError(
        'wal_retains',
        `${placeOf(db)}: the WAL reader's slot kept back more than 1 GiB of WAL`,
        hint,
      );
    }
  }
  if (slots[0]?.stats !== true) return null;
  const spills = await side<{ spilled: string }>(
    `SELECT spill_bytes::text AS spilled FROM pg_catalog.pg_stat_replication_slots WHERE slot_name = ANY($1)`,
    [slots.map((slot) => slot.slot_name)],
  );
  if (!spills.some(({ spilled }) => Number(spilled) > maxSpilledBytes)) return null;
  return new SourceError('wal_spills', `${placeOf(db)}: the WAL reader's slot spilled more than 1 GiB to disk`, hint);
}
