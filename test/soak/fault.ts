/** What a fault of the soak is, and what several of them need. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Daemon } from '../support/lockgate.js';
import type { Pair } from '../support/pair.js';
import { timing } from '../support/scenario-setup.js';
import type { Load } from './load.js';
import type { Scheduled } from './schedule.js';

/** What a fault may reach for. */
export interface SoakParts {
  readonly pair: Pair;
  readonly load: Load;
  readonly daemon: () => Daemon;
  /** Starts the daemon again after it was killed. */
  readonly startDaemon: () => Promise<void>;
}

/** Undoes a fault. */
export type Heal = () => Promise<void>;

/** One kind of fault. */
export interface SoakFault extends Scheduled {
  /** What sets this one apart from others of its name. */
  readonly detail?: string;
  /**
   * `breaks`: no gate may be open later than `withinMs` after it was made, until it is healed. `unseen`: the same for
   * the whole gate alone, because lag looks perfect. `truth`: whatever the observer says. `healthy`: the truth as well,
   * and nothing ought to close.
   */
  readonly expect: 'breaks' | 'unseen' | 'truth' | 'healthy';
  readonly withinMs?: number;
  /** Writes locally on the target, so that stray writes are latched until somebody attests. */
  readonly strays?: boolean;
  /** Continuity may be lost, and is then accepted. */
  readonly mayBreak?: boolean;
  /** The whole gate must stay shut after healing until somebody attests. */
  readonly latches?: boolean;
  make(parts: SoakParts): Promise<Heal | undefined>;
}

/** A daemon that cannot see must say so within the freshness of lag and the time-out of one question. */
export const blindWithinMs = Math.max(2 * timing.intervalMs, 1_000) + 1_500;

/** Nothing more to do. */
export const done = (): Promise<void> => Promise.resolve();

/** Does something every so often until healed; failures are the fault's own doing. */
export function again(everyMs: number, act: () => Promise<unknown>): Promise<Heal> {
  const stopping = new AbortController();
  const loop = (async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      await act().catch(() => undefined);
      await sleep(everyMs, undefined, { signal: stopping.signal }).catch(() => undefined);
    }
  })();
  return Promise.resolve(async () => {
    stopping.abort();
    await loop;
  });
}
