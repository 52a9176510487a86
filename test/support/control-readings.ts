/** Waits for what the watch of DMS's control tables says. */
import type { DmsReading, LinkReading, Observation } from '../../daemon/core/observation.js';
import type { Listening } from './listening.js';

type Reading = DmsReading | LinkReading;
const isReading = (o: Observation): o is Reading => o.kind === 'dms-reading' || o.kind === 'link-reading';

/** Waits until `signal` has this value, for a reason that fits (null: none). */
export async function says(
  l: Listening,
  signal: 'dms.apply_exceptions' | 'errors',
  value: number | null,
  reason: RegExp | null,
): Promise<Reading> {
  return l.next(
    `${signal} ${String(value)} ${String(reason)}`,
    isReading,
    (o) =>
      o.signal === signal &&
      o.value === value &&
      (reason === null ? o.reason === null : reason.test(o.reason ?? '')) &&
      (o.kind === 'dms-reading' || o.part === 'dms-control-tables'),
  );
}
