/** The chains of all links: what is remembered of each, across restarts, and what `continuity` reads. */
import type { Us } from './core/clock.js';
import {
  clearChain,
  continuityReading,
  foldChain,
  newChain,
  type Break,
  type ChainFacts,
  type ChainMemory,
} from './core/continuity.js';
import { parsePosition } from './core/position.js';
import type { LinkId, Reading } from './core/signal.js';

/** Memories by link, as they are kept in the store. */
export type ChainMemories = Readonly<Record<string, ChainMemory>>;

/** Folds looks at chains into what is remembered of them. */
export class Chains {
  private readonly memories: Map<LinkId, ChainMemory>;

  constructor(kept: ChainMemories) {
    this.memories = new Map(Object.entries(kept) as [LinkId, ChainMemory][]);
  }

  /** Takes one look; answers the reading and the breaks that are new. */
  see(link: LinkId, facts: ChainFacts, at: Us, freshUs: Us, wall: number): { reading: Reading; news: Break[] } {
    const before = this.memories.get(link) ?? newChain(wall);
    const { memory, news } = foldChain(before, facts, wall, parsePosition);
    this.memories.set(link, memory);
    return { reading: continuityReading(memory, at, freshUs), news };
  }

  /** The reading while the chain cannot be looked at; what is broken stays broken. */
  unseen(link: LinkId, reason: string, at: Us): Reading {
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

  /** Everything, for the store. */
  get kept(): ChainMemories {
    return Object.fromEntries(this.memories);
  }
}
