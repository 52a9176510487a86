import type { Collector, Emit, Log } from '../../collectors/collector.js';
import type { Clock } from '../core/clock.js';
import type { Observation } from '../core/observation.js';
import { InvariantError, LockgateError, SourceError, messageOf } from '../core/errors.js';
import { RESTART_BACKOFF, backoffMs, type BackoffBounds } from './backoff.js';

/** Health after which the next failure counts as the first again. */
const HEALTHY_AFTER_US = 60_000_000;
/** An operator has to act on a SourceError, so asking again and again at once helps nobody. */
const SOURCE_ERROR_MIN_MS = 5_000;
/** A collector that does not end within this time after its abort is abandoned, and the log says so. */
const STOP_DEADLINE_MS = 5_000;

/** What is known of a supervised collector; it has the fields that the status and the metrics show. */
export interface SupervisedStatus {
  name: string;
  /** From a run's first observation until it fails: a collector that only tries to connect is not up. */
  up: boolean;
  restarts: number;
  /** Why it is not up; null while it is. */
  reason: string | null;
}

/** What the supervisor is handed; `random`, `backoff` and `stopDeadlineMs` have defaults. */
export interface SuperviseContext {
  clock: Clock;
  log: Log;
  onStatus: (status: SupervisedStatus) => void;
  random?: () => number;
  backoff?: BackoffBounds;
  stopDeadlineMs?: number;
}

type Outcome = { kind: 'failed'; error: unknown } | { kind: 'aborted' };

/**
 * Runs a collector until `signal` aborts, and starts it again with jittered exponential backoff whenever it fails or
 * ends by itself. Between runs all of its signals are unknown, with the failure as the reason. It resolves once the
 * collector has ended (or the deadline after the abort has passed) and rejects only with an InvariantError.
 */
export async function supervise(
  collector: Collector,
  emit: Emit,
  context: SuperviseContext,
  signal: AbortSignal,
): Promise<void> {
  const { clock, log, onStatus } = context;
  const random = context.random ?? Math.random;
  const bounds = context.backoff ?? RESTART_BACKOFF;
  let restarts = 0;
  let attempt = 0;

  const report = (up: boolean, reason: string | null): void => onStatus({ name: collector.name, up, restarts, reason });
  report(false, 'starting');

  while (!signal.aborted) {
    let upSince: number | null = null;
    let current = true;
    // An observation that arrives after its run has failed must not make signals known that `down` made unknown.
    const emitOfThisRun: Emit = (observation) => {
      if (!current) return;
      if (upSince === null) {
        upSince = clock.monotonicNow();
        report(true, null);
      }
      emit(observation);
    };
    const outcome = await runOnce(collector, emitOfThisRun, context, signal);
    current = false;
    if (outcome.kind === 'aborted') break;

    const reason = reasonOf(outcome.error);
    for (const observation of downOf(collector, reason)) emit(observation);
    report(false, reason);
    if (outcome.error instanceof InvariantError) throw outcome.error;

    if (healthyFor(upSince, clock) >= HEALTHY_AFTER_US) attempt = 0;
    const pause = backoffMs(attempt, random, bounds);
    const delay = outcome.error instanceof SourceError ? Math.max(pause, SOURCE_ERROR_MIN_MS) : pause;
    attempt += 1;
    log.warn(
      { collector: collector.name, code: codeOf(outcome.error), restarts, retryInMs: Math.round(delay) },
      `collector failed: ${reason}`,
    );
    await clock.sleep(delay, signal);
    restarts += 1;
  }
  report(false, 'stopped');
}

/** Staying silent while a collector is down would leave its last values standing, so not being able to say so is a bug. */
function downOf(collector: Collector, reason: string): Observation[] {
  try {
    return collector.down(reason);
  } catch (error) {
    throw new InvariantError(`collector ${collector.name} cannot say that it is down`, { cause: error });
  }
}

/** The reason that people read: the message, and the remedy where there is one. */
export function reasonOf(error: unknown): string {
  const message = firstMessage(error);
  return error instanceof LockgateError && error.hint !== null ? `${message} (${error.hint})` : message;
}

/** Connection attempts to several addresses fail with an AggregateError whose own message is empty. */
function firstMessage(error: unknown): string {
  const message = messageOf(error);
  if (message !== '') return message;
  if (error instanceof AggregateError && error.errors.length > 0) return firstMessage(error.errors[0]);
  return codeOf(error) ?? 'failed without a message';
}

function codeOf(error: unknown): string | null {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : null;
}

function healthyFor(upSince: number | null, clock: Clock): number {
  return upSince === null ? 0 : clock.monotonicNow() - upSince;
}

/** One run, from start to end; it never rejects. After an abort it waits for the collector, but not for ever. */
async function runOnce(
  collector: Collector,
  emit: Emit,
  { clock, log, stopDeadlineMs = STOP_DEADLINE_MS }: SuperviseContext,
  signal: AbortSignal,
): Promise<Outcome> {
  const settled = attemptRun(collector, emit, signal);
  const deadline = new AbortController();
  const overdue = new Promise<Outcome>((resolve) => {
    const startDeadline = (): void => {
      void clock.sleep(stopDeadlineMs, deadline.signal).then(() => {
        if (!deadline.signal.aborted) {
          log.error({ collector: collector.name, deadlineMs: stopDeadlineMs }, 'collector did not stop; abandoned');
        }
        resolve({ kind: 'aborted' });
      });
    };
    if (signal.aborted) startDeadline();
    else signal.addEventListener('abort', startDeadline, { once: true, signal: deadline.signal });
  });
  const outcome = await Promise.race([settled, overdue]);
  deadline.abort();
  return outcome;
}

async function attemptRun(collector: Collector, emit: Emit, signal: AbortSignal): Promise<Outcome> {
  try {
    await collector.run(emit, signal);
    if (signal.aborted) return { kind: 'aborted' };
    return { kind: 'failed', error: new Error('the collector ended by itself') };
  } catch (error) {
    // Faults while closing are of no interest any more; a bug is.
    if (signal.aborted && !(error instanceof InvariantError)) return { kind: 'aborted' };
    return { kind: 'failed', error };
  }
}
