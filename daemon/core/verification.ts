/**
 * What is known of the data of both sides: the newest comparison of every table, what it is worth now, and the signals
 * that follow from it. Comparing itself is the work of `collectors/verify`.
 */

/** A table after its newest comparison. */
export type TableState = 'match' | 'mismatch' | 'not-settled' | 'not-covered';

/** A row that differs: `missing` is on the source and not on the target, `extra` the other way round, whatever the direction. */
export interface Mismatch {
  kind: 'missing' | 'extra' | 'different';
  /** Canonical text by column of the key; of a table without a key `(row)`, the hash of the row. Never other values. */
  key: Readonly<Record<string, string>>;
}

/** At most so many mismatches of a table are listed. */
export const MOST_LISTED = 1_000;
/** Up to so many mismatched rows of a table are counted exactly. */
export const MOST_COUNTED = 10_000;

/** The outcome of one comparison of a table; plain JSON. Instants are wall clock, milliseconds since 1970. */
export interface TableResult {
  /** In the source's names, `schema.table`; a name with a dot, star or quote is in double quotes. */
  table: string;
  state: TableState;
  /** Why it is not a match, or a remark (columns that were ignored, no key); null when there is nothing to say. */
  reason: string | null;
  /** When the comparison began: what was written later may not be in it. */
  begunAt: number;
  comparedAt: number;
  /** Under which direction it was compared. */
  direction: 'forward' | 'reverse';
  epoch: number;
  /** Digest of the shape that the table had on both sides, and of what was to be compared of it. */
  shape: string;
  /** Null where they were not counted. */
  sourceRows: number | null;
  targetRows: number | null;
  rowsCompared: number;
  ignoredColumns: readonly string[];
  mismatchedRows: number;
  /** The truth is `mismatchedRows` or more. */
  mismatchedAtLeast: boolean;
  /** At most MOST_LISTED. */
  mismatches: readonly Mismatch[];
  mismatchesTruncated: boolean;
}

/** The tables that are to be compared, as both catalogs were when they were looked at. */
export interface Selection {
  /** By name in the source's names, with the digest of shape that a result must have to count. */
  tables: ReadonlyMap<string, string>;
  /** What the patterns leave out of what the links ought to carry, for people; null when they leave out nothing. */
  narrower: string | null;
}

/** How far a pass is. */
export interface PassProgress {
  pass: string;
  /** Wall clock, milliseconds since 1970. */
  startedAt: number;
  tablesDone: number;
  tablesTotal: number;
  rowsDone: number;
  rowsEstimated: number;
  /** Null while it cannot be told. */
  etaSeconds: number | null;
  /** The table under way; null between two. */
  table: string | null;
  /** Why it is waiting (lag, load, a side that does not answer); null while it works. */
  paused: string | null;
}

/** What a pass is to do. */
export interface PassOrder {
  pass: string;
  startedAt: number;
  /** Names of tables (not patterns); null: all that are selected. */
  tables: readonly string[] | null;
  direction: 'forward' | 'reverse';
  epoch: number;
  /** The token's name, or `lockgate` for what the schedule began. */
  actor: string;
}

/** How a pass ended. */
export interface PassEnd {
  pass: string;
  startedAt: number;
  endedAt: number;
  /** Every table that was to be compared has a result. */
  complete: boolean;
  /** Why it is not complete; else null. */
  reason: string | null;
}
