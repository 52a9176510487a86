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
import { formatPosition, parsePosition, reached, type Position } from './position.js';
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
  /**
   * The stretch within which it may only rise; in another one it is not compared. It is for what a crash of the server
   * may rightly take back; a durable position has none.
   */
  life?: string;
}

/** A position that nothing but replication may move forward, with something that changes whenever replication does. */
export interface DrivenPosition {
  key: string;
  what: string;
  position: Position;
  /** Equal in two looks of the same `life` means that replication did not move it in between. */
  driver: string;
  life: string;
  /** What is plain when the driver has not changed, a full clause: `nothing was applied`. */
  still: string;
}

/** A count that begins anew only with another `life` of what it belongs to. */
export interface Counter {
  key: string;
  /** A full clause for when it has fallen all the same: `slot shop_sub was made anew`. */
  fallen: string;
  value: number;
  life: string;
}

/** Something that may be changed by hand, but whose changes must be watched: what is done in between leaves no trace. */
export interface Guarded {
  key: string;
  /** A full clause for when it has changed unwatched. */
  unwatched: string;
  value: string;
  /** Equal in two looks that were followed by others so closely that what was done showed by itself. */
  watch: string;
  life: string;
}

/** Flaws that stay visible for ever, so that each member counts once: tables that were taken up without their rows. */
export interface Flaw {
  key: string;
  /** Begins the clause that the new members end. */
  what: string;
  /** By an id that another one of the same name would not have. */
  members: readonly { id: string; name: string }[];
}

/** One look at everything that the chain hangs on. What could not be seen is left out, and its memory stays. */
export interface ChainFacts {
  identities: readonly Identity[];
  positions: readonly RisingPosition[];
  driven?: readonly DrivenPosition[];
  counters?: readonly Counter[];
  guarded?: readonly Guarded[];
  flaws?: readonly Flaw[];
  /**
   * Breaks that last, each a full clause: `slot shop_sub is missing on the source`. One that is accepted while it lasts
   * is found again at the next look.
   */
  broken: readonly string[];
}

/** One piece of evidence that the chain broke; `at` is wall clock, milliseconds since 1970. */
export interface Break {
  at: number;
  what: string;
  /** When the same was found again last, or one that found no room; left out while it never was. */
  lastAt?: number;
}

/** What is remembered of a chain across restarts; plain JSON. */
export interface ChainMemory {
  /** When the link was first seen, or last cleared; wall clock. */
  since: number;
  identities: Record<string, string>;
  rising: Record<string, { position: string; life: string }>;
  driven: Record<string, { position: string; driver: string; life: string }>;
  counters: Record<string, { value: number; life: string }>;
  guarded: Record<string, { value: string; watch: string; life: string }>;
  /** Ids of members. */
  flaws: Record<string, readonly string[]>;
  breaks: Break[];
}

/** How many breaks are remembered; the first ones count most. */
const MOST_BREAKS = 20;
/** How many members of a flaw are named. */
const MOST_NAMED = 10;

/** Starts the memory of a chain that is seen for the first time. */
export function newChain(wall: number): ChainMemory {
  return { since: wall, identities: {}, rising: {}, driven: {}, counters: {}, guarded: {}, flaws: {}, breaks: [] };
}

/** Folds one look into the memory; answers the new memory and the breaks found in this look that were not known before. */
export function foldChain(
  memory: ChainMemory,
  facts: ChainFacts,
  wall: number,
): { memory: ChainMemory; news: Break[] } {
  const found: string[] = [...facts.broken];
  const identities = { ...memory.identities };
  for (const { key, what, value } of facts.identities) {
    const before = identities[key];
    if (before !== undefined && before !== value) found.push(`${what} changed from ${before} to ${value}`);
    identities[key] = value;
  }
  const rising = { ...memory.rising };
  for (const { key, what, position, life = '' } of facts.positions) {
    const before = rising[key];
    const highest = before?.life === life ? parsePosition(before.position) : null;
    if (highest !== null && !reached(position, highest)) {
      found.push(`${what} went back from ${formatPosition(highest)} to ${formatPosition(position)}`);
    }
    // Kept as it is now, not at its highest: the way back is reported once, and a second one again.
    rising[key] = { position: formatPosition(position), life };
  }
  const driven = { ...memory.driven };
  for (const { key, what, position, driver, life, still } of facts.driven ?? []) {
    const before = driven[key];
    const text = formatPosition(position);
    const same = before?.life === life && before.driver === driver;
    const last = same ? parsePosition(before.position) : null;
    // The empty set has no text, and is a place that one can be moved from all the same.
    if (last === null ? same && before.position === '' && text !== '' : !reached(last, position)) {
      found.push(`${what} moved from ${last === null ? 'nothing' : formatPosition(last)} to ${text} by hand: ${still}`);
    }
    driven[key] = { position: text, driver, life };
  }
  const counters = { ...memory.counters };
  for (const { key, fallen, value, life } of facts.counters ?? []) {
    const before = counters[key];
    if (before?.life === life && value < before.value) found.push(fallen);
    counters[key] = { value, life };
  }
  const guarded = { ...memory.guarded };
  for (const { key, unwatched, value, watch, life } of facts.guarded ?? []) {
    const before = guarded[key];
    if (before?.life === life && before.watch !== watch && before.value !== value) found.push(unwatched);
    guarded[key] = { value, watch, life };
  }
  const flaws = { ...memory.flaws };
  for (const { key, what, members } of facts.flaws ?? []) {
    const before = new Set(flaws[key] ?? []);
    const fresh = members.filter(({ id }) => !before.has(id));
    if (fresh.length > 0) found.push(`${what} ${named(fresh.map(({ name }) => name))}`);
    flaws[key] = members.map(({ id }) => id);
  }
  const { breaks, news } = latch(memory.breaks, found, wall);
  return { memory: { since: memory.since, identities, rising, driven, counters, guarded, flaws, breaks }, news };
}

/** Latches breaks that are plain without a look; answers those that were not known before. */
export function breakChain(
  memory: ChainMemory,
  what: readonly string[],
  wall: number,
): { memory: ChainMemory; news: Break[] } {
  const { breaks, news } = latch(memory.breaks, what, wall);
  return { memory: { ...memory, breaks }, news };
}

/** When a break was found last: one that is found again is one of then, too. */
export function lastFound({ at, lastAt }: Break): number {
  return lastAt ?? at;
}

/**
 * What is known already is no news, but happened again; what finds no room is no news either, or a break that lasts would
 * be news at every look, and dates the last one that is remembered.
 */
function latch(before: readonly Break[], found: readonly string[], wall: number): { breaks: Break[]; news: Break[] } {
  const all = new Set(found);
  const known = new Set(before.map((b) => b.what));
  const fresh = [...all].filter((what) => !known.has(what)).map((what) => ({ at: wall, what }));
  const news = fresh.slice(0, Math.max(0, MOST_BREAKS - before.length));
  const breaks: Break[] = [...before.map((b) => (all.has(b.what) ? { ...b, lastAt: wall } : b)), ...news];
  const last = breaks.at(-1);
  if (news.length < fresh.length && last !== undefined) breaks[breaks.length - 1] = { ...last, lastAt: wall };
  return { breaks, news };
}

function named(members: readonly string[]): string {
  const rest = members.length - MOST_NAMED;
  return `${members.slice(0, MOST_NAMED).join(', ')}${rest > 0 ? ` and ${rest} more` : ''}`;
}

/**
 * Clears the breaks that last happened before `begunAt` (wall clock): a verification begun then found both sides equal, or
 * someone accepted all there are (Infinity).
 */
export function clearChain(memory: ChainMemory, begunAt: number, wall: number): ChainMemory {
  const breaks = memory.breaks.filter((b) => lastFound(b) >= begunAt);
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
