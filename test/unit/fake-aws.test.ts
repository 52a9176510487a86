import { CloudWatchClient, GetMetricDataCommand, PutMetricDataCommand } from '@aws-sdk/client-cloudwatch';
import {
  DatabaseMigrationServiceClient,
  DescribeReplicationTasksCommand,
  DescribeTableStatisticsCommand,
} from '@aws-sdk/client-database-migration-service';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AwsError } from '../support/aws/aws-error.js';
import type { FakeAws } from '../support/aws/fake.js';
import { startFakeAws } from '../support/aws/fake.js';
import { ApiModel } from '../support/aws/model.js';

const CREDENTIALS = { accessKeyId: 'AKIATEST', secretAccessKey: 'secret' };

let aws: FakeAws;
let dms: DatabaseMigrationServiceClient;
let cloudwatch: CloudWatchClient;

beforeEach(async () => {
  aws = await startFakeAws();
  const settings = { region: 'eu-west-1', endpoint: aws.endpoint, credentials: CREDENTIALS, maxAttempts: 1 };
  dms = new DatabaseMigrationServiceClient(settings);
  cloudwatch = new CloudWatchClient({
    ...settings,
    requestHandler: { requestTimeout: 200, throwOnRequestTimeout: true },
  });
});

afterEach(async () => {
  dms.destroy();
  cloudwatch.destroy();
  await aws.close();
});

/** What was wrong with the last request or answer, taken away, so that it does not count against the test. */
const wrong = (): string[] => aws.violations.splice(0);

const tasks = (input: object = {}) => dms.send(new DescribeReplicationTasksCommand(input));
const put = (datum: object, namespace = 'Lockgate') =>
  cloudwatch.send(
    new PutMetricDataCommand({ Namespace: namespace, MetricData: [{ MetricName: 'Lag', Value: 1, ...datum }] }),
  );

describe("AWS's models", () => {
  it('refuse members that there are not, missing ones and wrong types', () => {
    const model = new ApiModel('dms-2016-01-01');
    expect(model.checkInput('DescribeTableStatistics', { ReplicationTaskArn: 'arn' })).toEqual([]);
    expect(model.checkInput('DescribeTableStatistics', { TaskArn: 'arn', MaxRecords: '20' })).toEqual([
      'DescribeTableStatistics.ReplicationTaskArn: is missing',
      'DescribeTableStatistics.TaskArn: no such member',
      'DescribeTableStatistics.MaxRecords: not an integer',
    ]);
    expect(
      model.checkOutput('DescribeReplicationTasks', {
        ReplicationTasks: [{ Status: 5, ReplicationTaskStats: { FullLoadProgressPercent: 1.5, Nonsense: true } }],
      }),
    ).toEqual([
      'DescribeReplicationTasks answer.ReplicationTasks[0].Status: not a string',
      'DescribeReplicationTasks answer.ReplicationTasks[0].ReplicationTaskStats.FullLoadProgressPercent: not an integer',
      'DescribeReplicationTasks answer.ReplicationTasks[0].ReplicationTaskStats.Nonsense: no such member',
    ]);
    expect(model.has('DescribeEverything')).toBe(false);
    expect(model.has('toString')).toBe(false);
  });
});

describe('the fake AWS', () => {
  it('speaks to the real client of DMS, with dates', async () => {
    const created = new Date('2026-11-27T10:00:00Z');
    aws.on('DescribeReplicationTasks', (input) => {
      expect(input).toEqual({ WithoutSettings: true, MaxRecords: 100 });
      return { ReplicationTasks: [{ Status: 'running', ReplicationTaskCreationDate: created }] };
    });
    const answer = await tasks({ WithoutSettings: true, MaxRecords: 100 });
    expect(answer.ReplicationTasks).toEqual([{ Status: 'running', ReplicationTaskCreationDate: created }]);
    expect(aws.requests[0]).toMatchObject({ service: 'dms', operation: 'DescribeReplicationTasks', gzipped: false });
  });

  it('refuses what nothing answers, limits passed and wrong requests, and remembers them', async () => {
    await expect(tasks()).rejects.toMatchObject({ name: 'UnknownOperationException' });
    expect(wrong()).toEqual(['DescribeReplicationTasks: nothing answers it']);
    await expect(tasks({ MaxRecords: 500 })).rejects.toThrow('MaxRecords: 500 is not between 20 and 100');
    expect(wrong()).toHaveLength(1);
    await expect(
      dms.send(new DescribeTableStatisticsCommand({ ReplicationTaskArn: 5 as unknown as string })),
    ).rejects.toThrow('not a string');
    expect(wrong()).toEqual(['DescribeTableStatistics.ReplicationTaskArn: not a string']);
  });

  it('refuses an answer of its own that the model does not know', async () => {
    aws.on('DescribeReplicationTasks', () => ({ ReplicationTasks: [{ State: 'running' }] }));
    await expect(tasks()).rejects.toThrow("the fake's own answer is wrong");
    expect(wrong()).toEqual(['DescribeReplicationTasks answer.ReplicationTasks[0].State: no such member']);
    aws.on('DescribeReplicationTasks', () => ({ ReplicationTasks: [{ ReplicationTaskCreationDate: '2026-11-27' }] }));
    await expect(tasks()).rejects.toThrow('not epoch seconds');
    expect(wrong()).toHaveLength(1);
  });

  it('says at the end that something was wrong', async () => {
    const other = await startFakeAws();
    other.violations.push('something');
    await expect(other.close()).rejects.toThrow('something');
  });

  it('refuses names as each service does', async () => {
    aws.on('DescribeReplicationTasks', () => {
      throw new AwsError('ResourceNotFoundFault', 'No Tasks found matching these filters.');
    });
    await expect(tasks()).rejects.toMatchObject({ name: 'ResourceNotFoundFault' });
    aws.fault({ kind: 'throttle' }, { times: 2 });
    await expect(tasks()).rejects.toMatchObject({ name: 'ThrottlingException' });
    await expect(put({})).rejects.toMatchObject({ name: 'Throttling' });
    await put({});
    aws.fault({ kind: 'expired' }, { operation: 'DescribeReplicationTasks' });
    await expect(tasks()).rejects.toMatchObject({ name: 'ExpiredTokenException' });
    await put({});
    aws.heal();
    aws.fault({ kind: 'denied' });
    await expect(tasks()).rejects.toThrow('not authorized to perform: dms:DescribeReplicationTasks');
    await expect(put({})).rejects.toMatchObject({ name: 'AccessDenied' });
  });

  it('resets, cuts, delays and keeps silent', async () => {
    for (const kind of ['reset', 'half', 'mute', 'internal'] as const) {
      aws.fault({ kind }, { times: 1 });
      await expect(put({}), kind).rejects.toThrow();
    }
    aws.fault({ kind: 'slow', ms: 20 }, { times: 1 });
    const before = performance.now();
    await put({});
    expect(performance.now() - before).toBeGreaterThan(15);
  });
});

describe('the fake CloudWatch', () => {
  it('keeps what was put, also compressed', async () => {
    const many = Array.from({ length: 400 }, (_, i) => ({ MetricName: 'Lag', Value: i, Unit: 'Seconds' as const }));
    await cloudwatch.send(new PutMetricDataCommand({ Namespace: 'Lockgate', MetricData: many }));
    expect(aws.requests[0]?.gzipped).toBe(true);
    expect(aws.cloudwatch.stored).toHaveLength(400);
    expect(aws.cloudwatch.stored[7]).toEqual({ Namespace: 'Lockgate', MetricName: 'Lag', Value: 7, Unit: 'Seconds' });
  });

  it.each([
    [{ Value: NaN }, 'not a finite number'],
    [{ Value: Infinity }, 'not a finite number'],
    [{ Value: undefined }, 'exactly one of'],
    [{ Value: undefined, Values: Array.from({ length: 151 }, (_, i) => i) }, '151 values'],
    [{ Dimensions: Array.from({ length: 31 }, (_, i) => ({ Name: `d${i}`, Value: 'v' })) }, '31 dimensions'],
    [{ Dimensions: [{ Name: 'Link', Value: '' }] }, 'a bad value'],
    [{ Timestamp: new Date(Date.now() - 15 * 86_400_000) }, 'two weeks'],
    [{ Timestamp: new Date(Date.now() + 3 * 3_600_000) }, 'two hours'],
    [{ StorageResolution: 10 }, 'StorageResolution'],
    [{ Unit: 'Fortnights' }, 'Unit'],
  ])('refuses %o', async (datum, clause) => {
    await expect(put(datum)).rejects.toThrow(clause);
    expect(wrong()).toHaveLength(1);
  });

  it('refuses more than 1000 metrics and the namespaces of AWS', async () => {
    const MetricData = Array.from({ length: 1001 }, () => ({ MetricName: 'Lag', Value: 1 }));
    await expect(cloudwatch.send(new PutMetricDataCommand({ Namespace: 'L', MetricData }))).rejects.toThrow('1001');
    await expect(put({}, 'AWS/DMS')).rejects.toThrow('for AWS');
    wrong();
  });

  it('answers series by namespace, metric and all dimensions, newest first, a page at a time', async () => {
    const at = (s: number) => new Date(1_790_000_000_000 + s * 1000);
    aws.cloudwatch.series = [
      {
        namespace: 'AWS/DMS',
        metric: 'A',
        dimensions: { T: 'x' },
        points: [
          { at: at(0), value: 1 },
          { at: at(60), value: 2 },
        ],
      },
    ];
    aws.cloudwatch.pageSize = 1;
    const query = (id: string, dimensions: { Name: string; Value: string }[]) => ({
      Id: id,
      MetricStat: {
        Stat: 'Average',
        Period: 60,
        Metric: { Namespace: 'AWS/DMS', MetricName: 'A', Dimensions: dimensions },
      },
    });
    const ask = (more: object) =>
      cloudwatch.send(
        new GetMetricDataCommand({
          StartTime: at(-600),
          EndTime: at(600),
          MetricDataQueries: [query('a', [{ Name: 'T', Value: 'x' }]), query('b', [])],
          ...more,
        }),
      );
    const first = await ask({});
    expect(first.MetricDataResults).toEqual([
      { Id: 'a', Label: 'A', Timestamps: [at(60), at(0)], Values: [2, 1], StatusCode: 'Complete' },
    ]);
    const second = await ask({ NextToken: first.NextToken });
    expect(second.MetricDataResults).toMatchObject([{ Id: 'b', Timestamps: [], Values: [] }]);
    expect(second.NextToken).toBeUndefined();
    await expect(ask({ EndTime: at(-600) })).rejects.toThrow('not before EndTime');
    wrong();
  });
});
