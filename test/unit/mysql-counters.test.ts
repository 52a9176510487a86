import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nameKey } from '../../collectors/mysql/catalog.js';
import {
  autoIncrements,
  compareCounters,
  listedBehind,
  nextOf,
  sequenceGrants,
  type Counter,
} from '../../collectors/mysql/counters.js';
import { TableChooser } from '../../daemon/core/table-pattern.js';

const all = new TableChooser(null);
const counter = (next: number | bigint | null, increment = 1, name = 'orders'): Counter => ({
  schema: 'app',
  name,
  next: next === null ? null : BigInt(next),
  increment: BigInt(increment),
});

describe('counters of two sides', () => {
  it.each([
    ['equal', counter(101), counter(101), null],
    ['ahead', counter(101), counter(5_000), null],
    ['one short', counter(101), counter(100), /next 100, and 101 on the active side/],
    ['unused on both', counter(1), counter(1), null],
    ['counting down, behind', counter(-10, -1), counter(-9, -1), /next -9/],
    ['counting down, ahead', counter(-10, -1), counter(-11, -1), null],
    ['the other way', counter(10), counter(10, -1), /the other way/],
    ['beyond 2^53', counter(9007199254740994n), counter(9007199254740993n), /next 9007199254740993/],
  ])('%s', (_, active, passive, reason) => {
    const { behind } = compareCounters([active], [passive], 'aws', all);
    if (reason === null) expect(behind).toEqual([]);
    else expect(behind[0]?.reason).toMatch(reason);
  });

  it('counts one that the passive side lacks, and none that it has alone', () => {
    expect(compareCounters([counter(5)], [], 'aws', all).behind[0]?.reason).toBe('there is no such counter on aws');
    expect(compareCounters([], [counter(5)], 'aws', all).behind).toEqual([]);
  });

  it('leaves out what is not meant', () => {
    const chooser = new TableChooser({ include: ['app.*'], exclude: ['app.orders'] });
    expect(compareCounters([counter(5)], [], 'aws', chooser).behind).toEqual([]);
  });

  it('names what may not be read, and what lets it', () => {
    const { behind, hidden } = compareCounters([counter(null)], [counter(null)], 'aws', all);
    expect([behind, hidden.active.length, hidden.passive.length]).toEqual([[], 1, 1]);
    expect(sequenceGrants(hidden.active, 'lg')).toBe("GRANT SELECT ON app.orders TO 'lg'@'…'");
  });

  it('says what to do', () => {
    expect(listedBehind(compareCounters([counter(9)], [counter(3)], 'aws', all), 'aws')).toMatch(
      /^app\.orders: next 3, and 9 on the active side; raise them on aws/,
    );
    expect(listedBehind(compareCounters([], [], 'aws', all), 'aws')).toBeNull();
  });
});

describe('what a server hands out next', () => {
  it.each([
    [7, 1, 1, 7],
    [7, 2, 1, 7],
    [7, 2, 2, 8],
    [1, 10, 5, 5],
    [6, 10, 5, 15],
    [15, 10, 5, 15],
    [7, 2, 9, 7],
  ])('a counter of %d, every %d from %d: %d', (at, increment, offset, next) => {
    expect(nextOf(BigInt(at), { increment: BigInt(increment), offset: BigInt(offset) })).toBe(BigInt(next));
  });

  it('is at or above the counter, by less than the increment, and of the right kind', () => {
    fc.assert(
      fc.property(fc.bigInt(1n, 2n ** 64n), fc.bigInt(1n, 65_535n), fc.bigInt(1n, 65_535n), (at, increment, offset) => {
        fc.pre(offset <= increment);
        const next = nextOf(at, { increment, offset });
        expect(next >= at && (next - at < increment || next === offset)).toBe(true);
        if (increment > 1n) expect((next - offset) % increment).toBe(0n);
      }),
    );
  });
});

it('takes a counter that nothing is said of for one that has handed out nothing', () => {
  const table = (name: string, autoIncrement: bigint | null) => ({
    schema: 'app',
    name,
    sequence: false,
    engine: 'InnoDB',
    autoIncrement,
  });
  const found = autoIncrements(
    [table('a', null), table('b', 7n), table('plain', null)],
    new Set([nameKey('app', 'a'), nameKey('app', 'b')]),
  );
  expect(found.map(({ name, next }) => [name, next])).toEqual([
    ['a', 1n],
    ['b', 7n],
  ]);
});
