/**
 * Local and stray writes of one side. A local write is a committed change that came neither by replication nor from
 * lockgate; it is stray when the side is passive. The count of strays is latched: only an attestation, or a complete
 * verification begun afterwards, clears it.
 *
 * Unobserved is not none. `accountedUntil` is the instant up to which nothing stray can have gone unseen: the side was
 * the active one, or it was passive and watched. It is kept across restarts, so that what was written while the daemon,
 * or its reader, was down leaves a gap that makes the count unknown, unless the server's own evidence shows the gap empty.
 *
 * States of the watch: unwatched -> watching -> unwatched …. Roles: passive, active, or unknown; what is seen and what is
 * missed while the role is unknown is undecided, and counts once the role turns out to be, or to have been, passive.
 */
import type { Us } from './clock.js';
import { known, unknown, type Reading } from './signal.js';

/** Why local writes are unknown where replication applies them like any client. */
export const APPLIED_BY_SESSIONS =
  'DMS applies through ordinary sessions, so what it writes here cannot be told apart from local writes';
/** Why no write is stray where the application writes to both sides itself. */
export const DUAL_WRITES =
  'with `via: none` the application writes to both sides, so that no write of its own can be told from a stray one';

/** A local write as the reader saw it: never row content. */
export interface LocalWrite {
  /** Where in the server's log it committed, as the server prints it. */
  position: string;
  /** Wall clock of the commit by the server, milliseconds since 1970; null when it does not tell. */
  committedAt: number | null;
}

/** A stretch in which the side was not watched; wall clock. */
export interface Gap {
  from: number;
  to: number;
  reason: string;
}

/** How many writes, and the first of them. */
export interface WriteCount {
  count: number;
  firstAt: number | null;
  firstPosition: string | null;
}

/** What is remembered of a side across restarts; plain JSON. */
export interface StrayMemory extends WriteCount {
  /** When the newest of them was seen; wall clock. */
  lastAt: number | null;
  /** Stretches in which the side was passive and unwatched, and nothing shows that they were empty; oldest first. */
  gaps: Gap[];
  /** Nothing stray went unseen up to here, but for the gaps; null before the side was first watched or active. */
  accountedUntil: number | null;
  /** Whether the side was passive when that was last known, and the epoch of that direction. */
  role: { passive: boolean; epoch: number } | null;
  /**
   * What was written while a switch is in progress, which is shown but not counted: sequences, grants and the like are set
   * then. Null while there is none.
   */
  held: WriteCount | null;
  /** What was seen and missed while the role was unknown. */
  undecided: WriteCount & { gaps: Gap[] };
  /** Where the server's evidence about what was written since can begin; only its collector reads it. */
  mark: string | null;
}

/** How many gaps are kept apart; beyond that the oldest two become one. */
const MOST_GAPS = 20;
/** Local writes per second are counted over this long. */
const RATE_US: Us = 10_000_000;
/** What was confirmed by the server is usable for so long. */
const FRESH_US: Us = 3_000_000;

const NOT_YET = 'its local writes have not been watched yet';
const NOT_REMEMBERED = 'since it became the passive side it was not watched by this daemon, or that was forgotten';
const NO_WRITES: WriteCount = { count: 0, firstAt: null, firstPosition: null };

/** A side that nothing is known of yet. */
export const EMPTY_STRAYS: StrayMemory = {
  ...NO_WRITES,
  lastAt: null,
  gaps: [],
  accountedUntil: null,
  role: null,
  held: null,
  undecided: { ...NO_WRITES, gaps: [] },
  mark: null,
};

/** Counts the local writes of one side, and those among them that are stray. */
export class StrayTracker {
  /** Since when the watch is unbroken, and up to when the server has confirmed that all was seen. */
  private watch: { since: Us; confirmed: Us } | null = null;
  private roleKnown = false;
  private recent: { at: Us; writes: number }[] = [];
  private lastWriteAt: Us | null = null;
  /** Why it is not watched now, and why it ceased to be. */
  private unwatchedBecause = NOT_YET;
  private gapBecause = 'lockgate was not running';
  /** The direction was changed on this very side: what came after that belongs to the role that is read next. */
  private judgedByNext = false;

  constructor(private memory: StrayMemory = EMPTY_STRAYS) {}

  /** What is to be kept across a restart. */
  get kept(): StrayMemory {
    return this.memory;
  }

  /**
   * Takes what is known of the side's role now; null while the direction is unknown. A side that was passive before or
   * is passive now may have been so all the time in between. `since` is when the direction was changed to what it is; null
   * when it never was. What was written between that and the first look of a tracker that remembers nothing, nobody saw.
   */
  turn(passive: boolean | null, epoch: number, wall: number, since: number | null = null): void {
    this.roleKnown = passive !== null;
    if (passive === null) return;
    if (this.memory.role === null && passive && since !== null) this.beganAfter(Math.min(since, wall), wall);
    const { role, accountedUntil } = this.memory;
    const changed = role !== null && (role.passive !== passive || role.epoch !== epoch);
    // Another epoch of the same role means that it was the other one in between.
    const wasPassive = role !== null && (role.passive || changed);
    this.settle(passive || (wasPassive && !this.judgedByNext), wall);
    this.judgedByNext = false;
    if (!passive) {
      const missed = changed && this.watch === null && accountedUntil !== null;
      if (missed) this.addGap({ from: accountedUntil, to: wall, reason: this.gapBecause });
      this.memory = { ...this.memory, accountedUntil: wall };
    }
    if (role === null || changed) this.memory = { ...this.memory, role: { passive, epoch } };
  }

  /** A change of direction was seen among the changes of this side: what came before it belongs to the role until then. */
  directionTouched(wall: number): void {
    if (this.memory.role !== null && !this.judgedByNext) this.settle(this.memory.role.passive, wall);
    this.roleKnown = false;
    this.judgedByNext = true;
  }

  /**
   * The server has confirmed that everything up to `at` was seen. The first confirmation begins a watch; `emptyGap` then
   * says that the server's evidence shows nothing was written since it was last watched, and `whyGap` why it does not.
   */
  watching(at: Us, wall: number, emptyGap: boolean, mark: string | null = null, whyGap: string | null = null): void {
    if (this.watch === null) {
      this.watch = { since: at, confirmed: at };
      this.recent = [];
      const from = this.memory.accountedUntil;
      if (from !== null && !emptyGap && wall > from) {
        const reason = whyGap === null ? this.gapBecause : `${this.gapBecause}; ${whyGap}`;
        this.missed({ from, to: wall, reason });
      }
    }
    this.watch.confirmed = Math.max(this.watch.confirmed, at);
    this.memory = { ...this.memory, mark, accountedUntil: Math.max(this.memory.accountedUntil ?? wall, wall) };
  }

  /** The clocks jumped: until the server confirms again, nobody knows what was not seen. */
  doubt(now: Us): void {
    if (this.watch !== null) this.watch.confirmed = Math.min(this.watch.confirmed, now - FRESH_US - 1);
  }

  /** The side is not watched any more. */
  unwatched(reason: string): void {
    if (this.watch !== null) this.gapBecause = reason;
    this.watch = null;
    this.unwatchedBecause = reason;
  }

  /** Local writes were seen, oldest first. */
  wrote(at: Us, wall: number, writes: readonly LocalWrite[]): void {
    const [first] = writes;
    if (first === undefined) return;
    this.lastWriteAt = at;
    this.recent.push({ at, writes: writes.length });
    this.count(writes, first, wall);
  }

  /** What was seen, and not seen, of the time just before the side became the passive one; its rate was counted then. */
  before(writes: readonly LocalWrite[], gap: Gap | null, wall: number): void {
    const [first] = writes;
    if (first !== undefined) this.count(writes, first, wall);
    if (gap !== null) this.missed(gap);
  }

  /**
   * A verification begun at `begunAt` (wall clock) has compared what was written before; or someone has reconciled all
   * there is (Infinity). When something was written since, nobody can say which of the count that was, so it stays.
   */
  clear(begunAt: number, wall: number): void {
    const { lastAt, gaps, accountedUntil, undecided } = this.memory;
    const later = (g: Gap): boolean => g.to > begunAt;
    const cut = (all: readonly Gap[]): Gap[] =>
      all.filter(later).map((g) => ({ ...g, from: Math.max(g.from, begunAt) }));
    const stays = lastAt !== null && lastAt > begunAt;
    // When the last of those was that are not counted yet is not remembered: a comparison may have begun before it.
    const whole = begunAt === Infinity;
    this.memory = {
      ...this.memory,
      ...(stays ? {} : { ...NO_WRITES, lastAt: null }),
      gaps: cut(gaps),
      undecided: { ...(stays || !whole ? undecided : NO_WRITES), gaps: cut(undecided.gaps) },
      held: this.memory.held === null || stays || !whole ? this.memory.held : NO_WRITES,
      // What is unwatched at this moment goes on from the moment that was cleared.
      accountedUntil: accountedUntil === null ? null : Math.max(accountedUntil, Math.min(begunAt, wall)),
    };
  }

  /** A switch begins: what is written from now on is not counted until it ends. */
  hold(): void {
    this.memory = { ...this.memory, held: this.memory.held ?? NO_WRITES };
  }

  /** The switch has ended; unless it was carried through, what was written meanwhile is stray. */
  release(carriedThrough: boolean, wall: number): void {
    const { held } = this.memory;
    this.memory = { ...this.memory, held: null };
    if (held !== null && !carriedThrough) this.latch(held, wall);
  }

  /** Readings of `local_writes` and `last_local_write_age` at `now`. */
  local(now: Us): { writes: Reading; age: Reading } {
    if (this.watch === null) {
      return { writes: unknown(this.unwatchedBecause, now), age: unknown(this.unwatchedBecause, now) };
    }
    const { since, confirmed } = this.watch;
    this.recent = this.recent.filter((r) => now - r.at <= RATE_US);
    const count = this.recent.reduce((total, r) => total + r.writes, 0);
    const writes = known(count / (RATE_US / 1e6), confirmed, FRESH_US);
    if (confirmed - since < RATE_US) {
      // Nobody saw what was written in the rest of the ten seconds.
      writes.bound = 'at-least';
      writes.reason = `watched for less than the ${RATE_US / 1e6} s that the rate is taken over`;
    }
    const last = this.lastWriteAt !== null && this.lastWriteAt >= since ? this.lastWriteAt : null;
    const age: Reading = { ...known(0, confirmed, FRESH_US), growsFrom: last ?? since };
    if (last === null) {
      age.bound = 'at-least';
      age.reason = 'no local write since it is watched';
    }
    return { writes, age };
  }

  /** The reading of stray writes, while this side is the passive one. */
  strays(now: Us): Reading {
    const { count, gaps, firstPosition, accountedUntil } = this.memory;
    const unseen = gaps.map((g) => `not watched from ${iso(g.from)} to ${iso(g.to)} (${g.reason})`);
    if (this.watch === null && accountedUntil !== null) {
      // Why it ceased, and what is in the way now.
      const because = new Set([this.gapBecause, this.unwatchedBecause].filter((reason) => reason !== NOT_YET));
      unseen.push(`not watched since ${iso(accountedUntil)} (${[...because].join('; ')})`);
    }
    const [first] = unseen;
    if (count > 0) {
      const at = firstPosition === null ? '' : `, the first at ${firstPosition}`;
      return {
        ...known(count, now, Infinity, `${count} stray${at}${first === undefined ? '' : `; and ${first}`}`),
        bound: first === undefined ? 'exact' : 'at-least',
      };
    }
    if (first !== undefined) {
      return unknown(
        `${first}: a write in that time would not have been seen; compare the data, then attest stray-writes-reconciled`,
        now,
      );
    }
    if (this.watch === null) return unknown(this.unwatchedBecause, now);
    return known(0, this.watch.confirmed, FRESH_US);
  }

  /** It has been passive since `since`, of which nothing is remembered. */
  private beganAfter(since: number, wall: number): void {
    this.gapBecause = NOT_REMEMBERED;
    if (this.watch !== null) this.addGap({ from: since, to: wall, reason: NOT_REMEMBERED });
    else this.memory = { ...this.memory, accountedUntil: Math.min(this.memory.accountedUntil ?? since, since) };
  }

  private settle(stray: boolean, wall: number): void {
    const { gaps, ...writes } = this.memory.undecided;
    if (writes.count === 0 && gaps.length === 0) return;
    this.memory = { ...this.memory, undecided: EMPTY_STRAYS.undecided };
    if (!stray) return;
    for (const gap of gaps) this.addGap(gap);
    this.latch(writes, wall);
  }

  private count(writes: readonly LocalWrite[], first: LocalWrite, wall: number): void {
    const seen = { count: writes.length, firstAt: first.committedAt ?? wall, firstPosition: first.position };
    if (!this.roleKnown) {
      const undecided = { ...this.memory.undecided, ...sum(this.memory.undecided, seen) };
      this.memory = { ...this.memory, undecided };
    } else if (this.memory.role?.passive === true) {
      if (this.memory.held === null) this.latch(seen, wall);
      else this.memory = { ...this.memory, held: sum(this.memory.held, seen) };
    }
  }

  private latch(seen: WriteCount, wall: number): void {
    if (seen.count === 0) return;
    this.memory = { ...this.memory, ...sum(this.memory, seen), lastAt: wall };
  }

  /** A gap while the side is passive counts; while its role is unknown it is undecided. */
  private missed(gap: Gap): void {
    if (!this.roleKnown) {
      const { undecided } = this.memory;
      this.memory = { ...this.memory, undecided: { ...undecided, gaps: joined([...undecided.gaps, gap]) } };
    } else if (this.memory.role?.passive === true) {
      this.addGap(gap);
    }
  }

  private addGap(gap: Gap): void {
    this.memory = { ...this.memory, gaps: joined([...this.memory.gaps, gap]) };
  }
}

function sum(a: WriteCount, b: WriteCount): WriteCount {
  const first = a.count > 0 ? a : b;
  return { count: a.count + b.count, firstAt: first.firstAt, firstPosition: first.firstPosition };
}

function joined(gaps: readonly Gap[]): Gap[] {
  const [first, second, ...rest] = gaps;
  if (gaps.length <= MOST_GAPS || first === undefined || second === undefined) return [...gaps];
  return [{ ...first, to: second.to, reason: `${first.reason}; ${second.reason}` }, ...rest];
}

function iso(wall: number): string {
  return new Date(wall).toISOString();
}
