import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { US_PER_MS, type Clock } from '../../daemon/core/clock.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { SourceError, TransientError, type LockgateError } from '../../daemon/core/errors.js';
import { placeOf } from '../session/faults.js';
import type { BinlogFailure, BinlogOrder, FromReader, ToReader } from './binlog-protocol.js';
import { classify } from './mysql-errors.js';

/** The reading thread is heard of twice a second; one that is silent for so long hangs. */
const hangMs = 15_000;
const stopMs = 3_000;
/** Between looks how often the thread is to ask. */
const paceLookMs = 50;
/** Bounds what a reading thread can take of the daemon's memory, besides the packets themselves. */
const resourceLimits = { maxOldGenerationSizeMb: 256 };

/** What a stream tells of, in its order. */
export type BinlogNews = Exclude<FromReader, { kind: 'pulse' | 'failed' }>;

/**
 * Reads one binlog in a thread of its own until `signal` aborts (then it resolves) or the stream ends (then it rejects with
 * a classified error); either way the thread and its connections are gone by then, which may take a while on a network that
 * is silent, so `ending` tells the error at once. `askEveryMs` says at each moment how often it is to ask where the log ends.
 */
export async function streamBinlog(
  db: DatabaseConfig,
  order: BinlogOrder,
  clock: Clock,
  news: (message: BinlogNews) => void,
  ending: (error: LockgateError) => void,
  signal: AbortSignal,
  askEveryMs: () => number = () => order.askEveryMs,
): Promise<void> {
  if (signal.aborted) return;
  const thread = startThread(order);
  const over = new AbortController();
  let heardAt = clock.monotonicNow();
  const ended = new Promise<LockgateError | null>((resolve) => {
    thread.on('message', (message: FromReader) => {
      heardAt = clock.monotonicNow();
      if (message.kind === 'failed') {
        resolve(sortFailure(message.failure, db));
      } else if (message.kind === 'tally') {
        // Also the last one, from a thread that is being stopped.
        news(message);
      } else if (message.kind !== 'pulse') {
        if (!over.signal.aborted) news(message);
        if (message.kind !== 'streaming') thread.postMessage({ kind: 'took' } satisfies ToReader);
      }
    });
    const broke = (what: string): void =>
      resolve(new TransientError('binlog_thread', `${placeOf(db)}: the thread that reads the binlog ${what}`));
    thread.on('error', (error) => broke(`broke off: ${error.message}`));
    thread.on('exit', () => broke('ended'));
    signal.addEventListener('abort', () => resolve(null), { once: true });
    void keepPace(thread, order.askEveryMs, askEveryMs, clock, over.signal);
    void watchThread(() => (clock.monotonicNow() - heardAt) / US_PER_MS, clock, over.signal).then((hangs) => {
      if (hangs) broke(`has said nothing for ${hangMs / 1_000} s`);
    });
  });
  const error = await ended;
  over.abort();
  if (error !== null) ending(error);
  await stopThread(thread, clock);
  if (error !== null) throw error;
}

/**
 * Compiled code has its thread beside it as JavaScript. Run from its sources it needs the loader that runs those, which the
 * thread has to register itself: options of the process do not reach the threads of every version of Node.
 */
function startThread(order: BinlogOrder): Worker {
  // None of the process's own options, which may be meant for its main thread alone.
  const options = { workerData: order, resourceLimits, execArgv: [] };
  if (!import.meta.url.endsWith('.ts')) return new Worker(new URL('./binlog-worker.js', import.meta.url), options);
  // What a `require` would find is made for CommonJS; its counterpart lies beside it.
  const loader = pathToFileURL(createRequire(import.meta.url).resolve('tsx/esm/api')).href.replace(/\.cjs$/, '.mjs');
  const file = new URL('./binlog-worker.ts', import.meta.url).href;
  const start = `import(${JSON.stringify(loader)}).then(({ register }) => (register(), import(${JSON.stringify(file)})))`;
  return new Worker(start, { ...options, eval: true });
}

/** Tells the thread how often to ask, whenever that changes. */
async function keepPace(
  thread: Worker,
  first: number,
  askEveryMs: () => number,
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  let told = first;
  while (!signal.aborted) {
    const wanted = askEveryMs();
    if (wanted !== told) thread.postMessage({ kind: 'pace', askEveryMs: wanted } satisfies ToReader);
    told = wanted;
    await clock.sleep(paceLookMs, signal);
  }
}

async function watchThread(silentMs: () => number, clock: Clock, signal: AbortSignal): Promise<boolean> {
  while (!signal.aborted) {
    await clock.sleep(1_000, signal);
    if (silentMs() < hangMs) continue;
    // After a freeze of this process what the thread has said meanwhile is taken first.
    await clock.sleep(1_000, signal);
    if (silentMs() >= hangMs) return !signal.aborted;
  }
  return false;
}

async function stopThread(thread: Worker, clock: Clock): Promise<void> {
  const waited = new AbortController();
  const gone = new Promise<void>((resolve) => thread.once('exit', () => resolve()));
  thread.postMessage({ kind: 'stop' } satisfies ToReader);
  await Promise.race([gone, clock.sleep(stopMs, waited.signal)]);
  waited.abort();
  await thread.terminate();
  thread.removeAllListeners();
}

/** Makes an error of the daemon's of what ended a stream; the server tells several faults apart by their text alone. */
export function sortFailure(failure: BinlogFailure, db: DatabaseConfig): LockgateError {
  const where = placeOf(db);
  const { kind, message, errno } = failure;
  switch (kind) {
    case 'stalled':
    case 'silent-control':
      return new TransientError('binlog_stalled', `${where}: ${message}`, 'the reader connects again by itself');
    case 'other-server':
      return new TransientError('binlog_server', `${where}: ${message}`, 'the reader connects again by itself');
    case 'reset':
      return new TransientError('binlog_gone', `${where}: ${message}`, 'the reader begins anew at the end of the log');
    case 'compressed':
      return new SourceError('binlog_compressed', `${where}: a transaction in the binlog is compressed`, COMPRESSION);
    case 'incident':
      return new TransientError(
        'binlog_incident',
        `${where}: the binlog says itself that events are missing from it`,
        'see the server’s error log; compare the data',
      );
    case 'ended':
      return new TransientError('binlog_ended', `${where}: ${message}`);
    case 'error':
      break;
  }
  if (errno === 4052 || (errno === 1236 && /same server_(uu)?id/.test(message))) {
    return new SourceError(
      'binlog_duplicate',
      `${where}: another reader with the same server id has taken the binlog over [${errno}]`,
      'give each daemon its own daemon.id, or each of them a `server_id` of its own in `databases`',
    );
  }
  if (errno === 1236) {
    return new TransientError(
      'binlog_gone',
      `${where}: the binlog does not reach back to where the reader has to go on: ${message} [1236]`,
      'the reader begins anew at the end of the log; keep binlogs for longer (binlog_expire_logs_seconds, expire_logs_days)',
    );
  }
  if (/^Insufficient permissions/.test(message)) {
    return new SourceError(
      'binlog_table',
      `${where}: the columns of lockgate.heartbeat cannot be read`,
      'apply the grants that `lockgate grants` prints for this database, or run `lockgate setup`',
    );
  }
  return classify(Object.assign(new Error(message), dropNulls(failure)), db);
}

/** What to do about compressed transactions. */
export const COMPRESSION =
  'SET PERSIST binlog_transaction_compression = OFF, then connect the sessions that write anew';

function dropNulls({ errno, code, sqlState }: BinlogFailure): object {
  return {
    ...(errno === null ? {} : { errno }),
    ...(code === null ? {} : { code }),
    ...(sqlState === null ? {} : { sqlState }),
  };
}
