/**
 * One pass over the tables. A table is
 *
 *   planned ──read to its end, its shape still the same──▶ has a result
 *           ──its shape has changed──▶ planned anew, a few times
 *           ──it cannot be read──▶ has a result (not-covered)
 */
import { US_PER_S, type Clock, type Us } from '../../daemon/core/clock.js';
import { InvariantError, LockgateError, reasonOf } from '../../daemon/core/errors.js';
import type { PassEnd, PassOrder, TableResult } from '../../daemon/core/verification.js';
import type { Log } from '../collector.js';
import { planAgain, planAll, type Ask, type PlanBasis } from './catalogs.js';
import type { Desk } from './desk.js';
import { KeyedTable, type KeyedState } from './keyed-table.js';
import { KeylessTable } from './keyless-table.js';
import { countOneSided } from './one-sided.js';
import { notCovered, resultOf, unreadableOneSided } from './outcome.js';
import type { PlannedTable } from './plan.js';
import { ShapeChanged } from './port.js';
import type { Reporter } from './reporter.js';
import { STATE_VERSION, type CurrentTable, type Where } from './state.js';
import { someOf } from './table-name.js';
import { emptyTally, type Tally } from './tally.js';
import { NotCovered, TableDesk } from './table-desk.js';
import type { PassHooks } from './verifier.js';

/** A table whose shape changes more often while it is compared is given up. */
const MOST_CHANGES = 3;
const SAVE_EVERY_US: Us = US_PER_S;

/** What a pass works with. */
export interface PassOptions {
  order: PassOrder;
  where: Where | null;
  basis: PlanBasis;
  desk: Desk;
  reporter: Reporter;
  hooks: PassHooks;
  clock: Clock;
  log: Log;
}

/** One pass, from its beginning or from where it was. */
export class ComparePass {
  readonly #done: string[];
  #current: (Omit<CurrentTable, 'keyed'> & { keyed: () => KeyedState | null }) | null = null;
  #savedAt: Us = -Infinity;

  constructor(private readonly options: PassOptions) {
    this.#done = [...(options.where?.done ?? [])];
  }

  /** Runs to the end; rejects with Aborted when it is ended before. */
  async run(): Promise<PassEnd> {
    const { order, basis, reporter, where, hooks } = this.options;
    let plan;
    try {
      plan = await planAll(this.#ask, basis);
    } catch (error) {
      if (!(error instanceof LockgateError) || error instanceof InvariantError) throw error;
      return this.#ended(reasonOf(error));
    }
    const wanted = order.tables === null ? null : new Set(order.tables);
    const tables = plan.tables.filter((t) => wanted?.has(t.table) ?? true);
    const done = new Set(this.#done);
    const open = tables.filter((t) => !done.has(t.table));
    const rowsOf = (some: readonly PlannedTable[]): number => some.reduce((sum, t) => sum + t.estimatedRows, 0);
    const before = rowsOf(tables) - rowsOf(open) + (where?.current?.keyed?.tally.compared ?? 0);
    reporter.plan(
      { tables: tables.length, rows: rowsOf(tables) },
      { tables: tables.length - open.length, rows: before },
    );
    // What was under way goes on first, before it grows old.
    const current = where?.current?.table;
    open.sort((a, b) => Number(b.table === current) - Number(a.table === current));
    for (const planned of open) {
      reporter.begin(planned.table);
      const result = await this.#table(planned);
      if (result !== null) hooks.table(result);
      this.#done.push(planned.table);
      this.#current = null;
      reporter.end();
      this.#save();
    }
    const names = new Set(plan.tables.map((t) => t.table));
    const unknown = (order.tables ?? []).filter((name) => !names.has(name));
    return this.#ended(unknown.length === 0 ? null : `no such table is selected: ${someOf(unknown)}`);
  }

  #ended(reason: string | null): PassEnd {
    const { order, clock } = this.options;
    const { pass, startedAt } = order;
    return { pass, startedAt, endedAt: Math.round(clock.wallNow()), complete: reason === null, reason };
  }

  readonly #ask: Ask = (side, question) => this.options.desk.lanes[side].ask(question);

  /** Compares one table; null when it has vanished from both sides. */
  async #table(first: PlannedTable): Promise<TableResult | null> {
    const { where, basis, log, order, clock } = this.options;
    let kept = where?.current ?? null;
    if (kept !== null && (kept.table !== first.table || kept.shape !== first.shape)) kept = null;
    let planned = first;
    for (let changes = kept?.changes ?? 0; ; changes += 1) {
      const begunAt = kept?.begunAt ?? Math.round(clock.wallNow());
      const keyed = kept?.keyed ?? null;
      kept = null;
      this.#current = { table: planned.table, shape: planned.shape, begunAt, changes, keyed: () => keyed };
      const result = await this.#attempt(planned, begunAt, keyed);
      const again = await planAgain(this.#ask, basis, planned);
      if (again === null) return null;
      if (result !== null && again.shape === planned.shape) return result;
      if (changes >= MOST_CHANGES) {
        const times = { begunAt, comparedAt: Math.round(clock.wallNow()) };
        return notCovered(again, 'its shape kept changing while it was compared', times, order);
      }
      log.info({ table: planned.table, pass: order.pass }, 'the shape of a table has changed; it is compared anew');
      planned = again;
    }
  }

  /** Compares a table as it is planned; null when its shape turned out to be another one. */
  async #attempt(planned: PlannedTable, begunAt: number, keyed: KeyedState | null): Promise<TableResult | null> {
    const { order, clock, reporter } = this.options;
    const tally = keyed === null ? emptyTally() : structuredClone(keyed.tally);
    let rows = 0;
    const count = (n: number): void => {
      rows += n;
      reporter.rows(n);
    };
    const times = (): { begunAt: number; comparedAt: number } => ({ begunAt, comparedAt: Math.round(clock.wallNow()) });
    try {
      const { task } = planned;
      if (task.kind === 'not-covered') return notCovered(planned, task.reason, times(), order);
      if (task.kind === 'one-sided' && task.spec === null) return unreadableOneSided(planned, times(), order);
      await this.#read(planned, tally, keyed, count);
      return resultOf(planned, tally, times(), order);
    } catch (error) {
      if (error instanceof ShapeChanged) {
        reporter.rows(-rows);
        return null;
      }
      if (!(error instanceof LockgateError)) throw error;
      // A mistake of ours about one table must not keep all the others from being compared.
      if (error instanceof InvariantError)
        this.options.log.error({ table: planned.table, error }, 'a table is not compared');
      const reason = error instanceof NotCovered ? error.message : `it could not be read: ${reasonOf(error)}`;
      return notCovered(planned, reason, times(), order);
    }
  }

  async #read(
    { task }: PlannedTable,
    tally: Tally,
    keyed: KeyedState | null,
    rows: (n: number) => void,
  ): Promise<void> {
    const { desk, log } = this.options;
    const step = (): void => this.#save();
    if (task.kind === 'one-sided' && task.spec !== null) {
      const table = new TableDesk(desk, { source: task.spec, target: task.spec });
      await countOneSided(table, task.on, tally, { rows, step });
    } else if (task.kind === 'compare') {
      const table = new TableDesk(desk, task.specs);
      if (task.specs.source.key === null) {
        await new KeylessTable(table, tally, { rows, step }).run();
        return;
      }
      const work = new KeyedTable(table, tally, keyed, { rows, step, log });
      if (this.#current !== null) this.#current.keyed = () => work.state();
      await work.run();
    }
  }

  /** Hands out where it is, at most once a second. */
  #save(): void {
    const { clock, hooks, order } = this.options;
    const now = clock.monotonicNow();
    if (now - this.#savedAt < SAVE_EVERY_US) return;
    this.#savedAt = now;
    const current = this.#current;
    const where: Where = {
      direction: order.direction,
      epoch: order.epoch,
      done: [...this.#done],
      current: current === null ? null : { ...current, keyed: structuredClone(current.keyed()) },
    };
    hooks.save({ order, version: STATE_VERSION, where });
  }
}
