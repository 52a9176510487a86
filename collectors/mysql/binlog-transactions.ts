/**
 * Follows the events of a binlog, transaction by transaction, and picks out the local writes: committed transactions of
 * this very server that changed rows of the application or emptied one of its tables. Pure.
 *
 * A transaction is this server's own by the server id in the header of its events, or by its UUID in the GTID. States of
 * one: none -> open -> committed, or -> prepared (XA) -> committed | rolled back by a later transaction.
 */
import {
  EVENT,
  HEADER_BYTES,
  isGroupStart,
  isRows,
  readCommitTime,
  readHeader,
  readQuery,
  readRotate,
  readTableId,
  readTableMap,
  readXaPrepare,
  type EventHeader,
} from './binlog-events.js';
import { effectOf, ownerOf, type Owner } from './binlog-statement.js';

/** How a server names itself in its binlog. */
export interface LogOwner {
  readonly serverId: number;
  /** Null on MariaDB, which has none. */
  readonly uuid: string | null;
}

/** A committed transaction of this server that touched what matters. */
export interface LocalTransaction {
  /** Its GTID, or the coordinates of its end where it has none. */
  readonly position: string;
  /** Wall clock, milliseconds since 1970; whole seconds where the server tells no more. */
  readonly committedAt: number;
  /** It changed rows of the application or emptied one of its tables. */
  readonly application: boolean;
  /** It changed `lockgate.direction`. */
  readonly direction: boolean;
}

/** Why the binlog cannot tell of local writes from here on. */
export type Unreadable = 'compressed' | 'incident';

/** Where the stream is: `offset` is the end of the newest event. */
export interface BinlogPlace {
  readonly file: string;
  readonly offset: number;
}

/** How much of a log was read. */
export interface LogCount {
  /** By the GTIDs that begin them, anonymous ones too; what has none counts in the bytes alone. */
  readonly transactions: number;
  /** Of the file that its events and those left out between them take up: what the sender makes up does not count. */
  readonly bytes: number;
}

interface Touched {
  application: boolean;
  direction: boolean;
}

interface OpenTransaction extends Touched {
  readonly gtid: string | null;
  readonly tables: Map<number, Owner>;
  committedAt: number | null;
  seconds: number;
}

/** Prepared transactions that are remembered until their end; one that was forgotten counts as a write. */
const mostPrepared = 10_000;

/** Takes the events of one stream in their order. */
export class TransactionReader {
  #open: OpenTransaction | null = null;
  readonly #prepared = new Map<string, Touched>();
  #file = '';
  #offset = 0;
  #unreadable: Unreadable | null = null;
  #count = { transactions: 0, bytes: 0 };

  constructor(
    private readonly owner: LogOwner,
    /** Whether events end in four bytes of checksum, until a FORMAT event says so itself. */
    private checksum: boolean,
  ) {}

  /** Where the stream is. */
  get place(): BinlogPlace {
    return { file: this.#file, offset: this.#offset };
  }

  /** What was read since this was called last. */
  counted(): LogCount {
    const count = this.#count;
    this.#count = { transactions: 0, bytes: 0 };
    return count;
  }

  /** Set once the stream has brought something that hides local writes. */
  get unreadable(): Unreadable | null {
    return this.#unreadable;
  }

  /**
   * Takes the event in `bytes` from `at` to `end`; answers the local transactions that it shows to be committed.
   * `gtid` tells the GTID of a transaction that begins with this event, null when it has none.
   */
  take(bytes: Buffer, at: number, end: number, gtid: () => string | null): LocalTransaction | null {
    const header = readHeader(bytes, at);
    const body = at + HEADER_BYTES;
    const from = this.#offset;
    const found = this.#read(bytes, header, body, end, gtid);
    if (header.type !== EVENT.rotate && header.type !== EVENT.heartbeat && !header.artificial) this.#move(header.next);
    this.#tally(header, end - at, this.#offset - from);
    return found === null ? null : this.#written(found);
  }

  #read(
    bytes: Buffer,
    header: EventHeader,
    body: number,
    end: number,
    gtid: () => string | null,
  ): OpenTransaction | null {
    const { type } = header;
    const last = end - (this.checksum ? 4 : 0);
    if (isGroupStart(type)) {
      // Whatever began before it has ended, said or not.
      const before = this.#take();
      const name = type === EVENT.anonymousGtid ? null : gtid();
      if (this.#isOwn(header.serverId, name)) {
        const committedAt = readCommitTime(bytes, body, last, type);
        const { seconds } = header;
        this.#open = { gtid: name, tables: new Map(), application: false, direction: false, committedAt, seconds };
      }
      return before;
    }
    switch (type) {
      case EVENT.format:
        this.checksum = bytes[end - 5] === 1;
        return null;
      case EVENT.rotate: {
        const { file, offset } = readRotate(bytes, body, last);
        this.#file = file;
        this.#offset = offset;
        return null;
      }
      case EVENT.heartbeat:
        this.#rest(bytes.toString('utf8', body, last), header.next);
        return null;
      case EVENT.incident:
        this.#unreadable = 'incident';
        return null;
    }
    const { serverId } = header;
    if (this.#open === null) {
      // Without a GTID event before it, as servers before 5.6 and tools write them, the header alone tells.
      if (serverId !== this.owner.serverId || !startsWithout(type)) return null;
      const { seconds } = header;
      this.#open = { gtid: null, tables: new Map(), application: false, direction: false, committedAt: null, seconds };
    }
    const open = this.#open;
    open.seconds = header.seconds;
    if (type === EVENT.tableMap) {
      const { id, schema, name } = readTableMap(bytes, body);
      open.tables.set(id, ownerOf(schema, name));
    } else if (isRows(type)) {
      touch(open, open.tables.get(readTableId(bytes, body)) ?? 'application');
    } else if (type === EVENT.executeLoad) {
      touch(open, 'application');
    } else if (type === EVENT.query || type === EVENT.compressedQuery) {
      return this.#statement(open, readQuery(bytes, body, last, type === EVENT.compressedQuery));
    } else if (type === EVENT.xid) {
      return this.#take();
    } else if (type === EVENT.xaPrepare) {
      const { onePhase, xid } = readXaPrepare(bytes, body);
      const ended = this.#take();
      if (onePhase) return ended;
      this.#remember(xid, open);
    } else if (type === EVENT.payload) {
      this.#unreadable = 'compressed';
      this.#take();
    }
    return null;
  }

  #statement(open: OpenTransaction, { text, schema }: { text: string; schema: string }): OpenTransaction | null {
    const effect = effectOf(text, schema);
    switch (effect.kind) {
      case 'none':
        return null;
      case 'change':
        touch(open, effect.owner);
        return null;
      case 'truncate':
        touch(open, effect.owner);
        return this.#take();
      case 'commit':
        return this.#take();
      case 'xa-rollback':
        this.#prepared.delete(effect.xid);
        return this.#take();
      case 'xa-commit': {
        // What was prepared before this stream began may be anything.
        const touched = this.#prepared.get(effect.xid) ?? { application: true, direction: false };
        this.#prepared.delete(effect.xid);
        open.application ||= touched.application;
        open.direction ||= touched.direction;
        return this.#take();
      }
    }
  }

  #isOwn(serverId: number, gtid: string | null): boolean {
    const { owner } = this;
    return serverId === owner.serverId || (owner.uuid !== null && gtid?.startsWith(owner.uuid) === true);
  }

  #take(): OpenTransaction | null {
    const open = this.#open;
    this.#open = null;
    return open;
  }

  #remember(xid: string, { application, direction }: Touched): void {
    this.#prepared.set(xid, { application, direction });
    if (this.#prepared.size <= mostPrepared) return;
    for (const oldest of this.#prepared.keys()) {
      this.#prepared.delete(oldest);
      break;
    }
  }

  #written(open: OpenTransaction): LocalTransaction | null {
    const { application, direction, gtid } = open;
    if (!application && !direction) return null;
    return {
      position: gtid ?? `${this.#file}:${this.#offset}`,
      committedAt: open.committedAt ?? open.seconds * 1_000,
      application,
      direction,
    };
  }

  /**
   * The place tells more than the size: MariaDB sends no event that only annotates others. Not where a transaction begins,
   * for between two of them the server may have passed over many.
   */
  #tally({ type, artificial, next }: EventHeader, size: number, moved: number): void {
    if (type === EVENT.heartbeat || artificial || next === 0) return;
    const begins = isGroupStart(type);
    this.#count.bytes += begins ? size : Math.max(size, moved);
    if (begins) this.#count.transactions += 1;
  }

  /** The server has nothing more for now, and says where its log ends. */
  #rest(file: string, next: number): void {
    if (next === 0 || (file !== this.#file && this.#file !== '' && file !== '')) return;
    if (this.#file === '') this.#file = file;
    this.#move(next);
  }

  /** Headers carry 32 bits of the offset, and files may be longer. */
  #move(next: number): void {
    if (next === 0) return;
    const high = Math.floor(this.#offset / 2 ** 32) * 2 ** 32;
    const offset = high + next;
    this.#offset = offset + 2 ** 31 < this.#offset ? offset + 2 ** 32 : offset;
  }
}

function touch(open: Touched, owner: Owner): void {
  open.application ||= owner === 'application';
  open.direction ||= owner === 'direction';
}

/** Events that may be the first of a transaction without a GTID. */
function startsWithout(type: number): boolean {
  return type === EVENT.query || type === EVENT.tableMap || type === EVENT.executeLoad || type === EVENT.payload;
}
