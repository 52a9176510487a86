import type { FastifyReply } from 'fastify';

const TITLES: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
  409: 'Conflict',
  413: 'Content Too Large',
  414: 'URI Too Long',
  415: 'Unsupported Media Type',
  431: 'Request Header Fields Too Large',
  500: 'Internal Server Error',
  503: 'Service Unavailable',
};

/** The body of every error answer (RFC 9457); `code` is stable and documented. */
export interface ProblemJson {
  type: string;
  title: string;
  status: number;
  detail: string;
  code: string;
  [extension: string]: unknown;
}

/** An answer that is an error; thrown anywhere below a route, it becomes an `application/problem+json` response. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
    readonly options: { headers?: Readonly<Record<string, string>>; extra?: Readonly<Record<string, unknown>> } = {},
  ) {
    super(detail);
    this.name = 'Problem';
  }

  toJSON(): ProblemJson {
    return {
      type: `urn:lockgate:problem:${this.code}`,
      title: TITLES[this.status] ?? 'Error',
      status: this.status,
      detail: this.message,
      code: this.code,
      ...this.options.extra,
    };
  }
}

/** The answer to a name that lockgate does not know; nothing distinguishes a typing error from something removed. */
export function notFound(what: 'migration' | 'gate' | 'signal' | 'fence', name: string): Problem {
  return new Problem(404, `unknown_${what}`, `there is no ${what} ${JSON.stringify(name)}`);
}

/** The answer of a server that has no room for one more; `Retry-After` keeps clients from hammering it. */
export function overloaded(code: string, detail: string, retryAfterSeconds: number): Problem {
  return new Problem(503, code, detail, { headers: { 'retry-after': String(retryAfterSeconds) } });
}

/** Sends a problem; never cached, because the next answer may be another. */
export function sendProblem(reply: FastifyReply, problem: Problem): void {
  void reply
    .code(problem.status)
    .headers({ ...problem.options.headers, 'cache-control': 'no-store' })
    .type('application/problem+json')
    .send(JSON.stringify(problem));
}
