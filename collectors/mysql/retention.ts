import { US_PER_S, type Us } from '../../daemon/core/clock.js';
import { formatDurationUs, formatValue } from '../../daemon/core/units.js';
import { bytesAcross, type BinlogFile, type BinlogPlace } from './binlog-distance.js';
import type { Judged } from './channel-state.js';

/**
 * How much of the source's binlog a link still needs, and how long the source keeps it. Pure: every instant is a parameter.
 *
 * No MySQL server keeps its binlog back for a replica, as a slot does: it purges a file some time after the last write to
 * it, or once all files together are too large, whoever still needs it. (A file that a connected replica is reading is
 * spared, but the replica that is cut off is the one that matters.)
 */

/** What the source's settings say of purging. */
export interface PurgeSettings {
  /** Seconds from the last write to a file; null when files do not expire. */
  readonly expireS: number | null;
  /** Bytes of all files together (MariaDB's `max_binlog_total_size`); null for no limit. */
  readonly totalBytes: number | null;
}

/** What one channel still needs. */
export interface NeededFrom {
  readonly flow: string;
  /** From here on; null while the channel has not begun, or there is none. */
  readonly place: BinlogPlace | null;
  /** Everything was applied already, whatever the place says. */
  readonly caughtUp: boolean;
}

/** The source's binlog at one moment. */
export interface KeptLog {
  readonly from: string;
  readonly files: readonly BinlogFile[];
  readonly head: BinlogPlace | null;
}

/** Longer than any migration; a rate of nothing must not make it infinite. */
const longestS = 3650 * 86_400;

/** When files were last seen to be the one that is written to, so that they cannot have been finished before. */
export class FinishedFiles {
  #seen: { name: string; at: Us }[] = [];

  /** Takes one look; `at` counts the time that a machine sleeps too. */
  observe({ files, head }: Pick<KeptLog, 'files' | 'head'>, at: Us): void {
    if (head === null) return;
    const last = this.#seen.at(-1);
    if (last?.name === head.file) last.at = at;
    else this.#seen.push({ name: head.file, at });
    if (this.#seen.length > 1) {
      const there = new Set(files.map((f) => f.name));
      this.#seen = this.#seen.filter(({ name }) => name === head.file || there.has(name)).slice(-mostFiles);
    }
  }

  /** No write to the file came later than its end, and its end not before this; null when nobody knows. */
  notBefore(file: string, files: readonly BinlogFile[]): Us | null {
    const order = new Map(files.map((f, i) => [f.name, i] as const));
    const index = order.get(file);
    if (index === undefined) return null;
    // Of a file that came and went between two looks, the one before it tells.
    return this.#seen.findLast(({ name }) => (order.get(name) ?? Infinity) <= index)?.at ?? null;
  }
}

const mostFiles = 10_000;

/** Bytes of binlog from what the worst of a link's channels needs to the end. */
export function judgeRetained(log: KeptLog, flows: readonly NeededFrom[]): Judged {
  let worst: Judged | null = null;
  for (const flow of flows) {
    const one = retainedOf(log, flow);
    if (one.value === null) return one;
    if (worst === null || one.value > (worst.value ?? 0)) worst = one;
  }
  return worst ?? { value: null, reason: 'the link has no channel' };
}

/**
 * Seconds until the source may purge what the worst of a link's channels needs. `limitBytes` is the configured limit of
 * what may be kept, `rate` bytes per second (null while it is being learnt), `now` as the instants of `finished`.
 */
export function judgeRunway(
  log: KeptLog,
  flows: readonly NeededFrom[],
  settings: PurgeSettings,
  limitBytes: number | null,
  rate: number | null,
  finished: FinishedFiles,
  now: Us,
): Judged {
  const each = flows.map((flow) => runwayOf(log, flow, settings, limitBytes, rate, finished, now));
  const over = each.find(({ value }) => value === 0) ?? each.find(({ value }) => value === null);
  if (over !== undefined) return over;
  const [first, ...others] = each;
  if (first === undefined) return { value: null, reason: 'the link has no channel' };
  return others.reduce((worst, one) => ((one.value ?? 0) < (worst.value ?? 0) ? one : worst), first);
}

function runwayOf(
  log: KeptLog,
  flow: NeededFrom,
  settings: PurgeSettings,
  limitBytes: number | null,
  rate: number | null,
  finished: FinishedFiles,
  now: Us,
): Judged {
  const { from, files } = log;
  if (isPurged(log, flow)) {
    return { value: 0, reason: `${flow.flow} needs ${flow.place?.file ?? ''}, which ${from} has purged already` };
  }
  const retained = retainedOf(log, flow);
  const place = flow.caughtUp ? log.head : flow.place;
  if (retained.value === null || place === null) return retained;
  const ways = [
    byAge(log, flow, place, settings.expireS, finished, now),
    bySize(flow, `max_binlog_total_size of ${from}`, settings.totalBytes, bytesFromFile(files, place, log.head), rate, from), // prettier-ignore
    bySize(flow, 'retention_limit', limitBytes, retained.value, rate, from),
  ].filter((way) => way !== null);
  const [first, ...others] = ways;
  if (first === undefined) {
    return {
      value: null,
      reason: `${from} keeps its binlogs without a limit, until the disk is full: set binlog_expire_logs_seconds there or retention_limit here`,
    };
  }
  // What nobody knows may be the nearest end of all, unless another one is at hand already.
  const over = ways.find(({ value }) => value === 0) ?? ways.find(({ value }) => value === null);
  return over ?? others.reduce((worst, one) => ((one.value ?? 0) < (worst.value ?? 0) ? one : worst), first);
}

function byAge(
  { from, files, head }: KeptLog,
  { flow }: NeededFrom,
  { file }: BinlogPlace,
  expireS: number | null,
  finished: FinishedFiles,
  now: Us,
): Judged | null {
  if (expireS === null) return null;
  const keeps = `${from} keeps a binlog for ${formatDurationUs(expireS * US_PER_S)} after the last write to it`;
  // The file that is written to cannot have expired.
  if (file === head?.file) return { value: Math.min(longestS, expireS), reason: `${flow} needs ${file}, the newest: ${keeps}` }; // prettier-ignore
  const since = finished.notBefore(file, files);
  if (since === null) {
    return { value: null, reason: `${flow} needs ${file}, which was finished before lockgate began to look: ${keeps}, and nobody tells when that was` }; // prettier-ignore
  }
  const value = Math.max(0, Math.min(longestS, expireS - (now - since) / US_PER_S));
  return { value, reason: value === 0 ? `${flow} needs ${file}, which ${from} may purge at any time: ${keeps}` : `${flow} needs ${file}: ${keeps}` }; // prettier-ignore
}

function bySize(
  { flow }: NeededFrom,
  limitName: string,
  limitBytes: number | null,
  bytes: number | null,
  rate: number | null,
  from: string,
): Judged | null {
  if (limitBytes === null) return null;
  if (bytes === null) return { value: null, reason: `the sizes of the binlogs of ${from} are not known` };
  const room = limitBytes - bytes;
  if (room <= 0) return { value: 0, reason: `${flow} needs as much of the binlog as ${limitName} allows` };
  if (rate === null) return { value: null, reason: `the rate at which ${from} writes its binlog is being learnt (a minute)` }; // prettier-ignore
  const value = rate <= 0 ? longestS : Math.min(longestS, room / rate);
  return { value, reason: `${flow}: ${formatValue(room, 'B')} left of ${limitName} at ${formatValue(rate, 'B')}/s` };
}

function retainedOf(log: KeptLog, flow: NeededFrom): Judged {
  const { from, files, head } = log;
  if (head === null) return { value: null, reason: `${from} keeps no binlog` };
  if (flow.caughtUp) return { value: 0, reason: null };
  if (flow.place === null || flow.place.file === '') {
    return { value: null, reason: `${flow.flow} has not said yet from where on it needs the binlog of ${from}` };
  }
  const bytes = bytesAcross(files, flow.place, head);
  if (bytes !== null) return { value: bytes, reason: null };
  const what = isPurged(log, flow) ? 'which has been purged there' : 'which is not there';
  return { value: null, reason: `${flow.flow} needs ${flow.place.file} of ${from}, ${what}` };
}

function isPurged({ files, head }: KeptLog, { place, caughtUp }: NeededFrom): boolean {
  const [oldest] = files;
  if (caughtUp || place === null || head === null || oldest === undefined) return false;
  const [needed, first] = [numberOf(place.file), numberOf(oldest.name)];
  return needed !== null && first !== null && needed.base === first.base && needed.number < first.number;
}

/** Bytes from the beginning of a file to the end: what is there when that file is the oldest. */
function bytesFromFile(files: readonly BinlogFile[], { file }: BinlogPlace, head: BinlogPlace | null): number | null {
  return head === null ? null : bytesAcross(files, { file, offset: 0 }, head);
}

function numberOf(file: string): { base: string; number: number } | null {
  const match = /^(.*)\.(\d{1,15})$/.exec(file);
  return match === null ? null : { base: match[1] ?? '', number: Number(match[2]) };
}
