import { describe, expect, it } from 'vitest';
import type { Collector, Emit, Log } from '../../collectors/collector.js';
import { InvariantError, SourceError, TransientError } from '../../daemon/core/errors.js';
import type { Observation } from '../../daemon/core/observation.js';
import { reasonOf, supervise, type SupervisedStatus } from '../../daemon/lifecycle/supervise.js';
import { FakeClock } from '../support/fake-clock.js';

type Run = (emit: Emit, signal: AbortSignal) => Promise<void>;

const reading = (value: number | null, reason: string | null = null): Observation => ({
  kind: 'side-reading',
  database: 'onprem',
  signal: 'reachable',
  value,
  reason,
  at: 0,
});

const untilAborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));

/** Supervises a scripted collector: run number n is `runs[n]`, the last one again and again. */
function supervised(runs: Run[], stopDeadlineMs = 5000, stop = new AbortController()) {
  const clock = new FakeClock();
  const emitted: Observation[] = [];
  const statuses: SupervisedStatus[] = [];
  const startedAt: number[] = [];
  const errors: string[] = [];
  const epoch = clock.monotonicNow();
  const collector: Collector = {
    name: 'onprem/wal',
    run: (emit, signal) => {
      startedAt.push((clock.monotonicNow() - epoch) / 1000);
      const run = runs[Math.min(startedAt.length, runs.length) - 1]!;
      return run(emit, signal);
    },
    down: (reason) => [reading(null, reason)],
  };
  const quiet = (): void => undefined;
  const log: Log = { debug: quiet, info: quiet, warn: quiet, error: (_fields, message) => errors.push(message) };
  const done = supervise(
    collector,
    (o) => emitted.push(o),
    { clock, log, onStatus: (s) => statuses.push(s), random: () => 0, stopDeadlineMs },
    stop.signal,
  );
  return { clock, stop, emitted, statuses, startedAt, errors, done };
}

describe('supervise', () => {
  it('makes all signals unknown at once when the collector fails, and starts it again later and later', async () => {
    const t = supervised([() => Promise.reject(new TransientError('gone', 'connection lost'))]);
    await t.clock.advance(0);
    expect(t.emitted).toEqual([reading(null, 'connection lost')]);
    expect(t.statuses.at(-1)).toEqual({ name: 'onprem/wal', up: false, restarts: 0, reason: 'connection lost' });
    await t.clock.advance(3_600_000_000);
    expect(t.startedAt.slice(0, 8)).toEqual([0, 500, 1500, 3500, 7500, 15_500, 30_500, 45_500]);
    t.stop.abort();
    await t.done;
    expect(t.clock.sleepers).toBe(0);
  });

  it('is up from the first observation, not from the start', async () => {
    const t = supervised([
      async (emit, signal) => {
        await Promise.resolve();
        await t.clock.sleep(2000);
        emit(reading(1));
        await untilAborted(signal);
      },
    ]);
    await t.clock.advance(1_000_000);
    expect(t.statuses.map((s) => s.up)).toEqual([false]);
    await t.clock.advance(2_000_000);
    expect(t.statuses.at(-1)).toEqual({ name: 'onprem/wal', up: true, restarts: 0, reason: null });
    t.stop.abort();
    await t.done;
    expect(t.statuses.at(-1)).toMatchObject({ up: false, reason: 'stopped' });
  });

  it('forgets earlier failures after a minute of health, not before', async () => {
    const healthyFor =
      (ms: number): Run =>
      async (emit) => {
        emit(reading(1));
        await t.clock.sleep(ms);
        throw new TransientError('gone', 'connection lost');
      };
    const fail: Run = () => Promise.reject(new Error('x'));
    const t = supervised([
      fail,
      fail,
      fail,
      healthyFor(59_000),
      healthyFor(60_000),
      (_emit, signal) => untilAborted(signal),
    ]);
    await t.clock.advance(600_000_000);
    // 0.5, 1 and 2 s of backoff; after 59 s the next step (4 s), after 60 s the first again (0.5 s).
    expect(t.startedAt).toEqual([0, 500, 1500, 3500, 3500 + 59_000 + 4000, 66_500 + 60_000 + 500]);
    t.stop.abort();
    await t.done;
  });

  it('treats a collector that ends by itself as failed', async () => {
    const t = supervised([() => Promise.resolve(), (_emit, signal) => untilAborted(signal)]);
    await t.clock.advance(0);
    expect(t.emitted).toEqual([reading(null, 'the collector ended by itself')]);
    await t.clock.advance(1_000_000);
    expect(t.startedAt).toHaveLength(2);
    t.stop.abort();
    await t.done;
  });

  it('gives the remedy with the reason and is slower when an operator has to act', async () => {
    const t = supervised([() => Promise.reject(new SourceError('x', 'slot lost', 'drop it'))]);
    await t.clock.advance(5_000_000);
    expect(t.emitted[0]).toEqual(reading(null, 'slot lost (drop it)'));
    expect(t.startedAt).toEqual([0, 5000]);
    t.stop.abort();
    await t.done;
  });

  it('drops observations of a run that has failed', async () => {
    let leaked: Emit | null = null;
    const t = supervised([
      (emit) => {
        leaked = emit;
        return Promise.reject(new Error('x'));
      },
      (_emit, signal) => untilAborted(signal),
    ]);
    await t.clock.advance(1_000_000);
    leaked!(reading(1));
    expect(t.emitted).toEqual([reading(null, 'x')]);
    t.stop.abort();
    await t.done;
  });

  it('turns a throw before the promise into a failure like any other', async () => {
    const t = supervised([
      () => {
        throw new Error('at once');
      },
    ]);
    await t.clock.advance(0);
    expect(t.emitted).toEqual([reading(null, 'at once')]);
    t.stop.abort();
    await t.done;
  });

  it('lets a bug through, after making the signals unknown', async () => {
    const t = supervised([() => Promise.reject(new InvariantError('two and two'))]);
    await expect(t.done).rejects.toThrow('two and two');
    expect(t.emitted).toHaveLength(1);
  });

  it('stops while waiting to start again, without emitting anything more', async () => {
    const t = supervised([() => Promise.reject(new Error('x'))]);
    await t.clock.advance(0);
    t.stop.abort();
    await t.done;
    expect(t.startedAt).toHaveLength(1);
    expect(t.emitted).toHaveLength(1);
    expect(t.clock.sleepers).toBe(0);
  });

  it('waits for the collector to close, and ignores its faults while closing', async () => {
    const t = supervised([
      async (_emit, signal) => {
        await untilAborted(signal);
        await t.clock.sleep(1000);
        throw new Error('while closing');
      },
    ]);
    await t.clock.advance(0);
    let ended = false;
    void t.done.then(() => (ended = true));
    t.stop.abort();
    await t.clock.advance(900_000);
    expect(ended).toBe(false);
    await t.clock.advance(200_000);
    await t.done;
    expect(t.emitted).toEqual([]);
    expect(t.clock.sleepers).toBe(0);
  });

  it('abandons a collector that does not stop, and says so', async () => {
    const t = supervised([() => new Promise(() => undefined)], 3000);
    await t.clock.advance(0);
    t.stop.abort();
    await t.clock.advance(3_000_000);
    await t.done;
    expect(t.errors).toEqual(['collector did not stop; abandoned']);
  });

  it('does not run a collector at all when it is stopped already', async () => {
    const stop = new AbortController();
    stop.abort();
    const t = supervised([(_emit, signal) => untilAborted(signal)], 5000, stop);
    await t.done;
    expect(t.startedAt).toEqual([]);
  });
});

describe('reasonOf', () => {
  it('finds words in an error without a message', () => {
    const refused = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
    expect(reasonOf(new AggregateError([refused, refused], ''))).toBe('connect ECONNREFUSED');
    expect(reasonOf(Object.assign(new Error(''), { code: 'EPIPE' }))).toBe('EPIPE');
    expect(reasonOf(new Error(''))).toBe('failed without a message');
    expect(reasonOf('text')).toBe('text');
  });
});
