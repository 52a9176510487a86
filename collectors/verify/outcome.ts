import type { PassOrder, TableResult, TableState } from '../../daemon/core/verification.js';
import type { PlannedTable } from './plan.js';
import { someOf } from './table-name.js';
import type { Tally } from './tally.js';

/** When a comparison began and ended, wall clock in milliseconds since 1970. */
export interface Times {
  begunAt: number;
  comparedAt: number;
}

/** The result of a table that was read to its end. */
export function resultOf(planned: PlannedTable, tally: Tally, times: Times, order: PassOrder): TableResult {
  const { state, reason } = judge(planned, tally);
  const differs = state === 'mismatch';
  return {
    ...blank(planned, times, order),
    state,
    reason: joined([reason, ...remarksOf(planned)]),
    sourceRows: tally.rows.source,
    targetRows: tally.rows.target,
    rowsCompared: tally.compared,
    mismatchedRows: differs ? tally.mismatched : 0,
    mismatchedAtLeast: differs && tally.atLeast,
    mismatches: differs ? tally.listed : [],
    mismatchesTruncated: differs && tally.truncated,
  };
}

/** The result of a table that could not be compared. */
export function notCovered(planned: PlannedTable, reason: string, times: Times, order: PassOrder): TableResult {
  return { ...blank(planned, times, order), state: 'not-covered', reason: joined([reason, ...remarksOf(planned)]) };
}

/** The result of a table that is on one side only and cannot be read there. */
export function unreadableOneSided(planned: PlannedTable, times: Times, order: PassOrder): TableResult {
  return {
    ...blank(planned, times, order),
    state: 'mismatch',
    reason: joined(remarksOf(planned)),
    mismatchedAtLeast: true,
  };
}

function judge({ task }: PlannedTable, tally: Tally): { state: TableState; reason: string | null } {
  if (task.kind === 'one-sided') return { state: 'mismatch', reason: null };
  const unsettled =
    tally.unsettled === 0 ? null : `${count(tally.unsettled, 'row or range', 'rows or ranges')} kept changing`;
  const odd = Object.entries(tally.odd);
  const oddRows = odd.reduce((sum, [, n]) => sum + n, 0);
  if (oddRows > 0 && tally.mismatched <= oddRows) {
    // What differs may be these values themselves, and nobody has said what stands for them.
    const what = odd.map(([column, n]) => `${column} (${count(n, 'row', 'rows')})`);
    return {
      state: 'not-covered',
      reason: `it holds values that the other side cannot hold and for which no stand-in is configured: ${someOf(what)}`,
    };
  }
  if (tally.mismatched > 0) {
    const rows = count(tally.mismatched, 'row differs', 'rows differ');
    return { state: 'mismatch', reason: joined([tally.atLeast ? `at least ${rows}` : rows, unsettled]) };
  }
  if (unsettled !== null) return { state: 'not-settled', reason: unsettled };
  return { state: 'match', reason: null };
}

function count(n: number, one: string, many: string): string {
  return `${n} ${n === 1 ? one : many}`;
}

function remarksOf({ task, ignored }: PlannedTable): string[] {
  const remarks = task.kind === 'compare' ? [...task.remarks] : task.kind === 'one-sided' ? [task.reason] : [];
  if (ignored.length > 0) remarks.push(`ignored: ${someOf(ignored)}`);
  return remarks;
}

function joined(parts: readonly (string | null)[]): string | null {
  const said = parts.filter((p) => p !== null);
  return said.length === 0 ? null : said.join('; ');
}

function blank(planned: PlannedTable, times: Times, order: PassOrder): TableResult {
  return {
    table: planned.table,
    state: 'not-covered',
    reason: null,
    ...times,
    direction: order.direction,
    epoch: order.epoch,
    shape: planned.shape,
    sourceRows: null,
    targetRows: null,
    rowsCompared: 0,
    ignoredColumns: planned.ignored,
    mismatchedRows: 0,
    mismatchedAtLeast: false,
    mismatches: [],
    mismatchesTruncated: false,
  };
}
