import type { FastifyReply } from 'fastify';
import { answerVerdict } from './check.js';
import { gateId, gatePaths, VERDICT_RESPONSES } from './gates.js';
import { LIMITS } from './limits.js';
import type { DaemonPort, VerdictJson } from './port.js';
import { notFound } from './problem.js';
import { readDuration } from './query.js';
import type { HttpContext, Route } from './route.js';
import type { WaitingRoom } from './waiting-room.js';

/** Waiting for a gate to open. */
export function waitRoutes(context: HttpContext, room: WaitingRoom): Route[] {
  return gatePaths('/wait').map(({ path, scope }) => ({
    methods: ['GET'],
    path,
    access: 'reader',
    operationId: `waitFor${scope}`,
    tag: 'gates',
    summary: 'Answers as soon as the gate is open, else as check at the timeout',
    query: [
      {
        name: 'timeout',
        description: 'With its unit; above 0, at most 10m',
        schema: { type: 'string', default: '60s' },
      },
    ],
    responses: VERDICT_RESPONSES,
    handle: async (request, reply, { query }) => {
      const timeoutMs = readDuration(query, 'timeout', { minMs: 1, maxMs: LIMITS.waitMaxMs });
      const id = gateId(request);
      const verdict = await opened(context, room, id, timeoutMs ?? LIMITS.waitDefaultMs, reply);
      // Unless the client has gone, and there is nobody to answer.
      reply.hijack();
      if (reply.raw.destroyed) return;
      answerVerdict(reply.raw, verdict, JSON.stringify(verdict), context.closing.aborted);
    },
  }));
}

/** The verdict as soon as the gate is open, or at the timeout. */
async function opened(
  { port, clock, closing }: HttpContext,
  room: WaitingRoom,
  id: string,
  timeoutMs: number,
  reply: FastifyReply,
): Promise<VerdictJson> {
  const now = verdictOf(port, id);
  if (now.open || closing.aborted) return now;
  const stay = room.enter(reply, 'ask check instead');
  const done = new AbortController();
  const finish = (): void => done.abort();
  stay.over.addEventListener('abort', finish, { once: true });
  const seen: { verdict: VerdictJson | null } = { verdict: null };
  const unsubscribe = port.onGate(id, () => {
    if (done.signal.aborted) return;
    try {
      // The state first: it is cheap, and this runs four times a second for every waiter.
      const state = port.gateState(id)?.state;
      const verdict = state === 'open' || state === undefined ? port.verdict(id) : null;
      if (verdict === null || verdict?.open === false) return;
      // Open, or gone with a reload.
      seen.verdict = verdict ?? null;
    } catch {
      // The caller of this listener is the daemon's engine; the fault shows again, and is answered, when the wait ends.
    }
    finish();
  });
  try {
    await clock.sleep(timeoutMs, done.signal);
    return seen.verdict ?? verdictOf(port, id);
  } finally {
    finish();
    unsubscribe();
    stay.leave();
  }
}

function verdictOf(port: DaemonPort, id: string): VerdictJson {
  const verdict = port.verdict(id);
  if (verdict === undefined) throw notFound('gate', id);
  return verdict;
}
