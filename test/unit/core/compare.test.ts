import { describe, expect, it } from 'vitest';
import {
  breakpoints,
  compare,
  pushSpan,
  truthAt,
  truthOver,
  type Span,
  type Truth,
} from '../../../daemon/core/compare.js';
import type { Comparator } from '../../../daemon/core/condition.js';
import { known, stateAt, unknown, valueAt, type Reading } from '../../../daemon/core/signal.js';

const FRESH = 1_000;
const us = (n: number): number => n / 1e6;
const growing = (value: number, from: number): Reading => ({ ...known(us(value), 0, Infinity), growsFrom: from });
const atLeast = (value: number): Reading => ({ ...known(value, 0, Infinity), bound: 'at-least' });

describe('compare', () => {
  it.each<[Comparator, boolean, boolean, boolean]>([
    ['<', true, false, false],
    ['<=', true, true, false],
    ['>', false, false, true],
    ['>=', false, true, true],
    ['==', false, true, false],
    ['!=', true, false, true],
  ])('1, 2 and 3 %s 2', (op, below, at, above) => {
    expect([1, 2, 3].map((v) => compare(v, op, 2))).toEqual([below, at, above]);
    expect([1, 2, 3].map((v) => truthAt(known(v, 0, FRESH), op, 2, 0))).toEqual(
      [below, at, above].map((b) => (b ? 'true' : 'false')),
    );
  });

  it.each<[Comparator, Truth, Truth, Truth]>([
    ['<', 'unknown', 'false', 'false'],
    ['<=', 'unknown', 'unknown', 'false'],
    ['>', 'unknown', 'unknown', 'true'],
    ['>=', 'unknown', 'true', 'true'],
    ['==', 'unknown', 'unknown', 'false'],
    ['!=', 'unknown', 'unknown', 'true'],
  ])('something of at least 1, 2 and 3 %s 2', (op, below, at, above) => {
    expect([1, 2, 3].map((v) => truthAt(atLeast(v), op, 2, 0))).toEqual([below, at, above]);
  });
});

describe('freshness', () => {
  it('includes its last instant and not the one after', () => {
    const r = known(1, 100, FRESH);
    expect([stateAt(r, 1_100), stateAt(r, 1_101)]).toEqual(['ok', 'stale']);
    expect([truthAt(r, '<', 2, 1_100), truthAt(r, '<', 2, 1_101)]).toEqual(['true', 'unknown']);
    expect(truthOver(r, '<', 2, 90, 1_200)).toEqual([
      { from: 90, to: 1_101, is: 'true' },
      { from: 1_101, to: 1_200, is: 'unknown' },
    ]);
  });

  it.each([NaN, Infinity, -Infinity])('%s is unknown whatever it is compared with', (value) => {
    for (const op of ['<', '<=', '>', '>=', '==', '!='] as const)
      expect(truthAt(known(value, 0, FRESH), op, 2, 0)).toBe('unknown');
    expect(stateAt(known(value, 0, FRESH), 0)).toBe('unknown');
  });

  it('knows a bound and an absent value from a value', () => {
    expect(stateAt(atLeast(1), 0)).toBe('unknown');
    expect(stateAt(unknown('why', 0), 0)).toBe('unknown');
    expect(valueAt(unknown('why', 0), 0)).toBeNull();
    expect(truthAt(unknown('why', 0), '!=', 2, 0)).toBe('unknown');
  });
});

describe('growth', () => {
  it('starts when it exceeds the value, a second per second', () => {
    expect([1_000, 1_005, 1_006, 1_020].map((t) => valueAt(growing(5, 1_000), t))).toEqual([5, 5, 6, 20].map(us));
  });

  it.each<[Comparator, Span<Truth>[]]>([
    [
      '<',
      [
        { from: 0, to: 110, is: 'true' },
        { from: 110, to: 200, is: 'false' },
      ],
    ],
    [
      '<=',
      [
        { from: 0, to: 111, is: 'true' },
        { from: 111, to: 200, is: 'false' },
      ],
    ],
    [
      '>',
      [
        { from: 0, to: 111, is: 'false' },
        { from: 111, to: 200, is: 'true' },
      ],
    ],
    [
      '>=',
      [
        { from: 0, to: 110, is: 'false' },
        { from: 110, to: 200, is: 'true' },
      ],
    ],
    [
      '==',
      [
        { from: 0, to: 110, is: 'false' },
        { from: 110, to: 111, is: 'true' },
        { from: 111, to: 200, is: 'false' },
      ],
    ],
    [
      '!=',
      [
        { from: 0, to: 110, is: 'true' },
        { from: 110, to: 111, is: 'false' },
        { from: 111, to: 200, is: 'true' },
      ],
    ],
  ])('crosses %s 10 µs at the right instant', (op, spans) => {
    expect(truthOver(growing(3, 100), op, us(10), 0, 200)).toEqual(spans);
  });

  it('crosses at whole microseconds that have no exact quotient, also after months of uptime', () => {
    for (const start of [0, 5e12]) {
      for (const n of [123, 246, 489, 493, 1_999, 2_000_000, 86_400_000_123]) {
        const r = growing(n, start);
        expect(truthAt(r, '<=', us(n), start + n)).toBe('true');
        expect(truthAt(r, '<=', us(n), start + n + 1)).toBe('false');
        const later = growing(1, start);
        expect(truthAt(later, '<', us(n), start + n - 1)).toBe('true');
        expect(truthAt(later, '<', us(n), start + n)).toBe('false');
        expect(truthOver(later, '<=', us(n), start + n - 5, start + n + 5)).toEqual([
          { from: start + n - 5, to: start + n + 1, is: 'true' },
          { from: start + n + 1, to: start + n + 5, is: 'false' },
        ]);
      }
    }
  });

  it('crosses a threshold between two microseconds after it', () => {
    expect(truthOver(growing(0, 0), '<', 10.5e-6, 0, 20)).toEqual([
      { from: 0, to: 11, is: 'true' },
      { from: 11, to: 20, is: 'false' },
    ]);
  });

  it('of a bound stays a bound', () => {
    const r: Reading = { ...growing(3, 100), bound: 'at-least' };
    expect(truthOver(r, '<', us(10), 100, 120)).toEqual([
      { from: 100, to: 110, is: 'unknown' },
      { from: 110, to: 120, is: 'false' },
    ]);
  });

  it('has its breakpoints inside the stretch only, in order', () => {
    const r: Reading = { ...growing(3, 100), observedAt: 0, freshUs: 104 };
    expect(breakpoints(r, us(10), 100, 200)).toEqual([104, 105, 110, 111]);
    expect(breakpoints(r, us(10), 104, 110)).toEqual([105]);
  });
});

describe('spans', () => {
  it('join when they say the same and touch', () => {
    const spans: Span<string>[] = [];
    pushSpan(spans, 0, 5, 'a');
    pushSpan(spans, 5, 5, 'b');
    pushSpan(spans, 5, 9, 'a');
    pushSpan(spans, 9, 10, 'b');
    pushSpan(spans, 12, 13, 'b');
    expect(spans).toEqual([
      { from: 0, to: 9, is: 'a' },
      { from: 9, to: 10, is: 'b' },
      { from: 12, to: 13, is: 'b' },
    ]);
  });
});
