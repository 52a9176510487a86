/** Verification as the outside sees it: JSON, journal entries, events. */
import type { Direction } from './core/direction.js';
import type { PassEnd, PassProgress, TableResult } from './core/verification.js';
import { countingResult, type SelectionNow, type VerificationMemory } from './core/verify-readings.js';
import type { VerifyJson, VerifyTableJson } from './http/port.js';

/** Keys of a table that differ which are journaled and told at once. */
const MOST_TOLD = 10;

const iso = (wall: number): string => new Date(wall).toISOString();

/** How far a pass is. */
export function progressJson(p: PassProgress): NonNullable<VerifyJson['running']> {
  return {
    pass: p.pass,
    started_at: iso(p.startedAt),
    tables_done: p.tablesDone,
    tables_total: p.tablesTotal,
    rows_done: p.rowsDone,
    rows_estimated: p.rowsEstimated,
    eta_seconds: p.etaSeconds,
    table: p.table,
    paused: p.paused,
  };
}

/** How a pass ended. */
export function endJson(end: PassEnd): NonNullable<VerifyJson['last']> {
  const { pass, startedAt, endedAt, complete, reason } = end;
  return { pass, started_at: iso(startedAt), ended_at: iso(endedAt), complete, reason };
}

/** A comparison, whether it counts or not. */
export function resultJson(r: TableResult): VerifyTableJson {
  return {
    table: r.table,
    state: r.state,
    reason: r.reason,
    compared_at: iso(r.comparedAt),
    source_rows: r.sourceRows,
    target_rows: r.targetRows,
    rows_compared: r.rowsCompared,
    ignored_columns: [...r.ignoredColumns],
    mismatched_rows: r.mismatchedRows,
    mismatched_at_least: r.mismatchedAtLeast,
    mismatches: r.mismatches.map(({ kind, key }) => ({ kind, key: { ...key } })),
    mismatches_truncated: r.mismatchesTruncated,
  };
}

/** The same with as many keys as are told at once. */
export function briefJson(r: TableResult): VerifyTableJson {
  const cut = r.mismatches.length > MOST_TOLD;
  return resultJson(cut ? { ...r, mismatches: r.mismatches.slice(0, MOST_TOLD), mismatchesTruncated: true } : r);
}

/** What is journaled of a table that differs: how much and which keys, never values. */
export function mismatchEntry(r: TableResult): Record<string, unknown> {
  return {
    table: r.table,
    mismatched_rows: r.mismatchedRows,
    at_least: r.mismatchedAtLeast,
    reason: r.reason,
    keys: r.mismatches.slice(0, MOST_TOLD).map(({ kind, key }) => ({ kind, key })),
  };
}

/** Every table that is selected, or that was compared while nobody knows what is selected, with what is known of it. */
export function tablesJson(
  memory: VerificationMemory,
  selected: SelectionNow,
  direction: Direction,
): VerifyTableJson[] {
  const shapes = 'unknown' in selected ? null : selected.selection.tables;
  const names = [...(shapes?.keys() ?? memory.tables.keys())].sort();
  const nobodyKnows =
    direction.direction === 'unknown'
      ? `the direction is unknown: ${direction.reason}`
      : 'unknown' in selected
        ? selected.unknown
        : null;
  return names.map((table) => {
    const newest = memory.tables.get(table)?.newest.result;
    if (nobodyKnows !== null || direction.direction === 'unknown') return nothing(table, newest, nobodyKnows ?? '');
    const counting = countingResult(memory, table, shapes?.get(table) ?? '', direction);
    return 'none' in counting ? nothing(table, newest, counting.none) : resultJson(counting.compared.result);
  });
}

function nothing(table: string, newest: TableResult | undefined, reason: string): VerifyTableJson {
  return {
    ...{ table, state: 'unknown', reason, compared_at: newest === undefined ? null : iso(newest.comparedAt) },
    ...{ source_rows: null, target_rows: null, rows_compared: 0, ignored_columns: [], mismatched_rows: null },
    ...{ mismatched_at_least: false, mismatches: [], mismatches_truncated: false },
  };
}
