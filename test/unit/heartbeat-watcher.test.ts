import { describe, expect, test } from 'vitest';
import type { LinkPlan } from '../../collectors/collector.js';
import { HeartbeatLedger } from '../../collectors/heartbeat/ledger.js';
import {
  createHeartbeatWatcher,
  type HeartbeatWatcher,
  type SeenRow,
  type Unproven,
  type WatchMode,
} from '../../collectors/heartbeat/watcher.js';
import type { Observation } from '../../daemon/core/observation.js';
import { FakeClock } from '../support/fake-clock.js';

const link = 'shop/forward';
const MS = 1_000;

interface Bench {
  clock: FakeClock;
  ledger: HeartbeatLedger;
  watcher: HeartbeatWatcher;
  /** Milliseconds since the start of each question. */
  questions: number[];
  out: Observation[];
  emit: (o: Observation) => void;
  /** What the target shows. */
  rows: (SeenRow | Unproven)[];
  fail: Error | null;
  /** What the session's own stream brings. */
  arrived: (row: SeenRow, by: 'notify') => void;
  stop(): Promise<void>;
}

async function start(mode: WatchMode): Promise<Bench> {
  const clock = new FakeClock();
  const ledger = new HeartbeatLedger(clock, 'p1');
  const out: Observation[] = [];
  const t0 = clock.monotonicNow();
  const stopping = new AbortController();
  const quiet = (): void => undefined;
  const plan = { id: link, config: { heartbeat: { intervalUs: 1_000_000, watch: 'auto' } } } as unknown as LinkPlan;
  const watcher = createHeartbeatWatcher({
    name: 'aws/watch',
    context: { clock, log: { debug: quiet, info: quiet, warn: quiet, error: quiet }, daemonId: 'd' },
    ledger,
    links: [plan],
    sessions: (use, arrived) => {
      bench.arrived = arrived;
      return use(
        {
          choose: () => Promise.resolve(new Map([[link, { mode, why: 'told so' }]])),
          newest: () => {
            bench.questions.push((clock.monotonicNow() - t0) / MS);
            return bench.fail === null ? Promise.resolve(bench.rows) : Promise.reject(bench.fail);
          },
          exists: () => Promise.resolve([]),
          isLost: () => false,
          reasonOf: (error) => String(error),
          lost: new Promise(() => undefined),
        },
        quiet,
      );
    },
  });
  const emit = (o: Observation): void => void out.push(o);
  let running: Promise<void> = Promise.resolve();
  const bench: Bench = {
    arrived: quiet,
    clock,
    ledger,
    watcher,
    questions: [],
    out,
    emit,
    rows: [],
    fail: null,
    async stop() {
      stopping.abort();
      await running;
      expect(clock.sleepers).toBe(0);
    },
  };
  running = watcher.run(emit, stopping.signal);
  await clock.advance(0);
  return bench;
}

describe('the heartbeat watcher', () => {
  test.each(['wal', 'notify', 'poll'] as const)('asks nothing while nothing is pending (%s)', async (mode) => {
    const bench = await start(mode);
    await bench.clock.advance(60_000 * MS);
    expect(bench.questions).toEqual([]);
    await bench.stop();
  });

  test('polls every 10 ms for the first second, then ever more slowly, at last every 250 ms', async () => {
    const bench = await start('poll');
    bench.ledger.issue(link, bench.ledger.newRun(link), bench.emit);
    await bench.clock.advance(60_000 * MS);
    const gaps = bench.questions.map((t, i) => t - (bench.questions[i - 1] ?? t)).slice(1);
    expect(bench.questions[0]).toBe(2);
    expect(gaps.filter((_, i) => (bench.questions[i] ?? 0) < 990).every((gap) => gap === 10)).toBe(true);
    expect(gaps.every((gap) => gap <= 250)).toBe(true);
    expect(gaps.at(-1)).toBe(250);
    await bench.stop();
  });

  test.each(['wal', 'notify'] as const)(
    'stands behind the stream (%s): asks after 250 ms, then every 250 ms',
    async (mode) => {
      const bench = await start(mode);
      bench.ledger.issue(link, bench.ledger.newRun(link), bench.emit);
      await bench.clock.advance(1_001 * MS);
      expect(bench.questions).toEqual([250, 500, 750, 1_000]);
      expect(bench.out.filter((o) => o.kind === 'heartbeat-visible').map((o) => o.upTo)).toEqual([
        null,
        null,
        null,
        null,
      ]);
      await bench.stop();
    },
  );

  test.each(['wal', 'notify'] as const)(
    'what a stream tells (%s) counts only once the table shows it, and is asked for at once until then',
    async (mode) => {
      const bench = await start(mode);
      const tell = (row: SeenRow): void =>
        mode === 'wal' ? bench.watcher.arrivedByLog(row) : bench.arrived(row, 'notify');
      const { run, seq } = bench.ledger.issue(link, bench.ledger.newRun(link), bench.emit);
      await bench.clock.advance(100 * MS);
      tell({ link, run: 'p2-1', seq });
      await bench.clock.advance(0);
      expect(bench.questions).toEqual([]);
      tell({ link, run, seq });
      await bench.clock.advance(2 * MS);
      expect(bench.out.filter((o) => o.kind === 'heartbeat-visible' && o.upTo !== null)).toEqual([]);
      bench.rows = [{ link, run, seq }];
      await bench.clock.advance(1_000 * MS);
      expect(bench.questions).toEqual([100, 101, 102, 103]);
      expect(bench.out.at(-1)).toMatchObject({ kind: 'heartbeat-visible', upTo: 1, by: mode });
      await bench.stop();
    },
  );

  test.each(['wal', 'notify', 'poll'] as const)(
    'a heartbeat that came by the copy of its own table is a fault until the copy has joined the rest (%s)',
    async (mode) => {
      const bench = await start(mode);
      const { run, seq } = bench.ledger.issue(link, bench.ledger.newRun(link), bench.emit);
      bench.rows = [{ link, unproven: 'still copying' }];
      if (mode === 'wal') bench.watcher.arrivedByLog({ link, run, seq });
      else if (mode === 'notify') bench.arrived({ link, run, seq }, 'notify');
      await bench.clock.advance(900 * MS);
      expect(bench.out.at(-1)).toMatchObject({ kind: 'watch-fault', reason: 'still copying' });
      expect(bench.out.filter((o) => o.kind === 'heartbeat-visible')).toEqual([]);
      expect(bench.questions.length).toBeLessThan(100);
      bench.rows = [{ link, run, seq }];
      await bench.clock.advance(260 * MS);
      expect(bench.out.at(-1)).toMatchObject({ kind: 'heartbeat-visible', upTo: 1 });
      await bench.stop();
    },
  );

  test('what the WAL tells and the table never shows is not on this target', async () => {
    const bench = await start('wal');
    const { run, seq } = bench.ledger.issue(link, bench.ledger.newRun(link), bench.emit);
    bench.watcher.arrivedByLog({ link, run, seq });
    await bench.clock.advance(1_001 * MS);
    expect(bench.questions.length).toBeLessThan(260);
    expect(bench.out.filter((o) => o.kind === 'heartbeat-visible' && o.upTo !== null)).toEqual([]);
    await bench.stop();
  });

  test('an arrival in another database than the session is in is none', async () => {
    const bench = await start('wal');
    const { run, seq } = bench.ledger.issue(link, bench.ledger.newRun(link), bench.emit);
    const before = bench.out.length;
    bench.watcher.arrivedByLog({ link, run, seq, home: 'the server before the failover' });
    expect(bench.out).toHaveLength(before);
    await bench.stop();
    bench.watcher.arrivedByLog({ link, run, seq });
    expect(bench.out).toHaveLength(before);
  });

  test('a stream that misses three heartbeats is not waited for, until it speaks again', async () => {
    const bench = await start('wal');
    const beat = async (): Promise<number> => {
      const { run, seq, sentAt } = bench.ledger.issue(
        link,
        bench.ledger.carrier(link) ?? bench.ledger.newRun(link),
        bench.emit,
      );
      bench.rows = [{ link, run, seq }];
      await bench.clock.advance(1_000 * MS);
      const seen = bench.out.findLast((o) => o.kind === 'heartbeat-visible');
      return ((seen?.at ?? 0) - sentAt) / MS;
    };
    expect([await beat(), await beat(), await beat(), await beat()]).toEqual([250, 250, 250, 2]);
    expect(bench.watcher.describe()).toMatchObject([{ mode: 'poll' }]);
    bench.watcher.arrivedByLog({ link, run: 'p1-1', seq: 4 });
    expect(bench.watcher.describe()).toEqual([{ link, mode: 'wal', why: 'told so' }]);
    expect(await beat()).toBe(250);
    await bench.stop();
  });

  test('an answer that is an error is a fault, and asked again before long', async () => {
    const bench = await start('poll');
    bench.fail = new Error('permission denied');
    bench.ledger.issue(link, bench.ledger.newRun(link), bench.emit);
    await bench.clock.advance(600 * MS);
    expect(bench.out.filter((o) => o.kind === 'watch-fault')[0]?.reason).toContain('permission denied');
    expect(bench.questions.length).toBeLessThanOrEqual(4);
    bench.fail = null;
    bench.rows = [{ link, run: 'p1-1', seq: 1 }];
    await bench.clock.advance(600 * MS);
    expect(bench.out.at(-1)).toMatchObject({ kind: 'heartbeat-visible', upTo: 1 });
    await bench.stop();
  });
});
