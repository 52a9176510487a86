/**
 * Continuity: whether anything has broken the chain of changes between source and target since the link was first seen
 * (or last accepted or verified). Lag cannot tell: a slot that was made anew starts where it was made, and from then on
 * everything arrives in milliseconds while what was written before is missing for ever.
 *
 * States: new -> whole -> broken (latched, with the evidence of every break) -> whole again only when someone accepts it
 * or a complete verification that began after the last break clears it. A restart of the daemon changes nothing: the
 * memory is plain data and kept in the store.
 */
import type { Us } from './clock.js';
import { formatPosition, reached, type Position } from './position.js';
import { known, unknown, type Reading } from './signal.js';

/** What identifies a part of the chain; when its value changes, it is another part. */
export interface Identity {
  /** Stable, for example `source.system`, `flow.shop_sub.subscription`. */
  key: string;
  /** For people: `system identifier of the source`. */
  what: string;
  value: string;
}

/** A position that may only rise. */
export interface RisingPosition {
  /** For example `source`, `flow.shop_sub`. */
  key: string;
  what: string;
  position: Position;
}

/** One look at everything that the chain hangs on. */
export interface ChainFacts {
  identities: readonly Identity[];
  positions: readonly RisingPosition[];
  /** Breaks that are plain from this look alone, each a full clause: `slot shop_sub is missing on the source`. */
  broken: readonly string[];
}

/** One piece of evidence that the chain broke; `at` is wall clock, milliseconds since 1970. */
export interface Break {
  at: number;
  what: string;
}

/** What is remembered of a chain across restarts; plain JSON. */
export interface ChainMemory {
  /** When the link was first seen, or last cleared; wall clock. */
  since: number;
  identities: Record<string, string>;
  positions: Record<string, string>;
  breaks: Break[];
}

/** How many breaks are remembered; the first ones count most. */
const MOST_BREAKS = 20;

/** Starts the memory of a chain that is seen for the first time. */
export function newChain(wall: number): ChainMemory {
  return { since: wall, identities: {}, positions: {}, breaks: [] };
}

/** Folds one look into the memory; answers the new memory and the breaks found in this look that were not known before. */
export function foldChain(
  memory: ChainMemory,
  facts: ChainFacts,
  wall: number,
  parse: (text: string) => Position | null,
): { memory: ChainMemory; news: Break[] } {
  const found: string[] = [...facts.broken];
  const identities = { ...memory.identities };
  for (const { key, what, value } of facts.identities) {
    const before = identities[key];
    if (before !== undefined && before !== value) found.push(`${what} changed from ${before} to ${value}`);
    identities[key] = value;
  }
  const positions = { ...memory.positions };
  for (const { key, what, position } of facts.positions) {
    const text = positions[key];
    const highest = text === undefined ? null : parse(text);
    if (highest !== null && !reached(position, highest)) {
      found.push(`${what} went back from ${formatPosition(highest)} to ${formatPosition(position)}`);
    }
    // Kept as it is now, not at its highest: the way back is reported once, and a second one again.
    positions[key] = formatPosition(position);
  }
  const known = new Set(memory.breaks.map((b) => b.what));
  const news = [...new Set(found)].filter((what) => !known.has(what)).map((what) => ({ at: wall, what }));
  const breaks = [...memory.breaks, ...news].slice(0, MOST_BREAKS);
  return { memory: { since: memory.since, identities, positions, breaks }, news };
}

/** Clears the breaks that happened before `begunAt` (wall clock): they were accepted, or a verification begun then found both sides equal. */
export function clearChain(memory: ChainMemory, begunAt: number, wall: number): ChainMemory {
  const breaks = memory.breaks.filter((b) => b.at >= begunAt);
  return breaks.length === 0 ? { ...memory, since: wall, breaks } : { ...memory, breaks };
}

/** The reading of `continuity`; `at` is when the facts were seen. */
export function continuityReading(memory: ChainMemory | null, at: Us, freshUs: Us): Reading {
  if (memory === null) return unknown('the chain has not been looked at yet', at);
  const [first, ...others] = memory.breaks;
  if (first === undefined) return known(1, at, freshUs);
  const more = others.length === 0 ? '' : `, and ${others.length} more`;
  const when = new Date(first.at).toISOString();
  // A broken chain stays broken whether or not anyone looks, so this does not go stale.
  return known(
    0,
    at,
    Infinity,
    `${first.what} (${when})${more}; verify the data completely, or attest continuity-accepted once you know that nothing is missing`,
  );
}
