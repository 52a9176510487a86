import { describe, expect, it } from 'vitest';
import { Chains } from '../../daemon/chains.js';

describe('what broke a chain since a fence was placed', () => {
  it('is the first break at or after it, of that link only, until it is accepted', () => {
    const chains = new Chains({});
    expect(chains.brokenSince('shop/forward', 0)).toBeNull();
    chains.broke('shop/forward', 'before', 0, 1_000);
    chains.broke('shop/forward', 'at once', 0, 2_000);
    chains.broke('shop/forward', 'later', 0, 3_000);
    expect(chains.brokenSince('shop/forward', 2_000)).toBe('at once');
    expect(chains.brokenSince('shop/forward', 2_001)).toBe('later');
    expect(chains.brokenSince('shop/forward', 3_001)).toBeNull();
    expect(chains.brokenSince('shop/reverse', 0)).toBeNull();
    chains.clear('shop/forward', Infinity, 4_000);
    expect(chains.brokenSince('shop/forward', 2_000)).toBeNull();
  });

  it('is found again where the same happens again, though it was latched before', () => {
    const chains = new Chains({});
    chains.broke('shop/forward', 'made anew', 0, 1_000);
    expect(chains.brokenSince('shop/forward', 2_000)).toBeNull();
    expect(chains.broke('shop/forward', 'made anew', 0, 3_000).news).toEqual([]);
    expect(chains.brokenSince('shop/forward', 2_000)).toBe('made anew');
    // A verification that began between the two has not compared what came with the second.
    chains.clear('shop/forward', 2_000, 4_000);
    expect(chains.brokenSince('shop/forward', 2_000)).toBe('made anew');
    chains.clear('shop/forward', 3_001, 5_000);
    expect(chains.brokenSince('shop/forward', 0)).toBeNull();
  });

  it('is found where there is no room to remember it by name', () => {
    const chains = new Chains({});
    for (let n = 0; n < 20; n++) chains.broke('shop/forward', `break ${n}`, 0, 1_000);
    expect(chains.brokenSince('shop/forward', 2_000)).toBeNull();
    expect(chains.broke('shop/forward', 'one too many', 0, 3_000).news).toEqual([]);
    expect(chains.brokenSince('shop/forward', 2_000)).toBe('break 19');
  });
});
