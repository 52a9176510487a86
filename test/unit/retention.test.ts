import { describe, expect, it } from 'vitest';
import { judgeRetained, judgeRunway, type SlotRetention } from '../../collectors/postgres/retention.js';
import { LogRate } from '../../collectors/session/log-rate.js';

const S = 1_000_000;
const MiB = 1024 * 1024;
const tenYears = 3650 * 86_400;

describe('the rate of WAL', () => {
  const rateOf = (samples: readonly (readonly [s: number, mib: number])[]): number | null => {
    const rate = new LogRate();
    for (const [s, mib] of samples) rate.observe(s * S, BigInt(Math.round(mib * MiB)));
    const perSecond = rate.perSecond();
    return perSecond === null ? null : perSecond / MiB;
  };
  const steady = (from: number, to: number, perS: number, start = 0): [number, number][] =>
    Array.from({ length: to - from + 1 }, (_, i) => [from + i, start + i * perS]);

  it.each([
    ['nothing', [], null],
    ['one look', [[0, 0]] as const, null],
    ['less than a minute', steady(0, 59, 1), null],
    ['a minute', steady(0, 60, 2), 2],
    ['idle', steady(0, 300, 0), 0],
    ['a minute without writes does not end a batch', [...steady(0, 240, 5), ...steady(241, 301, 0, 1200)], 4],
    ['a batch counts as soon as it has lasted', [...steady(0, 240, 0), ...steady(241, 301, 10, 0)], 10],
    ['what was written hours ago does not', [...steady(0, 100, 50), ...steady(101, 700, 1, 5000)], 1],
    ['the server went back', [...steady(0, 100, 5), ...steady(101, 130, 1)], null],
    [
      'nobody looked for ten minutes',
      [
        [0, 0],
        [600, 1200],
      ] as const,
      2,
    ],
  ])('%s', (_, samples, wanted) => {
    const rate = rateOf(samples);
    if (wanted === null) expect(rate).toBeNull();
    else expect(rate).toBeCloseTo(wanted, 0);
  });

  it('keeps few samples, however often it is looked at', () => {
    const rate = new LogRate();
    for (let i = 0; i < 60_000; i++) rate.observe(i * 10_000, BigInt(i) * 1000n);
    expect(rate.perSecond()).toBeCloseTo(100_000, -3);
  });
});

describe('what is kept back, and for how long', () => {
  const slot = (more: Partial<SlotRetention> = {}): SlotRetention => ({
    walStatus: 'reserved',
    restart: BigInt(100 * MiB),
    safeWalSize: null,
    ...more,
  });
  const head = BigInt(160 * MiB);
  const flow = (one: SlotRetention | null, name = 'shop_sub') => ({ flow: name, slotName: name, slot: one });

  it.each([
    ['the distance to the head', [flow(slot())], 60 * MiB, null],
    ['the worst of two', [flow(slot()), flow(slot({ restart: BigInt(MiB) }), 'b')], 159 * MiB, /^b/],
    ['a slot ahead of what is flushed', [flow(slot({ restart: head + 1n }))], 0, null],
    ['no slot of that name', [flow(null)], null, /does not exist on onprem/],
    ['no slot at all', [{ flow: 'shop_sub', slotName: null, slot: null }], null, /has no slot/],
    ['a lost slot', [flow(slot({ walStatus: 'lost', restart: null }))], null, /has lost WAL/],
    ['no flow', [], null, /no flow/],
  ])('retained: %s', (_, flows, value, reason) => {
    const judged = judgeRetained('onprem', flows, head);
    expect(judged.value).toBe(value);
    if (reason === null) expect(judged.reason).toBeNull();
    else expect(judged.reason).toMatch(reason);
  });

  const safe = (mib: number): SlotRetention => slot({ safeWalSize: mib * MiB });
  it.each([
    ['what the server leaves, at the present rate', [flow(safe(100))], null, MiB, 100, /100 MiB left at 1 MiB\/s/],
    ['no limit', [flow(slot())], null, MiB, null, /set max_slot_wal_keep_size or retention_limit/],
    ['the configured limit', [flow(slot())], 100 * MiB, MiB, 40, /40 MiB left/],
    ['both limits: the nearer', [flow(safe(10))], 100 * MiB, MiB, 10, /10 MiB left/],
    ['beyond the configured limit', [flow(slot())], 50 * MiB, MiB, 0, /as much as its limit/],
    ['beyond the limit without a rate', [flow(safe(-1))], null, null, 0, /as much as its limit/],
    ['nothing is written', [flow(safe(100))], null, 0, tenYears, /left at 0 B\/s/],
    ['hardly anything is written', [flow(safe(100))], null, 1e-9, tenYears, /left/],
    ['the rate is being learnt', [flow(safe(100))], null, null, null, /being learnt/],
    ['lost', [flow(slot({ walStatus: 'lost', restart: null }))], null, null, 0, /has lost/],
    ['unreserved', [flow(slot({ walStatus: 'unreserved', safeWalSize: -5 }))], null, null, 0, /next checkpoint/],
    ['one of two lost, the other missing', [flow(null), flow(slot({ walStatus: 'lost' }), 'b')], null, MiB, 0, /^b/],
    ['one of two missing', [flow(safe(100)), flow(null, 'b')], null, MiB, null, /^b: slot b does not exist/],
    ['the worst of two', [flow(safe(100)), flow(safe(7), 'b')], null, MiB, 7, /^b/],
  ])('runway: %s', (_, flows, limit, rate, value, reason) => {
    const judged = judgeRunway('onprem', flows, head, limit, rate);
    if (value === null) expect(judged.value).toBeNull();
    else expect(judged.value).toBeCloseTo(value, 5);
    expect(judged.reason).toMatch(reason);
  });
});
