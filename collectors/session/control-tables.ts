/**
 * What DMS leaves on the target: its control tables. Apply errors are by default only written there, while the task looks
 * fine. Reading is the engines' matter, because it takes a session with the database; judging is the same for all.
 */
import type { Clock, Us } from '../../daemon/core/clock.js';
import { US_PER_MS } from '../../daemon/core/clock.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { reasonOf, type LockgateError } from '../../daemon/core/errors.js';
import type { Observation } from '../../daemon/core/observation.js';
import type { LinkId } from '../../daemon/core/signal.js';
import type { Collector, CollectorContext, Emit, Finding, LinkPlan, Log } from '../collector.js';
import { ErrorWindow } from './error-window.js';
import { keepAsking } from './keep-asking.js';
import { LazySession } from './lazy-session.js';
import type { Open, Session } from './session.js';

/** Rows are counted up to here; whoever has more has other worries. */
export const MOST_ROWS = 100_000;
/** From the start of one look to the next. */
export const CONTROL_INTERVAL_MS = 5_000;
const RETRY_MS = 1_000;

/** Names of the tables that count, in small letters. */
export const EXCEPTIONS = 'awsdms_apply_exceptions';
export const SUSPENDED = 'awsdms_suspended_tables';

/** What DMS writes of its tasks, where the task's settings say so. */
export const STATUS = 'awsdms_status';
/** More tasks than this on one target are not listed. */
export const MOST_STATUS_ROWS = 20;

/** One `awsdms_status` with its rows, whose columns are spelled as the server has them; or why they cannot be read. */
export interface StatusTable {
  readonly name: string;
  readonly rows: readonly Readonly<Record<string, unknown>>[] | { readonly fault: string };
}

/** One control table; DMS may have been told to make them in any schema. */
export interface ControlTable {
  /** With its schema, as people write it. */
  readonly name: string;
  readonly kind: typeof EXCEPTIONS | typeof SUSPENDED;
  /** Tells it from one of the same name that was made later. */
  readonly identity: string;
  /** Up to `MOST_ROWS` + 1; or why they cannot be counted, with the grant. */
  readonly rows: number | { readonly fault: string };
}

/** All control tables that were seen in one look, and what is said where there is none. */
export interface ControlSight {
  readonly tables: readonly ControlTable[];
  /** Why there may be no `awsdms_apply_exceptions` to be seen, with what to do. */
  readonly missing: string;
}

/** What is known of a signal. */
interface Value {
  value: number | null;
  reason: string | null;
  bound?: 'at-least';
}

/** Makes signals of looks; the rows that are new since it began to look are dated by the look that saw them first. */
export class ControlJudge {
  private readonly window = new ErrorWindow();

  /** `exceptions`: rows in `awsdms_apply_exceptions`. `errors`: the new ones of ten minutes, and tables that are suspended now. */
  judge({ tables, missing }: ControlSight, at: Us): { exceptions: Value; errors: Value } {
    const counted = tables.flatMap((t) => (typeof t.rows === 'number' ? [{ ...t, rows: t.rows }] : []));
    const exceptions = counted.filter((t) => t.kind === EXCEPTIONS);
    const suspended = counted.filter((t) => t.kind === SUSPENDED);
    const total = sumOf(exceptions);
    const found = named([...exceptions, ...suspended]);
    const hidden = gapsOf(tables, EXCEPTIONS);
    if (!tables.some((t) => t.kind === EXCEPTIONS)) hidden.push(missing);
    if (exceptions.some((t) => t.rows > MOST_ROWS))
      hidden.push(`more than ${MOST_ROWS} rows are not counted: clear the table`);
    const gaps = [...hidden, ...gapsOf(tables, SUSPENDED)];
    // Looked at in any case, so that the past is known once nothing is hidden any more.
    const identity = exceptions.map((t) => t.identity).join();
    const fresh = this.window.look({ total, reset: hidden.length > 0, identity }, at);
    if (fresh.bound !== 'exact' && hidden.length === 0)
      gaps.push('rows that were there when lockgate began to look may be of the last ten minutes');
    return {
      exceptions: judged(total, named(exceptions), hidden),
      errors: judged(fresh.value + sumOf(suspended), found, gaps),
    };
  }
}

function sumOf(tables: readonly { rows: number }[]): number {
  return tables.reduce((sum, t) => sum + t.rows, 0);
}

function named(tables: readonly { name: string; rows: number }[]): string | null {
  const names = tables.filter((t) => t.rows > 0).map((t) => `${t.rows} rows in ${t.name}`);
  return names.length === 0 ? null : names.join(', ');
}

function gapsOf(tables: readonly ControlTable[], kind: ControlTable['kind']): string[] {
  return tables.flatMap((t) => (t.kind === kind && typeof t.rows !== 'number' ? [t.rows.fault] : []));
}

/** With gaps what was seen is the least there is, and nothing seen is nothing known. */
function judged(value: number, found: string | null, gaps: readonly string[]): Value {
  const reasons = [found, ...gaps].filter((r) => r !== null);
  const reason = reasons.length === 0 ? null : reasons.join('; ');
  if (gaps.length === 0) return { value, reason };
  return value === 0 ? { value: null, reason } : { value, reason, bound: 'at-least' };
}

/** What `doctor` says of the control tables that a link by DMS leaves on its target. */
export function controlFindings(link: LinkId, database: string, { tables, missing }: ControlSight): Finding[] {
  const say = (level: Finding['level'], message: string, remedy: string | null = null): Finding => {
    const signals = level === 'fault' ? ['errors', 'dms.apply_exceptions'] : [];
    return { level, database, link, message, signals, remedy };
  };
  const findings = tables.map(({ name, rows }): Finding => {
    if (typeof rows !== 'number') return say('fault', `a control table of DMS: ${rows.fault}`);
    if (rows === 0) return say('ok', `${name} can be read and is empty`);
    return say(
      'warning',
      `${rows} rows in ${name}`,
      'look at what DMS could not apply, mend it, and delete these rows',
    );
  });
  if (!tables.some((t) => t.kind === EXCEPTIONS))
    findings.push(say('fault', missing, 'start the task, then look again'));
  return findings;
}

/** What a task does while it is well, in small letters. */
const WELL = ['full load', 'change processing'];

/**
 * What `doctor` says of `awsdms_status`: a word about the task that comes another way than through AWS's API. No signal is made
 * of it, because how old a row is only DMS's clock tells.
 */
export function statusFindings(link: LinkId, database: string, tables: readonly StatusTable[]): Finding[] {
  const say = (level: Finding['level'], message: string, remedy: string | null = null): Finding => {
    return { level, database, link, message, signals: [], remedy };
  };
  return tables.flatMap(({ name, rows }) => {
    if ('fault' in rows) return [say('warning', `a control table of DMS: ${rows.fault}`)];
    if (rows.length === 0) return [say('warning', `${name} is empty: no task has written to it`)];
    return rows.map((row) => {
      const status = cell(row, 'task_status');
      const said = `${name} says of the task ${cell(row, 'task_name')}: ${status}, written at ${cell(row, 'status_time')} by its clock`;
      if (WELL.includes(status.toLowerCase())) return say('ok', said);
      return say('warning', said, 'hold it against what DMS says of the task; rows of tasks that are gone stay there');
    });
  });
}

function cell(row: Readonly<Record<string, unknown>>, column: string): string {
  const value = Object.entries(row).find(([name]) => name.toLowerCase() === column)?.[1];
  if (value instanceof Date) return value.toISOString();
  return typeof value === 'string' && value !== '' ? value : 'nothing';
}

/** What the watch of one target needs. */
export interface ControlOptions<S extends Session> {
  readonly database: string;
  /** The links by DMS that end at it; rows are counted for all of them, whichever task wrote them. */
  readonly links: readonly LinkId[];
  readonly session: LazySession<S>;
  readonly clock: Clock;
  readonly log: Log;
  readonly read: (session: S) => Promise<ControlSight>;
  readonly intervalMs: number;
}

/** Reads the control tables of one target again and again. */
export class ControlTablesWatch<S extends Session> implements Collector {
  readonly name: string;
  private readonly judge = new ControlJudge();
  private failing: string | null = null;

  constructor(private readonly options: ControlOptions<S>) {
    this.name = `${options.database}/dms-control-tables`;
  }

  run(emit: Emit, signal: AbortSignal): Promise<void> {
    const { clock, session, intervalMs } = this.options;
    return keepAsking(
      {
        ...{ clock, session, intervalMs, retryMs: RETRY_MS },
        look: (aborted) => this.look(emit, aborted, intervalMs),
        failed: (error) => this.failed(emit, error),
      },
      signal,
    );
  }

  down(reason: string): Observation[] {
    const value: Value = { value: null, reason };
    const at = this.options.clock.monotonicNow();
    return this.readings(value, value, at, at, 0);
  }

  private async look(emit: Emit, signal: AbortSignal, intervalMs: number): Promise<void> {
    const { clock, session, log, read } = this.options;
    const open = await session.get(signal);
    const askedAt = clock.monotonicNow();
    const sight = await read(open);
    if (signal.aborted) return;
    if (this.failing !== null) log.info({ collector: this.name }, 'the control tables can be read again');
    this.failing = null;
    const { exceptions, errors } = this.judge.judge(sight, askedAt);
    const freshUs = 3 * Math.max(1_000, intervalMs) * US_PER_MS;
    for (const o of this.readings(exceptions, errors, askedAt, clock.monotonicNow(), freshUs)) emit(o);
  }

  private failed(emit: Emit, error: LockgateError): void {
    const reason = reasonOf(error);
    if (reason !== this.failing) this.options.log.warn({ collector: this.name }, reason);
    this.failing = reason;
    for (const o of this.down(reason)) emit(o);
  }

  private readings(exceptions: Value, errors: Value, askedAt: Us, at: Us, freshUs: Us): Observation[] {
    return this.options.links.flatMap((link): Observation[] => [
      { kind: 'dms-reading', link, signal: 'dms.apply_exceptions', ...exceptions, askedAt, at, freshUs },
      { kind: 'link-reading', link, signal: 'errors', part: 'dms-control-tables', ...errors, askedAt, at, freshUs },
    ]);
  }
}

/** A watch for every database that a link by DMS ends at; `opening` makes what opens sessions to it under the given name. */
export function watchControlTables<S extends Session>(
  databases: readonly DatabaseConfig[],
  links: readonly LinkPlan[],
  { clock, log, daemonId }: CollectorContext,
  opening: (db: DatabaseConfig, applicationName: string) => Open<S>,
  read: (session: S, db: DatabaseConfig) => Promise<ControlSight>,
  intervalMs: number,
): ControlTablesWatch<S>[] {
  return databases.flatMap((db) => {
    const ending = links.filter((l) => l.config.via === 'dms' && l.to.name === db.name).map((l) => l.id);
    if (ending.length === 0) return [];
    const session = new LazySession(opening(db, `lockgate/${daemonId}/dms-control-tables`), clock);
    const options = { database: db.name, links: ending, session, clock, log, intervalMs };
    return [new ControlTablesWatch<S>({ ...options, read: (open) => read(open, db) })];
  });
}
