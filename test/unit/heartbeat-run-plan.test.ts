import { describe, expect, test } from 'vitest';
import { RunPlan } from '../../collectors/heartbeat/run-plan.js';

const S = 1_000_000;

/** Ticks each second; `carrier` and `unseenSince` say what is known at a tick, in seconds. */
function inserts(plan: RunPlan, until: number, carrier: boolean, unseenSince: (t: number) => number | null): number[] {
  const at: number[] = [];
  for (let t = 0; t <= until; t++) {
    const since = unseenSince(t);
    const write = plan.next(t * S, carrier, since === null ? null : since * S);
    if (write === 'insert') at.push(t);
    else expect(write).toBe(carrier ? 'update' : 'none');
  }
  return at;
}

describe('the plan of runs', () => {
  test.each([
    { name: 'healthy: updates only', interval: 1, carrier: true, since: () => null, expected: [] },
    { name: 'lagging a little: updates only', interval: 1, carrier: true, since: (t: number) => t - 4, expected: [] },
    {
      name: 'stalled: a candidate after 5 s, then ever more rarely, up to once a minute',
      interval: 1,
      carrier: true,
      since: () => 0,
      expected: [5, 10, 20, 40, 80, 140, 200],
    },
    {
      name: 'stalled, long interval: patience of five intervals',
      interval: 4,
      carrier: true,
      since: () => 0,
      expected: [20, 40, 80, 140, 200],
    },
    {
      name: 'cold start in a stall: one at once, then by the same backoff',
      interval: 1,
      carrier: false,
      since: () => 0,
      expected: [0, 5, 15, 35, 75, 135, 195],
    },
  ])('$name', ({ interval, carrier, since, expected }) => {
    expect(inserts(new RunPlan(interval * S), 200, carrier, since)).toEqual(expected);
  });

  test('an arrival ends the backoff, a failed insert is tried again at the next tick', () => {
    const plan = new RunPlan(S);
    expect(plan.next(0, false, null)).toBe('insert');
    plan.retry();
    expect(plan.next(S, false, null)).toBe('insert');
    expect(plan.next(2 * S, false, 0)).toBe('none');
    expect(plan.next(3 * S, true, null)).toBe('update');
    expect(plan.next(20 * S, true, 15 * S)).toBe('insert');
  });

  test('refused inserts do not lengthen the wait after the first that is written', () => {
    const plan = new RunPlan(S);
    for (let n = 0; n < 100; n += 1) {
      expect(plan.next(n * S, false, null)).toBe('insert');
      plan.retry();
    }
    expect(inserts(plan, 40, false, () => 0)).toEqual([0, 5, 15, 35]);
  });
});
