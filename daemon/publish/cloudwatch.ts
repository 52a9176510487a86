/**
 * Publishes to CloudWatch: once a period all numbers are taken and sent in as few requests as the limits allow. What could
 * not be sent is kept, with its own instant, and sent once CloudWatch answers again; the newest first, because alarms
 * look at it. Sampling never waits for sending.
 */
import type { MetricDatum } from '@aws-sdk/client-cloudwatch';
import { US_PER_MS, type Clock, type Us } from '../core/clock.js';
import type { CloudWatchPublishConfig } from '../core/config.js';
import { LockgateError, reasonOf } from '../core/errors.js';
import { batchesOf, dataOf, takenAt, type Batch, type Period, type PublishedPort } from './cloudwatch-data.js';

/** Numbers that are kept while CloudWatch does not take them: a day of some thirty gates and links, about 10 MB. */
const MOST_KEPT = 50_000;
/** The longest pause between two tries after failures. */
const MOST_PAUSE_US: Us = 60_000_000;
/** How long the last period may take when publishing ends. */
const LAST_MS = 3_000;

/** Why a request failed: `refused` is the request's own fault; the others may pass, or end once somebody has mended something. */
export const FAILURE_KINDS = ['throttled', 'credentials', 'denied', 'refused', 'unreachable'] as const;

export type FailureKind = (typeof FAILURE_KINDS)[number];

/** By the code of the error; whatever else there is counts as `unreachable`. */
const KIND_OF: Readonly<Record<string, FailureKind>> = {
  aws_throttled: 'throttled',
  aws_no_credentials: 'credentials',
  aws_expired: 'credentials',
  aws_refused_credentials: 'credentials',
  aws_denied: 'denied',
  aws_refused: 'refused',
  aws_not_found: 'refused',
};

/** What went out and what did not, as metrics show it. */
export interface PublishStats {
  /** Numbers that CloudWatch took. */
  published: number;
  /** Numbers that were given up: too many kept, too old, or refused for good. */
  dropped: number;
  /** Failed requests, by kind. */
  failures: Readonly<Record<FailureKind, number>>;
  /** Numbers that wait to be sent. */
  kept: number;
  /** Milliseconds since 1970; null before the first. */
  lastSuccess: number | null;
  /** The last request was refused for a reason that somebody has to mend. */
  refused: boolean;
}

/** What publishing needs. */
export interface PublisherParts {
  port: PublishedPort;
  clock: Clock;
  log: Record<'info' | 'warn' | 'error', (fields: object, message: string) => void>;
  /** Sends one request; rejects with a LockgateError whose code says what AWS answered. */
  put: (config: CloudWatchPublishConfig, data: readonly MetricDatum[], signal: AbortSignal) => Promise<void>;
  /** Told of a bug; then nothing is published any more. */
  crashed: (error: unknown) => void;
  /** Numbers that are kept at most while CloudWatch does not take them. */
  mostKept?: number;
}

/** Publishes as configured, from `apply` to `stop`; counts over all of its configurations. */
export class CloudWatchPublisher {
  private running: { config: CloudWatchPublishConfig; run: Run } | null = null;
  private readonly counts: Counts = {
    published: 0,
    dropped: 0,
    failures: { throttled: 0, credentials: 0, denied: 0, refused: 0, unreachable: 0 },
    lastSuccess: null,
    refused: false,
  };

  constructor(private readonly parts: PublisherParts) {}

  /** Null while nothing is published. */
  get stats(): PublishStats | null {
    return this.running === null ? null : { ...this.counts, kept: this.running.run.kept };
  }

  /** Publishes by this configuration from now on; an unchanged one goes on undisturbed. */
  async apply(config: CloudWatchPublishConfig | null): Promise<void> {
    if (JSON.stringify(config) === JSON.stringify(this.running?.config ?? null)) return;
    await this.stop();
    if (config === null) return;
    this.running = { config, run: new Run(config, this.parts, this.counts) };
  }

  /** Sends the numbers of this instant, within a few seconds, and ends. */
  async stop(): Promise<void> {
    const ending = this.running;
    await ending?.run.stop();
    this.running = null;
  }
}

type Counts = { -readonly [K in Exclude<keyof PublishStats, 'kept' | 'failures'>]: PublishStats[K] } & {
  failures: Record<FailureKind, number>;
};

/** Publishing by one configuration. */
class Run {
  /** Oldest first. */
  private waiting: Period[] = [];
  /** Numbers that were taken out of `waiting` and are not done with. */
  private flying = 0;
  private readonly stopping = new AbortController();
  private readonly giveUp = new AbortController();
  private readonly sampling: Promise<void>;
  private sending: Promise<void> = Promise.resolve();
  private busy = false;
  private failedInRow = 0;
  private notBefore: Us = -Infinity;
  /** What was last complained of, so that it is said once. */
  private complaint: FailureKind | null = null;

  constructor(
    private readonly config: CloudWatchPublishConfig,
    private readonly parts: PublisherParts,
    private readonly counts: Counts,
  ) {
    this.sampling = this.sample().catch(parts.crashed);
  }

  get kept(): number {
    return sizeOf(this.waiting) + this.flying;
  }

  async stop(): Promise<void> {
    const { clock } = this.parts;
    const overdue = clock.sleep(LAST_MS, this.giveUp.signal).then(() => this.giveUp.abort());
    this.stopping.abort();
    await this.sampling;
    await this.sending;
    this.take();
    this.notBefore = -Infinity;
    if (!this.giveUp.signal.aborted) await this.send();
    this.counts.dropped += this.kept;
    this.waiting = [];
    this.giveUp.abort();
    await overdue;
  }

  private async sample(): Promise<void> {
    const { clock } = this.parts;
    const { everyUs } = this.config;
    let due = clock.monotonicNow();
    const stopped = (): boolean => this.stopping.signal.aborted;
    while (!stopped()) {
      this.take();
      if (!this.busy) this.sending = this.send().catch(this.parts.crashed);
      // Periods that were slept through are gone: nobody judged in them.
      due += Math.max(1, Math.ceil((clock.monotonicNow() - due + 1) / everyUs)) * everyUs;
      await clock.sleep((due - clock.monotonicNow()) / US_PER_MS, this.stopping.signal);
    }
  }

  private take(): void {
    const { port, clock, mostKept = MOST_KEPT } = this.parts;
    this.waiting.push({ at: clock.wallNow(), data: dataOf(port) });
    let kept = sizeOf(this.waiting);
    while (kept > mostKept && this.waiting.length > 1) {
      const oldest = this.waiting.shift()?.data.length ?? 0;
      kept -= oldest;
      this.counts.dropped += oldest;
    }
  }

  /** Sends the newest period and then all that waits, until something fails; never rejects. */
  private async send(): Promise<void> {
    const { clock } = this.parts;
    if (clock.monotonicNow() < this.notBefore) return;
    this.busy = true;
    try {
      this.dropUntaken();
      while (this.waiting.length > 0) {
        const newest = this.waiting.slice(-1);
        const older = this.waiting.slice(0, -1);
        this.flying = sizeOf(this.waiting);
        this.waiting = [];
        const batches = [...batchesOf(newest), ...batchesOf(older)];
        for (const [n, batch] of batches.entries()) {
          if (await this.put(batch)) {
            this.flying -= batch.data.length;
            continue;
          }
          // In front of what was taken meanwhile; from batches into periods again, oldest first.
          this.waiting = [...periodsOf(batches.slice(n)), ...this.waiting];
          this.flying = 0;
          return;
        }
      }
    } finally {
      this.busy = false;
    }
  }

  /** Whether the batch is done with: taken, or refused for good. */
  private async put(batch: Batch): Promise<boolean> {
    const { clock, put, log } = this.parts;
    const { namespace, highResolution } = this.config;
    const data = batch.data.map(({ at, datum }) => ({
      MetricName: datum.name,
      Dimensions: [...datum.dimensions],
      Timestamp: new Date(at),
      Value: datum.value,
      Unit: datum.unit,
      StorageResolution: highResolution ? 1 : 60,
    }));
    try {
      await put(this.config, data, this.giveUp.signal);
    } catch (error) {
      return this.failed(error, batch);
    }
    this.counts.published += batch.data.length;
    this.counts.lastSuccess = clock.wallNow();
    this.counts.refused = false;
    this.failedInRow = 0;
    if (this.complaint !== null) log.info({ namespace }, 'CloudWatch takes what is published again');
    this.complaint = null;
    return true;
  }

  private failed(error: unknown, batch: Batch): boolean {
    const { clock, log } = this.parts;
    const { namespace, everyUs } = this.config;
    // The daemon ends and has not waited any longer.
    if (this.giveUp.signal.aborted) return false;
    // What nobody raised on purpose is a bug.
    if (!(error instanceof LockgateError)) throw error;
    const kind = KIND_OF[error.code] ?? 'unreachable';
    this.counts.failures[kind] += 1;
    this.counts.refused = kind === 'denied' || kind === 'refused' || kind === 'credentials';
    if (this.complaint !== kind) {
      const level = this.counts.refused ? 'error' : 'warn';
      log[level]({ namespace, kind }, `nothing is published to CloudWatch: ${reasonOf(error)}`);
    }
    this.complaint = kind;
    if (kind === 'refused') {
      // The same numbers would be refused for ever, and hold up all that come after them.
      this.counts.dropped += batch.data.length;
      return true;
    }
    this.failedInRow += 1;
    // With a minute or more between periods each of them is a try.
    const pauseUs = Math.min(MOST_PAUSE_US, everyUs * 2 ** Math.min(10, this.failedInRow - 1));
    this.notBefore = pauseUs <= everyUs ? -Infinity : clock.monotonicNow() + pauseUs;
    return false;
  }

  private dropUntaken(): void {
    const wall = this.parts.clock.wallNow();
    const taken = this.waiting.filter((p) => takenAt(p.at, wall));
    this.counts.dropped += sizeOf(this.waiting) - sizeOf(taken);
    this.waiting = taken;
  }
}

function sizeOf(periods: readonly Period[]): number {
  return periods.reduce((n, p) => n + p.data.length, 0);
}

/** What is left of batches, as periods in the order of time. */
function periodsOf(batches: readonly Batch[]): Period[] {
  const periods = new Map<number, Batch['data'][number]['datum'][]>();
  for (const { at, datum } of batches.flatMap((b) => b.data)) {
    const data = periods.get(at) ?? [];
    data.push(datum);
    periods.set(at, data);
  }
  return [...periods].map(([at, data]) => ({ at, data })).sort((a, b) => a.at - b.at);
}
