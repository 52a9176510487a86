/**
 * The parts of binlog events that tell whose transaction changed which table, read from the bytes as the server sends
 * them. Pure. The layouts are those of the servers' own replication protocol (`libbinlogevents` of MySQL,
 * `sql/log_event.h` of MariaDB); whatever a row holds is never looked at.
 */
import { inflateSync } from 'node:zlib';

/** Codes of the events that matter here. */
export const EVENT = {
  query: 2,
  rotate: 4,
  format: 15,
  xid: 16,
  executeLoad: 18,
  tableMap: 19,
  incident: 26,
  heartbeat: 27,
  gtid: 33,
  anonymousGtid: 34,
  xaPrepare: 38,
  payload: 40,
  taggedGtid: 42,
  mariadbGtid: 162,
  compressedQuery: 165,
} as const;

const ROWS: ReadonlySet<number> = new Set([20, 21, 22, 23, 24, 25, 30, 31, 32, 39, 166, 167, 168, 169, 170, 171]);
const GROUP_STARTS: ReadonlySet<number> = new Set([
  EVENT.gtid,
  EVENT.anonymousGtid,
  EVENT.taggedGtid,
  EVENT.mariadbGtid,
]);

/** Whether an event changes rows of one table. */
export function isRows(type: number): boolean {
  return ROWS.has(type);
}

/** Whether an event begins a transaction. */
export function isGroupStart(type: number): boolean {
  return GROUP_STARTS.has(type);
}

/** Bytes of the header of every event. */
export const HEADER_BYTES = 19;
const ARTIFICIAL = 0x20;

/** The header of an event. */
export interface EventHeader {
  /** Seconds since 1970 by the server that wrote it first. */
  readonly seconds: number;
  readonly type: number;
  /** The server that wrote it first. */
  readonly serverId: number;
  /** Where the next event begins, modulo 2^32; 0 where the server does not say. */
  readonly next: number;
  /** Made up by the sender: it is not in the file. */
  readonly artificial: boolean;
}

/** Reads the header of the event at `at`. */
export function readHeader(bytes: Buffer, at: number): EventHeader {
  return {
    seconds: bytes.readUInt32LE(at),
    type: bytes[at + 4] ?? 0,
    serverId: bytes.readUInt32LE(at + 5),
    next: bytes.readUInt32LE(at + 13),
    artificial: ((bytes[at + 17] ?? 0) & ARTIFICIAL) !== 0,
  };
}

/** A table as a TABLE_MAP event names it; `id` stands for it in the row events that follow. */
export interface MappedTable {
  readonly id: number;
  readonly schema: string;
  readonly name: string;
}

/** Reads the body of a TABLE_MAP event. */
export function readTableMap(bytes: Buffer, body: number): MappedTable {
  const schemaAt = body + 9;
  const schemaLength = bytes[body + 8] ?? 0;
  const nameAt = schemaAt + schemaLength + 2;
  const nameLength = bytes[nameAt - 1] ?? 0;
  return {
    id: readTableId(bytes, body),
    schema: bytes.toString('utf8', schemaAt, schemaAt + schemaLength),
    name: bytes.toString('utf8', nameAt, nameAt + nameLength),
  };
}

/** The table's id in the body of a TABLE_MAP or row event. */
export function readTableId(bytes: Buffer, body: number): number {
  return bytes.readUIntLE(body, 6);
}

/** A statement in the binlog and the database it ran in. */
export interface LoggedStatement {
  readonly schema: string;
  readonly text: string;
}

/** Reads the body of a QUERY event; `end` is where it ends, checksum left out. A compressed one (MariaDB) is unpacked. */
export function readQuery(bytes: Buffer, body: number, end: number, compressed: boolean): LoggedStatement {
  const schemaLength = bytes[body + 8] ?? 0;
  const schemaAt = body + 13 + bytes.readUInt16LE(body + 11);
  const textAt = schemaAt + schemaLength + 1;
  const raw = bytes.subarray(textAt, end);
  return {
    schema: bytes.toString('utf8', schemaAt, schemaAt + schemaLength),
    text: (compressed ? unpack(raw) : raw).toString('utf8'),
  };
}

/** One byte: the top bit, three of the algorithm (0 is zlib), and how many bytes of the length follow. */
function unpack(packed: Buffer): Buffer {
  const head = packed[0] ?? 0;
  if ((head & 0x80) === 0 || (head & 0x70) !== 0) throw new RangeError('a compressed statement of an unknown form');
  return inflateSync(packed.subarray(1 + (head & 0x07)));
}

/** What a ROTATE event names: where the events after it are. */
export function readRotate(bytes: Buffer, body: number, end: number): { file: string; offset: number } {
  return { offset: Number(bytes.readBigUInt64LE(body)), file: bytes.toString('utf8', body + 8, end) };
}

/** An XA transaction that was prepared; with `onePhase` it was committed at once. */
export interface PreparedXa {
  readonly onePhase: boolean;
  /** As XA COMMIT spells it, in lower case and without spaces. */
  readonly xid: string;
}

/** Reads the body of an XA_PREPARE event. */
export function readXaPrepare(bytes: Buffer, body: number): PreparedXa {
  const format = bytes.readInt32LE(body + 1);
  const [gtrid, bqual] = [bytes.readInt32LE(body + 5), bytes.readInt32LE(body + 9)];
  const data = body + 13;
  const hex = (from: number, length: number): string => bytes.toString('hex', from, from + length);
  return {
    onePhase: bytes[body] === 1,
    xid: `x'${hex(data, gtrid)}',x'${hex(data + gtrid, bqual)}',${format}`,
  };
}

/** When the server that wrote a GTID event committed it, in milliseconds since 1970; null where the event does not tell. */
export function readCommitTime(bytes: Buffer, body: number, end: number, type: number): number | null {
  // Flags, UUID, number, kind of clock and its two numbers lie before it; of its 56 bits the top one is a flag.
  const at = body + 42;
  if ((type !== EVENT.gtid && type !== EVENT.anonymousGtid) || at + 7 > end || bytes[body + 25] !== 2) return null;
  const us = bytes.readUIntLE(at, 6) + ((bytes[at + 6] ?? 0) & 0x7f) * 2 ** 48;
  return us === 0 ? null : us / 1_000;
}
