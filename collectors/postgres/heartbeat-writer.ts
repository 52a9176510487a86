import type { Collector, CollectorContext, LinkPlan } from '../collector.js';
import type { HeartbeatLedger } from '../heartbeat/ledger.js';
import {
  createHeartbeatWriter,
  type ExistsOnTarget,
  type HeartbeatWrite,
  type WriteOutcome,
  type WriterSession,
} from '../heartbeat/writer.js';
import type { RunKey } from '../heartbeat/ledger.js';
import { US_PER_MS } from '../../daemon/core/clock.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { SourceError, reasonOf } from '../../daemon/core/errors.js';
import { lsnOf, parseLsn, type Position } from '../../daemon/core/position.js';
import type { LinkId } from '../../daemon/core/signal.js';
import type { PgConnection } from './connection.js';
import { classify, isServerError } from './pg-errors.js';
import { keepConnected } from './reconnect.js';
import { walEnd } from './wal-end.js';
import { identityOf } from '../session/side-identity.js';

/** What a writer for one PostgreSQL database is made of. */
export interface PostgresWriterOptions {
  readonly db: DatabaseConfig;
  /** All links whose `from` is this database; at least one. */
  readonly links: readonly LinkPlan[];
  readonly context: CollectorContext;
  readonly ledger: HeartbeatLedger;
  readonly existsOnTarget: ExistsOnTarget;
}

/** Creates the collector `<db>/heartbeat`: it writes the heartbeats of all links that begin at this database. */
export function postgresHeartbeatWriter(options: PostgresWriterOptions): Collector {
  const { db, links, context, ledger, existsOnTarget } = options;
  const name = `${db.name}/heartbeat`;
  const shortestMs = Math.min(...links.map((link) => link.config.heartbeat.intervalUs)) / US_PER_MS;
  const statementTimeoutMs = Math.round(Math.min(Math.max(2 * shortestMs, 2_000), 10_000));
  return createHeartbeatWriter({
    name,
    context,
    ledger,
    links,
    existsOnTarget,
    sessions: (use, down, signal) =>
      keepConnected(
        {
          db,
          context,
          collector: name,
          connect: {
            applicationName: `lockgate/${context.daemonId}/heartbeat`,
            statementTimeoutMs,
            // A stuck synchronous standby must not hang the heartbeat; locally flushed is what the position needs.
            settings: { synchronous_commit: 'local' },
          },
          use: (connection, healthy) => use(new Session(connection, options, statementTimeoutMs + 1_000), healthy),
          down,
        },
        signal,
      ),
  });
}

const lookSql = {
  name: 'look',
  text: `SELECT r AS recovery, pg_catalog.current_setting('transaction_read_only') = 'on' AS readonly,
    CASE WHEN r THEN NULL ELSE pg_catalog.pg_current_wal_flush_lsn() END::text AS lsn,
    CASE WHEN r THEN NULL ELSE pg_catalog.pg_current_wal_insert_lsn() END::text AS head
    FROM pg_catalog.pg_is_in_recovery() AS r`,
};

const insertSql = {
  name: 'insert',
  text: `INSERT INTO lockgate.heartbeat (daemon, link, run, seq, sent_at)
    SELECT $1, v.link, v.run, v.seq, pg_catalog.clock_timestamp()
    FROM ROWS FROM (unnest($2::text[]), unnest($3::text[]), unnest($4::bigint[])) AS v(link, run, seq)`,
};

const updateSql = {
  name: 'update',
  text: `UPDATE lockgate.heartbeat AS h SET seq = v.seq, sent_at = pg_catalog.clock_timestamp()
    FROM ROWS FROM (unnest($2::text[]), unnest($3::text[]), unnest($4::bigint[])) AS v(link, run, seq)
    WHERE h.daemon = $1 AND h.link = v.link AND h.run = v.run RETURNING h.link`,
};

const lockKeySql = `pg_catalog.hashtextextended('lockgate/' || $1::text, 0)`;

const holderSql = `SELECT l.pid, a.client_addr::text AS addr
  FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
  WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
    AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
    AND (l.classid::bigint << 32) | l.objid::bigint = ${lockKeySql} LIMIT 1`;

function positionOf(lsn: string | null): Position | null {
  return lsn === null ? null : { kind: 'lsn', lsn: parseLsn(lsn) };
}

/** Rows deleted in one go, and rows looked at for it. */
const pruneBatch = 100;

class Session implements WriterSession {
  constructor(
    private readonly connection: PgConnection,
    private readonly options: PostgresWriterOptions,
    private readonly timeoutMs: number,
  ) {}

  get home(): string {
    return this.connection.home;
  }

  async claim(): Promise<string | null> {
    const { daemonId } = this.options.context;
    const [row] = await this.#query<{ got: boolean }>(`SELECT pg_catalog.pg_try_advisory_lock(${lockKeySql}) AS got`, [
      daemonId,
    ]);
    if (row?.got === true) return null;
    const others = identityOf(this.options.db)?.sharedWith ?? [];
    if (others.length > 0) {
      const entries = [this.options.db.name, ...others].join(' and ');
      return (
        `the entries ${entries} of \`databases\` lead to one and the same database, whose heartbeats are written for ` +
        'one of them already; keep one entry and let the migrations share it'
      );
    }
    const [holder] = await this.#query<{ pid: number; addr: string | null }>(holderSql, [daemonId]);
    const who =
      holder === undefined
        ? 'another process'
        : `another process (backend ${holder.pid} on the server, from ${holder.addr ?? 'an address that is not shown'})`;
    return `${who} writes heartbeats as daemon ${daemonId} already; stop it, or give one of them another daemon.id`;
  }

  async look(): Promise<{ refusal: string | null; position: Position | null; head: Position | null }> {
    const [row] = await this.#query<{ recovery: boolean; readonly: boolean; lsn: string | null; head: string | null }>(
      lookSql,
    );
    const { name } = this.options.db;
    let refusal: string | null = null;
    if (row?.recovery === true) refusal = `${name} is in recovery (a standby): no heartbeat is written there`;
    else if (row?.readonly === true) refusal = `${name} is read-only: no heartbeat is written there`;
    const position = positionOf(row?.lsn ?? null);
    const head = positionOf(row?.head ?? null);
    if (position === null || head === null) return { refusal, position, head };
    return { refusal, position, head: { kind: 'lsn', lsn: walEnd(lsnOf(position), lsnOf(head)) } };
  }

  async insert(rows: readonly HeartbeatWrite[]): Promise<void> {
    await this.#query(insertSql, this.#parameters(rows));
  }

  async update(rows: readonly HeartbeatWrite[]): Promise<ReadonlySet<LinkId>> {
    const written = await this.#query<{ link: LinkId }>(updateSql, this.#parameters(rows));
    return new Set(written.map((row) => row.link));
  }

  async prune(keep: (key: RunKey) => boolean, existsOnTarget: ExistsOnTarget): Promise<number> {
    const { context, links } = this.options;
    // A fence asks for its marker as long as it is open.
    const old = await this.#query<RunKey>(
      `SELECT link, run FROM lockgate.heartbeat
        WHERE daemon = $1 AND link = ANY($2) AND sent_at < pg_catalog.clock_timestamp()
          - CASE WHEN run LIKE 'fence-%' THEN interval '1 day' ELSE interval '1 minute' END
        ORDER BY pg_catalog.random() LIMIT $3`,
      [context.daemonId, links.map((link) => link.id), 5 * pruneBatch],
    );
    const candidates = old.filter((key) => !keep(key)).slice(0, pruneBatch);
    if (candidates.length === 0) return 0;
    const both = await existsOnTarget(candidates);
    if (both.length === 0) return 0;
    const gone = await this.#query(
      `DELETE FROM lockgate.heartbeat AS h
        USING ROWS FROM (unnest($2::text[]), unnest($3::text[])) AS v(link, run)
        WHERE h.daemon = $1 AND h.link = v.link AND h.run = v.run RETURNING 1`,
      [context.daemonId, both.map((key) => key.link), both.map((key) => key.run)],
    );
    return gone.length;
  }

  outcomeOf(error: unknown): WriteOutcome {
    return isServerError(error) ? 'not-committed' : 'uncertain';
  }

  refusalIn(error: unknown): string | null {
    const sorted = classify(error, this.options.db);
    return sorted instanceof SourceError ? reasonOf(sorted) : null;
  }

  #parameters(rows: readonly HeartbeatWrite[]): unknown[] {
    return [
      this.options.context.daemonId,
      rows.map((row) => row.link),
      rows.map((row) => row.run),
      rows.map((row) => row.seq),
    ];
  }

  #query<R>(q: string | { name: string; text: string }, values?: unknown[]): Promise<R[]> {
    return this.connection.query<R>(q, values, { timeoutMs: this.timeoutMs });
  }
}
