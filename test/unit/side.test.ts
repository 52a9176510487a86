import { describe, expect, it } from 'vitest';
import { obstacleOf, skewOf } from '../../collectors/postgres/side.js';

describe('skewOf', () => {
  const wall = 1_700_000_000_000;

  it('takes the middle of the round trip and says how far off it may be', () => {
    const taken = { wallBefore: wall, wallAfter: wall + 10, roundTripUs: 10_000 };
    expect(skewOf(wall * 1000 + 5_000, taken)).toEqual({ value: 0, reason: '± 5 ms (half the round trip)' });
    expect(skewOf(wall * 1000 + 5_000 + 744_000_000, taken).value).toBe(744);
    expect(skewOf(wall * 1000 - 744_000_000 + 5_000, taken).value).toBe(-744);
  });

  it('is unknown when our own clock was set meanwhile', () => {
    const set = { wallBefore: wall, wallAfter: wall + 3_600_000, roundTripUs: 10_000 };
    expect(skewOf(wall * 1000, set)).toMatchObject({ value: null, reason: expect.stringContaining('set') as unknown });
  });
});

describe('obstacleOf', () => {
  const free = { in_recovery: false, default_read_only: false, read_only: false, settings: null };
  it.each([
    [{}, null],
    [{ in_recovery: true, read_only: true }, /in recovery/],
    [{ default_read_only: true, read_only: true }, /default_transaction_read_only is on;/],
    [{ default_read_only: true, settings: '5\/0 default_transaction_read_only=on' }, /on \(5\/0 default/],
    [{ read_only: true }, /transaction_read_only is on/],
  ])('%o', (row, reason) => {
    const obstacle = obstacleOf({ ...free, ...row });
    if (reason === null) expect(obstacle).toBeNull();
    else expect(obstacle).toMatch(reason);
  });
});
