/** What is known of a migration's direction: what both sides say, what follows from it, and for how long. */
import type { Us } from './core/clock.js';
import type { MigrationConfig } from './core/config.js';
import type { Direction, DirectionAnswer } from './core/direction.js';
import type { DirectionRows } from './core/observation.js';
import { known, unknown, type Reading, type SideName } from './core/signal.js';

/** How long what a side says of itself counts: three times its collector's interval of a second. */
export const SIDE_FRESH_US: Us = 3_000_000;

/** A direction that is known. */
export type KnownDirection = Exclude<Direction, { direction: 'unknown' }>;

/** A migration as the engine sees it at present. */
export interface MigrationState {
  config: MigrationConfig;
  direction: Direction;
  /** The last direction that was not unknown; null when there was none. */
  lastKnown: KnownDirection | null;
  answers: Record<SideName, { answer: DirectionAnswer; at: Us }>;
}

/** Whether the application writes to both sides itself, so that no write there is stray. */
export function isDual({ config }: MigrationState): boolean {
  return config.links.forward.via === 'none';
}

/** What one side says of the direction of a migration. */
export function directionAnswer(o: DirectionRows, migration: string): DirectionAnswer {
  if (o.rows === null) return { unknown: o.reason ?? 'the collector gave no reason' };
  const unusable = o.unusable?.find((u) => u.migration === migration);
  if (unusable !== undefined) return { unknown: unusable.reason };
  return { row: o.rows.find((r) => r.migration === migration) ?? null };
}

/** A reading seen through the direction is usable only as long as the direction itself is fresh. */
export function withinDirection(m: MigrationState, reading: Reading): Reading {
  if (reading.value === null) return reading;
  const directionUntil = Math.min(m.answers.source.at, m.answers.target.at) + SIDE_FRESH_US;
  if (directionUntil < reading.observedAt) {
    return unknown('the direction was not read from both sides lately', reading.observedAt);
  }
  return { ...reading, freshUs: Math.min(reading.freshUs, directionUntil - reading.observedAt) };
}

/** Whether the target carries the writes, for as long as both sides' answers are fresh. */
export function reversed(m: MigrationState, now: Us): Reading {
  const { direction } = m;
  if (direction.direction === 'unknown') return unknown(`the direction is unknown: ${direction.reason}`, now);
  const observedAt = Math.min(m.answers.source.at, m.answers.target.at);
  if (now - observedAt > SIDE_FRESH_US) return unknown('the direction was not read from both sides lately', now);
  return known(direction.direction === 'reverse' ? 1 : 0, observedAt, SIDE_FRESH_US);
}

/**
 * The direction that both sides' rows make, unless it contradicts one that was known already: rows whose epoch went back
 * were deleted or lost by a restore, and what they say is not the present.
 */
export function notBefore(last: KnownDirection | null, found: Direction): Direction {
  if (last === null || found.direction === 'unknown' || found.epoch > last.epoch) return found;
  if (found.epoch === last.epoch && found.direction === last.direction) return found;
  return {
    direction: 'unknown',
    reason:
      `lockgate.direction says ${found.direction} with epoch ${found.epoch}, but it said ${last.direction} with epoch ${last.epoch} before ` +
      `(a side was restored, or rows were changed by hand): write the right direction with epoch ${last.epoch + 1} on its active side`,
  };
}
