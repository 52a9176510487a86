import { MOST_LISTED } from '../../daemon/core/verification.js';
import { MOST_ROWS } from './chunks.js';
import { WHOLE_LIMIT } from './limits.js';
import type { SideName } from './plan.js';
import { TooSlow, type Key, type KeyRange } from './port.js';
import { addMismatch, keyRecord, type Tally } from './tally.js';
import type { TableDesk } from './table-desk.js';

const FIRST = 100_000;
const FEWEST = 100;

/** Counts the rows of a table that the other side does not have, and lists the first of them. */
export async function countOneSided(
  table: TableDesk,
  on: SideName,
  tally: Tally,
  hooks: { rows: (n: number) => void; step: () => void },
): Promise<void> {
  const { desk } = table;
  const spec = table.specs[on];
  const names = spec.key?.map((k) => k.shape.name) ?? null;
  const all: KeyRange = { after: null, upTo: null };
  const first = spec.key === null ? { bucket: 0, of: 1 } : all;
  let after: Key | null = null;
  let rows = FIRST;
  try {
    for (;;) {
      await desk.ready();
      try {
        const from: KeyRange = { after, upTo: null };
        const upTo = spec.key === null ? null : await table.ask(on, (r) => r.bound(from, rows, WHOLE_LIMIT));
        const range = { after, upTo };
        const digest = await table.ask(on, (r) => r.digest(spec.key === null ? first : range, WHOLE_LIMIT));
        tally.rows[on] += digest.rows;
        tally.compared += digest.rows;
        tally.mismatched += digest.rows;
        hooks.rows(digest.rows);
        hooks.step();
        if (upTo === null) break;
        after = upTo;
        rows = Math.min(MOST_ROWS, rows * 2);
      } catch (error) {
        if (!(error instanceof TooSlow) || rows <= FEWEST || spec.key === null) throw error;
        rows = Math.max(FEWEST, Math.floor(rows / 4));
      }
    }
    const marks = await table.ask(on, (r) => r.marks(first, MOST_LISTED, WHOLE_LIMIT));
    for (const mark of marks) addMismatch(tally, on === 'source' ? 'missing' : 'extra', keyRecord(names, mark.key), 0);
    tally.truncated = tally.rows[on] > MOST_LISTED;
  } catch (error) {
    if (!(error instanceof TooSlow)) throw error;
    // That it is missing is certain all the same.
    tally.atLeast = true;
    tally.truncated = true;
  }
}
