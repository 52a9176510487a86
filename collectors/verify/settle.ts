/**
 * Whether one row that differed really differs, while both sides are being written to. A row is
 *
 *   open ──match──▶ matched        one attempt in which the passive side shows what the active side showed around it
 *        ──proof──▶ mismatched     so many attempts in a row in which the active side stood still and the passive one differed
 *        ──limit──▶ unsettled      it kept changing, or the link never passed
 *
 * An attempt reads the active side (s1), waits until everything committed before that is visible on the passive side,
 * reads the passive side (v), and reads the active side again (s3).
 */
import type { Us } from '../../daemon/core/clock.js';
import type { RowMark } from './port.js';
import { softEqual, type SoftKind } from './soft.js';

/** All rows with one key on one side at one moment; none where there is no such row. */
export type Face = readonly RowMark[];

/** One attempt. */
export interface Attempt {
  s1: Face;
  v: Face;
  s3: Face;
  /** Without what was spent waiting. */
  spentUs: Us;
  waitedUs: Us;
}

/** How an open row stands. */
export interface OpenRow {
  readonly attempts: number;
  readonly evidence: number;
  readonly last: { readonly s: Face; readonly v: Face } | null;
  readonly spentUs: Us;
  readonly waitedUs: Us;
}

/** What became of a row after an attempt. */
export type Verdict =
  | { state: 'open'; row: OpenRow }
  | { state: 'matched'; face: Face }
  | { state: 'mismatched'; active: Face; passive: Face }
  | { state: 'unsettled'; active: Face; passive: Face };

/** A row before its first attempt. */
export const UNTRIED: OpenRow = { attempts: 0, evidence: 0, last: null, spentUs: 0, waitedUs: 0 };

/** Pieces of evidence in a row where the server shows that a row was not touched. */
export const PROOF_WITH_VERSIONS = 2;
/** Where it does not: a row that toggles between two values looks untouched whenever it is read at the wrong moments. */
export const PROOF_WITHOUT = 8;
const MOST_ATTEMPTS = 20;
/** Fewer would not be enough for a proof, however slow the servers are. */
const LEAST_ATTEMPTS = PROOF_WITHOUT + 2;
const MOST_SPENT_US: Us = 60_000_000;
/** The longest that a row waits for the link in all its attempts. */
export const MOST_WAITED_US: Us = 600_000_000;

/** How rows are judged. */
export interface SettleRules {
  soft: readonly SoftKind[];
  /** Both sides are written to by the application: neither may change between attempts. */
  symmetric: boolean;
}

/** Takes an attempt into account. */
export function settleRow(row: OpenRow, attempt: Attempt, rules: SettleRules): Verdict {
  const { s1, v, s3 } = attempt;
  if (facesMatch(v, s1, rules.soft) || facesMatch(v, s3, rules.soft)) return { state: 'matched', face: v };
  const still =
    sameFace(s1, s3, true) &&
    row.last !== null &&
    sameFace(row.last.v, v, false) &&
    (!rules.symmetric || sameFace(row.last.s, s1, false));
  const next: OpenRow = {
    attempts: row.attempts + 1,
    evidence: still ? row.evidence + 1 : 0,
    last: { s: s3, v },
    spentUs: row.spentUs + attempt.spentUs,
    waitedUs: row.waitedUs + attempt.waitedUs,
  };
  const versions = !rules.symmetric && s3.length > 0 && s3.every((m) => m.version !== null);
  const proof = versions ? PROOF_WITH_VERSIONS : PROOF_WITHOUT;
  if (next.evidence >= proof) return { state: 'mismatched', active: s3, passive: v };
  const over =
    next.attempts >= MOST_ATTEMPTS ||
    (next.spentUs >= MOST_SPENT_US && next.attempts >= LEAST_ATTEMPTS) ||
    next.waitedUs >= MOST_WAITED_US;
  return over ? { state: 'unsettled', active: s3, passive: v } : { state: 'open', row: next };
}

/** Whether two rows are equal, values of soft columns by what they stand for. */
export function marksMatch(a: RowMark, b: RowMark, soft: readonly SoftKind[]): boolean {
  return a.hash === b.hash && soft.every((kind, i) => softEqual(kind, a.soft[i] ?? null, b.soft[i] ?? null));
}

/** Whether both are the same multiset of rows. */
function facesMatch(a: Face, b: Face, soft: readonly SoftKind[]): boolean {
  const { onlyA, onlyB } = difference(a, b, soft);
  return onlyA === 0 && onlyB === 0;
}

/** How many rows of each side have no equal one on the other. */
export function difference(a: Face, b: Face, soft: readonly SoftKind[]): { onlyA: number; onlyB: number } {
  const rest = [...b];
  let onlyA = 0;
  for (const mark of a) {
    const at = rest.findIndex((other) => marksMatch(mark, other, soft));
    if (at < 0) onlyA += 1;
    else rest.splice(at, 1);
  }
  return { onlyA, onlyB: rest.length };
}

/** Whether nothing at all has changed from one reading of a side to the next. */
function sameFace(a: Face, b: Face, versions: boolean): boolean {
  const text = (face: Face): string =>
    JSON.stringify(
      face
        .map((m) => [m.hash, m.soft, versions ? m.version : null])
        .map((m) => JSON.stringify(m))
        .sort(),
    );
  return a.length === b.length && text(a) === text(b);
}
