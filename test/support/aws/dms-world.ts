/** What the fake DMS holds: tasks, serverless replications, their tables and instances, answered in pages as DMS does. */
import type { Replication, ReplicationTask, TableStatistics } from '@aws-sdk/client-database-migration-service';
import { AwsError } from './aws-error.js';
import type { FakeAws } from './fake.js';

const ACCOUNT = 'arn:aws:dms:eu-west-1:123456789012';

/** The ARN of a task, instance or replication configuration of the tests' account. */
export function dmsArn(kind: 'task' | 'rep' | 'replication-config', id: string): string {
  return `${ACCOUNT}:${kind}:${id}`;
}

/** See above. */
export class DmsWorld {
  tasks: ReplicationTask[] = [];
  replications: Replication[] = [];
  /** Settings of serverless replications, JSON, by the configuration's ARN. */
  readonly settings = new Map<string, string>();
  /** By the ARN of the task or configuration. */
  readonly tables = new Map<string, TableStatistics[]>();
  /** Names by ARN. */
  readonly instances = new Map<string, string>();

  /** Has `aws` answer from here. */
  constructor(aws: FakeAws) {
    const found = <T>(items: T[], what: string): T[] => {
      if (items.length === 0) throw new AwsError('ResourceNotFoundFault', `No ${what} found matching these filters.`);
      return items;
    };
    aws.on('DescribeReplicationTasks', (input) => {
      const tasks = found(byFilter(this.tasks, input, 'replication-task-arn', 'ReplicationTaskArn'), 'Tasks');
      const shown = input['WithoutSettings'] === true ? tasks.map(withoutSettings) : tasks;
      return page('ReplicationTasks', shown, input, 100);
    });
    aws.on('DescribeReplications', (input) => {
      const all = byFilter(this.replications, input, 'replication-config-arn', 'ReplicationConfigArn');
      return page('Replications', found(all, 'Replications'), input, 100);
    });
    aws.on('DescribeReplicationConfigs', (input) => {
      const configs = [...this.settings].map(([arn, json]) => ({
        ReplicationConfigArn: arn,
        ReplicationSettings: json,
      }));
      const all = byFilter(configs, input, 'replication-config-arn', 'ReplicationConfigArn');
      return page('ReplicationConfigs', found(all, 'Configs'), input, 100);
    });
    aws.on('DescribeReplicationInstances', (input) => {
      const all = [...this.instances].map(([arn, name]) => ({
        ReplicationInstanceArn: arn,
        ReplicationInstanceIdentifier: name,
      }));
      const chosen = byFilter(all, input, 'replication-instance-arn', 'ReplicationInstanceArn');
      return page('ReplicationInstances', found(chosen, 'Instances'), input, 100);
    });
    aws.on('DescribeTableStatistics', (input) => {
      const arn = String(input['ReplicationTaskArn']);
      return page('TableStatistics', this.tables.get(arn) ?? [], input, 500, { ReplicationTaskArn: arn });
    });
    aws.on('DescribeReplicationTableStatistics', (input) => {
      const arn = String(input['ReplicationConfigArn']);
      return page('ReplicationTableStatistics', this.tables.get(arn) ?? [], input, 500, { ReplicationConfigArn: arn });
    });
  }

  /** Adds a running task with an instance and these tables, all loaded; returns its ARN. */
  addTask(id: string, tables: readonly string[] = ['orders'], more: Partial<ReplicationTask> = {}): string {
    const arn = dmsArn('task', id);
    const instance = dmsArn('rep', `${id}REP`);
    this.instances.set(instance, `instance-of-${id.toLowerCase()}`);
    this.tasks.push({
      ReplicationTaskArn: arn,
      ReplicationTaskIdentifier: id.toLowerCase(),
      ReplicationInstanceArn: instance,
      MigrationType: 'full-load-and-cdc',
      Status: 'running',
      ReplicationTaskStartDate: new Date('2026-11-27T08:00:00Z'),
      ReplicationTaskSettings: '{}',
      TableMappings: MAPPINGS,
      ReplicationTaskStats: { FullLoadProgressPercent: 100, TablesLoaded: tables.length, TablesErrored: 0 },
      ...more,
    });
    this.tables.set(
      arn,
      tables.map((name) => table(name)),
    );
    return arn;
  }

  /** Changes a task. */
  set(arn: string, change: Partial<ReplicationTask>): void {
    this.tasks = this.tasks.map((t) => (t.ReplicationTaskArn === arn ? { ...t, ...change } : t));
  }
}

/** All tables of all schemas. */
const MAPPINGS = JSON.stringify({
  rules: [
    {
      ...{ 'rule-type': 'selection', 'rule-id': '1', 'rule-name': '1', 'rule-action': 'include', filters: [] },
      'object-locator': { 'schema-name': '%', 'table-name': '%' },
    },
  ],
});

/** A table that is loaded and not validated; of the schema `app` unless one is given before a dot. */
export function table(name: string, more: Partial<TableStatistics> = {}): TableStatistics {
  const [TableName = '', SchemaName = 'app'] = name.split('.').reverse();
  return {
    SchemaName,
    TableName,
    TableState: 'Table completed',
    ValidationState: 'Not enabled',
    LastUpdateTime: new Date('2026-11-27T08:00:00Z'),
    ...more,
  };
}

function withoutSettings(task: ReplicationTask): ReplicationTask {
  const rest = { ...task };
  delete rest.ReplicationTaskSettings;
  delete rest.TableMappings;
  return rest;
}

function byFilter<T extends object>(
  items: readonly T[],
  input: Record<string, unknown>,
  filter: string,
  key: string,
): T[] {
  const filters = (input['Filters'] ?? []) as { Name: string; Values: string[] }[];
  for (const { Name } of filters)
    if (Name !== filter) throw new AwsError('InvalidParameterValueException', `no filter ${Name}`);
  return items.filter((item) =>
    filters.every((f) => f.Values.includes(String((item as Record<string, unknown>)[key]))),
  );
}

/** Markers are numbers here; DMS's are opaque as well. */
function page(
  name: string,
  items: readonly object[],
  input: Record<string, unknown>,
  usual: number,
  more: object = {},
): object {
  const size = typeof input['MaxRecords'] === 'number' ? input['MaxRecords'] : usual;
  const from = input['Marker'] === undefined ? 0 : Number(input['Marker']);
  const end = from + size;
  return { ...more, [name]: items.slice(from, end), ...(end < items.length ? { Marker: String(end) } : {}) };
}
