/**
 * What waits for one sink, in order. Of one incident never more waits than matters: a trigger that is not on its way gives
 * way to its resolve, which is sent even if nobody can have heard of that trigger, because there may have been one before it.
 * So a trigger is never sent after its resolve, and no resolve is ever lost.
 */
import type { AlertEvent } from '../daemon/core/alert-event.js';

/** More than this many do not wait for a sink that does not answer. */
export const MOST_WAITING = 500;

interface Item {
  readonly event: AlertEvent;
  /** Failed attempts in this life of the daemon. */
  failures: number;
  inFlight: boolean;
}

/** The queue of one sink. */
export class Queue {
  private items: Item[];

  constructor(
    kept: readonly AlertEvent[] = [],
    private readonly most = MOST_WAITING,
  ) {
    this.items = kept.map((event) => ({ event, failures: 0, inFlight: false }));
  }

  get length(): number {
    return this.items.length;
  }

  /** What must survive a restart. */
  get memory(): readonly AlertEvent[] {
    return this.items.map(({ event }) => event);
  }

  /** Puts an event behind the others; answers those that had to go for want of room. */
  add(event: AlertEvent): AlertEvent[] {
    const last = this.items.findLast((i) => i.event.key === event.key);
    if (event.kind === 'resolve') {
      if (last?.event.kind === 'trigger' && !last.inFlight) this.items = this.items.filter((i) => i !== last);
      // Of what came before it, the end waits already.
      if (this.items.findLast((i) => i.event.key === event.key)?.event.kind === 'resolve') return [];
    } else if (event.kind === 'trigger' && last?.event.kind === 'trigger') {
      return [];
    }
    this.items.push({ event, failures: 0, inFlight: false });
    const dropped: AlertEvent[] = [];
    while (this.items.length > this.most) {
      const at = this.leastOf();
      dropped.push(...this.items.splice(at, 1).map((i) => i.event));
    }
    return dropped;
  }

  /**
   * What is to be sent next, the oldest of those that failed least, so that one event that always fails holds up no other
   * incident; null when nothing waits but what is held back. Of one incident it is always the first.
   */
  next(isHeld: (event: AlertEvent) => boolean = () => false): AlertEvent | null {
    const keys = new Set<string>();
    let best: Item | null = null;
    for (const item of this.items) {
      if (keys.has(item.event.key)) continue;
      keys.add(item.event.key);
      if (item.inFlight || isHeld(item.event)) continue;
      if (best === null || item.failures < best.failures) best = item;
    }
    return best?.event ?? null;
  }

  /** An attempt begins. */
  begin(id: string): void {
    const item = this.find(id);
    if (item !== undefined) item.inFlight = true;
  }

  /** The attempt has ended without an answer that counts. */
  failed(id: string): void {
    const item = this.find(id);
    if (item === undefined) return;
    item.inFlight = false;
    item.failures += 1;
    const overtaken =
      item.event.kind === 'trigger' &&
      this.items.some((i) => i !== item && i.event.key === item.event.key && i.event.kind === 'resolve');
    if (overtaken) this.done(id);
  }

  /** It has been taken, or never will be. */
  done(id: string): void {
    this.items = this.items.filter((i) => i.event.id !== id);
  }

  /** Which one may go first: a change, else a trigger, else whatever is oldest; never one that is on its way. */
  private leastOf(): number {
    for (const kind of ['change', 'trigger', 'resolve'] as const) {
      const at = this.items.findIndex((i) => i.event.kind === kind && !i.inFlight);
      if (at >= 0) return at;
    }
    return 0;
  }

  private find(id: string): Item | undefined {
    return this.items.find((i) => i.event.id === id);
  }
}
