import { US_PER_MS, type Clock, type Us } from '../../daemon/core/clock.js';
import { LockgateError, reasonOf } from '../../daemon/core/errors.js';
import type { MigrationReading, Observation } from '../../daemon/core/observation.js';
import type { Collector, Emit } from '../collector.js';

/** What a question came to. */
export interface Answer {
  /** In the signal's unit; finite. */
  value: number;
  /** The instant from which its age counts; often long before the question. */
  observedAt: Us;
  /** Set where the truth is this value or more. */
  bound?: 'at-least';
  /** What people should know of it; null or left out: nothing. */
  remark?: string | null;
  /** Ask again after so long, where that is sooner than usual. */
  againMs?: number;
}

/** A number that another system is asked for at regular intervals. */
export interface Asking {
  migration: string;
  signal: MigrationReading['signal'];
  everyUs: Us;
  /** An answer is usable for so long, counted from its `observedAt`. */
  freshUs: Us;
  /** Rejects with a LockgateError, whose message is fit for people, when there is no such number now. */
  ask(signal: AbortSignal): Promise<Answer>;
}

/** Asks for a number again and again; whatever goes wrong makes its signal unknown at once. */
export class AskedNumber implements Collector {
  constructor(
    readonly name: string,
    private readonly asking: Asking,
    private readonly clock: Clock,
  ) {}

  async run(emit: Emit, signal: AbortSignal): Promise<void> {
    const { asking, clock } = this;
    const stopped = (): boolean => signal.aborted;
    while (!stopped()) {
      const startedAt = clock.monotonicNow();
      let pauseMs = asking.everyUs / US_PER_MS;
      try {
        const answer = await asking.ask(signal);
        if (stopped()) return;
        emit(this.reading(answer));
        pauseMs = Math.min(pauseMs, answer.againMs ?? Infinity);
      } catch (error) {
        if (stopped()) return;
        // What nobody raised on purpose is a bug, and the supervisor's matter.
        if (!(error instanceof LockgateError)) throw error;
        emit(this.none(reasonOf(error)));
      }
      await clock.sleep(Math.max(0, pauseMs - (clock.monotonicNow() - startedAt) / US_PER_MS), signal);
    }
  }

  down(reason: string): Observation[] {
    return [this.none(reason)];
  }

  private reading({ value, observedAt, bound, remark }: Answer): MigrationReading {
    return {
      ...this.frame(),
      value,
      reason: remark ?? null,
      ...(bound === undefined ? {} : { bound }),
      askedAt: observedAt,
    };
  }

  private none(reason: string): MigrationReading {
    return { ...this.frame(), value: null, reason };
  }

  private frame(): Pick<MigrationReading, 'kind' | 'migration' | 'signal' | 'at' | 'freshUs'> {
    const { migration, signal, freshUs } = this.asking;
    return { kind: 'migration-reading', migration, signal, at: this.clock.monotonicNow(), freshUs };
  }
}
