/**
 * What stands in for DMS: it reads the changes of some tables on one server and applies them on another one, through
 * ordinary sessions, across engines. It can be paused, slowed, told to leave tables out, and stopped.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../daemon/core/errors.js';

/** A changed row; every value is text, as its server writes it. */
export interface RowChange {
  /** `schema.table`, by the names of the source. */
  readonly table: string;
  readonly kind: 'insert' | 'update' | 'delete';
  readonly row: Readonly<Record<string, string | null>>;
  /** Of an update, the row as it was; left out where the reader does not know it, and then the key is the same. */
  readonly before?: Readonly<Record<string, string | null>>;
}

/** A committed transaction of the source. */
export interface RelayedTransaction {
  readonly changes: readonly RowChange[];
  /** Where reading goes on once it is applied. */
  readonly next: string;
}

/** Reads the source; each engine has its own. */
export interface RelayReader {
  /** Reads from a place on (null: the beginning) until the signal aborts; rejects when the source is lost. */
  read(from: string | null, take: (t: RelayedTransaction) => void, signal: AbortSignal): Promise<void>;
}

/** Writes to the target; each engine has its own. */
export interface RelayWriter {
  /** Applies changes in one transaction, so that applying them again does no harm; rejects when nothing of it counts. */
  apply(changes: readonly RowChange[]): Promise<void>;
  close(): Promise<void>;
}

const againMs = 200;

/** A relay that runs from its start until it is stopped, however often either side goes away. */
export class Relay {
  readonly #queue: { transaction: RelayedTransaction; readAt: number }[] = [];
  /** The place after the newest transaction read; what is read and not applied yet is kept while it is stopped. */
  #place: string | null = null;
  #paused = false;
  #delayMs = 0;
  #leftOut = new Set<string>();
  #stopping = new AbortController();
  #loops: Promise<unknown>[] = [];
  /** What went wrong last, on either side. */
  trouble: string | null = null;

  constructor(
    private readonly reader: RelayReader,
    private readonly writer: RelayWriter,
  ) {}

  /** Goes on from where it was. */
  start(): void {
    this.#stopping = new AbortController();
    const { signal } = this.#stopping;
    this.#loops = [this.#read(signal), this.#write(signal)];
  }

  /** Ends: it reads and applies nothing more. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.all(this.#loops);
  }

  /** Stalls: it goes on reading and applies nothing, as a task whose target session hangs. */
  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
  }

  /** Applies every transaction so many milliseconds after it was read. */
  delay(ms: number): void {
    this.#delayMs = ms;
  }

  /** Leaves tables out from now on; what it passes over is lost. */
  leaveOut(...tables: readonly string[]): void {
    this.#leftOut = new Set(tables);
  }

  async close(): Promise<void> {
    await this.stop();
    await this.writer.close();
  }

  async #read(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.reader.read(
          this.#place,
          (transaction) => {
            this.#place = transaction.next;
            this.#queue.push({ transaction, readAt: performance.now() });
          },
          signal,
        );
      } catch (error) {
        this.trouble = `read: ${messageOf(error)}`;
        await sleep(againMs, undefined, { signal }).catch(() => undefined);
      }
    }
  }

  async #write(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const next = this.#queue[0];
      const due = next !== undefined && performance.now() >= next.readAt + this.#delayMs;
      if (this.#paused || !due) {
        await sleep(2, undefined, { signal }).catch(() => undefined);
        continue;
      }
      const changes = next.transaction.changes.filter(({ table }) => !this.#leftOut.has(table));
      try {
        if (changes.length > 0) await this.writer.apply(changes);
        this.#queue.shift();
      } catch (error) {
        this.trouble = `apply: ${messageOf(error)}`;
        await sleep(againMs, undefined, { signal }).catch(() => undefined);
      }
    }
  }
}
