import type { Us } from '../../daemon/core/clock.js';
import type { Key, Limit, RowMark } from './port.js';
import {
  MOST_WAITED_US,
  settleRow,
  UNTRIED,
  type Face,
  type OpenRow,
  type SettleRules,
  type Verdict,
} from './settle.js';
import type { TableDesk } from './table-desk.js';
import { keyText } from './table-name.js';

/** At most so many rows are looked at together. */
export const MOST_OPEN = 2_000;
const LEAST_PAUSE_US: Us = 50_000;
const MOST_PAUSE_US: Us = 350_000;

/** What is decided about a row. */
export type Settled = Exclude<Verdict, { state: 'open' }>;

/** The rows of a table that differed when they were last compared, until it is known what that meant. */
export class RowSettler {
  readonly #open = new Map<string, { key: Key; row: OpenRow }>();

  constructor(
    private readonly table: TableDesk,
    private readonly rules: SettleRules,
    private readonly limit: Limit,
    private readonly settled: (key: Key, verdict: Settled) => void,
  ) {}

  get size(): number {
    return this.#open.size;
  }

  get keys(): Key[] {
    return [...this.#open.values()].map(({ key }) => key);
  }

  /** A row that differed; one that is open already stays as it is. */
  add(key: Key): void {
    const text = keyText(key);
    if (!this.#open.has(text)) this.#open.set(text, { key, row: UNTRIED });
  }

  /** Makes one attempt at all open rows. */
  async attempt(): Promise<void> {
    const { desk } = this.table;
    await desk.ready();
    // Intervals that are never the same do not fall in step with a row that toggles.
    await desk.pause(desk.settleUs + LEAST_PAUSE_US + Math.random() * (MOST_PAUSE_US - LEAST_PAUSE_US));
    const keys = this.keys;
    const from = desk.now();
    const s1 = await this.#look(desk.active, keys);
    const readAt = desk.now();
    const patience = MOST_WAITED_US - Math.max(0, ...[...this.#open.values()].map(({ row }) => row.waitedUs));
    const passed = desk.symmetric || (await desk.waitPassed(readAt, patience));
    const passedAt = desk.now();
    // Without the link's word it says nothing about a mismatch, and the rows have waited long enough.
    const v = await this.#look(desk.passive, keys);
    const s3 = await this.#look(desk.active, keys);
    const waitedUs = passedAt - readAt;
    const spentUs = desk.now() - from - waitedUs;
    for (const [text, { key, row }] of this.#open) {
      const attempt = { s1: s1(text), v: v(text), s3: s3(text), spentUs, waitedUs };
      const before = passed ? row : { ...row, evidence: 0, last: null, waitedUs: MOST_WAITED_US };
      const verdict = settleRow(before, attempt, this.rules);
      if (verdict.state === 'open') {
        this.#open.set(text, { key, row: verdict.row });
      } else {
        this.#open.delete(text);
        this.settled(key, verdict);
      }
    }
  }

  async #look(side: 'source' | 'target', keys: readonly Key[]): Promise<(text: string) => Face> {
    const found = new Map<string, RowMark[]>();
    for (const mark of await this.table.lookup(side, keys, this.limit)) {
      const text = keyText(mark.key);
      const same = found.get(text);
      if (same === undefined) found.set(text, [mark]);
      else same.push(mark);
    }
    return (text) => found.get(text) ?? [];
  }
}
