/**
 * What the HTTP server and the metrics ask of the daemon: plain data, computed when asked. The server knows nothing of
 * engines, trackers or collectors.
 */
import type { Attestation, JournalEntry } from '../store/store.js';

export type GateState = 'open' | 'closed' | 'unknown';
export type ConditionState = 'held' | 'holding' | 'broken' | 'unknown';

/** The JSON of a verdict; field names are part of the outside interface. */
export interface VerdictJson {
  gate: string;
  state: GateState;
  open: boolean;
  since: string;
  evaluated_at: string;
  opens_at: string | null;
  conditions: {
    text: string;
    state: ConditionState;
    value: number | null;
    unit: string;
    held_seconds: number;
    needs_seconds: number;
    last_broken: { at: string; value: number | null } | null;
    reason: string | null;
  }[];
  /** Why the gate is held back although its conditions would open it (the journal cannot be written); else null. */
  reason: string | null;
  config_hash: string;
  daemon: string;
}

export interface SignalJson {
  name: string;
  state: 'ok' | 'stale' | 'unknown';
  value: number | null;
  unit: string;
  observed_at: string | null;
  age_seconds: number | null;
  reason: string | null;
}

/** One bucket of a signal's history: the worst (highest) and the last value in it; nulls are gaps. */
export interface HistoryPoint {
  at: string;
  value: number | null;
  max: number | null;
}

export interface SideJson {
  database: string;
  reachable: boolean | null;
  writable: boolean | null;
  stray_writes: { count: number | null; first_at: string | null; first_position: string | null };
}

export interface MigrationJson {
  name: string;
  direction: 'forward' | 'reverse' | 'unknown';
  epoch: number | null;
  direction_since: string | null;
  source: string;
  target: string;
  /** Signals of each link by name without the link. */
  links: Record<string, Record<string, SignalJson>>;
  sides: { source: SideJson; target: SideJson };
  gates: { name: string; state: GateState; opens_at: string | null }[];
  /** The newest fence, without having been proved anew for this answer; null when there has been none. */
  fence: FenceJson | null;
  attestations: { name: string; at: string; by: string; note: string; age_seconds: number }[];
  /** What fires. */
  alerts: Pick<AlertJson, 'rule' | 'severity' | 'since' | 'value' | 'unit' | 'reason' | 'summary' | 'silenced_until'>[];
}

export type FenceStateJson = 'placed' | 'drained' | 'unknown' | 'violated' | 'expired' | 'closed' | 'cancelled';

/** The JSON of a fence; field names are part of the outside interface. */
export interface FenceJson {
  id: string;
  migration: string;
  link: 'forward' | 'reverse';
  state: FenceStateJson;
  placed_at: string;
  deadline_at: string;
  source_position: string;
  /** What a drain rests on: `marker`, `position`, and the evidence that filled gaps of observation. */
  basis: string[];
  drained_at: string | null;
  drain_seconds: number | null;
  /** What it still waits for, or why it cannot be proved now; nulls and empty lists once it is drained. */
  missing: { bytes: number | null; transactions: number | null; flows: string[]; reasons: string[] };
  violations: { count: number; first_position: string | null; first_at: string | null };
  unwatched: { from: string; to: string | null; reason: string }[];
  /** What the drain was predicted to take when the fence was placed; null when it was not known. */
  predicted: { drain_eta: number; drain_eta_high: number } | null;
  note: string;
  placed_by: string;
  ended_at: string | null;
  ended_because: string | null;
}

/** A rule and what has become of it. */
export interface AlertJson {
  migration: string;
  rule: string;
  severity: 'critical' | 'error' | 'warning' | 'info';
  state: 'inactive' | 'pending' | 'firing' | 'resolved';
  since: string;
  /** What it goes by: of an alert that fires, as it was when it began to. */
  value: number | null;
  unit: string | null;
  reason: string | null;
  /** When it fires, as it is written. */
  when: string;
  summary: string;
  remedy: string;
  built_in: boolean;
  /** The end of the maintenance window that is open; null without one. */
  silenced_until: string | null;
}

/** Someone who is told, and how that fares. */
export interface AlertSinkJson {
  name: string;
  waiting: number;
  delivered: number;
  retried: number;
  refused: number;
  dropped: number;
  last_error: string | null;
  last_delivered_at: string | null;
}

/** Every rule of every migration, and everyone who is told. */
export interface AlertsJson {
  alerts: AlertJson[];
  sinks: AlertSinkJson[];
}

/** The answer to a promotion or a rollback. */
export interface DirectionChangeJson {
  migration: string;
  action: 'promote' | 'rollback';
  direction: 'forward' | 'reverse';
  epoch: number;
  changed_at: string;
  changed_by: string;
  reason: string;
  forced: boolean;
  /** The fence that was closed; null when it was forced without one. */
  fence: FenceJson | null;
  /** Where the old side stood, beyond which every write is a stray; null when it could not be asked. */
  old_side_position: string | null;
  /** What a tired person should know, for example that strays may have gone unseen; usually empty. */
  warnings: string[];
}

/** What is asked with a promotion or a rollback. */
export interface DirectionChange {
  migration: string;
  action: 'promote' | 'rollback';
  reason: string;
  /** The direction that the caller believes is the present one. */
  expect: 'forward' | 'reverse';
  force: boolean;
  actor: string;
  /** The same key gets the first answer again; null: none was given. */
  idempotencyKey: string | null;
}

/** Something that happened, for `/v1/events`; ids rise by one within this process's life. */
export interface DaemonEvent {
  /** Null: it says how things are at this moment, and is not remembered for those who come back. */
  id: number | null;
  event: 'signal' | 'gate' | 'direction' | 'fence' | 'verify' | 'journal' | 'verdicts';
  data: unknown;
}

/**
 * The data of `verdicts`, once a second for each migration, and for the gates across them: every gate as it was judged
 * at `at`, in a few bytes. What does not move by itself (texts, reasons, what was last broken) comes as a whole verdict
 * when it has changed, in `changed`.
 */
export interface VerdictsJson {
  /** Null: the gates across migrations. */
  migration: string | null;
  at: string;
  config_hash: string;
  gates: {
    gate: string;
    state: GateState;
    since: string;
    opens_at: string | null;
    /** In the order of the verdict's conditions: state, value, seconds held. */
    conditions: [state: ConditionState, value: number | null, heldSeconds: number][];
  }[];
  changed: VerdictJson[];
}

/** The JSON of verification; field names are part of the outside interface. */
export interface VerifyJson {
  /** Whether the migration has a `verify` section. */
  configured?: boolean;
  running: {
    pass: string;
    started_at: string;
    tables_done: number;
    tables_total: number;
    rows_done: number;
    rows_estimated: number;
    eta_seconds: number | null;
    table: string | null;
    paused: string | null;
  } | null;
  last: { pass: string; started_at: string; ended_at: string; complete: boolean; reason: string | null } | null;
  /** When the newest pass that was complete ended; null before the first. */
  last_complete_at?: string | null;
  /** When the next pass begins of itself; null without a schedule. */
  next_at: string | null;
  /** What the patterns leave out of what the links ought to carry; null when nothing. */
  narrower: string | null;
  tables: VerifyTableJson[];
}

/** The newest comparison of one table, or that there is none. */
export interface VerifyTableJson {
  table: string;
  /** `unknown`: selected, and not compared yet, or what was compared does not count any more. */
  state: 'match' | 'mismatch' | 'not-settled' | 'not-covered' | 'unknown';
  reason: string | null;
  compared_at: string | null;
  source_rows: number | null;
  target_rows: number | null;
  rows_compared: number;
  ignored_columns: string[];
  mismatched_rows: number | null;
  mismatched_at_least: boolean;
  mismatches: { kind: 'missing' | 'extra' | 'different'; key: Record<string, string> }[];
  mismatches_truncated: boolean;
}

/** A row as both sides hold it, for a person who asked for it; null: the side has no such row. */
export interface VerifyRowJson {
  key: Record<string, string>;
  source: Record<string, string | null> | null;
  target: Record<string, string | null> | null;
}

export interface CollectorStatus {
  name: string;
  up: boolean;
  restarts: number;
  reason: string | null;
}

/** Everything the outside may ask. Methods that take a name answer undefined when there is no such thing. */
export interface DaemonPort {
  readonly id: string;
  readonly version: string;
  migrations(): string[];
  migration(name: string): MigrationJson | undefined;
  signals(migration: string): SignalJson[] | undefined;
  history(migration: string, signal: string, sinceWallMs: number, stepSeconds: number): HistoryPoint[] | undefined;
  /** Ids of all gates: `shop/flip-writes`, or a bare name at top level. */
  gates(): string[];
  verdict(gate: string): VerdictJson | undefined;
  /** Only the state, for the hot path of `check`: same evaluation, no evidence. */
  gateState(gate: string): { state: GateState; opensInSeconds: number | null } | undefined;
  /** Calls back on each change of the gate's state and at least every 250 ms; returns the unsubscribe function. */
  onGate(gate: string, listener: () => void): () => void;
  journal(query: {
    since?: number;
    after?: number;
    limit: number;
    kind?: string;
    migration?: string | null;
    gate?: string;
    /** Of all that match the newest, instead of the oldest; they come oldest first all the same. */
    newest?: boolean;
  }): JournalEntry[];
  attest(migration: string, name: string, by: string, note: string, actor: string): Attestation;
  /**
   * Places a fence on the link of the present direction; rejects with a Refusal (409 while another one is open or the
   * direction is unknown, 503 while the store cannot be written or the source cannot be asked or watched).
   */
  placeFence(migration: string, asked: { deadlineMs: number; note: string; actor: string }): Promise<FenceJson>;
  /** A fence as it can be proved now; undefined when there is none of this id. */
  fence(migration: string, id: string): Promise<FenceJson | undefined>;
  /** The newest fences of a migration, newest first, at most 20; the open one is proved anew. */
  fences(migration: string): Promise<FenceJson[]>;
  /** Ends an open fence; undefined when there is none of this id; rejects with a Refusal (409) when it has ended already. */
  cancelFence(migration: string, id: string, actor: string): Promise<FenceJson | undefined>;
  /** Calls back on each change of a fence's state; returns the unsubscribe function. */
  onFence(migration: string, listener: () => void): () => void;
  /** Declares a change of direction; rejects with a Refusal (409 not as expected, not drained, not silent; 503). */
  changeDirection(change: DirectionChange): Promise<DirectionChangeJson>;
  /**
   * Starts a pass over these tables (null: all); rejects with a Refusal (409 while one runs, with its id, or where
   * verification is not configured or the direction is unknown; 404 for a table that is not selected; 503).
   */
  startVerify(migration: string, asked: { tables: string[] | null; actor: string }): Promise<{ pass: string }>;
  /** Ends the running pass; rejects with a Refusal (409) when none runs. */
  stopVerify(migration: string, actor: string): Promise<{ pass: string }>;
  /** What is known of the data of a migration; undefined when there is no such migration. */
  verification(migration: string): VerifyJson | undefined;
  /** Rows of a table as both sides hold them, at most 20; never kept anywhere. */
  verifyRows(migration: string, table: string, keys: Record<string, string>[]): Promise<VerifyRowJson[]>;
  /** Live events; returns the unsubscribe function. */
  subscribe(listener: (event: DaemonEvent) => void): () => void;
  /** Events after `id` that are still in the bounded buffer; null when `id` is older than the buffer or from another process. */
  eventsAfter(id: number): DaemonEvent[] | null;
  /** Every rule of every migration, or of one. */
  alerts(migration?: string): AlertsJson;
  collectors(): CollectorStatus[];
  /** Reasons why the daemon is not ready; empty when it is. */
  notReady(): string[];
  /** False while the journal cannot be written: operator actions answer 503. */
  storeWritable(): boolean;
}
