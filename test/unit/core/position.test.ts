import { describe, expect, it } from 'vitest';
import {
  bytesBetween,
  formatLsn,
  formatPosition,
  parseLsn,
  reached,
  type Position,
} from '../../../daemon/core/position.js';

const at = (lsn: bigint): Position => ({ kind: 'lsn', lsn });

describe('a position in the log', () => {
  it.each([
    ['0/0', 0n],
    ['16/B374D848', 0x16b374d848n],
    ['FFFFFFFF/FFFFFFFF', 0xffffffffffffffffn],
    ['1/0', 0x100000000n],
  ])('%s', (text, lsn) => {
    expect(parseLsn(text)).toBe(lsn);
    expect(formatLsn(lsn)).toBe(text);
    expect(formatPosition(at(lsn))).toBe(text);
  });

  it.each(['', '0', '0/', '/0', '0/0 ', 'G/0', '123456789/0', '0/123456789', '0/0/0', '-1/0'])('%j is none', (text) =>
    expect(() => parseLsn(text)).toThrow(RangeError),
  );

  it('is reached when it is contained', () => {
    expect(reached(at(10n), at(9n))).toBe(true);
    expect(reached(at(10n), at(10n))).toBe(true);
    expect(reached(at(10n), at(11n))).toBe(false);
  });

  it('has a distance in bytes, never a negative one', () => {
    expect(bytesBetween(at(10n), at(25n))).toBe(15);
    expect(bytesBetween(at(25n), at(10n))).toBe(0);
    expect(bytesBetween(at(25n), at(25n))).toBe(0);
  });
});
