/** The soak must be able to fail: what judges a run is tested with runs that are made up. */
import { describe, expect, it } from 'vitest';
import { parseArguments } from '../soak/arguments.js';
import { soakFaults } from '../soak/faults.js';
import { Judge, type Answer } from '../soak/gates.js';
import { judgeMemory } from '../soak/memory.js';
import type { MetricsSample, ProcessSample } from '../soak/resources.js';
import { randomOf, Schedule } from '../soak/schedule.js';
import { slopeOf } from '../soak/statistics.js';

function answer(askedAt: number, state: Answer['state'] = 'open'): Answer {
  return { gate: 'lag', askedAt, at: askedAt + 5, state, verdict: null };
}

describe('the judge', () => {
  /** A row goes missing at 10 s and arrives at 20 s; nobody can tell from 30 s on. */
  const observer = {
    trueLagAt: (at: number) =>
      at >= 30_000 ? null : { lowMs: at < 10_000 || at > 20_000 ? 0 : at - 10_000, highMs: 0 },
  };
  const judging = (states: readonly Answer[]): Judge => {
    const judge = new Judge(observer, 2_600, 0);
    for (const a of states) judge.take(a, 'a fault');
    judge.sweep(Infinity);
    return judge;
  };

  it('counts every answer "open" beyond what is allowed, and none within it', () => {
    const judge = judging([answer(9_000), answer(12_600), answer(12_601), answer(19_000), answer(21_000)]);
    expect(judge.falseGreens).toMatchObject([
      { gate: 'lag', fault: 'a fault', answers: 2, fromSeconds: 12.601, toSeconds: 19, worstMissingMs: 9_000 },
    ]);
    expect(judge.judged).toEqual({ open: 5, truthUnknown: 0 });
  });

  it('counts nothing that was not "open", and tells what nobody could know', () => {
    const judge = judging([answer(15_000, 'closed'), answer(16_000, 'unknown'), answer(31_000)]);
    expect(judge.falseGreens).toEqual([]);
    expect(judge.judged).toEqual({ open: 0, truthUnknown: 1 });
  });

  it('waits until the observer has looked again', () => {
    const judge = new Judge(observer, 2_600, 0);
    judge.take(answer(15_000), 'a fault');
    judge.sweep(16_000);
    expect(judge.falseGreens).toEqual([]);
    judge.sweep(20_000);
    expect(judge.falseGreens).toHaveLength(1);
  });

  it('counts answers "open" in a stretch that a fault forbids', () => {
    const judge = new Judge(observer, 2_600, 0);
    const window = { gate: 'lag', from: 0, to: 9, why: 'open in spite of the fault' } as const;
    judge.forbid(window, [answer(1), answer(2, 'closed'), answer(3)], 'stray write');
    expect(judge.falseGreens).toMatchObject([{ answers: 2, fault: 'stray write', worstMissingMs: null }]);
  });
});

describe('memory', () => {
  const minutes = 20;
  const processes = (rss: (minute: number) => number): ProcessSample[] =>
    Array.from({ length: minutes * 60 }, (_, at) => ({ at, life: 1, rssMB: rss(at / 60), fds: 30 }));
  const heap = (mb: (minute: number) => number): MetricsSample[] =>
    Array.from({ length: minutes * 12 }, (_, n) => ({
      ...{ at: n * 5, life: 1, heapMB: mb(n / 12), handles: 1, timers: 1, eventLoopP99Ms: 1 },
    }));
  const saw = (minute: number): number => ((minute * 7) % 5) * 4;

  it('is flat where it only goes up and down', () => {
    const verdict = judgeMemory(
      processes((m) => 100 + saw(m)),
      heap((m) => 30 + saw(m)),
    );
    expect(verdict).toMatchObject({ judged: true, problem: null });
    expect(Math.abs(verdict.slopeMBPerHour)).toBeLessThan(20);
  });

  it('is not where it grows by 60 MB an hour, be it of the process or of the heap alone', () => {
    expect(
      judgeMemory(
        processes((m) => 80 + m + saw(m)),
        heap(() => 30),
      ).problem,
    ).toMatch(/still by/);
    expect(
      judgeMemory(
        processes(() => 100),
        heap((m) => 30 + m + saw(m)),
      ).problem,
    ).toMatch(/the heap kept/);
  });

  it('says nothing of a short life, and looks at the last one only', () => {
    const early = processes((m) => 80 + 5 * m).slice(0, 300);
    expect(judgeMemory(early, [])).toMatchObject({ judged: false, problem: null });
    const later = processes(() => 90).map((p) => ({ ...p, at: p.at + 300, life: 2 }));
    expect(judgeMemory([...early, ...later], [])).toMatchObject({ judged: true, problem: null, maxMB: 90 });
  });

  it('finds a slope through wild points', () => {
    const points = Array.from({ length: 100 }, (_, at) => ({ at, value: at % 10 === 0 ? 1_000 : 2 * at }));
    expect(slopeOf(points)).toBeCloseTo(2, 1);
  });
});

describe('the schedule', () => {
  const play = (seed: number, count: number) => {
    const schedule = new Schedule(soakFaults, randomOf(seed));
    return Array.from({ length: count }, (_, n) => ({ fault: schedule.next(n / count), at: n / count }));
  };

  it('brings every kind at least once, and ends no process of the daemon after the first third', () => {
    for (let seed = 0; seed < 50; seed += 1) {
      const played = play(seed, soakFaults.length + 10);
      expect(new Set(played.map((p) => p.fault.name)).size).toBe(soakFaults.length);
      expect(played.filter((p) => p.fault.restarts === true && p.at >= 1 / 3)).toEqual([]);
    }
  });

  it('repeats itself with a seed and not with another', () => {
    const names = (seed: number): string[] => play(seed, 60).map((p) => p.fault.name);
    expect(names(7)).toEqual(names(7));
    expect(names(7)).not.toEqual(names(8));
  });
});

describe('arguments', () => {
  it.each([
    [['--minutes', '0'], /--minutes takes/],
    [['--minutes=many'], /--minutes takes/],
    [['--seed', '1.5'], /--seed takes/],
    [['--seed', '4294967296'], /--seed takes/],
    [['--json'], /needs a value/],
    [['--fast'], /unknown argument: --fast/],
  ])('%j is refused', (args, problem) => {
    expect(parseArguments(args, 1)).toEqual({ problem: expect.stringMatching(problem) as string });
  });

  it('has defaults', () => {
    expect(parseArguments([], 5)).toEqual({ minutes: 30, seed: 5, json: null });
    expect(parseArguments(['--minutes', '3', '--seed=4', '--json', 'a=b.json'], 5)).toEqual({
      ...{ minutes: 3, seed: 4, json: 'a=b.json' },
    });
  });
});
