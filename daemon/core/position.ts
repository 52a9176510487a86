import { containsGtids, formatGtidSet, parseMariadbGtidSet, parseMysqlGtidSet, type GtidSet } from './gtid.js';

/**
 * A point in a server's log. LSNs are totally ordered, GTID sets only partially, and binlog coordinates only within the
 * log of one server, so nothing outside this file compares positions by hand.
 */
export type Position =
  | { kind: 'lsn'; lsn: bigint }
  | { kind: 'gtid'; set: GtidSet }
  /** `server` tells one server's log from another's: its UUID, or its id where it has no UUID. */
  | { kind: 'binlog'; server: string; file: string; offset: number };

/** True when everything up to and including `wanted` is contained in `applied`; positions of different kinds never contain each other. */
export function reached(applied: Position, wanted: Position): boolean {
  if (applied.kind === 'lsn' && wanted.kind === 'lsn') return applied.lsn >= wanted.lsn;
  if (applied.kind === 'gtid' && wanted.kind === 'gtid') return containsGtids(applied.set, wanted.set);
  if (applied.kind !== 'binlog' || wanted.kind !== 'binlog' || applied.server !== wanted.server) return false;
  const [has, needs] = [fileNumber(applied.file), fileNumber(wanted.file)];
  if (has === null || needs === null || has.base !== needs.base) return false;
  return has.number > needs.number || (has.number === needs.number && applied.offset >= wanted.offset);
}

/**
 * Whether a local write, named as its reader names it (an LSN, a GTID, or `file:offset` of its end), lies beyond `place`;
 * null when the two cannot be compared, which nobody may take for "no".
 */
export function isBeyond(write: string, place: Position): boolean | null {
  const text = place.kind === 'binlog' && !write.includes('/') ? `${place.server}/${write}` : write;
  const found = parsePosition(text);
  if (found?.kind !== place.kind) return null;
  if (found.kind === 'gtid' && place.kind === 'gtid' && found.set.flavour !== place.set.flavour) return null;
  if (found.kind === 'binlog' && !reached(found, place) && !reached(place, found)) return null;
  return !reached(place, found);
}

/** Bytes from `applied` to `head`, at least 0; null when these positions have no byte distance. */
export function bytesBetween(applied: Position, head: Position): number | null {
  if (applied.kind === 'lsn' && head.kind === 'lsn') {
    const d = head.lsn - applied.lsn;
    return d > 0n ? Number(d) : 0;
  }
  if (applied.kind !== 'binlog' || head.kind !== 'binlog') return null;
  // Across files the distance depends on the sizes of those between.
  if (applied.server !== head.server || applied.file !== head.file) return null;
  return Math.max(0, head.offset - applied.offset);
}

/** The text of a position as the server's own tools print it, for example `16/B374D848` or `0-1-42`. */
export function formatPosition(p: Position): string {
  switch (p.kind) {
    case 'lsn':
      return formatLsn(p.lsn);
    case 'gtid':
      return formatGtidSet(p.set);
    case 'binlog':
      return `${p.server}/${p.file}:${p.offset}`;
  }
}

/** The LSN of a position; throws a RangeError for one of another kind. */
export function lsnOf(p: Position): bigint {
  if (p.kind !== 'lsn') throw new RangeError(`not an LSN: ${formatPosition(p)}`);
  return p.lsn;
}

/** Renders an LSN as PostgreSQL does: two hexadecimal halves without leading zeros. */
export function formatLsn(lsn: bigint): string {
  return `${(lsn >> 32n).toString(16).toUpperCase()}/${(lsn & 0xffffffffn).toString(16).toUpperCase()}`;
}

/** Parses PostgreSQL's `X/Y` text to an LSN; throws a RangeError on anything else. */
export function parseLsn(text: string): bigint {
  const m = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/.exec(text);
  if (m === null) throw new RangeError(`not an LSN: ${text}`);
  return (BigInt(`0x${m[1] ?? '0'}`) << 32n) | BigInt(`0x${m[2] ?? '0'}`);
}

/** Parses what `formatPosition` printed; null when it is no position. The empty GTID set has no text that could be told. */
export function parsePosition(text: string): Position | null {
  const binlog = /^([0-9a-f-]{1,36})\/([^:/]+\.\d+):(\d{1,15})$/.exec(text);
  if (binlog !== null) {
    return { kind: 'binlog', server: binlog[1] ?? '', file: binlog[2] ?? '', offset: Number(binlog[3]) };
  }
  try {
    if (text.includes('/')) return { kind: 'lsn', lsn: parseLsn(text) };
    if (text === '') return null;
    return { kind: 'gtid', set: text.includes(':') ? parseMysqlGtidSet(text) : parseMariadbGtidSet(text) };
  } catch {
    return null;
  }
}

/** The base name and number of a binlog file, `binlog.000042`; null when the name has another form. */
function fileNumber(file: string): { base: string; number: number } | null {
  const match = /^(.*)\.(\d{1,15})$/.exec(file);
  return match === null ? null : { base: match[1] ?? '', number: Number(match[2]) };
}
