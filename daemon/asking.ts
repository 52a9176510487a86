/** Questions to a database, none of which is waited for without end. */
import type { Clock } from './core/clock.js';
import { LockgateError, Refusal, TransientError } from './core/errors.js';

/** How long one question may take, in milliseconds. */
export const ASK_MS = 5_000;

/**
 * Asks a database, and rejects with a TransientError when it has not answered within ASK_MS, or at once when `stop` aborts:
 * a port that does not heed its signal must not hold up a fence, or the end of the daemon.
 */
export async function askSide<T>(
  clock: Clock,
  question: (signal: AbortSignal) => Promise<T>,
  stop?: AbortSignal,
): Promise<T> {
  const answered = new AbortController();
  const limit = new AbortController();
  const ends = stop === undefined ? [answered.signal] : [answered.signal, stop];
  const late = clock.sleep(ASK_MS, AbortSignal.any(ends)).then((): never => {
    limit.abort();
    const why = stop?.aborted === true ? 'the daemon does not wait for it any more' : `not within ${ASK_MS / 1_000} s`;
    throw new TransientError('no_answer', `it has not answered: ${why}`);
  });
  try {
    return await Promise.race([question(limit.signal), late]);
  } finally {
    answered.abort();
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
