/** What the engine tells its surroundings, and what it remembers across restarts. */
import type { Us } from './core/clock.js';
import type { Break } from './core/continuity.js';
import type { Direction } from './core/direction.js';
import type { Transition } from './core/gate.js';
import type { LinkId, SideName } from './core/signal.js';
import type { StrayMemory } from './core/stray.js';
import type { ChainMemories } from './chains.js';
import type { KnownDirection } from './direction-state.js';
import type { SplitMemories, StrayMemories } from './strays.js';

/** What the engine tells its surroundings. */
export interface EngineOutput {
  /** Journals a transition; false when an opening could not be written. */
  record(transition: Transition): boolean;
  /** The state of a gate behind the rule of an alert has changed; those are nobody else's business. */
  rule?(transition: Transition): void;
  /** A heartbeat arrived after `delayUs`. */
  delay(link: LinkId, delayUs: Us): void;
  /** What is known of a migration's direction has changed. */
  direction(migration: string, direction: Direction, before: Direction): void;
  /** The clocks jumped (`what` says how) and everything observed before was dropped. */
  jumped(what: string): void;
  /** The chain of a link broke. */
  broke?(link: LinkId, news: Break): void;
  /** Something is remembered otherwise that must outlive a kill. */
  remember?(): void;
  /** The first stray write of a side was latched. */
  stray?(migration: string, side: SideName, latched: StrayMemory): void;
  /** Both sides are being written to. */
  splitBrain?(migration: string, reason: string): void;
}

/** A hold as it is kept across a restart, on the daemon's own clock. */
export interface LongHold {
  gate: string;
  /** The condition's text and a digest of all that decides what it is about, which may have been changed meanwhile. */
  condition: string;
  trueFrom: Us;
  observedUntil: Us;
}

/** What the engine remembers across restarts; plain JSON. */
export interface EngineMemories {
  chains: ChainMemories;
  strays: StrayMemories;
  splits?: SplitMemories;
  /** The last known direction by migration, with a digest of what the migration was then. */
  directions?: Readonly<Record<string, KnownDirection & { basis: string }>>;
}
