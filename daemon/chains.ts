/** The chains of all links: what is remembered of each, across restarts, and what `continuity` reads. */
import type { Us } from './core/clock.js';
import {
  breakChain,
  clearChain,
  continuityReading,
  foldChain,
  lastFound,
  newChain,
  type Break,
  type ChainFacts,
  type ChainMemory,
} from './core/continuity.js';
import type { LinkId, Reading } from './core/signal.js';

/** Memories by link, as they are kept in the store. */
export type ChainMemories = Readonly<Record<string, ChainMemory>>;

/** Folds looks at chains into what is remembered of them. */
export class Chains {
  private readonly memories: Map<LinkId, ChainMemory>;
  /** When each was looked at last, in this life of the daemon, and when it was tried in vain. */
  private readonly seenAt = new Map<LinkId, Us>();
  private readonly failedAt = new Map<LinkId, Us>();

  constructor(kept: ChainMemories) {
    // A store that an earlier version has written may know less.
    const whole = Object.entries(kept).map(([link, m]) => [link as LinkId, { ...newChain(m.since), ...m }] as const);
    this.memories = new Map(whole);
  }

  /**
   * Takes one look; answers the reading, the breaks that are new, and whether something is remembered otherwise that a
   * later life of the daemon would take for a break if it did not know.
   */
  see(
    link: LinkId,
    facts: ChainFacts,
    at: Us,
    freshUs: Us,
    wall: number,
  ): { reading: Reading; news: Break[]; toKeep: boolean } {
    this.seenAt.set(link, at);
    const before = this.memories.get(link);
    const { memory, news } = foldChain(before ?? newChain(wall), facts, wall);
    this.memories.set(link, memory);
    const toKeep = before === undefined || lastingOf(before) !== lastingOf(memory);
    return { reading: continuityReading(memory, at, freshUs), news, toKeep };
  }

  /** When a chain was looked at last (the instant of the question), or was tried to be (`inVain`); -Infinity while it was not in this life of the daemon. */
  lookedAt(link: LinkId, inVain: boolean): Us {
    return Math.max(this.seenAt.get(link) ?? -Infinity, inVain ? (this.failedAt.get(link) ?? -Infinity) : -Infinity);
  }

  /** Latches a break that was found by other means than a look. */
  broke(link: LinkId, what: string, at: Us, wall: number): { reading: Reading; news: Break[] } {
    const { memory, news } = breakChain(this.memory(link, wall), [what], wall);
    this.memories.set(link, memory);
    return { reading: continuityReading(memory, at, Infinity), news };
  }

  /** The reading while the chain cannot be looked at; what is broken stays broken. */
  unseen(link: LinkId, reason: string, at: Us): Reading {
    this.failedAt.set(link, at);
    const memory = this.memories.get(link);
    if (memory !== undefined && memory.breaks.length > 0) return continuityReading(memory, at, Infinity);
    return { ...continuityReading(null, at, Infinity), reason };
  }

  /** Clears what broke before `begunAt`; answers whether there was anything to clear. */
  clear(link: LinkId, begunAt: number, wall: number): boolean {
    const memory = this.memories.get(link);
    if (memory === undefined) return false;
    this.memories.set(link, clearChain(memory, begunAt, wall));
    return memory.breaks.length > 0;
  }

  /** What broke a chain first since an instant of wall clock, and is not cleared; null when nothing did. */
  brokenSince(link: LinkId, wall: number): string | null {
    return this.memories.get(link)?.breaks.find((b) => lastFound(b) >= wall)?.what ?? null;
  }

  /** What broke a chain and is not cleared. */
  breaks(link: LinkId): readonly Break[] {
    return this.memories.get(link)?.breaks ?? [];
  }

  /** What broke a chain last, and when, as one text that changes when it breaks again; null when it is whole. */
  lastBreak(link: LinkId): string | null {
    let last: Break | null = null;
    for (const each of this.breaks(link)) if (last === null || lastFound(each) >= lastFound(last)) last = each;
    return last === null ? null : `${last.what} (${new Date(lastFound(last)).toISOString()})`;
  }

  /** Everything, for the store. */
  get kept(): ChainMemories {
    return Object.fromEntries(this.memories);
  }

  private memory(link: LinkId, wall: number): ChainMemory {
    return this.memories.get(link) ?? newChain(wall);
  }
}

/** What changes rarely and must not be forgotten when the daemon is killed, as text. */
function lastingOf({ identities, guarded, flaws }: ChainMemory): string {
  return JSON.stringify([identities, Object.entries(guarded).map(([key, { value }]) => [key, value]), flaws]);
}
