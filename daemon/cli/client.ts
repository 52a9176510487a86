import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { UsageError, messageOf } from '../core/errors.js';
import type { LiveStream } from '../live/follow.js';
import { durationText, plain } from '../live/words.js';
import type { Io } from './io.js';

/** No answer of the API is near this; a larger one is not read to its end. */
const LARGEST_BODY = 64 * 1024 * 1024;

/** The options that every client command has. */
export interface ClientOptions {
  url: string[];
  tokenFile?: string;
  ca?: string;
  json?: boolean;
}

/** One daemon to ask. */
export interface Daemon {
  /** As given, without a trailing slash. */
  readonly url: string;
  ask(request: ClientRequest): Promise<Answer>;
  /** Asks for a stream that goes on until the signal aborts; rejects with an Error in words when nothing answers. */
  listen(path: string, signal: AbortSignal): Promise<LiveStream>;
}

/** How one daemon is reached. */
interface Reach {
  io: Io;
  base: string;
  token: string | null;
  ca: Buffer | null;
}

/** One request; it is given up after `timeoutMs`, whatever has arrived by then. */
export interface ClientRequest {
  method?: 'GET' | 'POST' | 'DELETE';
  /** Below the URL, for example `/v1/gates`. */
  path: string;
  body?: object;
  /** Sent as Idempotency-Key: the daemon gives the same answer again and does nothing twice. */
  idempotencyKey?: string;
  timeoutMs: number;
  /** Gives the request up before its time. */
  signal?: AbortSignal;
}

/** What came back: an HTTP answer of whatever kind, or nothing. */
export type Answer =
  | {
      kind: 'answer';
      status: number;
      text: string;
      /** The parsed body; undefined when it is not JSON. */
      json: unknown;
      /** From the Date and Age headers: when the daemon says it answered (ms since 1970), how long a cache kept it (s). */
      date: number | null;
      age: number | null;
    }
  | {
      kind: 'unreachable';
      message: string;
      /** Whether the request may have arrived all the same, so that what it asks for may have been done. */
      sent: boolean;
    };

/** The daemons that the options and the environment name, or a UsageError when that is none. */
export async function daemonsOf(io: Io, options: ClientOptions): Promise<Daemon[]> {
  const named = options.url.length > 0 ? options.url : (io.env['LOCKGATE_URL'] ?? '').split(/[\s,]+/);
  const urls = [...new Set(named.filter((u) => u !== '').map(checkedUrl))];
  if (urls.length === 0) {
    throw new UsageError('no_url', 'no daemon to ask', 'give --url http://HOST:PORT, or set LOCKGATE_URL');
  }
  const token = await tokenOf(io, options.tokenFile);
  const ca = options.ca === undefined ? null : await certificateOf(options.ca);
  return urls.map((url) => {
    const reach: Reach = { io, base: url, token, ca };
    return {
      url,
      ask: (request) => send(reach, request),
      listen: (path, signal) => listen(reach, path, signal),
    };
  });
}

/** The one daemon that the options and the environment name; what changes something must be done once, at one place. */
export async function oneDaemonOf(io: Io, options: ClientOptions): Promise<Daemon> {
  const [daemon, ...more] = await daemonsOf(io, options);
  if (daemon === undefined || more.length > 0) {
    const hint = 'give one --url: fences and changes of direction are kept by one daemon, the others read them';
    throw new UsageError('several_urls', 'this command asks one daemon, not several', hint);
  }
  return daemon;
}

function checkedUrl(text: string): string {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw new UsageError('bad_url', `not a URL: ${plain(text)}`, 'for example http://127.0.0.1:9188');
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw new UsageError('bad_url', `not an http or https URL: ${plain(text)}`, 'for example http://127.0.0.1:9188');
  }
  if (url.username !== '' || url.password !== '') {
    throw new UsageError('bad_url', 'a URL must not carry credentials', 'set LOCKGATE_TOKEN instead');
  }
  return `${url.origin}${url.pathname}`.replace(/\/+$/, '');
}

async function tokenOf(io: Io, file: string | undefined): Promise<string | null> {
  const token =
    file === undefined ? (io.env['LOCKGATE_TOKEN'] ?? '').trim() : (await readable(file)).toString('utf8').trim();
  if (file !== undefined && token === '') throw new UsageError('bad_token', `the token file ${file} is empty`);
  if (!/^[\x21-\x7e]*$/.test(token)) {
    throw new UsageError('bad_token', 'the token has characters that no token has', 'one line of printable ASCII');
  }
  return token === '' ? null : token;
}

async function certificateOf(file: string): Promise<Buffer> {
  const pem = await readable(file);
  try {
    new X509Certificate(pem);
  } catch {
    throw new UsageError('bad_ca', `${file} is not a certificate in PEM form`);
  }
  return pem;
}

async function readable(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    throw new UsageError('unreadable_file', `cannot read ${file}: ${messageOf(error)}`, null, { cause: error });
  }
}

/** Sends a request, and resolves with the head of its answer. */
function begin(
  { io, base, token, ca }: Reach,
  r: Pick<ClientRequest, 'method' | 'path' | 'idempotencyKey'> & { accept: string; body: string | null },
  signal: AbortSignal,
): Promise<IncomingMessage> {
  return new Promise<IncomingMessage>((resolve, reject) => {
    const options: RequestOptions = {
      method: r.method ?? 'GET',
      // No agent: a kept-alive socket would hold the process open after the answer.
      agent: false,
      signal,
      headers: {
        accept: r.accept,
        'user-agent': `lockgate/${io.version}`,
        ...(token === null ? {} : { authorization: `Bearer ${token}` }),
        ...(r.idempotencyKey === undefined ? {} : { 'idempotency-key': r.idempotencyKey }),
        ...(r.body === null ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(r.body) }),
      },
    };
    const url = new URL(base + r.path);
    const request =
      url.protocol === 'https:'
        ? httpsRequest(url, ca === null ? options : { ...options, ca }, resolve)
        : httpRequest(url, options, resolve);
    request.on('error', reject);
    request.end(r.body ?? undefined);
  });
}

async function send(reach: Reach, r: ClientRequest): Promise<Answer> {
  const done = new AbortController();
  const late = new AbortController();
  void reach.io.clock.sleep(r.timeoutMs, done.signal).then(() => late.abort());
  try {
    const signal = r.signal === undefined ? late.signal : AbortSignal.any([late.signal, r.signal]);
    const body = r.body === undefined ? null : JSON.stringify(r.body);
    return await read(await begin(reach, { ...r, accept: 'application/json', body }, signal));
  } catch (error) {
    if (r.signal?.aborted === true) return { kind: 'unreachable', message: 'interrupted', sent: true };
    const { message, sent } = whyUnreachable(error, late.signal.aborted, r.timeoutMs);
    return { kind: 'unreachable', message, sent };
  } finally {
    done.abort();
  }
}

async function listen(reach: Reach, path: string, signal: AbortSignal): Promise<LiveStream> {
  try {
    const response = await begin(reach, { path, accept: 'text/event-stream', body: null }, signal);
    const status = response.statusCode ?? 0;
    const header = (name: string): string | null => {
      const value = response.headers[name];
      return typeof value === 'string' ? value : null;
    };
    if (status !== 200) return { status, json: (await read(response)).json, header, chunks: textOf(response) };
    response.setEncoding('utf8');
    return { status, json: undefined, header, chunks: textOf(response) };
  } catch (error) {
    throw new Error(whyUnreachable(error, false, 0).message, { cause: error });
  }
}

async function* textOf(response: IncomingMessage): AsyncGenerator<string> {
  try {
    yield* response as AsyncIterable<string>;
  } catch (error) {
    throw new Error(whyUnreachable(error, false, 0).message, { cause: error });
  }
}

async function read(response: IncomingMessage): Promise<Extract<Answer, { kind: 'answer' }>> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > LARGEST_BODY) throw new Error('the answer is too large');
    chunks.push(chunk);
  }
  const text = Buffer.concat(chunks).toString('utf8');
  return {
    kind: 'answer',
    status: response.statusCode ?? 0,
    text,
    json: parsed(text),
    date: numberOrNull(Date.parse(response.headers.date ?? '')),
    age: numberOrNull(Number(response.headers.age ?? NaN)),
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function numberOrNull(n: number): number | null {
  return Number.isFinite(n) ? n : null;
}

const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'the connection was lost before the answer was complete',
  EPIPE: 'the connection was lost before the answer was complete',
  ENOTFOUND: 'there is no such host',
  EAI_AGAIN: 'the host name cannot be resolved now',
  EHOSTUNREACH: 'no route to the host',
  ENETUNREACH: 'no route to the network',
  ETIMEDOUT: 'the connection timed out',
  EPROTO: 'it does not speak TLS there (http:// instead of https://?)',
  HPE_INVALID_CONSTANT: 'it does not speak HTTP there (https:// instead of http://?)',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another host name',
  CERT_HAS_EXPIRED: 'its certificate has expired',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is not trusted here (--ca FILE)',
  SELF_SIGNED_CERT_IN_CHAIN: 'its certificate is not trusted here (--ca FILE)',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its certificate is not trusted here (--ca FILE)',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its certificate is not trusted here (--ca FILE)',
};

/** Reasons for which nothing can have arrived; after any other, something may have. */
const NEVER_SENT = /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|EPROTO|.*CERT.*|UNABLE_TO_.*)$/;

function whyUnreachable(error: unknown, late: boolean, timeoutMs: number): { message: string; sent: boolean } {
  if (late) return { message: `no answer within ${durationText(timeoutMs / 1000)}`, sent: true };
  // Several addresses were tried (::1 and 127.0.0.1): each has its own error, and the first says enough.
  const first: unknown = error instanceof AggregateError && error.errors.length > 0 ? error.errors[0] : error;
  const code = first instanceof Error && 'code' in first && typeof first.code === 'string' ? first.code : '';
  const message = REASONS[code] ?? plain(messageOf(first) === '' ? code : messageOf(first));
  return { message, sent: !NEVER_SENT.test(code) };
}
