import type { IncomingMessage, ServerResponse } from 'node:http';
import type { DaemonPort, GateState, VerdictJson } from './port.js';
import type { Access } from './route.js';
import { VerdictWriter } from './verdict-text.js';

/** What `check` and `wait` say by status, for clients that look no further; unknown is not closed. */
const STATUS: Readonly<Record<GateState, number>> = { open: 200, closed: 409, unknown: 503 };
const CONTENT_TYPE = 'application/json; charset=utf-8';
const PATH = /^\/v1\/gates\/([a-z0-9-]+(?:\/[a-z0-9-]+)?)\/check$/;

/** Answers with a verdict and its status; the last answer of a closing server ends the connection. */
export function answerVerdict(
  response: ServerResponse,
  verdict: VerdictJson,
  body: string,
  last: boolean,
  bytes = Buffer.byteLength(body),
): void {
  const headers: Record<string, string | number> = {
    'content-type': CONTENT_TYPE,
    'cache-control': 'no-store',
    'content-length': bytes,
  };
  if (verdict.opens_at !== null) {
    headers['retry-after'] = retryAfter((Date.parse(verdict.opens_at) - Date.parse(verdict.evaluated_at)) / 1_000);
  }
  if (last) headers['connection'] = 'close';
  response.writeHead(STATUS[verdict.state], headers);
  // Plain ASCII, as verdicts nearly always are, need not be encoded once more.
  response.end(body, bytes === body.length ? 'latin1' : 'utf8');
}

/** Answers HEAD: the status and no body, without gathering the evidence. */
export function answerState(
  response: ServerResponse,
  found: { state: GateState; opensInSeconds: number | null },
): void {
  const headers: Record<string, string> = { 'content-type': CONTENT_TYPE, 'cache-control': 'no-store' };
  if (found.opensInSeconds !== null) headers['retry-after'] = retryAfter(found.opensInSeconds);
  response.writeHead(STATUS[found.state], headers).end();
}

/**
 * Answers an ordinary `check` before fastify sees it, because checks are asked in tight loops and routing and hooks cost
 * as much again as everything else. Whatever is not ordinary (a body, a query, a stranger, an unknown gate) is left to
 * the route, which decides by the same guard and answers by the same functions. The function returned answers or says false.
 */
export function createQuickCheck(port: DaemonPort, admit: (request: IncomingMessage, access: Access) => unknown) {
  const writer = new VerdictWriter();
  return (request: IncomingMessage, response: ServerResponse): boolean => {
    const { method, url = '' } = request;
    if (method !== 'GET' && method !== 'HEAD') return false;
    const id = PATH.exec(url)?.[1];
    if (id === undefined) return false;
    try {
      admit(request, 'reader');
      if (method === 'HEAD') {
        const found = port.gateState(id);
        if (found !== undefined) answerState(response, found);
        return found !== undefined;
      }
      const verdict = port.verdict(id);
      if (verdict === undefined) return false;
      const body = writer.write(verdict);
      answerVerdict(response, verdict, body, false, body.length + writer.extraBytes);
      return true;
    } catch {
      // The route asks again and says what is wrong.
      return false;
    }
  };
}

function retryAfter(seconds: number): string {
  return String(Math.max(1, Math.ceil(seconds)));
}
