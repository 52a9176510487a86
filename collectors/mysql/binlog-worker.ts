/**
 * The thread that reads one binlog, so that parsing a busy one takes nothing of the main thread's time. It tells only of
 * heartbeats, of local writes, and of how far it has come, and it ends with its stream: a new stream is a new thread.
 *
 * The library connects, logs in, asks for the log, keeps its GTIDs and decodes rows of the heartbeat table. What tells
 * local writes is read from the bytes beside it: the library leaves out the server id, and would ask the server for the
 * columns of every table.
 */
import { exit, hrtime } from 'node:process';
import { parentPort, workerData } from 'node:worker_threads';
import ZongJi, { type BinlogEvent } from 'zongji';
import type { Us } from '../../daemon/core/clock.js';
import { reached, type Position } from '../../daemon/core/position.js';
import { EVENT } from './binlog-events.js';
import type { BinlogFailure, BinlogOrder, FromReader, LoggedHeartbeat, Passed, ToReader } from './binlog-protocol.js';
import { TransactionReader, type BinlogPlace } from './binlog-transactions.js';

/** After a local write the next question comes so soon, so that it is on record before anything happens to the daemon. */
const askSoonMs = 50;
const pulseEveryMs = 500;
/** The server says each second that it is there. */
const stallMs = 3_500;
/** The log grows, and the stream does not. */
const stuckMs = 10_000;
/** From the beginning until the server sends. */
const startMs = 10_000;
/** Between looks whether the server was heard of. */
const mostWaitMs = 250;
/** After a freeze of this process its timers fire before its sockets are read. */
const graceMs = 50;
/** Local writes that come within this time of each other are told together. */
const togetherMs = 20;
const mostTogether = 2_000;
/** Messages that the main thread may leave unacknowledged before reading pauses. */
const mostUntaken = 64;
/** Questions that wait until the stream has come so far. */
const mostPending = 600;

interface Packet {
  readonly buffer: Buffer;
  readonly offset: number;
  readonly end: number;
}

/** What this file uses of a connection of mysql2 inside the library. */
interface RawConnection {
  handlePacket(packet?: Packet): void;
  query(sql: string, done: (error: Error | null, rows: unknown) => void): void;
  pause(): void;
  resume(): void;
  _paused: boolean;
}

interface Insides {
  readonly connection: RawConnection | null;
  readonly ctrlConnection: RawConnection | null;
  readonly useChecksum: boolean;
  readonly lastGtid: string | undefined;
}

const now = (): Us => Number(hrtime.bigint() / 1000n);
const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

class Reader {
  readonly #zongji: ZongJi;
  readonly #insides: Insides;
  #transactions: TransactionReader;
  #streaming = false;
  #over = false;
  /** When the server was last heard of. */
  #heardAt = now();
  #positions: string[] = [];
  #committedAt: number[] = [];
  #writesDue = false;
  #pending: Passed[] = [];
  #askSoon: ((ms: number) => void) | null = null;
  /** Between questions where the log ends. */
  #askEveryMs: number;
  #untaken = 0;
  #pausedHere = false;
  /** When the stream last moved on. */
  #movedAt = now();

  constructor(
    private readonly order: BinlogOrder,
    private readonly post: (message: FromReader) => void,
  ) {
    this.#zongji = new ZongJi(order.login);
    this.#insides = this.#zongji as unknown as Insides;
    this.#transactions = new TransactionReader(order.owner, true);
    this.#askEveryMs = order.askEveryMs;
  }

  start(): void {
    const { order } = this;
    const { start } = order;
    const zongji = this.#zongji;
    zongji.on('error', (error: Error) => this.#failed(error));
    zongji.on('ready', () => this.#guarded(() => this.#ready()));
    zongji.on('binlog', (event: BinlogEvent) => this.#guarded(() => this.#decoded(event)));
    zongji.start({
      serverId: order.serverId,
      ...('gtids' in start ? { gtidSet: start.gtids } : { filename: start.file, position: start.offset }),
      // Rows of no other table are decoded, and no other table's columns are asked for.
      includeEvents: ['tablemap', 'writerows'],
      includeSchema: { lockgate: ['heartbeat'] },
    });
    void this.#watchOver();
    void this.#pulse();
  }

  took(): void {
    this.#untaken -= 1;
    if (!this.#pausedHere || this.#untaken > mostUntaken / 2) return;
    this.#pausedHere = false;
    this.#heardAt = now();
    this.#movedAt = now();
    this.#insides.connection?.resume();
  }

  pace(askEveryMs: number): void {
    this.#askEveryMs = askEveryMs;
    this.#askSoon?.(0);
  }

  stop(): Promise<void> {
    this.#over = true;
    this.#tellCount();
    this.#askSoon?.(0);
    const stopped = new Promise<void>((resolve) => this.#zongji.once('stopped', () => resolve()));
    this.#zongji.stop();
    return Promise.race([stopped, wait(1_500)]);
  }

  /** Whatever goes wrong in a handler must not be taken by the library for an error of its own. */
  #guarded(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#end({ ...errorFields(error), kind: 'error' });
    }
  }

  #failed(error: Error): void {
    // A kind of event that it cannot decode is told of once, and the stream goes on; the bytes tell what matters of it.
    if (/^Server sent a \w+_EVENT/.test(error.message)) return;
    this.#end({ ...errorFields(error), kind: 'error' });
  }

  #end(failure: BinlogFailure): void {
    if (this.#over) return;
    this.#tellWrites();
    this.#over = true;
    this.#tellCount();
    this.post({ kind: 'failed', failure });
    void this.stop();
  }

  /** The library is about to ask for the log: what is asked before goes first. */
  #ready(): void {
    const { order } = this;
    const { connection } = this.#insides;
    if (connection === null) return;
    this.#transactions = new TransactionReader(order.owner, this.#insides.useChecksum);
    // By a UUID of its own a MySQL server never takes the reader for a replica that has the same id.
    const uuid = order.mariadb ? '' : `, @slave_uuid = '${order.replicaUuid}', @replica_uuid = '${order.replicaUuid}'`;
    const asked = (error: Error | null): void => {
      if (error !== null) this.#end({ ...errorFields(error), kind: 'error' });
    };
    connection.query(`SET @master_heartbeat_period = 1000000000${uuid}`, asked);
    connection.query(order.homeSql, (error, rows) => {
      asked(error);
      if (error === null) this.#compareHome(rows);
    });
    this.#tap(connection);
    void this.#ask();
  }

  #compareHome(rows: unknown): void {
    const [row] = rows as { home?: unknown }[];
    if (row?.home === this.order.home) return;
    this.#end(ownFailure('other-server', 'the connections of the binlog reader lead to different servers'));
  }

  /** Reads what the library hands on, once it has taken it itself; while paused it takes nothing. */
  #tap(connection: RawConnection): void {
    const handle = connection.handlePacket.bind(connection);
    connection.handlePacket = (packet?: Packet): void => {
      if (packet === undefined || connection._paused) {
        handle(packet);
        return;
      }
      const { buffer, offset, end } = packet;
      this.#heardAt = now();
      handle(packet);
      // Anything before the log itself is an answer to a question: the log's events begin with a byte 0 and a header.
      if (this.#over || !this.#streaming) {
        if (!this.#over) this.#begins(buffer, offset, end);
        if (!this.#streaming) return;
      }
      if (buffer[offset] !== 0 || end - offset < 20) return;
      this.#guarded(() => this.#take(buffer, offset + 1, end));
    };
  }

  /** The first event of a stream is a made-up ROTATE. */
  #begins(buffer: Buffer, offset: number, end: number): void {
    if (end - offset < 20 || buffer[offset] !== 0 || buffer[offset + 5] !== EVENT.rotate) return;
    if (buffer.readUInt32LE(offset + 10) !== end - offset - 1) return;
    this.#streaming = true;
    this.post({ kind: 'streaming' });
  }

  #take(buffer: Buffer, at: number, end: number): void {
    const { offset, file } = this.#transactions.place;
    const found = this.#transactions.take(buffer, at, end, () => this.#insides.lastGtid ?? null);
    if (found !== null) {
      if (found.application) this.#wrote(found.position, found.committedAt);
      if (found.direction) {
        this.#tellWrites();
        this.#tell({ kind: 'direction', at: now() });
      }
    }
    const { unreadable, place } = this.#transactions;
    if (place.offset !== offset || place.file !== file) this.#movedAt = now();
    if (unreadable !== null) {
      this.#end(ownFailure(unreadable, 'the binlog holds what does not tell whose rows it changes'));
      return;
    }
    if (this.#pending.length > 0) this.#checkPassed();
    this.#holdBack();
  }

  #wrote(position: string, committedAt: number): void {
    this.#positions.push(position);
    this.#committedAt.push(committedAt);
    if (this.#positions.length >= mostTogether) {
      this.#tellWrites();
    } else if (!this.#writesDue) {
      this.#writesDue = true;
      setTimeout(() => this.#tellWrites(), togetherMs);
    }
    this.#askSoon?.(askSoonMs);
  }

  #tellWrites(): void {
    this.#writesDue = false;
    if (this.#positions.length === 0) return;
    const [positions, committedAt] = [this.#positions, this.#committedAt];
    this.#positions = [];
    this.#committedAt = [];
    this.#tell({ kind: 'writes', positions, committedAt, at: now() });
  }

  #decoded(event: BinlogEvent): void {
    if (event.getTypeName() !== 'WriteRows') return;
    const at = now();
    const { rows } = event as unknown as { rows: Record<string, unknown>[] };
    const ours = rows.flatMap((row): LoggedHeartbeat[] => {
      const { daemon, link, run } = row;
      const seq = Number(row['seq']);
      if (daemon !== this.order.daemonId || typeof link !== 'string' || typeof run !== 'string') return [];
      return Number.isSafeInteger(seq) ? [{ link, run, seq, at }] : [];
    });
    if (ours.length > 0) this.#tell({ kind: 'heartbeats', rows: ours });
  }

  #tell(message: FromReader): void {
    this.#untaken += 1;
    this.post(message);
  }

  /** The main thread has enough to take for now. */
  #holdBack(): void {
    const { connection } = this.#insides;
    if (this.#untaken < mostUntaken || connection === null || connection._paused) return;
    this.#pausedHere = true;
    connection.pause();
  }

  #checkPassed(): void {
    const place = placed(this.#transactions.place);
    let last: Passed | undefined;
    for (;;) {
      const [next] = this.#pending;
      if (next === undefined) break;
      if (!reached(place, placed(next))) break;
      last = this.#pending.shift();
    }
    if (last === undefined) return;
    this.#tellWrites();
    this.#tell({ kind: 'passed', passed: last });
  }

  /** Asks again and again where the log ends; that keeps the library's second connection alive, too. */
  async #ask(): Promise<void> {
    const { order } = this;
    try {
      this.#compareHome(await this.#question(order.homeSql));
      while (!this.#over) {
        const at = now();
        const before = this.#transactions.place;
        // The positions first: whatever they hold lies before the end that is asked for after them.
        const [row] = (await this.#question(order.positionsSql)) as {
          executed: string;
          state: string;
          id: number | string;
        }[];
        const [head] = (await this.#question(order.statusSql)) as { File: string; Position: number | string }[];
        if (row !== undefined && Number(row.id) !== order.owner.serverId) {
          this.#end(ownFailure('other-server', 'the server has got another server_id'));
        }
        if (row === undefined || head === undefined) {
          this.#end(ownFailure('ended', 'the server does not say where its binlog ends'));
          return;
        }
        const { executed, state } = row;
        const end = { file: head.File, offset: Number(head.Position) };
        // No stream is ahead of its log, and where the log goes on the stream does, too.
        if (before.file !== '' && !reached(placed(end), placed(before)))
          this.#end(ownFailure('reset', 'the binlog has begun anew (a reset)'));
        const [waiting] = this.#pending;
        // While reading pauses here, the stream cannot move.
        if (
          !this.#pausedHere &&
          waiting !== undefined &&
          now() - Math.max(this.#movedAt, waiting.at) > stuckMs * 1_000
        ) {
          this.#end(
            ownFailure('stalled', `the binlog has grown, and nothing of that has come for ${stuckMs / 1_000} s`),
          );
        }
        if (this.#pending.length >= mostPending) this.#pending.pop();
        this.#pending.push({ at, executed, state, ...end });
        this.#checkPassed();
        const sinceMs = (now() - at) / 1_000;
        await new Promise<void>((resolve) => {
          const restMs = Math.max(0, this.#askEveryMs - sinceMs);
          const timer = setTimeout(resolve, restMs);
          this.#askSoon = (ms) => {
            if (ms > 0) this.#askSoon = null;
            clearTimeout(timer);
            setTimeout(resolve, Math.min(ms, restMs));
          };
        });
        this.#askSoon = null;
      }
    } catch (error) {
      this.#end({ ...errorFields(error), kind: error instanceof NoAnswer ? 'silent-control' : 'error' });
    }
  }

  async #question(sql: string): Promise<unknown> {
    const connection = this.#insides.ctrlConnection;
    if (connection === null) throw new Error('the connection was closed');
    const answer = new Promise<unknown>((resolve, reject) => {
      connection.query(sql, (error, rows) => {
        if (error === null) resolve(rows);
        else reject(error);
      });
    });
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const give = (): void => reject(new NoAnswer(`the server has not answered for ${stallMs / 1_000} s`));
      timer = setTimeout(() => (timer = setTimeout(give, graceMs)), stallMs);
    });
    try {
      return await Promise.race([answer, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Ends the stream when the server is not heard of any more. */
  async #watchOver(): Promise<void> {
    for (;;) {
      const leftMs = this.#leftMs();
      if (leftMs > 0) {
        await wait(Math.min(leftMs, mostWaitMs));
      } else {
        await wait(graceMs);
        if (this.#leftMs() <= 0) break;
      }
      if (this.#over) return;
    }
    this.#end(ownFailure('stalled', `nothing has come from the binlog for ${stallMs / 1_000} s`));
  }

  /** How long the server may still be silent; while reading pauses here it is not expected to speak. */
  #leftMs(): number {
    if (this.#pausedHere) return mostWaitMs;
    return (this.#streaming ? stallMs : startMs) - (now() - this.#heardAt) / 1_000;
  }

  #tellCount(): void {
    const count = this.#transactions.counted();
    if (count.bytes > 0) this.post({ kind: 'tally', ...count });
  }

  async #pulse(): Promise<void> {
    while (!this.#over) {
      this.post({ kind: 'pulse' });
      this.#tellCount();
      await wait(pulseEveryMs);
    }
  }
}

/** A place in the log of the one server that this thread reads. */
function placed({ file, offset }: BinlogPlace): Position {
  return { kind: 'binlog', server: '', file, offset };
}

class NoAnswer extends Error {}

function ownFailure(kind: BinlogFailure['kind'], message: string): BinlogFailure {
  return { kind, message, errno: null, code: null, sqlState: null };
}

function errorFields(error: unknown): Omit<BinlogFailure, 'kind'> {
  const message = error instanceof Error ? error.message : String(error);
  const { errno, code, sqlState } = Object(error) as { errno?: unknown; code?: unknown; sqlState?: unknown };
  return {
    message,
    errno: typeof errno === 'number' ? errno : null,
    code: typeof code === 'string' ? code : null,
    sqlState: typeof sqlState === 'string' ? sqlState : null,
  };
}

const port = parentPort;
if (port !== null) {
  const reader = new Reader(workerData as BinlogOrder, (message) => port.postMessage(message));
  port.on('message', (message: ToReader) => {
    if (message.kind === 'took') reader.took();
    else if (message.kind === 'pace') reader.pace(message.askEveryMs);
    else void reader.stop().finally(() => exit(0));
  });
  reader.start();
}
