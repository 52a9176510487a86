import { US_PER_MS, type Clock, type Us } from '../../daemon/core/clock.js';
import { reasonOf, TransientError } from '../../daemon/core/errors.js';
import { orAborted, throwIfAborted } from './aborted.js';
import { ShapeChanged, TooSlow, type DataPort, type DataSession } from './port.js';

const FIRST_BACKOFF_MS = 250;
const MOST_BACKOFF_MS = 30_000;
/** A question that a session survives and that fails so often in a row does not fail by accident. */
const MOST_FAILURES = 10;

/** What a lane tells and needs. */
export interface LaneOptions {
  clock: Clock;
  signal: AbortSignal;
  /** Why it cannot be asked at present; null when it can again. */
  trouble: (reason: string | null) => void;
  /** Waits until the side may be asked. */
  rest?: () => Promise<void>;
  /** The side worked for us from one instant to another. */
  worked?: (from: Us, to: Us) => void;
}

/**
 * One session of one side, opened when it is first asked and opened again whenever it is lost, for as long as it takes. A
 * question that a lost session took along is asked again.
 */
export class Lane {
  #session: DataSession | null = null;

  constructor(
    private readonly port: DataPort,
    private readonly options: LaneOptions,
  ) {}

  /** Rejects with Aborted, TooSlow, ShapeChanged, or with what the side says to a question it will never answer. */
  async ask<T>(question: (session: DataSession) => Promise<T>): Promise<T> {
    const { clock, signal, trouble } = this.options;
    for (let failures = 0; ; failures += 1) {
      await this.options.rest?.();
      const session = await this.#opened();
      const from = clock.monotonicNow();
      try {
        const answer = await orAborted(question(session), signal);
        if (failures > 0) trouble(null);
        return answer;
      } catch (error) {
        throwIfAborted(signal);
        if (error instanceof TooSlow || error instanceof ShapeChanged) throw error;
        const passing = session.lost !== null || error instanceof TransientError;
        if (!passing || (session.lost === null && failures >= MOST_FAILURES)) throw error;
        trouble(reasonOf(session.lost ?? error));
        await this.#backOff(failures);
      } finally {
        this.options.worked?.(from, clock.monotonicNow());
      }
    }
  }

  /** Closes its session; a question opens another one. */
  async close(): Promise<void> {
    const session = this.#session;
    this.#session = null;
    await session?.close();
  }

  async #opened(): Promise<DataSession> {
    const { signal, trouble } = this.options;
    for (let failures = 0; ; failures += 1) {
      throwIfAborted(signal);
      if (this.#session !== null && this.#session.lost === null) return this.#session;
      await this.close();
      const opening = this.port.open(signal);
      try {
        this.#session = await orAborted(opening, signal);
        trouble(null);
        return this.#session;
      } catch (error) {
        // Opened after all, when nobody waits for it any more.
        opening.then((late) => late.close()).catch(() => undefined);
        throwIfAborted(signal);
        trouble(reasonOf(error));
        await this.#backOff(failures);
      }
    }
  }

  async #backOff(failures: number): Promise<void> {
    const ms = Math.min(FIRST_BACKOFF_MS * 2 ** Math.min(failures, 16), MOST_BACKOFF_MS);
    await this.options.clock.sleep(ms * (0.5 + Math.random() / 2), this.options.signal);
    throwIfAborted(this.options.signal);
  }
}

/** Sleeps for so many microseconds; rejects with Aborted when the signal aborts meanwhile. */
export async function pause(clock: Clock, us: Us, signal: AbortSignal): Promise<void> {
  throwIfAborted(signal);
  await clock.sleep(us / US_PER_MS, signal);
  throwIfAborted(signal);
}
