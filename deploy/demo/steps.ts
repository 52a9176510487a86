/** What every step of the tour is made of. */
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../daemon/core/errors.js';
import type { Screen } from './screen.js';

/** A step that did not go as expected; it has been told on the screen. */
export class StepFailed extends Error {}

/** Runs a step that returns what it was for and what was seen; rejects with StepFailed when it is not as expected. */
export type Step = <T>(title: string, expected: string, run: () => Promise<[T, string]>) => Promise<T>;

/** Returns how steps are run on a screen until the signal is aborted. */
export function stepsOn(screen: Screen, signal: AbortSignal): Step {
  return async (title, expected, run) => {
    signal.throwIfAborted();
    screen.step(title, expected);
    try {
      const [result, seen] = await run();
      signal.throwIfAborted();
      screen.seen(seen);
      return result;
    } catch (error) {
      signal.throwIfAborted(); // whatever failed, it was because of the interrupt
      screen.failed(messageOf(error));
      throw new StepFailed(`step "${title}": ${messageOf(error)}`, { cause: error });
    }
  };
}

/** Asks until it is so; throws with `complaint` when it is not within the limit. */
export async function until(
  signal: AbortSignal,
  limitMs: number,
  complaint: string,
  ask: () => boolean | Promise<boolean>,
  everyMs = 50,
): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!(await ask())) {
    if (performance.now() > deadline) throw new Error(`${complaint} after ${limitMs / 1000} s`);
    await sleep(everyMs, undefined, { signal });
  }
}

/** The time since an instant of `performance.now()`, for people. */
export function seconds(from: number): string {
  return `${((performance.now() - from) / 1000).toFixed(1)} s`;
}
