import type { JournalEntry } from '../store/store.js';
import { LIMITS } from './limits.js';
import type { Query } from './query.js';
import { readInstant, readInteger } from './query.js';
import type { QueryParameter } from './route.js';

/** The query parameters of everything that is read from the journal in pages. */
export const PAGE_PARAMETERS: readonly QueryParameter[] = [
  {
    name: 'since',
    description: 'RFC 3339; only what happened at or after it',
    schema: { type: 'string', format: 'date-time' },
  },
  {
    name: 'limit',
    description: 'At most so many',
    schema: { type: 'integer', minimum: 1, maximum: LIMITS.pageMax, default: LIMITS.pageDefault },
  },
  {
    name: 'after',
    description: 'Only what comes after the entry with this id: `next` of the page before',
    schema: { type: 'string', pattern: '^[0-9]{1,15}$' },
  },
];

/** A page of the journal as the store is asked for it. */
export interface Page {
  since?: number;
  after?: number;
  limit: number;
}

/** Reads the parameters of a page; a limit above the maximum is refused, so that no client takes a part for the whole. */
export function readPage(query: Query): Page {
  const since = readInstant(query, 'since');
  const after = readInteger(query, 'after', { min: 0, max: Number.MAX_SAFE_INTEGER });
  return {
    limit: readInteger(query, 'limit', { min: 1, max: LIMITS.pageMax }) ?? LIMITS.pageDefault,
    ...(since === undefined ? {} : { since }),
    ...(after === undefined ? {} : { after }),
  };
}

/** Where the next page starts; null when this page was not full, so that there was no more at the time. */
export function cursor(entries: readonly JournalEntry[], limit: number): string | null {
  const last = entries.at(-1);
  return last === undefined || entries.length < limit ? null : String(last.id);
}
