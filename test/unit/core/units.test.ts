import { describe, expect, it } from 'vitest';
import { wallIso } from '../../../daemon/core/clock.js';
import { bytesPer, formatDurationUs, formatValue, parseDurationUs, secondsPer } from '../../../daemon/core/units.js';

describe('durations', () => {
  it.each([
    ['500ms', 500_000],
    ['2s', 2_000_000],
    ['10m', 600_000_000],
    ['10 min', 600_000_000],
    ['1h30m', 5_400_000_000],
    ['1 h 30 min', 5_400_000_000],
    ['7d', 604_800_000_000],
    ['1.5s', 1_500_000],
    ['250us', 250],
    ['3sec', 3_000_000],
    [' 2s ', 2_000_000],
    ['0s', 0],
    ['0.1s', 100_000],
  ])('%s', (text, us) => expect(parseDurationUs(text)).toBe(us));

  it.each(['', ' ', '5', 's', '-2s', '2 weeks', '2s!', '1h 30', '2seconds', '1.s', '.5s', '1e3s', '2S', 's2'])(
    '%j is none',
    (text) => expect(parseDurationUs(text)).toBeNull(),
  );

  it.each([
    [0, '0us'],
    [999, '999us'],
    [1_000, '1ms'],
    [850_000, '850ms'],
    [1_500, '1.5ms'],
    [2_000_000, '2s'],
    [2_345_678, '2.3s'],
    [60_000_000, '1m'],
    [61_000_000, '1m1s'],
    [5_400_000_000, '1h30m'],
    [604_800_000_000, '7d'],
    [90_061_000_000, '1d1h1m1s'],
  ])('%d µs for people', (us, text) => expect(formatDurationUs(us)).toBe(text));
});

describe('units', () => {
  it('are those of the grammar and no property of an object', () => {
    expect(['us', 'ms', 's', 'm', 'min', 'h', 'd'].map(secondsPer)).toEqual([1e-6, 1e-3, 1, 60, 60, 3600, 86400]);
    expect(['B', 'KiB', 'MiB', 'GiB'].map(bytesPer)).toEqual([1, 1024, 1_048_576, 1_073_741_824]);
    for (const not of ['toString', 'constructor', 'KB', 'S', '']) {
      expect(secondsPer(not)).toBeUndefined();
      expect(bytesPer(not)).toBeUndefined();
    }
  });

  it.each([
    [0, 's', '0 s'],
    [0.42, 's', '420 ms'],
    [3.14159, 's', '3.14 s'],
    [-0.5, 's', '-500 ms'],
    [512, 'B', '512 B'],
    [1024, 'B', '1 KiB'],
    [16_777_216, 'B', '16 MiB'],
    [5e12, 'B', '4656.6 GiB'],
    [0.995, 'ratio', '99.5 %'],
    [99.5, 'percent', '99.5 %'],
    [7, 'count', '7'],
    [0.12345, 'count/s', '0.123'],
    [1, 'flag', '1'],
  ] as const)('%d in %s', (value, unit, text) => expect(formatValue(value, unit)).toBe(text));

  it('tell the wall clock at an instant from one look at both clocks', () => {
    const wall = Date.parse('2026-11-22T10:00:00Z');
    expect(wallIso(4_000_000, { monotonic: 5_500_000, wall })).toBe('2026-11-22T09:59:58.500Z');
  });
});
