import type { Route, RouteResponse, Schema } from './route.js';
import { ref, sendJson } from './route.js';
import { SCHEMAS } from './schemas.js';

/** The path of the document itself. */
export const OPENAPI_PATH = '/openapi.json';

const PROBLEM: RouteResponse = {
  description: 'Any error',
  content: { type: 'application/problem+json', schema: ref('Problem') },
};

/** Describes the routes as OpenAPI 3.1; `routes` must be the very table that the server registers. */
export function describe(routes: readonly Route[], version: string): Record<string, unknown> {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of routes) {
    const item = (paths[route.path] ??= {});
    for (const method of route.methods) item[method.toLowerCase()] = operation(route, method);
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'lockgate',
      version,
      summary: 'Opens a gate only when both sides of a migration are level.',
      description:
        'GET /v1/gates/… answers 200 whatever the verdict; clients that act on the status use …/check. ' +
        'Times are RFC 3339, durations in answers are seconds.',
    },
    paths,
    components: {
      schemas: SCHEMAS,
      securitySchemes: {
        bearer: {
          type: 'http',
          scheme: 'bearer',
          description: 'A token of the configuration, of role reader or operator; not asked for without daemon.auth.',
        },
      },
    },
  };
}

/** The route that serves the document, which describes itself too. */
export function openapiRoute(others: readonly Route[], version: string): Route {
  const route: Route = {
    methods: ['GET', 'HEAD'],
    path: OPENAPI_PATH,
    access: 'reader',
    operationId: 'getOpenApi',
    tag: 'openapi',
    summary: 'This document',
    query: [],
    responses: {
      200: { description: 'OpenAPI 3.1', content: { type: 'application/json', schema: { type: 'object' } } },
    },
    handle(_request, reply) {
      sendJson(reply, 200, document);
    },
  };
  const document = describe([...others, route], version);
  return route;
}

function operation(route: Route, method: Route['methods'][number]): Record<string, unknown> {
  const inPath = [...route.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }));
  const inQuery = route.query.map((p) => ({ ...p, in: 'query', required: false }));
  const inHeader = (route.headers ?? []).map((p) => ({ ...p, in: 'header', required: false }));
  const ids = { GET: '', HEAD: 'Head', POST: route.methods.length > 1 ? 'Post' : '', DELETE: '' };
  return {
    operationId: `${route.operationId}${ids[method]}`,
    summary: route.summary,
    tags: [route.tag],
    ...(route.access === 'open' ? { security: [] } : { security: [{ bearer: [] }], 'x-lockgate-role': route.access }),
    parameters: [...inPath, ...inQuery, ...inHeader],
    ...(method === 'POST' && route.body !== undefined ? { requestBody: requestBody(route.body) } : {}),
    responses: {
      ...Object.fromEntries(Object.entries(route.responses).map(([status, r]) => [status, response(r, method)])),
      default: response(PROBLEM, method),
    },
  };
}

function requestBody(body: Schema | 'ignored'): Record<string, unknown> {
  return body === 'ignored'
    ? { required: false, description: 'Taken and ignored, of any type', content: { '*/*': {} } }
    : { required: body['required'] !== undefined, content: { 'application/json': { schema: body } } };
}

function response(r: RouteResponse, method: string): Record<string, unknown> {
  const headers = Object.entries(r.headers ?? {}).map(([name, description]) => [
    name,
    { description, schema: { type: 'string' } },
  ]);
  return {
    description: r.description,
    ...(headers.length === 0 ? {} : { headers: Object.fromEntries(headers) as Record<string, unknown> }),
    ...(r.content === undefined || method === 'HEAD'
      ? {}
      : { content: { [r.content.type]: { schema: r.content.schema } } }),
  };
}
