import { BodyFields } from './body.js';
import { LIMITS } from './limits.js';
import { notFound, Problem } from './problem.js';
import type { HttpContext, Route, Schema } from './route.js';
import { demandStore, jsonResponse, pathParameter, sendJson } from './route.js';

const NAME = /^[a-z0-9][a-z0-9-]{0,62}$/;

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
        const fields = new BodyFields(request.body, ['by', 'note']);
        const by = fields.line('by', LIMITS.byLength);
        const note = fields.line('note', LIMITS.noteLength);
        demandStore(port);
        const done = port.attest(migration, name, by, note, caller.name);
        log.info({ migration, name, by, actor: caller.name }, 'attested');
        sendJson(reply, 201, { ...done, at: new Date(done.at).toISOString() });
      },
    },
  ];
}
