import { describe, expect, it } from 'vitest';
import { SampledPositions } from '../../collectors/heartbeat/needs.js';
import type { Observation } from '../../daemon/core/observation.js';
import type { Position } from '../../daemon/core/position.js';

const link = 'shop/forward';
const at = (lsn: number): Position => ({ kind: 'lsn', lsn: BigInt(lsn) });
const sampled = (lsn: number): Observation => ({ kind: 'position-sampled', link, position: at(lsn), sentAt: 0, at: 0 });
const applied = (flow: string, lsn: number): Observation => ({
  kind: 'applied',
  link,
  flow,
  position: at(lsn),
  askedAt: 0,
  at: 0,
});

describe('SampledPositions', () => {
  const needs = (): SampledPositions => new SampledPositions([{ id: link, flows: ['a', 'b'] }]);

  it('wants nothing before a position was sampled, nor for links that it does not know', () => {
    const some = needs();
    expect(some.wanted(link)).toBeNull();
    some.observe({ ...sampled(5), link: 'other/forward' } as Observation);
    expect(some.wanted('other/forward')).toBeNull();
  });

  it('wants a sampled position until every flow has reached it', () => {
    const some = needs();
    some.observe(sampled(10));
    some.observe(applied('a', 10));
    expect(some.wanted(link)).toEqual(at(10));
    some.observe(applied('b', 9));
    expect(some.wanted(link)).toEqual(at(10));
    some.observe(applied('b', 11));
    expect(some.wanted(link)).toBeNull();
  });

  it('wants it again when a flow goes back or can no longer be told', () => {
    const some = needs();
    some.observe(sampled(10));
    some.observe(applied('a', 10));
    some.observe(applied('b', 10));
    some.observe(applied('b', 3));
    expect(some.wanted(link)).toEqual(at(10));
    some.observe(applied('b', 10));
    some.observe({ kind: 'applied-fault', link, flow: 'a', at: 0, reason: 'gone' });
    expect(some.wanted(link)).toEqual(at(10));
  });

  it('tells its listeners of new needs only', () => {
    const some = needs();
    const told: string[] = [];
    const off = some.onWanted((each) => told.push(each));
    some.observe(sampled(10));
    some.observe(applied('a', 20));
    some.observe(applied('b', 20));
    some.observe(sampled(15));
    expect(told).toEqual([link]);
    some.want(link, at(30));
    expect(told).toEqual([link, link]);
    off();
    some.observe(sampled(40));
    expect(told).toHaveLength(2);
  });

  it('wants nothing for a link without flows', () => {
    const none = new SampledPositions([{ id: link, flows: [] }]);
    none.observe(sampled(10));
    expect(none.wanted(link)).toBeNull();
  });
});
