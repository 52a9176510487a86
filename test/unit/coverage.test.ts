import { describe, expect, it } from 'vitest';
import { parseTablePattern, TableChooser } from '../../daemon/core/table-pattern.js';
import { catalogPauseMs, catalogRetryMs } from '../../collectors/session/catalog-watch.js';
import {
  judgeCoverage,
  judgeSyncing,
  judgeUnlogged,
  listed,
  nameKey,
  OPERATIONS,
  type CoverageFacts,
  type Membership,
  type Operation,
  type Publication,
  type SourceTable,
} from '../../collectors/postgres/coverage.js';

const table = (oid: number, name: string, more: Partial<SourceTable> = {}): SourceTable => ({
  oid,
  schema: 'public',
  name,
  partitioned: false,
  unlogged: false,
  parent: null,
  ...more,
});
const whole: Membership = { filtered: false, lacks: [] };
const publication = (
  name: string,
  more: Partial<Publication> & { operationsList?: Operation[] } = {},
): Publication => ({
  name,
  allTables: false,
  viaRoot: false,
  operations: new Set(more.operationsList ?? OPERATIONS),
  members: new Map(),
  schemas: new Set(),
  ...more,
});
const members = (...oids: number[]): Map<number, Membership> => new Map(oids.map((oid) => [oid, whole]));

interface Flow {
  publications: string[];
  tables: Record<string, string>;
}
const facts = (
  tables: SourceTable[],
  publications: Publication[],
  flows: Record<string, Flow | null>,
): CoverageFacts => ({
  from: 'onprem',
  to: 'aws',
  tables: new Map(tables.map((t) => [t.oid, t])),
  publications: new Map(publications.map((p) => [p.name, p])),
  flows: new Map(
    Object.entries(flows).map(([name, flow]) => [
      name,
      flow === null
        ? null
        : {
            publications: flow.publications,
            tables: new Map(
              Object.entries(flow.tables).map(([t, state]) => [
                nameKey('public', t),
                { schema: 'public', name: t, state },
              ]),
            ),
          },
    ]),
  ),
});
const uncovered = (f: CoverageFacts, chooser = new TableChooser(null)): string | null => {
  const judged = judgeCoverage(f, chooser);
  return judged.found === null ? `unknown: ${judged.reason}` : listed(judged.found);
};

describe('tables that a logical link does not carry whole', () => {
  const a = table(1, 'a');
  const one = (p: Publication, tables: Record<string, string> = { a: 'r' }): CoverageFacts =>
    facts([a], [p], { s: { publications: [p.name], tables } });

  it.each<[string, CoverageFacts, string | null]>([
    ['all is well', one(publication('p', { members: members(1) })), null],
    ['all tables', one(publication('p', { allTables: true })), null],
    ['its schema', one(publication('p', { schemas: new Set(['public']) })), null],
    [
      'another schema',
      one(publication('p', { schemas: new Set(['x']) })),
      'public.a: in no publication of this link (p)',
    ],
    ['no subscription', facts([a], [], { s: null }), 'public.a: there is no subscription "s" on aws'],
    [
      'not refreshed',
      one(publication('p', { allTables: true }), {}),
      'public.a: not known to the subscription: ALTER SUBSCRIPTION "s" REFRESH PUBLICATION',
    ],
    ['unlogged', facts([{ ...a, unlogged: true }], [publication('p', { allTables: true })], {}), 'public.a: unlogged'],
    [
      'without deletes',
      one(publication('p', { members: members(1), operationsList: ['insert', 'update'] })),
      'public.a: delete, truncate not published',
    ],
    [
      'a row filter',
      one(publication('p', { members: new Map([[1, { filtered: true, lacks: [] }]]) })),
      'public.a: row filter in p',
    ],
    [
      'a column list',
      one(publication('p', { members: new Map([[1, { filtered: false, lacks: ['note', 'x'] }]]) })),
      'public.a: column list of p lacks note, x',
    ],
    [
      'a filter in one publication, none in another of the same subscription',
      facts(
        [a],
        [
          publication('p', { members: new Map([[1, { filtered: true, lacks: [] }]]) }),
          publication('q', { members: members(1) }),
        ],
        { s: { publications: ['p', 'q'], tables: { a: 'r' } } },
      ),
      null,
    ],
    [
      'a filter, and the other publication carries inserts only',
      facts(
        [a],
        [
          publication('p', { members: new Map([[1, { filtered: true, lacks: [] }]]) }),
          publication('q', { members: members(1), operationsList: ['insert'] }),
        ],
        { s: { publications: ['p', 'q'], tables: { a: 'r' } } },
      ),
      'public.a: row filter in p',
    ],
    [
      'two subscriptions that share the operations',
      facts(
        [a],
        [
          publication('p', { members: members(1), operationsList: ['insert', 'update'] }),
          publication('q', { members: members(1), operationsList: ['delete', 'truncate'] }),
        ],
        { s: { publications: ['p'], tables: { a: 'r' } }, t: { publications: ['q'], tables: { a: 'r' } } },
      ),
      null,
    ],
    [
      'the one subscription that would complete it was not refreshed',
      facts(
        [a],
        [
          publication('p', { members: members(1), operationsList: ['insert', 'update'] }),
          publication('q', { members: members(1), operationsList: ['delete', 'truncate'] }),
        ],
        { s: { publications: ['p'], tables: { a: 'r' } }, t: { publications: ['q'], tables: {} } },
      ),
      'public.a: delete, truncate not published',
    ],
    [
      'a publication that is gone',
      one(publication('other'), { a: 'r' }),
      'public.a: in no publication of this link (other)',
    ],
  ])('%s', (_, given, wanted) => {
    expect(uncovered(given)).toBe(wanted);
  });

  const root = table(10, 'root', { partitioned: true });
  const middle = table(11, 'middle', { partitioned: true, parent: 10 });
  const leaf = table(12, 'leaf', { parent: 11 });
  const other = table(13, 'other', { parent: 10 });
  const tree = [root, middle, leaf, other];
  const parts = (p: Publication[], tables: string[]): CoverageFacts =>
    facts(tree, p, {
      s: { publications: p.map(({ name }) => name), tables: Object.fromEntries(tables.map((t) => [t, 'r'])) },
    });
  const filter = (oid: number): Map<number, Membership> => new Map([[oid, { filtered: true, lacks: [] }]]);

  it.each<[string, CoverageFacts, RegExp | null]>([
    ['by the root, as partitions', parts([publication('p', { members: members(10) })], ['leaf', 'other']), null],
    [
      'by the root, one partition not refreshed',
      parts([publication('p', { members: members(10) })], ['leaf']),
      /^public\.root: partition public\.other: not known/,
    ],
    ['by the root, as the root', parts([publication('p', { members: members(10), viaRoot: true })], ['root']), null],
    [
      'by the root, as the root, but known as partitions',
      parts([publication('p', { members: members(10), viaRoot: true })], ['leaf', 'other']),
      /not known.*and 1 more of 2 partitions/,
    ],
    [
      'by a middle one and a leaf, as such',
      parts([publication('p', { members: members(11, 13), viaRoot: true })], ['middle', 'other']),
      null,
    ],
    [
      'by the partitions, as themselves',
      parts([publication('p', { members: members(12, 13), viaRoot: true })], ['leaf', 'other']),
      null,
    ],
    [
      'one partition only',
      parts([publication('p', { members: members(12) })], ['leaf']),
      /partition public\.other: in no publication/,
    ],
    ['all tables', parts([publication('p', { allTables: true })], ['leaf', 'other']), null],
    ['all tables as roots', parts([publication('p', { allTables: true, viaRoot: true })], ['root']), null],
    [
      'two publications: the topmost name counts',
      parts(
        [publication('p', { members: members(12, 13) }), publication('q', { members: members(10), viaRoot: true })],
        ['root'],
      ),
      null,
    ],
    [
      'two publications: only the lower name is known',
      parts(
        [publication('p', { members: members(12, 13) }), publication('q', { members: members(10), viaRoot: true })],
        ['leaf', 'other'],
      ),
      /not known/,
    ],
    [
      'two publications: the filter of the topmost counts, and the lower one does not lift it',
      parts(
        [publication('p', { members: members(12, 13) }), publication('q', { members: filter(10), viaRoot: true })],
        ['root'],
      ),
      /row filter in q/,
    ],
    [
      'two publications: the operations of both are joined',
      parts(
        [
          publication('p', { members: members(12, 13) }),
          publication('q', { members: members(10), viaRoot: true, operationsList: ['insert'] }),
        ],
        ['root'],
      ),
      null,
    ],
    [
      'an unlogged partition',
      facts([root, table(12, 'leaf', { parent: 10, unlogged: true })], [publication('p', { allTables: true })], {
        s: { publications: ['p'], tables: {} },
      }),
      /partition public\.leaf: unlogged/,
    ],
    [
      'no partition yet, published',
      facts([root], [publication('p', { members: members(10) })], { s: { publications: ['p'], tables: {} } }),
      null,
    ],
    [
      'no partition yet, not published',
      facts([root], [publication('p')], { s: { publications: ['p'], tables: {} } }),
      /^public\.root: in no publication/,
    ],
  ])('partitions: %s', (_, given, wanted) => {
    const text = uncovered(given);
    if (wanted === null) expect(text).toBeNull();
    else expect(text).toMatch(wanted);
  });

  it('leaves out what the configuration excludes, by table and by partition', () => {
    const given = facts([table(1, 'a'), table(2, 'b'), ...tree], [publication('p', { members: members(1, 12) })], {
      s: { publications: ['p'], tables: { a: 'r', leaf: 'r' } },
    });
    const chooser = new TableChooser({ include: ['public.*'], exclude: ['public.b', 'public.other'] });
    expect(uncovered(given, chooser)).toBeNull();
    expect(uncovered(given)).toMatch(/public\.b: .*public\.root: partition public\.other/);
  });

  it('knows nothing where there is nothing, or a pattern finds nothing', () => {
    const given = one(publication('p', { allTables: true }));
    expect(uncovered({ ...given, tables: new Map() })).toMatch(/unknown: there is no application table on onprem/);
    expect(uncovered(given, new TableChooser({ include: ['public.*', 'crm.*'], exclude: [] }))).toMatch(
      /crm\.\* matches no/,
    );
    expect(uncovered(given, new TableChooser({ include: ['public.*'], exclude: ['*.a'] }))).toMatch(
      /leave no application/,
    );
  });

  it('names ten tables in the order of their names, quoted where needed', () => {
    const tables = Array.from({ length: 12 }, (_, i) => table(i + 1, `T${i + 10}`));
    const text = uncovered(facts(tables, [], { s: { publications: ['p'], tables: {} } }));
    expect(text).toMatch(/^public\."T10": .*; public\."T19": [^;]*; and 2 more$/);
  });

  it('knows of unlogged tables on a standby', () => {
    const given = { from: 'onprem', tables: new Map([a, table(2, 'u', { unlogged: true })].map((t) => [t.oid, t])) };
    expect(listed(judgeUnlogged(given, new TableChooser(null)).found ?? [])).toBe('public.u: unlogged');
  });

  it('counts unfinished copies once for each table, and not those of nothing', () => {
    const given = facts([a, ...tree], [publication('p', { allTables: true })], {
      s: { publications: ['p'], tables: { a: 'r', leaf: 'd', other: 'i' } },
    });
    expect(listed(judgeSyncing(given, new TableChooser(null)).found ?? [])).toBe('public.root: is being copied');
    const none = facts([a], [], { s: { publications: ['p'], tables: {} } });
    expect(judgeSyncing(none, new TableChooser(null))).toMatchObject({ found: null });
    expect(judgeSyncing(facts([a], [], { s: null }), new TableChooser(null))).toMatchObject({
      found: null,
      reason: 'there is no subscription "s" on aws',
    });
  });
});

describe('patterns of tables', () => {
  it.each([
    ['public.*', 'public', 'orders', true],
    ['public.*', 'publicx', 'orders', false],
    ['*.*', 'a', 'b', true],
    ['*.order*', 'a', 'orders_2024', true],
    ['public.orders', 'public', 'Orders', false],
    ['"my.schema"."a*b"', 'my.schema', 'a*b', true],
    ['"my.schema"."a*b"', 'my.schema', 'axb', false],
    ['public."say ""hi"""', 'public', 'say "hi"', true],
    ['public.a+b', 'public', 'a+b', true],
    ['public.a+b', 'public', 'aab', false],
  ])('%s and %s.%s: %s', (pattern, schema, name, wanted) => {
    expect(parseTablePattern(pattern)?.matches(schema, name)).toBe(wanted);
  });

  it.each(['orders', 'a.b.c', '', '.x', 'x.', 'a b.c', '"a.b', 'public.or"ders'])('%s is none', (text) => {
    expect(parseTablePattern(text)).toBeNull();
  });
});

describe('how often catalogs are read', () => {
  it.each([
    [0, 2_000],
    [20, 2_000],
    [100, 10_000],
    [5_000, 300_000],
  ])('%s ms of work: every %s ms', (busy, wanted) => {
    expect(catalogPauseMs(2_000, busy)).toBe(wanted);
  });

  it('asks soon again when there was no answer, and more rarely the more of them', () => {
    expect([1, 2, 3, 4, 5, 50].map((n) => catalogRetryMs(2_000, 6_000, n))).toEqual([
      12_000, 24_000, 48_000, 60_000, 60_000, 60_000,
    ]);
    expect(catalogRetryMs(2_000, 40, 1)).toBe(2_000);
  });

  it('asks much later again when the server gave up on it', () => {
    expect(catalogRetryMs(2_000, 5_000, 0)).toBe(50_000);
  });
});
