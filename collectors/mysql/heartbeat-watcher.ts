import { reasonOf } from '../../daemon/core/errors.js';
import type { CollectorContext, LinkPlan } from '../collector.js';
import type { HeartbeatLedger, RunKey } from '../heartbeat/ledger.js';
import {
  createHeartbeatWatcher,
  type HeartbeatWatcher,
  type SeenRow,
  type WatchChoice,
  type WatcherSession,
} from '../heartbeat/watcher.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import type { LinkId } from '../../daemon/core/signal.js';
import { keepConnected } from '../session/keep-connected.js';
import { connect, type MysqlConnection } from './connection.js';
import { classify } from './mysql-errors.js';
import { reopening } from './reopen.js';

/** What the watcher needs to know of the binlog reader of the same server. */
export interface BinlogReaderState {
  /** Null while it streams; else why it does not. */
  readonly silentBecause: string | null;
}

/** What a watcher for one MySQL or MariaDB server is made of. */
export interface MysqlWatcherOptions {
  readonly db: DatabaseConfig;
  /** All links whose `to` is this database; at least one. */
  readonly links: readonly LinkPlan[];
  readonly context: CollectorContext;
  readonly ledger: HeartbeatLedger;
  /** Null when there is no binlog reader for this server. */
  readonly reader: BinlogReaderState | null;
  /** How long the target may take to answer a question, 1 s unless told. */
  readonly queryTimeoutMs?: number;
}

/** Creates the collector `<db>/watch`: it notices the arrival of heartbeats for all links that end at this server. */
export function mysqlHeartbeatWatcher(options: MysqlWatcherOptions): HeartbeatWatcher {
  const { db, links, context, ledger } = options;
  const name = `${db.name}/watch`;
  const timeoutMs = options.queryTimeoutMs ?? 1_000;
  return createHeartbeatWatcher({
    name,
    context,
    ledger,
    links,
    sessions: (use, _arrived, down, signal) =>
      keepConnected(
        {
          context,
          collector: name,
          open: reopening<MysqlConnection>((aborted) =>
            connect(
              db,
              { applicationName: `lockgate/${context.daemonId}/watch`, statementTimeoutMs: timeoutMs },
              aborted,
            ),
          ),
          use: (connection, healthy) => use(new Session(connection, options, timeoutMs + 200), healthy),
          down,
        },
        signal,
      ),
  });
}

class Session implements WatcherSession {
  readonly lost: Promise<Error>;

  constructor(
    private readonly connection: MysqlConnection,
    private readonly options: MysqlWatcherOptions,
    private readonly timeoutMs: number,
  ) {
    this.lost = new Promise((resolve) => connection.onLost(resolve));
  }

  get home(): string {
    return this.connection.home;
  }

  choose(links: readonly LinkPlan[]): Promise<ReadonlyMap<LinkId, WatchChoice>> {
    const { reader } = this.options;
    const why = reader === null ? 'the binlog reader is off (read: off)' : reader.silentBecause;
    return Promise.resolve(new Map(links.map((link) => [link.id, choose(link.config.heartbeat.watch, why)])));
  }

  async newest(links: readonly LinkId[]): Promise<readonly SeenRow[]> {
    const { context, ledger } = this.options;
    // One row per heartbeat: by the key, whose order is that of the runs, the newest is found without reading the others.
    const one = `(SELECT link, run, seq FROM lockgate.heartbeat
      WHERE daemon = ? AND link = ? AND run LIKE ? ORDER BY run DESC LIMIT 1)`;
    const rows = await this.connection.query<{ link: LinkId; run: string; seq: string | number }>(
      links.map(() => one).join(' UNION ALL '),
      links.flatMap((link) => [context.daemonId, link, `${ledger.process}-%`]),
      { timeoutMs: this.timeoutMs },
    );
    return rows.map((row) => ({ link: row.link, run: row.run, seq: Number(row.seq), home: this.home }));
  }

  exists(rows: readonly RunKey[]): Promise<readonly RunKey[]> {
    return this.connection.query<RunKey>(
      `SELECT link, run FROM lockgate.heartbeat
        WHERE daemon = ? AND (link, run) IN (${rows.map(() => '(?, ?)').join(', ')})`,
      [this.options.context.daemonId, ...rows.flatMap((row) => [row.link, row.run])],
      { timeoutMs: this.timeoutMs },
    );
  }

  isLost(): boolean {
    return this.connection.lost !== null;
  }

  reasonOf(error: unknown): string {
    return reasonOf(classify(error, this.options.db));
  }
}

/** The best mode that is possible; `noBinlog` says why there are no binlog events, null when there are. */
function choose(wanted: LinkPlan['config']['heartbeat']['watch'], noBinlog: string | null): WatchChoice {
  if (wanted === 'poll') return { mode: 'poll', why: 'configured' };
  if (wanted === 'wal' || wanted === 'notify') return { mode: 'poll', why: `a MySQL server has no \`${wanted}\`` };
  if (noBinlog === null)
    return { mode: 'binlog', why: wanted === 'binlog' ? 'configured' : 'the binlog reader streams' };
  return { mode: 'poll', why: noBinlog };
}
