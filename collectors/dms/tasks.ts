/** What a DMS task, or a serverless replication, is doing. Pure: what DMS said comes in. */
import type { Replication, ReplicationTask } from '@aws-sdk/client-database-migration-service';
import { is, unknownFor, type Value } from './value.js';

/** The longest part of a message of DMS that is shown. */
const LONGEST = 300;
/** DMS spells it so. */
const RUNNING = 'running';

/** A task or serverless replication, as far as it matters whether changes flow. */
export interface TaskState {
  /** As people know it. */
  name: string;
  /** An open set of words: whatever is not `running` is not running. Null where DMS gave none. */
  status: string | null;
  /** `full-load`, `cdc` or `full-load-and-cdc`; null where DMS gave none. */
  migrationType: string | null;
  stopReason: string | null;
  lastFailure: string | null;
  /** When it was started last, in milliseconds since 1970; null when DMS does not say. */
  startedAt: number | null;
  /** 0 to 100; null when DMS does not say. */
  fullLoadPercent: number | null;
  /** Null when DMS does not say. */
  tablesErrored: number | null;
  /** Of the replication instance; null for a serverless replication. */
  instanceArn: string | null;
}

/** What is kept of a task. */
export function ofTask(task: ReplicationTask): TaskState {
  const stats = task.ReplicationTaskStats;
  return {
    name: task.ReplicationTaskIdentifier ?? task.ReplicationTaskArn ?? 'task',
    status: task.Status ?? null,
    migrationType: task.MigrationType ?? null,
    stopReason: text(task.StopReason),
    lastFailure: text(task.LastFailureMessage),
    startedAt: (task.ReplicationTaskStartDate ?? stats?.StartDate)?.getTime() ?? null,
    fullLoadPercent: stats?.FullLoadProgressPercent ?? null,
    tablesErrored: stats?.TablesErrored ?? null,
    instanceArn: task.ReplicationInstanceArn ?? null,
  };
}

/** What is kept of a serverless replication. */
export function ofReplication(replication: Replication): TaskState {
  const stats = replication.ReplicationStats;
  return {
    name: replication.ReplicationConfigIdentifier ?? replication.ReplicationConfigArn ?? 'replication',
    status: replication.Status ?? null,
    migrationType: replication.ReplicationType ?? null,
    stopReason: text(replication.StopReason),
    lastFailure: text((replication.FailureMessages ?? []).join('; ')),
    startedAt: stats?.StartDate?.getTime() ?? null,
    fullLoadPercent: stats?.FullLoadProgressPercent ?? null,
    tablesErrored: stats?.TablesErrored ?? null,
    instanceArn: null,
  };
}

/**
 * Whether changes flow: 1 only where the status is `running` and the task carries changes. `before` is the same task at
 * the look before: one that was started again in between did not run all the time, though it runs now.
 */
export function judgeRunning(task: TaskState, before: TaskState | null): Value {
  if (task.status !== RUNNING) return is(0, `${task.name} is ${task.status ?? 'of no status'}${why(task)}`);
  if (task.migrationType === 'full-load') {
    return is(0, `${task.name} is a full load only: it does not carry changes`);
  }
  if (task.migrationType !== 'cdc' && task.migrationType !== 'full-load-and-cdc') {
    return is(
      0,
      `${task.name} has the type ${task.migrationType ?? 'none'}, of which nobody knows whether it carries changes`,
    );
  }
  if (before !== null && before.startedAt !== null && before.startedAt !== task.startedAt) {
    return is(0, `${task.name} was started again since the look before${why(task)}`);
  }
  return is(1);
}

/** What is said of a task that is configured and that DMS does not know. */
export function missing(arn: string): Value {
  return is(0, `there is no ${arn} in this account and region`);
}

/** How far the first copy is, in percent. */
export function judgeFullLoad(task: TaskState): Value {
  if (task.migrationType === 'cdc') {
    return unknownFor(`${task.name} carries changes only: the first copy was made by other means`);
  }
  const percent = task.fullLoadPercent;
  return percent === null ? unknownFor(`DMS tells no progress of ${task.name}`) : is(percent);
}

function why({ stopReason, lastFailure }: TaskState): string {
  const parts = [stopReason, lastFailure].filter((part) => part !== null);
  return parts.length === 0 ? '' : ` (${parts.join('; ')})`;
}

function text(said: string | undefined): string | null {
  const trimmed = said?.replace(/\s+/g, ' ').trim() ?? '';
  if (trimmed === '') return null;
  return trimmed.length > LONGEST ? `${trimmed.slice(0, LONGEST)}…` : trimmed;
}
