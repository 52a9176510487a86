import type { CollectorContext } from '../collector.js';
import { US_PER_MS, US_PER_S } from '../../daemon/core/clock.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { SourceError, messageOf, reasonOf } from '../../daemon/core/errors.js';
import { connect, type ConnectOptions, type PgConnection } from './connection.js';

/** What `keepConnected` needs to know. */
export interface ReconnectOptions {
  readonly db: DatabaseConfig;
  readonly connect: ConnectOptions;
  readonly context: CollectorContext;
  /** Named in the log. */
  readonly collector: string;
  /** Called with each new connection; when it returns or throws, the connection is closed and, unless aborted, another opened. */
  readonly use: (connection: PgConnection, healthy: () => void) => Promise<void>;
  /** Called each time a connection could not be had or its use ended with an error. */
  readonly down: (reason: string, error: unknown) => void;
}

/** How long a statement under way may still take once we are to stop. */
const lastWordsMs = 500;
const minBackoffMs = 100;
const maxBackoffMs = 5_000;
/** A wrong password tried every few seconds would lock accounts and fill logs. */
const maxRefusedBackoffMs = 15_000;

/**
 * Keeps one connection open until `signal` aborts, with jittered backoff between attempts that starts anew once `healthy`
 * was called. It resolves when aborted, with the connection closed, and never rejects; a statement
 * under way then is given half a second.
 */
export async function keepConnected(options: ReconnectOptions, signal: AbortSignal): Promise<void> {
  const { db, context, collector } = options;
  const { clock, log } = context;
  let failures = 0;
  let logged: string | null = null;
  while (!signal.aborted) {
    let connection: PgConnection | null = null;
    const healthy = (): void => {
      failures = 0;
      if (logged !== null) log.info({ collector }, 'working again');
      logged = null;
    };
    const startedAt = clock.monotonicNow();
    const settled = new AbortController();
    const stop = (): void => {
      // A server that hangs must not hold up our shutdown: closing ends whatever is still waited for.
      void clock.sleep(lastWordsMs, settled.signal).then(() => connection?.close());
    };
    signal.addEventListener('abort', stop, { once: true });
    try {
      connection = await connect(db, options.connect, signal);
      await options.use(connection, healthy);
    } catch (error) {
      if (isAborted(signal)) break;
      const reason = reasonOf(error);
      // The same fault again and again is one line, not thousands.
      if (reason !== logged) log.warn({ collector, error: messageOf(error) }, 'no working connection');
      logged = reason;
      options.down(reason, error);
      const cap = error instanceof SourceError ? maxRefusedBackoffMs : maxBackoffMs;
      const backoffMs = Math.min(minBackoffMs * 2 ** failures, cap) * (0.5 + Math.random() / 2);
      failures = Math.min(failures + 1, 16);
      await connection?.close();
      connection = null;
      const spentMs = (clock.monotonicNow() - startedAt) / US_PER_MS;
      // Time lost on a hanging attempt counts as waiting, so that an outage is noticed to be over soon.
      await clock.sleep(Math.max(minBackoffMs / 2, backoffMs - Math.min(spentMs, US_PER_S / US_PER_MS)), signal);
    } finally {
      signal.removeEventListener('abort', stop);
      settled.abort();
      await connection?.close();
    }
  }
}

/** Read through a function, because the compiler takes a checked flag for settled. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}
