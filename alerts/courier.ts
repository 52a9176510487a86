/** Sends what waits: one event at a time for each sink, no faster than the sink takes, with backoff while it does not answer. */
import type {
  AlertEvent,
  AlertSink,
  Deliveries,
  Delivery,
  QueueKeeper,
  QueueMemory,
  SinkStatus,
} from '../daemon/core/alert-event.js';
import type { Clock } from '../daemon/core/clock.js';
import { messageOf } from '../daemon/core/errors.js';
import { Queue } from './queue.js';

/** How long one attempt may take. */
export const ATTEMPT_MS = 10_000;
/** Between two attempts at one sink: PagerDuty takes about 120 events a minute for a key. */
const SPACING_MS = 550;
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 60_000;
/** A sink that asks for a longer pause is not waited for so long. */
const MOST_ASKED_MS = 600_000;

/** What sending needs. */
export interface CourierParts {
  clock: Clock;
  /** Yields numbers in [0, 1). */
  random: () => number;
  keeper: QueueKeeper;
  /** For diagnostics; never secrets. */
  warn: (message: string) => void;
}

/** Tries once, and for so long; never rejects. */
export async function attempt(
  sink: AlertSink,
  event: AlertEvent,
  clock: Clock,
  signal: AbortSignal,
): Promise<Delivery> {
  const ended = new AbortController();
  const until = new AbortController();
  const abort = (): void => until.abort();
  signal.addEventListener('abort', abort, { once: true });
  if (signal.aborted) abort();
  void clock.sleep(ATTEMPT_MS, ended.signal).then(abort);
  try {
    return await sink.deliver(event, until.signal);
  } catch (error) {
    return { outcome: 'retry', reason: messageOf(error), afterMs: null };
  } finally {
    ended.abort();
    signal.removeEventListener('abort', abort);
  }
}

/** The queues of all sinks, and their senders. */
export class Courier implements Deliveries {
  private readonly lines = new Map<string, Line>();
  private readonly kept: Map<string, readonly AlertEvent[]>;

  /** `kept` is what waited when the daemon last ran. */
  constructor(
    private readonly parts: CourierParts,
    kept: QueueMemory,
  ) {
    this.kept = new Map(Object.entries(kept));
  }

  get sinks(): readonly string[] {
    return [...this.lines.keys()];
  }

  get memory(): QueueMemory {
    return Object.fromEntries([...this.lines].map(([name, line]) => [name, line.queue.memory]));
  }

  get status(): readonly SinkStatus[] {
    return [...this.lines.values()].map((line) => line.status);
  }

  use(sinks: readonly AlertSink[]): void {
    const names = new Set(sinks.map((s) => s.name));
    for (const [name, line] of this.lines) {
      if (names.has(name)) continue;
      void line.stop();
      this.lines.delete(name);
    }
    for (const sink of sinks) {
      const line = this.lines.get(sink.name);
      if (line !== undefined) line.sink = sink;
      else this.lines.set(sink.name, new Line(this.parts, sink, this.kept.get(sink.name) ?? []));
    }
    // What waited for one that is not configured any more is of no use to one that may come later.
    this.kept.clear();
  }

  add(sink: string, event: AlertEvent): void {
    this.lines.get(sink)?.add(event);
  }

  send(): void {
    for (const line of this.lines.values()) line.send();
  }

  async stop(): Promise<void> {
    await Promise.all([...this.lines.values()].map((line) => line.stop()));
  }
}

/** One sink, its queue and its sender. */
class Line {
  readonly queue: Queue;
  readonly status: SinkStatus;
  private readonly stopping = new AbortController();
  private running: Promise<void> | null = null;
  /** Attempts in a row that failed. */
  private failures = 0;

  constructor(
    private readonly parts: CourierParts,
    public sink: AlertSink,
    kept: readonly AlertEvent[],
  ) {
    this.queue = new Queue(kept);
    const none = { delivered: 0, retried: 0, refused: 0, dropped: 0, lastError: null, lastDeliveredAt: null };
    this.status = { name: sink.name, waiting: this.queue.length, ...none };
  }

  add(event: AlertEvent): void {
    for (const dropped of this.queue.add(event)) {
      this.status.dropped += 1;
      this.parts.keeper.gaveUp(this.sink.name, dropped, 'too many events wait for it');
    }
    this.status.waiting = this.queue.length;
  }

  send(): void {
    if (this.running !== null || this.stopping.signal.aborted || this.queue.length === 0) return;
    this.running = this.run()
      .catch((error: unknown) => this.parts.warn(`${this.sink.name}: ${messageOf(error)}`))
      .finally(() => {
        this.running = null;
      });
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    await this.running;
  }

  private isOver(): boolean {
    return this.stopping.signal.aborted;
  }

  private async run(): Promise<void> {
    const { clock, keeper } = this.parts;
    const { signal } = this.stopping;
    const next = (): AlertEvent | null => this.queue.next((event) => keeper.holds(event));
    for (let event = next(); event !== null && !this.isOver(); event = next()) {
      this.queue.begin(event.id);
      const delivery = await attempt(this.sink, event, clock, signal);
      // What was cut off by our own end is tried again after the next start.
      if (this.isOver() && delivery.outcome === 'retry') return;
      const pauseMs = this.settle(event, delivery);
      this.status.waiting = this.queue.length;
      keeper.keep();
      // Also after the last one: the next may be added meanwhile, and must wait all the same.
      await clock.sleep(pauseMs, signal);
    }
  }

  /** Takes up what became of an attempt; answers how long nothing more is sent. */
  private settle(event: AlertEvent, delivery: Delivery): number {
    const { status, queue, sink } = this;
    const { keeper, random, clock, warn } = this.parts;
    switch (delivery.outcome) {
      case 'delivered':
        queue.done(event.id);
        this.failures = 0;
        status.delivered += 1;
        status.lastError = null;
        status.lastDeliveredAt = clock.wallNow();
        return SPACING_MS;
      case 'refused':
        queue.done(event.id);
        status.refused += 1;
        status.lastError = delivery.reason;
        keeper.gaveUp(sink.name, event, delivery.reason);
        return SPACING_MS;
      case 'retry': {
        queue.failed(event.id);
        if (this.failures === 0) warn(`${sink.name} does not take events: ${delivery.reason}`);
        this.failures += 1;
        status.retried += 1;
        status.lastError = delivery.reason;
        const window = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(this.failures - 1, 20));
        // The random half keeps daemons that failed together from coming back together.
        const pause = window * (0.5 + 0.5 * random());
        return Math.max(SPACING_MS, pause, Math.min(delivery.afterMs ?? 0, MOST_ASKED_MS));
      }
    }
  }
}
