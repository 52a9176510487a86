import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { VerdictJson } from '../../daemon/http/port.js';

/** Answers one request; the body has been read. */
export type Handler = (request: IncomingMessage & { body: string }, response: ServerResponse) => void;

/** A loopback server that answers as a test scripts it. */
export interface ApiServer {
  url: string;
  requests: { method: string; url: string; headers: IncomingMessage['headers']; body: string }[];
  handler: Handler;
  close(): Promise<void>;
}

/** Starts a server on a free port; `tls` makes it speak https. */
export async function startApi(handler: Handler, tls?: { key: string; cert: string }): Promise<ApiServer> {
  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    let body = '';
    request.setEncoding('utf8');
    request.on('data', (chunk: string) => (body += chunk));
    request.on('end', () => {
      const { method = '', url = '', headers } = request;
      api.requests.push({ method, url, headers, body });
      api.handler(Object.assign(request, { body }), response);
    });
  };
  const server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const api: ApiServer = {
    url: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    requests: [],
    handler,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
  return api;
}

/** Answers with JSON. */
export function json(status: number, body: unknown, headers: Record<string, string> = {}): Handler {
  return (_request, response) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
  };
}

/** A verdict as the API gives it, evaluated now. */
export function verdict(change: Partial<VerdictJson> = {}): VerdictJson {
  const state = change.state ?? 'open';
  return {
    gate: 'shop/flip-writes',
    state,
    open: state === 'open',
    since: '2026-11-22T01:00:00.000Z',
    evaluated_at: new Date().toISOString(),
    opens_at: null,
    conditions: [],
    reason: null,
    config_hash: 'abc',
    daemon: 'lockgate-a',
    ...change,
  };
}

/** Answers as `check` and `wait` do, with the status that belongs to the state. */
export function verdictAnswer(change: Partial<VerdictJson> = {}): Handler {
  return (request, response) => {
    const body = verdict(change);
    json({ open: 200, closed: 409, unknown: 503 }[body.state], body)(request, response);
  };
}
