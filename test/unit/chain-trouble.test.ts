import { describe, expect, it } from 'vitest';
import { FlowTroubles } from '../../collectors/postgres/chain-trouble.js';
import type { ChainSubscription } from '../../collectors/postgres/chain-state.js';

const second = 1_000_000;
const sub = (over: Partial<ChainSubscription>): ChainSubscription => ({
  id: '1',
  enabled: true,
  slot: 's',
  worker: 7,
  rowVersion: '1',
  skip: null,
  skipped: null,
  applied: 1n,
  origin: { remote: 5n, local: '0/1' },
  errors: 0,
  uncopied: [],
  ...over,
});
/** Looks at one flow, one a second; answers the last look. */
function looks(...subs: Partial<ChainSubscription>[]): { eager: boolean; stuck: boolean } {
  const troubles = new FlowTroubles();
  let last = { eager: false, stuck: new Set<string>() };
  subs.forEach((s, n) => (last = troubles.observe({ subscriptions: new Map([['f', sub(s)]]) }, n * second)));
  return { eager: last.eager, stuck: last.stuck.has('f') };
}
const at = (remote: bigint, errors: number): Partial<ChainSubscription> => ({ origin: { remote, local: '' }, errors });

describe('the troubles of a flow', () => {
  it('hurry the looks while it is disabled, has no worker, or had an apply error lately', () => {
    expect(looks({}, {})).toEqual({ eager: false, stuck: false });
    expect(looks({ enabled: false }).eager).toBe(true);
    expect(looks({ worker: null }).eager).toBe(true);
    expect(looks(at(5n, 0), at(5n, 1), at(6n, 1)).eager).toBe(true);
    expect(looks(at(5n, 0), at(5n, 1), ...Array<Partial<ChainSubscription>>(61).fill(at(6n, 1))).eager).toBe(false);
    // Errors from before the first look tell nothing, and before version 15 they are not counted.
    expect(looks(at(5n, 9)).eager).toBe(false);
    expect(looks({ errors: null }, { errors: null })).toEqual({ eager: false, stuck: false });
  });

  it('make it stuck when it fails again and again at one position, not when its connection was lost', () => {
    expect(looks(at(5n, 0), at(5n, 1), at(5n, 1)).stuck).toBe(false);
    expect(looks(at(5n, 0), at(5n, 1), at(6n, 1), at(6n, 2), at(7n, 2)).stuck).toBe(false);
    expect(looks(at(5n, 0), at(6n, 1)).stuck).toBe(false);
    // Looks that came late: all of the errors may have come before the move, which then was how the trouble ended.
    expect(looks(at(5n, 0), at(6n, 2)).stuck).toBe(true);
    expect(looks(at(5n, 0), at(5n, 1), at(6n, 2)).stuck).toBe(true);
    expect(looks(at(5n, 0), at(5n, 1), at(5n, 2)).stuck).toBe(true);
    expect(looks(at(5n, 0), at(5n, 1), at(5n, 2), at(9n, 2)).stuck).toBe(true);
    expect(looks(at(5n, 0), at(5n, 2), ...Array<Partial<ChainSubscription>>(4).fill(at(9n, 2))).stuck).toBe(false);
    const troubles = new FlowTroubles();
    const look = (s: Partial<ChainSubscription>, seconds: number): boolean =>
      troubles.observe({ subscriptions: new Map([['f', sub(s)]]) }, seconds * second).stuck.has('f');
    look(at(5n, 0), 0);
    look(at(5n, 2), 1);
    // The look after is the first that can show how the trouble ended, however late it comes.
    expect([look(at(9n, 2), 9), look(at(9n, 2), 10)]).toEqual([true, false]);
    // However long nothing happens, nothing has been applied.
    expect(looks(at(5n, 0), at(5n, 2), ...Array<Partial<ChainSubscription>>(99).fill(at(5n, 2))).stuck).toBe(true);
  });
});
