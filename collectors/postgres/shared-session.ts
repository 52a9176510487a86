import type { Clock } from '../../daemon/core/clock.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { TransientError } from '../../daemon/core/errors.js';
import type { PgConnection } from './connection.js';
import { LazySession, type LazySessionOptions } from './lazy-session.js';
import { placeOf } from './pg-errors.js';

/**
 * A session that several may ask for at the same time: there is one at most, opened when it is asked for, opened anew
 * after it was lost, and again after `close`. Their statements run one after the other.
 */
export class SharedSession {
  #session: LazySession;
  #opening: Promise<PgConnection> | null = null;
  #closing = new AbortController();

  constructor(
    private readonly db: DatabaseConfig,
    private readonly options: LazySessionOptions,
    private readonly clock: Clock,
  ) {
    this.#session = new LazySession(db, options, clock);
  }

  /** Does `work` with the session; rejects with a classified error, and at once when `signal` aborts. */
  async use<R>(work: (connection: PgConnection) => Promise<R>, signal: AbortSignal): Promise<R> {
    return orAborted(
      this.#get().then((connection) => {
        if (signal.aborted) throw givenUp(this.db);
        return work(connection);
      }),
      this.db,
      signal,
    );
  }

  /** Closes the session if there is one; takes a few seconds at most and never throws. */
  async close(): Promise<void> {
    const [session, opening, closing] = [this.#session, this.#opening, this.#closing];
    this.#session = new LazySession(this.db, this.options, this.clock);
    this.#opening = null;
    this.#closing = new AbortController();
    closing.abort();
    // One that is opened just now would stay open otherwise.
    await opening?.catch(() => undefined);
    await session.close();
  }

  #get(): Promise<PgConnection> {
    if (this.#opening !== null) return this.#opening;
    const opening = this.#session.get(this.#closing.signal);
    const settled = (): void => {
      if (this.#opening === opening) this.#opening = null;
    };
    this.#opening = opening;
    opening.then(settled, settled);
    return opening;
  }
}

/** Settles as `work` does, or rejects when `signal` aborts first. */
export async function orAborted<R>(work: Promise<R>, db: DatabaseConfig, signal: AbortSignal): Promise<R> {
  let off: (() => void) | undefined;
  const abortion = new Promise<never>((_, reject) => {
    const onAbort = (): void => reject(givenUp(db));
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    off = () => signal.removeEventListener('abort', onAbort);
  });
  try {
    return await Promise.race([work, abortion]);
  } finally {
    off?.();
    work.catch(() => undefined);
  }
}

function givenUp(db: DatabaseConfig): TransientError {
  return new TransientError('aborted', `${placeOf(db)}: there was no answer in time, and the question was given up`);
}
