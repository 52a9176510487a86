import type { PassOrder } from '../../daemon/core/verification.js';
import type { KeyedState } from './keyed-table.js';
import type { PassState } from './verifier.js';

/** Changes with the form of Where. */
export const STATE_VERSION = 1;

/** Where a pass is. */
export interface Where {
  direction: PassOrder['direction'];
  epoch: number;
  /** Tables that have a result. */
  done: readonly string[];
  current: CurrentTable | null;
}

/** The table under way. */
export interface CurrentTable {
  table: string;
  shape: string;
  /** Wall clock, milliseconds since 1970. */
  begunAt: number;
  /** How often its shape has changed. */
  changes: number;
  /** Null: it has no key, and begins anew. */
  keyed: KeyedState | null;
}

/** Where a kept pass is to go on; null when it is to begin anew. */
export function whereOf(state: PassState): Where | null {
  const { where, order, version } = state;
  if (version !== STATE_VERSION || !isWhere(where)) return null;
  return where.direction === order.direction && where.epoch === order.epoch ? where : null;
}

function isWhere(value: unknown): value is Where {
  if (!isRecord(value)) return false;
  const { done, current, direction, epoch } = value;
  return (
    (direction === 'forward' || direction === 'reverse') &&
    typeof epoch === 'number' &&
    isListOf(done, (t) => typeof t === 'string') &&
    (current === null || isCurrent(current))
  );
}

function isCurrent(value: unknown): boolean {
  if (!isRecord(value)) return false;
  const { table, shape, begunAt, changes, keyed } = value;
  const plain = typeof table === 'string' && typeof shape === 'string';
  return plain && typeof begunAt === 'number' && typeof changes === 'number' && (keyed === null || isKeyed(keyed));
}

function isKeyed(value: unknown): boolean {
  if (!isRecord(value)) return false;
  const { after, scanned, rows, tally, queue, keys } = value;
  return (
    isEnd(after) &&
    typeof scanned === 'boolean' &&
    typeof rows === 'number' &&
    isTally(tally) &&
    isListOf(queue, (r) => isRecord(r) && isEnd(r.after) && isEnd(r.upTo)) &&
    isListOf(keys, isKey)
  );
}

function isTally(value: unknown): boolean {
  if (!isRecord(value) || !isRecord(value.rows) || !isRecord(value.odd)) return false;
  const numbers = [value.rows.source, value.rows.target, value.compared, value.mismatched, value.unsettled];
  const listed = isListOf(value.listed, (m) => isRecord(m) && typeof m.kind === 'string' && isRecord(m.key));
  return listed && [...numbers, ...Object.values(value.odd)].every((n) => typeof n === 'number');
}

function isKey(value: unknown): boolean {
  return isListOf(value, (part) => typeof part === 'string');
}

function isEnd(value: unknown): boolean {
  return value === null || isKey(value);
}

function isListOf(value: unknown, is: (item: unknown) => boolean): boolean {
  return Array.isArray(value) && value.every(is);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
