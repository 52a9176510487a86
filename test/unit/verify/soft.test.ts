import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { canonicalJson, roundedDecimal, softEqual } from '../../../collectors/verify/soft.js';

describe('floats', () => {
  test.each([
    ['0.30000000000000004', '0.3', true],
    ['1e20', '100000000000000000000', true],
    ['-0', '0', true],
    ['0.0', '-0e5', true],
    ['1.5', '-1.5', false],
    ['123456789012345.4', '123456789012345', true],
    ['123456789012344.5', '123456789012345', true],
    ['-123456789012344.5', '-123456789012345', true],
    ['123456789012344.4', '123456789012345', false],
    ['999999999999999.5', '1e15', true],
    ['NaN', 'nan', true],
    ['Infinity', 'inf', true],
    ['-Infinity', 'Infinity', false],
    ['', '0', false],
    ['x', 'x1', false],
    [null, '0', false],
    [null, null, true],
  ])('%s and %s as doubles', (a, b, equal) => {
    expect(softEqual('float8', a, b)).toBe(equal);
  });

  test('six digits decide for single precision', () => {
    expect(softEqual('float4', '1.2345674', '1.23457')).toBe(true);
    expect(softEqual('float4', '1.23456', '1.23457')).toBe(false);
  });

  test('rounding agrees with the exact decimal text of integers', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(10n ** 25n), max: 10n ** 25n }), fc.integer({ min: 0, max: 5 }), (n, shift) => {
        const digits = String(n < 0n ? -n : n);
        const cut = digits.length - 15;
        const unit = cut > 0 ? 10n ** BigInt(cut) : 1n;
        const size = n < 0n ? -n : n;
        const nearest = ((size + unit / 2n) / unit) * unit * (n < 0n ? -1n : 1n);
        const asText = (x: bigint): string => `${String(x)}e${shift}`;
        expect(roundedDecimal(asText(n), 15)).toBe(roundedDecimal(asText(nearest), 40));
      }),
    );
  });
});

describe('JSON', () => {
  test.each([
    ['{"b":1,"a":2}', '{ "a": 2, "b": 1 }', true],
    ['{"a":1,"a":2}', '{"a":2}', true],
    ['[1,2]', '[2,1]', false],
    ['[1.0]', '[1]', true],
    ['12345678901234567890123', '12345678901234567890124', false],
    ['12345678901234567890123', '1.2345678901234567890123e22', true],
    ['"\\u0041"', '"A"', true],
    ['"e\\u0301"', '"\\u00e9"', false],
    ['null', 'false', false],
    ['"1"', '1', false],
    ['{}', '[]', false],
    ['{"a":{}}', '{"a":[]}', false],
    ['{"a":1,}', '{"a":1}', false],
    ['[1', '[1]', false],
    ['01', '1', false],
    ['1 2', '1', false],
  ])('%s and %s', (a, b, equal) => {
    expect(softEqual('json', a, b)).toBe(equal);
  });

  test('agrees with JSON.parse on equality, whatever the order of keys and the spaces', () => {
    const shuffled = (value: unknown): unknown => {
      if (Array.isArray(value)) return value.map(shuffled);
      if (value === null || typeof value !== 'object') return value;
      return Object.fromEntries(
        Object.entries(value)
          .reverse()
          .map(([k, v]) => [k, shuffled(v)]),
      );
    };
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (a, b) => {
        expect(softEqual('json', JSON.stringify(a), JSON.stringify(shuffled(a), null, 2))).toBe(true);
        expect(canonicalJson(JSON.stringify(a))).not.toBeNull();
        const text = (v: unknown): string => JSON.stringify(v);
        if (canonicalJson(text(a)) === canonicalJson(text(b))) expect(JSON.parse(text(a))).toEqual(JSON.parse(text(b)));
      }),
    );
  });

  test('a document that is nested without end is none', () => {
    expect(canonicalJson('['.repeat(100_000))).toBeNull();
  });
});
