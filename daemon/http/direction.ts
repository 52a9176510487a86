import type { FastifyRequest } from 'fastify';
import { BodyFields } from './body.js';
import { knownMigration } from './fences.js';
import { LIMITS } from './limits.js';
import { Problem } from './problem.js';
import type { HttpContext, Route, Schema } from './route.js';
import { demandStore, jsonResponse, pathParameter, sendJson } from './route.js';

const DIRECTIONS = ['forward', 'reverse'] as const;

const BODY: Schema = {
  type: 'object',
  properties: {
    reason: { type: 'string', minLength: 1, maxLength: LIMITS.reasonLength, description: 'One line for the journal' },
    expect: { type: 'string', enum: DIRECTIONS, description: 'The direction that you believe is the present one' },
    force: {
      type: 'boolean',
      default: false,
      description: 'Without a drained fence, in an emergency: what has not arrived yet may be lost',
    },
  },
  required: ['reason', 'expect'],
  additionalProperties: false,
};

const HEADER = 'idempotency-key';
const KEY = new RegExp(`^[\\x20-\\x7e]{1,${LIMITS.idempotencyKeyLength}}$`);

/** Declaring that writes belong on the other side now. */
export function directionRoutes({ port, log }: HttpContext): Route[] {
  const actions = {
    promote: 'Declares that the target is written to from now on: closes the drained fence, turns the direction',
    rollback: 'Declares that the source is written to again: closes the drained fence, turns the direction back',
  };
  return (['promote', 'rollback'] as const).map((action) => ({
    methods: ['POST'],
    path: `/v1/migrations/{migration}/${action}`,
    access: 'operator',
    operationId: action,
    tag: 'direction',
    summary: actions[action],
    query: [],
    headers: [
      {
        name: 'Idempotency-Key',
        description: 'Printable ASCII; the same key gets the first answer again, and nothing is done twice',
        schema: { type: 'string', minLength: 1, maxLength: LIMITS.idempotencyKeyLength },
      },
    ],
    body: BODY,
    responses: { 200: jsonResponse('What was changed', 'DirectionChange') },
    async handle(request, reply, { caller }) {
      const migration = knownMigration(port, pathParameter(request, 'migration'));
      const fields = new BodyFields(request.body, ['reason', 'expect', 'force']);
      const asked = {
        reason: fields.line('reason', LIMITS.reasonLength),
        expect: fields.choice('expect', DIRECTIONS),
        force: fields.flag('force'),
      };
      const idempotencyKey = readKey(request);
      demandStore(port);
      const done = await port.changeDirection({ migration, action, ...asked, actor: caller.name, idempotencyKey });
      const { direction, epoch, forced } = done;
      log.warn({ migration, action, direction, epoch, forced, actor: caller.name }, 'direction declared');
      sendJson(reply, 200, done);
    },
  }));
}

/** The Idempotency-Key; null without one. Node would join a repeated one to a key that nobody sent. */
function readKey(request: FastifyRequest): string | null {
  const given = request.raw.headersDistinct[HEADER];
  if (given === undefined) return null;
  const [key, ...more] = given;
  if (key !== undefined && more.length === 0 && KEY.test(key)) return key;
  const detail = `Idempotency-Key must be given once, with 1 to ${LIMITS.idempotencyKeyLength} printable ASCII characters`;
  throw new Problem(400, 'invalid_idempotency_key', detail);
}
