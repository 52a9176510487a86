/** The pass was ended from outside; it says nothing about any table. */
export class Aborted extends Error {}

/** Rejects with Aborted once the signal has aborted. */
export function throwIfAborted(signal: AbortSignal): void {
  if (signal.aborted) throw new Aborted('the pass was ended');
}

/** The same promise, but that it rejects with Aborted as soon as the signal aborts, whatever it is waiting for. */
export async function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  throwIfAborted(signal);
  let stop = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(new Aborted('the pass was ended'));
    signal.addEventListener('abort', stop, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
    // Whoever lost the race may still reject, and nobody would be there to hear it.
    promise.catch(() => undefined);
  }
}
