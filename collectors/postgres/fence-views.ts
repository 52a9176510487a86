/** What a fence asks of a database: where it stands, what may still commit there, and whether a marker has arrived. */
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { SourceError, TransientError } from '../../daemon/core/errors.js';
import { parseLsn, type Position } from '../../daemon/core/position.js';
import type { LinkId } from '../../daemon/core/signal.js';
import { quoteIdent, type PgConnection } from './connection.js';
import { placeOf } from './pg-errors.js';
import { walEnd } from './wal-end.js';

/** Clauses that are told of each kind; the rest is counted. */
const mostTold = 20;

// Of a standby, which has no timeline of its own, that of its last restart point. A standby is told apart from its
// primary, with which it shares the rest: an address that wanders from one to the other must not go unnoticed.
const identityColumns = `
         CASE WHEN pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
              THEN (SELECT c.system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system() c) END AS system,
         CASE WHEN NOT r.recovery
              THEN pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8)
              WHEN pg_catalog.has_function_privilege('pg_catalog.pg_control_checkpoint()', 'EXECUTE')
              THEN (SELECT pg_catalog.lpad(pg_catalog.upper(pg_catalog.to_hex(c.timeline_id)), 8, '0')
                      FROM pg_catalog.pg_control_checkpoint() c) END AS timeline,
         (SELECT d.oid::pg_catalog.text FROM pg_catalog.pg_database d
           WHERE d.datname = pg_catalog.current_database()) AS database,
         r.recovery`;

const fromRecovery = 'FROM (SELECT pg_catalog.pg_is_in_recovery() AS recovery) r';

interface IdentityRow {
  system: string | null;
  timeline: string | null;
  database: string;
  recovery: boolean;
}

/** The server, its history, its role and the database there, in one text; throws when they may not be read. */
function identityOf(db: DatabaseConfig, { system, timeline, database, recovery }: IdentityRow): string {
  if (system !== null && timeline !== null) {
    return `${system}/${timeline}/${database}${recovery ? '/standby' : ''}`;
  }
  const what = system === null ? 'pg_control_system' : 'pg_control_checkpoint';
  throw new SourceError(
    'pg_identity_hidden',
    `${placeOf(db)}: the server's identity may not be read`,
    `GRANT EXECUTE ON FUNCTION pg_catalog.${what}() TO ${quoteIdent(db.address.user)}`,
  );
}

const standSql = `
  SELECT ${identityColumns},
         pg_catalog.current_setting('transaction_read_only') = 'on' AS read_only,
         CASE WHEN r.recovery THEN NULL ELSE pg_catalog.pg_current_wal_flush_lsn() END::pg_catalog.text AS flushed,
         CASE WHEN r.recovery
              THEN GREATEST(pg_catalog.pg_last_wal_replay_lsn(), pg_catalog.pg_last_wal_receive_lsn(), '0/0')
              ELSE pg_catalog.pg_current_wal_insert_lsn() END::pg_catalog.text AS inserted
    ${fromRecovery}`;

/** Where a database stands. */
export interface Stand {
  /** What had committed when it was asked is at or before it; on a standby what it has got by then. */
  position: Position;
  identity: string;
  inRecovery: boolean;
  /** New sessions cannot write. */
  readOnly: boolean;
}

/** Reads where the database stands. */
export async function readStand(connection: PgConnection, db: DatabaseConfig, timeoutMs: number): Promise<Stand> {
  const [row] = await connection.query<IdentityRow & { read_only: boolean; flushed: string | null; inserted: string }>(
    { name: 'stand', text: standSql },
    undefined,
    { timeoutMs },
  );
  if (row === undefined) throw nothing();
  const inserted = parseLsn(row.inserted);
  const lsn = row.flushed === null ? inserted : walEnd(parseLsn(row.flushed), inserted);
  return {
    position: { kind: 'lsn', lsn },
    identity: identityOf(db, row),
    inRecovery: row.recovery,
    readOnly: row.recovery || row.read_only,
  };
}

// Everyone may read these catalogs, and no privilege hides a row of them. Hashes are added up instead of sorted: one
// pass over each catalog. Ids tell a table that was made anew under the same name; a new file for the same table (VACUUM
// FULL, TRUNCATE) changes none, and statistics and counters are not among these columns. DMS's control tables, made on
// either side while it works, are no application's.
const applicationTables = `
  SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, c.relreplident, i.inhparent
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid AND c.relispartition
   WHERE c.relkind IN ('r', 'p') AND c.relpersistence IN ('p', 'u') AND c.oid >= 16384
     AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'lockgate') AND c.relname !~ '^awsdms_'`;

const summed = (columns: string): string =>
  `coalesce(sum(pg_catalog.hashtextextended(ROW(${columns})::pg_catalog.text, 0)), 0)`;

const schemaSql = `
  WITH t AS MATERIALIZED (${applicationTables})
  SELECT pg_catalog.md5(pg_catalog.concat_ws(' ',
    (SELECT count(*) || ' ' || ${summed('t.*')} FROM t),
    (SELECT count(*) || ' ' || ${summed(
      'a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attcollation, a.attnotnull, a.attgenerated',
    )} FROM pg_catalog.pg_attribute a JOIN t ON t.oid = a.attrelid WHERE a.attnum > 0 AND NOT a.attisdropped),
    (SELECT count(*) || ' ' || ${summed(
      `i.indrelid, x.relname, i.indisprimary, i.indimmediate, i.indisreplident, i.indnkeyatts, i.indkey, i.indcollation,
       i.indclass, i.indexprs::pg_catalog.text, i.indpred::pg_catalog.text`,
    )} FROM pg_catalog.pg_index i JOIN t ON t.oid = i.indrelid JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
      WHERE i.indisunique AND i.indisvalid),
    (SELECT count(*) || ' ' || ${summed('e.enumtypid, e.enumsortorder, e.enumlabel')} FROM pg_catalog.pg_enum e
      WHERE e.enumtypid >= 16384))) AS digest`;

/**
 * A digest of the application's tables: their names, columns, types, primary keys and unique indexes. Meant to be held
 * against an earlier one of the same database only.
 */
export async function readSchema(connection: PgConnection, timeoutMs: number): Promise<string> {
  const [row] = await connection.query<{ digest: string }>({ name: 'schema', text: schemaSql }, undefined, {
    timeoutMs,
  });
  if (row === undefined) throw nothing();
  return row.digest;
}

// Whoever is about to write and has no transaction id yet has written nothing. Replication's own workers are left out: what
// they write came from elsewhere.
const writersSql = `
  WITH w AS MATERIALIZED (
    SELECT s.pid, s.usename, s.application_name, s.state,
           pg_catalog.round(EXTRACT(epoch FROM pg_catalog.clock_timestamp() - s.xact_start)) AS seconds
      FROM pg_catalog.pg_stat_activity s
     WHERE s.datname = pg_catalog.current_database() AND s.backend_xid IS NOT NULL
       AND coalesce(s.backend_type, '') NOT IN ('walsender', 'autovacuum worker')
       AND coalesce(s.backend_type, '') NOT LIKE 'logical replication %'
       AND coalesce(s.application_name, '') NOT LIKE 'lockgate/%')
  SELECT ${identityColumns},
         pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') AS all_stats,
         (SELECT count(*) FROM w)::pg_catalog.int4 AS total,
         ARRAY(SELECT pg_catalog.format('backend %s (%s%s) is in a write transaction for %s s, %s', w.pid,
                        coalesce(w.usename, 'no role'), coalesce(', ' || NULLIF(w.application_name, ''), ''),
                        coalesce(w.seconds, 0), coalesce(w.state, 'state unknown'))
                 FROM w ORDER BY w.seconds DESC NULLS LAST LIMIT ${mostTold}) AS open
    ${fromRecovery}`;

/**
 * The write transactions that are open in the database, a clause each; rejects where some could be hidden. Prepared ones
 * are not among them: a transaction that is just being prepared is in one of the two when `readPrepared` is asked afterwards.
 */
export async function readWriters(
  connection: PgConnection,
  db: DatabaseConfig,
  timeoutMs: number,
): Promise<{ identity: string; open: string[] }> {
  const [row] = await connection.query<IdentityRow & { all_stats: boolean; total: number; open: string[] }>(
    { name: 'writers', text: writersSql },
    undefined,
    { timeoutMs },
  );
  if (row === undefined) throw nothing();
  const identity = identityOf(db, row);
  if (row.recovery) {
    throw new SourceError(
      'pg_standby',
      `${placeOf(db)}: this is a standby, and the write transactions that are open on its primary cannot be seen here`,
      'let the URL name the primary',
    );
  }
  if (!row.all_stats) {
    throw new SourceError(
      'pg_hidden_sessions',
      `${placeOf(db)}: the write transactions of other sessions are hidden`,
      `GRANT pg_read_all_stats TO ${quoteIdent(db.address.user)}`,
    );
  }
  return { identity, open: told(row.open, row.total) };
}

// An apply worker prepares under a name made of its subscription's id; everybody may read that view.
const preparedSql = `
  SELECT pg_catalog.format('prepared transaction %L (of %s%s) waits for its end for %s s', p.gid, p.owner,
           coalesce(', prepared by subscription ' || p.subscription, ''), p.seconds) AS what
    FROM (SELECT x.gid, x.owner,
                 pg_catalog.round(EXTRACT(epoch FROM pg_catalog.clock_timestamp() - x.prepared)) AS seconds,
                 (SELECT v.subname FROM pg_catalog.pg_stat_subscription v
                   WHERE v.subid::pg_catalog.text = pg_catalog.substring(x.gid, '^pg_gid_([0-9]+)_[0-9]+$') LIMIT 1)
                   AS subscription
            FROM pg_catalog.pg_prepared_xacts x WHERE x.database = pg_catalog.current_database()) p
   ORDER BY p.seconds DESC`;

/** The transactions that are prepared in the database, whoever prepared them, a clause each. */
export async function readPrepared(connection: PgConnection, timeoutMs: number): Promise<string[]> {
  const rows = await connection.query<{ what: string }>({ name: 'prepared', text: preparedSql }, undefined, {
    timeoutMs,
  });
  const clauses = rows.map(({ what }) => what);
  return told(clauses.slice(0, mostTold), clauses.length);
}

const identitySql = `SELECT ${identityColumns} ${fromRecovery}`;

/** Reads which server and database this is. */
export async function readIdentity(connection: PgConnection, db: DatabaseConfig, timeoutMs: number): Promise<string> {
  const [row] = await connection.query<IdentityRow>({ name: 'identity', text: identitySql }, undefined, { timeoutMs });
  if (row === undefined) throw nothing();
  return identityOf(db, row);
}

const recoverySql = `SELECT pg_catalog.pg_is_in_recovery() AS recovery,
  pg_catalog.pg_postmaster_start_time()::pg_catalog.text AS started,
  pg_catalog.pg_last_wal_replay_lsn()::pg_catalog.text AS replayed`;

/**
 * Whether a server is a standby now, which start of it this is, and what its recovery has replayed, which stays as it is
 * when the recovery has ended; null where there was none since the start.
 */
export async function readRecovery(
  connection: PgConnection,
  timeoutMs: number,
): Promise<{ inRecovery: boolean; started: string; replayed: Position | null }> {
  const [row] = await connection.query<{ recovery: boolean; started: string; replayed: string | null }>(
    { name: 'recovery', text: recoverySql },
    undefined,
    { timeoutMs },
  );
  if (row === undefined) throw nothing();
  const replayed = row.replayed === null ? null : ({ kind: 'lsn', lsn: parseLsn(row.replayed) } as const);
  return { inRecovery: row.recovery, started: row.started, replayed };
}

// While a subscription copies the table, its rows come ahead of what it applies, and a marker among them proves nothing.
const markerSql = `
  SELECT EXISTS (SELECT FROM lockgate.heartbeat h WHERE h.daemon = $1 AND h.link = $2 AND h.run = $3) AS there,
         coalesce(pg_catalog.row_security_active('lockgate.heartbeat'::pg_catalog.regclass), false) AS filtered,
         EXISTS (SELECT FROM pg_catalog.pg_subscription_rel r
                  WHERE r.srrelid = 'lockgate.heartbeat'::pg_catalog.regclass AND r.srsubstate <> 'r') AS copying`;

/** Whether the marker's row is there; rejects where it could be hidden, or have come by another way than what it marks. */
export async function readMarker(
  connection: PgConnection,
  db: DatabaseConfig,
  key: { daemon: string; link: LinkId; run: string },
  timeoutMs: number,
): Promise<boolean> {
  const [row] = await connection.query<{ there: boolean; filtered: boolean; copying: boolean }>(
    { name: 'marker', text: markerSql },
    [key.daemon, key.link, key.run],
    { timeoutMs },
  );
  if (row === undefined) throw nothing();
  if (row.filtered) {
    throw new SourceError(
      'pg_row_security',
      `${placeOf(db)}: row security may hide rows of lockgate.heartbeat`,
      'ALTER TABLE lockgate.heartbeat DISABLE ROW LEVEL SECURITY',
    );
  }
  if (row.copying) {
    throw new TransientError(
      'pg_copying',
      `${placeOf(db)}: a subscription is still copying lockgate.heartbeat (its state in pg_subscription_rel is not r)`,
      'a marker that came with the copy says nothing of other tables: wait until the copy has ended',
    );
  }
  return row.there;
}

function told(clauses: readonly string[], total: number): string[] {
  const more = total - clauses.length;
  return more > 0 ? [...clauses, `and ${more} more`] : [...clauses];
}

function nothing(): RangeError {
  return new RangeError('a statement that always returns a row returned none');
}
