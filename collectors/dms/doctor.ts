/** Asks everything once that the collectors ask again and again, and the settings besides; read-only. */
import { parseDmsArn } from '../../daemon/core/dms-arn.js';
import { LockgateError, messageOf } from '../../daemon/core/errors.js';
import type { Finding } from '../collector.js';
import type { DmsLink } from './collector.js';
import { judgeLatency, latencyQueries, LOOK_BACK_MS } from './latency.js';
import type { DmsReach } from './reach.js';
import { adviseOn, type Advice } from './settings.js';
import { judgeTables } from './tables.js';
import { judgeRunning, missing, ofReplication, ofTask, type TaskState } from './tasks.js';

const OF_TASKS = ['running', 'errors', 'tables_syncing', 'dms.running', 'dms.full_load_percent'];
const OF_TABLES = [
  ...['errors', 'tables_syncing', 'dms.tables_errored', 'dms.tables_pending'],
  ...['dms.validation_failed', 'dms.validation_pending', 'dms.validation_suspended'],
];
const OF_LATENCY = ['dms.cdc_latency_source', 'dms.cdc_latency_target'];

/** What would be unknown of a link by DMS, and what its tasks' settings mean. */
export async function examine(link: DmsLink, signal: AbortSignal): Promise<Finding[]> {
  const advice: Advice[] = [];
  const reach = await link.reach();
  for (const arn of link.dms.tasks) advice.push(...(await examineTask(link, reach, arn, signal)));
  return advice.map((a) => ({ ...a, database: null, link: link.id }));
}

async function examineTask(link: DmsLink, reach: DmsReach, arn: string, signal: AbortSignal): Promise<Advice[]> {
  const { asker } = reach;
  const name = parseDmsArn(arn);
  if (name === null) return [fault(`${arn} is no ARN of a DMS task`, OF_TASKS, 'correct it in the configuration')];
  let task: TaskState;
  let settings: string | undefined;
  try {
    if (name.kind === 'task') {
      const found = await asker.task(arn, true, signal);
      if (found === null) return [absent(link, arn)];
      [task, settings] = [ofTask(found), found.ReplicationTaskSettings];
    } else {
      const found = await asker.replication(arn, signal);
      if (found === null) return [absent(link, arn)];
      task = ofReplication(found);
      settings = (await asker.replicationConfig(arn, signal))?.ReplicationSettings;
    }
  } catch (error) {
    return [refused(error, OF_TASKS)];
  }
  const running = judgeRunning(task, null);
  const state: Advice =
    running.value === 1
      ? ok(`${task.name} is running`)
      : {
          level: 'fault',
          message: running.reason ?? '',
          signals: [],
          remedy: 'start or resume it; until then `running` is 0',
        };
  return [
    state,
    ...(await examineTables(reach, arn, task, signal)),
    ...(await examineLatency(link, reach, arn, task, signal)),
    ...adviseOn(task.name, settings),
  ];
}

async function examineTables(
  { asker }: DmsReach,
  arn: string,
  task: TaskState,
  signal: AbortSignal,
): Promise<Advice[]> {
  const name = parseDmsArn(arn);
  if (name === null) return [];
  try {
    const tables = await asker.tables(arn, name, signal);
    const { errored, pending } = judgeTables(task.name, tables, task.tablesErrored);
    const said: Advice[] = [ok(`${task.name}: DMS lists ${tables.length} tables`)];
    if (errored.value === null || pending.value === null) {
      return [fault(errored.reason ?? pending.reason ?? '', OF_TABLES, 'look at the table mappings of the task')];
    }
    if (errored.value > 0) {
      const message = `${task.name}: ${errored.value} tables in error: ${errored.reason ?? ''}`;
      said.push({ level: 'warning', message, signals: [], remedy: 'reload these tables' });
    }
    if (pending.value > 0) {
      const message = `${task.name}: ${pending.value} tables are not loaded whole: ${pending.reason ?? ''}`;
      said.push({ level: 'warning', message, signals: [], remedy: null });
    }
    return said;
  } catch (error) {
    return [refused(error, OF_TABLES)];
  }
}

async function examineLatency(
  { clock }: DmsLink,
  { asker, metrics }: DmsReach,
  arn: string,
  task: TaskState,
  signal: AbortSignal,
): Promise<Advice[]> {
  if (task.instanceArn === null) {
    const message = `${task.name} is serverless: its latency in CloudWatch is not looked up in this version`;
    return [{ level: 'warning', message, signals: OF_LATENCY, remedy: null }];
  }
  try {
    const instance = (await asker.instance(task.instanceArn, signal))?.ReplicationInstanceIdentifier;
    if (instance === undefined) {
      return [fault(`${task.name}: there is no replication instance ${task.instanceArn}`, OF_LATENCY, null)];
    }
    const wallNow = clock.wallNow();
    const queries = latencyQueries(instance, parseDmsArn(arn)?.id ?? '');
    const answers = await metrics(queries, { from: wallNow - LOOK_BACK_MS, to: wallNow }, signal);
    return answers.map((answer, i): Advice => {
      const metric = queries[i]?.metric ?? '';
      const { value, ageMs } = judgeLatency(metric, answer, wallNow);
      if (value.value !== null) {
        return ok(
          `${task.name} on ${instance}: ${metric} was ${value.value} s, ${Math.round((ageMs ?? 0) / 1000)} s ago`,
        );
      }
      const remedy =
        'a task that has just been started has samples after a few minutes; let CloudWatch logs be enabled';
      return { level: 'warning', message: `${task.name}: ${value.reason ?? ''}`, signals: OF_LATENCY, remedy };
    });
  } catch (error) {
    return [refused(error, OF_LATENCY)];
  }
}

function absent({ dms }: DmsLink, arn: string): Advice {
  const region = parseDmsArn(arn)?.region;
  const remedy =
    region === dms.region
      ? 'look at the ARN, and at which account the credentials belong to'
      : `the ARN is of ${region ?? 'no region'}, and ${dms.region} is asked`;
  return fault(missing(arn).reason ?? '', OF_TASKS, remedy);
}

function ok(message: string): Advice {
  return { level: 'ok', message, signals: [], remedy: null };
}

function fault(message: string, signals: readonly string[], remedy: string | null): Advice {
  return { level: 'fault', message, signals, remedy };
}

/** What is not from AWS is a bug, and not for doctor to hide. */
function refused(error: unknown, signals: readonly string[]): Advice {
  if (!(error instanceof LockgateError)) throw error;
  return fault(messageOf(error), signals, error.hint);
}
