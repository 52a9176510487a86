/** The application tables at the beginning of a link by DMS, read again and again: DMS only tells of those that it has. */
import { US_PER_MS, type Us } from '../../daemon/core/clock.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { reasonOf, type LockgateError } from '../../daemon/core/errors.js';
import type { Observation, SourceTableSeen } from '../../daemon/core/observation.js';
import { TableChooser } from '../../daemon/core/table-pattern.js';
import type { Collector, CollectorContext, Emit, LinkPlan } from '../collector.js';
import { catalogPauseMs } from './catalog-watch.js';
import { keepAsking } from './keep-asking.js';
import { LazySession } from './lazy-session.js';
import type { Open, Session } from './session.js';

const RETRY_MS = 1_000;
/** From the start of one look to the next, while the catalog is small. */
const INTERVAL_MS = 10_000;

/** Whether a table is one of DMS's own, which no task carries. */
export function isOfDms(name: string): boolean {
  return name.toLowerCase().startsWith('awsdms_');
}

/** The tables that a link ought to carry, or why they are not known. */
export type ChosenTables = { tables: readonly SourceTableSeen[]; reason: null } | { tables: null; reason: string };

/** Reads the catalog once and answers, for each link, what it ought to carry; and how long the server worked for it. */
export type ReadChosen<S> = (
  session: S,
  db: DatabaseConfig,
  links: readonly { chooser: TableChooser; selection: LinkPlan['config']['tables'] }[],
) => Promise<{ chosen: ChosenTables[]; busyMs: number }>;

/** See above. */
class SourceTablesWatch<S extends Session> implements Collector {
  readonly name: string;
  private readonly choosers: readonly { chooser: TableChooser; selection: LinkPlan['config']['tables'] }[];
  private failing: string | null = null;
  private notBefore: Us = -Infinity;

  constructor(
    private readonly db: DatabaseConfig,
    private readonly links: readonly LinkPlan[],
    private readonly session: LazySession<S>,
    private readonly context: CollectorContext,
    private readonly read: ReadChosen<S>,
  ) {
    this.name = `${db.name}/dms-source-tables`;
    this.choosers = links.map(({ config: { tables } }) => ({ chooser: new TableChooser(tables), selection: tables }));
  }

  run(emit: Emit, signal: AbortSignal): Promise<void> {
    const { clock } = this.context;
    const { session } = this;
    return keepAsking(
      {
        ...{ clock, session, intervalMs: INTERVAL_MS, retryMs: RETRY_MS },
        look: (aborted) => this.look(emit, aborted),
        failed: (error) => this.failed(emit, error),
      },
      signal,
    );
  }

  down(reason: string): Observation[] {
    const at = this.context.clock.monotonicNow();
    return this.links.map(({ id: link }) => ({ kind: 'source-tables', link, tables: null, reason, askedAt: at, at, freshUs: 0 })); // prettier-ignore
  }

  private async look(emit: Emit, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.context;
    // A large catalog is read more rarely.
    if (clock.monotonicNow() < this.notBefore) return;
    const open = await this.session.get(signal);
    const askedAt = clock.monotonicNow();
    const { chosen, busyMs } = await this.read(open, this.db, this.choosers);
    if (signal.aborted) return;
    if (this.failing !== null) log.info({ collector: this.name }, 'the catalog can be read again');
    this.failing = null;
    const pauseMs = catalogPauseMs(INTERVAL_MS, busyMs);
    this.notBefore = askedAt + (pauseMs - INTERVAL_MS / 2) * US_PER_MS;
    const at = clock.monotonicNow();
    const freshUs = Math.round((2 * pauseMs + INTERVAL_MS) * US_PER_MS);
    for (const [i, { id: link }] of this.links.entries()) {
      const { tables, reason } = chosen[i] ?? { tables: null, reason: 'not read' };
      emit({ kind: 'source-tables', link, tables, reason, askedAt, at, freshUs });
    }
  }

  private failed(emit: Emit, error: LockgateError): void {
    this.notBefore = -Infinity;
    const reason = reasonOf(error);
    if (reason !== this.failing) this.context.log.warn({ collector: this.name }, reason);
    this.failing = reason;
    for (const o of this.down(reason)) emit(o);
  }
}

/** A watch for every database that a link by DMS begins at; `opening` makes what opens sessions to it under the given name. */
export function watchSourceTables<S extends Session>(
  databases: readonly DatabaseConfig[],
  links: readonly LinkPlan[],
  context: CollectorContext,
  opening: (db: DatabaseConfig, applicationName: string) => Open<S>,
  read: ReadChosen<S>,
): Collector[] {
  return databases.flatMap((db) => {
    const beginning = links.filter((l) => l.config.via === 'dms' && l.from.name === db.name);
    if (beginning.length === 0) return [];
    const session = new LazySession(opening(db, `lockgate/${context.daemonId}/dms-source-tables`), context.clock);
    return [new SourceTablesWatch<S>(db, beginning, session, context, read)];
  });
}
