import type { CollectorContext, StreamKind } from '../collector.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { SourceError, messageOf } from '../../daemon/core/errors.js';
import { connect, quoteIdent, type PgConnection } from './connection.js';
import { classify, errorCodeOf } from './pg-errors.js';
import { checkRoom, checkWalUse } from './wal-checks.js';
import { streamWal, type StreamedSlot, type WalEvents, type WalOutput } from './wal-stream.js';

/** What a guarded stream is opened with. */
export interface GuardedStreamOptions {
  readonly db: DatabaseConfig;
  readonly context: CollectorContext;
  /** Named in the log. */
  readonly collector: string;
  /** As its reading is counted. */
  readonly stream: StreamKind;
  readonly applicationName: string;
  readonly slotPrefix: string;
  readonly output: WalOutput;
  readonly events: WalEvents;
  /** Looks at the server before the slot is made; throws when streaming is not to begin. */
  readonly check: (connection: PgConnection) => Promise<void>;
}

const checkUseEveryMs = 30_000;
const maxBackoffMs = 5_000;
/** How long a reader that is not permitted stays off: an operator who has just granted it wants to see it work. */
const refusedRestMs = 15_000;
/** How long one stays off that gave way to replication. */
const yieldedRestMs = 60_000;
const yielded: ReadonlySet<string> = new Set(['wal_few_slots', 'wal_retains', 'wal_spills']);

/** How long to wait after a stream has ended with `error`, having failed `failures` times in a row before. */
export function pauseMs(error: unknown, failures: number): number {
  if (error instanceof SourceError) return yielded.has(error.code) ? yieldedRestMs : refusedRestMs;
  return Math.min(100 * 2 ** Math.min(failures, 16), maxBackoffMs) * (0.5 + Math.random() / 2);
}

/**
 * Streams until `signal` aborts (then it resolves) or the stream breaks (then it rejects with a classified error); it also
 * ends the stream, with a SourceError that says so, when its slot becomes a burden for the server.
 */
export async function streamGuarded(
  options: GuardedStreamOptions,
  streaming: (slot: StreamedSlot) => void,
  signal: AbortSignal,
): Promise<void> {
  const { db, context, collector } = options;
  const inner = new AbortController();
  const stop = (): void => inner.abort();
  signal.addEventListener('abort', stop, { once: true });
  const guards: Promise<Error | null>[] = [];
  const side = <R>(sql: string, values: readonly unknown[]): Promise<R[]> => askAside<R>(options, sql, values);
  const begun = (slot: StreamedSlot): void => {
    streaming(slot);
    context.tally?.(db.name, options.stream, 0, 0);
    context.log.info({ collector }, 'streaming');
    guards.push(guard(options, inner));
  };
  const events: WalEvents = {
    ...options.events,
    read: (transactions, bytes) => context.tally?.(db.name, options.stream, transactions, bytes),
  };
  const ended = await checkRoom(side, db)
    .then(() => streamWal({ ...options, events, clock: context.clock, side }, begun, inner.signal))
    .then(
      () => null,
      (error: unknown) => sortReading(error, db),
    );
  signal.removeEventListener('abort', stop);
  inner.abort();
  // A guard that ended the stream knows why better than the stream does.
  const excess = (await Promise.all(guards)).find((error) => error !== null);
  const error = excess ?? ended;
  if (error !== null) throw error;
}

/** Looks at the slot from time to time; ends the stream and returns the reason when it costs the server too much. */
async function guard(options: GuardedStreamOptions, stream: AbortController): Promise<Error | null> {
  const { db, context, collector, slotPrefix } = options;
  for (;;) {
    await context.clock.sleep(checkUseEveryMs, stream.signal);
    if (stream.signal.aborted) return null;
    try {
      const excess = await checkWalUse((sql, values) => askAside(options, sql, values), db, slotPrefix);
      if (excess === null) continue;
      stream.abort();
      return excess;
    } catch (error) {
      context.log.debug({ collector, error: messageOf(error) }, 'the slot could not be looked at');
    }
  }
}

/** Runs one statement over an ordinary connection of its own. */
async function askAside<R>(
  { db, applicationName }: Pick<GuardedStreamOptions, 'db' | 'applicationName'>,
  sql: string,
  values: readonly unknown[],
): Promise<R[]> {
  const connection = await connect(db, { applicationName, statementTimeoutMs: 2_000, connectTimeoutMs: 2_000 });
  try {
    return await connection.query<R>(sql, values);
  } finally {
    await connection.close();
  }
}

/** Classifies what reading the WAL threw; of all privileges it is REPLICATION that is missing then, so the hint says that. */
function sortReading(error: unknown, db: DatabaseConfig): Error {
  const sorted = classify(error, db);
  if (errorCodeOf(error) !== '42501') return sorted;
  const user = quoteIdent(db.address.user);
  const hint = `ALTER ROLE ${user} REPLICATION (RDS: GRANT rds_replication TO ${user}), or set \`read: off\``;
  return new SourceError('wal_privilege', messageOf(sorted), hint, { cause: error });
}
