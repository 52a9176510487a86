import type { Clock, Us } from '../../daemon/core/clock.js';
import { US_PER_MS } from '../../daemon/core/clock.js';
import type { LinkId } from '../../daemon/core/signal.js';
import type { PositionNeeds } from '../heartbeat/needs.js';

/** Pauses between looks while a position is waited for, in milliseconds; the last one stays. */
const rampMs = [10, 20, 40, 80, 160, 250] as const;
/** The longest pause while somebody looks closely, in milliseconds. */
const closeMs = 50;
/** So soon it is noticed that somebody does, in milliseconds. */
const noticeMs = 100;

/**
 * Decides the pauses between looks: the whole interval when nothing is waited for, a short and growing one while
 * something is. The ramp begins anew when a link begins to wait, not with every position of one that is behind anyway.
 */
export class Pace {
  readonly #waiting = new Set<LinkId>();
  #step = 0;

  constructor(private readonly intervalMs: number) {}

  /** Takes in which links wait now, and returns the pause until the next look, in ms. */
  next(waiting: Iterable<LinkId>, sinceFullMs: number): number {
    const now = new Set(waiting);
    for (const link of now) if (!this.#waiting.has(link)) this.#step = 0;
    this.#waiting.clear();
    for (const link of now) this.#waiting.add(link);
    const untilFull = Math.max(0, this.intervalMs - sinceFullMs);
    if (now.size === 0) return untilFull;
    const pause = rampMs[Math.min(this.#step, rampMs.length - 1)] ?? this.intervalMs;
    this.#step += 1;
    return Math.min(pause, untilFull);
  }
}

/** What one look came to. */
export interface Look {
  /** Links whose positions cannot be told now: looking more often would not help them. */
  blind: ReadonlySet<LinkId>;
}

/** What a loop of looks needs. */
export interface LooksOptions {
  readonly clock: Clock;
  readonly needs: PositionNeeds;
  readonly links: readonly LinkId[];
  readonly intervalMs: number;
  /** Looks once; `full` about every interval, when everything is to be reported and not the positions alone. */
  readonly look: (full: boolean) => Promise<Look>;
  /** Whether each look is waited for now (a fence is open), whatever position was sampled last. */
  readonly closely?: () => boolean;
}

/** Looks again and again until `signal` aborts: at every interval, and more often while a position is waited for. */
export async function keepLooking(options: LooksOptions, signal: AbortSignal): Promise<void> {
  const { clock, needs, links, intervalMs, look } = options;
  const pace = new Pace(intervalMs);
  let sleeping = new AbortController();
  const wake = (): void => sleeping.abort();
  const stopped = (): boolean => signal.aborted;
  let waiting: readonly LinkId[] = [];
  const off = needs.onWanted((link) => {
    // A link that waits already is looked at by the pace that it has; waking for it would only put the look off.
    if (links.includes(link) && !waiting.includes(link)) wake();
  });
  signal.addEventListener('abort', wake);
  let fullAt: Us = -Infinity;
  try {
    while (!stopped()) {
      const startedAt = clock.monotonicNow();
      // A timer may fire a little early, and a look must not be put off for that.
      const full = startedAt - fullAt >= (intervalMs - 5) * US_PER_MS;
      if (full) fullAt = startedAt;
      const { blind } = await look(full);
      for (;;) {
        sleeping = new AbortController();
        if (stopped()) break;
        waiting = links.filter((link) => !blind.has(link) && needs.wanted(link) !== null);
        const pause = pace.next(waiting, (clock.monotonicNow() - fullAt) / US_PER_MS);
        // Looking more often at what cannot be told would not help anybody.
        await sleepPacedly(
          options,
          links.some((link) => !blind.has(link)),
          pause,
          sleeping.signal,
        );
        // Woken early by a new need: the pause is chosen anew, so that the first look at it comes soon.
        if (!sleeping.signal.aborted) break;
      }
    }
  } finally {
    off();
    signal.removeEventListener('abort', wake);
  }
}

/** Sleeps for `pauseMs`, or less where and as soon as somebody looks closely. */
async function sleepPacedly(
  { clock, closely }: LooksOptions,
  helps: boolean,
  pauseMs: number,
  signal: AbortSignal,
): Promise<void> {
  if (closely === undefined || !helps) return clock.sleep(pauseMs, signal);
  const begun = clock.monotonicNow();
  for (;;) {
    const wholeMs = closely() ? Math.min(pauseMs, closeMs) : pauseMs;
    const restMs = wholeMs - (clock.monotonicNow() - begun) / US_PER_MS;
    if (restMs <= 0 || signal.aborted) return;
    await clock.sleep(Math.min(restMs, noticeMs), signal);
  }
}

/** Waits for both, so that neither is left behind unwatched; of two failures the first one's is thrown. */
export async function both<A, B>(a: Promise<A>, b: Promise<B>): Promise<[A, B]> {
  const [first, second] = await Promise.allSettled([a, b]);
  if (first.status === 'fulfilled' && second.status === 'fulfilled') return [first.value, second.value];
  if (first.status === 'rejected') throw first.reason;
  if (second.status === 'rejected') throw second.reason;
  throw new RangeError('unreachable');
}

/** Pauses until `dueMs` after `startedAt`, which may come earlier meanwhile; ends early when aborted. */
export async function untilDue(clock: Clock, startedAt: Us, signal: AbortSignal, dueMs: () => number): Promise<void> {
  for (;;) {
    const leftMs = dueMs() - (clock.monotonicNow() - startedAt) / US_PER_MS;
    if (leftMs <= 0 || signal.aborted) return;
    await clock.sleep(Math.min(leftMs, noticeMs), signal);
  }
}
