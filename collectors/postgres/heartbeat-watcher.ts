import type { CollectorContext, LinkPlan } from '../collector.js';
import type { HeartbeatLedger } from '../heartbeat/ledger.js';
import {
  createHeartbeatWatcher,
  type HeartbeatWatcher,
  type SeenRow,
  type Unproven,
  type WatchChoice,
  type WatcherSession,
} from '../heartbeat/watcher.js';
import type { RunKey } from '../heartbeat/ledger.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { SourceError, reasonOf } from '../../daemon/core/errors.js';
import type { LinkId } from '../../daemon/core/signal.js';
import type { PgConnection } from './connection.js';
import { classify, placeOf } from './pg-errors.js';
import { keepConnected } from './reconnect.js';

/** What the watcher needs to know of the WAL reader of the same database. */
export interface WalReaderState {
  /** Null while it streams; else why it does not. */
  readonly silentBecause: string | null;
}

/** What a watcher for one PostgreSQL database is made of. */
export interface PostgresWatcherOptions {
  readonly db: DatabaseConfig;
  /** All links whose `to` is this database; at least one. */
  readonly links: readonly LinkPlan[];
  readonly context: CollectorContext;
  readonly ledger: HeartbeatLedger;
  /** Null when there is no WAL reader for this database. */
  readonly reader: WalReaderState | null;
  /** How long the target may take to answer a question, 1 s unless told. */
  readonly queryTimeoutMs?: number;
}

const channel = 'lockgate_heartbeat';

/** Creates the collector `<db>/watch`: it notices the arrival of heartbeats for all links that end at this database. */
export function postgresHeartbeatWatcher(options: PostgresWatcherOptions): HeartbeatWatcher {
  const { db, links, context, ledger } = options;
  const name = `${db.name}/watch`;
  const timeoutMs = options.queryTimeoutMs ?? 1_000;
  return createHeartbeatWatcher({
    name,
    context,
    ledger,
    links,
    sessions: (use, arrived, down, signal) =>
      keepConnected(
        {
          db,
          context,
          collector: name,
          connect: { applicationName: `lockgate/${context.daemonId}/watch`, statementTimeoutMs: timeoutMs },
          use: (connection, healthy) => use(new Session(connection, options, timeoutMs + 200, arrived), healthy),
          down,
        },
        signal,
      ),
  });
}

// While a subscription copies the table, its rows come by a worker of their own, ahead of what the subscription applies.
// Both are read in one snapshot, so that no row counts that came before the copy had joined the rest.
const newestSql = {
  name: 'newest',
  text: `SELECT c.copying, h.link, h.run, h.seq
    FROM (SELECT ARRAY(SELECT r.srsubid::pg_catalog.text FROM pg_catalog.pg_subscription_rel r
        WHERE r.srrelid = 'lockgate.heartbeat'::pg_catalog.regclass AND r.srsubstate <> 'r') AS copying) AS c
      LEFT JOIN (SELECT DISTINCT ON (link) link, run, seq FROM lockgate.heartbeat
        WHERE daemon = $1 AND link = ANY($2) AND run LIKE $3 ORDER BY link, seq DESC) AS h ON true`,
};

interface NewestRow {
  copying: string[];
  link: LinkId | null;
  run: string;
  seq: string;
}

// Everybody may read this view, also where the catalog hides the ids from ordinary users.
const namesSql = {
  name: 'names',
  text: `SELECT DISTINCT v.subname AS name FROM pg_catalog.pg_stat_subscription v
    WHERE v.subid = ANY($1::pg_catalog.oid[])`,
};

/** Row security shows some rows and hides others without a word: a row that is not shown may be there all the same. */
const filteredSql = `SELECT coalesce(bool_or(pg_catalog.row_security_active(c.oid)), false) AS filtered
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = 'lockgate' AND c.relname = 'heartbeat'`;

interface Facts {
  recovery: boolean;
  flush: boolean;
  notify: boolean;
}

const triggerOf = (name: string): string => `coalesce(bool_or(p.proname = '${name}'), false)`;

const factsSql = `SELECT pg_catalog.pg_is_in_recovery() AS recovery,
    ${triggerOf('heartbeat_flush')} AS flush, ${triggerOf('heartbeat_notify')} AS notify
  FROM pg_catalog.pg_trigger t
    JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid AND c.relname = 'heartbeat'
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'lockgate'
    JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid AND p.pronamespace = n.oid
  WHERE t.tgenabled = 'A'`;

class Session implements WatcherSession {
  readonly lost: Promise<Error>;
  #listening = false;

  constructor(
    private readonly connection: PgConnection,
    private readonly options: PostgresWatcherOptions,
    private readonly timeoutMs: number,
    arrived: (row: SeenRow, by: 'notify') => void,
  ) {
    this.lost = new Promise((resolve) => connection.onLost(resolve));
    const { daemonId } = options.context;
    connection.client.on('notification', (message) => {
      const row = message.channel === channel ? parsePayload(message.payload, daemonId) : null;
      if (row !== null) arrived({ ...row, home: this.home }, 'notify');
    });
  }

  get home(): string {
    return this.connection.home;
  }

  async choose(links: readonly LinkPlan[]): Promise<ReadonlyMap<LinkId, WatchChoice>> {
    await this.#requireAllRows();
    const [facts] = await this.#query<Facts>(factsSql);
    const { reader } = this.options;
    const why = reader === null ? 'the WAL reader is off (read: off)' : reader.silentBecause;
    const choices = new Map(links.map((link) => [link.id, choose(link.config, facts, why)]));
    if (!this.#listening && [...choices.values()].some((choice) => choice.mode === 'notify')) {
      await this.#query(`LISTEN ${channel}`);
      this.#listening = true;
    }
    return choices;
  }

  async newest(links: readonly LinkId[]): Promise<readonly (SeenRow | Unproven)[]> {
    const { context, ledger } = this.options;
    const values = [context.daemonId, links, `${ledger.process}-%`];
    const rows = await this.#query<NewestRow>(newestSql, values);
    const unproven = await this.#copied(rows[0]?.copying ?? [], links);
    const without = new Set(unproven.map(({ link }) => link));
    const seen = rows.flatMap(({ link, run, seq }) =>
      link === null || without.has(link) ? [] : [{ link, run, seq: Number(seq), home: this.home }],
    );
    if (seen.length + unproven.length < links.length) await this.#requireAllRows();
    return [...seen, ...unproven];
  }

  /** The links whose heartbeat table is being copied by one of these subscriptions. */
  async #copied(ids: readonly string[], links: readonly LinkId[]): Promise<Unproven[]> {
    if (ids.length === 0) return [];
    const names = await this.#query<{ name: string }>(namesSql, [ids]);
    const found = new Set(names.map(({ name }) => name));
    return this.options.links.flatMap(({ id, config }): Unproven[] => {
      if (!links.includes(id) || config.via !== 'postgres-logical') return [];
      // One that was dropped meanwhile has no name any more; whose it was nobody knows.
      const flow = found.size < ids.length ? 'a subscription' : config.flows.find((name) => found.has(name));
      if (flow === undefined) return [];
      const reason =
        `${flow} is still copying lockgate.heartbeat on its own (its state in pg_subscription_rel is not r yet), ` +
        'so a heartbeat seen there says nothing of the other tables';
      return [{ link: id, unproven: reason }];
    });
  }

  exists(rows: readonly RunKey[]): Promise<readonly RunKey[]> {
    return this.#query<RunKey>(
      `SELECT h.link, h.run FROM lockgate.heartbeat AS h
        JOIN ROWS FROM (unnest($2::text[]), unnest($3::text[])) AS v(link, run) ON h.link = v.link AND h.run = v.run
        WHERE h.daemon = $1`,
      [this.options.context.daemonId, rows.map((row) => row.link), rows.map((row) => row.run)],
    );
  }

  async #requireAllRows(): Promise<void> {
    const [row] = await this.#query<{ filtered: boolean }>(filteredSql);
    if (row?.filtered !== true) return;
    throw new SourceError(
      'pg_row_security',
      `${placeOf(this.options.db)}: row security may hide rows of lockgate.heartbeat`,
      'ALTER TABLE lockgate.heartbeat DISABLE ROW LEVEL SECURITY',
    );
  }

  isLost(): boolean {
    return this.connection.lost !== null;
  }

  reasonOf(error: unknown): string {
    return reasonOf(classify(error, this.options.db));
  }

  #query<R>(q: string | { name: string; text: string }, values?: unknown[]): Promise<R[]> {
    return this.connection.query<R>(q, values, { timeoutMs: this.timeoutMs });
  }
}

/** The best mode that is possible; `noWal` says why there are no WAL events, null when there are. */
function choose(config: LinkPlan['config'], facts: Facts | undefined, noWal: string | null): WatchChoice {
  const wanted = config.heartbeat.watch;
  if (wanted === 'poll') return { mode: 'poll', why: 'configured' };
  if (wanted === 'binlog') return { mode: 'poll', why: 'a PostgreSQL server has no binlog' };
  if (facts === undefined || facts.recovery) {
    return { mode: 'poll', why: 'the target is in recovery: no WAL events, no notifications' };
  }
  if (wanted === 'wal') {
    if (noWal !== null) return { mode: 'poll', why: noWal };
    const late = 'configured; without the trigger lockgate.heartbeat_flush (ENABLE ALWAYS) it is up to 0.4 s late';
    return { mode: 'wal', why: facts.flush ? 'configured' : late };
  }
  if (wanted === 'notify') {
    if (facts.notify) return { mode: 'notify', why: 'configured' };
    return { mode: 'poll', why: 'there is no trigger lockgate.heartbeat_notify (ENABLE ALWAYS); run `lockgate setup`' };
  }
  // Whoever applies through ordinary sessions has its commits flushed as it commits.
  if (config.via === 'dms' && noWal === null) return { mode: 'wal', why: 'the WAL reader streams' };
  const noFlush = 'there is no trigger lockgate.heartbeat_flush (ENABLE ALWAYS)';
  const notWal = noWal ?? (facts.flush ? null : noFlush);
  if (notWal === null) return { mode: 'wal', why: 'the WAL reader streams and the trigger flushes' };
  if (facts.notify) return { mode: 'notify', why: notWal };
  return { mode: 'poll', why: `${notWal}; there is no trigger lockgate.heartbeat_notify either` };
}

/** Reads `[daemon, link, run, seq]`; null for anything else, because anybody may send on a channel. */
function parsePayload(payload: string | undefined, daemonId: string): SeenRow | null {
  let parsed: unknown;
  try {
    parsed = JSON.parse(payload ?? '');
  } catch {
    return null;
  }
  if (!Array.isArray(parsed)) return null;
  const [daemon, link, run, seq] = parsed as unknown[];
  if (daemon !== daemonId || typeof link !== 'string' || typeof run !== 'string') return null;
  return typeof seq === 'number' && Number.isSafeInteger(seq) ? { link: link as LinkId, run, seq } : null;
}
