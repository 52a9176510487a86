/** Says whether the daemon's memory stayed flat. Pure: a function of what was sampled. */
import { median } from '../bench/statistics.js';
import type { MetricsSample, ProcessSample } from './resources.js';
import { slopeOf } from './statistics.js';

/** The daemon's memory over its last life, in MB (10^6 bytes). */
export interface MemoryVerdict {
  readonly lifeMinutes: number;
  readonly startMB: number;
  /** Median of the first stretch after warming up, and of the last stretch of the same length. */
  readonly warmMB: number;
  readonly endMB: number;
  readonly maxMB: number;
  /** Over the second half, by Theil and Sen. */
  readonly slopeMBPerHour: number;
  /** The least heap in the same two stretches: what survives its collections. */
  readonly heapWarmMB: number;
  readonly heapEndMB: number;
  /** False: the life was too short to say anything. */
  readonly judged: boolean;
  /** What is wrong; null when memory is flat, or was not judged. */
  readonly problem: string | null;
}

/** A life shorter than this says nothing about growth. */
const JUDGE_FROM_MINUTES = 10;
const WARM_UP_SECONDS = 180;
const STRETCH_SECONDS = 300;
const GROWTH_LIMIT = 1.1;
const SLOPE_LIMIT_MB_PER_HOUR = 20;
const HEAP_GROWTH_LIMIT = 1.2;

/** How memory is judged, in words. */
export const MEMORY_CRITERION =
  `over the daemon's last life, if that is ${JUDGE_FROM_MINUTES} min or longer: the median of its last minutes is at most ` +
  `${Math.round((GROWTH_LIMIT - 1) * 100)} % above that of the first after 3 min of warming up (5 min each, or a quarter ` +
  `of what is left), or the slope over its second half is below ${SLOPE_LIMIT_MB_PER_HOUR} MB an hour; and the least heap ` +
  `of those last minutes is at most ${Math.round((HEAP_GROWTH_LIMIT - 1) * 100)} % above that of the first`;

/** Judges the samples of one run. */
export function judgeMemory(processes: readonly ProcessSample[], metrics: readonly MetricsSample[]): MemoryVerdict {
  const life = processes.at(-1)?.life;
  const own = processes.filter((p) => p.life === life);
  const [from, to] = [own[0]?.at ?? NaN, own.at(-1)?.at ?? NaN];
  const stretch = Math.min(STRETCH_SECONDS, (to - from - WARM_UP_SECONDS) / 4);
  const rss = own.map(({ at, rssMB }) => ({ at, value: rssMB }));
  const values = (a: number, b: number): number[] => rss.filter(({ at }) => at >= a && at <= b).map((p) => p.value);
  const warmMB = median(values(from + WARM_UP_SECONDS, from + WARM_UP_SECONDS + stretch));
  const endMB = median(values(to - stretch, to));
  const half = (from + to) / 2;
  const slopeMBPerHour = slopeOf(rss.filter(({ at }) => at >= half)) * 3_600;
  const heap = (a: number, b: number): number => {
    const own = metrics.filter((m) => m.life === life && m.at >= a && m.at <= b && !Number.isNaN(m.heapMB));
    return own.length === 0 ? NaN : Math.min(...own.map((m) => m.heapMB));
  };
  const heapWarmMB = heap(from + WARM_UP_SECONDS, from + WARM_UP_SECONDS + stretch);
  const heapEndMB = heap(to - stretch, to);
  const lifeMinutes = (to - from) / 60;
  const judged = lifeMinutes >= JUDGE_FROM_MINUTES;
  const problems: string[] = [];
  if (judged && endMB > warmMB * GROWTH_LIMIT && slopeMBPerHour >= SLOPE_LIMIT_MB_PER_HOUR) {
    problems.push(
      `from ${warmMB.toFixed(1)} to ${endMB.toFixed(1)} MB, and still by ${slopeMBPerHour.toFixed(1)} MB an hour`,
    );
  }
  if (judged && heapEndMB > heapWarmMB * HEAP_GROWTH_LIMIT) {
    problems.push(`the heap kept ${heapWarmMB.toFixed(1)} MB and then ${heapEndMB.toFixed(1)}`);
  }
  return {
    ...{ lifeMinutes, startMB: own[0]?.rssMB ?? NaN, warmMB, endMB, maxMB: Math.max(...own.map((p) => p.rssMB)) },
    ...{ slopeMBPerHour, heapWarmMB, heapEndMB, judged, problem: problems.length === 0 ? null : problems.join('; ') },
  };
}
