/** Questions to a database, none of which is waited for without end. */
import type { Clock } from './core/clock.js';
import { LockgateError, Refusal, TransientError } from './core/errors.js';

/** How long one question may take, in milliseconds. */
export const ASK_MS = 5_000;

/**
 * Asks a database, and rejects with a TransientError when it has not answered within `limitMs`, or at once when `stop` aborts:
 * a port that does not heed its signal must not hold up a fence, or the end of the daemon.
 */
export async function askSide<T>(
  clock: Clock,
  question: (signal: AbortSignal) => Promise<T>,
  stop?: AbortSignal,
  limitMs = ASK_MS,
): Promise<T> {
  const ended = new AbortController();
  const limit = new AbortController();
  // By hand and not by AbortSignal.any: a signal that lives long would keep a trace of each question for ever.
  const end = (): void => ended.abort();
  stop?.addEventListener('abort', end, { once: true });
  if (stop?.aborted === true) end();
  const late = clock.sleep(limitMs, ended.signal).then((): never => {
    limit.abort();
    const why = stop?.aborted === true ? 'the daemon does not wait for it any more' : `not within ${limitMs / 1_000} s`;
    throw new TransientError('no_answer', `it has not answered: ${why}`);
  });
  try {
    return await Promise.race([question(limit.signal), late]);
  } finally {
    stop?.removeEventListener('abort', end);
    end();
  }
}

/** The same for an operator's command, which is refused (503) when the database cannot be asked. */
export async function askOrRefuse<T>(
  clock: Clock,
  database: string,
  question: (signal: AbortSignal) => Promise<T>,
  stop?: AbortSignal,
): Promise<T> {
  try {
    return await askSide(clock, question, stop);
  } catch (error) {
    if (error instanceof Refusal || !(error instanceof LockgateError)) throw error;
    throw new Refusal(503, error.code, `${database}: ${error.message}`, error.hint);
  }
}
