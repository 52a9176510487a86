import { describe, expect, test } from 'vitest';
import { STATE_VERSION, type Where } from '../../../collectors/verify/state.js';
import type { PassState, VerifierOptions } from '../../../collectors/verify/verifier.js';
import { column, drive, table, type Values } from '../../support/fake-data.js';
import { passOrder, VerifyBench } from '../../support/verify-bench.js';

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

describe('what it waits for', () => {
  test('a lag above the limit, and one that is unknown, pause it with the reason, and it goes on', async () => {
    const b = bench(10);
    b.link.lagUs = 6_000_000;
    const running = b.start(b.verifier(), passOrder(), new AbortController().signal);
    await b.clock.advance(3_000_000);
    expect(b.progress.at(-1)).toMatchObject({ paused: 'the lag is above 5s', table: 'public.t', etaSeconds: null });
    expect(b.source.asked.some((a) => a.what === 'digest')).toBe(false);
    b.link.lagUs = 1_000;
    b.link.unknown = 'no heartbeat';
    await b.clock.advance(3_000_000);
    expect(b.progress.at(-1)?.paused).toBe('the lag is unknown: no heartbeat');
    expect(b.source.asked.some((a) => a.what === 'digest')).toBe(false);
    b.link.unknown = null;
    expect(await drive(b.clock, running)).toMatchObject({ complete: true });
    expect(b.progress.at(-1)).toMatchObject({ paused: null, tablesDone: 1, tablesTotal: 1, table: null });
  });

  test('statements on the side that carries the writes pause it, asked at most once a second', async () => {
    const b = bench(10);
    b.source.runningNow = 8;
    b.target.runningNow = 100;
    const running = b.start(b.verifier({ pauseAboveRunning: 7 }), passOrder(), new AbortController().signal);
    await b.clock.advance(10_000_000);
    expect(b.progress.at(-1)?.paused).toBe('the source executes more than 7 statements');
    const asked = b.source.asked.filter((a) => a.what === 'running').length;
    expect(asked).toBeGreaterThan(7);
    expect(asked).toBeLessThan(12);
    expect(b.target.asked.some((a) => a.what === 'running')).toBe(false);
    b.source.runningNow = 7;
    expect(await drive(b.clock, running)).toMatchObject({ complete: true });
  });

  test('a side that does not answer is waited for as long as it takes', async () => {
    const b = bench(10);
    b.target.down = true;
    const running = b.start(b.verifier(), passOrder(), new AbortController().signal);
    await b.clock.advance(3_600_000_000);
    expect(b.progress.at(-1)?.paused).toBe('the target (aws) does not answer: connection refused');
    b.target.down = false;
    expect(await drive(b.clock, running)).toMatchObject({ complete: true });
    expect(b.result('public.t').state).toBe('match');
  });

  test('ended at any instant it is through within a second, with all sessions closed', async () => {
    for (const share of [1, 0.1]) {
      for (let at = 0; at < 40; at += 1) {
        const b = bench(50);
        b.target.delete(table('t'), ['17']);
        b.link.lagUs = at % 2 === 0 ? 1_000 : 6_000_000;
        b.target.down = at % 5 === 0;
        const ending = new AbortController();
        const verifier = b.verifier({ sourceShare: share });
        const running = b.start(verifier, passOrder(), ending.signal);
        let over = false;
        void running.then(() => (over = true));
        await b.clock.advance(1_000 + at * at * 900);
        if (at % 3 === 0) void verifier.close();
        else ending.abort();
        await b.clock.advance(900_000);
        expect(over).toBe(true);
        expect([b.source.open_, b.target.open_, b.clock.sleepers]).toEqual([0, 0, 0]);
      }
    }
  });
});

describe('load', () => {
  test('the side that carries the writes is busy for at most its share, narrowing and looking up included', async () => {
    for (const sourceShare of [0.1, 0.5]) {
      const b = new VerifyBench({ latencyUs: () => 0, perRowUs: 50 });
      for (const db of [b.source, b.target]) db.create(table('t'), rows(5_000));
      for (let i = 1; i < 5_000; i += 97) b.target.delete(table('t'), [String(i)]);
      const from = b.clock.monotonicNow();
      await b.run({ sourceShare });
      const took = b.clock.monotonicNow() - from;
      const busy = b.source.asked.reduce((sum, a) => sum + a.rows * 50, 0);
      expect(b.result('public.t').mismatchedRows).toBe(52);
      expect(busy / took).toBeLessThanOrEqual(sourceShare * 1.02);
      expect(b.source.most).toBe(1);
    }
  });

  test('with the whole share the next bound is looked up while a range is compared', async () => {
    const b = new VerifyBench({ latencyUs: () => 0, perRowUs: 100 });
    for (const db of [b.source, b.target]) db.create(table('t'), rows(5_000));
    await b.run();
    expect(b.source.most).toBe(2);
    expect(b.result('public.t').rowsCompared).toBe(5_000);
  });

  test('ranges take about the time they may', async () => {
    const b = new VerifyBench({ latencyUs: () => 0, perRowUs: 100 });
    for (const db of [b.source, b.target]) db.create(table('t'), rows(60_000));
    await b.run({ chunkUs: 500_000 });
    const sizes = b.source.asked.filter((a) => a.what === 'digest').map((a) => a.rows);
    expect(sizes.slice(0, 4)).toEqual([1_000, 1_000, 2_000, 4_000]);
    expect(Math.max(...sizes)).toBe(5_000);
  });

  test('a range that takes too long on either side is cut, and a table whose fewest rows do is not covered', async () => {
    for (const side of ['source', 'target'] as const) {
      const b = new VerifyBench({ latencyUs: () => 0 });
      for (const db of [b.source, b.target]) db.create(table('t'), rows(900));
      b[side].nature.perRowUs = 20_000;
      await b.run();
      expect(b.result('public.t')).toMatchObject({ state: 'match', sourceRows: 900, targetRows: 900 });
      b[side].nature.perRowUs = 4_000_000;
      await b.run();
      expect(b.result('public.t')).toMatchObject({ state: 'not-covered', sourceRows: null });
      expect(b.result('public.t').reason).toMatch(new RegExp(`too long on the ${side}`));
    }
  });
  test('a table smaller than a range is cut as well', async () => {
    const b = new VerifyBench({ latencyUs: () => 0, perRowUs: 150_000 });
    for (const db of [b.source, b.target]) db.create(table('t'), rows(300));
    await b.run();
    expect(b.result('public.t')).toMatchObject({ state: 'match', rowsCompared: 300 });
  });

  test('after a range was cut the next one is no larger than what could be read', async () => {
    const b = new VerifyBench({ latencyUs: () => 0, perRowUs: 3_000 });
    for (const db of [b.source, b.target]) db.create(table('t'), rows(3_000));
    await b.run();
    expect([b.source.slow, b.target.slow]).toEqual([1, 1]);
    expect(b.result('public.t')).toMatchObject({ state: 'match', rowsCompared: 3_000 });
  });
});

describe('how a range is looked at', () => {
  test('again once the link has passed, and not by its rows when it is equal by then', async () => {
    const b = bench(100);
    b.link.lagUs = 3_000_000;
    b.link.commit({ table: table('t'), key: ['5'], values: { id: '5', v: 'new' } });
    await b.run();
    expect(b.result('public.t').state).toBe('match');
    const asked = [...b.source.asked, ...b.target.asked].map((a) => a.what);
    expect(asked.filter((what) => what === 'digest')).toHaveLength(4);
    expect(asked.some((what) => what === 'marks' || what === 'lookup')).toBe(false);
  });

  test('all of it, also when it has grown while it was looked at', async () => {
    const b = bench(100);
    b.target.delete(table('t'), ['5']);
    b.source.before = (what) => {
      if (what !== 'marks') return;
      b.source.before = () => undefined;
      for (let i = 101; i <= 3_000; i += 1) {
        b.source.put(table('t'), { id: String(i), v: 'late' });
        if (i !== 2_999) b.target.put(table('t'), { id: String(i), v: 'late' });
      }
    };
    await b.run();
    expect(b.result('public.t')).toMatchObject({
      state: 'mismatch',
      mismatchedRows: 2,
      sourceRows: 3_000,
      targetRows: 2_998,
    });
    expect(
      b
        .result('public.t')
        .mismatches.map((m) => m.key['id'])
        .sort(),
    ).toEqual(['2999', '5']);
  });

  test('where too many differ to be counted, one that keeps changing is left', async () => {
    const b = new VerifyBench();
    b.source.create(table('t'), rows(15_000));
    b.target.create(table('t'), rows(15_000).slice(14_000));
    let n = 0;
    b.link.writer(b.clock.monotonicNow(), (at) => ({
      write: { table: table('t'), key: ['15000'], values: { id: '15000', v: `n${(n += 1)}` } },
      nextAt: at + 5_000,
    }));
    await b.run();
    const result = b.result('public.t');
    expect(result).toMatchObject({ state: 'mismatch', sourceRows: 15_000, targetRows: 1_000 });
    expect(result.mismatchedRows).toBeGreaterThan(10_000);
    expect(result.mismatchedRows).toBeLessThanOrEqual(14_000);
    expect(result.reason).toMatch(/kept changing/);
  });
});

describe('how a row is looked at', () => {
  test('on the side that carries the writes, once the link has passed on the other, and on the first again', async () => {
    for (const direction of ['forward', 'reverse'] as const) {
      const b = new VerifyBench({}, Math.random, undefined, direction === 'reverse');
      for (const db of [b.source, b.target]) db.create(table('t'), rows(10));
      const [active, passive] = direction === 'forward' ? [b.source, b.target] : [b.target, b.source];
      passive.delete(table('t'), ['5']);
      await b.run({}, {}, passOrder({ direction }));
      expect(b.result('public.t').mismatches.map((m) => m.kind)).toEqual([
        direction === 'forward' ? 'missing' : 'extra',
      ]);
      const at = (db: typeof active): number[] => db.asked.filter((a) => a.what === 'lookup').map((a) => a.at);
      const [a, p] = [at(active), at(passive)];
      expect([a.length, p.length]).toEqual([6, 3]);
      p.forEach((v, i) => {
        const [s1 = 0, s3 = 0] = [a[2 * i], a[2 * i + 1]];
        expect(v).toBeLessThan(s3);
        // A heartbeat that was sent after the first reading has been seen.
        expect(Math.floor((v - b.link.lagUs) / b.link.heartbeatUs) * b.link.heartbeatUs).toBeGreaterThan(s1);
      });
    }
  });
});

describe('kinds of tables', () => {
  test('a table on one side only is a mismatch with all its rows, whatever the direction', async () => {
    const b = new VerifyBench();
    b.source.create(table('a'), rows(1_500));
    b.target.create(table('b'), rows(3));
    await b.run();
    expect(b.result('public.a')).toMatchObject({
      state: 'mismatch',
      sourceRows: 1_500,
      targetRows: 0,
      mismatchedRows: 1_500,
      mismatchesTruncated: true,
      reason: 'there is no such table on the target',
    });
    expect(b.result('public.a').mismatches).toHaveLength(1_000);
    expect(b.result('public.a').mismatches[0]).toEqual({ kind: 'missing', key: { id: '1' } });
    expect(b.result('public.b')).toMatchObject({
      state: 'mismatch',
      sourceRows: 0,
      targetRows: 3,
      mismatchedRows: 3,
      mismatchesTruncated: false,
    });
    expect(b.result('public.b').mismatches[0]?.kind).toBe('extra');
  });

  test('an emptied table counts all rows of the other side, exactly up to ten thousand', async () => {
    for (const [n, atLeast] of [
      [3_000, false],
      [25_000, true],
    ] as const) {
      const b = new VerifyBench();
      b.source.create(table('t'), rows(n));
      b.target.create(table('t'));
      await b.run();
      const result = b.result('public.t');
      expect(result).toMatchObject({
        state: 'mismatch',
        sourceRows: n,
        targetRows: 0,
        mismatchedRows: n,
        mismatchedAtLeast: atLeast,
        mismatchesTruncated: true,
      });
      expect(result.mismatches).toHaveLength(1_000);
    }
  });

  test('a moved key is one missing and one extra row, swapped values are two rows', async () => {
    const b = bench(100);
    b.target.delete(table('t'), ['5']);
    b.target.put(table('t'), { id: '500', v: 'v5' });
    b.target.put(table('t'), { id: '7', v: 'v8' });
    b.target.put(table('t'), { id: '8', v: 'v7' });
    await b.run();
    expect(b.result('public.t').mismatchedRows).toBe(4);
    expect(
      b
        .result('public.t')
        .mismatches.map((m) => m.kind)
        .sort(),
    ).toEqual(['different', 'different', 'extra', 'missing']);
  });

  test('a table without a key is compared whole and counts the difference of the multisets', async () => {
    const b = new VerifyBench();
    const t = table('t', { keys: [] });
    const some = ['x', 'x', 'x', 'y', 'z'].map((v, i) => ({ id: String(i < 3 ? 1 : i), v }));
    b.source.create(t, [...rows(500), ...some]);
    b.target.create(t, [...rows(500), ...some.slice(2), { id: '9', v: 'new' }]);
    await b.run();
    const result = b.result('public.t');
    expect(result).toMatchObject({
      state: 'mismatch',
      mismatchedRows: 3,
      sourceRows: 505,
      targetRows: 504,
      reason: '3 rows differ; it has no key that both sides share, and was compared whole',
    });
    expect(result.mismatches.map((m) => m.kind).sort()).toEqual(['extra', 'missing']);
    expect(Object.keys(result.mismatches[0]?.key ?? {})).toEqual(['(row)']);
    b.source.create(t, rows(10));
    b.target.create(t, rows(10));
    await b.run();
    expect(b.result('public.t')).toMatchObject({
      state: 'match',
      sourceRows: 10,
      reason: 'it has no key that both sides share, and was compared whole',
    });
    b.source.create(t, rows(12_000));
    b.target.create(t, []);
    await b.run();
    expect(b.result('public.t')).toMatchObject({ state: 'mismatch', mismatchedRows: 12_000, mismatchedAtLeast: false });
  });

  test('a table without a key that is written to has no false mismatch, and its lasting one is found', async () => {
    const b = new VerifyBench();
    const t = table('t', { keys: [] });
    b.source.create(t, rows(100));
    b.target.create(t, rows(99));
    let n = 0;
    b.link.writer(b.clock.monotonicNow(), (at) => ({
      write: { table: t, key: [], values: { id: String((n += 1) + 1_000), v: 'w' } },
      nextAt: at + 100_000,
    }));
    await b.run();
    expect(b.result('public.t')).toMatchObject({ state: 'mismatch', mismatchedRows: 1 });
    expect(b.result('public.t').mismatches).toEqual([
      { kind: 'missing', key: { '(row)': expect.any(String) as string } },
    ]);
  });

  test('values that the other side cannot hold leave a table not covered, unless more differs than they explain', async () => {
    const b = bench(100);
    b.source.put(table('t'), { id: '5', v: 'ODD' });
    await b.run();
    expect(b.result('public.t')).toMatchObject({ state: 'not-covered', mismatchedRows: 0 });
    expect(b.result('public.t').reason).toMatch(/no stand-in is configured: v \(1 row\)/);
    b.target.put(table('t'), { id: '6', v: 'x' });
    await b.run();
    expect(b.result('public.t')).toMatchObject({ state: 'mismatch', mismatchedRows: 2 });
  });

  test('across engines floats and JSON are equal by value', async () => {
    const b = new VerifyBench({}, Math.random, { source: 'mysql', target: 'postgres' });
    const columns = [column('id', 'integer'), column('f', 'float8'), column('j', 'json')];
    const t = table('t', { columns });
    const pg = table('t', { columns: [column('id', 'integer'), column('f', 'float8'), column('j', 'jsonb')] });
    b.source.create(t, [
      { id: '1', f: '0.30000000000000004', j: '{"a":1.0,"b":[2]}' },
      { id: '2', f: '1.5', j: '1' },
    ]);
    b.target.create(pg, [
      { id: '1', f: '0.3', j: '{"b": [2], "a": 1}' },
      { id: '2', f: '1.5', j: '1' },
    ]);
    await b.run();
    expect(b.result('public.t')).toMatchObject({ state: 'match', sourceRows: 2, targetRows: 2 });
    b.target.put(t, { id: '2', f: '1.5', j: '2' });
    await b.run();
    expect(b.result('public.t').mismatches).toEqual([{ kind: 'different', key: { id: '2' } }]);
  });
});

describe('what changes meanwhile', () => {
  test('a shape that changes while a table is read has it compared anew', async () => {
    const b = bench(5_000);
    const running = b.start(b.verifier({ chunkUs: 1_000 }), passOrder(), new AbortController().signal);
    await b.clock.advance(6_000);
    const wide = table('t', { columns: [...table('t').columns, column('w')] });
    for (const db of [b.source, b.target]) db.create(wide, rows(300));
    await drive(b.clock, running);
    expect(b.result('public.t')).toMatchObject({ state: 'match', sourceRows: 300, rowsCompared: 300 });
    const selection = await drive(b.clock, b.verifier().look(new AbortController().signal));
    expect(b.result('public.t').shape).toBe(selection.tables.get('public.t'));
  });

  test('one that never stays the same is given up', async () => {
    const b = bench(10);
    let n = 0;
    const running = b.start(b.verifier(), passOrder(), new AbortController().signal);
    let over = false;
    void running.then(() => (over = true));
    while (!isOver()) {
      n += 1;
      const other = table('t', { columns: [...table('t').columns, column(`w${n}`)] });
      for (const db of [b.source, b.target]) db.create(other, rows(10));
      await b.clock.advance(2_000);
    }
    expect(b.results).toHaveLength(1);
    expect(b.result('public.t')).toMatchObject({
      state: 'not-covered',
      reason: 'its shape kept changing while it was compared',
    });
    function isOver(): boolean {
      return over;
    }
  });

  test('a row that is written to all the time is neither a match nor a mismatch', async () => {
    const b = bench(100);
    let n = 0;
    b.link.writer(b.clock.monotonicNow(), (at) => ({
      write: { table: table('t'), key: ['5'], values: { id: '5', v: `n${(n += 1)}` } },
      nextAt: at + 10_000,
    }));
    await b.run();
    expect(b.result('public.t')).toMatchObject({
      state: 'not-settled',
      reason: '1 row or range kept changing',
      mismatchedRows: 0,
      sourceRows: 100,
      targetRows: 100,
    });
  });

  test(
    'a row that toggles between two values is no mismatch without versions either',
    { timeout: 30_000 },
    async () => {
      for (let period = 200_000; period < 4_000_000; period += 377_000) {
        const b = new VerifyBench({ versions: false });
        for (const db of [b.source, b.target]) db.create(table('t'), rows(10));
        b.link.lagUs = 300_000;
        let n = 0;
        b.link.writer(b.clock.monotonicNow(), (at) => ({
          write: { table: table('t'), key: ['5'], values: { id: '5', v: `n${(n += 1) % 2}` } },
          nextAt: at + period,
        }));
        await b.run();
        expect(b.result('public.t').mismatchedRows).toBe(0);
      }
    },
  );

  test('a row that is frozen on the passive side matches no older value of the active one', async () => {
    const b = bench(100);
    // It says 1 for good, where the other side counts up from 1.
    let n = 0;
    b.source.put(table('t'), { id: '5', v: '1' });
    b.target.put(table('t'), { id: '5', v: '1' });
    b.link.writer(b.clock.monotonicNow() + 100, (at) => ({
      write: { table: table('t'), key: ['5'], values: { id: '5', v: String(1 + (n += 1)) }, swallowed: true },
      nextAt: at + 9_000_000,
    }));
    await b.run();
    expect(b.result('public.t').mismatches).toEqual([{ kind: 'different', key: { id: '5' } }]);
  });
});

describe('sides that the application writes to', () => {
  const by = (settleUs: number): Partial<VerifierOptions> => ({ settling: { by: 'waiting', settleUs } });

  test('what differs for longer than it takes to settle is a mismatch, with no word about lag', async () => {
    const b = bench(100);
    b.link.unknown = 'there is no link';
    b.target.delete(table('t'), ['5']);
    const from = b.clock.monotonicNow();
    await b.run({}, by(2_000_000));
    expect(b.result('public.t')).toMatchObject({ state: 'mismatch', mismatchedRows: 1 });
    expect(b.clock.monotonicNow() - from).toBeGreaterThan(9 * 2_000_000);
  });

  test('what one side gets later than the other is none', async () => {
    const b = bench(100);
    let n = 0;
    b.link.lagUs = 1_500_000;
    b.link.writer(b.clock.monotonicNow(), (at) => {
      n += 1;
      return {
        write:
          n > 200 ? null : { table: table('t'), key: [String(n % 40)], values: { id: String(n % 40), v: `n${n}` } },
        nextAt: at + 100_000,
      };
    });
    await b.run({}, by(2_000_000));
    expect(b.result('public.t').mismatchedRows).toBe(0);
  });
});

describe('passes', () => {
  test('only the tables that were asked for, and an unknown one is said', async () => {
    const b = new VerifyBench();
    for (const name of ['a', 'b', 'c']) for (const db of [b.source, b.target]) db.create(table(name), rows(10));
    expect(await b.run({}, {}, passOrder({ tables: ['public.b'] }))).toMatchObject({ complete: true });
    expect(b.results.map((r) => r.table)).toEqual(['public.b']);
    const end = await b.run({}, {}, passOrder({ tables: ['public.c', 'public.x'] }));
    expect(end).toMatchObject({ complete: false, reason: 'no such table is selected: public.x' });
    expect(b.results.map((r) => r.table)).toEqual(['public.b', 'public.c']);
  });

  test('after a restart it goes on where it was, with the instant at which the table was begun', async () => {
    const b = new VerifyBench({ perRowUs: 300 });
    for (const name of ['a', 'b']) for (const db of [b.source, b.target]) db.create(table(name), rows(10_000));
    b.target.delete(table('b'), ['17']);
    const ending = new AbortController();
    const running = b.start(b.verifier(), passOrder(), ending.signal);
    while (b.results.length === 0) await b.clock.advance(100_000);
    await b.clock.advance(2_500_000);
    ending.abort();
    await drive(b.clock, running);
    for (let i = 1; i < b.saved.length; i += 1)
      expect((b.saved[i]?.at ?? 0) - (b.saved[i - 1]?.at ?? 0)).toBeGreaterThanOrEqual(1_000_000);
    const { state } = b.saved.at(-1) ?? { state: null };
    const where = state?.where as Where;
    expect(where.done).toEqual(['public.a']);
    expect(where.current?.keyed?.after).not.toBeNull();
    const compared = where.current?.keyed?.tally.compared ?? 0;
    expect(compared).toBeGreaterThan(0);
    const before = b.source.asked.length;
    await b.clock.advance(60_000_000);
    await b.run({}, {}, state ?? passOrder());
    expect(b.results.map((r) => r.table)).toEqual(['public.a', 'public.b']);
    expect(b.result('public.b')).toMatchObject({
      begunAt: where.current?.begunAt,
      sourceRows: 10_000,
      targetRows: 9_999,
      mismatchedRows: 1,
      rowsCompared: 10_000,
    });
    const again = b.source.asked.slice(before).filter((a) => a.what === 'digest');
    expect(again.every((a) => a.table === 'b')).toBe(true);
    expect(again.reduce((sum, a) => sum + a.rows, 0)).toBeLessThan(10_000 + 4_000);
  });

  test('a state of another version, direction or epoch, or none that can be read, begins anew', async () => {
    const where: Where = { direction: 'forward', epoch: 1, done: ['public.t'], current: null };
    const state = (more: Partial<PassState>): PassState => ({
      order: passOrder(),
      version: STATE_VERSION,
      where,
      ...more,
    });
    for (const [given, results] of [
      [state({}), 0],
      [state({ version: STATE_VERSION + 1 }), 1],
      [state({ where: { ...where, epoch: 2 } }), 1],
      [state({ where: { ...where, direction: 'reverse' } }), 1],
      [state({ where: { ...where, done: 'public.t' } }), 1],
      [state({ where: { ...where, current: { table: 'public.t' } } }), 1],
      [state({ where: null }), 1],
    ] as const) {
      const b = bench(10);
      await b.run({}, {}, given);
      expect(b.results).toHaveLength(results);
    }
  });

  test('the values of rows are shown to a person who asks', async () => {
    const b = bench(10);
    b.target.delete(table('t'), ['2']);
    const shown = await drive(
      b.clock,
      b.verifier().values('public.t', [{ id: '1' }, { id: '2' }], new AbortController().signal),
    );
    expect(shown).toEqual([
      { key: { id: '1' }, source: { id: '1', v: 'v1' }, target: { id: '1', v: 'v1' } },
      { key: { id: '2' }, source: { id: '2', v: 'v2' }, target: null },
    ]);
    await expect(drive(b.clock, b.verifier().values('public.x', [], new AbortController().signal))).rejects.toThrow(
      'no such table',
    );
    expect([b.source.open_, b.target.open_]).toEqual([0, 0]);
  });

  test('a catalog in which nothing can be seen is no comparison', async () => {
    const b = new VerifyBench();
    b.source.create(table('t'), rows(3));
    expect(await b.run()).toMatchObject({
      complete: false,
      reason: expect.stringMatching(/no table can be seen on the target \(aws\)/) as string,
    });
    await expect(drive(b.clock, b.verifier().look(new AbortController().signal))).rejects.toThrow(
      'no table can be seen',
    );
    b.target.down = true;
    await expect(drive(b.clock, b.verifier().look(new AbortController().signal))).rejects.toThrow(
      'the target (aws) cannot be asked: connection refused',
    );
    expect([b.source.open_, b.target.open_]).toEqual([0, 0]);
  });
});
