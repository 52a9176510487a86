import type { CollectorContext } from '../collector.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';

/** Whether something is wanted now, and if not, why. */
export type Wish = { readonly wanted: true } | { readonly wanted: false; readonly reason: string };

const lookEveryMs = 250;

/**
 * Whether a server's binlog is to be read now: always with `read: on`, and with `read: auto` while the server is the
 * passive side of its migrations. The whole log of a server passes through its reader, and on the active side that is all
 * that the application writes; but while a fence is open there, it is what the fence has to see. While the direction is unknown it stays as it was: ending would leave a gap for nothing.
 */
export class ReadWish {
  #wish: Wish = { wanted: false, reason: 'the direction is not known yet, and with it which side is passive' };

  constructor(
    private readonly db: DatabaseConfig,
    private readonly context: CollectorContext,
  ) {}

  /** What is wanted now. */
  now(): Wish {
    const { read, name } = this.db;
    if (read === 'off') {
      this.#wish = { wanted: false, reason: `\`read: off\` for ${name}` };
    } else if (read === 'on') {
      this.#wish = { wanted: true };
    } else {
      const passive = this.context.isPassive?.(name) ?? null;
      if (this.context.watchClosely?.(name) === true) {
        this.#wish = { wanted: true };
        return this.#wish;
      }
      if (passive === true) this.#wish = { wanted: true };
      if (passive === false) {
        const reason = `${name} carries production writes: its binlog is read only with \`read: on\`, or for a fence`;
        this.#wish = { wanted: false, reason };
      }
    }
    return this.#wish;
  }

  /** Does `work` until it ends, or its signal aborts because it is not wanted any more. */
  async during(work: (inner: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<void> {
    const inner = new AbortController();
    const stop = (): void => inner.abort();
    signal.addEventListener('abort', stop, { once: true });
    const looking = (async () => {
      while (!inner.signal.aborted) {
        await this.context.clock.sleep(lookEveryMs, inner.signal);
        if (!this.now().wanted) inner.abort();
      }
    })();
    try {
      await work(inner.signal);
    } finally {
      signal.removeEventListener('abort', stop);
      inner.abort();
      await looking;
    }
  }
}
