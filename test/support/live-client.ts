import type { LiveClock, LiveTransport } from '../../daemon/live/follow.js';
import { Telling } from '../../daemon/telling.js';
import type { FakePort } from './fake-port.js';

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

/** Has a daemon's verdicts be of now, as those of a real one are, and told every 100 ms; returns what ends that. */
export function tellNow(port: FakePort): () => void {
  const of = port.verdict.bind(port);
  port.verdict = (gate) => {
    const known = of(gate);
    return known && { ...known, evaluated_at: new Date().toISOString() };
  };
  const telling = new Telling(port, { publish: (e, d) => void port.publish(e, d), pass: (e, d) => port.pass(e, d) });
  const timer = setInterval(() => telling.tell(), 100);
  return () => clearInterval(timer);
}
