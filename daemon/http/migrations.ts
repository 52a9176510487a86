import { LIMITS } from './limits.js';
import { notFound, Problem } from './problem.js';
import { readDuration, readInstant } from './query.js';
import type { HttpContext, Route } from './route.js';
import { jsonResponse, pathParameter, sendJson } from './route.js';

const SECOND_MS = 1_000;

/** The migrations, their signals, and the recent past of a signal. */
export function migrationRoutes({ port, clock }: HttpContext): Route[] {
  return [
    {
      methods: ['GET', 'HEAD'],
      path: '/v1/migrations',
      access: 'reader',
      operationId: 'listMigrations',
      tag: 'migrations',
      summary: 'Every migration with its links, sides and gates',
      query: [],
      responses: { 200: jsonResponse('The migrations', 'Migrations') },
      handle(_request, reply) {
        sendJson(reply, 200, { migrations: port.migrations().flatMap((name) => port.migration(name) ?? []) });
      },
    },
    {
      methods: ['GET', 'HEAD'],
      path: '/v1/migrations/{migration}',
      access: 'reader',
      operationId: 'getMigration',
      tag: 'migrations',
      summary: 'One migration with its links, sides and gates',
      query: [],
      responses: { 200: jsonResponse('The migration', 'Migration') },
      handle(request, reply) {
        const name = pathParameter(request, 'migration');
        const migration = port.migration(name);
        if (migration === undefined) throw notFound('migration', name);
        sendJson(reply, 200, migration);
      },
    },
    {
      methods: ['GET', 'HEAD'],
      path: '/v1/migrations/{migration}/signals',
      access: 'reader',
      operationId: 'listSignals',
      tag: 'signals',
      summary: 'Every signal of a migration as it stands now',
      query: [],
      responses: { 200: jsonResponse('The signals', 'Signals') },
      handle(request, reply) {
        const name = pathParameter(request, 'migration');
        const signals = port.signals(name);
        if (signals === undefined) throw notFound('migration', name);
        sendJson(reply, 200, { signals });
      },
    },
    {
      methods: ['GET', 'HEAD'],
      path: '/v1/migrations/{migration}/signals/{signal}/history',
      access: 'reader',
      operationId: 'getSignalHistory',
      tag: 'signals',
      summary: 'The recent past of a signal in equal steps, for charts; a null is a gap',
      query: [
        {
          name: 'since',
          description: 'RFC 3339; default an hour ago, clamped to the last 7 days',
          schema: { type: 'string', format: 'date-time' },
        },
        {
          name: 'step',
          description: `Duration of a step, such as 15s; default a ${LIMITS.historyPointsDefault}th of the time asked for`,
          schema: { type: 'string' },
        },
      ],
      responses: { 200: jsonResponse('The history', 'SignalHistory') },
      handle(request, reply, { query }) {
        const now = clock.wallNow();
        const since = Math.max(readInstant(query, 'since') ?? now - LIMITS.historyDefaultMs, now - LIMITS.historyMaxMs);
        const rangeMs = Math.max(0, now - since);
        const usualMs = Math.max(1, Math.ceil(rangeMs / LIMITS.historyPointsDefault / SECOND_MS)) * SECOND_MS;
        const stepMs = readDuration(query, 'step', { minMs: SECOND_MS, maxMs: 86_400_000 }) ?? usualMs;
        if (stepMs % SECOND_MS !== 0) throw new Problem(400, 'invalid_duration', 'step must be whole seconds');
        if (rangeMs / stepMs > LIMITS.historyPointsMax) {
          const detail = `that is more than ${LIMITS.historyPointsMax} points: ask for a longer step or a later since`;
          throw new Problem(400, 'too_many_points', detail);
        }
        const migration = pathParameter(request, 'migration');
        const signal = pathParameter(request, 'signal');
        const found = port.signals(migration);
        if (found === undefined) throw notFound('migration', migration);
        const points = port.history(migration, signal, since, stepMs / SECOND_MS);
        if (points === undefined) throw notFound('signal', signal);
        const unit = found.find((s) => s.name === signal)?.unit ?? null;
        sendJson(reply, 200, { signal, unit, step_seconds: stepMs / SECOND_MS, points });
      },
    },
  ];
}
