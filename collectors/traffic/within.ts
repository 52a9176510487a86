import type { Clock } from '../../daemon/core/clock.js';
import { TransientError } from '../../daemon/core/errors.js';

/**
 * Runs `work` with a signal that aborts when `signal` does or after `ms` by the clock; after that time it rejects with a
 * TransientError that says `late`, whatever the work does then.
 */
export async function within<T>(
  clock: Clock,
  ms: number,
  signal: AbortSignal,
  late: string,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const inner = new AbortController();
  const abort = (): void => inner.abort();
  if (signal.aborted) abort();
  // By hand and not by AbortSignal.any: a signal that lives long would keep a trace of each question for ever.
  signal.addEventListener('abort', abort, { once: true });
  const done = new AbortController();
  const timeout = clock.sleep(ms, done.signal).then(() => {
    if (done.signal.aborted) return new Promise<never>(() => undefined);
    // The work is aborted afterwards, or its own rejection would come first.
    throw new TransientError('timeout', late);
  });
  try {
    return await Promise.race([work(inner.signal), timeout]);
  } finally {
    signal.removeEventListener('abort', abort);
    // The work may have been given up, and then it must not go on by itself.
    abort();
    done.abort();
  }
}
