import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { AwsClients } from '../../collectors/session/aws.js';
import { getMetricData, type MetricQuery } from '../../collectors/session/metric-data.js';
import type { FakeAws } from '../support/aws/fake.js';
import { startFakeAws } from '../support/aws/fake.js';

const at = (s: number) => new Date(1_790_000_000_000 + s * 1000);
const between = { from: at(-600).getTime(), to: at(60).getTime() };
const query = (task: string): MetricQuery => ({
  namespace: 'AWS/DMS',
  metric: 'CDCLatencySource',
  stat: 'Maximum',
  dimensions: { ReplicationTaskIdentifier: task },
  periodS: 60,
});

let aws: FakeAws;
let clients: AwsClients;
const never = new AbortController().signal;

const ask = (queries: readonly MetricQuery[], signal = never) =>
  getMetricData(
    clients.cloudwatch({ region: 'eu-west-1', endpoint: aws.endpoint, assumeRole: null }),
    queries,
    between,
    signal,
  );

beforeEach(async () => {
  vi.stubEnv('AWS_ACCESS_KEY_ID', 'AKIATEST');
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'secret');
  aws = await startFakeAws();
  clients = new AwsClients();
});

afterEach(async () => {
  clients.close();
  await aws.close();
  vi.unstubAllEnvs();
});

const series = (task: string, points: { at: Date; value: number }[], status?: string) => ({
  namespace: 'AWS/DMS',
  metric: 'CDCLatencySource',
  dimensions: { ReplicationTaskIdentifier: task },
  points,
  ...(status === undefined ? {} : { status }),
});

describe('samples of CloudWatch', () => {
  it('come newest first, in the order of the queries, over pages and batches of 500', async () => {
    aws.cloudwatch.pageSize = 200;
    aws.cloudwatch.series = Array.from({ length: 700 }, (_, i) =>
      series(`t${i}`, [
        { at: at(-120), value: i },
        { at: at(-60), value: i + 1 },
      ]),
    );
    const answers = await ask(Array.from({ length: 700 }, (_, i) => query(`t${i}`)));
    expect(answers).toHaveLength(700);
    expect(answers[699]).toEqual({
      samples: [
        { at: at(-60).getTime(), value: 700 },
        { at: at(-120).getTime(), value: 699 },
      ],
    });
    expect(aws.requests).toHaveLength(4);
  });

  it('may be none, or not be had', async () => {
    aws.cloudwatch.series = [series('b', [], 'InternalError'), series('c', [{ at: at(-700), value: 1 }])];
    expect(await ask([query('a'), query('b'), query('c')])).toEqual([
      { samples: [] },
      { fault: 'CloudWatch answered InternalError' },
      { samples: [] },
    ]);
  });

  it('are not had from an answer without the query, or with values that are missing', async () => {
    aws.on('GetMetricData', () => ({ MetricDataResults: [{ Id: 'q1', Timestamps: [at(0)], Values: [] }] }));
    expect(await ask([query('a'), query('b')])).toEqual([
      { fault: 'CloudWatch answered nothing to this query' },
      { fault: 'CloudWatch answered none: an answer with more instants than values' },
    ]);
  });

  it('say which permission is missing, and that it was throttled', async () => {
    aws.fault({ kind: 'denied' });
    await expect(ask([query('a')])).rejects.toMatchObject({
      code: 'aws_denied',
      hint: 'allow the action cloudwatch:GetMetricData to what lockgate runs as',
    });
    aws.heal();
    aws.fault({ kind: 'throttle' }, { times: 1 });
    expect(await ask([query('a')])).toEqual([{ samples: [] }]);
    aws.fault({ kind: 'throttle' });
    await expect(ask([query('a')])).rejects.toMatchObject({ code: 'aws_throttled' });
  });

  it.each([
    ['reset', 'aws_unreachable'],
    ['half', 'aws_unreachable'],
    ['internal', 'aws_failed'],
    ['expired', 'aws_expired'],
  ] as const)('fail when the answer is %s', async (kind, code) => {
    aws.fault({ kind });
    await expect(ask([query('a')])).rejects.toMatchObject({ code });
  });

  it('end when they are no longer wanted', async () => {
    aws.fault({ kind: 'mute' });
    await expect(ask([query('a')], AbortSignal.timeout(50))).rejects.toMatchObject({ code: 'aws_unreachable' });
  });
});
