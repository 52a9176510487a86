/** One number of CloudWatch: the newest whole period of one metric, with its own age. */
import { US_PER_MS, type Clock } from '../../daemon/core/clock.js';
import type { CloudWatchQuery } from '../../daemon/core/config.js';
import { SourceError, TransientError } from '../../daemon/core/errors.js';
import type { AwsClients } from '../session/aws.js';
import { getMetricData } from '../session/metric-data.js';
import type { Answer } from './asked-number.js';
import { within } from './within.js';

/** Samples are of a minute each; the finest that every metric of AWS has. */
const PERIOD_S = 60;
const PERIOD_MS = PERIOD_S * 1_000;
/** How far back a sample is looked for: CloudWatch has its numbers minutes late. */
const LOOK_BACK_MS = 600_000;
/** The SDK tries three times, each with a limit of its own. */
const REQUEST_MS = 35_000;

/**
 * Asks for the newest sample; rejects with a LockgateError when there is none. The minute under way is left out: half a
 * minute has half the errors. A sample's time is the beginning of its minute, and its age counts from there.
 */
export async function askCloudWatch(
  aws: AwsClients,
  query: CloudWatchQuery,
  { clock, scale }: { clock: Clock; scale: number },
  signal: AbortSignal,
): Promise<Answer> {
  const wall = clock.wallNow();
  const askedAt = clock.monotonicNow();
  const to = Math.floor(wall / PERIOD_MS) * PERIOD_MS;
  const late = `CloudWatch did not answer within ${REQUEST_MS / 1_000} s`;
  const [answer] = await within(clock, REQUEST_MS, signal, late, (inner) =>
    getMetricData(aws.cloudwatch(query), [{ ...query, periodS: PERIOD_S }], { from: to - LOOK_BACK_MS, to }, inner),
  );
  if (answer === undefined || 'fault' in answer) {
    throw new TransientError('cloudwatch_status', answer?.fault ?? 'CloudWatch answered nothing');
  }
  const [newest] = answer.samples;
  if (newest === undefined) {
    const hint = 'no traffic, no sample; or namespace, metric and dimensions name nothing: they must be all and exact';
    throw new TransientError('cloudwatch_empty', 'CloudWatch has no sample of the last 10 minutes', hint);
  }
  const ageMs = wall - newest.at;
  if (ageMs < 0) {
    throw new SourceError('cloudwatch_future', 'the sample is from the future', 'set the clock of this machine');
  }
  const value = newest.value * scale;
  if (!Number.isFinite(value)) throw new TransientError('cloudwatch_value', 'the sample is no number');
  return { value, observedAt: askedAt - Math.round(ageMs * US_PER_MS) };
}
