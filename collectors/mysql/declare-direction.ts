import type { DatabaseConfig } from '../../daemon/core/config.js';
import type { DirectionRow } from '../../daemon/core/direction.js';
import { LockgateError, SourceError } from '../../daemon/core/errors.js';
import type { Log } from '../collector.js';
import { placeOf } from '../session/faults.js';
import { firstReaderId, readReplicas } from './binlog-checks.js';
import type { Budget } from './budget.js';
import type { MysqlConnection } from './connection.js';
import { errnoOf } from './mysql-errors.js';

const noPrivilege: ReadonlySet<number | null> = new Set([1227, 1142]);

/**
 * Writes the row of a migration in `lockgate.direction`, unless a row with its epoch or a higher one is there: one statement,
 * so that of two daemons that declare at once the higher epoch stays.
 *
 * Each side has a row of its own, so the row stays out of the binlog where the user may leave it (MySQL:
 * SESSION_VARIABLES_ADMIN, MariaDB: BINLOG ADMIN), which is no privilege that every service gives away. Where the user may
 * not, replicas get the row too, which says nothing wrong, because the highest epoch counts wherever it is read; but an
 * INSERT of a row that a replica has already would stop its apply, so that is refused. The session is of no use for
 * anything else afterwards.
 */
export async function writeDirection(
  connection: MysqlConnection,
  db: DatabaseConfig,
  row: DirectionRow,
  log: Log,
  budget: Budget,
): Promise<void> {
  if (!(await leaveBinlog(connection, budget))) {
    await refuseCollision(connection, db, row, budget);
    log.info(
      { database: db.name, migration: row.migration },
      'the direction is written through the binlog, because the user may not leave it: replicas get the row too',
    );
  }
  const { migration, epoch, direction, changedBy, reason } = row;
  const changedAt = row.changedAt === null ? null : datetimeOf(row.changedAt);
  // Assignments are made one after the other, so the epoch, which the others compare with, is the last.
  await connection.execute(
    `INSERT INTO lockgate.direction (migration, epoch, direction, changed_at, changed_by, reason) VALUES (?, ?, ?, ?, ?, ?)
      ON DUPLICATE KEY UPDATE direction = IF(epoch < ?, ?, direction), changed_at = IF(epoch < ?, ?, changed_at),
        changed_by = IF(epoch < ?, ?, changed_by), reason = IF(epoch < ?, ?, reason), epoch = IF(epoch < ?, ?, epoch)`,
    [
      ...[migration, epoch, direction, changedAt, changedBy, reason],
      ...[direction, changedAt, changedBy, reason, epoch].flatMap((value) => [epoch, value]),
    ],
    { timeoutMs: budget.nextMs() },
  );
}

async function leaveBinlog(connection: MysqlConnection, budget: Budget): Promise<boolean> {
  try {
    await connection.execute('SET SESSION sql_log_bin = 0', undefined, { timeoutMs: budget.nextMs() });
    return true;
  } catch (error) {
    if (error instanceof LockgateError && noPrivilege.has(errnoOf(error))) return false;
    throw error;
  }
}

/**
 * The row of an epoch before this one is on another server. Where it has not come here by replication, an INSERT through
 * the binlog meets it there.
 */
async function refuseCollision(
  connection: MysqlConnection,
  db: DatabaseConfig,
  { migration, epoch }: DirectionRow,
  budget: Budget,
): Promise<void> {
  if (epoch <= 1) return;
  const timed = { timeoutMs: budget.nextMs() };
  const rows = await connection.query('SELECT 1 FROM lockgate.direction WHERE migration = ?', [migration], timed);
  if (rows.length > 0) return;
  if (!(await hasReplicas(connection, db, budget))) return;
  const mariadb = connection.version.flavour === 'mariadb';
  throw new SourceError(
    'mysql_direction_collision',
    `${placeOf(db)}: it has no row of ${migration} in lockgate.direction, though this is epoch ${String(epoch)}, so the one ` +
      'before is elsewhere; written through the binlog the row could stop the replicas that have that one',
    `let it be written beside the binlog: GRANT ${mariadb ? 'BINLOG ADMIN' : 'SESSION_VARIABLES_ADMIN'} ON *.* TO '${db.address.user}'@'…'`,
  );
}

/** Whether servers replicate from this one now; readers such as lockgate's own, and DMS, are none. */
async function hasReplicas(connection: MysqlConnection, db: DatabaseConfig, budget: Budget): Promise<boolean> {
  if (connection.version.flavour === 'mysql') {
    const own = db.serverId ?? null;
    return (await readReplicas(connection)).some((id) => id < firstReaderId && id !== own);
  }
  // MariaDB lists its replicas only for those who may administer them.
  const dumps = await connection.query(
    `SELECT 1 FROM information_schema.PROCESSLIST
      WHERE COMMAND = 'Binlog Dump' AND USER <> SUBSTRING_INDEX(USER(), '@', 1)`,
    undefined,
    { timeoutMs: budget.nextMs() },
  );
  return dumps.length > 0;
}

/** An instant as the servers spell it, in UTC as every session of ours. */
function datetimeOf(iso: string): string {
  return new Date(iso).toISOString().slice(0, -1).replace('T', ' ');
}
