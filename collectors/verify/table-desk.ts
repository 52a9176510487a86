import { LockgateError } from '../../daemon/core/errors.js';
import type { Desk } from './desk.js';
import type { Lane } from './lane.js';
import { FEWEST_ROWS } from './chunks.js';
import { patient } from './limits.js';
import type { SideName } from './plan.js';
import {
  TooSlow,
  type Bucket,
  type DataSession,
  type Digest,
  type Key,
  type KeyRange,
  type Limit,
  type ReadSpec,
  type RowMark,
  type TableReader,
} from './port.js';

/** A table cannot be compared; the message says why. */
export class NotCovered extends LockgateError {
  constructor(message: string) {
    super('verify_not_covered', message);
  }
}

/** Digests of the same rows on both sides, read at about the same time. */
export interface Compared {
  readonly source: Digest;
  readonly target: Digest;
  /** How long the slower side took, in microseconds. */
  readonly us: number;
}

/** A range that was compared: the one that was asked for, or as much of its beginning as could be read in time. */
export interface ComparedRange extends Compared {
  readonly range: KeyRange;
}

/** Keys that one statement asks for. */
const MOST_KEYS = 500;

/** One table on both sides. */
export class TableDesk {
  readonly #readers: Record<SideName, WeakMap<DataSession, TableReader>> = {
    source: new WeakMap(),
    target: new WeakMap(),
  };
  readonly #batch: Record<SideName, number> = { source: MOST_KEYS, target: MOST_KEYS };

  constructor(
    readonly desk: Desk,
    readonly specs: Readonly<Record<SideName, ReadSpec>>,
  ) {}

  /** Asks one side something about the table. */
  ask<T>(
    side: SideName,
    question: (reader: TableReader) => Promise<T>,
    lane: Lane = this.desk.lanes[side],
  ): Promise<T> {
    return lane.ask((session) => {
      let reader = this.#readers[side].get(session);
      if (reader === undefined) {
        reader = session.reader(this.specs[side]);
        this.#readers[side].set(session, reader);
      }
      return question(reader);
    });
  }

  /** Asks both sides at once; what one of them rejects with is what it rejects with, after both have ended. */
  async both<T>(question: (reader: TableReader, side: SideName) => Promise<T>): Promise<Record<SideName, T>> {
    const [source, target] = await Promise.allSettled([
      this.ask('source', (reader) => question(reader, 'source')),
      this.ask('target', (reader) => question(reader, 'target')),
    ]);
    const failed = [source, target].filter((r) => r.status === 'rejected');
    // Being too slow is mended by a smaller range; everything else that happened meanwhile is not.
    const worst = failed.find((r) => !(r.reason instanceof TooSlow)) ?? failed[0];
    if (worst !== undefined) throw worst.reason;
    if (source.status === 'rejected' || target.status === 'rejected') throw new RangeError('unreachable');
    return { source: source.value, target: target.value };
  }

  /** Digests of both sides. Rejects with TooSlowOn when one takes too long. */
  async digests(range: KeyRange | Bucket, limit: Limit): Promise<Compared> {
    const took: Record<SideName, number> = { source: 0, target: 0 };
    const found = await this.both(async (reader, side) => {
      const from = this.desk.now();
      try {
        const digest = await reader.digest(range, limit);
        took[side] = this.desk.now() - from;
        return digest;
      } catch (error) {
        throw error instanceof TooSlow ? new TooSlowOn(side, error) : error;
      }
    });
    return { ...found, us: Math.max(took.source, took.target) };
  }

  /** Compares a range of about so many rows; where that takes too long, a first part of it, or rejects with NotCovered. */
  async compareFirst(range: KeyRange, rows: number, limit: Limit): Promise<ComparedRange & { cutTo: number | null }> {
    let part = range;
    let n = Math.max(rows, FEWEST_ROWS);
    let cutTo: number | null = null;
    let last = false;
    for (;;) {
      await this.desk.ready();
      try {
        return { range: part, ...(await this.digests(part, last ? patient(limit) : limit)), cutTo };
      } catch (error) {
        if (!(error instanceof TooSlowOn)) throw error;
        if (last) throw tooSlow(error.side);
        const cut = await this.#half(error.side, part, n, limit);
        n = Math.max(cut.rows, FEWEST_ROWS);
        cutTo = n;
        if (cut.bound === null) last = true;
        else part = { after: part.after, upTo: cut.bound };
      }
    }
  }

  /** The end of a smaller range, by the side that was too slow; a null bound when it cannot be any smaller. */
  async #half(
    side: SideName,
    range: KeyRange,
    rows: number,
    limit: Limit,
  ): Promise<{ bound: Key | null; rows: number }> {
    let n = rows;
    while (n > FEWEST_ROWS) {
      n = Math.max(FEWEST_ROWS, Math.floor(n / 2));
      const at = n;
      try {
        const bound = await this.ask(side, (reader) => reader.bound(range, at, limit));
        if (bound !== null) return { bound, rows: n };
      } catch (error) {
        if (!(error instanceof TooSlow)) throw error;
      }
    }
    return { bound: null, rows: n };
  }

  /** The rows with these keys on one side, by as many statements as it takes. */
  async lookup(side: SideName, keys: readonly Key[], limit: Limit): Promise<RowMark[]> {
    const found: RowMark[] = [];
    for (let at = 0; at < keys.length;) {
      const batch = this.#batch[side];
      const some = keys.slice(at, at + batch);
      const within = some.length === 1 ? patient(limit) : limit;
      try {
        found.push(...(await this.ask(side, (reader) => reader.lookup(some, within))));
        at += some.length;
        this.#batch[side] = Math.min(MOST_KEYS, batch * 2);
      } catch (error) {
        if (!(error instanceof TooSlow)) throw error;
        if (some.length === 1) throw tooSlow(side);
        this.#batch[side] = Math.max(1, Math.floor(some.length / 4));
      }
    }
    return found;
  }
}

/** Which side a statement was too slow on. */
export class TooSlowOn extends TooSlow {
  constructor(
    readonly side: SideName,
    cause: TooSlow,
  ) {
    super(cause.code, cause.message, cause.hint, { cause });
  }
}

function tooSlow(side: SideName): NotCovered {
  return new NotCovered(
    `reading a few rows takes too long on the ${side}: is the index of its key valid, or the server overloaded?`,
  );
}
