/**
 * What is remembered of the comparisons of one migration, what they are worth now, and the signals that follow from it.
 * Pure: every method takes the instants. Ages go by the daemon's own clock, because a wall clock that is set back would
 * make a comparison younger than it is.
 */
import type { Us } from './clock.js';
import type { Direction } from './direction.js';
import { known, unknown, type MigrationSignal, type Reading } from './signal.js';
import type { Selection, TableResult } from './verification.js';

/** A comparison as it is remembered. */
export interface Compared {
  readonly result: TableResult;
  /** When it began, on the daemon's own clock; at the latest of what both clocks say, so it is never younger than that. */
  readonly begun: Us;
  /** Why it does not count any more; null while it does. */
  readonly voided: string | null;
}

/** What is remembered of one table. */
export interface TableMemory {
  readonly newest: Compared;
  /** The last one that was `match` or `mismatch`; the newest itself where it is. */
  readonly settled: Compared | null;
}

/** The newest comparison of every table of one migration. */
export interface VerificationMemory {
  readonly tables: ReadonlyMap<string, TableMemory>;
  /** What was begun at or before this instant does not count; null when nothing has happened to it. */
  readonly invalid: { readonly at: Us; readonly why: string } | null;
}

/** Nothing has been compared. */
export const NOTHING_COMPARED: VerificationMemory = { tables: new Map(), invalid: null };

/** What there is to compare now, and until when that may be relied on; or why nobody knows. */
export type SelectionNow = { selection: Selection; at: Us; until: Us } | { unknown: string };

/** The five signals of verification, by name. */
export type VerifySignal = Extract<MigrationSignal, `verify.${string}`>;

/** Every signal of verification. */
export const VERIFY_SIGNALS = [
  'verify.mismatched_rows',
  'verify.mismatched_tables',
  'verify.row_count_delta',
  'verify.coverage',
  'verify.age',
] as const satisfies readonly VerifySignal[];

const MOST_NAMED = 10;

const isSettled = ({ state }: TableResult): boolean => state === 'match' || state === 'mismatch';

/** Takes the result of a comparison that began at `begun` of the daemon's own clock. */
export function foldResult(memory: VerificationMemory, result: TableResult, begun: Us): VerificationMemory {
  const { invalid } = memory;
  const before = memory.tables.get(result.table);
  // Of two comparisons the one that began later says more of the present, whichever ended last.
  if (before !== undefined && begun < before.newest.begun) return memory;
  const voided = invalid !== null && begun <= invalid.at ? invalid.why : null;
  const newest: Compared = { result, begun, voided };
  const settled = isSettled(result) ? newest : (before?.settled ?? null);
  return { ...memory, tables: new Map(memory.tables).set(result.table, { newest, settled }) };
}

/** Everything that was begun at or before `at` counts no more, results that are still to come included. */
export function invalidate(memory: VerificationMemory, at: Us, why: string): VerificationMemory {
  const { invalid } = memory;
  const without = (c: Compared): Compared => (c.voided !== null || c.begun > at ? c : { ...c, voided: why });
  const tables = [...memory.tables].map(([name, { newest, settled }]) => {
    const voided = without(newest);
    return [name, { newest: voided, settled: settled === newest ? voided : settled && without(settled) }] as const;
  });
  return { tables: new Map(tables), invalid: invalid !== null && invalid.at >= at ? invalid : { at, why } };
}

/** Forgets tables that nobody selects any more, so that what is remembered stays bounded. */
export function retain(memory: VerificationMemory, selection: Selection): VerificationMemory {
  const tables = [...memory.tables].filter(([name]) => selection.tables.has(name));
  return tables.length === memory.tables.size ? memory : { ...memory, tables: new Map(tables) };
}

/** What a table's newest comparison is worth: the comparison, or why there is none that counts. */
export type Counting = { compared: Compared } | { none: string };

/** Judges the newest comparison of a table that is selected with this digest of shape, in a direction that is known. */
export function countingResult(
  memory: VerificationMemory,
  table: string,
  shape: string,
  direction: KnownTurn,
): Counting {
  const found = memory.tables.get(table)?.newest;
  if (found === undefined) return { none: 'not compared yet' };
  const why = whyNotCounting(found, shape, direction);
  return why === null ? { compared: found } : { none: why };
}

/** The direction and its epoch. */
export interface KnownTurn {
  direction: 'forward' | 'reverse';
  epoch: number;
}

function whyNotCounting({ result, voided }: Compared, shape: string, { direction, epoch }: KnownTurn): string | null {
  if (result.direction !== direction || result.epoch !== epoch) return 'compared before the direction changed';
  if (result.shape !== shape) return 'the table, or what is to be compared of it, has changed since it was compared';
  return voided;
}

/**
 * The readings of all five signals at `now`. Those that depend on what there is to compare are usable for as long as that
 * is known; the age grows and does not go stale.
 */
export function verifyReadings(
  memory: VerificationMemory,
  selected: SelectionNow,
  direction: Direction,
  now: Us,
): Record<VerifySignal, Reading> {
  if (direction.direction === 'unknown') return all(unknown(`the direction is unknown: ${direction.reason}`, now));
  if ('unknown' in selected) return all(unknown(selected.unknown, now));
  const { selection, at, until } = selected;
  if (now > until) return all(unknown('the tables of both sides were not looked at lately', now));
  if (selection.tables.size === 0) return all(unknown('no table is selected, so there is nothing to compare', now));
  const judged = [...selection.tables].map(([table, shape]) => ({
    ...{ table, shape },
    counting: countingResult(memory, table, shape, direction),
  }));
  const open = judged.flatMap(({ table, counting }) => ('none' in counting ? [`${table} (${counting.none})`] : []));
  const results = judged.flatMap(({ counting }) => ('compared' in counting ? [counting.compared.result] : []));
  const fresh = until - at;
  const counts = open.length > 0 ? notAll(open, judged.length, now) : countReadings(results, at, fresh);
  const settled = results.filter(isSettled);
  const compared = known(settled.length / judged.length, at, fresh, uncovered(results, open));
  return { ...counts, 'verify.coverage': compared, 'verify.age': ageReading(memory, judged, direction, now) };
}

type Judged = readonly { table: string; shape: string; counting: Counting }[];
type CountSignal = 'verify.mismatched_rows' | 'verify.mismatched_tables' | 'verify.row_count_delta';

function all(reading: Reading): Record<VerifySignal, Reading> {
  return Object.fromEntries(VERIFY_SIGNALS.map((name) => [name, reading])) as Record<VerifySignal, Reading>;
}

function notAll(open: readonly string[], of: number, now: Us): Record<CountSignal, Reading> {
  const reading = unknown(`${open.length} of ${of} tables have no comparison that counts: ${named(open)}`, now);
  return { 'verify.mismatched_rows': reading, 'verify.mismatched_tables': reading, 'verify.row_count_delta': reading };
}

function countReadings(results: readonly TableResult[], at: Us, fresh: Us): Record<CountSignal, Reading> {
  const different = results.filter((r) => r.state === 'mismatch');
  const rows = different.reduce((sum, r) => sum + r.mismatchedRows, 0);
  const atLeast = different.some((r) => r.mismatchedAtLeast);
  const why = different.length === 0 ? null : named(different.map((r) => `${r.table} ${rowsText(r)}`));
  const deltas = results.filter(isSettled).map((r) => ({ table: r.table, delta: deltaOf(r) }));
  const uncounted = deltas.filter((d) => d.delta === null).map((d) => d.table);
  const off = deltas.filter((d) => (d.delta ?? 0) > 0);
  const delta = known(
    off.reduce((sum, d) => sum + (d.delta ?? 0), 0),
    at,
    fresh,
    off.length === 0 ? null : named(off.map((d) => `${d.table} ${d.delta ?? 0}`)),
  );
  const rowsReading = known(rows, at, fresh, why);
  return {
    'verify.mismatched_rows': atLeast ? { ...rowsReading, bound: 'at-least' } : rowsReading,
    'verify.mismatched_tables': known(different.length, at, fresh, why),
    'verify.row_count_delta':
      uncounted.length === 0 ? delta : unknown(`the rows of both sides were not counted: ${named(uncounted)}`, at),
  };
}

function rowsText({ mismatchedRows, mismatchedAtLeast, reason }: TableResult): string {
  const rows = `${mismatchedAtLeast ? 'at least ' : ''}${mismatchedRows}`;
  return reason === null ? rows : `${rows} (${reason})`;
}

function deltaOf({ sourceRows, targetRows }: TableResult): number | null {
  return sourceRows === null || targetRows === null ? null : Math.abs(sourceRows - targetRows);
}

/** Why coverage is below 1; null when it is not. */
function uncovered(results: readonly TableResult[], open: readonly string[]): string | null {
  const rest = results.filter((r) => !isSettled(r)).map((r) => `${r.table} (${r.reason ?? r.state})`);
  return rest.length + open.length === 0 ? null : `not compared: ${named([...rest, ...open])}`;
}

function ageReading(memory: VerificationMemory, judged: Judged, direction: KnownTurn, now: Us): Reading {
  let oldest: Compared | null = null;
  for (const { table, shape, counting } of judged) {
    if ('none' in counting) return unknown(`${table}: ${counting.none}`, now);
    const { state } = counting.compared.result;
    // What cannot be compared has no age; it keeps the coverage below 1 instead.
    if (state === 'not-covered') continue;
    const basis = isSettled(counting.compared.result)
      ? counting.compared
      : lastSettled(memory, table, shape, direction);
    if (basis === null) return unknown(`${table}: ${counting.compared.result.reason ?? 'it kept changing'}`, now);
    if (oldest === null || basis.begun < oldest.begun) oldest = basis;
  }
  if (oldest === null) return unknown('no table can be compared', now);
  const reason = `the oldest comparison that counts is of ${oldest.result.table}`;
  return { ...known(0, now, Infinity, reason), growsFrom: Math.min(oldest.begun, now) };
}

function lastSettled(memory: VerificationMemory, table: string, shape: string, turn: KnownTurn): Compared | null {
  const settled = memory.tables.get(table)?.settled ?? null;
  return settled !== null && whyNotCounting(settled, shape, turn) === null ? settled : null;
}

/** A complete verification: every selected table is equal, and nothing that ought to be the same was left out. */
export type Completed = { begun: Us; begunAt: number } | { not: string };

/**
 * Whether everything that was compared last proves that both sides held the same, and since when: what happened before
 * the oldest of those comparisons began is healed. Wall clock and own clock of that instant.
 */
export function completeMatch(
  memory: VerificationMemory,
  selected: SelectionNow,
  direction: Direction,
  now: Us,
): Completed {
  if (direction.direction === 'unknown' || 'unknown' in selected || now > selected.until) {
    return { not: 'what there is to compare is not known now' };
  }
  const { selection } = selected;
  if (selection.tables.size === 0) return { not: 'no table is selected' };
  if (selection.narrower !== null) return { not: `not everything is compared: ${selection.narrower}` };
  let [begun, begunAt] = [Infinity, Infinity];
  for (const [table, shape] of selection.tables) {
    const counting = countingResult(memory, table, shape, direction);
    if ('none' in counting) return { not: `${table}: ${counting.none}` };
    const { result } = counting.compared;
    if (result.state !== 'match') return { not: `${table} is ${result.state}` };
    if (result.ignoredColumns.length > 0) return { not: `${table}: columns are ignored` };
    begun = Math.min(begun, counting.compared.begun);
    begunAt = Math.min(begunAt, result.begunAt);
  }
  return { begun, begunAt };
}

function named(names: readonly string[]): string {
  const rest = names.length - MOST_NAMED;
  return `${names.slice(0, MOST_NAMED).join(', ')}${rest > 0 ? ` and ${rest} more` : ''}`;
}
