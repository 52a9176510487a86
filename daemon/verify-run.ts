/** One pass of verification from its start to its end: its turn among the others, its progress, what it found. */
import type { PassState, Verifier } from '../collectors/verify/verifier.js';
import type { Clock, Us } from './core/clock.js';
import { US_PER_MS } from './core/clock.js';
import type { PassEnd, PassOrder, PassProgress, TableResult, TableState } from './core/verification.js';
import { MOST_LISTED } from './core/verification.js';
import type { Turns } from './verify-turns.js';

/** How often progress is told, at most. */
const TELL_US: Us = 250_000;
/** How often where it is is kept, at most. */
const KEEP_US: Us = 1_000_000;
/** Looks at both clocks that are remembered of a pass; more jumps than that make its comparisons a little older than they are. */
const MOST_LOOKS = 16;

/** What a pass is given, and whom it tells. */
export interface RunParts {
  clock: Clock;
  verifier: Verifier;
  turns: Turns;
  order: PassOrder;
  /** Where it was before a restart; null for a new one. */
  state: PassState | null;
  /** Resolves once the direction is known to be the one of the order; ends with the signal. */
  ready: (signal: AbortSignal) => Promise<void>;
  told: (progress: PassProgress) => void;
  found: (result: TableResult, begun: Us) => void;
  keep: (state: PassState) => void;
}

/** A pass under way. */
export class VerifyRun {
  readonly order: PassOrder;
  readonly counts: Record<TableState, number> = { match: 0, mismatch: 0, 'not-settled': 0, 'not-covered': 0 };
  rows = 0;
  private readonly abort = new AbortController();
  private readonly looks: { monotonic: Us; wall: number }[] = [];
  private latest: PassProgress;
  private toldAt: Us = -Infinity;
  private keptAt: Us = -Infinity;
  private untold = false;
  private unkept: PassState | null = null;
  private why: string | null = null;

  constructor(private readonly parts: RunParts) {
    const { order } = parts;
    this.order = order;
    this.latest = {
      ...{ pass: order.pass, startedAt: order.startedAt, tablesDone: 0, tablesTotal: 0, rowsDone: 0, rowsEstimated: 0 },
      ...{ etaSeconds: null, table: null, paused: null },
    };
    this.jumped();
  }

  /** How far it is. */
  get progress(): PassProgress {
    return this.latest;
  }

  /** Ends it before its time, for this reason; null: the daemon stops, and it goes on after that. */
  end(why: string | null): void {
    this.why ??= why;
    this.abort.abort();
  }

  /** The clocks jumped, or may have: from here on they may differ otherwise. */
  jumped(): void {
    const { clock } = this.parts;
    this.looks.push({ monotonic: clock.monotonicNow(), wall: clock.wallNow() });
    if (this.looks.length > MOST_LOOKS) this.looks.splice(1, 1);
  }

  /** Tells and keeps what had to wait, so that not too much is told. */
  tick(): void {
    const now = this.parts.clock.monotonicNow();
    if (this.untold && now - this.toldAt >= TELL_US) this.tell(now);
    if (this.unkept !== null && now - this.keptAt >= KEEP_US) this.keep(now);
  }

  /** Runs it; null when it was interrupted by the end of the daemon, else how it ended. Never rejects. */
  async run(): Promise<PassEnd | null> {
    const { clock, order, verifier, turns, ready } = this.parts;
    const { signal } = this.abort;
    let end: PassEnd;
    let leave: (() => void) | null = null;
    try {
      this.pause('waits until the direction is known');
      await ready(signal);
      this.pause('waits for other verifications to end: only so many run at once');
      leave = await turns.take(signal);
      this.pause(null);
      signal.throwIfAborted();
      end = await verifier.run(this.parts.state ?? order, this.hooks(signal), signal);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      end = { pass: order.pass, startedAt: order.startedAt, endedAt: clock.wallNow(), complete: false, reason };
    }
    leave?.();
    if (signal.aborted && this.why === null) {
      if (this.unkept !== null) this.keep(clock.monotonicNow());
      return null;
    }
    return signal.aborted ? { ...end, complete: false, reason: this.why } : end;
  }

  private hooks(signal: AbortSignal) {
    // What comes after the end says nothing any more.
    const live =
      <A extends unknown[]>(act: (...args: A) => void) =>
      (...args: A): void => {
        if (!signal.aborted) act(...args);
      };
    return {
      progress: live((progress: PassProgress) => this.show(progress)),
      table: live((result: TableResult) => this.take(result)),
      save: live((state: PassState) => {
        this.unkept = state;
        this.tick();
      }),
    };
  }

  private pause(paused: string | null): void {
    this.show({ ...this.latest, paused });
  }

  private show(progress: PassProgress): void {
    this.latest = progress;
    this.untold = true;
    this.tick();
  }

  private tell(now: Us): void {
    this.toldAt = now;
    this.untold = false;
    this.parts.told(this.latest);
  }

  private keep(now: Us): void {
    if (this.unkept === null) return;
    this.keptAt = now;
    this.parts.keep(this.unkept);
    this.unkept = null;
  }

  private take(result: TableResult): void {
    this.counts[result.state] += 1;
    this.rows += result.rowsCompared;
    const { mismatches } = result;
    const bounded =
      mismatches.length <= MOST_LISTED
        ? result
        : { ...result, mismatches: mismatches.slice(0, MOST_LISTED), mismatchesTruncated: true };
    this.parts.found(bounded, this.begunOf(result));
  }

  /**
   * When a comparison began on the daemon's own clock: by whatever look at both clocks makes it the oldest, so that a wall
   * clock that was set while it ran makes it older than it is at most.
   */
  private begunOf({ begunAt }: TableResult): Us {
    const { clock } = this.parts;
    const now = { monotonic: clock.monotonicNow(), wall: clock.wallNow() };
    const each = [...this.looks, now].map(
      ({ monotonic, wall }) => monotonic + Math.round((begunAt - wall) * US_PER_MS),
    );
    return Math.min(now.monotonic, ...each);
  }
}
