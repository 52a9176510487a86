/**
 * The direction that carries production writes. It is written as a row on the databases themselves, so that every
 * daemon, and one that lost its store, reads the same. A side that cannot be read may hold the newer epoch; then the
 * direction is unknown, never assumed.
 */
import type { LinkName } from './signal.js';

/** A row of `lockgate.direction`. */
export interface DirectionRow {
  migration: string;
  epoch: number;
  direction: LinkName;
  changedAt: string | null;
  changedBy: string | null;
  reason: string | null;
}

/** What one side says of the direction: its row, that it has none, or why it could not be asked. */
export type DirectionAnswer = { row: DirectionRow | null } | { unknown: string };

/** What is known of the direction of a migration. */
export type Direction =
  { direction: LinkName; epoch: number; changedAt: string | null } | { direction: 'unknown'; reason: string };

/** Decides the direction from what both sides say: the higher epoch counts, and without any row it is forward. */
export function resolveDirection(source: DirectionAnswer, target: DirectionAnswer): Direction {
  if ('unknown' in source) return { direction: 'unknown', reason: `source: ${source.unknown}` };
  if ('unknown' in target) return { direction: 'unknown', reason: `target: ${target.unknown}` };
  const rows = [source.row, target.row].filter((r): r is DirectionRow => r !== null);
  const [a, b] = rows;
  if (a === undefined) return { direction: 'forward', epoch: 0, changedAt: null };
  if (b !== undefined && a.epoch === b.epoch && a.direction !== b.direction) {
    return {
      direction: 'unknown',
      reason: `both sides have epoch ${a.epoch} in lockgate.direction, but one says ${a.direction} and the other ${b.direction}: correct the row that is wrong`,
    };
  }
  const newest = b !== undefined && b.epoch > a.epoch ? b : a;
  return { direction: newest.direction, epoch: newest.epoch, changedAt: newest.changedAt };
}
