import type { FastifyRequest } from 'fastify';
import { answerState, answerVerdict } from './check.js';
import { cursor, PAGE_PARAMETERS, readPage } from './paging.js';
import { notFound } from './problem.js';
import type { HttpContext, Route, RouteResponse } from './route.js';
import { jsonResponse, sendJson } from './route.js';

/** The answers that `check` and `wait` share. */
export const VERDICT_RESPONSES: Readonly<Record<number, RouteResponse>> = {
  200: jsonResponse('The gate is open', 'Verdict'),
  409: {
    ...jsonResponse('The gate is closed', 'Verdict'),
    headers: { 'Retry-After': 'Whole seconds until the gate could open, when that is known' },
  },
  503: jsonResponse('The state of the gate is unknown: neither go nor a reason to go back', 'Verdict'),
};

/** Both paths of a gate's resource: within a migration, and for gates across migrations. */
export function gatePaths(suffix: string): { path: string; scope: 'Gate' | 'TopLevelGate' }[] {
  return [
    { path: `/v1/gates/{migration}/{gate}${suffix}`, scope: 'Gate' },
    { path: `/v1/gates/{gate}${suffix}`, scope: 'TopLevelGate' },
  ];
}

/** The gate's id from the path: `shop/flip-writes`, or a bare name at top level. */
export function gateId(request: FastifyRequest): string {
  const { migration, gate } = request.params as { migration?: string; gate: string };
  return migration === undefined ? gate : `${migration}/${gate}`;
}

/** The gates: their verdicts, the check that answers by status, and their transitions. */
export function gateRoutes({ port, closing }: HttpContext): Route[] {
  const routes: Route[] = [
    {
      methods: ['GET', 'HEAD'],
      path: '/v1/gates',
      access: 'reader',
      operationId: 'listGates',
      tag: 'gates',
      summary: 'The verdict of every gate',
      query: [],
      responses: { 200: jsonResponse('The verdicts', 'Gates') },
      handle(_request, reply) {
        sendJson(reply, 200, { gates: port.gates().flatMap((id) => port.verdict(id) ?? []) });
      },
    },
  ];
  for (const { path, scope } of gatePaths('')) {
    routes.push({
      methods: ['GET', 'HEAD'],
      path,
      access: 'reader',
      operationId: `get${scope}`,
      tag: 'gates',
      summary: 'The verdict, always with status 200: clients that act on the status use check',
      query: [],
      responses: { 200: jsonResponse('The verdict, whatever it is', 'Verdict') },
      handle(request, reply) {
        const id = gateId(request);
        const verdict = port.verdict(id);
        if (verdict === undefined) throw notFound('gate', id);
        sendJson(reply, 200, verdict);
      },
    });
  }
  for (const { path, scope } of gatePaths('/check')) {
    routes.push({
      methods: ['GET', 'HEAD', 'POST'],
      path,
      access: 'reader',
      operationId: `check${scope}`,
      tag: 'gates',
      summary: 'May I proceed? Answered by the status: 200 open, 409 closed, 503 unknown',
      query: [],
      body: 'ignored',
      responses: VERDICT_RESPONSES,
      handle(request, reply) {
        const id = gateId(request);
        if (request.raw.method === 'HEAD') {
          const found = port.gateState(id);
          if (found === undefined) throw notFound('gate', id);
          reply.hijack();
          answerState(reply.raw, found);
          return;
        }
        const verdict = port.verdict(id);
        if (verdict === undefined) throw notFound('gate', id);
        reply.hijack();
        answerVerdict(reply.raw, verdict, JSON.stringify(verdict), closing.aborted);
      },
    });
  }
  for (const { path, scope } of gatePaths('/history')) {
    routes.push({
      methods: ['GET', 'HEAD'],
      path,
      access: 'reader',
      operationId: `get${scope}History`,
      tag: 'gates',
      summary: 'The transitions of a gate with their evidence, oldest first',
      query: PAGE_PARAMETERS,
      responses: { 200: jsonResponse('The transitions', 'GateHistory') },
      handle(request, reply, { query }) {
        const page = readPage(query);
        const id = gateId(request);
        if (port.gateState(id) === undefined) throw notFound('gate', id);
        const slash = id.indexOf('/');
        const entries = port.journal({
          ...page,
          kind: 'gate',
          migration: slash < 0 ? null : id.slice(0, slash),
          gate: id.slice(slash + 1),
        });
        const transitions = entries.map((entry) => ({
          at: new Date(entry.at).toISOString(),
          from: entry.data['from'] ?? null,
          to: entry.data['to'] ?? null,
          verdict: entry.data['verdict'] ?? null,
          id: entry.id,
        }));
        sendJson(reply, 200, { transitions, next: cursor(entries, page.limit) });
      },
    });
  }
  return routes;
}
