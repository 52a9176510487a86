/** Questions to DMS: paged, paced for the whole account, tried again where that may help. */
import {
  DescribeReplicationConfigsCommand,
  DescribeReplicationInstancesCommand,
  DescribeReplicationsCommand,
  DescribeReplicationTableStatisticsCommand,
  DescribeReplicationTasksCommand,
  DescribeTableStatisticsCommand,
  type DatabaseMigrationServiceClient,
  type Replication,
  type ReplicationConfig,
  type ReplicationInstance,
  type ReplicationTask,
  type TableStatistics,
} from '@aws-sdk/client-database-migration-service';
import { US_PER_MS, type Clock } from '../../daemon/core/clock.js';
import type { DmsArn } from '../../daemon/core/dms-arn.js';
import { SourceError, TransientError, type LockgateError } from '../../daemon/core/errors.js';
import { awsError } from '../session/aws-errors.js';
import type { RequestRate } from '../session/request-rate.js';

/** Tries of one request; what is throttled or lost is tried again, what is refused is not. */
const TRIES = 3;
/** The pause before the second try of a request that got lost, in milliseconds; doubled before the third. */
const RETRY_MS = 300;
/** More pages than this of one answer make no sense: 100,000 tables. */
const MOST_PAGES = 200;
const TASKS_PER_PAGE = 100;
const TABLES_PER_PAGE = 500;

interface Page<T> {
  items: readonly T[];
  marker: string | undefined;
}

/** Asks one account in one region. */
export class DmsAsker {
  constructor(
    private readonly client: DatabaseMigrationServiceClient,
    private readonly rate: RequestRate,
    private readonly clock: Clock,
    /** Yields numbers in [0, 1). */
    private readonly random: () => number = Math.random,
  ) {}

  /** The task of this ARN, with its settings if they are wanted; null when there is none. */
  async task(arn: string, withSettings: boolean, signal: AbortSignal): Promise<ReplicationTask | null> {
    const found = await this.optional(() =>
      this.pages('dms:DescribeReplicationTasks', signal, async (Marker, abortSignal) => {
        const input = {
          Filters: [{ Name: 'replication-task-arn', Values: [arn] }],
          WithoutSettings: !withSettings,
          MaxRecords: TASKS_PER_PAGE,
          ...marked(Marker),
        };
        const answer = await this.client.send(new DescribeReplicationTasksCommand(input), { abortSignal });
        return { items: answer.ReplicationTasks ?? [], marker: answer.Marker };
      }),
    );
    return found.find((t) => t.ReplicationTaskArn === arn) ?? null;
  }

  /** The serverless replication of this configuration's ARN; null when there is none. */
  async replication(arn: string, signal: AbortSignal): Promise<Replication | null> {
    const found = await this.optional(() =>
      this.pages('dms:DescribeReplications', signal, async (Marker, abortSignal) => {
        const input = { Filters: byConfig(arn), MaxRecords: TASKS_PER_PAGE, ...marked(Marker) };
        const answer = await this.client.send(new DescribeReplicationsCommand(input), { abortSignal });
        return { items: answer.Replications ?? [], marker: answer.Marker };
      }),
    );
    return found.find((r) => r.ReplicationConfigArn === arn) ?? null;
  }

  /** The configuration of a serverless replication, with its settings; null when there is none. */
  async replicationConfig(arn: string, signal: AbortSignal): Promise<ReplicationConfig | null> {
    const found = await this.optional(() =>
      this.pages('dms:DescribeReplicationConfigs', signal, async (Marker, abortSignal) => {
        const input = { Filters: byConfig(arn), MaxRecords: TASKS_PER_PAGE, ...marked(Marker) };
        const answer = await this.client.send(new DescribeReplicationConfigsCommand(input), { abortSignal });
        return { items: answer.ReplicationConfigs ?? [], marker: answer.Marker };
      }),
    );
    return found.find((c) => c.ReplicationConfigArn === arn) ?? null;
  }

  /** What DMS says of every table of a task or serverless replication. */
  tables(arn: string, { kind }: DmsArn, signal: AbortSignal): Promise<readonly TableStatistics[]> {
    if (kind === 'task') {
      return this.pages('dms:DescribeTableStatistics', signal, async (Marker, abortSignal) => {
        const input = { ReplicationTaskArn: arn, MaxRecords: TABLES_PER_PAGE, ...marked(Marker) };
        const answer = await this.client.send(new DescribeTableStatisticsCommand(input), { abortSignal });
        return { items: answer.TableStatistics ?? [], marker: answer.Marker };
      });
    }
    return this.pages('dms:DescribeReplicationTableStatistics', signal, async (Marker, abortSignal) => {
      const input = { ReplicationConfigArn: arn, MaxRecords: TABLES_PER_PAGE, ...marked(Marker) };
      const answer = await this.client.send(new DescribeReplicationTableStatisticsCommand(input), { abortSignal });
      return { items: answer.ReplicationTableStatistics ?? [], marker: answer.Marker };
    });
  }

  /** The replication instance of this ARN; null when there is none. */
  async instance(arn: string, signal: AbortSignal): Promise<ReplicationInstance | null> {
    const found = await this.optional(() =>
      this.pages('dms:DescribeReplicationInstances', signal, async (Marker, abortSignal) => {
        const Filters = [{ Name: 'replication-instance-arn', Values: [arn] }];
        const input = { Filters, MaxRecords: TASKS_PER_PAGE, ...marked(Marker) };
        const answer = await this.client.send(new DescribeReplicationInstancesCommand(input), { abortSignal });
        return { items: answer.ReplicationInstances ?? [], marker: answer.Marker };
      }),
    );
    return found.find((i) => i.ReplicationInstanceArn === arn) ?? null;
  }

  /** DMS refuses a filter that nothing matches instead of answering an empty list. */
  private async optional<T>(ask: () => Promise<readonly T[]>): Promise<readonly T[]> {
    try {
      return await ask();
    } catch (error) {
      if (error instanceof SourceError && error.code === 'aws_not_found') return [];
      throw error;
    }
  }

  /** All pages; a marker that does not end would be no answer. */
  private async pages<T>(
    permission: string,
    signal: AbortSignal,
    ask: (marker: string | undefined, signal: AbortSignal) => Promise<Page<T>>,
  ): Promise<readonly T[]> {
    const all: T[] = [];
    let marker: string | undefined;
    for (let n = 0; n < MOST_PAGES; n += 1) {
      const page = await this.request(permission, signal, () => ask(marker, signal));
      all.push(...page.items);
      if (page.marker === undefined || page.marker === '') return all;
      marker = page.marker;
    }
    throw new TransientError('aws_failed', `${permission}: the answer has more than ${MOST_PAGES} pages`);
  }

  /** One request: in its turn, and again when it was throttled or lost. */
  private async request<T>(permission: string, signal: AbortSignal, send: () => Promise<T>): Promise<T> {
    for (let n = 1; ; n += 1) {
      await this.turn(signal);
      try {
        const answer = await send();
        this.rate.answered();
        return answer;
      } catch (thrown) {
        const error: LockgateError = awsError(thrown, permission);
        if (error.code === 'aws_throttled') this.rate.throttled(this.clock.monotonicNow());
        if (n === TRIES || !(error instanceof TransientError) || signal.aborted) throw error;
        if (error.code !== 'aws_throttled') {
          await this.clock.sleep(RETRY_MS * 2 ** (n - 1) * (0.5 + this.random() / 2), signal);
        }
      }
    }
  }

  private async turn(signal: AbortSignal): Promise<void> {
    const waitUs = this.rate.take(this.clock.monotonicNow());
    if (waitUs > 0) await this.clock.sleep(waitUs / US_PER_MS, signal);
    if (signal.aborted) throw new TransientError('aborted', 'lockgate is stopping');
  }
}

function marked(marker: string | undefined): { Marker?: string } {
  return marker === undefined ? {} : { Marker: marker };
}

function byConfig(arn: string): { Name: string; Values: string[] }[] {
  return [{ Name: 'replication-config-arn', Values: [arn] }];
}
