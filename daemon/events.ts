/** Live events with a bounded memory, so that a client that reconnects can go on where it was. */
import type { DaemonEvent } from './http/port.js';

/** How many events are remembered for `Last-Event-ID`. */
const REMEMBERED = 2_000;

/** The stream of events of this process; ids rise by one. */
export class EventStream {
  private readonly past: (DaemonEvent & { id: number })[] = [];
  private readonly listeners = new Set<(event: DaemonEvent) => void>();
  private lastId = 0;

  /** Publishes an event to all listeners and remembers it. */
  publish(event: DaemonEvent['event'], data: unknown): void {
    this.lastId += 1;
    const entry = { id: this.lastId, event, data };
    this.past.push(entry);
    if (this.past.length > REMEMBERED) this.past.shift();
    for (const listener of this.listeners) listener(entry);
  }

  /** Tells all listeners how things are at this moment; nobody who comes later needs to know. */
  pass(event: DaemonEvent['event'], data: unknown): void {
    const entry: DaemonEvent = { id: null, event, data };
    for (const listener of this.listeners) listener(entry);
  }

  /** Calls back on each event from now on; the returned function unsubscribes. */
  subscribe(listener: (event: DaemonEvent) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** True while someone listens, so that costly events are made for somebody only. */
  get watched(): boolean {
    return this.listeners.size > 0;
  }

  /** Events after `id`, or null when some of them are forgotten or `id` is not of this process. */
  after(id: number): DaemonEvent[] | null {
    if (id > this.lastId) return null;
    const first = this.past[0];
    if (id < this.lastId && (first === undefined || first.id > id + 1)) return null;
    return this.past.filter((e) => e.id > id);
  }
}
