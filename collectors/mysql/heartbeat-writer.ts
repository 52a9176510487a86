import { createHash } from 'node:crypto';
import type { Collector, CollectorContext, LinkPlan } from '../collector.js';
import type { HeartbeatLedger, RunKey } from '../heartbeat/ledger.js';
import {
  createHeartbeatWriter,
  type ExistsOnTarget,
  type HeartbeatWrite,
  type WriteOutcome,
  type WriterSession,
} from '../heartbeat/writer.js';
import { US_PER_MS } from '../../daemon/core/clock.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { SourceError, reasonOf } from '../../daemon/core/errors.js';
import type { Position } from '../../daemon/core/position.js';
import type { LinkId } from '../../daemon/core/signal.js';
import { keepConnected } from '../session/keep-connected.js';
import { connect, type MysqlConnection } from './connection.js';
import { classify, isServerError } from './mysql-errors.js';
import { identityOf } from '../session/side-identity.js';
import { reopening } from './reopen.js';
import { readChannels, type ReplicaChannel } from './replica-status.js';
import { readPosition } from './source-position.js';

/**
 * Whether all that these channels bring to a link's source comes from the link's own target, while the link is known to
 * run: then what is written on the source is carried to where its own source is.
 */
export type CarriesBack = (link: LinkId, channels: readonly ReplicaChannel[]) => boolean;

/** What a writer for one MySQL or MariaDB server is made of. */
export interface MysqlWriterOptions {
  readonly db: DatabaseConfig;
  /** All links whose `from` is this database; at least one. */
  readonly links: readonly LinkPlan[];
  readonly context: CollectorContext;
  readonly ledger: HeartbeatLedger;
  readonly existsOnTarget: ExistsOnTarget;
  readonly carriesBack: CarriesBack;
}

/** Creates the collector `<db>/heartbeat`: it writes the heartbeats of all links that begin at this server. */
export function mysqlHeartbeatWriter(options: MysqlWriterOptions): Collector {
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
    // Under row format an UPDATE or DELETE of a row that the replica lacks would stop its apply.
    insertOnly: true,
    sessions: (use, down, signal) =>
      keepConnected(
        {
          context,
          collector: name,
          open: reopening<MysqlConnection>((aborted) =>
            connect(db, { applicationName: `lockgate/${context.daemonId}/heartbeat`, statementTimeoutMs }, aborted),
          ),
          use: (connection, healthy) => use(new Session(connection, options, statementTimeoutMs + 1_000), healthy),
          down,
        },
        signal,
      ),
  });
}

/** Rows looked at, and deleted, in one go. */
const pruneBatch = 500;

/** Name of the lock that lets one process per daemon id write; at most 64 characters, whatever the id. */
export function lockName(daemonId: string): string {
  return `lockgate/${createHash('sha256').update(daemonId).digest('hex').slice(0, 40)}`;
}

/** Before every key. */
const beginning: { readonly link: string; readonly run: string } = { link: '', run: '' };

class Session implements WriterSession {
  #prunedTo = beginning;

  constructor(
    private readonly connection: MysqlConnection,
    private readonly options: MysqlWriterOptions,
    private readonly timeoutMs: number,
  ) {}

  get home(): string {
    return this.connection.home;
  }

  async claim(): Promise<string | null> {
    const { daemonId } = this.options.context;
    const lock = lockName(daemonId);
    const [row] = await this.#query<{ got: string | number | null; holder: string | number | null }>(
      'SELECT GET_LOCK(?, 0) AS got, IS_USED_LOCK(?) AS holder',
      [lock, lock],
    );
    if (Number(row?.got) === 1) return null;
    const others = identityOf(this.options.db)?.sharedWith ?? [];
    if (others.length > 0) {
      const entries = [this.options.db.name, ...others].join(' and ');
      return (
        `the entries ${entries} of \`databases\` lead to one and the same server, whose heartbeats are written for ` +
        'one of them already; keep one entry and let the migrations share it'
      );
    }
    const who =
      row?.holder === null || row === undefined
        ? 'another process'
        : `another process (connection ${row.holder} on the server)`;
    return `${who} writes heartbeats as daemon ${daemonId} already; stop it, or give one of them another daemon.id`;
  }

  async look(): Promise<{ refusal: string | null; position: Position | null; head: Position | null }> {
    const [row] = await this.#query<{ read_only: string | number }>('SELECT @@GLOBAL.read_only AS read_only');
    const position = await readPosition(this.connection, this.timeoutMs);
    const refusal =
      Number(row?.read_only) === 0
        ? await this.#errant()
        : `${this.options.db.name} is read-only: no heartbeat is written there`;
    return { refusal, position, head: position };
  }

  async insert(rows: readonly HeartbeatWrite[]): Promise<void> {
    const { daemonId } = this.options.context;
    const places = rows.map(() => '(?, ?, ?, ?, UTC_TIMESTAMP(6))').join(', ');
    await this.connection.execute(
      `INSERT INTO lockgate.heartbeat (daemon, link, run, seq, sent_at) VALUES ${places}`,
      rows.flatMap((row) => [daemonId, row.link, row.run, row.seq]),
      { timeoutMs: this.timeoutMs },
    );
  }

  update(): Promise<ReadonlySet<LinkId>> {
    return Promise.reject(new RangeError('heartbeats of MySQL are never updated'));
  }

  async prune(keep: (key: RunKey) => boolean, existsOnTarget: ExistsOnTarget): Promise<number> {
    const { context, links } = this.options;
    // From where the last look ended, by the key: rows that never reached the target cannot go, and must not be all that
    // is ever looked at. Markers of fences stay for a day, because an open fence asks for its own again and again.
    const { link, run } = this.#prunedTo;
    const old = await this.#query<RunKey>(
      `SELECT link, run FROM lockgate.heartbeat
        WHERE daemon = ? AND link >= ? AND (link > ? OR run > ?) AND link IN (?)
          AND sent_at < IF(run LIKE 'fence-%', UTC_TIMESTAMP(6) - INTERVAL 1 DAY, UTC_TIMESTAMP(6) - INTERVAL 1 MINUTE)
        ORDER BY link, run LIMIT ?`,
      [context.daemonId, link, link, run, links.map(({ id }) => id), pruneBatch],
    );
    this.#prunedTo = old.length < pruneBatch ? beginning : (old.at(-1) ?? beginning);
    const candidates = old.filter((key) => !keep(key));
    if (candidates.length === 0) return 0;
    const both = await existsOnTarget(candidates);
    if (both.length === 0) return 0;
    return this.connection.execute(
      `DELETE FROM lockgate.heartbeat WHERE daemon = ? AND (link, run) IN (${both.map(() => '(?, ?)').join(', ')})`,
      [context.daemonId, ...both.flatMap((key) => [key.link, key.run])],
      { timeoutMs: this.timeoutMs },
    );
  }

  outcomeOf(error: unknown): WriteOutcome {
    return isServerError(error) ? 'not-committed' : 'uncertain';
  }

  refusalIn(error: unknown): string | null {
    const sorted = classify(error, this.options.db);
    return sorted instanceof SourceError ? reasonOf(sorted) : null;
  }

  /** Why a heartbeat would be an errant transaction here, which a later failover trips over; null when it would not. */
  async #errant(): Promise<string | null> {
    const { db, links, carriesBack } = this.options;
    const channels = await readChannels(this.connection, this.timeoutMs);
    if (channels.length === 0 || links.some((link) => carriesBack(link.id, channels))) return null;
    const upstreams = channels.map(({ sourceHost, sourcePort }) => `${sourceHost}:${sourcePort}`).join(', ');
    return (
      `${db.name} is a replica (of ${upstreams}): a heartbeat written there would be a transaction of its own ` +
      'that its source lacks; it is written once the link that carries it back runs'
    );
  }

  #query<R>(sql: string, values?: unknown[]): Promise<R[]> {
    return this.connection.query<R>(sql, values, { timeoutMs: this.timeoutMs });
  }
}
