import type { FastifyReply } from 'fastify';
import { LIMITS } from './limits.js';
import { overloaded } from './problem.js';

/** One client that waits; whoever let it in calls `leave` in the end. */
export interface Stay {
  /** Aborted when there is no sense in waiting on: the client has gone, or the server closes. */
  readonly over: AbortSignal;
  leave(): void;
}

/** The clients that wait for something to happen; their number is bounded, and closing the server ends every wait. */
export class WaitingRoom {
  readonly #closing: AbortSignal;
  readonly #max: number;
  #count = 0;

  constructor(closing: AbortSignal, max: number = LIMITS.waiters) {
    this.#closing = closing;
    this.#max = max;
  }

  get count(): number {
    return this.#count;
  }

  /** Lets a client in, or throws a Problem (503) when there is no room; `instead` says what it may do then. */
  enter(reply: FastifyReply, instead: string): Stay {
    if (this.#count >= this.#max) {
      const detail = `too many clients are waiting; ${instead}`;
      throw overloaded('too_many_waiters', detail, LIMITS.retryAfterSeconds);
    }
    this.#count += 1;
    const over = new AbortController();
    const end = (): void => over.abort();
    reply.raw.once('close', end);
    this.#closing.addEventListener('abort', end, { once: true });
    return {
      over: over.signal,
      leave: () => {
        reply.raw.off('close', end);
        this.#closing.removeEventListener('abort', end);
        this.#count -= 1;
      },
    };
  }
}
