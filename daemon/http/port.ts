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
  fence: null;
  attestations: { name: string; at: string; by: string; note: string; age_seconds: number }[];
}

/** Something that happened, for `/v1/events`; ids rise by one within this process's life. */
export interface DaemonEvent {
  id: number;
  event: 'signal' | 'gate' | 'direction' | 'fence' | 'verify' | 'journal';
  data: unknown;
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
  }): JournalEntry[];
  attest(migration: string, name: string, by: string, note: string, actor: string): Attestation;
  /** Live events; returns the unsubscribe function. */
  subscribe(listener: (event: DaemonEvent) => void): () => void;
  /** Events after `id` that are still in the bounded buffer; null when `id` is older than the buffer or from another process. */
  eventsAfter(id: number): DaemonEvent[] | null;
  collectors(): CollectorStatus[];
  /** Reasons why the daemon is not ready; empty when it is. */
  notReady(): string[];
  /** False while the journal cannot be written: operator actions answer 503. */
  storeWritable(): boolean;
}
