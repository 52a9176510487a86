import { US_PER_MS, type Us } from '../../daemon/core/clock.js';
import type { Limit } from './port.js';

/** For a question to the catalog. */
export const CATALOG_LIMIT: Limit = { timeoutMs: 30_000 };
/** For a table that is read whole, and for ranges of a key that no index serves. */
export const WHOLE_LIMIT: Limit = { timeoutMs: 600_000 };
const PATIENT_LIMIT: Limit = { timeoutMs: 30_000 };

const LEAST_MS = 2_000;
const TIMES = 4;

/** How long a statement may take that is to take `chunkUs`: a server that stutters once is no reason to cut the range. */
export function rangeLimit(chunkUs: Us): Limit {
  return { timeoutMs: Math.max(LEAST_MS, Math.round((chunkUs * TIMES) / US_PER_MS)) };
}

/** For the smallest range, before it is given up: a server that stutters does so for seconds. */
export function patient(limit: Limit): Limit {
  return limit.timeoutMs < PATIENT_LIMIT.timeoutMs ? PATIENT_LIMIT : limit;
}
