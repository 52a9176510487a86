/** Local and stray writes of both sides of every migration. */
import type { Us } from './core/clock.js';
import type { Direction } from './core/direction.js';
import { unknown, type Reading, type SideName } from './core/signal.js';
import { EMPTY_STRAYS, StrayTracker, type LocalWrite, type StrayMemory } from './core/stray.js';

/** Memories by `migration.side`, as they are kept in the store. */
export type StrayMemories = Readonly<Record<string, StrayMemory>>;

/** The side that carries no production writes; null while the direction is unknown. */
export function passiveSide(direction: Direction): SideName | null {
  if (direction.direction === 'unknown') return null;
  return direction.direction === 'forward' ? 'target' : 'source';
}

/** One tracker for each side of each migration. */
export class Strays {
  private readonly trackers = new Map<string, StrayTracker>();

  constructor(kept: StrayMemories) {
    for (const [key, memory] of Object.entries(kept)) this.trackers.set(key, new StrayTracker(memory));
  }

  /** The tracker of a side. */
  of(migration: string, side: SideName): StrayTracker {
    const key = `${migration}.${side}`;
    const tracker = this.trackers.get(key) ?? new StrayTracker();
    this.trackers.set(key, tracker);
    return tracker;
  }

  /**
   * Takes local writes of a side. While the direction is unknown nobody can say that they are not stray, so they count
   * unless the side is certainly the active one.
   */
  wrote(
    migration: string,
    side: SideName,
    direction: Direction,
    writes: readonly LocalWrite[],
    at: Us,
    wall: number,
  ): boolean {
    const active = passiveSide(direction) !== null && passiveSide(direction) !== side;
    this.of(migration, side).wrote(at, wall, writes, !active);
    return !active;
  }

  /** What `standby.stray_writes` reads. */
  reading(migration: string, direction: Direction, now: Us): Reading {
    const side = passiveSide(direction);
    if (side === null) return unknown('the direction is unknown, and so is which side is passive', now);
    return this.of(migration, side).strays(now);
  }

  /** What the API shows of a side: null where nothing is known. */
  shown(migration: string, side: SideName): StrayMemory {
    return this.trackers.get(`${migration}.${side}`)?.kept ?? EMPTY_STRAYS;
  }

  /** Clears both sides of a migration of what was written before `begunAt` (wall clock). */
  clear(migration: string, begunAt: number): void {
    for (const side of ['source', 'target'] as const) this.of(migration, side).clear(begunAt);
  }

  /** Everything, for the store. */
  get kept(): StrayMemories {
    return Object.fromEntries([...this.trackers].map(([key, tracker]) => [key, tracker.kept]));
  }
}
