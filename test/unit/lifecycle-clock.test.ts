import { describe, expect, it } from 'vitest';
import { backoffMs } from '../../daemon/lifecycle/backoff.js';
import { SystemClock } from '../../daemon/lifecycle/clock.js';
import { compareLooks, lookAt, type ClockLook } from '../../daemon/lifecycle/guard.js';
import { FakeClock } from '../support/fake-clock.js';

describe('SystemClock', () => {
  const clock = new SystemClock();

  it('counts whole microseconds that never go back', () => {
    let before = clock.monotonicNow();
    for (let i = 0; i < 1000; i += 1) {
      const now = clock.monotonicNow();
      expect(Number.isSafeInteger(now)).toBe(true);
      expect(now).toBeGreaterThanOrEqual(before);
      before = now;
    }
  });

  it('agrees with wall clock and uptime over a short while', async () => {
    const before = lookAt(clock);
    await clock.sleep(30);
    const passed = compareLooks(before, lookAt(clock));
    expect(passed.jump).toBeNull();
    expect(passed.monotonicUs).toBeGreaterThanOrEqual(29_000);
    expect(Number.isSafeInteger(clock.uptime())).toBe(true);
  });

  it('ends a sleep at once when it is aborted, before or during', async () => {
    const stop = new AbortController();
    const started = clock.monotonicNow();
    const sleeping = clock.sleep(60_000, stop.signal);
    stop.abort();
    await sleeping;
    await clock.sleep(60_000, stop.signal);
    expect(clock.monotonicNow() - started).toBeLessThan(5_000_000);
  });

  it('does not return at once from a sleep longer than a timer can be', async () => {
    const stop = new AbortController();
    let ended = false;
    const sleeping = clock.sleep(2 ** 31 + 5, stop.signal).then(() => (ended = true));
    await clock.sleep(30);
    expect(ended).toBe(false);
    stop.abort();
    await sleeping;
  });
});

describe('FakeClock', () => {
  it('wakes sleepers in order, each at its own instant', async () => {
    const clock = new FakeClock();
    const start = clock.monotonicNow();
    const woke: [string, number][] = [];
    void clock.sleep(20).then(() => woke.push(['late', clock.monotonicNow() - start]));
    void clock.sleep(10).then(async () => {
      woke.push(['early', clock.monotonicNow() - start]);
      await clock.sleep(5);
      woke.push(['chained', clock.monotonicNow() - start]);
    });
    await clock.advance(30_000);
    expect(woke).toEqual([
      ['early', 10_000],
      ['chained', 15_000],
      ['late', 20_000],
    ]);
    expect(clock.monotonicNow() - start).toBe(30_000);
    expect(clock.sleepers).toBe(0);
  });
});

describe('backoffMs', () => {
  const cases: [attempt: number, random: number, expected: number][] = [
    [0, 0, 500],
    [0, 0.999999, 1000],
    [1, 0, 1000],
    [1, 0.999999, 2000],
    [4, 0, 8000],
    [6, 0, 15_000],
    [6, 0.999999, 30_000],
    [1_000_000, 0.999999, 30_000],
  ];
  it.each(cases)('failure %i with random %f pauses %i ms', (attempt, random, expected) => {
    expect(backoffMs(attempt, () => random)).toBeCloseTo(expected, 0);
  });
});

describe('compareLooks', () => {
  const base: ClockLook = { monotonic: 5_000_000, wall: 1_000_000, uptime: 7_000_000 };
  const after = (monotonicS: number, wallS: number, uptimeS: number): ClockLook => ({
    monotonic: base.monotonic + monotonicS * 1e6,
    wall: base.wall + wallS * 1e3,
    uptime: base.uptime + uptimeS * 1e6,
  });
  const cases: [string, ClockLook, RegExp | null][] = [
    ['nothing', after(0, 0, 0), null],
    ['an hour of agreement', after(3600, 3600, 3600), null],
    ['exactly one second apart', after(10, 11, 11), null],
    ['a suspend', after(10, 70, 70), /suspended for 1m/],
    ['a suspend of just over a second', after(10, 11.1, 11.1), /suspended/],
    ['a wall clock set forward', after(10, 20, 10), /set forward by 10s/],
    ['a wall clock set back', after(10, -20, 10), /set back by 30s/],
    ['a suspend hidden by a wall clock set back', after(10, 10, 40), /suspended for 30s/],
    ['small steps in both that together part the clocks', after(10, 11.2, 10.6), /parted by 1.2s/],
  ];
  it.each(cases)('%s', (_name, look, expected) => {
    const { jump } = compareLooks(base, look);
    if (expected === null) expect(jump).toBeNull();
    else expect(jump).toMatch(expected);
  });
});
