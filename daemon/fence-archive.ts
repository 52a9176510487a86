/** What is kept of fences in the store, and how the ended ones are shown. */
import type { Log } from '../collectors/collector.js';
import { messageOf } from './core/errors.js';
import { isOpen, type FenceMemory } from './core/fence-memory.js';
import { fenceJson } from './fence-json.js';
import type { FenceJson } from './http/port.js';
import type { Store } from './store/store.js';

/** How many fences of a migration are remembered. */
const MOST_KEPT = 20;

/** The fences of all migrations as they are kept, newest first. */
export class FenceArchive {
  private readonly older = new Map<string, FenceMemory[]>();
  /** The newest fence as it was written last. */
  private readonly written = new Map<string, FenceMemory | null>();

  constructor(
    private readonly store: Store,
    private readonly log: Log,
  ) {}

  /** Reads what was kept, and answers the newest. */
  load(migration: string): FenceMemory | null {
    const text = this.store.get(keyOf(migration));
    const [first, ...rest] = text === null ? [] : (JSON.parse(text) as FenceMemory[]);
    this.older.set(migration, rest);
    this.written.set(migration, first ?? null);
    return first ?? null;
  }

  /** The fences before the newest one. */
  past(migration: string): readonly FenceMemory[] {
    return this.older.get(migration) ?? [];
  }

  /** The newest one has a successor. */
  succeed(migration: string, memory: FenceMemory): void {
    this.older.set(migration, [memory, ...this.past(migration)].slice(0, MOST_KEPT - 1));
  }

  /** Whether all that matters of the newest fence after a restart is in the store. */
  has(memory: FenceMemory): boolean {
    const written = this.written.get(memory.migration);
    return (
      written?.id === memory.id &&
      written.state === memory.state &&
      written.unwatched === memory.unwatched &&
      written.identity === memory.identity &&
      written.violations === memory.violations
    );
  }

  /** Writes the fences of a migration; a store that takes no writes is tried again by whoever asks `has`. */
  save(newest: FenceMemory): void {
    const { migration } = newest;
    try {
      this.store.set(keyOf(migration), JSON.stringify([newest, ...this.past(migration)]));
      this.written.set(migration, newest);
    } catch (error) {
      this.log.error({ migration }, `the fence could not be kept: ${messageOf(error)}`);
    }
  }
}

/** Shows a fence that is not the newest any more. */
export function endedJson(memory: FenceMemory): FenceJson {
  const reasons = memory.endedBecause === null || memory.state === 'closed' ? [] : [memory.endedBecause];
  const missing = memory.lacked ?? { bytes: null, transactions: null, flows: [], reasons };
  // One that was overtaken by its end of life in the store is open no more.
  const state = isOpen(memory.state) ? 'unknown' : memory.state;
  return fenceJson(memory, { state, missing, basis: memory.evidence });
}

function keyOf(migration: string): string {
  return `fences/${migration}`;
}
