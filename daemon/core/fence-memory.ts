/** What is remembered of a fence, also across restarts. Plain JSON; what it proves is judged in fence.ts. */
import type { LinkName } from './signal.js';
import type { WriteCount } from './stray.js';

/** Stretches that are kept apart; the oldest two become one beyond that. */
const MOST_UNWATCHED = 20;

/** What a fence has come to; what can be proved of it now is another matter. */
export type FenceState = 'placed' | 'drained' | 'violated' | 'expired' | 'closed' | 'cancelled';

/** A stretch in which the source's local writes were not watched; wall clock, `to` null while it lasts. */
export interface Unwatched {
  from: number;
  to: number | null;
  reason: string;
}

/** What is remembered of a fence across restarts; plain JSON, instants of wall clock in milliseconds. */
export interface FenceMemory {
  readonly id: string;
  readonly migration: string;
  readonly link: LinkName;
  /** Of the direction when it was placed: under another one it proves nothing. */
  readonly epoch: number;
  readonly state: FenceState;
  readonly placedAt: number;
  readonly deadlineAt: number;
  /** What must have been applied, as text; empty for the empty GTID set. */
  readonly position: string;
  /** The `run` of the marker row; null when none was committed because the source took no writes any more. */
  readonly marker: string | null;
  readonly identity: { readonly source: string; readonly target: string | null };
  /** Of the application's tables on the source. */
  readonly schema: string;
  readonly note: string;
  readonly placedBy: string;
  readonly predicted: { readonly etaS: number; readonly highS: number } | null;
  readonly violations: WriteCount;
  readonly unwatched: readonly Unwatched[];
  /** What filled gaps of observation. */
  readonly evidence: readonly string[];
  readonly drainedAt: number | null;
  readonly endedAt: number | null;
  readonly endedBecause: string | null;
  /** What was missing when it expired. */
  readonly lacked: FenceMissing | null;
}

/** What a fence still waits for, or why it cannot be proved now. */
export interface FenceMissing {
  bytes: number | null;
  transactions: number | null;
  /** Flows that have not applied the place, or of which it cannot be told. */
  flows: readonly string[];
  /** Everything that is in the way, a clause each; empty when it is drained. */
  reasons: readonly string[];
}

/** Whether a fence can still change. */
export function isOpen(state: FenceState): boolean {
  return state === 'placed' || state === 'drained';
}

const SERVER_EVIDENCE = 'server-evidence';

/** Adds that the server's own evidence filled a gap. */
export function withEvidence(evidence: readonly string[]): readonly string[] {
  return evidence.includes(SERVER_EVIDENCE) ? evidence : [...evidence, SERVER_EVIDENCE];
}

/** Begins a stretch in which the source is not watched, unless one lasts already; `from` is wall clock. */
export function opened(stretches: readonly Unwatched[], from: number, reason: string): readonly Unwatched[] {
  if (stretches.some((u) => u.to === null)) return stretches;
  const [first, second, ...rest] = stretches;
  const kept =
    stretches.length >= MOST_UNWATCHED && first !== undefined && second !== undefined
      ? [{ from: first.from, to: second.to, reason: `${first.reason}; ${second.reason}` }, ...rest]
      : stretches;
  return [...kept, { from, to: null, reason }];
}
