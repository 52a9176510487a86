import { expect, test } from 'vitest';
import { table, type Values } from '../../support/fake-data.js';
import { VerifyBench } from '../../support/verify-bench.js';

const rows = (n: number): Values[] => Array.from({ length: n }, (_, i) => ({ id: String(i + 1), v: `v${i + 1}` }));

function bench(n = 5_000): VerifyBench {
  const b = new VerifyBench();
  for (const db of [b.source, b.target]) db.create(table('t'), rows(n));
  return b;
}

test('equal tables match, and every row was read on both sides', async () => {
  const b = bench();
  const end = await b.run();
  expect(end).toMatchObject({ complete: true, reason: null });
  expect(b.result('public.t')).toMatchObject({
    state: 'match',
    reason: null,
    sourceRows: 5_000,
    targetRows: 5_000,
    rowsCompared: 5_000,
    mismatchedRows: 0,
    mismatches: [],
  });
  expect([b.source.open_, b.target.open_, b.clock.sleepers]).toEqual([0, 0, 0]);
});

test('missing, extra and different rows are found with their keys', async () => {
  const b = bench();
  b.target.delete(table('t'), ['17']);
  b.target.put(table('t'), { id: '4999', v: 'other' });
  b.target.put(table('t'), { id: '6000', v: 'x' });
  b.target.put(table('t'), { id: '-3', v: 'x' });
  await b.run();
  const result = b.result('public.t');
  expect(result).toMatchObject({
    state: 'mismatch',
    mismatchedRows: 4,
    mismatchedAtLeast: false,
    sourceRows: 5_000,
    targetRows: 5_001,
  });
  expect([...result.mismatches].sort((a, x) => Number(a.key['id']) - Number(x.key['id']))).toEqual([
    { kind: 'extra', key: { id: '-3' } },
    { kind: 'missing', key: { id: '17' } },
    { kind: 'different', key: { id: '4999' } },
    { kind: 'extra', key: { id: '6000' } },
  ]);
});
