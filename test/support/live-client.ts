import type { LiveClock, LiveTransport } from '../../daemon/live/follow.js';

/** Reaches a daemon as the status page does. */
export function fetching(url: string, token?: string): LiveTransport {
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  return {
    async get(path, signal) {
      const response = await fetch(url + path, { headers, signal });
      return { status: response.status, json: await response.json().catch(() => undefined) };
    },
    async stream(path, signal) {
      const response = await fetch(url + path, { headers, signal });
      const ok = response.status === 200;
      return {
        status: response.status,
        json: ok ? undefined : await response.json().catch(() => undefined),
        header: (name) => response.headers.get(name),
        chunks: ok ? response.body!.pipeThrough(new TextDecoderStream()) : new ReadableStream<string>(),
      };
    },
  };
}

/** The clocks of this process. */
export const REAL: LiveClock = {
  now: () => ({ monotonicMs: performance.now(), wallMs: Date.now() }),
  sleep: (ms, signal) =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      const end = (): void => {
        clearTimeout(timer);
        resolve();
      };
      signal?.addEventListener('abort', end, { once: true });
    }),
};
