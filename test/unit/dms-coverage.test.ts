import { describe, expect, it } from 'vitest';
import { listTables } from '../../collectors/dms/tables.js';
import { readMappings } from '../../collectors/dms/table-mappings.js';
import { DmsCoverage, uncoveredTables } from '../../daemon/core/dms-coverage.js';
import type { SourceTablesSeen, TaskTablesSeen } from '../../daemon/core/observation.js';

const S = 1_000_000;
const table = (name: string, ...parts: string[]) => ({
  schema: 'public',
  name,
  parts: parts.map((p) => ({ schema: 'public', name: p })),
});
const inTask = (name: string, flaw: string | null = null) => ({ schema: 'public', name, flaw });
const source = (tables: SourceTablesSeen['tables'], askedAt = 0, reason: string | null = null): SourceTablesSeen => ({
  ...{ kind: 'source-tables', link: 'shop/forward', tables, reason, askedAt, at: askedAt, freshUs: 30 * S },
});
const tasks = (tables: TaskTablesSeen['tables'], askedAt = 0, reason: string | null = null): TaskTablesSeen => ({
  ...{ kind: 'task-tables', link: 'shop/forward', tables, reason, askedAt, at: askedAt, freshUs: 600 * S },
});

describe('tables that a link by DMS does not carry', () => {
  it('are those of the source that no task lists, by their exact names', () => {
    expect(uncoveredTables([table('orders'), table('Orders'), table('audit')], [inTask('orders')])).toEqual([
      { table: 'public.Orders', why: 'in no DMS task' },
      { table: 'public.audit', why: 'in no DMS task' },
    ]);
    expect(uncoveredTables([table('orders')], [{ schema: 'other', name: 'orders', flaw: null }])).toHaveLength(1);
  });

  it('are those of which something stays behind, unless another task carries them whole', () => {
    const flawed = [inTask('orders', 'the task filters its rows')];
    expect(uncoveredTables([table('orders')], flawed)).toEqual([
      { table: 'public.orders', why: 'the task filters its rows' },
    ]);
    expect(uncoveredTables([table('orders')], [...flawed, inTask('orders')])).toEqual([]);
    expect(uncoveredTables([table('orders')], [inTask('orders'), ...flawed])).toEqual([]);
  });

  it('a partitioned table is carried by itself or by all of its partitions', () => {
    const payment = table('payment', 'payment_1', 'payment_2');
    expect(uncoveredTables([payment], [inTask('payment')])).toEqual([]);
    expect(uncoveredTables([payment], [inTask('payment_1'), inTask('payment_2')])).toEqual([]);
    expect(uncoveredTables([payment], [inTask('payment_1')])).toEqual([
      { table: 'public.payment', why: 'partition public.payment_2: in no DMS task' },
    ]);
    expect(uncoveredTables([payment], [])).toEqual([{ table: 'public.payment', why: 'in no DMS task' }]);
  });

  it('are unknown until both have said what there is, as old as the older of both, and unknown once one is stale', () => {
    const coverage = new DmsCoverage();
    expect(coverage.observe(source([table('orders')]), 0)).toMatchObject({ value: null });
    expect(coverage.observe(tasks([inTask('orders')], 20 * S), 20 * S)).toEqual({
      ...{ value: 0, growsFrom: null, bound: 'exact', observedAt: 0, freshUs: 30 * S, reason: null },
    });
    expect(coverage.observe(tasks([inTask('orders')], 31 * S), 31 * S)).toMatchObject({ value: null });
    expect(coverage.observe(source([table('orders'), table('new')], 32 * S), 32 * S)).toMatchObject({
      value: 1,
      observedAt: 31 * S,
      reason: 'public.new (in no DMS task)',
    });
    expect(coverage.observe(source(null, 33 * S, 'hidden'), 33 * S)).toMatchObject({ value: null, reason: 'hidden' });
    coverage.observe(source([table('orders')], 34 * S), 34 * S);
    expect(coverage.observe(tasks(null, 35 * S, 'denied'), 35 * S)).toMatchObject({ value: null, reason: 'denied' });
  });

  it('names ten of them', () => {
    const coverage = new DmsCoverage();
    coverage.observe(tasks([inTask('a')]), 0);
    const many = Array.from({ length: 13 }, (_, i) => table(`t${i}`));
    expect(coverage.observe(source(many), 0)).toMatchObject({ value: 13, reason: expect.stringMatching(/ and 3 more$/) as string }); // prettier-ignore
  });
});

describe('table mappings', () => {
  const rule = (
    more: object,
    action = 'include',
    locator: object = { 'schema-name': 'public', 'table-name': '%' },
  ) => ({
    ...{ 'rule-type': 'selection', 'rule-id': '1', 'rule-name': '1', 'rule-action': action, 'object-locator': locator },
    ...more,
  });
  const left = (...rules: object[]) => readMappings(JSON.stringify({ rules }));

  it('tell of filters and of columns that are removed', () => {
    const filters = [{ 'filter-type': 'source', 'column-name': 'id', 'filter-conditions': [] }];
    const of = left(
      rule({ filters: [] }),
      rule({ filters }, 'include', { 'schema-name': 'public', 'table-name': 'log[_]%' }),
      rule({}, 'remove-column', { 'schema-name': 'pub_ic', 'table-name': 'users', 'column-name': 'photo' }),
    );
    expect(of?.('public', 'orders')).toBeNull();
    expect(of?.('public', 'log_2026')).toBe('the task filters its rows');
    expect(of?.('public', 'logs')).toBeNull();
    expect(of?.('public', 'users')).toBe('the task removes its column photo');
    expect(of?.('PUBLIC', 'users')).toBeNull();
  });

  it.each([undefined, '', '{', '[]', '{"rules": {}}', '{"rules": [1]}', '{"rules": [{"rule-action": "include"}]}'])(
    'that cannot be understood (%s) say nothing',
    (text) => expect(readMappings(text)).toBeNull(),
  );

  it('a table that DMS cannot load is not carried, whatever the mappings say', () => {
    const rows = ['Table completed', 'Table error', 'Table does not exist', 'Before load'].map((TableState, i) => ({
      ...{ SchemaName: 'public', TableName: `t${i}`, TableState },
    }));
    expect(listTables(rows, () => null).map(({ flaw }) => flaw)).toEqual([
      null,
      'DMS says of it: Table error',
      'DMS says of it: Table does not exist',
      null,
    ]);
  });
});
