import type { Us } from '../../daemon/core/clock.js';
import type { LocalLook } from './local-proof.js';

/** What the stream's progress has confirmed. */
export interface Confirmation {
  readonly look: LocalLook;
  /** Everything committed before this instant was seen. */
  readonly at: Us;
  /** Everything committed before the look itself was seen, so that evidence about what comes later can begin there. */
  readonly exact: boolean;
}

/** Looks that are kept while the stream is behind; one a second. */
const mostPending = 600;

/**
 * Tells from looks at the server, and from how far the stream has come, up to when everything was seen. Pure.
 *
 * States: new -> settled. A slot that is made where another one's snapshot lies on disk may begin in the middle of
 * transactions (servers before 13.16, 14.13, 15.8 and 16.4), whose earlier changes are not decoded. So nothing is
 * confirmed before every transaction that was open at the first look has ended, and by no look that began before that.
 */
export class Looks {
  #born: bigint | null = null;
  #settledAt: Us | null = null;
  #pending: { look: LocalLook; at: Us }[] = [];
  #confirmedAt: Us = -Infinity;

  /** Whether looks can be confirmed by now. */
  get settled(): boolean {
    return this.#settledAt !== null;
  }

  /** Takes a look, answered at `now`, made after the server has begun to send; whether it settles the stream. */
  settle(look: LocalLook, now: Us): boolean {
    this.#born ??= look.xmax;
    if (look.xmin < this.#born) return false;
    this.#settledAt ??= now;
    return true;
  }

  /** Takes a look that was asked for at `at`, to be confirmed once the stream has passed it. */
  asked(look: LocalLook, at: Us): void {
    if (this.#settledAt === null || at < this.#settledAt) return;
    // The oldest are those that the stream will pass first.
    if (this.#pending.length >= mostPending) this.#pending.pop();
    this.#pending.push({ look, at });
  }

  /** The stream has passed everything before `reached`; what that newly confirms, or null. */
  passed(reached: bigint): Confirmation | null {
    let found: Confirmation | null = null;
    for (const { look, at } of this.#pending) {
      const exact = look.inserted <= reached;
      // What is not flushed is not sent: an asynchronous commit just before the look may be still to come.
      const until = exact ? at : at - look.asyncUs;
      if (look.flushed > reached || until < (this.#settledAt ?? Infinity)) continue;
      if (until > (found?.at ?? this.#confirmedAt)) found = { look, at: until, exact };
    }
    this.#pending = this.#pending.filter(({ look }) => look.inserted > reached);
    if (found !== null) this.#confirmedAt = found.at;
    return found;
  }
}
