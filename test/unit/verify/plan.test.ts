import { describe, expect, test } from 'vitest';
import type { VerifyConfig } from '../../../daemon/core/config.js';
import { commonFamily } from '../../../collectors/verify/families.js';
import { planTables, type PlanInput, type PlannedTable } from '../../../collectors/verify/plan.js';
import type { TableShape, TypeFamily } from '../../../collectors/verify/port.js';
import { formatTable } from '../../../collectors/verify/table-name.js';
import { column, table } from '../../support/fake-data.js';
import { verifyConfig } from '../../support/verify-bench.js';

type Engines = [source: 'postgres' | 'mysql', target: 'postgres' | 'mysql'];

function plan(
  source: TableShape[],
  target: TableShape[],
  more: {
    config?: Partial<VerifyConfig>;
    engines?: Engines;
    probes?: [string, string];
    carried?: PlanInput['carried'];
  } = {},
): ReturnType<typeof planTables> {
  const [a, b] = more.engines ?? ['postgres', 'postgres'];
  const [p, q] = more.probes ?? ['same', 'same'];
  const side = (engine: 'postgres' | 'mysql', probe: string): PlanInput['traits']['source'] => ({
    flavour: engine,
    version: 1,
    probe,
    engine,
  });
  return planTables({
    source,
    target,
    traits: { source: side(a, p), target: side(b, q) },
    config: verifyConfig(more.config),
    carried: more.carried ?? null,
  });
}

const cross: Engines = ['mysql', 'postgres'];
function one(p: ReturnType<typeof planTables>): PlannedTable {
  const [first] = p.tables;
  if (first === undefined || p.tables.length > 1) throw new Error(`${p.tables.length} tables`);
  return first;
}
function specs(p: ReturnType<typeof planTables>): Extract<PlannedTable['task'], { kind: 'compare' }> {
  const { task } = one(p);
  if (task.kind !== 'compare') throw new Error(JSON.stringify(task));
  return task;
}
function reason(p: ReturnType<typeof planTables>): string | null {
  const { task } = one(p);
  return task.kind === 'not-covered' ? task.reason : null;
}

describe('which tables', () => {
  const names = (p: ReturnType<typeof planTables>): string[] => p.tables.map((t) => t.table);

  test('the union of both catalogs, in the source’s names', () => {
    const p = plan([table('a', { schema: 'app' }), table('x.y', { schema: 'app' })], [table('a'), table('b')], {
      config: { schemas: new Map([['app', 'public']]) },
    });
    expect(names(p)).toEqual(['app."x.y"', 'app.a', 'app.b']);
    expect(p.tables.map((t) => (t.task.kind === 'one-sided' ? t.task.on : t.task.kind))).toEqual([
      'source',
      'compare',
      'target',
    ]);
    expect(p.tables[0]?.names.target).toEqual({ schema: 'public', name: 'x.y' });
  });

  test('the configured patterns, else what the link carries, and what they leave out of that is said', () => {
    const all = ['a', 'b', 'c', 'd'].map((n) => table(n));
    const carried = { include: ['public.*'], exclude: ['public.d'] };
    expect(plan(all, all, { carried })).toMatchObject({ narrower: null });
    expect(names(plan(all, all, { carried }))).toEqual(['public.a', 'public.b', 'public.c']);
    const p = plan(all, all, { carried, config: { tables: ['public.*'], exclude: ['public.b'] } });
    expect(names(p)).toEqual(['public.a', 'public.c', 'public.d']);
    expect(p.narrower).toBe('1 table that the link carries is not compared: public.b');
    expect(names(plan(all, all, { carried, config: { exclude: ['public.a'] } }))).toEqual(['public.b', 'public.c']);
    expect(plan(all, all).narrower).toBeNull();
  });

  test('names are written so that a pattern takes them literally', () => {
    expect(formatTable({ schema: 'a', name: 'b"c*' })).toBe('a."b""c*"');
  });
});

describe('how a table is compared', () => {
  test('natively within one engine whose servers print alike, else by value', () => {
    expect(specs(plan([table('t')], [table('t')])).specs.source.form).toBe('native');
    expect(specs(plan([table('t')], [table('t')], { probes: ['a', 'b'] })).specs.source.form).toBe('canonical');
    const other = [column('id', 'integer'), column('v', 'other')];
    expect(specs(plan([table('t', { columns: other })], [table('t', { columns: other })])).specs.source.form).toBe(
      'native',
    );
    expect(reason(plan([table('t', { columns: other })], [table('t', { columns: other })], { engines: cross }))).toBe(
      'the column v cannot be compared: other on the source, other on the target',
    );
    const wide = [column('id', 'integer'), column('v', 'jsonb')];
    expect(specs(plan([table('t')], [table('t', { columns: wide })])).specs.source.form).toBe('canonical');
  });

  test('a column on one side only leaves it not covered, unless it is ignored', () => {
    const more = table('t', { columns: [...table('t').columns, column('w')] });
    expect(reason(plan([table('t')], [more]))).toBe('the column w is on the target only');
    expect(reason(plan([more], [table('t')]))).toBe('the column w is on the source only');
    const config = { ignoreColumns: new Map([['public.t', ['w', 'nowhere']]]) };
    const p = plan([more], [table('t')], { config });
    expect(specs(p).specs.target.columns.map((c) => c.shape.name)).toEqual(['id', 'v']);
    expect(one(p).ignored).toEqual(['w']);
  });

  test('what cannot be read, filtered or told apart is said', () => {
    expect(reason(plan([table('t', { unreadable: 'no SELECT' })], [table('t')]))).toBe('on the source: no SELECT');
    expect(
      reason(plan([table('t')], [table('t')], { config: { ignoreColumns: new Map([['public.*', ['id']]]) } })),
    ).toMatch(/^the column id is to be ignored/);
    const filters = new Map([['public.t', [{ column: 'nowhere', op: '=' as const, value: '1' }]]]);
    expect(reason(plan([table('t')], [table('t')], { config: { filters } }))).toBe(
      'its filter names the column nowhere, which is not on the source',
    );
  });

  test('the same columns in the same order on both sides, whatever order the target has them in', () => {
    const target = table('t', { columns: [...table('t').columns].reverse() });
    const { source, target: t } = specs(plan([table('t')], [target])).specs;
    expect(t.columns.map((c) => c.shape.name)).toEqual(source.columns.map((c) => c.shape.name));
  });
});

describe('its key', () => {
  const keyed = (keys: string[][], columns = table('t').columns): TableShape =>
    table('t', { columns, keys: keys.map((c, i) => ({ name: `k${i}`, primary: i === 0, columns: c })) });

  test('is the first of the source that is one of the target too', () => {
    expect(specs(plan([keyed([['id'], ['v']])], [keyed([['v']])])).specs.target.key?.map((k) => k.shape.name)).toEqual([
      'v',
    ]);
    expect(
      specs(plan([keyed([['id', 'v']])], [keyed([['v', 'id']])])).specs.target.key?.map((k) => k.shape.name),
    ).toEqual(['id', 'v']);
    const none = specs(plan([keyed([['id']])], [keyed([['v']])]));
    expect(none.specs.source.key).toBeNull();
    expect(none.remarks).toEqual(['it has no key that both sides share, and was compared whole']);
  });

  test('goes by the index where both sides order alike', () => {
    const by = (
      a: string | null,
      b: string | null,
      engines: Engines = ['postgres', 'postgres'],
      families: [TypeFamily, TypeFamily] = ['text', 'text'],
    ): string | undefined => {
      const shape = (order: string | null, family: TypeFamily): TableShape =>
        keyed([['v']], [column('id', 'integer'), column('v', family, { order })]);
      return specs(plan([shape(a, families[0])], [shape(b, families[1])], { engines })).specs.source.key?.[0]?.by;
    };
    expect(by('en_US 2.36', 'en_US 2.36')).toBe('index');
    expect(by('en_US 2.36', 'en_US 2.28')).toBe('bytes');
    expect(by(null, null)).toBe('bytes');
    expect(by('bytes', 'bytes', cross)).toBe('index');
    expect(by('x', 'x', cross)).toBe('bytes');
    expect(by('value', 'value', cross, ['integer', 'decimal'])).toBe('index');
    expect(by('value', 'value', cross, ['date', 'date'])).toBe('index');
    expect(by('value', 'value', cross, ['uuid', 'uuid'])).toBe('bytes');
    expect(by('value', 'value', ['postgres', 'postgres'], ['uuid', 'uuid'])).toBe('index');
  });

  test('is none of values that may be equal though their texts differ', () => {
    const shape = (family: TypeFamily): TableShape => keyed([['v']], [column('id', 'integer'), column('v', family)]);
    expect(specs(plan([shape('float8')], [shape('float8')], { engines: cross })).specs.source.key).toBeNull();
    expect(specs(plan([shape('float8')], [shape('float8')])).specs.source.key).not.toBeNull();
  });
});

describe('families', () => {
  test.each<[TypeFamily, TypeFamily, TypeFamily | null]>([
    ['boolean', 'integer', 'integer'],
    ['bit', 'boolean', 'integer'],
    ['bit', 'decimal', null],
    ['integer', 'decimal', 'decimal'],
    ['boolean', 'boolean', 'boolean'],
    ['float4', 'float8', 'float4'],
    ['float8', 'decimal', 'float8'],
    ['enum', 'text', 'text'],
    ['char', 'char', 'char'],
    ['uuid', 'bytes', 'uuid'],
    ['char', 'uuid', 'uuid'],
    ['text', 'bytes', null],
    ['json', 'jsonb', 'json'],
    ['jsonb', 'jsonb', 'json'],
    ['text', 'jsonb', 'json'],
    ['enum', 'json', null],
    ['timestamp', 'timestamptz', 'timestamptz'],
    ['date', 'timestamp', null],
    ['other', 'other', null],
    ['integer', 'text', null],
  ])('%s and %s', (a, b, as) => {
    expect(commonFamily(a, b)?.as ?? null).toBe(as);
    expect(commonFamily(b, a)?.as ?? null).toBe(as);
  });

  test('local times and instants are compared as UTC, which is said', () => {
    const shape = (family: TypeFamily): TableShape =>
      table('t', { columns: [column('id', 'integer'), column('at', family)] });
    expect(specs(plan([shape('timestamp')], [shape('timestamptz')], { engines: cross })).remarks).toEqual([
      'at is an instant on one side only, and the other side is read as UTC',
    ]);
  });
});

describe('the digest of its shape', () => {
  const shapeOf = (source: TableShape, more: Parameters<typeof plan>[2] = {}): string =>
    one(plan([source], [table('t')], more)).shape;

  test('changes with what a comparison rests on, and with nothing else', () => {
    const base = shapeOf(table('t'));
    expect(base).toMatch(/^[0-9a-f]{32}$/);
    expect(shapeOf(table('t', { estimatedRows: 5, estimatedBytes: 9 }))).toBe(base);
    const others = [
      shapeOf(table('t', { columns: [column('id', 'integer'), column('v', 'text', { type: 'varchar(9)' })] })),
      shapeOf(table('t', { keys: [] })),
      shapeOf(table('t'), { config: { ignoreColumns: new Map([['public.t', ['v']]]) } }),
      shapeOf(table('t'), { config: { filters: new Map([['public.t', [{ column: 'id', op: '<', value: '5' }]]]) } }),
      shapeOf(table('t'), { probes: ['a', 'b'] }),
      shapeOf(table('t'), { probes: ['a', 'b'], config: { standIns: new Map([['zero_date', null]]) } }),
    ];
    expect(new Set([base, ...others]).size).toBe(others.length + 1);
    expect(shapeOf(table('t'), { config: { standIns: new Map([['zero_date', null]]) } })).toBe(base);
  });
});
