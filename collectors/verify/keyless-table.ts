/**
 * A table without a key that both sides share:
 *
 *   whole ──equal──▶ done
 *         ──differs, again and again──▶ buckets ──equal──▶ done
 *                                               ──differ──▶ kinds of rows whose numbers differ, to the row settler
 */
import type { Us } from '../../daemon/core/clock.js';
import { MOST_COUNTED, MOST_LISTED } from '../../daemon/core/verification.js';
import { WHOLE_LIMIT } from './limits.js';
import { TooSlow, type Digest, type Key, type RowMark } from './port.js';
import { MOST_OPEN, RowSettler, type Settled } from './row-settler.js';
import { addMismatch, addOdd, addRows, addUncounted, isFull, keyRecord, type Tally } from './tally.js';
import { someOf } from './table-name.js';
import { NotCovered, type Compared, type TableDesk } from './table-desk.js';
import type { Face } from './settle.js';

const WHOLE = { bucket: 0, of: 1 };
/** How often it is compared whole before it is looked at closer. */
const TRIES = 3;
const BACKOFF_US: Us = 500_000;
const FEWEST_BUCKETS = 256;
const ROWS_OF_A_BUCKET = 20_000;
const MOST_MARKS = 100_000;

/** Compares one table that has no key. */
export class KeylessTable {
  readonly #settler: RowSettler;

  constructor(
    private readonly table: TableDesk,
    private readonly tally: Tally,
    private readonly hooks: { rows: (n: number) => void; step: () => void },
  ) {
    const rules = { soft: [], symmetric: table.desk.symmetric };
    this.#settler = new RowSettler(table, rules, WHOLE_LIMIT, (key, verdict) => this.#settled(key, verdict));
  }

  /** Runs to the end of the table; rejects with NotCovered where it cannot be read whole in time. */
  async run(): Promise<void> {
    try {
      const found = await this.#whole();
      this.hooks.rows(Math.max(found.source.rows, found.target.rows));
      addOdd(this.tally, found.source, found.target);
      if (same(found.source, found.target)) addRows(this.tally, found.source.rows, found.target.rows);
      else if (!(await this.#emptied(found))) await this.#buckets(found);
    } catch (error) {
      if (!(error instanceof TooSlow)) throw error;
      throw new NotCovered('it has no key that both sides share, and reading it whole takes longer than 10 minutes');
    }
  }

  /** Compares it whole, again while it differs. */
  async #whole(): Promise<Compared> {
    const { desk } = this.table;
    for (let tries = 1; ; tries += 1) {
      await desk.ready();
      const found = await this.table.digests(WHOLE, WHOLE_LIMIT);
      if (same(found.source, found.target) || tries >= TRIES) return found;
      this.hooks.step();
      const comparedAt = desk.now();
      await desk.pause(BACKOFF_US * 2 ** tries);
      await desk.waitPassed(comparedAt, Infinity);
    }
  }

  /** Counts a large table that is empty on one side by its rows on the other. */
  async #emptied({ source, target }: Compared): Promise<boolean> {
    const rows = Math.max(source.rows, target.rows);
    if (Math.min(source.rows, target.rows) > 0 || rows <= MOST_COUNTED) return false;
    const side = source.rows > 0 ? 'source' : 'target';
    const marks = await this.table.ask(side, (reader) => reader.marks(WHOLE, MOST_LISTED, WHOLE_LIMIT));
    for (const mark of marks)
      addMismatch(this.tally, side === 'source' ? 'missing' : 'extra', keyRecord(null, mark.key), 0);
    this.tally.mismatched = rows;
    this.tally.truncated = true;
    addRows(this.tally, source.rows, target.rows);
    return true;
  }

  async #buckets({ source, target }: Compared): Promise<void> {
    const rows = Math.max(source.rows, target.rows);
    const of = 2 ** Math.ceil(Math.log2(Math.max(FEWEST_BUCKETS, rows / ROWS_OF_A_BUCKET)));
    await this.table.desk.ready();
    const digests = await this.table.both((reader) => reader.buckets(of, WHOLE_LIMIT));
    for (let bucket = 0; bucket < of; bucket += 1) {
      const [a, b] = [digests.source[bucket], digests.target[bucket]];
      if (a === undefined || b === undefined) throw new NotCovered('a side answered with too few buckets');
      if (same(a, b)) addRows(this.tally, a.rows, b.rows);
      else if (isFull(this.tally)) this.#uncounted(a, b);
      else await this.#bucket({ bucket, of });
      this.hooks.step();
    }
    while (this.#settler.size > 0) await this.#attempt();
    this.#bySoftColumns();
  }

  /** Rows that differ may be equal by value, and without a key nobody can tell which of them are to be compared. */
  #bySoftColumns(): void {
    const soft = this.table.specs.source.columns.filter((c) => c.soft !== null).map((c) => c.shape.name);
    const { rows, mismatched } = this.tally;
    if (mismatched === 0 || soft.length === 0) return;
    if (rows.source === rows.target) {
      throw new NotCovered(
        `it has no key that both sides share, by which alone ${someOf(soft)} could be compared by value`,
      );
    }
    this.tally.mismatched = Math.abs(rows.source - rows.target);
    this.tally.atLeast = true;
    this.tally.listed = [];
    this.tally.truncated = true;
  }

  #uncounted(a: Digest, b: Digest): void {
    addRows(this.tally, a.rows, b.rows);
    addUncounted(this.tally, 1);
  }

  /** Compares the numbers of equal rows of a bucket. */
  async #bucket(bucket: { bucket: number; of: number }): Promise<void> {
    await this.table.desk.ready();
    const marks = await this.table.both((reader) => reader.marks(bucket, MOST_MARKS, WHOLE_LIMIT));
    if (marks.source.length >= MOST_MARKS || marks.target.length >= MOST_MARKS) {
      throw new NotCovered('it has no key that both sides share, and too many rows to be compared without one');
    }
    const counts = new Map<string, { key: Key; source: number; target: number }>();
    for (const side of ['source', 'target'] as const) {
      for (const mark of marks[side]) {
        const text = mark.key[0] ?? '';
        const entry = counts.get(text) ?? { key: mark.key, source: 0, target: 0 };
        entry[side] += Number(mark.hash);
        counts.set(text, entry);
      }
    }
    for (const { key, source, target } of counts.values()) {
      if (source === target) {
        addRows(this.tally, source, target);
        continue;
      }
      this.#settler.add(key);
      while (this.#settler.size >= MOST_OPEN) await this.#attempt();
      if (isFull(this.tally)) this.tally.atLeast = true;
    }
  }

  async #attempt(): Promise<void> {
    await this.#settler.attempt();
    this.hooks.step();
  }

  #settled(key: Key, verdict: Settled): void {
    const { tally } = this;
    if (verdict.state === 'matched') {
      addRows(tally, numberOf(verdict.face), numberOf(verdict.face));
      return;
    }
    const [active, passive] = [numberOf(verdict.active), numberOf(verdict.passive)];
    const [source, target] = this.table.desk.active === 'source' ? [active, passive] : [passive, active];
    addRows(tally, source, target);
    if (verdict.state === 'unsettled') tally.unsettled += 1;
    else addMismatch(tally, source > target ? 'missing' : 'extra', keyRecord(null, key), Math.abs(source - target));
  }
}

function numberOf(face: Face): number {
  return face.reduce((sum: number, mark: RowMark) => sum + Number(mark.hash), 0);
}

function same(a: Digest, b: Digest): boolean {
  return a.rows === b.rows && a.sum === b.sum;
}
