import { describe, expect, it } from 'vitest';
import {
  bytesBetween,
  formatLsn,
  formatPosition,
  parseLsn,
  parsePosition,
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

describe('positions of MySQL and MariaDB', () => {
  const at = (text: string): Position => {
    const found = parsePosition(text);
    if (found === null) throw new Error(text);
    return found;
  };
  const server = '3e11fa47-71ca-11e1-9e33-c80aa9429562';

  it.each([
    [`${server}/binlog.000009:500`, `${server}/binlog.000009:500`, true],
    [`${server}/binlog.000009:499`, `${server}/binlog.000009:500`, false],
    [`${server}/binlog.000010:4`, `${server}/binlog.000009:500`, true],
    [`${server}/binlog.999999:4`, `${server}/binlog.1000000:4`, false],
    [`${server}/other.000010:4`, `${server}/binlog.000009:500`, false],
    [`7/binlog.000010:4`, `${server}/binlog.000009:500`, false],
    ['0-1-5', '0-1-4', true],
    ['0-1-5', `${server}:1`, false],
    ['0-1-5', '0/5', false],
    ['0/5', '0-1-5', false],
  ])('%s has reached %s: %j', (applied, wanted, expected) => {
    expect(reached(at(applied), at(wanted))).toBe(expected);
  });

  it.each([`${server}/binlog.000009:500`, '7/mysql-bin.1:4', '0-1-5', `${server}:1-5:tag:7`, '16/B374D848'])(
    '%s survives a round trip',
    (text) => {
      expect(formatPosition(at(text))).toBe(text);
    },
  );

  it.each(['', 'x', '1/2/3', `${server}/binlog:5`, '0-1'])('%j is no position', (text) => {
    expect(parsePosition(text)).toBeNull();
  });

  it('knows bytes only within one file of one server', () => {
    expect(bytesBetween(at('7/b.1:4'), at('7/b.1:104'))).toBe(100);
    expect(bytesBetween(at('7/b.1:104'), at('7/b.1:4'))).toBe(0);
    expect(bytesBetween(at('7/b.1:4'), at('7/b.2:104'))).toBeNull();
    expect(bytesBetween(at('0-1-4'), at('0-1-5'))).toBeNull();
  });
});
