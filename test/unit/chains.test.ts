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
});
