import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { VerdictJson } from '../../daemon/http/port.js';
import { VerdictWriter } from '../../daemon/http/verdict-text.js';
import { verdict } from '../support/fake-port.js';

const text = fc.string({ unit: 'binary' });
const number = fc.oneof(fc.double(), fc.integer(), fc.constantFrom(0.1, 1e21, 1e-7, -0, 412.0));
const instant = fc.constantFrom('2026-11-22T00:00:00.000Z', '1970-01-01T00:00:00.001Z');
const orNull = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | null> => fc.option(value);

const verdicts: fc.Arbitrary<VerdictJson> = fc.record({
  gate: text,
  state: fc.constantFrom('open', 'closed', 'unknown'),
  open: fc.boolean(),
  since: instant,
  evaluated_at: instant,
  opens_at: orNull(instant),
  conditions: fc.array(
    fc.record({
      text,
      state: fc.constantFrom('held', 'holding', 'broken', 'unknown'),
      value: orNull(number),
      unit: text,
      held_seconds: number,
      needs_seconds: number,
      last_broken: orNull(fc.record({ at: instant, value: orNull(number) })),
      reason: orNull(text),
    }),
    { maxLength: 4 },
  ),
  reason: orNull(text),
  config_hash: text,
  daemon: text,
});

describe('the text of a verdict', () => {
  it('is what JSON.stringify makes, field by field and in order', () => {
    const writer = new VerdictWriter();
    for (const state of ['open', 'closed', 'unknown'] as const) {
      const one = verdict('shop/flip-writes', state, 3);
      expect(writer.write(one)).toBe(JSON.stringify(one));
    }
  });

  it('is so for whatever there may be in it', () => {
    const writer = new VerdictWriter();
    fc.assert(
      fc.property(verdicts, (one) => {
        expect(writer.write(one)).toBe(JSON.stringify(one));
      }),
      { numRuns: 500 },
    );
  });
});
