import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  containsGtids,
  countMissing,
  formatGtidSet,
  gtidsOf,
  isEmptyGtidSet,
  parseMariadbGtidSet as mariadb,
  parseMysqlGtidSet as mysql,
  subtractGtids,
  uniteGtids,
  type MysqlGtidSet,
} from '../../../daemon/core/gtid.js';

const A = '3e11fa47-71ca-11e1-9e33-c80aa9429562';
const B = '4e11fa47-71ca-11e1-9e33-c80aa9429562';

describe('a MySQL GTID set', () => {
  it.each([
    ['', ''],
    [' \n', ''],
    [`${A}:1`, `${A}:1`],
    [`${A.toUpperCase()}:1-5`, `${A}:1-5`],
    [A.replaceAll('-', '') + ':7', `${A}:7`],
    [`${A}:1-3:4-5:9`, `${A}:1-5:9`],
    [`${A}:9:1-5:3-8`, `${A}:1-9`],
    [`${A}:1-5,\n${B}:1-2`, `${A}:1-5,${B}:1-2`],
    [`${B}:1,${A}:2,${A}:1`, `${A}:1-2,${B}:1`],
    [`${A}:5-4`, ''],
    [`${A}:1-5:backup:1-3:batch:7`, `${A}:1-5:backup:1-3:batch:7`],
    [`${A}:Batch:1-3:2-4`, `${A}:batch:1-4`],
    [`${A}:9223372036854775806`, `${A}:9223372036854775806`],
  ])('%j is read as %j', (text, expected) => {
    expect(formatGtidSet(mysql(text))).toBe(expected);
  });

  it.each([
    'x',
    A,
    `${A}:`,
    `${A}:0`,
    `${A}:1-`,
    `${A}:-1`,
    `${A}:1 2`,
    `${A}:tag`,
    `${A}:tag:other:1`,
    `${A}:9223372036854775808`,
    '0-1-5',
    `${A}:1-5;${B}:1`,
    `${A.slice(1)}:1`,
  ])('%j is refused', (text) => {
    expect(() => mysql(text)).toThrow(RangeError);
  });

  it.each([
    [`${A}:1-10`, `${A}:3-4`, true],
    [`${A}:1-10`, `${A}:1-11`, false],
    [`${A}:1-4:6-10`, `${A}:1-10`, false],
    [`${A}:1-4:6-10`, `${A}:2-3:7`, true],
    [`${A}:1-10`, `${B}:1`, false],
    [`${A}:1-10`, '', true],
    ['', `${A}:1`, false],
    [`${A}:1-10`, `${A}:tag:1`, false],
    [`${A}:tag:1-10`, `${A}:1`, false],
    [`${A}:1:tag:1-10`, `${A}:tag:5`, true],
  ])('%j contains %j: %j', (outer, inner, expected) => {
    expect(containsGtids(mysql(outer), mysql(inner))).toBe(expected);
  });

  it.each([
    [`${A}:1-10`, `${A}:3-4`, `${A}:1-2:5-10`, 8],
    [`${A}:1-10`, `${A}:1-3:5:8-20`, `${A}:4:6-7`, 3],
    [`${A}:1-10,${B}:1`, `${A}:1-10`, `${B}:1`, 1],
    [`${A}:1-10`, `${A}:1-10`, '', 0],
    [`${A}:1:tag:1-2`, `${A}:1`, `${A}:tag:1-2`, 2],
  ])('%j without %j is %j: %j transactions', (all, without, expected, count) => {
    expect(formatGtidSet(subtractGtids(mysql(all), mysql(without)))).toBe(expected);
    expect(countMissing(mysql(without), mysql(all))).toBe(count);
  });

  it('tells what one server wrote, tagged or not', () => {
    const set = mysql(`${A}:1-5:tag:1,${B}:7`);
    expect(formatGtidSet(gtidsOf(set, A.toUpperCase()))).toBe(`${A}:1-5:tag:1`);
    expect(isEmptyGtidSet(gtidsOf(set, A.replace('3', '9')))).toBe(true);
  });

  const keys = [A, B, `${A}:tag`];
  const member = fc.tuple(fc.constantFrom(...keys), fc.integer({ min: 1, max: 12 }));
  const members = fc.array(member, { maxLength: 25 });
  const textOf = (list: readonly (readonly [string, number])[]): string =>
    list.map(([key, n]) => `${key}:${n}`).join(',');
  const namesOf = (set: MysqlGtidSet): Set<string> =>
    new Set(
      [...set.sources].flatMap(([key, intervals]) =>
        intervals.flatMap(({ from, to }) =>
          Array.from({ length: Number(to - from) + 1 }, (_, i) => `${key}:${from + BigInt(i)}`),
        ),
      ),
    );
  const plain = (list: readonly (readonly [string, number])[]): Set<string> =>
    new Set(list.map(([key, n]) => `${key}:${n}`));

  it('behaves like a set of single transactions', () => {
    fc.assert(
      fc.property(members, members, (a, b) => {
        const [left, right] = [mysql(textOf(a)), mysql(textOf(b))];
        const [l, r] = [plain(a), plain(b)];
        expect(namesOf(left)).toEqual(l);
        expect(mysql(formatGtidSet(left))).toEqual(left);
        expect(containsGtids(left, right)).toBe([...r].every((x) => l.has(x)));
        expect(namesOf(subtractGtids(left, right))).toEqual(new Set([...l].filter((x) => !r.has(x))));
        expect(namesOf(uniteGtids(left, right))).toEqual(new Set([...l, ...r]));
        expect(countMissing(left, right)).toBe([...r].filter((x) => !l.has(x)).length);
        for (const intervals of left.sources.values()) {
          expect(intervals.every((i, n) => n === 0 || i.from > intervals[n - 1]!.to + 1n)).toBe(true);
        }
      }),
    );
  });
});

describe('a MariaDB GTID position', () => {
  it.each([
    ['', ''],
    ['0-1-42', '0-1-42'],
    ['1-1-7,0-2-42', '0-2-42,1-1-7'],
    ['0-1-42,0-2-43,0-3-41', '0-2-43'],
    ['4294967295-4294967295-18446744073709551615', '4294967295-4294967295-18446744073709551615'],
  ])('%j is read as %j', (text, expected) => {
    expect(formatGtidSet(mariadb(text))).toBe(expected);
  });

  it.each(['0-1', '0-1-', 'a-1-1', '0-1-1,', '4294967296-1-1', '0-1-18446744073709551616', `${A}:1`])(
    '%j is refused',
    (text) => {
      expect(() => mariadb(text)).toThrow(RangeError);
    },
  );

  it.each([
    ['0-1-42', '0-2-42', true, 0],
    ['0-1-42', '0-1-43', false, 1],
    ['0-1-42,1-1-5', '1-1-5', true, 0],
    ['0-1-42', '1-1-5', false, 5],
    ['', '', true, 0],
  ])('%j contains %j: %j, %j missing', (outer, inner, expected, missing) => {
    expect(containsGtids(mariadb(outer), mariadb(inner))).toBe(expected);
    expect(countMissing(mariadb(outer), mariadb(inner))).toBe(missing);
  });

  it('is never contained in a MySQL set, nor the other way round', () => {
    expect(containsGtids(mysql(`${A}:1-5`), mariadb(''))).toBe(false);
    expect(containsGtids(mariadb('0-1-5'), mysql(''))).toBe(false);
    expect(countMissing(mysql(''), mariadb(''))).toBeNull();
  });
});
