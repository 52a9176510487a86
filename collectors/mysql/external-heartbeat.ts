import { reasonOf } from '../../daemon/core/errors.js';
import { US_PER_MS, type Us } from '../../daemon/core/clock.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import type { LockgateError } from '../../daemon/core/errors.js';
import type { Observation } from '../../daemon/core/observation.js';
import type { Collector, CollectorContext, Emit, LinkPlan } from '../collector.js';
import { keepAsking } from '../session/keep-asking.js';
import { LazySession } from '../session/lazy-session.js';
import { connect, quoteIdent, type MysqlConnection } from './connection.js';
import { ExternalRows } from './external-rows.js';
import { reopening } from './reopen.js';
import { readPosition } from './source-position.js';

const queryTimeoutMs = 1_000;
const connectOptions = { statementTimeoutMs: 900, connectTimeoutMs: 2_000 };
const attempts = { minMs: 500, maxMs: 2_000 };

interface Row {
  ts: string;
  file: string | null;
  position: string | number | null;
}

/**
 * Collector `<link>/external`: watches the row that pt-heartbeat writes on a link's source, on both sides. The row of the
 * source's own server id counts. Nothing is written; the source's position is sampled as our own writer would.
 */
export class ExternalHeartbeatCollector implements Collector {
  readonly name: string;
  readonly #rows: ExternalRows;
  readonly #table: string;
  readonly #lookMs: number;
  #server: { id: string; home: string } | null = null;
  #sampledAt: Us = -Infinity;

  /** `table` is `database.table`. */
  constructor(
    private readonly link: LinkPlan,
    table: string,
    private readonly context: CollectorContext,
  ) {
    this.name = `${link.id}/external`;
    this.#table = table.split('.').map(quoteIdent).join('.');
    const { intervalUs } = link.config.heartbeat;
    // A look is a read by primary key; between two of them lag cannot be told more finely.
    this.#lookMs = Math.min(Math.max(intervalUs / US_PER_MS / 10, 20), 250);
    const lookUs = this.#lookMs * US_PER_MS;
    this.#rows = new ExternalRows({ link: link.id, intervalUs, lookUs, where: `${table} on ${link.from.name}` });
  }

  async run(emit: Emit, signal: AbortSignal): Promise<void> {
    await Promise.all([
      this.#keepAsking(this.link.from, (c, aborted) => this.#source(c, emit, aborted), 'writer-fault', emit, signal),
      this.#keepAsking(this.link.to, (c, aborted) => this.#target(c, emit, aborted), 'watch-fault', emit, signal),
    ]);
  }

  down(reason: string): Observation[] {
    const at = this.#now();
    return [...this.#rows.sourceFailed(reason, at), ...this.#rows.targetFailed(reason, at)];
  }

  #now(): Us {
    return this.context.clock.monotonicNow();
  }

  #keepAsking(
    db: DatabaseConfig,
    look: (connection: MysqlConnection, signal: AbortSignal) => Promise<void>,
    fault: 'writer-fault' | 'watch-fault',
    emit: Emit,
    signal: AbortSignal,
  ): Promise<void> {
    const { clock, daemonId, log } = this.context;
    const applicationName = `lockgate/${daemonId}/external`;
    const session = new LazySession<MysqlConnection>(
      reopening((aborted) => connect(db, { applicationName, ...connectOptions }, aborted)),
      clock,
      attempts,
    );
    let said: string | null = null;
    const failed = (error: LockgateError): void => {
      const reason = reasonOf(error);
      if (said !== reason) log.warn({ collector: this.name, database: db.name }, `external heartbeat: ${reason}`);
      said = reason;
      const at = this.#now();
      const rows = fault === 'writer-fault' ? this.#rows.sourceFailed(reason, at) : this.#rows.targetFailed(reason, at);
      for (const observation of rows) emit(observation);
    };
    return keepAsking(
      {
        clock,
        session,
        intervalMs: this.#lookMs,
        retryMs: attempts.minMs,
        look: async (aborted) => {
          await look(await session.get(aborted), aborted);
          said = null;
        },
        failed,
      },
      signal,
    );
  }

  async #source(connection: MysqlConnection, emit: Emit, signal: AbortSignal): Promise<void> {
    const askedAt = this.#now();
    const [row] = await connection.query<Row & { id: string | number }>(
      `SELECT s.id, h.ts, h.file, h.position FROM (SELECT @@GLOBAL.server_id AS id) AS s
        LEFT JOIN ${this.#table} AS h ON h.server_id = s.id`,
      undefined,
      { timeoutMs: queryTimeoutMs },
    );
    if (signal.aborted || row === undefined) return;
    this.#server = { id: String(row.id), home: connection.home };
    for (const observation of this.#rows.source(nameOf(row), askedAt, this.#now())) emit(observation);
    if (askedAt - this.#sampledAt < this.link.config.heartbeat.intervalUs) return;
    const sentAt = this.#now();
    const position = await readPosition(connection, queryTimeoutMs);
    this.#sampledAt = sentAt;
    if (isAborted(signal) || position === null) return;
    emit({ kind: 'position-sampled', link: this.link.id, position, sentAt, at: this.#now() });
  }

  async #target(connection: MysqlConnection, emit: Emit, signal: AbortSignal): Promise<void> {
    const server = this.#server;
    // Until the source has been asked once, nobody knows which row to look for.
    if (server === null) return;
    const askedAt = this.#now();
    const [row] = await connection.query<Row>(
      `SELECT ts, file, position FROM ${this.#table} WHERE server_id = ?`,
      [server.id],
      { timeoutMs: queryTimeoutMs },
    );
    if (signal.aborted) return;
    const same = connection.home === server.home;
    const reason =
      'source and target lead to the same server, where the row is seen before any replication: check both URLs, and ' +
      'where DNS and proxies take them';
    const observations = same
      ? this.#rows.targetFailed(reason, this.#now())
      : this.#rows.target(row === undefined ? null : nameOf(row), askedAt, this.#now());
    for (const observation of observations) emit(observation);
  }
}

/** All that tells one heartbeat from the next, as a name; null when there is no row. */
function nameOf({ ts, file, position }: Row): string | null {
  // The column is NOT NULL: only a row that is not there has none.
  const written = ts as string | null;
  return written === null ? null : JSON.stringify([written, file, position === null ? null : String(position)]);
}

/** Read through a function, because the compiler takes a checked flag for settled. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}
