import { Refusal } from '../core/errors.js';
import { BodyFields } from './body.js';
import { knownMigration } from './fences.js';
import { LIMITS } from './limits.js';
import { notFound, Problem } from './problem.js';
import type { HttpContext, Route, Schema } from './route.js';
import { demandStore, jsonResponse, pathParameter, sendJson } from './route.js';

const VERIFY = '/v1/migrations/{migration}/verify';

const TABLE: Schema = { type: 'string', minLength: 1, description: 'As `GET …/verify` lists it: `public.orders`' };

const START: Schema = {
  type: 'object',
  properties: {
    tables: {
      type: 'array',
      minItems: 1,
      maxItems: LIMITS.verifyTables,
      items: TABLE,
      description: 'Only these tables; all that are selected when it is left out',
    },
  },
  additionalProperties: false,
};

const ROWS: Schema = {
  type: 'object',
  properties: {
    table: TABLE,
    keys: {
      type: 'array',
      minItems: 1,
      maxItems: LIMITS.verifyRows,
      items: { type: 'object', additionalProperties: { type: 'string' } },
      description: 'Keys as the mismatches of a table name them',
    },
  },
  required: ['table', 'keys'],
  additionalProperties: false,
};

/** Verification: do both sides hold the same? */
export function verifyRoutes({ port, log }: HttpContext): Route[] {
  return [
    {
      methods: ['POST'],
      path: VERIFY,
      access: 'operator',
      operationId: 'startVerify',
      tag: 'verification',
      summary: 'Starts a pass that compares the data of both sides; 409 with its id while one runs',
      query: [],
      body: START,
      responses: { 202: jsonResponse('The pass that was started', 'VerifyPass') },
      async handle(request, reply, { caller }) {
        const migration = knownMigration(port, pathParameter(request, 'migration'));
        const fields = new BodyFields(request.body === undefined ? {} : request.body, ['tables']);
        const tables = fields.has('tables') ? fields.texts('tables', LIMITS.verifyTables) : null;
        demandStore(port);
        const started = await port.startVerify(migration, { tables, actor: caller.name });
        log.info({ migration, pass: started.pass, actor: caller.name }, 'verification started');
        sendJson(reply, 202, started);
      },
    },
    {
      methods: ['GET', 'HEAD'],
      path: VERIFY,
      access: 'reader',
      operationId: 'getVerify',
      tag: 'verification',
      summary: 'The pass under way, the last one, and the newest comparison of every table',
      query: [],
      responses: { 200: jsonResponse('What is known of the data of both sides', 'Verification') },
      handle(request, reply) {
        const migration = pathParameter(request, 'migration');
        const found = port.verification(migration);
        if (found === undefined) throw notFound('migration', migration);
        sendJson(reply, 200, found);
      },
    },
    {
      methods: ['DELETE'],
      path: VERIFY,
      access: 'operator',
      operationId: 'stopVerify',
      tag: 'verification',
      summary: 'Ends the pass under way; what it has compared counts all the same',
      query: [],
      body: 'ignored',
      responses: { 200: jsonResponse('The pass that ends', 'VerifyPass') },
      async handle(request, reply, { caller }) {
        const migration = knownMigration(port, pathParameter(request, 'migration'));
        demandStore(port);
        const ended = await port.stopVerify(migration, caller.name);
        log.info({ migration, pass: ended.pass, actor: caller.name }, 'verification ended');
        sendJson(reply, 200, ended);
      },
    },
    {
      methods: ['POST'],
      path: `${VERIFY}/rows`,
      access: 'operator',
      operationId: 'showVerifyRows',
      tag: 'verification',
      summary: 'The values of rows on both sides, for a person who looks into a mismatch; they are kept nowhere',
      query: [],
      body: ROWS,
      responses: { 200: jsonResponse('The rows, in the order of the keys', 'VerifyRows') },
      async handle(request, reply) {
        const migration = knownMigration(port, pathParameter(request, 'migration'));
        const fields = new BodyFields(request.body, ['table', 'keys']);
        const table = fields.text('table');
        const keys = fields.records('keys', LIMITS.verifyRows);
        try {
          sendJson(reply, 200, { rows: await port.verifyRows(migration, table, keys) });
        } catch (error) {
          throw withoutLog(error);
        }
      },
    },
  ];
}

/** What went wrong, for whoever asked and not for the log: the message of a database may quote values. */
function withoutLog(error: unknown): Problem {
  if (error instanceof Problem) return error;
  if (error instanceof Refusal) {
    const { status, code, message, hint } = error;
    return new Problem(status, code, message, hint === null ? {} : { extra: { hint } });
  }
  return new Problem(500, 'rows_failed', 'the rows could not be read');
}
