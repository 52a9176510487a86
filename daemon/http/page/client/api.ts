/** The API of the daemon that served this page, with the reader's token, by fetch: no cookie, nothing from a cache. */
import type { LiveAnswer, LiveStream, LiveTransport } from '../../../live/follow.js';

/** A refusal of an action, as the API words it; `status` 0: no answer at all. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly hint: string | null,
  ) {
    super(message);
  }
}

/** How long an answer may take: past this the connection counts as lost. */
const ANSWER_MS = 5_000;
/** Operators' actions ask the databases before they answer. */
const ACTION_MS = 30_000;

/** Asks the daemon. Addresses are relative to the page, so that it works below a path of a proxy as well. */
export class Api implements LiveTransport {
  constructor(readonly token: string | null) {}

  async get(path: string, signal: AbortSignal): Promise<LiveAnswer> {
    const response = await this.#fetch(path, { signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]) });
    return { status: response.status, json: await jsonOf(response) };
  }

  async stream(path: string, signal: AbortSignal): Promise<LiveStream> {
    const response = await this.#fetch(path, { signal });
    const header = (name: string): string | null => response.headers.get(name);
    const { status, body } = response;
    if (status !== 200 || body === null) return { status, json: await jsonOf(response), header, chunks: nothing() };
    return { status, json: undefined, header, chunks: textOf(body) };
  }

  /** What an action answers; rejects with a Refused. */
  async act(
    method: 'POST' | 'DELETE',
    path: string,
    body?: object,
    headers: Record<string, string> = {},
  ): Promise<Record<string, unknown>> {
    let response: Response;
    try {
      response = await this.#fetch(path, {
        method,
        headers: { ...headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(ACTION_MS),
      });
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new Refused(
        0,
        'no_answer',
        `no answer, so it is not known whether it was done: ${why}`,
        'Look at the journal, then try again: the same form is never carried out twice.',
      );
    }
    const said = ((await jsonOf(response)) ?? {}) as Record<string, unknown>;
    if (response.ok) return said;
    const text = (name: string): string | null => (typeof said[name] === 'string' ? said[name] : null);
    const detail = text('detail') ?? `it answered ${response.status}`;
    throw new Refused(response.status, text('code') ?? 'error', detail, text('hint'));
  }

  #fetch(path: string, init: RequestInit): Promise<Response> {
    const own: Record<string, string> = this.token === null ? {} : { authorization: `Bearer ${this.token}` };
    const headers = { ...own, ...(init.headers as Record<string, string> | undefined) };
    return fetch(path.replace(/^\//, ''), {
      ...init,
      headers,
      cache: 'no-store',
      credentials: 'omit',
      redirect: 'error',
    });
  }
}

async function jsonOf(response: Response): Promise<unknown> {
  try {
    return await response.json();
  } catch {
    // A proxy in between answers in its own way: the status says enough.
    return undefined;
  }
}

async function* textOf(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield decoder.decode(value, { stream: true });
    }
  } finally {
    void reader.cancel().catch(() => undefined);
  }
}

async function* nothing(): AsyncGenerator<string> {
  // An answer that is no stream.
}
