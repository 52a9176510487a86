import type { TableChooser } from '../../daemon/core/table-pattern.js';
import { nameKey, shownName } from './coverage.js';

/**
 * Which sequences of the passive side would hand out a value that the active side has used already. Logical replication
 * does not carry them, so after a promotion the first insert collides. Pure: what both catalogs say comes in.
 */

/** A sequence as its server shows it. */
export interface SequenceState {
  readonly schema: string;
  readonly name: string;
  /** The table whose column it belongs to; null when it stands alone. */
  readonly owner: { readonly schema: string; readonly name: string } | null;
  readonly increment: bigint;
  /** Null when this user may not read it. */
  readonly position: SequencePosition | null;
}

/**
 * Where a sequence stands. `called`: `last` has been handed out (or lies in some session's cache, or was set so), else it
 * is the next to be handed out.
 */
export interface SequencePosition {
  readonly last: bigint;
  readonly called: boolean;
}

/** A sequence that is behind, and why. */
export interface Behind {
  readonly schema: string;
  readonly name: string;
  readonly reason: string;
}

/** What came of comparing two sides. */
export interface SequencesJudged {
  readonly behind: readonly Behind[];
  /** Sequences that had to be compared and may not be read, by side. */
  readonly hidden: { readonly active: readonly SequenceState[]; readonly passive: readonly SequenceState[] };
  /** How many were compared. */
  readonly compared: number;
}

/** Sequences that concern a migration: those of tables that are to be carried, and others that the patterns name. */
export function chosenSequences(all: readonly SequenceState[], chooser: TableChooser): SequenceState[] {
  return all.filter((s) => {
    const by = s.owner ?? s;
    return chooser.chooses(by.schema, by.name);
  });
}

/**
 * Compares the sequences of the active side with those of the passive one, by name. One that only the active side has
 * counts as behind, for the first insert that needs it fails; one that only the passive side has has nothing to collide
 * with. Values count by their order alone: two sides that take turns (odd and even) are not told apart, because nothing
 * shows that it has always been so.
 */
export function compareSequences(
  active: readonly SequenceState[],
  passive: readonly SequenceState[],
  passiveName: string,
): SequencesJudged {
  const others = new Map(passive.map((s) => [nameKey(s.schema, s.name), s]));
  const behind: Behind[] = [];
  const hidden = { active: [] as SequenceState[], passive: [] as SequenceState[] };
  for (const one of active) {
    const other = others.get(nameKey(one.schema, one.name));
    if (other === undefined) {
      behind.push({ schema: one.schema, name: one.name, reason: `there is no such sequence on ${passiveName}` });
      continue;
    }
    if (one.position === null) hidden.active.push(one);
    if (other.position === null) hidden.passive.push(other);
    if (one.position === null || other.position === null) continue;
    const reason = whyBehind(one, one.position, other, other.position);
    if (reason !== null) behind.push({ schema: one.schema, name: one.name, reason });
  }
  return { behind, hidden, compared: active.length };
}

function whyBehind(
  one: SequenceState,
  position: SequencePosition,
  other: SequenceState,
  otherPosition: SequencePosition,
): string | null {
  if (one.increment > 0n !== other.increment > 0n) return 'it counts the other way';
  // Values a session has cached are below the last one already, so that `last` covers them too.
  const used = position.called ? position.last : position.last - one.increment;
  const next = otherPosition.called ? otherPosition.last + other.increment : otherPosition.last;
  const collides = one.increment > 0n ? next <= used : next >= used;
  return collides ? `next ${String(next)}, used up to ${String(used)}` : null;
}

/** How many sequences a reason names. */
const NAMED = 10;

/** The names with why, and how many more there are; null when there is none. */
export function listedBehind(behind: readonly Behind[]): string | null {
  if (behind.length === 0) return null;
  const lines = [...behind]
    .sort((a, b) => (nameKey(a.schema, a.name) < nameKey(b.schema, b.name) ? -1 : 1))
    .slice(0, NAMED)
    .map((s) => `${shownName(s)}: ${s.reason}`);
  if (behind.length > NAMED) lines.push(`and ${behind.length - NAMED} more`);
  return lines.join('; ');
}
