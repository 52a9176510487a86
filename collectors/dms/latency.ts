/** CDC latency from CloudWatch: for people, because a 0 proves nothing. Pure, but for the question itself. */
import type { MetricAnswer, MetricQuery } from '../session/metric-data.js';
import { is, unknownFor, type Value } from './value.js';

/** How far back a sample still counts; DMS's data is minutes old. */
export const LOOK_BACK_MS = 600_000;
const PERIOD_S = 60;

/** Both metrics of a task. `instance` is the replication instance's name, not its ARN; `task` the last part of the task's ARN. */
export function latencyQueries(instance: string, task: string): readonly [source: MetricQuery, target: MetricQuery] {
  const query = (metric: string): MetricQuery => ({
    namespace: 'AWS/DMS',
    metric,
    stat: 'Maximum',
    dimensions: { ReplicationInstanceIdentifier: instance, ReplicationTaskIdentifier: task },
    periodS: PERIOD_S,
  });
  return [query('CDCLatencySource'), query('CDCLatencyTarget')];
}

/** A value, and how old its sample was when it was asked for. */
export interface Latency {
  value: Value;
  /** Milliseconds; null without a sample. */
  ageMs: number | null;
}

/** What the newest sample says, in seconds; `wallNow` in milliseconds since 1970. */
export function judgeLatency(metric: string, answer: MetricAnswer, wallNow: number): Latency {
  if ('fault' in answer) return { value: unknownFor(`${metric}: ${answer.fault}`), ageMs: null };
  const [newest] = answer.samples;
  if (newest === undefined || wallNow - newest.at > LOOK_BACK_MS) {
    const reason = `CloudWatch has no sample of ${metric} of the last ten minutes (a task that does not run has none)`;
    return { value: unknownFor(reason), ageMs: null };
  }
  if (newest.value < 0) return { value: unknownFor(`${metric} is ${newest.value}, which is no latency`), ageMs: null };
  const remark =
    newest.value === 0 ? `${metric} 0 says that the last read found nothing new, not that all has arrived` : null;
  // A clock that is behind AWS's would make samples of the future; they are as old as the question then.
  return { value: is(newest.value, remark), ageMs: Math.max(0, wallNow - newest.at) };
}
