import { MOST_COUNTED, MOST_LISTED, type Mismatch } from '../../daemon/core/verification.js';
import type { SideName } from './plan.js';
import type { Digest, Key } from './port.js';
import { difference, type Face } from './settle.js';
import type { SoftKind } from './soft.js';

/** Names of the key's columns; of a table without a key null. */
export type KeyNames = readonly string[] | null;

/** What has been found out about a table so far; plain JSON. */
export interface Tally {
  rows: Record<SideName, number>;
  compared: number;
  /** Rows with values that cannot be compared, by column; the larger of both sides. */
  odd: Record<string, number>;
  mismatched: number;
  atLeast: boolean;
  listed: Mismatch[];
  truncated: boolean;
  /** Rows and ranges that kept changing. */
  unsettled: number;
}

/** A tally of nothing. */
export function emptyTally(): Tally {
  return {
    rows: { source: 0, target: 0 },
    compared: 0,
    odd: {},
    mismatched: 0,
    atLeast: false,
    listed: [],
    truncated: false,
    unsettled: 0,
  };
}

/** Whether mismatches are not counted one by one any more. */
export function isFull(tally: Tally): boolean {
  return tally.mismatched > MOST_COUNTED;
}

/** Adds rows that both sides have, or each its own. */
export function addRows(tally: Tally, source: number, target: number): void {
  tally.rows.source += source;
  tally.rows.target += target;
  tally.compared += Math.max(source, target);
}

/** Adds the odd values of the final comparison of a range. */
export function addOdd(tally: Tally, source: Digest, target: Digest): void {
  for (const column of new Set([...Object.keys(source.odd), ...Object.keys(target.odd)])) {
    const n = Math.max(source.odd[column] ?? 0, target.odd[column] ?? 0);
    if (n > 0) tally.odd[column] = (tally.odd[column] ?? 0) + n;
  }
}

/** Counts the rows of one key that differ: changed ones once, and what one side has more of. */
export function addDifference(
  tally: Tally,
  key: Readonly<Record<string, string>>,
  source: Face,
  target: Face,
  soft: readonly SoftKind[],
): void {
  const { onlyA, onlyB } = difference(source, target, soft);
  const changed = Math.min(onlyA, onlyB);
  for (let i = 0; i < changed; i += 1) addMismatch(tally, 'different', key, 1);
  for (let i = changed; i < onlyA; i += 1) addMismatch(tally, 'missing', key, 1);
  for (let i = changed; i < onlyB; i += 1) addMismatch(tally, 'extra', key, 1);
}

/** Counts so many mismatched rows of a kind, and lists them as one. */
export function addMismatch(
  tally: Tally,
  kind: Mismatch['kind'],
  key: Readonly<Record<string, string>>,
  rows: number,
): void {
  tally.mismatched += rows;
  if (tally.listed.length < MOST_LISTED) tally.listed.push({ kind, key });
  else tally.truncated = true;
}

/** Counts mismatched rows that nobody looked at one by one. */
export function addUncounted(tally: Tally, atLeast: number): void {
  tally.mismatched += atLeast;
  tally.atLeast = true;
  tally.truncated = true;
}

/** A key as results show it. */
export function keyRecord(names: KeyNames, key: Key): Record<string, string> {
  if (names === null) return { '(row)': key[0] ?? '' };
  return Object.fromEntries(names.map((name, i) => [name, key[i] ?? '']));
}
