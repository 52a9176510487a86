import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Clock } from '../core/clock.js';
import { LIMITS } from './limits.js';
import type { DaemonPort } from './port.js';
import { overloaded } from './problem.js';
import type { Query } from './query.js';

/** Diagnostics that people read; never secrets. */
export interface HttpLog {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** Where `GET /metrics` gets its text from. */
export interface MetricsText {
  text(): Promise<string>;
  readonly contentType: string;
}

/** What every resource is handed. */
export interface HttpContext {
  port: DaemonPort;
  clock: Clock;
  log: HttpLog;
  /** Aborted when the server begins to close: whoever waits then answers at once. */
  closing: AbortSignal;
}

/** Who asks: the token's name and role, or `anonymous` with every right when no authentication is configured. */
export interface Caller {
  name: string;
  role: 'reader' | 'operator';
}

/** What the server has established before a route answers. */
export interface Call {
  caller: Caller;
  query: Query;
}

/** Which callers a route admits. */
export type Access = 'open' | 'reader' | 'operator';

/** A JSON Schema (2020-12), as OpenAPI 3.1 uses it. */
export type Schema = Readonly<Record<string, unknown>>;

/** A query parameter that a route knows (every other one is refused), or a header that it reads. */
export interface QueryParameter {
  name: string;
  description: string;
  schema: Schema;
}

/** What a route answers with one status. */
export interface RouteResponse {
  description: string;
  /** Absent when there is no body. */
  content?: { type: string; schema: Schema };
  headers?: Readonly<Record<string, string>>;
}

/** One resource: the server registers it, `/openapi.json` describes it, and neither knows anything the other does not. */
export interface Route {
  methods: readonly ('GET' | 'HEAD' | 'POST' | 'DELETE')[];
  /** With parameters as OpenAPI writes them: `/v1/gates/{migration}/{gate}`. */
  path: string;
  access: Access;
  operationId: string;
  tag: string;
  summary: string;
  query: readonly QueryParameter[];
  /** Headers that change what is done. */
  headers?: readonly QueryParameter[];
  /** The body: described by a schema (it may be left out when no field is required), or taken and ignored whatever its type. */
  body?: Schema | 'ignored';
  responses: Readonly<Record<number, RouteResponse>>;
  /** Answers by `reply`, or throws a Problem. */
  handle(request: FastifyRequest, reply: FastifyReply, call: Call): void | Promise<void>;
}

/** The value of a path parameter; the router has made sure that it is there. */
export function pathParameter(request: FastifyRequest, name: string): string {
  return (request.params as Record<string, string>)[name] ?? '';
}

/** Refuses an operator's action (503) while the journal cannot be written: what is not journaled is not done. */
export function demandStore(port: DaemonPort): void {
  if (port.storeWritable()) return;
  const detail = 'the journal cannot be written now, and what is not journaled is not done';
  throw overloaded('store_not_writable', detail, LIMITS.retryAfterSeconds);
}

/** Sends JSON that must not be cached. */
export function sendJson(reply: FastifyReply, status: number, body: unknown): void {
  void reply
    .code(status)
    .headers({ 'cache-control': 'no-store', 'content-type': 'application/json; charset=utf-8' })
    .send(JSON.stringify(body));
}

/** A successful answer in JSON whose schema is the component `name`. */
export function jsonResponse(description: string, name: string): RouteResponse {
  return { description, content: { type: 'application/json', schema: ref(name) } };
}

/** A reference to a component schema. */
export function ref(name: string): Schema {
  return { $ref: `#/components/schemas/${name}` };
}
