/** Asks DMS about the tasks of one link, again and again. */
import { US_PER_MS, type Clock, type Us } from '../../daemon/core/clock.js';
import type { DmsConfig } from '../../daemon/core/config.js';
import { parseDmsArn } from '../../daemon/core/dms-arn.js';
import { LockgateError, reasonOf, SourceError, TransientError } from '../../daemon/core/errors.js';
import type { Observation, TaskTablesSeen } from '../../daemon/core/observation.js';
import type { DmsSignal, LinkId, LinkSignal } from '../../daemon/core/signal.js';
import type { Collector, Emit, Log } from '../collector.js';
import type { MetricAnswer } from '../session/metric-data.js';
import { judgeLatency, latencyQueries, LOOK_BACK_MS, type Latency } from './latency.js';
import type { DmsReach } from './reach.js';
import { readMappings, type LeftBehind } from './table-mappings.js';
import { judgeTables, listTables, type TablesJudged } from './tables.js';
import { judgeFullLoad, judgeRunning, missing, ofReplication, ofTask, type TaskState } from './tasks.js';
import { fold, unknownFor, type Fold, type Value } from './value.js';

/** How long what DMS and CloudWatch said may be used. */
const FRESH_US: Us = 600_000_000;
/** CloudWatch has a new sample each minute, and each question costs money. */
const LATENCY_EVERY_US: Us = 60_000_000;
/** Instances may be renamed, but seldom are. */
const INSTANCE_NAME_US: Us = 600_000_000;
/** Table mappings change with a change of the task only. */
const MAPPINGS_US: Us = 300_000_000;
/** The first pause after a look that failed in passing; doubled each time, never longer than the usual one. */
const RETRY_MS = 5_000;

/** What a collector of one link needs. */
export interface DmsLink {
  readonly id: LinkId;
  readonly dms: DmsConfig;
  readonly clock: Clock;
  readonly log: Log;
  reach(): Promise<DmsReach>;
  /** Yields numbers in [0, 1). */
  readonly random?: () => number;
}

/** What a task's mappings leave out, when that was asked for, and what the task was then. */
interface Mappings {
  readonly left: LeftBehind;
  readonly at: Us;
  readonly run: string;
}

/** One task as it was seen in one look; null where it is not there, or why it could not be seen. */
type Seen = TaskState | null | LockgateError;

const OF_TASKS = { running: 'least', full_load_percent: 'least' } as const satisfies Record<string, Fold>;
const OF_TABLES: Readonly<Record<keyof TablesJudged, DmsSignal>> = {
  errored: 'dms.tables_errored',
  pending: 'dms.tables_pending',
  validationFailed: 'dms.validation_failed',
  validationPending: 'dms.validation_pending',
  validationSuspended: 'dms.validation_suspended',
};
const TABLE_VALUES = Object.keys(OF_TABLES) as (keyof TablesJudged)[];
const LATENCIES = ['dms.cdc_latency_source', 'dms.cdc_latency_target'] as const;

/** See above. */
export class DmsCollector implements Collector {
  readonly name: string;
  /** What each task was at the last look that saw it. */
  readonly #before = new Map<string, TaskState>();
  readonly #instances = new Map<string, { name: string | null; at: Us }>();
  readonly #mappings = new Map<string, Mappings>();
  #latencyAt: Us = -Infinity;
  #failures = 0;
  #failing: string | null = null;

  constructor(private readonly link: DmsLink) {
    this.name = `${link.id}/dms`;
  }

  async run(emit: Emit, signal: AbortSignal): Promise<void> {
    const { clock, dms, random = Math.random } = this.link;
    const everyMs = dms.everyUs / US_PER_MS;
    const reach = await this.link.reach();
    while (!signal.aborted) {
      const startedAt = clock.monotonicNow();
      const fault = await this.#look(reach, emit, signal);
      if (aborted(signal)) break;
      this.#note(fault);
      const spentMs = (clock.monotonicNow() - startedAt) / US_PER_MS;
      // What an operator must mend does not mend itself any sooner.
      const soonMs = RETRY_MS * 2 ** Math.min(this.#failures - 1, 10) * (0.5 + random() / 2);
      const pauseMs = fault instanceof TransientError ? Math.min(everyMs, soonMs) : everyMs;
      await clock.sleep(Math.max(0, pauseMs - spentMs), signal);
    }
  }

  down(reason: string): Observation[] {
    this.#latencyAt = -Infinity;
    const value = unknownFor(reason);
    const at = this.link.clock.monotonicNow();
    const tables = Object.fromEntries(TABLE_VALUES.map((key) => [key, value])) as Record<keyof TablesJudged, Value>;
    return [
      ...this.#tasksReadings(value, value, at, at),
      ...this.#tablesReadings(tables, at, at),
      ...LATENCIES.map((name) => this.#dms(name, value, at, at)),
      this.#listed(null, reason, at, at),
    ];
  }

  /** Looks once: at the tasks, at their tables, at the latency; answers the first fault there was. */
  async #look(reach: DmsReach, emit: Emit, signal: AbortSignal): Promise<LockgateError | null> {
    const { clock, dms } = this.link;
    let fault: LockgateError | null = null;
    const askedAt = clock.monotonicNow();
    const seen = new Map<string, Seen>();
    for (const arn of dms.tasks) {
      const task = await orFault(() => this.#task(reach, arn, signal));
      if (aborted(signal)) return null;
      if (task instanceof LockgateError) fault ??= task;
      seen.set(arn, task);
    }
    const running = [...seen].map(([arn, task]) =>
      judged(arn, task, (t) => judgeRunning(t, this.#before.get(arn) ?? null), missing),
    );
    const loaded = [...seen].map(([arn, task]) => judged(arn, task, judgeFullLoad));
    for (const [arn, task] of seen) {
      if (task !== null && !(task instanceof LockgateError)) this.#before.set(arn, task);
    }
    const at = clock.monotonicNow();
    const values = [fold(OF_TASKS.running, running), fold(OF_TASKS.full_load_percent, loaded)] as const;
    for (const o of this.#tasksReadings(...values, askedAt, at)) emit(o);

    fault = (await this.#lookAtTables(reach, seen, emit, signal)) ?? fault;
    if (aborted(signal)) return null;
    return (await this.#lookAtLatency(reach, seen, emit, signal)) ?? fault;
  }

  async #task({ asker }: DmsReach, arn: string, signal: AbortSignal): Promise<TaskState | null> {
    if (parseDmsArn(arn)?.kind === 'replication-config') {
      const replication = await asker.replication(arn, signal);
      return replication === null ? null : ofReplication(replication);
    }
    const task = await asker.task(arn, false, signal);
    return task === null ? null : ofTask(task);
  }

  async #lookAtTables(
    { asker }: DmsReach,
    seen: ReadonlyMap<string, Seen>,
    emit: Emit,
    signal: AbortSignal,
  ): Promise<LockgateError | null> {
    const { clock } = this.link;
    const askedAt = clock.monotonicNow();
    let fault: LockgateError | null = null;
    const all: TablesJudged[] = [];
    const listed: NonNullable<TaskTablesSeen['tables']>[number][] = [];
    const unlisted: string[] = [];
    let listedAt = askedAt;
    for (const [arn, task] of seen) {
      const name = parseDmsArn(arn);
      const unseen = noTask(arn, task) ?? (name === null ? `${arn} is no ARN of a task` : null);
      if (unseen !== null || name === null || task === null || task instanceof LockgateError) {
        all.push(allOf(unknownFor(unseen ?? 'unknown')));
        unlisted.push(unseen ?? 'unknown');
        continue;
      }
      const tables = await orFault(() => asker.tables(arn, name, signal));
      if (aborted(signal)) return null;
      if (tables instanceof LockgateError) {
        fault ??= tables;
        all.push(allOf(unknownFor(reasonOf(tables))));
        unlisted.push(reasonOf(tables));
        continue;
      }
      all.push(judgeTables(task.name, tables, task.tablesErrored));
      if (tables.length === 0) unlisted.push(`DMS lists no table of ${task.name}`);
      const left = await orFault(() => this.#leftBehind(asker, arn, task, signal));
      if (aborted(signal)) return null;
      if (left instanceof LockgateError) {
        fault ??= left;
        unlisted.push(reasonOf(left));
      } else {
        listed.push(...listTables(tables, left.left));
        listedAt = Math.min(listedAt, left.at);
      }
    }
    const [why] = unlisted;
    emit(this.#listed(why === undefined ? listed : null, why ?? null, listedAt, clock.monotonicNow()));
    const folded = Object.fromEntries(
      TABLE_VALUES.map((key) => [key, fold('sum', all.map((one) => one[key]))]), // prettier-ignore
    ) as Record<keyof TablesJudged, Value>;
    for (const o of this.#tablesReadings(folded, askedAt, clock.monotonicNow())) emit(o);
    return fault;
  }

  async #lookAtLatency(
    reach: DmsReach,
    seen: ReadonlyMap<string, Seen>,
    emit: Emit,
    signal: AbortSignal,
  ): Promise<LockgateError | null> {
    const { clock } = this.link;
    const askedAt = clock.monotonicNow();
    // Nothing is asked about tasks that were not seen, and what was known of them is not bridged.
    const blind = [...seen].some(([arn, task]) => noTask(arn, task) !== null);
    // A timer may fire a little early; one look less in a minute would be the price.
    if (!blind && askedAt - this.#latencyAt < LATENCY_EVERY_US - 100_000) return null;
    const asked = await this.#latencies(reach, seen, signal);
    if (aborted(signal)) return null;
    this.#latencyAt = asked.fault === null && !blind ? askedAt : -Infinity;
    const at = clock.monotonicNow();
    for (const [i, name] of LATENCIES.entries()) {
      const ofTasks = asked.latencies.flatMap((pair) => pair[i] ?? []);
      // As old as its oldest sample, by the instant just before the question.
      const ageMs = Math.max(0, ...ofTasks.map((l) => l.ageMs ?? 0));
      const value = fold(
        'greatest',
        ofTasks.map((l) => l.value),
      );
      emit(this.#dms(name, value, askedAt - Math.round(ageMs * US_PER_MS), at));
    }
    return asked.fault;
  }

  async #latencies(
    reach: DmsReach,
    seen: ReadonlyMap<string, Seen>,
    signal: AbortSignal,
  ): Promise<{ latencies: (readonly [Latency, Latency])[]; fault: LockgateError | null }> {
    const { clock } = this.link;
    let fault: LockgateError | null = null;
    const none = (reason: string): readonly [Latency, Latency] => {
      const one = { value: unknownFor(reason), ageMs: null };
      return [one, one];
    };
    const latencies: (readonly [Latency, Latency])[] = [];
    for (const [arn, task] of seen) {
      const unseen = noTask(arn, task);
      if (unseen !== null || task === null || task instanceof LockgateError) {
        latencies.push(none(unseen ?? 'unknown'));
        continue;
      }
      const { instanceArn } = task;
      if (instanceArn === null) {
        latencies.push(none(`${task.name} is serverless: its latency in CloudWatch is not looked up in this version`));
        continue;
      }
      const asked = await orFault(async () => {
        const instance = await this.#instanceName(reach, instanceArn, signal);
        if (instance === null) return null;
        const wallNow = clock.wallNow();
        const queries = latencyQueries(instance, parseDmsArn(arn)?.id ?? '');
        const answers = await reach.metrics(queries, { from: wallNow - LOOK_BACK_MS, to: wallNow }, signal);
        return { answers, wallNow };
      });
      if (asked === null) latencies.push(none(`there is no replication instance ${instanceArn}`));
      else if (asked instanceof LockgateError) {
        fault ??= asked;
        latencies.push(none(reasonOf(asked)));
      } else {
        const judge = (metric: string, answer: MetricAnswer = { fault: 'no answer' }): Latency =>
          judgeLatency(metric, answer, asked.wallNow);
        latencies.push([judge('CDCLatencySource', asked.answers[0]), judge('CDCLatencyTarget', asked.answers[1])]);
      }
    }
    return { latencies, fault };
  }

  /** What the task's mappings leave out of its tables, asked for now and then, and at once when it may have been changed: a task is stopped for that. */
  async #leftBehind(asker: DmsReach['asker'], arn: string, task: TaskState, signal: AbortSignal): Promise<Mappings> {
    const now = this.link.clock.monotonicNow();
    const run = `${task.status ?? ''} ${task.startedAt ?? ''}`;
    const known = this.#mappings.get(arn);
    if (known?.run === run && now - known.at < MAPPINGS_US) return known;
    const serverless = parseDmsArn(arn)?.kind === 'replication-config';
    const found = serverless ? await asker.replicationConfig(arn, signal) : await asker.task(arn, true, signal);
    const left = readMappings(found?.TableMappings);
    if (left === null) {
      const hint = 'look at the table mappings of the task in the console';
      throw new SourceError('dms_mappings', `the table mappings of ${task.name} cannot be understood`, hint);
    }
    const mappings = { left, at: now, run };
    this.#mappings.set(arn, mappings);
    return mappings;
  }

  #listed(tables: TaskTablesSeen['tables'], reason: string | null, askedAt: Us, at: Us): TaskTablesSeen {
    return { kind: 'task-tables', link: this.link.id, tables, reason, askedAt, at, freshUs: FRESH_US };
  }

  async #instanceName({ asker }: DmsReach, arn: string, signal: AbortSignal): Promise<string | null> {
    const now = this.link.clock.monotonicNow();
    const known = this.#instances.get(arn);
    if (known !== undefined && known.name !== null && now - known.at < INSTANCE_NAME_US) return known.name;
    const instance = await asker.instance(arn, signal);
    const name = instance?.ReplicationInstanceIdentifier ?? null;
    this.#instances.set(arn, { name, at: now });
    return name;
  }

  /** Says a fault once, and that it is over. */
  #note(fault: LockgateError | null): void {
    const { log } = this.link;
    this.#failures = fault === null ? 0 : this.#failures + 1;
    const reason = fault === null ? null : reasonOf(fault);
    if (reason !== null && reason !== this.#failing) log.warn({ collector: this.name }, reason);
    if (reason === null && this.#failing !== null) log.info({ collector: this.name }, 'AWS answers again');
    this.#failing = reason;
  }

  #tasksReadings(running: Value, loaded: Value, askedAt: Us, at: Us): Observation[] {
    return [
      this.#ofLink('running', running, askedAt, at),
      this.#dms('dms.running', running, askedAt, at),
      this.#dms('dms.full_load_percent', loaded, askedAt, at),
    ];
  }

  #tablesReadings(values: Readonly<Record<keyof TablesJudged, Value>>, askedAt: Us, at: Us): Observation[] {
    return [
      { ...this.#ofLink('errors', values.errored, askedAt, at), part: 'dms-tasks' },
      this.#ofLink('tables_syncing', values.pending, askedAt, at),
      ...TABLE_VALUES.map((key) => this.#dms(OF_TABLES[key], values[key], askedAt, at)),
    ];
  }

  #ofLink(signal: LinkSignal, value: Value, askedAt: Us, at: Us): Observation & { kind: 'link-reading' } {
    return { kind: 'link-reading', link: this.link.id, signal, ...value, askedAt, at, freshUs: FRESH_US };
  }

  #dms(signal: DmsSignal, value: Value, askedAt: Us, at: Us): Observation {
    return { kind: 'dms-reading', link: this.link.id, signal, ...value, askedAt, at, freshUs: FRESH_US };
  }
}

/** The answer, or what a service said against it; anything else is a bug. */
async function orFault<T>(ask: () => Promise<T>): Promise<T | LockgateError> {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof SourceError || error instanceof TransientError) return error;
    throw error;
  }
}

function judged(
  arn: string,
  task: Seen,
  judge: (task: TaskState) => Value,
  absent: (arn: string) => Value = (a) => unknownFor(missing(a).reason ?? ''),
): Value {
  if (task === null) return absent(arn);
  return task instanceof LockgateError ? unknownFor(reasonOf(task)) : judge(task);
}

/** Why nothing further can be said of a task; null when it was seen. */
function noTask(arn: string, task: Seen): string | null {
  if (task === null) return missing(arn).reason;
  return task instanceof LockgateError ? reasonOf(task) : null;
}

function allOf(value: Value): TablesJudged {
  return {
    errored: value,
    pending: value,
    validationFailed: value,
    validationPending: value,
    validationSuspended: value,
  };
}

/** TypeScript takes a signal that was not aborted for one that never is. */
function aborted(signal: AbortSignal): boolean {
  return signal.aborted;
}
