import type { HttpContext, Route } from './route.js';
import { jsonResponse, sendJson } from './route.js';
import { notFound } from './problem.js';

/** The rules of alerts as they stand, and everyone who is told. */
export function alertRoutes({ port }: HttpContext): Route[] {
  return [
    {
      methods: ['GET', 'HEAD'],
      path: '/v1/alerts',
      access: 'reader',
      operationId: 'listAlerts',
      tag: 'alerts',
      summary: 'Every rule with what has become of it, and every sink with what waits for it',
      query: [{ name: 'migration', description: 'Only rules of this migration', schema: { type: 'string' } }],
      responses: { 200: jsonResponse('The alerts', 'Alerts') },
      handle(_request, reply, { query: { migration } }) {
        if (migration !== undefined && !port.migrations().includes(migration)) throw notFound('migration', migration);
        sendJson(reply, 200, port.alerts(migration));
      },
    },
  ];
}
