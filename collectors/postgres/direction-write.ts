import type { Clock } from '../../daemon/core/clock.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import type { DirectionRow } from '../../daemon/core/direction.js';
import { SourceError } from '../../daemon/core/errors.js';
import type { DirectionRows } from '../../daemon/core/observation.js';
import { quoteIdent, type PgConnection } from './connection.js';
import { directionRows } from './direction-rows.js';
import { placeOf } from './pg-errors.js';
import { readDirection } from './side.js';

/** What a row is written with. */
export interface DirectionWriting {
  readonly db: DatabaseConfig;
  readonly clock: Clock;
  /** A session of its own, which commits with synchronous_commit = on. */
  readonly connection: PgConnection;
  /** Ends what the backend of this id is doing, over another session. */
  readonly cancel: (pid: number) => Promise<void>;
}

const queryTimeoutMs = 1_500;
/** A commit that takes longer waits for a synchronous standby that does not answer, and is on this server's disk. */
const commitMs = 2_000;
const writeTimeoutMs = 4_000;

const factsSql = `
  SELECT pg_catalog.pg_is_in_recovery() AS recovery, t.oid IS NOT NULL AS there, pg_catalog.pg_backend_pid() AS pid,
         coalesce(pg_catalog.has_schema_privilege(t.relnamespace, 'USAGE'), false) AS usable,
         ARRAY(SELECT p.name FROM pg_catalog.unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) AS p (name)
                WHERE t.oid IS NOT NULL AND NOT pg_catalog.has_table_privilege(t.oid, p.name)) AS lacking,
         coalesce(pg_catalog.row_security_active(t.oid), false) AS filtered
    FROM (SELECT 1) one
    LEFT JOIN (SELECT c.oid, c.relnamespace
                 FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid
                WHERE n.nspname = 'lockgate' AND c.relname = 'direction') t ON true`;

interface Facts {
  recovery: boolean;
  there: boolean;
  pid: number;
  usable: boolean;
  lacking: string[];
  filtered: boolean;
}

const writeSql = `
  INSERT INTO lockgate.direction AS d (migration, epoch, direction, changed_at, changed_by, reason)
  VALUES ($1, $2, $3, $4::pg_catalog.timestamptz, $5, $6)
  ON CONFLICT (migration) DO UPDATE
    SET epoch = excluded.epoch, direction = excluded.direction, changed_at = excluded.changed_at,
        changed_by = excluded.changed_by, reason = excluded.reason
  WHERE d.epoch < excluded.epoch`;

/**
 * Writes a row of `lockgate.direction`, unless one with its epoch or a higher one is there, and reads the table after
 * that. Rejects with a classified error when it cannot be written or read, within a few seconds; a synchronous standby
 * that does not answer is not waited for any longer then, and the row counts as it is on this server's disk.
 */
export async function writeDirection(writing: DirectionWriting, row: DirectionRow): Promise<DirectionRows> {
  const { db, clock, connection, cancel } = writing;
  const [facts] = await connection.query<Facts>(factsSql, undefined, { timeoutMs: queryTimeoutMs });
  if (facts === undefined) throw new RangeError('a statement that always returns a row returned none');
  const obstacle = obstacleTo(db, facts);
  if (obstacle !== null) throw obstacle;
  const written = new AbortController();
  const late = clock.sleep(commitMs, written.signal).then(async () => {
    if (!written.signal.aborted) await cancel(facts.pid).catch(() => undefined);
  });
  try {
    const { migration, epoch, direction, changedAt, changedBy, reason } = row;
    const values = [migration, epoch, direction, changedAt, changedBy, reason];
    await connection.query(writeSql, values, { timeoutMs: writeTimeoutMs });
  } finally {
    written.abort();
    await late;
  }
  return directionRows(await readDirection(connection, db.name, clock));
}

function obstacleTo(db: DatabaseConfig, { recovery, there, usable, lacking, filtered }: Facts): SourceError | null {
  const refuse = (code: string, what: string, hint: string): SourceError =>
    new SourceError(code, `${placeOf(db)}: ${what}`, hint);
  const user = quoteIdent(db.address.user);
  if (recovery) {
    return refuse(
      'pg_standby',
      'this is a standby, which takes no direction',
      'promote the database first (pg_promote)',
    );
  }
  if (!there) {
    return refuse('pg_missing_object', 'there is no table lockgate.direction', 'run `lockgate setup` on this database');
  }
  if (!usable || lacking.length > 0) {
    const grants = [
      ...(usable ? [] : [`GRANT USAGE ON SCHEMA lockgate TO ${user}`]),
      ...(lacking.length === 0 ? [] : [`GRANT ${lacking.join(', ')} ON TABLE lockgate.direction TO ${user}`]),
    ];
    return refuse('pg_privilege', 'lockgate.direction may not be written and read', grants.join('; '));
  }
  if (filtered) {
    const hint = 'ALTER TABLE lockgate.direction DISABLE ROW LEVEL SECURITY';
    return refuse('pg_row_security', 'row security may hide rows of lockgate.direction', hint);
  }
  return null;
}
