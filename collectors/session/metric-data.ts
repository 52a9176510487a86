/** Samples of CloudWatch metrics, in as few requests as its limits allow. */
import {
  GetMetricDataCommand,
  type CloudWatchClient,
  type GetMetricDataCommandOutput,
  type MetricDataQuery,
  type MetricDataResult,
} from '@aws-sdk/client-cloudwatch';
import { TransientError } from '../../daemon/core/errors.js';
import { awsError } from './aws-errors.js';

/** One metric with one statistic. */
export interface MetricQuery {
  namespace: string;
  metric: string;
  stat: string;
  dimensions: Readonly<Record<string, string>>;
  /** Seconds: 60 or a multiple of it, or for metrics of high resolution 1, 5, 10, 20 or 30. */
  periodS: number;
}

/** What a metric was in one period. */
export interface MetricSample {
  /** Begin of the period, milliseconds since 1970, by AWS's clock. */
  at: number;
  value: number;
}

/** The samples of one query, newest first, maybe none; or why there are none to be had. */
export type MetricAnswer = { samples: readonly MetricSample[] } | { fault: string };

/** As many queries as a request may have. */
const MOST_QUERIES = 500;
/** More pages than this make no sense. */
const MOST_PAGES = 100;
const PERMISSION = 'cloudwatch:GetMetricData';

/**
 * Asks for the samples of every query between two instants (milliseconds since 1970; the end is not included), and answers
 * in the order of the queries. Rejects with a LockgateError when a request fails, or when `signal` aborts.
 */
export async function getMetricData(
  client: CloudWatchClient,
  queries: readonly MetricQuery[],
  between: { from: number; to: number },
  signal: AbortSignal,
): Promise<MetricAnswer[]> {
  const answers: MetricAnswer[] = [];
  for (let i = 0; i < queries.length; i += MOST_QUERIES) {
    answers.push(...(await batch(client, queries.slice(i, i + MOST_QUERIES), between, signal)));
  }
  return answers;
}

async function batch(
  client: CloudWatchClient,
  queries: readonly MetricQuery[],
  between: { from: number; to: number },
  signal: AbortSignal,
): Promise<MetricAnswer[]> {
  const found = queries.map((): Collected => ({ samples: [], status: null, messages: [] }));
  let token: string | undefined;
  for (let page = 0; ; page += 1) {
    if (page === MOST_PAGES) {
      throw new TransientError('aws_failed', `${PERMISSION}: more than ${MOST_PAGES} pages of an answer`);
    }
    const answer = await ask(client, queries, between, token, signal);
    for (const result of answer.MetricDataResults ?? []) {
      const into = found[Number(result.Id?.slice(1))];
      if (into !== undefined) collect(into, result);
    }
    token = answer.NextToken;
    if (token === undefined || token === '') break;
  }
  return found.map(judge);
}

interface Collected {
  samples: MetricSample[];
  /** Null until there is a result; the newest one counts, for `PartialData` is completed by a later page. */
  status: string | null;
  messages: string[];
}

async function ask(
  client: CloudWatchClient,
  queries: readonly MetricQuery[],
  between: { from: number; to: number },
  token: string | undefined,
  signal: AbortSignal,
): Promise<GetMetricDataCommandOutput> {
  const command = new GetMetricDataCommand({
    StartTime: new Date(between.from),
    EndTime: new Date(between.to),
    ScanBy: 'TimestampDescending',
    MetricDataQueries: queries.map(written),
    ...(token === undefined ? {} : { NextToken: token }),
  });
  try {
    return await client.send(command, { abortSignal: signal });
  } catch (error) {
    throw awsError(error, PERMISSION);
  }
}

function written(query: MetricQuery, i: number): MetricDataQuery {
  const Dimensions = Object.entries(query.dimensions).map(([Name, Value]) => ({ Name, Value }));
  const Metric = { Namespace: query.namespace, MetricName: query.metric, Dimensions };
  return { Id: `q${i}`, ReturnData: true, MetricStat: { Metric, Period: query.periodS, Stat: query.stat } };
}

function collect(into: Collected, result: MetricDataResult): void {
  const { Timestamps: times = [], Values: values = [] } = result;
  if (times.length !== values.length) into.messages.push('an answer with more instants than values');
  for (const [i, at] of times.entries()) {
    const value = values[i];
    if (value !== undefined) into.samples.push({ at: at.getTime(), value });
  }
  into.status = result.StatusCode ?? 'none';
  into.messages.push(...(result.Messages ?? []).map((m) => `${m.Code ?? ''} ${m.Value ?? ''}`.trim()));
}

function judge({ samples, status, messages }: Collected): MetricAnswer {
  const said = messages.length === 0 ? '' : `: ${messages.join('; ')}`;
  if (status === null) return { fault: `CloudWatch answered nothing to this query${said}` };
  if (status !== 'Complete') return { fault: `CloudWatch answered ${status}${said}` };
  if (samples.some((s) => !Number.isFinite(s.value) || !Number.isFinite(s.at))) {
    return { fault: 'CloudWatch answered something that is no number' };
  }
  return { samples: samples.sort((a, b) => b.at - a.at) };
}
