import { setMaxListeners } from 'node:events';
import type { Io } from './io.js';

/** What a shell reports for a process that died of the signal. */
export const KILLED_BY: Readonly<Record<'SIGTERM' | 'SIGINT', number>> = { SIGTERM: 143, SIGINT: 130 };

/** Runs `work` with a signal that aborts when the operator interrupts; interrupted again, the process ends at once. */
export async function interruptible<T>(io: Io, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const stop = new AbortController();
  // Every connection that is being made listens on it, and there may be many: that is no leak.
  setMaxListeners(0, stop.signal);
  const undo = io.onSignal((signal) => {
    if (signal === 'SIGHUP') return;
    if (stop.signal.aborted) io.exit(KILLED_BY[signal]);
    stop.abort();
  });
  try {
    return await work(stop.signal);
  } finally {
    undo();
  }
}
