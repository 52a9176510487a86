import type { DirectionRow } from '../../daemon/core/direction.js';
import type { DirectionRows } from '../../daemon/core/observation.js';
import type { LinkName } from '../../daemon/core/signal.js';
import type { DirectionRow as ShownRow, DirectionSight } from './side.js';

/**
 * Makes the observation of what a look at `lockgate.direction` found. A row that makes no sense takes away what is known
 * of the migration that it names, and of that one only; a row that names none takes away everything.
 */
export function directionRows(sight: DirectionSight): DirectionRows {
  const { database, at } = sight;
  const base = { kind: 'direction-rows', database, at } as const;
  if (sight.rows === null) return { ...base, rows: null, reason: sight.reason };
  const rows = new Map<string, DirectionRow>();
  const unusable = new Map<string, string>();
  for (const row of sight.rows) {
    // The column takes no nulls, but the table may not be lockgate's own.
    const migration = row.migration as string | null;
    if (migration === null || migration === '') {
      return {
        ...base,
        rows: null,
        reason: `a row of lockgate.direction on ${database} names no migration: delete it`,
      };
    }
    const usable = parsed(row);
    const what = usable === null ? nonsense(row) : rows.has(migration) ? 'there are two rows of it' : null;
    if (what !== null) {
      unusable.set(migration, `lockgate.direction on ${database}, migration ${migration}: ${what}; correct it`);
    } else if (usable !== null) rows.set(migration, usable);
  }
  return {
    ...base,
    askedAt: sight.askedAt,
    rows: [...rows.values()].filter((row) => !unusable.has(row.migration)),
    unusable: [...unusable].map(([migration, reason]) => ({ migration, reason })),
    reason: null,
  };
}

function parsed(row: ShownRow): DirectionRow | null {
  if (!isLinkName(row.direction) || !Number.isSafeInteger(row.epoch) || row.epoch < 0) return null;
  return { ...row, direction: row.direction };
}

function nonsense({ direction, epoch }: ShownRow): string {
  if (isLinkName(direction)) return `the epoch ${epoch} is no whole number that can be counted on from`;
  return `${JSON.stringify(direction)} is no direction (forward or reverse)`;
}

function isLinkName(text: string): text is LinkName {
  return text === 'forward' || text === 'reverse';
}
