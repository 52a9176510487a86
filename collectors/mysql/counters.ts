import type { TableChooser } from '../../daemon/core/table-pattern.js';
import { nameKey, type CatalogTable } from './catalog.js';
import { listed, shownName } from './coverage.js';

/**
 * Which auto-increment counters and sequences of the passive side would hand out a value that the active side has handed
 * out already. Pure: what both servers say comes in.
 *
 * Rows that are replicated push the counter of their table, so that it stands above all of them; but not what the active
 * side has handed out in vain (a rollback, a row deleted at once, the reserve of a bulk insert), which nobody can tell
 * from values of rows that never came. So each counter that stands lower counts, as sequences do on PostgreSQL.
 */

/** What hands out values on one side. */
export interface Counter {
  readonly schema: string;
  readonly name: string;
  /** Next to be handed out; everything before it may be in use. Null when this user may not read it. */
  readonly next: bigint | null;
  /** Negative for a sequence that counts down. */
  readonly increment: bigint;
}

/** How a server spaces the values of its auto-increment columns. */
export interface Spacing {
  readonly increment: bigint;
  readonly offset: bigint;
}

/** What came of comparing two sides. */
export interface CountersJudged {
  readonly behind: readonly { readonly schema: string; readonly name: string; readonly reason: string }[];
  /** Sequences that may not be read, by side. */
  readonly hidden: { readonly active: readonly Counter[]; readonly passive: readonly Counter[] };
}

/** The counters of auto-increment columns: of `tables` those that have one, by the names in `counting`. */
export function autoIncrements(tables: readonly CatalogTable[], counting: ReadonlySet<string>): Counter[] {
  return tables.flatMap(({ schema, name, autoIncrement }) => {
    if (!counting.has(nameKey(schema, name))) return [];
    // MySQL says nothing of a counter that has handed out nothing yet.
    return [{ schema, name, next: autoIncrement ?? 1n, increment: 1n }];
  });
}

/** The first value that a server hands out, at or above the counter. */
export function nextOf(counter: bigint, { increment, offset }: Spacing): bigint {
  // An offset beyond the increment is ignored.
  if (increment <= 1n || offset > increment) return counter;
  if (counter <= offset) return offset;
  const steps = (counter - offset + increment - 1n) / increment;
  return offset + steps * increment;
}

/** Compares the counters of the active side that concern a migration with those of the passive one, by name. */
export function compareCounters(
  active: readonly Counter[],
  passive: readonly Counter[],
  passiveName: string,
  chooser: TableChooser,
): CountersJudged {
  const others = new Map(passive.map((c) => [nameKey(c.schema, c.name), c] as const));
  const behind: { schema: string; name: string; reason: string }[] = [];
  const hidden = { active: [] as Counter[], passive: [] as Counter[] };
  for (const one of active) {
    const { schema, name } = one;
    if (!chooser.chooses(schema, name)) continue;
    const other = others.get(nameKey(schema, name));
    if (other === undefined) {
      behind.push({ schema, name, reason: `there is no such counter on ${passiveName}` });
      continue;
    }
    if (one.next === null) hidden.active.push(one);
    if (other.next === null) hidden.passive.push(other);
    if (one.next === null || other.next === null) continue;
    const reason = whyBehind({ ...one, next: one.next }, { ...other, next: other.next });
    if (reason !== null) behind.push({ schema, name, reason });
  }
  return { behind, hidden };
}

function whyBehind(one: Counter & { next: bigint }, other: Counter & { next: bigint }): string | null {
  if (one.increment > 0n !== other.increment > 0n) return 'it counts the other way';
  const collides = one.increment > 0n ? other.next < one.next : other.next > one.next;
  return collides ? `next ${other.next}, and ${one.next} on the active side` : null;
}

/** The names with why, and what to do about it on the passive side; null when there is none. */
export function listedBehind(judged: CountersJudged, passiveName: string): string | null {
  const names = listed(judged.behind);
  return names === null
    ? null
    : `${names}; raise them on ${passiveName}, past its binlog and with some headroom: ` +
        'SET SESSION sql_log_bin = 0; ALTER TABLE … AUTO_INCREMENT = …';
}

/** What lets a user read sequences. */
export function sequenceGrants(hidden: readonly Counter[], user: string): string {
  const most = 5;
  const grants = hidden.slice(0, most).map((c) => `GRANT SELECT ON ${shownName(c)} TO '${user}'@'…'`);
  return `${grants.join('; ')}${hidden.length > most ? `; and so on for ${hidden.length - most} more` : ''}`;
}
