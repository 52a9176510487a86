import type { Clock } from '../../daemon/core/clock.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { LockgateError, reasonOf } from '../../daemon/core/errors.js';
import type { DirectionRows } from '../../daemon/core/observation.js';
import type { MysqlConnection } from './connection.js';
import { errnoOf } from './mysql-errors.js';

interface Row {
  migration: string;
  epoch: string | number;
  direction: string;
  changed_at: string | null;
  changed_by: string | null;
  reason: string | null;
}

const noSuchTable: ReadonlySet<number | null> = new Set([1146, 1049]);

/**
 * What `lockgate.direction` says on a server. Where there is no such table there can be no row either; but a server tells
 * a user without privileges on it the same, so that privileges are asked for first.
 */
export async function readDirection(
  connection: MysqlConnection,
  db: DatabaseConfig,
  clock: Clock,
  timeoutMs: number,
): Promise<DirectionRows> {
  const base = { kind: 'direction-rows', database: db.name } as const;
  const askedAt = clock.monotonicNow();
  try {
    const rows = await connection.query<Row>(
      `SELECT migration, epoch, direction, changed_by, reason,
          DATE_FORMAT(changed_at, '%Y-%m-%dT%H:%i:%s.%fZ') AS changed_at
        FROM lockgate.direction`,
      undefined,
      { timeoutMs },
    );
    const unusable: { migration: string; reason: string }[] = [];
    const usable = rows.flatMap((row) => {
      const epoch = Number(row.epoch);
      const { direction } = row;
      if ((direction === 'forward' || direction === 'reverse') && Number.isSafeInteger(epoch) && epoch >= 0) {
        return [
          {
            migration: row.migration,
            epoch,
            direction,
            changedAt: row.changed_at,
            changedBy: row.changed_by,
            reason: row.reason,
          } as const,
        ];
      }
      const reason = `lockgate.direction on ${db.name}, migration ${row.migration}: the row makes no sense; correct it`;
      unusable.push({ migration: row.migration, reason });
      return [];
    });
    return { ...base, rows: usable, unusable, reason: null, askedAt, at: clock.monotonicNow() };
  } catch (error) {
    if (!(error instanceof LockgateError)) throw error;
    if (noSuchTable.has(errnoOf(error))) return { ...base, rows: [], reason: null, askedAt, at: clock.monotonicNow() };
    return { ...base, rows: null, reason: reasonOf(error), at: clock.monotonicNow() };
  }
}
