import { describe, expect, it } from 'vitest';
import { viasOf, whyNotMeasured } from '../../daemon/config/available.js';
import { parseRowFilter } from '../../daemon/core/row-filter.js';
import { verifyQuestion } from '../../daemon/core/verify-question.js';
import { load, problemsIn, small } from './config-inputs.js';

const verifyOf = (shop: string) => load(small({ shop })).migrations.get('shop')?.verify;

describe('the section verify', () => {
  it('has gentle defaults', () => {
    expect(verifyOf('verify: {}')).toEqual({
      ...{
        schedule: null,
        tables: null,
        exclude: [],
        ignoreColumns: new Map(),
        filters: new Map(),
        schemas: new Map(),
      },
      ...{ chunkUs: 500_000, sourceShare: 0.2, pauseAboveLagUs: 5_000_000, pauseAboveRunning: 50, standIns: new Map() },
    });
    expect(verifyOf('promotion: manual')).toBeUndefined();
  });

  it('is taken as it is written', () => {
    const verify = verifyOf(
      [
        'verify:',
        '  schedule: "*/15 * * * *"',
        '  tables: [ "public.*", \'"a.b"."c*"\' ]',
        '  exclude: [ public.sessions ]',
        '  ignore_columns: { public.users: [ last_seen ] }',
        '  filters: { public.events: [ "tenant_id = 42", "deleted_at is null", "\\"Odd \\"\\" name\\" != \'it\'\'s\'" ] }',
        '  schemas: { app: public }',
        '  chunk: 250ms',
        '  source_share: 35%',
        '  pause_above_lag: 10s',
        '  pause_above_running: null',
        '  stand_ins: { zero_date: null, infinity: "9999-12-31", out_of_range: 0 }',
      ].join('\n'),
    );
    expect(verify).toMatchObject({
      ...{ schedule: '*/15 * * * *', tables: ['public.*', '"a.b"."c*"'], exclude: ['public.sessions'] },
      ...{ chunkUs: 250_000, sourceShare: 0.35, pauseAboveLagUs: 10_000_000, pauseAboveRunning: null },
    });
    expect(verify?.filters.get('public.events')).toEqual([
      { column: 'tenant_id', op: '=', value: '42' },
      { column: 'deleted_at', op: 'is null', value: null },
      { column: 'Odd " name', op: '<>', value: "it's" },
    ]);
    expect([...(verify?.standIns ?? [])]).toEqual([['zero_date', null], ['infinity', '9999-12-31'], ['out_of_range', '0']]); // prettier-ignore
    expect([...(verify?.schemas ?? [])]).toEqual([['app', 'public']]);
  });

  it('makes its signals measured, and only then', () => {
    const vias = { forward: 'postgres-logical' } as const;
    expect(whyNotMeasured('verify.coverage', { ...vias, verify: true })).toBeNull();
    expect(whyNotMeasured('verify.coverage', vias)).toBe('this migration has no `verify` section');
    const gates = 'gates: { g: { require: "verify.coverage is 1" } }';
    const warned = (shop: string) => load(small({ shop })).warnings.filter((w) => w.includes('verify.coverage'));
    expect(warned(gates)).toHaveLength(1);
    expect(warned(`verify: {}\n${gates}`)).toEqual([]);
  });

  it('asks another question when it selects or compares otherwise, but not when it only runs otherwise', () => {
    const question = (inner: string) => verifyQuestion(verifyOf(`verify: ${inner}`));
    const plain = question('{}');
    for (const same of ['{ schedule: "0 3 * * *" }', '{ chunk: 1s, source_share: 50%, pause_above_running: null }']) {
      expect(question(same)).toBe(plain);
    }
    const others = [
      '{ tables: [ "public.*" ] }',
      '{ exclude: [ public.a ] }',
      '{ ignore_columns: { public.a: [ b ] } }',
      '{ filters: { public.a: [ "b = 1" ] } }',
      '{ schemas: { a: b } }',
      '{ stand_ins: { zero_date: null } }',
    ].map(question);
    expect(new Set([plain, ...others]).size).toBe(7);
  });
});

describe('a condition on rows', () => {
  it.each([
    ['a=1', 'a', '=', '1'],
    ['a <= -1.50', 'a', '<=', '-1.50'],
    ["a<>''", 'a', '<>', ''],
    ["a >= '2026-01-01'", 'a', '>=', '2026-01-01'],
    ['  a  IS  NOT  NULL  ', 'a', 'is not null', null],
    ['"A b" is null', 'A b', 'is null', null],
    ['isnull is null', 'isnull', 'is null', null],
    ['größe > 3', 'größe', '>', '3'],
  ])('%s', (text, column, op, value) => {
    expect(parseRowFilter(text)).toEqual({ ok: true, filter: { column, op, value } });
  });

  it.each([
    ['', 0],
    ['1 = a', 0],
    ['a', 1],
    ['a = b', 4],
    ['a = 1;drop table b', 5],
    ["a = 'x' or 1=1", 8],
    ["a = 'x", 4],
    ['a = 1.', 4],
    ['a = 1e5', 4],
    ['a is nullx', 2],
    ['a.b = 1', 1],
    ['a like 1', 2],
    ['"" = 1', 0],
    ['lower(a) = 1', 5],
  ])('%s is none', (text, offset) => {
    expect(parseRowFilter(text)).toMatchObject({ ok: false, offset });
  });
});

describe('a link without replication', () => {
  const dual = (shop = '', forward = '{ via: none }') => small({ forward, shop: `verify: {}\n${shop}` });

  it('is one of dual writes: forward only, with nothing that belongs to replication', () => {
    const m = load(dual()).migrations.get('shop');
    expect(m?.links).toEqual({
      forward: expect.objectContaining({ via: 'none', flows: [], from: 'onprem', to: 'aws' }) as unknown,
    });
    expect(problemsIn(dual('', '{ via: none, tables: { include: [ "public.*" ] } }'))).toEqual([]);
    expect(problemsIn(dual('reverse: { via: none }'))).toHaveLength(1);
    expect(problemsIn(dual('', '{ via: none, retention_limit: 1GiB }'))).toHaveLength(1);
  });

  it('measures nothing of the link, nor what would be stray', () => {
    const m = load(dual()).migrations.get('shop');
    const why = (signal: string) => m && whyNotMeasured(signal, viasOf(m));
    for (const signal of ['forward.lag', 'active.running', 'active.lag_by_position', 'standby.tables_uncovered']) {
      expect(why(signal), signal).toContain('this link has no replication');
    }
    expect(why('standby.stray_writes')).toContain('the application writes to both sides');
    expect(why('split_brain')).toContain('the application writes to both sides');
    expect(why('fence.drained')).toContain('no replication');
    for (const signal of [
      'source.reachable',
      'target.local_writes',
      'direction.reverse',
      'verify.age',
      'attest.x.age',
    ]) {
      expect(why(signal), signal).toBeNull();
    }
  });
});
