import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RequestRate } from '../../collectors/session/request-rate.js';

const S = 1e6;

describe('the rate of requests to an account', () => {
  it('lets a few go at once and then three a second', () => {
    const rate = new RequestRate();
    const waits = Array.from({ length: 11 }, () => rate.take(0));
    expect(waits.slice(0, 8)).toEqual(Array.from({ length: 8 }, () => 0));
    expect(waits.slice(8).map((w) => Math.round(w / 1000))).toEqual([333, 667, 1000]);
  });

  it('stays under 4 a second in any ten seconds, whoever asks whenever', () => {
    const asks = fc.array(fc.tuple(fc.integer({ min: 0, max: 5 * S }), fc.boolean()), { minLength: 1, maxLength: 300 });
    fc.assert(
      fc.property(asks, (steps) => {
        const rate = new RequestRate(() => 0.5);
        const sent: number[] = [];
        let now = 0;
        for (const [pause, atOnce] of steps) {
          if (!atOnce) now += pause;
          sent.push(now + rate.take(now));
        }
        sent.sort((a, b) => a - b);
        for (const [i, from] of sent.entries()) {
          expect(sent.slice(i).filter((at) => at < from + 10 * S).length).toBeLessThan(40);
        }
      }),
    );
  });

  it('backs off for all together, longer each time, with jitter, and goes on one by one', () => {
    const low = new RequestRate(() => 0);
    const high = new RequestRate(() => 1);
    for (const [rate, factor] of [
      [low, 0.5],
      [high, 1],
    ] as const) {
      rate.throttled(0);
      expect(rate.take(0)).toBeGreaterThanOrEqual(factor * S);
      rate.throttled(10 * S);
      rate.throttled(10 * S);
      // Twice more in a row: a pause of four seconds.
      const first = rate.take(10 * S);
      expect(first).toBeGreaterThanOrEqual(4 * factor * S);
      expect(rate.take(10 * S) - first).toBeGreaterThan(0.3 * S);
    }
    for (let n = 0; n < 50; n += 1) high.throttled(100 * S);
    expect(high.take(100 * S)).toBeLessThan(32 * S);
    high.answered();
    high.throttled(200 * S);
    expect(high.take(200 * S)).toBeLessThan(3 * S);
  });
});
