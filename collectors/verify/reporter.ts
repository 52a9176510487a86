import { US_PER_S, type Clock, type Us } from '../../daemon/core/clock.js';
import type { PassOrder, PassProgress } from '../../daemon/core/verification.js';

const EVERY_US: Us = 200_000;
/** What the first seconds suggest about the rest is chance. */
const ETA_AFTER_US: Us = 5_000_000;

/** Tells how far a pass is: at once when something else begins or it pauses, else a few times a second. */
export class Reporter {
  #tablesDone = 0;
  #rowsDone = 0;
  #rowsBefore = 0;
  #table: string | null = null;
  #toldAt: Us = -Infinity;
  #workedUs: Us = 0;
  #pausedSince: Us | null = null;
  readonly #begunAt: Us;
  readonly #paused = new Map<string, string>();
  #total = { tables: 0, rows: 0 };

  constructor(
    private readonly clock: Clock,
    private readonly order: PassOrder,
    private readonly tell: (progress: PassProgress) => void,
  ) {
    this.#begunAt = clock.monotonicNow();
  }

  /** What there is to do, and what was done before a restart. */
  plan(total: { tables: number; rows: number }, done: { tables: number; rows: number }): void {
    this.#total = total;
    this.#tablesDone = done.tables;
    this.#rowsDone = done.rows;
    this.#rowsBefore = done.rows;
    this.#now();
  }

  /** A table is under way. */
  begin(table: string): void {
    this.#table = table;
    this.#now();
  }

  /** The table under way has a result. */
  end(): void {
    this.#table = null;
    this.#tablesDone += 1;
    this.#now();
  }

  /** Rows were compared; negative when a table begins anew. */
  rows(n: number): void {
    this.#rowsDone += n;
    if (this.clock.monotonicNow() - this.#toldAt >= EVERY_US) this.#now();
  }

  /** Waits for something, by a name of its own; null when it does not wait for that any more. */
  paused(what: string, reason: string | null): void {
    if ((this.#paused.get(what) ?? null) === reason) return;
    const now = this.clock.monotonicNow();
    if (reason === null) this.#paused.delete(what);
    else this.#paused.set(what, reason);
    if (this.#paused.size > 0) this.#pausedSince ??= now;
    else if (this.#pausedSince !== null) {
      this.#workedUs -= now - this.#pausedSince;
      this.#pausedSince = null;
    }
    this.#now();
  }

  #now(): void {
    const now = this.clock.monotonicNow();
    this.#toldAt = now;
    const paused = this.#paused.size === 0 ? null : [...new Set(this.#paused.values())].join('; ');
    this.tell({
      pass: this.order.pass,
      startedAt: this.order.startedAt,
      tablesDone: this.#tablesDone,
      tablesTotal: this.#total.tables,
      rowsDone: this.#rowsDone,
      rowsEstimated: Math.max(this.#total.rows, this.#rowsDone),
      etaSeconds: paused === null ? this.#eta(now) : null,
      table: this.#table,
      paused,
    });
  }

  /** By the rate of this run; what it waited does not count. */
  #eta(now: Us): number | null {
    const workedUs = now - this.#begunAt + this.#workedUs;
    const rows = this.#rowsDone - this.#rowsBefore;
    if (workedUs < ETA_AFTER_US || rows <= 0) return null;
    const left = Math.max(0, this.#total.rows - this.#rowsDone);
    return Math.round((left * workedUs) / rows / US_PER_S);
  }
}
