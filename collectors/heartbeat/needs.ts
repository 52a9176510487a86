import type { Observation } from '../../daemon/core/observation.js';
import { reached, type Position } from '../../daemon/core/position.js';
import type { LinkId } from '../../daemon/core/signal.js';

/** What someone is waiting to see applied, so that applied positions are asked for more often just then. */
export interface PositionNeeds {
  /** The newest position of the link's source that not every flow is known to have reached; null when there is none. */
  wanted(link: LinkId): Position | null;
  /** Calls the listener whenever a link has a new wanted position; returns how to take it off again. */
  onWanted(listener: (link: LinkId) => void): () => void;
}

interface Waiting {
  flows: readonly string[];
  newest: Position | null;
  applied: Map<string, Position>;
}

/**
 * Knows which positions are waited for from the observations alone: those sampled with each heartbeat, and whatever
 * else someone wants (a fence's position). It must see every observation of the links that it was given.
 */
export class SampledPositions implements PositionNeeds {
  readonly #links = new Map<LinkId, Waiting>();
  readonly #listeners = new Set<(link: LinkId) => void>();

  /** Links that are not among these, and those without flows, never want anything. */
  constructor(links: Iterable<{ readonly id: LinkId; readonly flows: readonly string[] }>) {
    for (const { id, flows } of links) this.#links.set(id, { flows, newest: null, applied: new Map() });
  }

  /** Takes one observation in; those that say nothing about positions are ignored. */
  observe(o: Observation): void {
    switch (o.kind) {
      case 'position-sampled':
        this.want(o.link, o.position);
        return;
      case 'applied':
        // The latest word counts, not the highest: a target that has gone back has to reach the position again.
        this.#links.get(o.link)?.applied.set(o.flow, o.position);
        return;
      case 'applied-fault':
        this.#links.get(o.link)?.applied.delete(o.flow);
        return;
      default:
        return;
    }
  }

  /** Asks for a position in place of the one that was wanted before, which is older and thus reached on the way. */
  want(link: LinkId, position: Position): void {
    const waiting = this.#links.get(link);
    if (waiting === undefined) return;
    waiting.newest = position;
    if (this.wanted(link) === null) return;
    for (const listener of [...this.#listeners]) listener(link);
  }

  wanted(link: LinkId): Position | null {
    const waiting = this.#links.get(link);
    if (waiting === undefined) return null;
    const { newest, flows, applied } = waiting;
    if (newest === null) return null;
    const open = flows.some((flow) => {
      const position = applied.get(flow);
      return position === undefined || !reached(position, newest);
    });
    return open ? newest : null;
  }

  onWanted(listener: (link: LinkId) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }
}
