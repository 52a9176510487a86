/** One number of CloudWatch: the newest whole period of one metric, with its own age. */
import { GetMetricDataCommand } from '@aws-sdk/client-cloudwatch';
import { awsFaultOf, type AwsFaultKind } from '../../daemon/core/aws-fault.js';
import { US_PER_MS, type Clock } from '../../daemon/core/clock.js';
import type { CloudWatchQuery } from '../../daemon/core/config.js';
import { SourceError, TransientError, type LockgateError } from '../../daemon/core/errors.js';
import type { AwsClients } from '../session/aws.js';
import type { Answer } from './asked-number.js';
import { words } from './prometheus-answer.js';
import { within } from './within.js';

/** Samples are of a minute each; the finest that every metric of AWS has. */
const PERIOD_S = 60;
/** How far back a sample is looked for: CloudWatch has its numbers minutes late. */
const LOOK_BACK_MS = 600_000;
/** The SDK tries three times, each with a limit of its own. */
const REQUEST_MS = 35_000;

const HINTS: Readonly<Record<AwsFaultKind, string | null>> = {
  throttled: 'ask less often: `every`',
  credentials: 'the credentials of this machine are missing or expired',
  denied: 'allow cloudwatch:GetMetricData',
  invalid: 'look at namespace, metric, stat and dimensions',
  unreachable: null,
};

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
  const end = Math.floor(wall / (PERIOD_S * 1_000)) * PERIOD_S * 1_000;
  const command = new GetMetricDataCommand({
    MetricDataQueries: [
      {
        Id: 'asked',
        MetricStat: {
          Metric: {
            Namespace: query.namespace,
            MetricName: query.metric,
            Dimensions: Object.entries(query.dimensions).map(([Name, Value]) => ({ Name, Value })),
          },
          Period: PERIOD_S,
          Stat: query.stat,
        },
      },
    ],
    StartTime: new Date(end - LOOK_BACK_MS),
    EndTime: new Date(end),
    ScanBy: 'TimestampDescending',
  });
  const late = `CloudWatch did not answer within ${REQUEST_MS / 1_000} s`;
  const answer = await within(clock, REQUEST_MS, signal, late, (abortSignal) =>
    aws.cloudwatch(query).send(command, { abortSignal }).catch(refused),
  );
  const [result] = answer.MetricDataResults ?? [];
  const status = result?.StatusCode;
  // Newest first: what is cut off of the answer is older than what is there.
  if (status !== 'Complete' && status !== 'PartialData') {
    const said = [...(answer.Messages ?? []), ...(result?.Messages ?? [])].map((m) => m.Value ?? '').join(' ');
    const message = `CloudWatch has no answer: ${words(`${status ?? 'nothing'} ${said}`)}`;
    throw new TransientError('cloudwatch_status', message, status === 'Forbidden' ? HINTS.denied : null);
  }
  const [at] = result?.Timestamps ?? [];
  const [value] = result?.Values ?? [];
  if (at === undefined || value === undefined) {
    const hint = 'no traffic, no sample; or namespace, metric and dimensions name nothing: they must be all and exact';
    throw new TransientError('cloudwatch_empty', 'CloudWatch has no sample of the last 10 minutes', hint);
  }
  const ageMs = wall - at.getTime();
  if (!(ageMs >= 0)) {
    throw new TransientError('cloudwatch_future', 'the sample is from the future', 'set the clock of this machine');
  }
  const scaled = value * scale;
  if (!Number.isFinite(scaled)) throw new TransientError('cloudwatch_value', 'the sample is no number');
  return { value: scaled, observedAt: askedAt - Math.round(ageMs * US_PER_MS) };
}

function refused(error: unknown): never {
  const { kind, text } = awsFaultOf(error);
  const Kind: new (...args: ConstructorParameters<typeof TransientError>) => LockgateError =
    kind === 'denied' || kind === 'invalid' ? SourceError : TransientError;
  throw new Kind(`cloudwatch_${kind}`, `CloudWatch does not answer: ${text}`, HINTS[kind], { cause: error });
}
