import { describe, expect, it } from 'vitest';
import { lagBound, lagSeries } from '../../../daemon/http/page/client/lag-series.js';
import type { LagPoint } from '../../../daemon/live/model.js';
import { verdict } from '../../support/api-server.js';

const point = (second: number, value: number | null): LagPoint => ({ atMs: second * 1000 + 137, value });
/** What is drawn, second by second; undefined where nothing is said of it. */
const drawn = ({ at, forward }: ReturnType<typeof lagSeries>): Map<number, number | null | undefined> =>
  new Map(at.map((second, i) => [second, forward[i]]));

describe('what the chart draws', () => {
  it('is the worst of each second, up to now', () => {
    const series = lagSeries([point(1000, 0.1), point(1000, 0.4), point(1001, 0.2)], [], 1001);
    expect(drawn(series).get(1000)).toBe(0.4);
    expect(drawn(series).get(1001)).toBe(0.2);
    expect(series.at.at(-1)).toBe(1001);
  });

  it('never bridges what was not known, within a second or over many', () => {
    const told = lagSeries([point(1000, 0.1), point(1001, 0.1), point(1001, null), point(1002, 0.1)], [], 1002);
    expect(drawn(told).get(1001)).toBeNull();
    const silent = lagSeries([point(1000, 0.1), point(1020, 0.1)], [], 1020);
    expect(silent.at.map((s, i) => (s > 1000 && s < 1020 ? silent.forward[i] : 'x')).includes(null)).toBe(true);
  });

  it('joins the steps of the past, and leaves open whatever lies between them and the present', () => {
    const series = lagSeries([point(1000, 0.1), point(1010, 0.2), point(1018, 0.3), point(1019, 0.3)], [], 1019);
    const between = (from: number, to: number): unknown[] =>
      series.forward.filter((_, i) => (series.at[i] ?? 0) > from && (series.at[i] ?? 0) < to);
    expect(between(1000, 1010)).toEqual([]);
    expect(between(1010, 1018)).toEqual([null]);
    expect(between(1018, 1019)).toEqual([]);
  });

  it('ends now with a gap when nothing has come for long', () => {
    const series = lagSeries([point(1000, 0.1)], [], 1060);
    expect(series.at.at(-1)).toBe(1060);
    expect(series.forward.at(-1)).toBeNull();
    expect(series.at.filter((s, i) => s > 1000 && series.forward[i] !== null)).toEqual([]);
  });

  it('shows at least two minutes and at most a quarter of an hour, in rising order', () => {
    const short = lagSeries([point(5000, 1)], [], 5001);
    expect(5001 - (short.at[0] ?? 0)).toBeGreaterThanOrEqual(120);
    const long = lagSeries([point(1, 1), point(4999, 1)], [point(4998, 2)], 5000);
    expect(5000 - (long.at[0] ?? 0)).toBeLessThanOrEqual(901);
    for (const { at } of [short, long]) expect([...at].sort((a, b) => a - b)).toEqual(at);
    expect(new Set(long.at).size).toBe(long.at.length);
  });
});

describe('what the gate asks of the lag', () => {
  const condition = verdict({ conditions: [] });
  const asking = (text: string, state: 'held' | 'broken', held = 30): ReturnType<typeof verdict> => ({
    ...condition,
    conditions: [
      { text, state, value: 1, unit: 's', held_seconds: held, needs_seconds: 60, last_broken: null, reason: null },
    ],
  });

  it.each([
    ['forward.lag < 2s for 1m', 2],
    ['active.lag under 1500ms for 1 min', 1.5],
    ['max(reverse.lag, 5m) <= 250ms', 0.25],
  ])('%s is %d s', (text, seconds) => {
    expect(lagBound(asking(text, 'held'), 1000)).toMatchObject({ seconds, heldSince: 970 });
  });

  it('has not held while it is broken, and is no bound of anything else', () => {
    expect(lagBound(asking('forward.lag < 2s for 1m', 'broken'), 1000)?.heldSince).toBeNull();
    for (const text of ['forward.lag > 2s', 'forward.lag_by_position < 2s', 'gate shop/verified open', 'nonsense']) {
      expect(lagBound(asking(text, 'held'), 1000)).toBeNull();
    }
    expect(lagBound(null, 1000)).toBeNull();
  });
});
