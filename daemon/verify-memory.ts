/** The comparisons of one migration as they are kept in the store, and back: instants there are of the wall clock. */
import type { Log } from '../collectors/collector.js';
import type { PassState } from '../collectors/verify/verifier.js';
import { US_PER_MS, type Clock, type Us } from './core/clock.js';
import { messageOf } from './core/errors.js';
import type { PassEnd, TableResult } from './core/verification.js';
import { NOTHING_COMPARED, type Compared, type TableMemory, type VerificationMemory } from './core/verify-readings.js';
import type { Store } from './store/store.js';

/** What is kept besides the tables. */
interface KeptFrame {
  /** Which databases were compared; results of others are none. */
  basis: string;
  /** Rises with each invalidation: what was compared under an earlier one does not count. */
  generation: number;
  tables: string[];
  invalid: { at: number; why: string } | null;
  /** The break of the active link's chain that was seen last. */
  breakSeen: string | null;
  last: PassEnd | null;
  lastComplete: number | null;
  /** Wall clock when this was written: one that is behind it was set back since. */
  seen: number;
}

interface KeptCompared {
  result: TableResult;
  begun: number;
  /** -1: it does not count. */
  generation: number;
}

interface KeptTable {
  newest: KeptCompared;
  settled: KeptCompared | null;
}

/** How often the frame is written although nothing has changed, so that a clock that is set back is noticed. */
const REFRESH_US: Us = 60_000_000;

/** Everything of one migration's verification that outlives a restart. */
export class VerifyMemory {
  memory: VerificationMemory = NOTHING_COMPARED;
  breakSeen: string | null = null;
  last: PassEnd | null = null;
  /** When the last pass that was complete ended, wall clock. */
  lastComplete: number | null = null;
  private generation = 0;
  private dirty = true;
  private writtenAt: Us = -Infinity;
  private failing = false;
  private readonly unwritten = new Set<string>();

  constructor(
    private readonly store: Store,
    private readonly clock: Clock,
    private readonly log: Log,
    private readonly migration: string,
    private readonly basis: string,
  ) {
    try {
      this.load();
    } catch (error) {
      this.memory = NOTHING_COMPARED;
      log.error({ migration }, `what was compared cannot be read, so it is compared anew: ${messageOf(error)}`);
    }
  }

  /** Takes a changed memory of one table. */
  tableChanged(memory: VerificationMemory, table: string): void {
    this.memory = memory;
    this.unwritten.add(table);
    this.dirty = true;
  }

  /** Takes a memory in which what counted until now does not any more; written at once. */
  invalidated(memory: VerificationMemory): void {
    this.memory = memory;
    this.generation += 1;
    this.dirty = true;
    this.save();
  }

  /** Takes a memory without some of the tables. */
  retained(memory: VerificationMemory): void {
    if (memory === this.memory) return;
    for (const table of this.memory.tables.keys()) if (!memory.tables.has(table)) this.unwritten.add(table);
    this.memory = memory;
    this.dirty = true;
  }

  /** What is not of tables has changed. */
  touch(): void {
    this.dirty = true;
  }

  /** Writes what has changed; a store that takes no writes is tried again at the next call. */
  save(): void {
    const now = this.clock.monotonicNow();
    if (!this.dirty && now - this.writtenAt < REFRESH_US) return;
    try {
      for (const table of this.unwritten) {
        const kept = this.memory.tables.get(table);
        this.store.set(this.key(table), kept === undefined ? '' : JSON.stringify(this.keep(kept)));
        this.unwritten.delete(table);
      }
      this.store.set(this.key(), JSON.stringify(this.frame()));
      this.dirty = false;
      this.writtenAt = now;
      this.failing = false;
    } catch (error) {
      if (this.failing) return;
      this.failing = true;
      this.log.error({ migration: this.migration }, `what was compared cannot be kept: ${messageOf(error)}`);
    }
  }

  /** The pass that was under way when the daemon last ran; null when there was none. */
  loadPass(): PassState | null {
    try {
      const text = this.store.get(`${this.key()}/pass`) ?? '';
      return text === '' ? null : (JSON.parse(text) as PassState);
    } catch (error) {
      this.log.error({ migration: this.migration }, `the pass under way cannot be read: ${messageOf(error)}`);
      return null;
    }
  }

  /** Writes where the pass under way is; null: none is. */
  savePass(state: PassState | null): void {
    try {
      this.store.set(`${this.key()}/pass`, state === null ? '' : JSON.stringify(state));
    } catch (error) {
      this.log.warn({ migration: this.migration }, `where the pass is cannot be kept: ${messageOf(error)}`);
    }
  }

  /** An instant of wall clock on the daemon's own clock, at the latest now. */
  monotonic(wall: number, wallNow = this.clock.wallNow()): Us {
    return this.clock.monotonicNow() - Math.max(0, Math.round((wallNow - wall) * US_PER_MS));
  }

  private key(table?: string): string {
    return table === undefined ? `verify/${this.migration}` : `verify/${this.migration}/table/${table}`;
  }

  private wall(at: Us): number {
    return this.clock.wallNow() - (this.clock.monotonicNow() - at) / US_PER_MS;
  }

  private frame(): KeptFrame {
    const { invalid, tables } = this.memory;
    return {
      basis: this.basis,
      generation: this.generation,
      tables: [...tables.keys()],
      invalid: invalid === null ? null : { at: this.wall(invalid.at), why: invalid.why },
      breakSeen: this.breakSeen,
      last: this.last,
      lastComplete: this.lastComplete,
      seen: this.clock.wallNow(),
    };
  }

  private keep({ newest, settled }: TableMemory): KeptTable {
    const kept = ({ result, begun, voided }: Compared): KeptCompared => ({
      result,
      begun: this.wall(begun),
      generation: voided === null ? this.generation : -1,
    });
    // Of one that is only older than the newest, what it found is nobody's business any more.
    const bare = (c: Compared): Compared => ({ ...c, result: { ...c.result, mismatches: [] } });
    return {
      newest: kept(newest),
      settled: settled === null ? null : kept(settled === newest ? newest : bare(settled)),
    };
  }

  private load(): void {
    const text = this.store.get(this.key());
    if (text === null) return;
    const frame = JSON.parse(text) as KeptFrame;
    if (frame.basis !== this.basis) return;
    this.generation = frame.generation;
    this.breakSeen = frame.breakSeen;
    this.last = frame.last;
    this.lastComplete = frame.lastComplete;
    // Time has passed since, whatever a clock says that was set back.
    const wallNow = Math.max(this.clock.wallNow(), frame.seen);
    const why = frame.invalid?.why ?? 'it was compared before something broke';
    const back = ({ result, begun, generation }: KeptCompared): Compared => ({
      result,
      begun: this.monotonic(begun, wallNow),
      voided: generation === this.generation ? null : why,
    });
    const tables = new Map<string, TableMemory>();
    for (const table of frame.tables) {
      const kept = this.store.get(this.key(table)) ?? '';
      if (kept === '') continue;
      const { newest, settled } = JSON.parse(kept) as KeptTable;
      const whole = back(newest);
      const same = settled !== null && settled.result.begunAt === newest.result.begunAt && settled.result.state === newest.result.state; // prettier-ignore
      tables.set(table, { newest: whole, settled: same ? whole : settled === null ? null : back(settled) });
    }
    const invalid = frame.invalid === null ? null : { at: this.monotonic(frame.invalid.at, wallNow), why };
    this.memory = { tables, invalid };
    this.dirty = false;
  }
}
