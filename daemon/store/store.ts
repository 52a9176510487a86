import { LockgateError } from '../core/errors.js';

/**
 * The store cannot be opened, written or read; at start it ends the process with exit code 2, later it makes operator
 * actions answer 503. Codes: `store_newer`, `store_locked`, `store_foreign`, `store_not_writable`, `store_full`,
 * `store_corrupt`, `store_io`, `store_closed`, `store_failed`.
 */
export class StoreError extends LockgateError {}

/** An entry of the journal as it is written. */
export interface JournalDraft {
  /** Wall clock, milliseconds since 1970. */
  at: number;
  /** For example `gate`, `attestation`, `start`, `stop`, `reload`, `direction`, `fence`, `stray-write`. */
  kind: string;
  migration: string | null;
  /** Gate name (without the migration) for `gate` entries. */
  gate: string | null;
  /** The token's name, or `lockgate` for what the daemon did by itself. */
  actor: string;
  /** Who the actor says acted, for example `--by`; null when not given. */
  by: string | null;
  /** Evidence: values, positions, hash of the configuration. Never row content, never secrets. */
  data: Readonly<Record<string, unknown>>;
}

/** An entry of the journal as it is read back; ids rise. */
export interface JournalEntry extends JournalDraft {
  id: number;
}

/** Someone's word for something that lockgate cannot see. */
export interface Attestation {
  migration: string;
  name: string;
  at: number;
  by: string;
  note: string;
  actor: string;
}

/** A hold of more than an hour, kept so that a short restart does not lose it. Instants are wall clock, milliseconds. */
export interface PersistedHold {
  gate: string;
  condition: string;
  heldSince: number;
  observedUntil: number;
}

/**
 * What must survive a restart. Every method is synchronous: an opening is journaled before anyone sees it, and SQLite on
 * a local disk answers in well under a millisecond. Methods throw a StoreError when the store cannot be written or read.
 */
export interface Store {
  append(draft: JournalDraft): number;
  /** Oldest first; `after` is an id, `since` wall milliseconds; `newest`: when more match than `limit`, the newest. */
  journal(query: {
    since?: number;
    after?: number;
    limit: number;
    kind?: string;
    migration?: string | null;
    gate?: string;
    newest?: boolean;
  }): JournalEntry[];
  /** Journals the attestation and keeps the newest one per name. */
  attest(attestation: Attestation): number;
  attestations(migration: string): Attestation[];
  saveHolds(holds: readonly PersistedHold[]): void;
  loadHolds(): PersistedHold[];
  /** Small named values, for example answers kept for an Idempotency-Key. */
  get(key: string): string | null;
  set(key: string, value: string): void;
  /** Deletes journal entries older than `before` (wall milliseconds); the number deleted. */
  prune(before: number): number;
  /** False after a failed write, until a write succeeds again. */
  readonly writable: boolean;
  /** Tries a write, so that `writable` becomes true again once the disk has room. */
  probe(): boolean;
  close(): void;
}
