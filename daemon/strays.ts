/** Local writes of the sides of all migrations: who is passive now, and what is latched of stray writes. */
import type { Us } from './core/clock.js';
import type { Config } from './core/config.js';
import type { Direction } from './core/direction.js';
import type { LocalWatch, LocalWrites } from './core/observation.js';
import { known, stateAt, unknown, type Reading, type SideName } from './core/signal.js';
import { EMPTY_STRAYS, StrayTracker, type Gap, type LocalWrite, type StrayMemory } from './core/stray.js';

/** Memories by `migration.side`, as they are kept in the store. */
export type StrayMemories = Readonly<Record<string, StrayMemory>>;

/** A side whose first stray write has just been latched. */
export interface FirstStray {
  side: SideName;
  latched: StrayMemory;
}

/** The databases that replication writes to through ordinary sessions, so that nothing there tells what is local. */
export function appliedBySessions(config: Pick<Config, 'migrations'>): ReadonlySet<string> {
  const links = [...config.migrations.values()].flatMap((m) => Object.values(m.links));
  return new Set(links.filter((l) => l.via === 'dms').map((l) => l.to));
}

const SIDES: readonly SideName[] = ['source', 'target'];

/** The side that carries no production writes; null while the direction is unknown. */
export function passiveSide(direction: Direction): SideName | null {
  if (direction.direction === 'unknown') return null;
  return direction.direction === 'forward' ? 'target' : 'source';
}

/** Since when (wall clock) both sides of a migration were written to, by its name. */
export type SplitMemories = Readonly<Record<string, number>>;

/** One tracker for each side of each migration. */
export class Strays {
  private readonly trackers = new Map<string, StrayTracker>();
  private readonly splits: Map<string, number>;

  constructor(kept: StrayMemories, splits: SplitMemories = {}) {
    this.splits = new Map(Object.entries(splits));
    // A store that an earlier version has written may know less.
    for (const [key, memory] of Object.entries(kept)) {
      this.trackers.set(key, new StrayTracker({ ...EMPTY_STRAYS, ...memory }));
    }
  }

  /**
   * Takes what is known of a migration's direction now; answers what that made stray. `dual`: the application writes to
   * both sides itself, and neither is ever passive.
   */
  turn(migration: string, direction: Direction, wall: number, dual = false): FirstStray[] {
    const passive = passiveSide(direction);
    const epoch = direction.direction === 'unknown' ? 0 : direction.epoch;
    const since = changedAt(direction, wall);
    const role = (side: SideName): boolean | null => (dual ? false : passive === null ? null : passive === side);
    return SIDES.flatMap((side) => this.change(migration, side, (t) => t.turn(role(side), epoch, wall, since)));
  }

  /** The clocks jumped: what was confirmed before does not count. */
  doubt(now: Us): void {
    for (const tracker of this.trackers.values()) tracker.doubt(now);
  }

  /** Takes what a side's reader says; `wall` is the wall clock at the instant of the observation. */
  observe(migration: string, side: SideName, o: LocalWatch | LocalWrites, wall: number): FirstStray[] {
    return this.change(migration, side, (t) => {
      if (o.kind === 'local-writes') t.wrote(o.at, wall, o.writes);
      else if (o.watching) t.watching(o.at, wall, o.emptyGap, o.mark, o.reason);
      else t.unwatched(o.reason ?? 'its local writes are not watched');
    });
  }

  /** Writes and a gap of the time just before a side became the passive one. */
  missed(
    migration: string,
    side: SideName,
    writes: readonly LocalWrite[],
    gap: Gap | null,
    wall: number,
  ): FirstStray[] {
    return this.change(migration, side, (t) => t.before(writes, gap, wall));
  }

  /** Nothing on this side tells what is local. */
  unwatched(migration: string, side: SideName, reason: string): void {
    this.of(migration, side).unwatched(reason);
  }

  /** A change of direction was seen among the changes of a side. */
  directionTouched(migration: string, side: SideName, wall: number): FirstStray[] {
    return this.change(migration, side, (t) => t.directionTouched(wall));
  }

  /** Readings of a side's own signals. */
  local(migration: string, side: SideName, now: Us): { writes: Reading; age: Reading } {
    return this.of(migration, side).local(now);
  }

  /**
   * What `standby.stray_writes` reads: those of the passive side, and those of the other one from when it was the passive
   * one, which a change of direction does not clear.
   */
  reading(migration: string, direction: Direction, now: Us): Reading {
    const own = this.ofPassive(migration, direction, now);
    const passive = passiveSide(direction);
    if (passive === null) return own;
    const former = passive === 'source' ? 'target' : 'source';
    const { count, gaps, firstPosition } = this.shown(migration, former);
    if (count > 0) {
      const at = firstPosition === null ? '' : `, the first at ${firstPosition}`;
      const reasons = [`${count} stray on the ${former} from when it was the passive side${at}`, own.reason];
      const exact = own.value !== null && own.bound === 'exact' && gaps.length === 0;
      const reason = reasons.filter((r) => r !== null).join('; and ');
      return { ...known((own.value ?? 0) + count, now, Infinity, reason), bound: exact ? 'exact' : 'at-least' };
    }
    const [gap] = gaps;
    if (gap === undefined) return own;
    const [from, to] = [new Date(gap.from).toISOString(), new Date(gap.to).toISOString()];
    const missed = `the ${former} was not watched from ${from} to ${to}, when it was the passive side (${gap.reason})`;
    if ((own.value ?? 0) > 0) return { ...own, bound: 'at-least', reason: `${own.reason ?? ''}; and ${missed}` };
    return unknown(
      `${missed}: a write in that time would not have been seen; compare the data, then attest stray-writes-reconciled`,
      now,
    );
  }

  /** The same of the side alone that is the passive one now. */
  private ofPassive(migration: string, direction: Direction, now: Us): Reading {
    const side = passiveSide(direction);
    if (side === null) return unknown('the direction is unknown, and so is which side is passive', now);
    return this.of(migration, side).strays(now);
  }

  /**
   * What `split_brain` reads: stray writes that nobody has reconciled while the active side is being written to as well.
   * Latched like the stray writes; answers whether it was latched just now.
   */
  splitBrain(migration: string, direction: Direction, now: Us, wall: number): { reading: Reading; latched: boolean } {
    const strays = this.ofPassive(migration, direction, now);
    const passive = passiveSide(direction);
    const since = this.splits.get(migration);
    if (since !== undefined) return { reading: splitSince(since, now), latched: false };
    if (passive === null || strays.value === null || strays.value === 0) return { reading: strays, latched: false };
    const active = passive === 'source' ? 'target' : 'source';
    const { writes } = this.local(migration, active, now);
    if ((writes.value ?? 0) === 0) {
      // None in a time that was not watched whole says nothing; one is enough.
      if (stateAt(writes, now) === 'ok') return { reading: writes, latched: false };
      const why = `whether the ${active} is being written to as well is not known yet: ${writes.reason ?? 'it is watched no more'}`;
      return { reading: unknown(why, now), latched: false };
    }
    this.splits.set(migration, wall);
    return { reading: splitSince(wall, now), latched: true };
  }

  /** Whether it matters if the active side is being written to: the other one was, and more is not known yet. */
  suspectsSplit(migration: string, direction: Direction): boolean {
    const passive = passiveSide(direction);
    return passive !== null && !this.splits.has(migration) && this.shown(migration, passive).count > 0;
  }

  /** A switch begins, whose end `release` tells: what is written to this side meanwhile is not counted. */
  hold(migration: string, side: SideName): void {
    this.of(migration, side).hold();
  }

  /** The switch has ended, carried through or not. */
  release(migration: string, carriedThrough: boolean, wall: number): FirstStray[] {
    return SIDES.flatMap((side) => this.change(migration, side, (t) => t.release(carriedThrough, wall)));
  }

  /** What the API shows of a side. */
  shown(migration: string, side: SideName): StrayMemory {
    return this.trackers.get(`${migration}.${side}`)?.kept ?? EMPTY_STRAYS;
  }

  /** What is latched of a migration, as text that `clear` changes if it clears anything; null when nothing is. */
  latched(migration: string): string | null {
    const sides = SIDES.map((side) => this.shown(migration, side)).map(({ count, gaps }) => ({ count, gaps }));
    const split = this.splits.get(migration);
    const clean = split === undefined && sides.every(({ count, gaps }) => count === 0 && gaps.length === 0);
    return clean ? null : JSON.stringify([sides, split]);
  }

  /** Clears both sides of a migration of what was written before `begunAt` (wall clock), or of everything (Infinity). */
  clear(migration: string, begunAt: number, wall: number): void {
    if ((this.splits.get(migration) ?? Infinity) <= begunAt) this.splits.delete(migration);
    for (const side of SIDES) this.of(migration, side).clear(begunAt, wall);
  }

  /** Everything, for the store. */
  get kept(): StrayMemories {
    return Object.fromEntries([...this.trackers].map(([key, tracker]) => [key, tracker.kept]));
  }

  /** The same of what is latched of both sides. */
  get keptSplits(): SplitMemories {
    return Object.fromEntries(this.splits);
  }

  private of(migration: string, side: SideName): StrayTracker {
    const key = `${migration}.${side}`;
    const tracker = this.trackers.get(key) ?? new StrayTracker();
    this.trackers.set(key, tracker);
    return tracker;
  }

  private change(migration: string, side: SideName, act: (tracker: StrayTracker) => void): FirstStray[] {
    const tracker = this.of(migration, side);
    const before = tracker.kept.count;
    act(tracker);
    return before === 0 && tracker.kept.count > 0 ? [{ side, latched: tracker.kept }] : [];
  }
}

/** When the direction was changed to what it is; `wall` where its row does not tell, null when it never was. */
function changedAt(direction: Direction, wall: number): number | null {
  if (direction.direction === 'unknown' || direction.epoch === 0) return null;
  const at = Date.parse(direction.changedAt ?? '');
  return Number.isNaN(at) ? wall : at;
}

function splitSince(wall: number, now: Us): Reading {
  const when = new Date(wall).toISOString();
  const reason = `since ${when} both sides have been written to: compare the data, then attest stray-writes-reconciled`;
  return known(1, now, Infinity, reason);
}
