import type { FastifyReply } from 'fastify';
import { answerVerdict } from './check.js';
import { gateId, gatePaths, VERDICT_RESPONSES } from './gates.js';
import { LIMITS } from './limits.js';
import type { VerdictJson } from './port.js';
import { notFound, overloaded } from './problem.js';
import { readDuration } from './query.js';
import type { HttpContext, Route } from './route.js';

/** Clients that wait for a gate to open; their number is bounded, and closing the server answers them all. */
export class Waiters {
  readonly #context: HttpContext;
  readonly #max: number;
  #count = 0;

  constructor(context: HttpContext, max: number = LIMITS.waiters) {
    this.#context = context;
    this.#max = max;
  }

  get count(): number {
    return this.#count;
  }

  routes(): Route[] {
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
        const verdict = await this.#wait(id, timeoutMs ?? LIMITS.waitDefaultMs, reply);
        // Unless the client has gone, and there is nobody to answer.
        reply.hijack();
        if (reply.raw.destroyed) return;
        answerVerdict(reply.raw, verdict, JSON.stringify(verdict), this.#context.closing.aborted);
      },
    }));
  }

  async #wait(id: string, timeoutMs: number, reply: FastifyReply): Promise<VerdictJson> {
    const { port, clock, closing } = this.#context;
    const now = this.#verdict(id);
    if (now.open || closing.aborted) return now;
    if (this.#count >= this.#max) {
      throw overloaded('too_many_waiters', 'too many clients are waiting; ask check instead', LIMITS.retryAfterSeconds);
    }
    this.#count += 1;
    const done = new AbortController();
    const finish = (): void => done.abort();
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
    reply.raw.once('close', finish);
    closing.addEventListener('abort', finish, { once: true });
    try {
      await clock.sleep(timeoutMs, done.signal);
      return seen.verdict ?? this.#verdict(id);
    } finally {
      finish();
      unsubscribe();
      reply.raw.off('close', finish);
      closing.removeEventListener('abort', finish);
      this.#count -= 1;
    }
  }

  #verdict(id: string): VerdictJson {
    const verdict = this.#context.port.verdict(id);
    if (verdict === undefined) throw notFound('gate', id);
    return verdict;
  }
}
