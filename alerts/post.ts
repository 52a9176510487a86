/** Posts JSON to an address and says what that means for the event; no reason it gives holds a secret. */
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Delivery } from '../daemon/core/alert-event.js';
import { messageOf, reasonOf } from '../daemon/core/errors.js';

/** More of an answer is not read. */
const MOST_READ_BYTES = 4_096;
/** More of an answer is not shown. */
const MOST_SHOWN = 300;

/** What is posted, and where to. */
export interface Post {
  url: string;
  headers: Readonly<Record<string, string>>;
  body: string;
  /** Texts that must not be shown, should the other side repeat them. */
  secrets: readonly string[];
  /** Wall clock, for a `Retry-After` that names an instant. */
  wallNow: () => number;
}

/**
 * Posts once: 2xx is delivered; 408, 425, 429, 5xx and everything that is no answer may be tried again; whatever else was
 * answered, a redirection too, is a refusal for good. `make` may fail for want of a secret, which may come back.
 */
export async function post(make: () => Post, signal: AbortSignal): Promise<Delivery> {
  let made: Post;
  try {
    made = make();
  } catch (error) {
    return { outcome: 'retry', reason: reasonOf(error), afterMs: null };
  }
  const clean = (text: string): string => hide(text, made.secrets);
  try {
    const { status, headers, text } = await exchange(made, signal);
    const answer = clean(`${status}${text === '' ? '' : ` ${text}`}`);
    if (status >= 200 && status < 300) return { outcome: 'delivered', answer };
    const reason = `it answered ${answer}`;
    if (status >= 500 || status === 408 || status === 425 || status === 429) {
      return { outcome: 'retry', reason, afterMs: retryAfterMs(headers['retry-after'], made.wallNow()) };
    }
    return { outcome: 'refused', reason };
  } catch (error) {
    const reason = signal.aborted ? 'no answer in time' : clean(faultOf(error));
    return { outcome: 'retry', reason, afterMs: null };
  }
}

interface Answer {
  status: number;
  headers: IncomingMessage['headers'];
  text: string;
}

/** Each event has a connection of its own: they are few, and one that is kept open dies unseen. */
function exchange({ url, headers, body }: Post, signal: AbortSignal): Promise<Answer> {
  const bytes = Buffer.from(body);
  return new Promise((resolve, reject) => {
    const send = new URL(url).protocol === 'https:' ? httpsRequest : httpRequest;
    const request = send(
      url,
      {
        method: 'POST',
        agent: false,
        signal,
        headers: {
          ...headers,
          'content-type': 'application/json',
          'content-length': bytes.length,
          connection: 'close',
        },
      },
      (response) => {
        const chunks: Buffer[] = [];
        let read = 0;
        const done = (): void => {
          const text = Buffer.concat(chunks).subarray(0, MOST_READ_BYTES).toString().replaceAll(/\s+/g, ' ').trim();
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text });
          response.destroy();
        };
        response.on('data', (chunk: Buffer) => {
          chunks.push(chunk);
          read += chunk.length;
          if (read >= MOST_READ_BYTES) done();
        });
        response.on('end', done);
        response.on('error', reject);
      },
    );
    request.on('error', reject);
    request.end(bytes);
  });
}

/** Milliseconds; null where none was asked for. */
function retryAfterMs(header: string | undefined, wallNow: number): number | null {
  if (header === undefined) return null;
  const seconds = /^\d+$/.test(header.trim()) ? Number(header) : (Date.parse(header) - wallNow) / 1_000;
  return Number.isFinite(seconds) ? Math.max(0, seconds * 1_000) : null;
}

function hide(text: string, secrets: readonly string[]): string {
  const hidden = secrets.reduce((t, secret) => (secret === '' ? t : t.replaceAll(secret, '[secret]')), text);
  return hidden.length > MOST_SHOWN ? `${hidden.slice(0, MOST_SHOWN - 1)}…` : hidden;
}

/** Attempts at several addresses fail with an error whose own message is empty. */
function faultOf(error: unknown): string {
  const first: unknown = error instanceof AggregateError && error.errors.length > 0 ? error.errors[0] : error;
  return messageOf(first) === '' ? 'it cannot be reached' : messageOf(first);
}
