import type { EventEmitter } from 'node:events';
import { randomBytes } from 'node:crypto';
import type { Clock, Us } from '../../daemon/core/clock.js';
import { US_PER_MS, US_PER_S } from '../../daemon/core/clock.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { TransientError, messageOf } from '../../daemon/core/errors.js';
import { parseLsn } from '../../daemon/core/position.js';
import { Waker } from '../heartbeat/waker.js';
import { connect, quoteIdent, type PgConnection } from './connection.js';
import { classify, errorCodeOf, placeOf } from './pg-errors.js';

/** One look at a server's clock, from the answer to a ping. */
export interface ClockSample {
  /** Server clock minus ours, in microseconds, taking the answer to have been made midway. */
  readonly skewUs: number;
  /** The truth is within so much of it: half the round trip. */
  readonly uncertaintyUs: number;
  readonly at: Us;
}

/** How the server is to decode its WAL, and who reads what it sends. */
export interface WalOutput {
  readonly plugin: 'pgoutput' | 'test_decoding';
  /** Options of the plugin, as START_REPLICATION takes them. */
  readonly options: string;
  /**
   * Handles one message of the plugin, sent for WAL at `lsn` and handled at `at`. Returns the position up to which all
   * is handled by that, or null when the message ends nothing. What it throws ends the stream.
   */
  take(payload: Buffer, lsn: bigint, at: Us): bigint | null;
}

/** What else a stream tells its owner; none of it may throw. */
export interface WalEvents {
  clock?(sample: ClockSample): void;
  /** The server has sent all that it had to send for WAL before `end`; it says so at every ping, about once a second. */
  reached?(end: bigint, at: Us): void;
  /** What the plugin has sent since this was called last; about once a second, and when the stream ends. */
  read?(transactions: number, bytes: number): void;
  /** The slot is not made yet, because of what the clause says; again and again while that lasts. */
  waiting?(why: string): void;
}

/** What a stream is opened with. */
export interface WalStreamOptions {
  readonly db: DatabaseConfig;
  readonly clock: Clock;
  readonly applicationName: string;
  readonly output: WalOutput;
  /** Begins the name of the temporary slot. */
  readonly slotPrefix: string;
  readonly events: WalEvents;
  /** Looks at the server before the slot is made; throws when streaming is not to begin. */
  readonly check: (connection: PgConnection) => Promise<void>;
  /** Runs one statement over an ordinary connection of its own. */
  readonly side: <R>(sql: string, values: readonly unknown[]) => Promise<R[]>;
}

/** The temporary slot of a running stream, and what can be done about the stream. */
export interface StreamedSlot {
  readonly name: string;
  /** Every transaction that commits beyond it is decoded. */
  readonly consistentPoint: bigint;
  /** Has the server say at once how far it has sent, instead of at the next second. */
  readonly ping: () => void;
}

/** The server ends a walsender that hears nothing for so long, so that a dead monitor holds no WAL. */
const walSenderTimeout = '10s';
const slotTimeoutMs = 10_000;
const pingEveryMs = 1_000;
const stallAfterUs = 3.5 * US_PER_S;
/** A slot that takes longer than this to make waits for something, and what it is is asked so often. */
const waitingEveryMs = 1_000;
const slotUsuallyMs = 400;
/** 2000-01-01 in milliseconds since 1970: where PostgreSQL's clock begins. */
const postgresEpochMs = 946_684_800_000;

/**
 * Streams what one plugin makes of the WAL through a temporary slot until `signal` aborts (then it resolves) or the stream
 * breaks (then it rejects with a classified error). In both cases the connection is closed, and with it the slot is gone.
 * `streaming` is called with the slot's name and the position it begins at once the server has begun to send.
 */
export async function streamWal(
  options: WalStreamOptions,
  streaming: (slot: StreamedSlot) => void,
  signal: AbortSignal,
): Promise<void> {
  const { db, applicationName } = options;
  const connection = await connect(
    db,
    {
      applicationName,
      replication: 'database',
      // Slot creation waits for the end of open write transactions by waiting for their locks.
      settings: { wal_sender_timeout: walSenderTimeout, lock_timeout: String(slotTimeoutMs) },
    },
    signal,
  );
  let waitingPid: number | null = null;
  const cancel = async (): Promise<void> => {
    // A walsender that waits for a transaction to end does not notice that its client has gone.
    if (waitingPid === null) return;
    await options.side('SELECT pg_catalog.pg_cancel_backend($1)', [waitingPid]).catch(() => undefined);
  };
  const ends: Promise<void>[] = [];
  // Closing also ends what is still waited for, should the server hang.
  const stop = (): void => void ends.push(cancel().then(() => connection.close()));
  signal.addEventListener('abort', stop, { once: true });
  try {
    await options.check(connection);
    const [backend] = await connection.query<{ pid: number }>('SELECT pg_catalog.pg_backend_pid() AS pid');
    waitingPid = backend?.pid ?? null;
    const slot = await createSlot(connection, options, signal);
    waitingPid = null;
    await new Stream(connection, options).run(slot, streaming, signal);
  } catch (error) {
    if (!isAborted(signal)) {
      if (connection.lost !== null) await cancel();
      throw error;
    }
  } finally {
    signal.removeEventListener('abort', stop);
    await Promise.all(ends);
    await connection.close();
  }
}

function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}

async function createSlot(
  connection: PgConnection,
  options: WalStreamOptions,
  signal: AbortSignal,
): Promise<Omit<StreamedSlot, 'ping'>> {
  const name = `${options.slotPrefix}_${randomBytes(4).toString('hex')}`;
  const { plugin } = options.output;
  const made = new AbortController();
  const telling = tellWait(options, made.signal);
  try {
    const sql = `CREATE_REPLICATION_SLOT ${quoteIdent(name)} TEMPORARY LOGICAL ${plugin} NOEXPORT_SNAPSHOT`;
    const timeoutMs = slotTimeoutMs + 5_000;
    const [row] = await connection.query<{ consistent_point: string }>(sql, undefined, { timeoutMs });
    return { name, consistentPoint: parseLsn(row?.consistent_point ?? '0/0') };
  } catch (error) {
    if (signal.aborted) throw error;
    if (connection.lost === null && errorCodeOf(error) !== '55P03') throw error;
    const why = await explainWait(options).catch(() => 'which could not be asked');
    const { db } = options;
    throw new TransientError(
      'wal_slot_blocked',
      `${placeOf(db)}: a replication slot could not be made within ${slotTimeoutMs / 1_000} s: ${why}`,
      'slot creation waits for the write transactions open at that moment; end them or wait',
      { cause: error },
    );
  } finally {
    made.abort();
    await telling;
  }
}

/** Tells, until `made` aborts, what the making of a slot waits for. */
async function tellWait(options: WalStreamOptions, made: AbortSignal): Promise<void> {
  const { clock, events } = options;
  if (events.waiting === undefined) return;
  await clock.sleep(slotUsuallyMs, made);
  while (!isAborted(made)) {
    const why = await explainWait(options).catch(() => 'which could not be asked');
    if (isAborted(made)) return;
    events.waiting(`slot creation waits for the write transactions that are open: ${why}`);
    await clock.sleep(waitingEveryMs, made);
  }
}

/** What a slot may be waiting for, for people. */
async function explainWait(options: WalStreamOptions): Promise<string> {
  const rows = await options.side<{ what: string }>(
    `(SELECT pg_catalog.format('backend %s, %s, in a write transaction for %s s', pid, state,
        round(extract(epoch FROM pg_catalog.clock_timestamp() - xact_start))) AS what
      FROM pg_catalog.pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_catalog.pg_backend_pid()
      ORDER BY xact_start LIMIT 1)
    UNION ALL
    (SELECT pg_catalog.format('prepared transaction %L, for %s s', gid,
        round(extract(epoch FROM pg_catalog.clock_timestamp() - prepared)))
      FROM pg_catalog.pg_prepared_xacts ORDER BY prepared LIMIT 1)`,
    [],
  );
  const found = rows.map((row) => row.what).join('; ');
  return found === ''
    ? 'no open write transaction can be seen (pg_read_all_stats shows those of others)'
    : `oldest: ${found}`;
}

/** One running stream: keeps the connection alive, answers the server, and hands on what arrives. */
class Stream {
  readonly #clock: Clock;
  readonly #waker: Waker;
  #failure: Error | null = null;
  #started = false;
  #handledLsn = 0n;
  #lastMessageAt: Us;
  #ping: { at: Us; wallMs: number } | null = null;
  #read = { transactions: 0, bytes: 0 };

  constructor(
    private readonly connection: PgConnection,
    private readonly options: WalStreamOptions,
  ) {
    this.#clock = options.clock;
    this.#waker = new Waker(options.clock);
    this.#lastMessageAt = this.#clock.monotonicNow();
  }

  async run(
    slot: Omit<StreamedSlot, 'ping'>,
    streaming: (slot: StreamedSlot) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const { client } = this.connection;
    const wire: EventEmitter = client.connection;
    wire.on('copyData', (message: { chunk: Buffer }) => this.#guard(() => this.#received(message.chunk)));
    wire.once('replicationStart', () => {
      this.#started = true;
      streaming({ ...slot, ping: this.#waker.wake });
      this.#waker.wake();
    });
    signal.addEventListener('abort', this.#waker.wake, { once: true });
    const offLost = this.connection.onLost((error) => this.#fail(error));
    const sql = `START_REPLICATION SLOT ${quoteIdent(slot.name)} LOGICAL 0/0 (${this.options.output.options})`;
    // Past the connection's own query(): this one has no answer until the stream ends.
    client.query(sql).then(
      () => this.#fail(this.#broken('wal_stream_ended', 'the server ended the stream')),
      (error: unknown) => this.#fail(classify(error, this.options.db)),
    );
    try {
      await this.#keepAlive(signal);
    } finally {
      signal.removeEventListener('abort', this.#waker.wake);
      offLost();
      wire.removeAllListeners('copyData');
      this.#tellRead();
    }
  }

  async #keepAlive(signal: AbortSignal): Promise<void> {
    let since = this.#clock.monotonicNow();
    while (!signal.aborted) {
      if (this.#failure !== null) throw this.#failure;
      if (this.#started) {
        this.#send(true);
        this.#tellRead();
      }
      const before = this.#clock.monotonicNow();
      await this.#waker.wait(pingEveryMs);
      const now = this.#clock.monotonicNow();
      if (now - before > 2 * pingEveryMs * US_PER_MS) {
        // We were frozen ourselves: what the socket holds has not been read yet, and nothing was pinged meanwhile.
        since = now;
        continue;
      }
      if (now - Math.max(since, this.#lastMessageAt) > stallAfterUs) {
        this.#fail(this.#broken('wal_stall', `the server has sent nothing for ${stallAfterUs / US_PER_S} s`));
      }
    }
  }

  #broken(code: string, what: string): TransientError {
    return new TransientError(code, `${placeOf(this.options.db)}: ${what}`, 'the WAL reader connects again by itself');
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#waker.wake();
  }

  /** Whatever goes wrong with a message must end the stream and not the process. */
  #guard(work: () => void): void {
    if (this.#failure !== null) return;
    try {
      work();
    } catch (error) {
      this.#fail(this.#broken('wal_parse', `a message of the stream could not be read: ${messageOf(error)}`));
    }
  }

  #received(chunk: Buffer): void {
    const at = this.#clock.monotonicNow();
    this.#lastMessageAt = at;
    switch (chunk[0]) {
      case 0x77: {
        // w: start, end and server time, then the message from byte 25 on
        // Both plugins begin a transaction with a message of this letter, and no other one.
        if (chunk[25] === 0x42) this.#read.transactions += 1;
        this.#read.bytes += chunk.length - 25;
        const handled = this.options.output.take(chunk.subarray(25), chunk.readBigUInt64BE(1), at);
        if (handled !== null) this.#handled(handled);
        return;
      }
      case 0x6b: {
        // k: end of WAL, server time, and whether an answer is wanted
        const end = chunk.readBigUInt64BE(1);
        this.#handled(end);
        this.options.events.reached?.(end, at);
        this.#sampleClock(chunk.readBigInt64BE(9), at);
        if (chunk[17] === 1) this.#send(false);
        return;
      }
      default:
        return;
    }
  }

  #tellRead(): void {
    const { transactions, bytes } = this.#read;
    if (bytes === 0) return;
    this.#read = { transactions: 0, bytes: 0 };
    this.options.events.read?.(transactions, bytes);
  }

  #handled(lsn: bigint): void {
    if (lsn > this.#handledLsn) this.#handledLsn = lsn;
  }

  #sampleClock(serverUs: bigint, at: Us): void {
    const ping = this.#ping;
    if (ping === null) return;
    this.#ping = null;
    const roundTripUs = at - ping.at;
    const serverMs = postgresEpochMs + Number(serverUs) / 1_000;
    const skewUs = (serverMs - ping.wallMs) * US_PER_MS - roundTripUs / 2;
    this.options.events.clock?.({ skewUs, uncertaintyUs: roundTripUs / 2, at });
  }

  /** Tells the server how far we are: the end of what was handled and not a byte more, or its shutdown waits for us. */
  #send(ping: boolean): void {
    const wallMs = this.#clock.wallNow();
    const message = Buffer.alloc(34);
    message[0] = 0x72; // r
    message.writeBigUInt64BE(this.#handledLsn, 1);
    message.writeBigUInt64BE(this.#handledLsn, 9);
    message.writeBigUInt64BE(this.#handledLsn, 17);
    message.writeBigInt64BE(BigInt(Math.round((wallMs - postgresEpochMs) * 1_000)), 25);
    message[33] = ping ? 1 : 0;
    // Answers come in the order of the questions, and this one may come while another is under way.
    if (ping) this.#ping ??= { at: this.#clock.monotonicNow(), wallMs };
    const wire = this.connection.client.connection as unknown as { sendCopyFromChunk(chunk: Buffer): void };
    wire.sendCopyFromChunk(message);
  }
}
