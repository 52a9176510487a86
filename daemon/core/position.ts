/**
 * A point in a server's log. An LSN is totally ordered; other kinds (GTID sets) are only partially ordered, so nothing
 * outside this file compares positions by hand.
 */
export type Position = { kind: 'lsn'; lsn: bigint };

/** True when everything up to and including `wanted` is contained in `applied`; positions of different kinds never contain each other. */
export function reached(applied: Position, wanted: Position): boolean {
  return applied.lsn >= wanted.lsn;
}

/** Bytes from `applied` to `head`, at least 0; null when the kind of position has no byte distance. */
export function bytesBetween(applied: Position, head: Position): number | null {
  const d = head.lsn - applied.lsn;
  return d > 0n ? Number(d) : 0;
}

/** The text of a position as the server's own tools print it, for example `16/B374D848`. */
export function formatPosition(p: Position): string {
  return formatLsn(p.lsn);
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

/** Parses what `formatPosition` printed; null when it is no position. */
export function parsePosition(text: string): Position | null {
  try {
    return { kind: 'lsn', lsn: parseLsn(text) };
  } catch {
    return null;
  }
}
