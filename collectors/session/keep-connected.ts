import type { CollectorContext } from '../collector.js';
import { US_PER_MS, US_PER_S } from '../../daemon/core/clock.js';
import { SourceError, messageOf, reasonOf } from '../../daemon/core/errors.js';
import type { Open, Session } from './session.js';

/** What `keepConnected` needs to know. */
export interface KeepOptions<S extends Session> {
  readonly open: Open<S>;
  readonly context: CollectorContext;
  /** Named in the log. */
  readonly collector: string;
  /** Called with each new session; when it returns or throws, the session is closed and, unless aborted, another opened. */
  readonly use: (session: S, healthy: () => void) => Promise<void>;
  /** Called each time a session could not be had or its use ended with an error. */
  readonly down: (reason: string, error: unknown) => void;
}

/** How long a statement under way may still take once we are to stop. */
const lastWordsMs = 500;
const minBackoffMs = 100;
const maxBackoffMs = 5_000;
/** A wrong password tried every few seconds would lock accounts and fill logs. */
const maxRefusedBackoffMs = 15_000;

/**
 * Keeps one session open until `signal` aborts, with jittered backoff between attempts that starts anew once `healthy`
 * was called. It resolves when aborted, with the session closed, and never rejects; a statement under way then is given
 * half a second.
 */
export async function keepConnected<S extends Session>(options: KeepOptions<S>, signal: AbortSignal): Promise<void> {
  const { context, collector } = options;
  const { clock, log } = context;
  let failures = 0;
  let logged: string | null = null;
  while (!signal.aborted) {
    let session: S | null = null;
    const healthy = (): void => {
      failures = 0;
      if (logged !== null) log.info({ collector }, 'working again');
      logged = null;
    };
    const startedAt = clock.monotonicNow();
    const settled = new AbortController();
    const stop = (): void => {
      // A server that hangs must not hold up our shutdown: closing ends whatever is still waited for.
      void clock.sleep(lastWordsMs, settled.signal).then(() => session?.close());
    };
    signal.addEventListener('abort', stop, { once: true });
    try {
      session = await options.open(signal);
      await options.use(session, healthy);
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
      await session?.close();
      session = null;
      const spentMs = (clock.monotonicNow() - startedAt) / US_PER_MS;
      // Time lost on a hanging attempt counts as waiting, so that an outage is noticed to be over soon.
      await clock.sleep(Math.max(minBackoffMs / 2, backoffMs - Math.min(spentMs, US_PER_S / US_PER_MS)), signal);
    } finally {
      signal.removeEventListener('abort', stop);
      settled.abort();
      await session?.close();
    }
  }
}

/** Read through a function, because the compiler takes a checked flag for settled. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}
