/**
 * Local and stray writes of one side. A local write is a committed change that came neither by replication nor from
 * lockgate; it is stray when the side is passive. The count of strays is latched: only an attestation, or a complete
 * verification begun afterwards, clears it.
 *
 * Unobserved is not none. Stretches in which nobody watched make the count unknown, unless the server's own evidence
 * shows that nothing was written in them.
 *
 * States of the watch: unwatched -> watching -> unwatched …; a gap is closed by evidence, or stays until cleared.
 */
import type { Us } from './clock.js';
import { known, unknown, type Reading } from './signal.js';

/** A local write as the reader saw it: never row content. */
export interface LocalWrite {
  /** Where in the server's log it committed, as the server prints it. */
  position: string;
  /** Wall clock of the commit by the server, milliseconds since 1970; null when it does not tell. */
  committedAt: number | null;
}

/** What is remembered of a side across restarts; plain JSON. */
export interface StrayMemory {
  count: number;
  firstAt: number | null;
  firstPosition: string | null;
  /** Stretches in which the side was passive and unwatched, and nothing shows that they were empty; wall clock. */
  gaps: { from: number; to: number | null; reason: string }[];
}

/** How many gaps are kept apart; more are joined to the last. */
const MOST_GAPS = 20;
/** Local writes per second are counted over this long. */
const RATE_US: Us = 10_000_000;

/** A side that nothing is known of yet. */
export const EMPTY_STRAYS: StrayMemory = { count: 0, firstAt: null, firstPosition: null, gaps: [] };

/** Counts the local writes of one side, and those among them that are stray. */
export class StrayTracker {
  private watchingSince: Us | null = null;
  private recent: { at: Us; writes: number }[] = [];
  private lastWriteAt: Us | null = null;
  private unwatchedBecause = 'its local writes have not been watched yet';

  constructor(private memory: StrayMemory = EMPTY_STRAYS) {}

  /** What is to be kept across a restart. */
  get kept(): StrayMemory {
    return this.memory;
  }

  /** The side is being watched from `at` on; `emptyGap` says that the server's evidence shows nothing was written since it was last watched. */
  watching(at: Us, wall: number, emptyGap: boolean): void {
    if (this.watchingSince !== null) return;
    this.watchingSince = at;
    this.recent = [];
    const open = this.memory.gaps.at(-1);
    if (open?.to !== null || this.memory.gaps.length === 0) return;
    const before = this.memory.gaps.slice(0, -1);
    this.memory = { ...this.memory, gaps: emptyGap ? before : [...before, { ...open, to: wall }] };
  }

  /** The side is not watched any more; while it is passive that is a gap. */
  unwatched(wall: number, reason: string, passive: boolean): void {
    this.watchingSince = null;
    this.unwatchedBecause = reason;
    const last = this.memory.gaps.at(-1);
    if (!passive || last?.to === null) return;
    const gaps = this.memory.gaps.length >= MOST_GAPS ? this.memory.gaps.slice(1) : this.memory.gaps;
    this.memory = { ...this.memory, gaps: [...gaps, { from: wall, to: null, reason }] };
  }

  /** Local writes were seen; the first of them is a new latch when nothing was latched before. */
  wrote(at: Us, wall: number, writes: readonly LocalWrite[], stray: boolean): void {
    if (writes.length === 0) return;
    this.lastWriteAt = at;
    this.recent.push({ at, writes: writes.length });
    if (!stray) return;
    const first = writes[0];
    this.memory = {
      ...this.memory,
      count: this.memory.count + writes.length,
      firstAt: this.memory.firstAt ?? first?.committedAt ?? wall,
      firstPosition: this.memory.firstPosition ?? first?.position ?? null,
    };
  }

  /** Someone has reconciled what was written before `begunAt` (wall clock). */
  clear(begunAt: number): void {
    const gaps = this.memory.gaps.filter((g) => g.to === null || g.to > begunAt);
    // A gap that is still open goes on from the moment it was cleared.
    this.memory = { ...EMPTY_STRAYS, gaps: gaps.map((g) => ({ ...g, from: Math.max(g.from, begunAt) })) };
  }

  /** Readings of `local_writes` and `last_local_write_age` at `now`. */
  local(now: Us): { writes: Reading; age: Reading } {
    if (this.watchingSince === null) {
      return { writes: unknown(this.unwatchedBecause, now), age: unknown(this.unwatchedBecause, now) };
    }
    this.recent = this.recent.filter((r) => now - r.at <= RATE_US);
    const over = Math.min(RATE_US, Math.max(1_000_000, now - this.watchingSince));
    const writes = this.recent.reduce((sum, r) => sum + r.writes, 0);
    const since = Math.max(this.lastWriteAt ?? -Infinity, this.watchingSince);
    const age: Reading = { ...known(0, now, Infinity), growsFrom: since };
    if (this.lastWriteAt === null || this.lastWriteAt < this.watchingSince) {
      age.bound = 'at-least';
      age.reason = 'no local write since it is watched';
    }
    return { writes: known(writes / (over / 1e6), now, 3_000_000), age };
  }

  /** The reading of stray writes, while this side is the passive one. */
  strays(now: Us): Reading {
    const { count, gaps, firstPosition } = this.memory;
    const at = firstPosition === null ? '' : ` the first at ${firstPosition}`;
    const gap = gaps[0];
    const unseen =
      gap === undefined
        ? null
        : `not watched from ${new Date(gap.from).toISOString()} to ${gap.to === null ? 'now' : new Date(gap.to).toISOString()} (${gap.reason})`;
    if (count > 0) {
      return {
        ...known(count, now, Infinity, `${count} stray,${at}${unseen === null ? '' : `; and ${unseen}`}`),
        bound: unseen === null ? 'exact' : 'at-least',
      };
    }
    if (unseen !== null) {
      return unknown(
        `${unseen}: a write in that time would not have been seen; compare the data, then attest stray-writes-reconciled`,
        now,
      );
    }
    if (this.watchingSince === null) return unknown(this.unwatchedBecause, now);
    return known(0, now, 3_000_000);
  }
}
