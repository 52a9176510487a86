import { describe, expect, test } from 'vitest';
import type { RowMark } from '../../../collectors/verify/port.js';
import { PaceShare } from '../../../collectors/verify/pace-share.js';
import { ChunkSize } from '../../../collectors/verify/chunks.js';
import { diffMarks } from '../../../collectors/verify/narrow.js';
import {
  difference,
  MOST_WAITED_US,
  settleRow,
  UNTRIED,
  type Attempt,
  type Face,
  type SettleRules,
  type Verdict,
} from '../../../collectors/verify/settle.js';
import { addDifference, emptyTally } from '../../../collectors/verify/tally.js';

const RULES: SettleRules = { soft: [], symmetric: false };
const row = (hash: string, version: string | null = null, soft: string[] = []): Face => [
  { key: ['1'], hash, soft, version },
];
const attempt = (s1: Face, v: Face, s3: Face = s1, more: Partial<Attempt> = {}): Attempt => ({
  s1,
  v,
  s3,
  spentUs: 1_000,
  waitedUs: 0,
  ...more,
});

/** What a row comes to by these attempts, and after how many. */
function run(attempts: readonly Attempt[], rules = RULES): { verdict: Verdict['state']; after: number } {
  let now = UNTRIED;
  for (const [i, a] of attempts.entries()) {
    const verdict = settleRow(now, a, rules);
    if (verdict.state !== 'open') return { verdict: verdict.state, after: i + 1 };
    now = verdict.row;
  }
  return { verdict: 'open', after: attempts.length };
}
const times = (n: number, a: Attempt): Attempt[] => Array.from({ length: n }, () => a);

describe('a row that differed', () => {
  test('matches what the active side shows before or after, of this attempt only', () => {
    expect(run([attempt(row('a'), row('a'), row('b'))])).toEqual({ verdict: 'matched', after: 1 });
    expect(run([attempt(row('a'), row('b'), row('b'))])).toEqual({ verdict: 'matched', after: 1 });
    expect(run([attempt([], [], row('b'))])).toEqual({ verdict: 'matched', after: 1 });
    expect(run([attempt(row('a'), row('x')), attempt(row('b'), row('a'))])).toEqual({ verdict: 'open', after: 2 });
  });

  test('with versions two proofs in a row will do, after an attempt that they can be compared with', () => {
    expect(run(times(9, attempt(row('a', '7'), row('b', '3'))))).toEqual({ verdict: 'mismatched', after: 3 });
    expect(run(times(9, attempt(row('a', '7'), [])))).toEqual({ verdict: 'mismatched', after: 3 });
  });

  test('without versions, or where there is no row to have one, it takes eight', () => {
    expect(run(times(20, attempt(row('a'), row('b', '3'))))).toEqual({ verdict: 'mismatched', after: 9 });
    expect(run(times(20, attempt([], row('b', '3'))))).toEqual({ verdict: 'mismatched', after: 9 });
  });

  test('a version that has changed is a change, though the values are the same again', () => {
    const touched = attempt(row('a', '7'), row('b', '3'), row('a', '9'));
    const still = attempt(row('a', '9'), row('b', '3'));
    expect(run(times(19, touched)).verdict).toBe('open');
    expect(run([still, still, touched, still, still])).toEqual({ verdict: 'mismatched', after: 5 });
    expect(run([still, still, touched, still]).verdict).toBe('open');
  });

  test('a passive side that moves is no proof', () => {
    const moving = Array.from({ length: 19 }, (_, i) => attempt(row('a', '7'), row(`b${i}`)));
    expect(run(moving).verdict).toBe('open');
  });

  test('an active side that moves between attempts is no obstacle, but where both sides are written to', () => {
    const moving = Array.from({ length: 20 }, (_, i) => attempt(row(`a${i}`), row('b')));
    expect(run(moving).verdict).toBe('mismatched');
    expect(run(moving, { ...RULES, symmetric: true })).toEqual({ verdict: 'unsettled', after: 20 });
    const still = times(20, attempt(row('a', '7'), row('b', '3')));
    expect(run(still, { ...RULES, symmetric: true })).toEqual({ verdict: 'mismatched', after: 9 });
  });

  test('ends after so many attempts, so much time, or so much waiting', () => {
    const hot = attempt(row('a'), row('x'), row('b'));
    expect(run(times(30, hot))).toEqual({ verdict: 'unsettled', after: 20 });
    expect(run(times(30, { ...hot, spentUs: 30_000_000 }))).toEqual({ verdict: 'unsettled', after: 10 });
    expect(run(times(30, { ...hot, waitedUs: MOST_WAITED_US / 2 }))).toEqual({ verdict: 'unsettled', after: 2 });
  });

  test('soft values are equal by what they stand for, and a change of their text is a change', () => {
    const rules: SettleRules = { soft: ['float8'], symmetric: false };
    expect(run([attempt(row('a', null, ['0.1']), row('a', null, ['0.10']))], rules).verdict).toBe('matched');
    expect(run([attempt(row('b', null, ['0.1']), row('a', null, ['0.1']))], rules).verdict).toBe('open');
    const moving = Array.from({ length: 19 }, (_, i) => attempt(row('a', '1', ['5']), row('a', '1', [String(i + 10)])));
    expect(run(moving, rules).verdict).toBe('open');
  });
});

describe('rows under one key', () => {
  const marks = (...hashes: string[]): RowMark[] =>
    hashes.map((hash) => ({ key: ['1'], hash, soft: [], version: null }));

  test('are compared as multisets', () => {
    expect(difference(marks('a', 'a', 'b'), marks('a', 'b', 'c'), [])).toEqual({ onlyA: 1, onlyB: 1 });
    expect(diffMarks(marks('a', 'b'), marks('b', 'a'), [])).toEqual({ equal: 2, differing: [] });
    expect(diffMarks(marks('a', 'a'), marks('a'), [])).toEqual({ equal: 0, differing: [['1']] });
  });

  test('count changed ones once, and what one side has more of', () => {
    const tally = emptyTally();
    addDifference(tally, { id: '1' }, marks('a', 'b', 'c'), marks('a', 'x'), []);
    expect(tally.listed.map((m) => m.kind)).toEqual(['different', 'missing']);
    expect(tally.mismatched).toBe(2);
  });
});

describe('how much at once', () => {
  test('ranges grow to the time they may take, and shrink by a quarter at most', () => {
    const size = new ChunkSize(500_000, false);
    for (let i = 0; i < 30; i += 1) size.took(size.rows, size.rows * 10);
    expect(size.rows).toBe(50_000);
    size.took(size.rows, size.rows * 1_000);
    expect(size.rows).toBe(12_500);
    size.took(10, 10_000_000);
    expect(size.rows).toBe(12_500);
    size.tooSlow(300);
    expect(size.rows).toBe(300);
    size.tooSlow(1);
    expect(size.rows).toBe(10);
    const fast = new ChunkSize(500_000, false);
    for (let i = 0; i < 30; i += 1) fast.took(fast.rows, 0);
    expect(fast.rows).toBe(1_000_000);
  });

  test('where no index serves the key their size says nothing about the time', () => {
    const size = new ChunkSize(500_000, true);
    size.took(size.rows, 60_000_000);
    expect(size.rows).toBe(1_000_000);
  });

  test('work is followed by as much rest as its share asks for, also when it overlaps', () => {
    const share = new PaceShare(0.2);
    expect(share.restUs(0)).toBe(0);
    share.worked(0, 100);
    expect(share.restUs(100)).toBe(400);
    expect(share.restUs(450)).toBe(50);
    share.worked(100, 200);
    expect(share.restUs(500)).toBe(400);
    const whole = new PaceShare(1);
    whole.worked(0, 100);
    expect(whole.restUs(100)).toBe(0);
  });
});
