/**
 * A table with a key, range by range. A range is
 *
 *   scanned ──equal──▶ done
 *           ──differs──▶ waiting ──the link has passed; equal──▶ done
 *                                ──differs still──▶ cutting ──many rows──▶ its parts, each done or cutting
 *                                                           ──few rows──▶ done, and what differs of it to the row settler
 *
 * Every range is at any moment in exactly one of: not scanned yet, the queue, or the tally; so what is saved is whole.
 */
import type { Us } from '../../daemon/core/clock.js';
import type { Log } from '../collector.js';
import { orAborted } from './aborted.js';
import { ChunkSize, FEWEST_ROWS } from './chunks.js';
import type { SideName } from './plan.js';
import { patient, rangeLimit, WHOLE_LIMIT } from './limits.js';
import { diffMarks } from './narrow.js';
import { TooSlow, type Digest, type Key, type KeyRange, type Limit } from './port.js';
import { MOST_OPEN, RowSettler, type Settled } from './row-settler.js';
import type { SoftKind } from './soft.js';
import { addDifference, addOdd, addRows, addUncounted, isFull, keyRecord, type Tally } from './tally.js';
import { NotCovered, type TableDesk } from './table-desk.js';

/** Differing ranges that wait for the link. */
export const MOST_QUEUED = 64;
/** Ranges of so few rows are compared row by row. */
export const LEAF_ROWS = 500;
/** Into so many parts a range is cut. */
const PARTS = 16;
/** How often a large range is compared again before it is cut. */
const MOST_TRIES = 2;
const BACKOFF_US: Us = 500_000;

/** A range that differed. */
interface QueuedRange {
  range: KeyRange;
  state: 'waiting' | 'cutting';
  comparedAt: Us;
  notBefore: Us;
  tries: number;
  /** Null after a restart. */
  digests: { source: Digest; target: Digest } | null;
  /** Rows that are read together while it is cut; null: by the number of its rows. */
  cutTo: number | null;
}

/** Where the comparison of a table is, as plain JSON. */
export interface KeyedState {
  after: Key | null;
  scanned: boolean;
  rows: number;
  tally: Tally;
  queue: KeyRange[];
  keys: Key[];
}

/** Compares one table with a key. */
export class KeyedTable {
  readonly #size: ChunkSize;
  readonly #limit: Limit;
  readonly #queue: QueuedRange[] = [];
  readonly #settler: RowSettler;
  readonly #names: readonly string[];
  readonly #soft: readonly SoftKind[];
  #after: Key | null;
  #scanned: boolean;
  /** The end of the next range, looked up while the one before is compared. */
  #ahead: Promise<Key | null | undefined> | null = null;
  /** The second session is at it, or waits until it can be opened. */
  #looking = false;

  constructor(
    private readonly table: TableDesk,
    private readonly tally: Tally,
    state: KeyedState | null,
    private readonly hooks: { rows: (n: number) => void; step: () => void; log: Log },
  ) {
    const { desk, specs } = table;
    const key = specs.source.key ?? [];
    const indexed = key.every((k) => k.by === 'index');
    this.#names = key.map((k) => k.shape.name);
    this.#soft = specs.source.columns.flatMap((c) => (c.soft === null ? [] : [c.soft]));
    this.#size = new ChunkSize(desk.options.config.chunkUs, !indexed, state?.rows);
    this.#limit = indexed ? rangeLimit(desk.options.config.chunkUs) : WHOLE_LIMIT;
    this.#after = state?.after ?? null;
    this.#scanned = state?.scanned ?? false;
    const rules = { soft: this.#soft, symmetric: desk.symmetric };
    this.#settler = new RowSettler(table, rules, this.#limit, (k, verdict) => this.#rowSettled(k, verdict));
    for (const range of state?.queue ?? []) this.#queue.push(this.#queued(range, null));
    for (const k of state?.keys ?? []) this.#settler.add(k);
  }

  /** Where it is; whole at any moment between two steps. */
  state(): KeyedState {
    return {
      after: this.#after,
      scanned: this.#scanned,
      rows: this.#size.rows,
      tally: this.tally,
      queue: this.#queue.map((q) => q.range),
      keys: this.#settler.keys,
    };
  }

  /** Runs to the end of the table; the tally then says all there is. */
  async run(): Promise<void> {
    while (await this.#step()) this.hooks.step();
    this.hooks.step();
  }

  async #step(): Promise<boolean> {
    const { desk } = this.table;
    const cutting = this.#queue.findLast((q) => q.state === 'cutting');
    if (cutting !== undefined) {
      if (this.#settler.size + 2 * LEAF_ROWS > MOST_OPEN) await this.#settler.attempt();
      else await this.#cut(cutting);
      return true;
    }
    const now = desk.now();
    const due = this.#queue.find((q) => q.notBefore <= now && desk.passed(q.comparedAt));
    if (due !== undefined) await this.#again(due);
    else if (!this.#scanned && this.#queue.length < MOST_QUEUED) await this.#scan();
    else if (this.#settler.size > 0) await this.#settler.attempt();
    else if (this.#queue.length > 0) await this.#waitForOne();
    else return false;
    return true;
  }

  /** Compares the next range. */
  async #scan(): Promise<void> {
    const { desk } = this.table;
    const rows = this.#size.rows;
    await desk.ready();
    const upTo = await this.#nextBound(this.#after, rows);
    const range = { after: this.#after, upTo };
    this.#lookAhead(upTo);
    const found = await this.table.compareFirst(range, rows, this.#limit);
    if (found.cutTo !== null) this.#size.tooSlow(found.cutTo);
    this.#size.took(Math.max(found.source.rows, found.target.rows), found.us);
    if (found.range.upTo !== upTo) this.#ahead = null;
    this.#after = found.range.upTo;
    this.#scanned = found.range.upTo === null;
    if (same(found)) this.#done(found);
    else this.#queue.push(this.#queued(found.range, found));
    this.hooks.rows(Math.max(found.source.rows, found.target.rows));
  }

  async #nextBound(after: Key | null, rows: number): Promise<Key | null> {
    const ahead = this.#ahead;
    this.#ahead = null;
    const known = ahead === null ? undefined : await this.#inTime(ahead);
    return known === undefined ? this.#bound(this.table.desk.active, { after, upTo: null }, rows) : known;
  }

  /** What was looked up ahead; undefined when its session cannot be had, without which it goes on too. */
  async #inTime(ahead: Promise<Key | null | undefined>): Promise<Key | null | undefined> {
    const { clock, signal } = this.table.desk.options;
    const patience = new AbortController();
    const late = clock.sleep(this.#limit.timeoutMs, patience.signal).then(() => undefined);
    try {
      return await orAborted(Promise.race([ahead, late]), signal);
    } finally {
      patience.abort();
    }
  }

  #lookAhead(after: Key | null): void {
    const { ahead, active } = this.table.desk;
    if (ahead === null || after === null || this.#looking) return;
    const rows = this.#size.rows;
    const range = { after, upTo: null };
    // Whatever is wrong is met again, and handled, when it is asked for in its turn.
    this.#looking = true;
    this.#ahead = this.table
      .ask(active, (r) => r.bound(range, rows, this.#limit), ahead)
      .catch(() => undefined)
      .finally(() => (this.#looking = false));
  }

  /** A bound, of fewer rows where that many take too long. */
  async #bound(side: SideName, range: KeyRange, rows: number): Promise<Key | null> {
    for (let n = rows; ; n = Math.max(FEWEST_ROWS, Math.floor(n / 2))) {
      try {
        const limit = n <= FEWEST_ROWS ? patient(this.#limit) : this.#limit;
        return await this.table.ask(side, (r) => r.bound(range, n, limit));
      } catch (error) {
        if (!(error instanceof TooSlow)) throw error;
        if (n <= FEWEST_ROWS) {
          throw new NotCovered(
            `looking up the next rows by its key takes too long on the ${side}: is there a valid index?`,
          );
        }
        this.#size.tooSlow(Math.floor(n / 2));
      }
    }
  }

  /** Compares a range again that differed. */
  async #again(item: QueuedRange): Promise<void> {
    const before = item.digests;
    const rows = before === null ? this.#size.rows : Math.max(before.source.rows, before.target.rows);
    const found = await this.table.compareFirst(item.range, rows, this.#limit);
    const rest = restOf(item.range, found.range);
    if (same(found)) {
      this.#remove(item, rest);
      this.#done(found);
      return;
    }
    if (isFull(this.tally) && rest === null) {
      this.#estimate(item, found);
      return;
    }
    item.digests = found;
    item.comparedAt = this.table.desk.now();
    item.tries += 1;
    item.notBefore = item.comparedAt + BACKOFF_US * 2 ** item.tries;
    item.range = found.range;
    if (rest !== null) this.#queue.push(this.#queued(rest, null));
    const most = Math.max(found.source.rows, found.target.rows);
    if (item.tries >= MOST_TRIES || most <= LEAF_ROWS) item.state = 'cutting';
  }

  /** Compares the first part of a range that differs, or its rows where they are few. */
  async #cut(item: QueuedRange): Promise<void> {
    if (item.digests === null || isFull(this.tally)) {
      item.state = 'waiting';
      return;
    }
    const { source, target } = item.digests;
    const rows = Math.max(source.rows, target.rows);
    if (rows <= LEAF_ROWS && item.cutTo === null) {
      await this.#leaf(item, source, target);
      return;
    }
    await this.table.desk.ready();
    const bigger: SideName = source.rows > target.rows ? 'source' : 'target';
    const side = source.rows === target.rows ? this.table.desk.active : bigger;
    const n = item.cutTo ?? Math.max(Math.ceil(rows / PARTS), Math.ceil(LEAF_ROWS / 2));
    const bound = await this.#bound(side, item.range, n);
    const part = { after: item.range.after, upTo: bound ?? item.range.upTo };
    const found = await this.table.compareFirst(part, n, this.#limit);
    const rest = restOf(item.range, found.range);
    this.#remove(item, rest);
    if (same(found)) this.#done(found);
    else this.#queue.push({ ...this.#queued(found.range, found), state: 'cutting' });
  }

  /** Compares the rows of a small range. */
  async #leaf(item: QueuedRange, source: Digest, target: Digest): Promise<void> {
    await this.table.desk.ready();
    const most = 2 * LEAF_ROWS;
    const few = Math.max(source.rows, target.rows) <= FEWEST_ROWS;
    let marks;
    try {
      const limit = few ? patient(this.#limit) : this.#limit;
      marks = await this.table.both((reader) => reader.marks(item.range, most + 1, limit));
    } catch (error) {
      if (!(error instanceof TooSlow)) throw error;
      if (few) throw new NotCovered('a few of its rows take too long to read');
      item.cutTo = Math.max(FEWEST_ROWS, Math.ceil(Math.max(source.rows, target.rows) / 4));
      return;
    }
    if (marks.source.length > most || marks.target.length > most) {
      // It has grown since it was compared.
      item.digests = null;
      item.state = 'waiting';
      item.tries = MOST_TRIES;
      return;
    }
    const { equal, differing } = diffMarks(marks.source, marks.target, this.#soft);
    this.#remove(item, null);
    addRows(this.tally, equal, equal);
    addOdd(this.tally, source, target);
    for (const key of differing) this.#settler.add(key);
  }

  #rowSettled(key: Key, verdict: Settled): void {
    const { tally } = this;
    const { active } = this.table.desk;
    if (verdict.state === 'matched') {
      addRows(tally, verdict.face.length, verdict.face.length);
      return;
    }
    const [source, target] =
      active === 'source' ? [verdict.active, verdict.passive] : [verdict.passive, verdict.active];
    addRows(tally, source.length, target.length);
    if (verdict.state === 'unsettled') tally.unsettled += 1;
    else addDifference(tally, keyRecord(this.#names, key), source, target, this.#soft);
  }

  /** Counts a range that differs when so many rows do that nobody looks at each of them any more. */
  #estimate(item: QueuedRange, found: { source: Digest; target: Digest; range: KeyRange }): void {
    const before = item.digests;
    if (before === null || before.source.sum !== found.source.sum || before.target.sum !== found.target.sum) {
      item.digests = found;
      item.comparedAt = this.table.desk.now();
      item.tries += 1;
      item.notBefore = item.comparedAt + BACKOFF_US * 2 ** Math.min(item.tries, 4);
      if (item.tries < 2 * MOST_TRIES) return;
      this.#remove(item, null);
      this.#done(found);
      this.tally.unsettled += 1;
      return;
    }
    this.#remove(item, null);
    this.#done(found);
    addUncounted(this.tally, Math.max(1, Math.abs(found.source.rows - found.target.rows)));
  }

  #done(found: { source: Digest; target: Digest }): void {
    addRows(this.tally, found.source.rows, found.target.rows);
    addOdd(this.tally, found.source, found.target);
  }

  #queued(range: KeyRange, digests: { source: Digest; target: Digest } | null): QueuedRange {
    const now = this.table.desk.now();
    return { range, state: 'waiting', comparedAt: now, notBefore: now, tries: 0, digests, cutTo: null };
  }

  /** Takes a range out of the queue; what is left of it stays, with what was known of it. */
  #remove(item: QueuedRange, rest: KeyRange | null): void {
    const at = this.#queue.indexOf(item);
    if (rest === null) this.#queue.splice(at, 1);
    else this.#queue[at] = { ...item, range: rest };
  }

  async #waitForOne(): Promise<void> {
    const { desk } = this.table;
    const next = this.#queue.reduce((a, b) => (a.notBefore <= b.notBefore ? a : b));
    const now = desk.now();
    if (next.notBefore > now) await desk.pause(next.notBefore - now);
    else await desk.waitPassed(next.comparedAt, Infinity);
  }
}

function same(found: { source: Digest; target: Digest }): boolean {
  return found.source.rows === found.target.rows && found.source.sum === found.target.sum;
}

/** What of a range comes after its first part; null when the part is all of it. */
function restOf(range: KeyRange, part: KeyRange): KeyRange | null {
  if (part.upTo === null || JSON.stringify(part.upTo) === JSON.stringify(range.upTo)) return null;
  return { after: part.upTo, upTo: range.upTo };
}
