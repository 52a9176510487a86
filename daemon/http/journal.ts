import { Problem } from './problem.js';
import { cursor, PAGE_PARAMETERS, readPage } from './paging.js';
import type { HttpContext, Route } from './route.js';
import { jsonResponse, sendJson } from './route.js';

/** What happened, with its evidence, oldest first. */
export function journalRoutes({ port }: HttpContext): Route[] {
  const filters = ['kind', 'migration', 'gate'] as const;
  const parameters = [
    ...PAGE_PARAMETERS,
    ...filters.map((name) => ({ name, description: `Only entries of this ${name}`, schema: { type: 'string' } })),
    {
      name: 'order',
      description: '`newest`: of all that match the newest, up to the limit; they come oldest first all the same',
      schema: { type: 'string', enum: ['newest'] },
    },
  ];
  return [
    {
      methods: ['GET', 'HEAD'],
      path: '/v1/journal',
      access: 'reader',
      operationId: 'readJournal',
      tag: 'journal',
      summary: 'The journal, oldest first, in pages',
      query: parameters,
      responses: { 200: jsonResponse('A page of the journal', 'Journal') },
      handle(_request, reply, { query }) {
        const page = readPage(query);
        const { kind, migration, gate, order } = query;
        if (order !== undefined && order !== 'newest')
          throw new Problem(400, 'invalid_order', 'order can only be `newest`');
        const entries = port.journal({
          ...page,
          ...(kind === undefined ? {} : { kind }),
          ...(migration === undefined ? {} : { migration }),
          ...(gate === undefined ? {} : { gate }),
          ...(order === undefined ? {} : { newest: true }),
        });
        sendJson(reply, 200, {
          entries: entries.map(({ at, ...rest }) => ({ ...rest, at: new Date(at).toISOString() })),
          next: cursor(entries, page.limit),
        });
      },
    },
  ];
}
