import { describe, expect, it } from 'vitest';
import { parseMariadbGtidSet, parseMysqlGtidSet } from '../../../daemon/core/gtid.js';
import { isBeyond, parseLsn, type Position } from '../../../daemon/core/position.js';

const uuid = '3e11fa47-71ca-11e1-9e33-c80aa9429562';
const other = '4e11fa47-71ca-11e1-9e33-c80aa9429562';
const lsn = (text: string): Position => ({ kind: 'lsn', lsn: parseLsn(text) });
const mysql = (text: string): Position => ({ kind: 'gtid', set: parseMysqlGtidSet(text) });
const mariadb = (text: string): Position => ({ kind: 'gtid', set: parseMariadbGtidSet(text) });
const binlog = (file: string, offset: number): Position => ({ kind: 'binlog', server: uuid, file, offset });

describe('a local write beyond a place', () => {
  it.each<[string, Position, boolean | null]>([
    ['0/100', lsn('0/100'), false],
    ['0/FF', lsn('0/100'), false],
    ['0/101', lsn('0/100'), true],
    ['1/0', lsn('0/FFFFFFFF'), true],
    [`${uuid}:5`, mysql(`${uuid}:1-5`), false],
    [`${uuid}:6`, mysql(`${uuid}:1-5`), true],
    // In a hole of the set: it was given its number before, and committed after.
    [`${uuid}:3`, mysql(`${uuid}:1-2:4-5`), true],
    [`${uuid.toUpperCase()}:5`, mysql(`${uuid}:1-5`), false],
    [`${other}:1`, mysql(`${uuid}:1-5`), true],
    [`${uuid}:tag:1`, mysql(`${uuid}:1-5`), true],
    [`${uuid}:1`, mysql(''), true],
    ['0-1-5', mariadb('0-1-5'), false],
    ['0-1-6', mariadb('0-1-5'), true],
    ['0-1-5', mariadb('0-2-5,1-1-9'), false],
    ['7-1-1', mariadb('0-1-5'), true],
    ['0-1-1', mariadb(''), true],
    ['binlog.000002:500', binlog('binlog.000002', 500), false],
    ['binlog.000002:499', binlog('binlog.000002', 500), false],
    ['binlog.000002:501', binlog('binlog.000002', 500), true],
    ['binlog.000003:4', binlog('binlog.000002', 500), true],
    ['binlog.000001:9999', binlog('binlog.000002', 500), false],
    // Numbers, not texts: the names grow beyond six digits.
    ['binlog.1000000:4', binlog('binlog.999999', 500), true],
    // What cannot be compared is never "no".
    ['other.000002:1', binlog('binlog.000002', 500), null],
    [`${other}/binlog.000002:1`, binlog('binlog.000002', 500), null],
    [`${uuid}:5`, binlog('binlog.000002', 500), null],
    ['binlog.000002:1', mysql(`${uuid}:1-5`), null],
    ['0-1-5', mysql(`${uuid}:1-5`), null],
    [`${uuid}:5`, mariadb('0-1-5'), null],
    ['0/100', mysql(`${uuid}:1-5`), null],
    ['0-1-5', lsn('0/100'), null],
    ['', mysql(`${uuid}:1-5`), null],
    ['nonsense', mariadb('0-1-5'), null],
    ['', binlog('binlog.000002', 500), null],
  ])('%s and %o: %s', (write, place, beyond) => {
    expect(isBeyond(write, place)).toBe(beyond);
  });
});
