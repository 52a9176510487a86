/**
 * What was sent and what of it has arrived, by one clock. The same bookkeeping serves heartbeat rows (arrived = visible on
 * the target) and source positions (arrived = applied by a flow).
 *
 * The delay of an item lies in `[max(0, unseen - acked), seen - sent]`; the upper end counts. Between arrivals the lag at
 * instant `t` is the greater of the newest arrived item's delay and `t - sent` of the oldest outstanding one.
 *
 * An item is  in-flight -> acked -> arrived,  or ends as  failed (certainly not committed)  or  uncertain (nobody knows);
 * an uncertain item is neither outstanding nor arrived until it is seen to have arrived.
 */
import type { Us } from './clock.js';

/** An item that has not arrived. */
export interface Outstanding<P> {
  id: number;
  /** What has to arrive, where the id alone does not tell. */
  payload: P;
  sentAt: Us;
  /** Sent instant of the oldest item this one stands for: its own, or that of one thinned out before it. */
  oldestSentAt: Us;
  ackedAt: Us | null;
  state: 'in-flight' | 'acked' | 'uncertain';
}

/** The newest item that has arrived. */
export interface Arrival {
  id: number;
  sentAt: Us;
  /** When it was first known to have arrived. */
  at: Us;
  /** Upper and lower end of its delay. */
  highUs: Us;
  lowUs: Us;
}

/** An item that had arrived, for the case that it is lost again. */
interface Arrived<P> extends Outstanding<P> {
  arrival: Arrival;
}

/** How many outstanding items are kept; a longer stall thins the middle out without losing the oldest sent instant. */
const MOST = 1024;
/** How many items that have arrived are kept for the case that the receiving side loses them again; older ones are thinned out. */
const KEPT = 256;
/** How many arrivals are remembered for the comparison of two stories. */
const REMEMBERED = 512;
/** Into how many parts the time to be remembered is divided; of the arrivals within one part only the ends are kept. */
const PARTS = 200;

/** The outstanding and arrived items of one stream, in the order they were sent. */
export class Arrivals<P = undefined> {
  private queue: Outstanding<P>[] = [];
  private past: Arrival[] = [];
  /** Committed items that have arrived, oldest first; empty unless they can be lost again. */
  private kept: Arrived<P>[] = [];
  /** Newest instant at which the receiving side was known not to show something newer than what had arrived. */
  private absentAt: Us | null = null;

  /**
   * `rememberUs`: how far back `arrivedPast` must be able to tell, whatever the pace of the arrivals. `canLose`: what has
   * arrived is kept for `lost`.
   */
  constructor(
    private readonly rememberUs: Us,
    private readonly canLose = false,
  ) {}

  /** Records an item that is about to be sent. */
  sent(id: number, at: Us, payload: P): void {
    this.queue.push({ id, payload, sentAt: at, oldestSentAt: at, ackedAt: null, state: 'in-flight' });
    if (this.queue.length > MOST) this.queue = thinned(this.queue);
  }

  /** Records that the item is certainly on the source. */
  acked(id: number, at: Us): void {
    const item = this.queue.find((q) => q.id === id);
    if (item === undefined) return;
    item.state = 'acked';
    item.ackedAt = at;
  }

  /** Records that sending ended without a confirmation. */
  failed(id: number, outcome: 'not-committed' | 'uncertain'): void {
    const at = this.queue.findIndex((q) => q.id === id);
    const item = this.queue[at];
    if (item === undefined) return;
    if (outcome === 'uncertain') item.state = 'uncertain';
    else this.queue.splice(at, 1);
  }

  /** Records that the receiving side did not show anything newer than `upTo` at `askedAt`. */
  absent(askedAt: Us): void {
    if (this.absentAt === null || askedAt > this.absentAt) this.absentAt = askedAt;
  }

  /**
   * Records that the items for which `has` holds have arrived at `at`; answers the newest of them. What arrives arrives
   * in the order it was sent, so an item that has not arrived rules out all later ones.
   */
  arrived(has: (item: Outstanding<P>) => boolean, at: Us): Arrival | null {
    let newest = -1;
    while (newest + 1 < this.queue.length) {
      const next = this.queue[newest + 1];
      if (next === undefined || !has(next)) break;
      newest += 1;
    }
    const item = this.queue[newest];
    if (item === undefined) return null;
    const gone = this.queue.splice(0, newest + 1);
    const arrival = this.arrivalOf(item, at);
    this.remember(arrival);
    if (this.canLose) {
      // What was seen was committed, whatever the writer heard of it; of uncertain ones before it nobody knows.
      for (const each of gone)
        if (each === item || each.state !== 'uncertain')
          this.kept.push({ ...each, state: 'acked', ackedAt: each.ackedAt ?? at, arrival: this.arrivalOf(each, at) });
      while (this.kept.length > KEPT) this.kept = thinned(this.kept);
    }
    return arrival;
  }

  /**
   * Records that the receiving side has lost what it had: of the items that had arrived it shows only those up to `id`
   * (null: none). The others are outstanding again from when they were sent.
   */
  lost(id: number | null): void {
    const upTo = id ?? -Infinity;
    const gone = this.kept.filter((item) => item.id > upTo);
    this.kept = this.kept.filter((item) => item.id <= upTo);
    this.past = this.past.filter((arrival) => arrival.id <= upTo);
    const newest = this.kept.at(-1)?.arrival;
    if (newest !== undefined && newest.id > (this.past.at(-1)?.id ?? -Infinity)) this.past.push(newest);
    this.queue = [...gone, ...this.queue];
    if (this.queue.length > MOST) this.queue = thinned(this.queue);
  }

  /** The newest item that has arrived, or null when none has yet. */
  newest(): Arrival | null {
    return this.past.at(-1) ?? null;
  }

  /** The oldest item that counts as outstanding: in flight or acknowledged, not one of uncertain outcome. */
  oldestOutstanding(): Outstanding<P> | null {
    return this.queue.find((q) => q.state !== 'uncertain') ?? null;
  }

  /** The oldest outstanding item that is certainly on the source. */
  oldestCommitted(): Outstanding<P> | null {
    return this.queue.find((q) => q.state === 'acked') ?? null;
  }

  /**
   * When this stream first said that everything sent before `instant` has arrived, and something sent at or after it as
   * well; null when it has not. Later than the truth by at most a part of the time remembered.
   */
  arrivedPast(instant: Us): Us | null {
    return this.past.find((a) => a.sentAt >= instant)?.at ?? null;
  }

  /** The newest instant at which the receiving side was asked and did not show anything newer than what had arrived. */
  get askedAt(): Us | null {
    return this.absentAt;
  }

  /** Lower end of the lag of what is outstanding, as far as absence was observed. */
  lowOutstandingUs(): Us {
    const oldest = this.oldestCommitted();
    const acked = oldest?.ackedAt ?? null;
    return acked === null || this.absentAt === null ? 0 : Math.max(0, this.absentAt - acked);
  }

  /** Forgets what has arrived, because the receiving side has lost some of it; what is outstanding stays so. */
  forget(): void {
    this.past = [];
  }

  /** Forgets everything, because instants before now can no longer be compared with later ones (the clocks jumped). */
  reset(): void {
    this.queue = [];
    this.past = [];
    this.kept = [];
    this.absentAt = null;
  }

  /** How many outstanding items are kept. */
  get size(): number {
    return this.queue.length;
  }

  private arrivalOf({ id, sentAt, ackedAt }: Outstanding<P>, at: Us): Arrival {
    const lowUs = ackedAt === null || this.absentAt === null ? 0 : Math.max(0, this.absentAt - ackedAt);
    return { id, sentAt, at, highUs: at - sentAt, lowUs };
  }

  /** Arrivals in quick succession replace each other, so that a bounded number reaches back far enough. */
  private remember(arrival: Arrival): void {
    const before = this.past.at(-2);
    if (before !== undefined && arrival.at - before.at < this.rememberUs / PARTS) this.past.pop();
    this.past.push(arrival);
    if (this.past.length > REMEMBERED) this.past.shift();
  }
}

/**
 * Halves a list of items: each one that is dropped leaves its oldest sent instant to the next one, so lag never shrinks by
 * it. Only a committed item can take that over, because any other may yet leave the list without arriving.
 */
function thinned<T extends Outstanding<unknown>>(items: readonly T[]): T[] {
  const left: T[] = [];
  let carry: Us | null = null;
  items.forEach((item, i) => {
    const edge = i === 0 || i >= items.length - 2;
    const next = items[i + 1];
    if (!edge && i % 2 === 1 && item.state === 'uncertain') return;
    if (!edge && i % 2 === 1 && item.state === 'acked' && next?.state === 'acked') {
      carry = item.oldestSentAt;
      return;
    }
    if (carry !== null) item.oldestSentAt = carry;
    carry = null;
    left.push(item);
  });
  return left;
}
