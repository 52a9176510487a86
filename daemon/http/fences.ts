import type { FastifyReply } from 'fastify';
import { US_PER_MS } from '../core/clock.js';
import { BodyFields } from './body.js';
import { LIMITS } from './limits.js';
import type { DaemonPort, FenceJson } from './port.js';
import { notFound } from './problem.js';
import { readDuration } from './query.js';
import type { HttpContext, Route, Schema } from './route.js';
import { demandStore, jsonResponse, pathParameter, sendJson } from './route.js';
import type { Stay, WaitingRoom } from './waiting-room.js';

const BODY: Schema = {
  type: 'object',
  properties: {
    deadline: {
      type: 'string',
      default: '60s',
      description: 'A duration with its unit, 1s to 1h; a fence that is not drained by then has expired',
    },
    note: { type: 'string', maxLength: LIMITS.noteLength, description: 'One line for the journal' },
  },
  additionalProperties: false,
};

const FENCES = '/v1/migrations/{migration}/fences';

/** Fences: has the target everything that the source had when writes stopped? */
export function fenceRoutes(context: HttpContext, room: WaitingRoom): Route[] {
  const { port, log } = context;
  return [
    {
      methods: ['POST'],
      path: FENCES,
      access: 'operator',
      operationId: 'placeFence',
      tag: 'fences',
      summary: 'Places a fence, after writes were stopped: it records where the source stands and watches it arrive',
      query: [],
      body: BODY,
      responses: {
        201: { ...jsonResponse('The fence', 'Fence'), headers: { Location: 'Where to ask for it' } },
      },
      async handle(request, reply, { caller }) {
        const migration = knownMigration(port, pathParameter(request, 'migration'));
        // Both fields may be left out, and so may the body.
        const fields = new BodyFields(request.body === undefined ? {} : request.body, ['deadline', 'note']);
        const deadlineMs = readDeadline(fields);
        const note = fields.has('note') ? readNote(fields) : '';
        demandStore(port);
        const fence = await port.placeFence(migration, { deadlineMs, note, actor: caller.name });
        log.info({ migration, fence: fence.id, actor: caller.name }, 'fence placed');
        const location = `/v1/migrations/${encodeURIComponent(migration)}/fences/${encodeURIComponent(fence.id)}`;
        sendJson(reply.header('location', location), 201, fence);
      },
    },
    {
      methods: ['GET', 'HEAD'],
      path: FENCES,
      access: 'reader',
      operationId: 'listFences',
      tag: 'fences',
      summary: 'The newest fences of a migration, newest first',
      query: [],
      responses: { 200: jsonResponse('The fences', 'Fences') },
      async handle(request, reply) {
        const migration = knownMigration(port, pathParameter(request, 'migration'));
        sendJson(reply, 200, { fences: await port.fences(migration) });
      },
    },
    {
      methods: ['GET'],
      path: `${FENCES}/{fence}`,
      access: 'reader',
      operationId: 'getFence',
      tag: 'fences',
      summary: 'A fence as it can be proved now, always with status 200: read its state',
      query: [
        {
          name: 'wait',
          description: 'With its unit, at most 10m: answers when the state is no longer placed, else at the timeout',
          schema: { type: 'string', default: '0s' },
        },
      ],
      responses: { 200: jsonResponse('The fence, whatever its state', 'Fence') },
      async handle(request, reply, { query }) {
        const waitMs = readDuration(query, 'wait', { minMs: 0, maxMs: LIMITS.waitMaxMs }) ?? 0;
        const migration = knownMigration(port, pathParameter(request, 'migration'));
        const fence = await decided(context, room, { migration, id: pathParameter(request, 'fence'), waitMs, reply });
        if (reply.raw.destroyed) {
          // The client has gone, and there is nobody to answer.
          reply.hijack();
          return;
        }
        if (context.closing.aborted) reply.header('connection', 'close');
        sendJson(reply, 200, fence);
      },
    },
    {
      methods: ['DELETE'],
      path: `${FENCES}/{fence}`,
      access: 'operator',
      operationId: 'cancelFence',
      tag: 'fences',
      summary: 'Cancels an open fence: writes may go on as before',
      query: [],
      // Some clients name a type with every request, or send an empty body.
      body: 'ignored',
      responses: { 200: jsonResponse('The cancelled fence', 'Fence') },
      async handle(request, reply, { caller }) {
        const migration = knownMigration(port, pathParameter(request, 'migration'));
        const id = pathParameter(request, 'fence');
        demandStore(port);
        const fence = await port.cancelFence(migration, id, caller.name);
        if (fence === undefined) throw notFound('fence', id);
        log.info({ migration, fence: id, actor: caller.name }, 'fence cancelled');
        sendJson(reply, 200, fence);
      },
    },
  ];
}

/** The name, or a Problem (404) when there is no such migration. */
export function knownMigration(port: DaemonPort, name: string): string {
  if (!port.migrations().includes(name)) throw notFound('migration', name);
  return name;
}

function readDeadline(fields: BodyFields): number {
  const given = fields.has('deadline') ? { deadline: fields.text('deadline') } : {};
  const bounds = { minMs: LIMITS.fenceDeadlineMinMs, maxMs: LIMITS.fenceDeadlineMaxMs };
  return readDuration(given, 'deadline', bounds) ?? LIMITS.fenceDeadlineDefaultMs;
}

function readNote(fields: BodyFields): string {
  return fields.text('note').trim() === '' ? '' : fields.line('note', LIMITS.noteLength);
}

/** The fence as soon as it is decided (no longer placed), or at the timeout, or at once when the server closes. */
async function decided(
  { port, clock, closing }: HttpContext,
  room: WaitingRoom,
  asked: { migration: string; id: string; waitMs: number; reply: FastifyReply },
): Promise<FenceJson> {
  const { migration, id, waitMs, reply } = asked;
  const until = clock.monotonicNow() + waitMs * US_PER_MS;
  let changed = new AbortController();
  let stay: Stay | null = null;
  const unsubscribe = port.onFence(migration, () => changed.abort());
  try {
    for (;;) {
      // Before the question, so that a change while it is being answered is not slept through.
      changed = new AbortController();
      const fence = await port.fence(migration, id);
      if (fence === undefined) throw notFound('fence', id);
      const leftMs = (until - clock.monotonicNow()) / US_PER_MS;
      if (fence.state !== 'placed' || leftMs <= 0 || closing.aborted || reply.raw.destroyed) return fence;
      stay ??= room.enter(reply, 'ask without wait instead');
      await clock.sleep(leftMs, AbortSignal.any([changed.signal, stay.over]));
      // Asking the databases once more would hold up the end, and that it is placed was true just now.
      if (stay.over.aborted) return fence;
    }
  } finally {
    unsubscribe();
    stay?.leave();
  }
}
