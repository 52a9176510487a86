import { LIMITS } from './limits.js';
import { notFound, overloaded, Problem } from './problem.js';
import type { HttpContext, Route, Schema } from './route.js';
import { jsonResponse, pathParameter, sendJson } from './route.js';

const NAME = /^[a-z0-9][a-z0-9-]{0,62}$/;
/** Control characters, line separators and the marks that reorder text: they would let a note forge the journal's look. */
const UNPRINTABLE = /[\p{Cc}\p{Cs}\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/u;

const BODY: Schema = {
  type: 'object',
  properties: {
    by: { type: 'string', minLength: 1, maxLength: LIMITS.byLength, description: 'Who vouches for it' },
    note: { type: 'string', minLength: 1, maxLength: LIMITS.noteLength, description: 'What was checked, and how' },
  },
  required: ['by', 'note'],
  additionalProperties: false,
};

/** Someone's word for something that lockgate cannot see. */
export function attestationRoutes({ port, log }: HttpContext): Route[] {
  return [
    {
      methods: ['POST'],
      path: '/v1/migrations/{migration}/attestations/{name}',
      access: 'operator',
      operationId: 'attest',
      tag: 'attestations',
      summary: 'Attests something by hand; it is journaled, and attest.NAME.age starts from 0',
      query: [],
      body: BODY,
      responses: { 201: jsonResponse('The attestation as it was journaled', 'Attestation') },
      handle(request, reply, { caller }) {
        const migration = pathParameter(request, 'migration');
        const name = pathParameter(request, 'name');
        if (port.migration(migration) === undefined) throw notFound('migration', migration);
        if (!NAME.test(name)) {
          throw new Problem(400, 'invalid_name', `the name of an attestation must match ${NAME.source}`);
        }
        const fields = readFields(request.body, { by: LIMITS.byLength, note: LIMITS.noteLength });
        if (!port.storeWritable()) {
          const detail = 'the journal cannot be written now, and what is not journaled is not done';
          throw overloaded('store_not_writable', detail, LIMITS.retryAfterSeconds);
        }
        const done = port.attest(migration, name, fields.by, fields.note, caller.name);
        log.info({ migration, name, by: fields.by, actor: caller.name }, 'attested');
        sendJson(reply, 201, { ...done, at: new Date(done.at).toISOString() });
      },
    },
  ];
}

/** Reads a JSON object of required one-line strings; refuses every other field, so that none is silently dropped. */
function readFields<K extends string>(body: unknown, maxLengths: Readonly<Record<K, number>>): Record<K, string> {
  const names = Object.keys(maxLengths) as K[];
  const refuse = (detail: string): never => {
    throw new Problem(400, 'invalid_body', detail);
  };
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    return refuse(`the body must be a JSON object with ${names.join(' and ')}`);
  }
  const surplus = Object.keys(body).find((key) => !(names as string[]).includes(key));
  if (surplus !== undefined) refuse(`unknown field ${JSON.stringify(surplus)}: known are ${names.join(', ')}`);
  const given = new Map(Object.entries(body as Record<string, unknown>));
  return Object.fromEntries(
    names.map((name) => {
      const value = given.get(name);
      if (typeof value !== 'string') return refuse(`${name} must be a string`);
      const text = value.trim();
      if (text === '') refuse(`${name} must not be empty`);
      if (text.length > maxLengths[name]) refuse(`${name} must have at most ${maxLengths[name]} characters`);
      if (UNPRINTABLE.test(text)) refuse(`${name} must be one line of printable text`);
      return [name, text];
    }),
  ) as Record<K, string>;
}
