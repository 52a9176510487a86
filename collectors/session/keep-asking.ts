import { US_PER_MS, type Clock } from '../../daemon/core/clock.js';
import { LockgateError } from '../../daemon/core/errors.js';
import type { LazySession } from './lazy-session.js';
import type { Session } from './session.js';

/** What is asked again and again. */
export interface AskingOptions<S extends Session> {
  readonly clock: Clock;
  readonly session: LazySession<S>;
  /** From the start of one look to the start of the next. */
  readonly intervalMs: number;
  /** Least pause after a second failure in a row. */
  readonly retryMs: number;
  readonly look: (signal: AbortSignal) => Promise<void>;
  /** A look failed for a reason that is not a bug. */
  readonly failed: (error: LockgateError) => void;
}

/**
 * Looks at regular intervals until `signal` aborts; resolves then, with the session closed. After a failure it looks again
 * at once, because a session that was lost is opened anew, and then with pauses. Rejects on a bug.
 */
export async function keepAsking<S extends Session>(options: AskingOptions<S>, signal: AbortSignal): Promise<void> {
  const { clock, session, intervalMs, retryMs } = options;
  const stopped = (): boolean => signal.aborted;
  const onAbort = (): void => void session.close();
  signal.addEventListener('abort', onAbort, { once: true });
  let failures = 0;
  try {
    while (!stopped()) {
      const startedAt = clock.monotonicNow();
      try {
        await options.look(signal);
        failures = 0;
      } catch (error) {
        if (stopped()) break;
        // What is not from a server is a bug, and the supervisor's matter.
        if (!(error instanceof LockgateError)) throw error;
        options.failed(error);
        failures += 1;
      }
      const restMs = Math.max(0, intervalMs - (clock.monotonicNow() - startedAt) / US_PER_MS);
      const pauseMs = failures === 0 ? restMs : failures === 1 ? 0 : retryMs;
      await clock.sleep(Math.max(pauseMs, session.pauseMs()), signal);
    }
  } finally {
    signal.removeEventListener('abort', onAbort);
    await session.close();
  }
}
