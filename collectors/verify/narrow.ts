import type { Key, RowMark } from './port.js';
import { difference } from './settle.js';
import type { SoftKind } from './soft.js';
import { keyText } from './table-name.js';

/** What the rows of a range have in common on both sides, and the keys of those that differ. */
export interface MarksDifference {
  /** Rows under keys that both sides have the same rows under. */
  readonly equal: number;
  readonly differing: Key[];
}

/** Compares the rows of a range. */
export function diffMarks(
  source: readonly RowMark[],
  target: readonly RowMark[],
  soft: readonly SoftKind[],
): MarksDifference {
  const byKey = new Map<string, { key: Key; source: RowMark[]; target: RowMark[] }>();
  const put = (mark: RowMark, side: 'source' | 'target'): void => {
    const text = keyText(mark.key);
    const entry = byKey.get(text) ?? { key: mark.key, source: [], target: [] };
    entry[side].push(mark);
    byKey.set(text, entry);
  };
  for (const mark of source) put(mark, 'source');
  for (const mark of target) put(mark, 'target');
  let equal = 0;
  const differing: Key[] = [];
  for (const entry of byKey.values()) {
    const { onlyA, onlyB } = difference(entry.source, entry.target, soft);
    if (onlyA === 0 && onlyB === 0) equal += entry.source.length;
    else differing.push(entry.key);
  }
  return { equal, differing };
}
