import { Problem } from './problem.js';
import type { HttpContext, Route } from './route.js';
import { jsonResponse, sendJson } from './route.js';

/** Is the process alive, and is it of use? Neither depends on lag or on a database. */
export function healthRoutes({ port, closing }: HttpContext): Route[] {
  const health = (path: string, operationId: string, summary: string): Omit<Route, 'handle'> => ({
    methods: ['GET', 'HEAD'],
    path,
    access: 'open',
    operationId,
    tag: 'health',
    summary,
    query: [],
    responses: { 200: jsonResponse('Yes', 'Health') },
  });
  return [
    {
      ...health('/livez', 'isAlive', 'The process runs'),
      handle(_request, reply) {
        sendJson(reply, 200, { status: 'ok' });
      },
    },
    {
      ...health('/readyz', 'isReady', 'Configured and collecting, and not shutting down'),
      handle(_request, reply) {
        const reasons = closing.aborted ? ['shutting down'] : port.notReady();
        if (reasons.length > 0) throw new Problem(503, 'not_ready', reasons.join('; '), { extra: { reasons } });
        sendJson(reply, 200, { status: 'ok' });
      },
    },
  ];
}
