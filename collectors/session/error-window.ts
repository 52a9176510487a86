import type { Us } from '../../daemon/core/clock.js';

/** How far back new errors count. */
export const ERROR_WINDOW_US: Us = 600_000_000;

/** What a server says of its error counter at one look. */
export interface ErrorCount {
  /** Errors since the counter began. */
  total: number;
  /** Whether it was ever set back to zero since it began. */
  reset: boolean;
  /** What tells this counter from another one: the subscription's id and when its statistics were reset; a change means that it began anew. */
  identity: string;
}

/** New errors within the window, as far as they could be observed. */
export interface NewErrors {
  value: number;
  /** `at-least`: for part of the window nobody was looking, or the counter began anew in it. */
  bound: 'exact' | 'at-least';
}

/**
 * Turns a counter that only rises into the number of errors in the last ten minutes of observation. Errors are dated by
 * the look that first saw them, so after a gap they count for longer than they should, never for shorter.
 */
export class ErrorWindow {
  /** Increases, oldest first. */
  readonly #increases: { at: Us; count: number }[] = [];
  #last: ErrorCount | null = null;
  /** Everything since this instant has been counted. */
  #completeSince: Us = Infinity;

  constructor(private readonly windowUs: Us = ERROR_WINDOW_US) {}

  /** Takes one look in and says how many new errors there are; looks come in the order of their instants. */
  look(count: ErrorCount, at: Us): NewErrors {
    const last = this.#last;
    this.#last = count;
    if (last === null) {
      // A counter at zero that was never set back has never counted anything, so that the past is known too.
      this.#completeSince = count.total === 0 && !count.reset ? -Infinity : at;
    } else if (count.identity !== last.identity || count.total < last.total) {
      // Whatever was counted between the last look and the reset is lost.
      this.#add(count.total, at);
      this.#completeSince = at;
    } else {
      this.#add(count.total - last.total, at);
    }
    return this.#sum(at);
  }

  #add(count: number, at: Us): void {
    if (count > 0) this.#increases.push({ at, count });
  }

  #sum(at: Us): NewErrors {
    const from = at - this.windowUs;
    while ((this.#increases[0]?.at ?? Infinity) <= from) this.#increases.shift();
    const value = this.#increases.reduce((sum, each) => sum + each.count, 0);
    return { value, bound: this.#completeSince <= from ? 'exact' : 'at-least' };
  }
}
