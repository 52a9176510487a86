/**
 * Verification of one migration: what there is to compare, the pass under way, what was found, and what the signals read.
 * Comparing itself is the verifier's; what its results are worth is decided in `core/verify-readings.ts`.
 */
import { randomBytes } from 'node:crypto';
import type { Log } from '../collectors/collector.js';
import type { Verifier } from '../collectors/verify/verifier.js';
import { askSide } from './asking.js';
import type { Clock, Us } from './core/clock.js';
import { US_PER_MS } from './core/clock.js';
import type { MigrationConfig, VerifyConfig } from './core/config.js';
import type { Direction } from './core/direction.js';
import { LockgateError, messageOf, reasonOf, Refusal } from './core/errors.js';
import type { PassOrder, TableResult } from './core/verification.js';
import { completeMatch, foldResult, invalidate, retain, verifyReadings, type SelectionNow } from './core/verify-readings.js'; // prettier-ignore
import type { Engine } from './engine.js';
import type { VerifyJson, VerifyRowJson } from './http/port.js';
import { notJournaled } from './recorder.js';
import { briefJson, endJson, mismatchEntry, progressJson, tablesJson } from './verify-json.js';
import type { VerifyMemory } from './verify-memory.js';
import { VerifyRun } from './verify-run.js';
import type { Turns } from './verify-turns.js';

/** Between two looks at what there is to compare, and after one that failed. */
const LOOK_MS = 30_000;
const LOOK_AGAIN_MS = 10_000;
/** How long a look may take. */
const LOOK_LIMIT_MS = 25_000;
/** How long what was seen of the catalogs may be relied on. */
const SELECTION_FRESH_US: Us = 90_000_000;
/** How long a person waits for rows. */
const ROWS_LIMIT_MS = 20_000;
/** How often it is asked whether the direction is known. */
const DIRECTION_MS = 250;
/** Between two publications while tables are equal. */
const SHOW_US: Us = 250_000;

/** A schedule that runs. */
export interface Schedule {
  /** Wall clock, milliseconds since 1970; null when there is no next time. */
  nextAt(): number | null;
  stop(): void;
}

/** What verification needs of the daemon. */
export interface VerificationParts {
  clock: Clock;
  log: Log;
  engine: Pick<Engine, 'direction' | 'lastBreak' | 'verified' | 'setDirected'>;
  schedule: (expression: string, tick: () => void) => Schedule;
  /** Journals something; `must` answers whether it is on disk. */
  note: (kind: string, migration: string, actor: string, data: Record<string, unknown>) => void;
  must: (kind: string, migration: string, actor: string, data: Record<string, unknown>) => boolean;
  publish: (data: Record<string, unknown>) => void;
  /** So many rows of a migration were compared. */
  compared: (migration: string, rows: number) => void;
  /** Something the engine remembers is to be kept. */
  save: () => void;
}

/** One migration's share of it. */
export class MigrationVerification {
  private selected: SelectionNow = { unknown: 'the tables of both sides have not been looked at yet' };
  private run: VerifyRun | null = null;
  private running: Promise<void> = Promise.resolve();
  private schedule: Schedule | null = null;
  private skipped = 0;
  private jumps = 0;
  private shownAt: Us = -Infinity;
  private readonly stopped = new AbortController();
  private lookAgain = new AbortController();
  private looking: Promise<void> = Promise.resolve();

  constructor(
    private readonly parts: VerificationParts,
    private config: MigrationConfig & { verify: VerifyConfig },
    private readonly verifier: Verifier,
    readonly kept: VerifyMemory,
    private readonly turns: Turns,
  ) {}

  /** Begins to look, goes on with the pass that was under way, and follows the schedule. */
  start(): void {
    this.looking = this.look();
    const state = this.kept.loadPass();
    if (state !== null) {
      const { order } = state;
      this.parts.note('verify-resumed', this.config.name, order.actor, { pass: order.pass });
      this.begin(order, state);
    }
    this.follow();
    this.refresh();
  }

  /** Takes up a configuration in which only the schedule may be another. */
  reschedule(config: MigrationConfig & { verify: VerifyConfig }): void {
    const same = config.verify.schedule === this.config.verify.schedule;
    this.config = config;
    if (!same) this.follow();
    this.refresh();
  }

  /** Ends everything; a reason ends the pass for good, null leaves it to be gone on with after a restart. */
  async stop(why: string | null): Promise<void> {
    this.schedule?.stop();
    this.stopped.abort();
    this.lookAgain.abort();
    this.run?.end(why);
    await Promise.all([this.running, this.looking]);
    this.kept.touch();
    this.kept.save();
    await this.verifier.close();
  }

  /** Starts a pass; throws a Refusal when it cannot be. */
  begins(tables: string[] | null, actor: string): { pass: string } {
    const name = this.config.name;
    if (this.run !== null) {
      const { pass } = this.run.order;
      throw new Refusal(409, 'verify_running', `a pass is running already: ${pass}`, null, { pass });
    }
    const direction = this.parts.engine.direction(name);
    if (direction.direction === 'unknown') {
      throw new Refusal(409, 'direction_unknown', `the direction is unknown: ${direction.reason}`);
    }
    const { selected } = this;
    if ('unknown' in selected) {
      throw new Refusal(503, 'tables_unknown', `what there is to compare is not known now: ${selected.unknown}`);
    }
    const missing = tables?.find((t) => !selected.selection.tables.has(t));
    if (missing !== undefined) {
      const hint = 'write it as `GET …/verify` lists it; `verify.tables` and `verify.exclude` choose what is compared';
      throw new Refusal(404, 'unknown_table', `there is no table ${JSON.stringify(missing)} to compare`, hint);
    }
    const order: PassOrder = {
      ...{ pass: randomBytes(6).toString('hex'), startedAt: Math.round(this.parts.clock.wallNow()) },
      ...{ tables: tables === null ? null : [...new Set(tables)], actor },
      ...{ direction: direction.direction, epoch: direction.epoch },
    };
    const { pass, epoch } = order;
    const entry = { pass, tables: tables?.length ?? selected.selection.tables.size, direction: order.direction, epoch };
    // An operator's command that cannot be journaled is not carried out.
    if (!this.parts.must('verify-started', name, actor, entry)) throw notJournaled();
    this.begin(order, null);
    return { pass };
  }

  /** Ends the running pass; throws a Refusal when none runs. */
  ends(actor: string): { pass: string } {
    const { run } = this;
    if (run === null) throw new Refusal(409, 'no_verify_running', 'no pass is running');
    run.end(`ended by ${actor}`);
    return { pass: run.order.pass };
  }

  /** Rows as both sides hold them. */
  async rows(table: string, keys: Record<string, string>[]): Promise<VerifyRowJson[]> {
    const { selected } = this;
    if ('unknown' in selected) throw new Refusal(503, 'tables_unknown', selected.unknown);
    if (!selected.selection.tables.has(table)) {
      throw new Refusal(404, 'unknown_table', `there is no table ${JSON.stringify(table)} to compare`);
    }
    try {
      const ask = (signal: AbortSignal) => this.verifier.values(table, keys, signal);
      return await askSide(this.parts.clock, ask, this.stopped.signal, ROWS_LIMIT_MS);
    } catch (error) {
      if (error instanceof Refusal || !(error instanceof LockgateError)) throw error;
      throw new Refusal(503, error.code, error.message, error.hint);
    }
  }

  /** Everything that is known. */
  json(): VerifyJson {
    const { kept, selected, run, schedule } = this;
    const next = schedule?.nextAt() ?? null;
    return {
      configured: true,
      running: run === null ? null : progressJson(run.progress),
      last: kept.last === null ? null : endJson(kept.last),
      last_complete_at: kept.lastComplete === null ? null : new Date(kept.lastComplete).toISOString(),
      next_at: next === null ? null : new Date(next).toISOString(),
      narrower: 'unknown' in selected ? null : selected.selection.narrower,
      tables: tablesJson(kept.memory, this.freshSelection(), this.direction()),
    };
  }

  /** Called about once a second, and whenever something has changed. */
  refresh(): void {
    const { kept, parts, config, jumps } = this;
    // What it would say belongs to a configuration that is no more.
    if (this.stopped.signal.aborted) return;
    const now = parts.clock.monotonicNow();
    this.shownAt = now;
    this.seeBreaks(now);
    const direction = this.direction();
    const { run } = this;
    if (run !== null && direction.direction !== 'unknown' && !isOf(run.order, direction)) {
      run.end('the direction has changed');
    }
    run?.tick();
    const readings = verifyReadings(kept.memory, this.selected, direction, now);
    parts.engine.setDirected(config.name, new Map(Object.entries(readings)));
    // The engine looks at the clocks at each question: what was said last must not be of before a jump.
    if (jumps !== this.jumps) {
      this.refresh();
      return;
    }
    this.clear(direction, now);
    kept.save();
  }

  /** The clocks jumped: how old what was seen of the catalogs is, nobody knows. */
  jumped(): void {
    this.jumps += 1;
    this.run?.jumped();
    this.selected = { unknown: 'the clocks jumped; the tables of both sides are looked at again' };
    this.lookAgain.abort();
    this.refresh();
  }

  private direction(): Direction {
    return this.parts.engine.direction(this.config.name);
  }

  private freshSelection(): SelectionNow {
    const { selected } = this;
    if ('unknown' in selected || this.parts.clock.monotonicNow() <= selected.until) return selected;
    return { unknown: 'the tables of both sides were not looked at lately' };
  }

  private follow(): void {
    this.schedule?.stop();
    const { schedule } = this.config.verify;
    this.schedule = schedule === null ? null : this.parts.schedule(schedule, () => this.due());
  }

  /** The schedule's time has come. */
  private due(): void {
    try {
      this.begins(null, 'lockgate');
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.skipped += 1;
      const entry = { reason: error.message, skipped: this.skipped };
      this.parts.note('verify-skipped', this.config.name, 'lockgate', entry);
    }
  }

  private begin(order: PassOrder, state: Parameters<VerifyMemory['savePass']>[0]): void {
    const { kept, parts, verifier, turns, config } = this;
    kept.savePass(state ?? { order, version: 0, where: null });
    const run = new VerifyRun({
      ...{ clock: parts.clock, verifier, turns, order, state: state?.where === null ? null : state },
      ready: (signal) => this.ready(order, signal),
      told: (progress) => parts.publish({ migration: config.name, running: progressJson(progress) }),
      found: (result, begun) => this.take(result, begun),
      keep: (at) => kept.savePass(at),
    });
    this.run = run;
    this.running = run.run().then((end) => {
      this.run = null;
      // Interrupted by the end of the daemon: it goes on when that is there again.
      if (end === null) return;
      kept.savePass(null);
      kept.last = end;
      if (end.complete) kept.lastComplete = end.endedAt;
      kept.touch();
      const seconds = Math.max(0, (end.endedAt - end.startedAt) / 1_000);
      const { pass, complete, reason } = end;
      parts.note('verify-ended', config.name, order.actor, { pass, complete, reason, seconds, ...run.counts, rows: run.rows }); // prettier-ignore
      parts.publish({ migration: config.name, running: null, last: endJson(end) });
      this.refresh();
    });
  }

  /** Waits until the direction is known; an order of another one is ended by `refresh`. */
  private async ready(order: PassOrder, signal: AbortSignal): Promise<void> {
    for (;;) {
      signal.throwIfAborted();
      const direction = this.direction();
      if (direction.direction !== 'unknown') {
        if (isOf(order, direction)) return;
        this.run?.end('the direction has changed');
        signal.throwIfAborted();
      }
      await this.parts.clock.sleep(DIRECTION_MS, signal);
    }
  }

  private take(result: TableResult, begun: Us): void {
    const { kept, parts, config } = this;
    const before = kept.memory.tables.get(result.table)?.newest.result;
    kept.tableChanged(foldResult(kept.memory, result, begun), result.table);
    parts.compared(config.name, result.rowsCompared);
    const entry = mismatchEntry(result);
    const told = before?.state === 'mismatch' ? JSON.stringify(mismatchEntry(before)) : null;
    if (result.state === 'mismatch' && JSON.stringify(entry) !== told) {
      parts.note('verify-mismatch', config.name, 'lockgate', entry);
      const { table, mismatchedRows: rows } = result;
      parts.log.error({ migration: config.name, table, rows }, `${table} of ${config.name} differs`);
    }
    parts.publish({ migration: config.name, table: briefJson(result) });
    // Its shape is another one than it was: until both catalogs have been looked at again the result would count for nothing.
    const { selected } = this;
    if (!('unknown' in selected) && selected.selection.tables.get(result.table) !== result.shape)
      this.lookAgain.abort();
    const now = parts.clock.monotonicNow();
    if (result.state !== 'match' || now - this.shownAt >= SHOW_US) this.refresh();
  }

  /** What was compared before the chain of the active link broke says nothing of what was lost by it. */
  private seeBreaks(now: Us): void {
    const { kept, parts, config } = this;
    const broken = parts.engine.lastBreak(config.name);
    if (broken === null || broken === kept.breakSeen) return;
    kept.breakSeen = broken;
    const why = `compared before the chain of replication broke: ${broken}`;
    kept.invalidated(invalidate(kept.memory, now, why));
    parts.log.warn({ migration: config.name }, `what was compared of ${config.name} counts no more: ${broken}`);
  }

  /** Clears what is latched where everything was found equal since. */
  private clear(direction: Direction, now: Us): void {
    const { kept, parts, config } = this;
    // Rows that are left out of the comparison may be the ones that were lost or written astray.
    if (config.verify.filters.size > 0) return;
    const whole = completeMatch(kept.memory, this.selected, direction, now);
    if ('not' in whole) return;
    const byOwnClock = parts.clock.wallNow() - (now - whole.begun) / US_PER_MS;
    const begunAt = Math.floor(Math.min(whole.begunAt, byOwnClock));
    if (!parts.engine.verified(config.name, begunAt)) return;
    parts.note('verify-cleared', config.name, 'lockgate', { begun_at: new Date(begunAt).toISOString() });
    parts.log.info(
      { migration: config.name },
      `a complete verification of ${config.name} has cleared what was latched`,
    );
    parts.save();
  }

  private async look(): Promise<void> {
    const { clock, log } = this.parts;
    const { signal } = this.stopped;
    while (!signal.aborted) {
      this.lookAgain = new AbortController();
      const at = clock.monotonicNow();
      try {
        const selection = await askSide(clock, (s) => this.verifier.look(s), signal, LOOK_LIMIT_MS);
        // Asked before the clocks jumped, it says nothing of now.
        if (!this.lookAgain.signal.aborted) {
          this.selected = { selection, at, until: at + SELECTION_FRESH_US };
          this.kept.retained(retain(this.kept.memory, selection));
        }
      } catch (error) {
        if (this.stopped.signal.aborted) return;
        this.selected = { unknown: reasonOf(error) };
        if (!(error instanceof LockgateError))
          log.error({ err: error }, `looking at tables failed: ${messageOf(error)}`);
      }
      this.refresh();
      await clock.sleep('unknown' in this.selected ? LOOK_AGAIN_MS : LOOK_MS, this.lookAgain.signal);
    }
  }
}

function isOf(order: PassOrder, direction: Direction): boolean {
  return (
    direction.direction !== 'unknown' && direction.direction === order.direction && direction.epoch === order.epoch
  );
}
