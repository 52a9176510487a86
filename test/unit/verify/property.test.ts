import fc from 'fast-check';
import { afterEach, expect, test, vi } from 'vitest';
import type { Mismatch } from '../../../daemon/core/verification.js';
import type { Where } from '../../../collectors/verify/state.js';
import { drive, table, type Values, type Write } from '../../support/fake-data.js';
import { passOrder, VerifyBench } from '../../support/verify-bench.js';

/** Deterministic, so that a counterexample is one when it is run again. */
function seeded(seed: number): () => number {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

afterEach(() => {
  vi.restoreAllMocks();
});

/** What one history did, to know that the interesting ones are among them. */
interface Reached {
  writes: number;
  restarts: number;
  resumedScanning: number;
  resumedSettling: number;
  tooSlow: number;
  lost: number;
  matched: number;
  mismatched: number;
  unsettled: number;
  lookups: number;
  planted: number;
}

interface History {
  seed: number;
  rows: number;
  perRowUs: number;
  /** Keys out of which something is wrong for good. */
  wrong: { key: number; kind: Mismatch['kind']; written: boolean }[];
  /** Microseconds from one write to the next; null: nobody writes. */
  everyUs: number | null;
  toggles: boolean;
  lagUs: number;
  heartbeatUs: number;
  versions: boolean;
  reverse: boolean;
  loses: number;
  slow: number;
  restarts: number[];
  share: number;
  chunkUs: number;
}

const histories: fc.Arbitrary<History> = fc.record({
  seed: fc.nat(),
  rows: fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 500, max: 2_000 })),
  perRowUs: fc.constantFrom(2, 1_500),
  wrong: fc.oneof(
    { weight: 1, arbitrary: fc.constant<History['wrong']>([]) },
    {
      weight: 2,
      arbitrary: fc.uniqueArray(
        fc.record({
          key: fc.integer({ min: 0, max: 5_000 }),
          kind: fc.constantFrom<Mismatch['kind'][]>('missing', 'extra', 'different'),
          written: fc.boolean(),
        }),
        { selector: (w) => w.key, maxLength: 6 },
      ),
    },
  ),
  everyUs: fc.oneof(
    { weight: 1, arbitrary: fc.constant(null) },
    { weight: 4, arbitrary: fc.integer({ min: 3_000, max: 200_000 }) },
  ),
  toggles: fc.boolean(),
  lagUs: fc.integer({ min: 1_000, max: 3_000_000 }),
  heartbeatUs: fc.constantFrom(100_000, 1_000_000),
  versions: fc.boolean(),
  reverse: fc.boolean(),
  loses: fc.constantFrom(0, 0, 0.02),
  slow: fc.constantFrom(0, 0, 0.05),
  restarts: fc.array(fc.integer({ min: 10_000, max: 8_000_000 }), { maxLength: 3 }),
  share: fc.constantFrom(1, 0.5),
  chunkUs: fc.constantFrom(2_000, 20_000, 500_000),
});

const T = table('t');

async function play(h: History): Promise<Reached> {
  const random = seeded(h.seed);
  vi.spyOn(Math, 'random').mockImplementation(seeded(h.seed + 1));
  const nature = {
    latencyUs: (r: () => number) => 500 + r() * 20_000,
    perRowUs: h.perRowUs,
    losesSession: h.loses,
    failsToOpen: h.loses,
    tooSlow: h.slow,
    versions: h.versions,
  };
  const b = new VerifyBench(nature, random, { source: 'postgres', target: 'postgres' }, h.reverse);
  const rows: Values[] = Array.from({ length: h.rows }, (_, i) => ({ id: String(i), v: `v${i}` }));
  b.source.create(T, rows);
  b.target.create(T, rows);
  const [active, passive] = h.reverse ? [b.target, b.source] : [b.source, b.target];
  b.link.lagUs = h.lagUs;
  b.link.heartbeatUs = h.heartbeatUs;
  const planted = new Map<string, Mismatch['kind']>();
  for (const { key, kind } of h.wrong) {
    const id = String(key);
    const here = { id, v: `a${key}` };
    const there = { id, v: `b${key}` };
    if (kind === 'missing') b.source.put(T, here);
    else if (kind === 'extra') b.target.put(T, there);
    else {
      b.source.put(T, here);
      b.target.put(T, there);
    }
    if (kind === 'missing') b.target.delete(T, [id]);
    if (kind === 'extra') b.source.delete(T, [id]);
    planted.set(id, kind);
  }
  // Rows that are wrong and still written to, seldom, and such that the active side never comes back to what the other has.
  const written = h.wrong
    .filter((w) => w.written && active.get(T, [String(w.key)]) !== undefined)
    .map((w) => String(w.key));
  let n = 0;
  const start = b.clock.monotonicNow();
  const everyUs = h.everyUs;
  if (everyUs !== null) {
    const hot = Array.from({ length: 5 }, () => String(Math.floor(random() * Math.max(h.rows, 10))));
    const ordinary = (key: string): Write | null => {
      if (planted.has(key)) return null;
      n += 1;
      const there = active.get(T, [key]) !== undefined;
      if (there && random() < 0.3) return { table: T, key: [key], values: null };
      const v = h.toggles ? `x${n % 2}` : `w${n}`;
      return { table: T, key: [key], values: { id: key, v } };
    };
    b.link.writer(start, (at) => {
      const key =
        random() < 0.5 ? (hot[Math.floor(random() * 5)] ?? '0') : String(Math.floor(random() * (h.rows + 50)));
      return { write: ordinary(key), nextAt: at + Math.ceil(random() * 2 * everyUs) };
    });
    if (written.length > 0) {
      // Without versions a proof takes eight attempts in which nothing is written.
      const pauseUs = h.versions ? 20_000_000 : 100_000_000;
      b.link.writer(start + 1, (at) => {
        const key = written[Math.floor(random() * written.length)] ?? '0';
        n += 1;
        const write = { table: T, key: [key], values: { id: key, v: `still ${n}` }, swallowed: true };
        return { write, nextAt: at + pauseUs + Math.ceil(random() * pauseUs) };
      });
    }
  }
  const config = { sourceShare: h.share, chunkUs: h.chunkUs };
  const reached: Reached = {
    writes: 0,
    restarts: 0,
    resumedScanning: 0,
    resumedSettling: 0,
    tooSlow: 0,
    lost: 0,
    matched: 0,
    mismatched: 0,
    unsettled: 0,
    lookups: 0,
    planted: planted.size,
  };
  const order = passOrder({ direction: h.reverse ? 'reverse' : 'forward' });
  for (const after of h.restarts) {
    const verifier = b.verifier(config);
    const ending = new AbortController();
    const from = b.saved.at(-1)?.state;
    const running = b.start(verifier, from ?? order, ending.signal);
    let over = false;
    void running.then(() => (over = true));
    const until = b.clock.monotonicNow() + after;
    while (!isOver() && b.clock.monotonicNow() < until)
      await b.clock.advance(Math.min(10_000, until - b.clock.monotonicNow()));
    if (isOver()) break;
    ending.abort();
    const end = await drive(b.clock, running, 1_000_000);
    expect(end.complete).toBe(false);
    expect([b.source.open_, b.target.open_]).toEqual([0, 0]);
    reached.restarts += 1;
    const where = b.saved.at(-1)?.state.where as Where | undefined;
    const kept = where?.current?.keyed;
    if ((kept?.after ?? null) !== null) reached.resumedScanning += 1;
    if (kept !== undefined && kept !== null && kept.queue.length + kept.keys.length > 0) reached.resumedSettling += 1;
    function isOver(): boolean {
      return over;
    }
  }
  if (b.results.length === 0) {
    const end = await b.run(config, {}, b.saved.at(-1)?.state ?? order);
    expect(end).toMatchObject({ complete: true, reason: null });
  }
  const result = b.result('public.t');
  // The reference: what was planted, and nothing else, whatever happened meanwhile.
  const found = new Map(result.mismatches.map((m) => [m.key['id'] ?? '', m.kind]));
  expect(Object.fromEntries([...found].sort())).toEqual(Object.fromEntries([...planted].sort()));
  expect(result.mismatchedRows).toBe(planted.size);
  expect(result.mismatchedAtLeast).toBe(false);
  if (planted.size > 0) expect(result.state).toBe('mismatch');
  else expect(['match', 'not-settled']).toContain(result.state);
  if (everyUs === null) {
    if (planted.size === 0) expect(result.state).toBe('match');
    expect(result.sourceRows).toBe(b.source.stored(T).rows.size);
    expect(result.targetRows).toBe(b.target.stored(T).rows.size);
  }
  expect([b.source.open_, b.target.open_, b.clock.sleepers]).toEqual([0, 0, 0]);
  reached.writes = b.link.committed;
  reached.lookups = active.asked.filter((a) => a.what === 'lookup').length;
  reached.matched = result.state === 'match' ? 1 : 0;
  reached.mismatched = result.state === 'mismatch' ? 1 : 0;
  reached.unsettled = /kept changing/.test(result.reason ?? '') ? 1 : 0;
  reached.tooSlow = active.slow + passive.slow;
  reached.lost = active.losses + passive.losses;
  return reached;
}

test('whatever happens, what differs for good is found and nothing else', { timeout: 120_000 }, async () => {
  const total = new Map<string, number>();
  const add = (name: string, n: number): void => void total.set(name, (total.get(name) ?? 0) + n);
  const runs = Number(process.env['LOCKGATE_VERIFY_RUNS'] ?? 25);
  await fc.assert(
    fc.asyncProperty(histories, async (h) => {
      const reached = await play(h);

      for (const [name, n] of Object.entries(reached) as [string, number][]) {
        add(name, n);
        add(`${name}>0`, n > 0 ? 1 : 0);
      }
    }),
    { numRuns: runs, endOnFailure: true },
  );
  if (process.env['LOCKGATE_VERIFY_RUNS'] !== undefined) console.log(total);
  // Few runs need not meet them all.
  for (const name of runs < 100
    ? ['mismatched', 'lookups']
    : [
        'writes',
        'restarts',
        'resumedScanning',
        'resumedSettling',
        'tooSlow',
        'lost',
        'unsettled',
        'matched',
        'mismatched',
        'lookups',
      ]) {
    expect(total.get(`${name}>0`), name).toBeGreaterThan(runs / 100);
  }
});
