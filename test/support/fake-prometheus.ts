/** A loopback server that answers as Prometheus' HTTP API does, and misbehaves when told to. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** One question as it arrived. */
export interface PromRequest {
  path: string;
  params: URLSearchParams;
  authorization: string | null;
}

/** What is done with a question. */
export type PromAnswer =
  { status?: number; body: unknown; location?: string } | { raw: string; status?: number } | 'reset' | 'mute' | 'half';

/** The stand-in; `answer` may be set anew at any time. */
export interface FakePrometheus {
  url: string;
  port: number;
  requests: PromRequest[];
  answer: (request: PromRequest) => PromAnswer;
  close(): Promise<void>;
}

/** The body of a successful answer with the series given, all of the same instant in seconds. */
export function vector(at: number, ...values: string[]): { body: object } {
  const result = values.map((value, i) => ({ metric: { n: String(i) }, value: [at, value] }));
  return { body: { status: 'success', data: { resultType: 'vector', result } } };
}

/** Starts one on a free port of the loopback. */
export async function startFakePrometheus(): Promise<FakePrometheus> {
  const requests: PromRequest[] = [];
  const serve = (message: IncomingMessage, response: ServerResponse): void => {
    const { pathname, searchParams } = new URL(message.url ?? '/', 'http://here');
    const request = { path: pathname, params: searchParams, authorization: message.headers.authorization ?? null };
    requests.push(request);
    const answer = fake.answer(request);
    if (answer === 'mute') return;
    if (answer === 'reset') return void message.socket.resetAndDestroy();
    if (answer === 'half') {
      response.writeHead(200, { 'content-length': 1000 });
      return void response.write('{"status":"succ', () => message.socket.destroy());
    }
    const location = 'location' in answer ? { location: answer.location } : {};
    response.writeHead(answer.status ?? 200, { 'content-type': 'application/json', ...location });
    response.end('raw' in answer ? answer.raw : JSON.stringify(answer.body));
  };
  const server = createServer(serve);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const fake: FakePrometheus = {
    url: `http://127.0.0.1:${port}`,
    port,
    requests,
    answer: () => vector(Date.now() / 1000, '1'),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return fake;
}
