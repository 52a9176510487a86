import { readFile } from 'node:fs/promises';
import { Socket } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import pg from 'pg';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { SourceError, TransientError, messageOf } from '../../daemon/core/errors.js';
import { directAddress, wanderingEndpoint } from '../session/endpoint.js';
import { classify, errorCodeOf, placeOf } from './pg-errors.js';
import { passwordFor } from '../session/password.js';
import { identityOf, type Member, type SideIdentity } from '../session/side-identity.js';

export { classify } from './pg-errors.js';

/** What a connection is opened with; everything but the name has a default. */
export interface ConnectOptions {
  /** `lockgate/<daemon id>/<purpose>`; shown in pg_stat_activity. */
  readonly applicationName: string;
  /** The server ends a statement after so long (10 s unless told, 0 for never). */
  readonly statementTimeoutMs?: number;
  /** The whole of connecting: name resolution, TCP, TLS, login and settings (5 s unless told). */
  readonly connectTimeoutMs?: number;
  /** Opens a walsender session that also takes SQL, by the simple protocol only. */
  readonly replication?: 'database';
  /** Further session settings, set after the usual ones. */
  readonly settings?: Readonly<Record<string, string>>;
}

/** A statement; with a name it is prepared once per connection. */
export type QueryText = string | { readonly name: string; readonly text: string };

/** One session with a PostgreSQL server, whose queries run one after the other. */
export interface PgConnection {
  readonly client: pg.Client;
  /** As `server_version_num` says, for example 180004. */
  readonly serverVersion: number;
  /**
   * The database that this session is in, told apart from every other one whatever its name and address: the start of the
   * server (to the microsecond; a clone or a standby has its own), the database's id there, and the port that the server itself
   * says it listens on, which two that were started together on one machine cannot share.
   */
  readonly home: string;
  /** Why the connection is no longer usable; null while it is. After `close` it stays null. */
  readonly lost: Error | null;
  /**
   * Runs one statement and returns its rows (of several statements in one text, those of the last). Rejects with a
   * classified error. When no answer comes within `timeoutMs` (the statement timeout and 2 s unless told) the connection
   * is destroyed, because its state is unknown.
   */
  query<R>(q: QueryText, values?: readonly unknown[], options?: { readonly timeoutMs?: number }): Promise<R[]>;
  /** Calls the listener once when the connection is lost (at once when it is already); returns how to take it off again. */
  onLost(listener: (error: Error) => void): () => void;
  /** Ends the session; takes at most a second and never throws. */
  close(): Promise<void>;
}

const defaultStatementTimeoutMs = 10_000;
const defaultConnectTimeoutMs = 5_000;
const closeTimeoutMs = 1_000;
/**
 * After our own process was frozen its timers fire before its sockets are read, so an expired timer first gives the
 * event loop this long to read the answer that may be waiting.
 */
const graceMs = 25;

/** Quotes a name so that it is taken literally in SQL. */
export function quoteIdent(name: string): string {
  return pg.escapeIdentifier(name);
}

/** Quotes text as an SQL string. */
export function quoteLiteral(text: string): string {
  return pg.escapeLiteral(text);
}

/**
 * Opens a connection and makes its session settings. Rejects with a TransientError or SourceError that names the
 * database and says what to do, within `connectTimeoutMs`; aborting `signal` gives up on connecting (code `aborted`)
 * and has no effect afterwards. A pooler is refused (code `pg_pooler`) before any setting is made, because it would hand
 * them on to others; so is a side whose sessions lead to different servers (`pg_split_side`).
 */
export async function connect(
  db: DatabaseConfig,
  options: ConnectOptions,
  signal?: AbortSignal,
): Promise<PgConnection> {
  identityOf(db)?.admit();
  const { mode } = db.tls;
  if (mode === 'disable') return attempt(db, options, false, signal);
  const tls = await tlsOptions(db);
  if (mode !== 'prefer') return attempt(db, options, tls, signal);
  try {
    return await attempt(db, options, tls, signal);
  } catch (error) {
    if (signal?.aborted === true || !mayGoPlain(error)) throw error;
    return attempt(db, options, false, signal);
  }
}

/** Whether `prefer` falls back, as libpq's does: no TLS on the server, or a rule in pg_hba.conf that refuses it. */
function mayGoPlain(error: unknown): boolean {
  const code = errorCodeOf(error);
  if (code !== null) return code === '28000' || /^ERR_(SSL|TLS|OSSL)/.test(code);
  return /SSL connection/.test(messageOf(error)); // pg gives this case no code
}

async function tlsOptions(db: DatabaseConfig): Promise<ConnectionOptions> {
  const { mode, ca, cert, key } = db.tls;
  const verify = mode === 'verify-ca' || mode === 'verify-full';
  const options: ConnectionOptions = { rejectUnauthorized: verify };
  if (mode === 'verify-ca') options.checkServerIdentity = () => undefined;
  if (ca !== null && verify) options.ca = await pem(db, 'ca', ca);
  if (cert !== null) options.cert = await pem(db, 'cert', cert);
  if (key !== null) options.key = await pem(db, 'key', key);
  return options;
}

async function pem(db: DatabaseConfig, what: string, path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const hint = `make tls.${what} of database ${db.name} a file that the daemon can read`;
    throw new SourceError('tls_file', `${placeOf(db)}: cannot read ${path}: ${messageOf(error)}`, hint, {
      cause: error,
    });
  }
}

async function attempt(
  db: DatabaseConfig,
  options: ConnectOptions,
  ssl: ConnectionOptions | false,
  signal: AbortSignal | undefined,
): Promise<PgConnection> {
  if (signal?.aborted === true) throw aborted(db);
  const session = new Session(db, options, ssl);
  const timeoutMs = options.connectTimeoutMs ?? defaultConnectTimeoutMs;
  const giveUp = (): void => session.lose(aborted(db));
  signal?.addEventListener('abort', giveUp, { once: true });
  const timer = setTimeout(() => {
    afterSockets(() =>
      session.lose(
        new TransientError(
          'connect_timeout',
          `${placeOf(db)}: no session within ${timeoutMs} ms`,
          'check routes, firewalls and security groups, and whether the server hangs',
        ),
      ),
    );
  }, timeoutMs);
  try {
    await session.open();
    return session;
  } catch (error) {
    const cause = session.lost ?? error;
    session.lose(classify(cause, db));
    throw classify(cause, db);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', giveUp);
  }
}

function aborted(db: DatabaseConfig): TransientError {
  return new TransientError('aborted', `${placeOf(db)}: connecting was given up`);
}

/** Runs `then` after whatever the sockets hold by now was read. */
function afterSockets(then: () => void): NodeJS.Timeout {
  return setTimeout(() => setImmediate(then), graceMs);
}

class Session implements PgConnection {
  readonly client: pg.Client;
  readonly #socket = new Socket();
  readonly #listeners = new Set<(error: Error) => void>();
  readonly #timeoutMs: number;
  readonly #identity: SideIdentity | null;
  #member: Member | null = null;
  #serverVersion = 0;
  #home = '';
  #lost: Error | null = null;
  #closing = false;
  #ended = false;
  #tail: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly db: DatabaseConfig,
    private readonly options: ConnectOptions,
    ssl: ConnectionOptions | false,
  ) {
    const { host, port, database, user } = db.address;
    this.#identity = identityOf(db);
    const statementTimeoutMs = options.statementTimeoutMs ?? defaultStatementTimeoutMs;
    this.#timeoutMs = (statementTimeoutMs === 0 ? defaultStatementTimeoutMs : statementTimeoutMs) + 2_000;
    const config: pg.ClientConfig & { replication?: string } = {
      host,
      port,
      database,
      user,
      // A function, so that pg takes neither PGPASSWORD nor a pgpass file, and only a server that asks for it gets it.
      password: () => this.#password(),
      ssl,
      application_name: options.applicationName,
      keepAlive: true,
      keepAliveInitialDelayMillis: 10_000,
      stream: () => this.#socket,
    };
    if (options.replication !== undefined) config.replication = options.replication;
    this.client = new pg.Client(config);
    this.client.on('error', (error) => this.lose(classify(error, db)));
    this.client.on('end', () => {
      this.#ended = true;
      if (!this.#closing) this.lose(new TransientError('connection_lost', `${placeOf(db)}: the connection ended`));
    });
  }

  get serverVersion(): number {
    return this.#serverVersion;
  }

  get home(): string {
    return this.#home;
  }

  get lost(): Error | null {
    return this.#lost;
  }

  async open(): Promise<void> {
    // pg does not settle connect() when its socket is destroyed without an error, so that a loss ends the wait too.
    await this.#orLost(this.client.connect());
    const statementTimeoutMs = this.options.statementTimeoutMs ?? defaultStatementTimeoutMs;
    const settings = {
      search_path: 'pg_catalog',
      statement_timeout: String(statementTimeoutMs),
      lock_timeout: '2000',
      idle_in_transaction_session_timeout: '10000',
      DateStyle: 'ISO',
      TimeZone: 'UTC',
      // Let the server notice within half a minute that we are gone: our locks and slots must not outlive us for hours.
      tcp_keepalives_idle: '10',
      tcp_keepalives_interval: '5',
      tcp_keepalives_count: '3',
      ...this.options.settings,
    };
    const set = Object.entries(settings).map(
      ([name, value]) => `pg_catalog.set_config(${quoteLiteral(name)}, ${quoteLiteral(value)}, false)`,
    );
    // One text without parameters: a walsender takes the simple protocol only. A pooler makes up the process id that it
    // tells at login; behind one nothing is set, because the server's session is handed on to others with its settings.
    const { processID } = this.client as unknown as { processID: number | null };
    const rows = await this.query<OpeningRow>(
      `SELECT p.pid, CASE WHEN p.pid = ${String(processID ?? 0)} THEN pg_catalog.concat(${set.join(', ')}) END IS NOT NULL AS direct,
        pg_catalog.current_setting('server_version_num') AS version,
        (EXTRACT(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::pg_catalog.int8 || ' ' || (
          SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
          || ' ' || pg_catalog.current_setting('port') AS home,
        pg_catalog.concat(CASE WHEN pg_catalog.pg_is_in_recovery() THEN 'standby' ELSE 'primary' END,
          ' at ' || pg_catalog.host(pg_catalog.inet_server_addr()) || ':' || pg_catalog.inet_server_port(),
          ' started ', pg_catalog.date_trunc('second', pg_catalog.pg_postmaster_start_time())) AS "where"
      FROM (SELECT pg_catalog.pg_backend_pid() AS pid) p`,
    );
    const [row] = rows;
    if (row?.direct !== true) throw pooler(this.db);
    this.#serverVersion = Number(row.version);
    this.#home = row.home ?? '';
    if (this.#identity === null || this.#home === '') return;
    const at = { home: this.#home, where: row.where };
    this.#member = this.#identity.enter(at, (error) => this.lose(error));
    // Data that nobody asked for, which only a stream has.
    if (this.options.replication !== undefined) this.client.connection.on('copyData', () => this.#streamed());
  }

  #streamed(): void {
    if (this.#member !== null) this.#identity?.streamed(this.#member);
  }

  #leave(): void {
    if (this.#member !== null) this.#identity?.leave(this.#member);
    this.#member = null;
  }

  query<R>(q: QueryText, values?: readonly unknown[], options?: { readonly timeoutMs?: number }): Promise<R[]> {
    const run = (): Promise<R[]> => this.#run<R>(q, values, options?.timeoutMs ?? this.#timeoutMs);
    const result = this.#tail.then(run, run);
    this.#tail = result.catch(() => undefined);
    return result;
  }

  async #run<R>(q: QueryText, values: readonly unknown[] | undefined, timeoutMs: number): Promise<R[]> {
    if (this.#lost !== null) throw this.#lost;
    if (this.#closing) throw new TransientError('connection_closed', `${placeOf(this.db)}: the connection was closed`);
    let grace: NodeJS.Timeout | undefined;
    let settled = false;
    const expire = (): void => {
      if (settled) return;
      const message = `${placeOf(this.db)}: no answer within ${timeoutMs} ms`;
      this.lose(new TransientError('query_timeout', message, 'the server or the network hangs'));
    };
    const timer = setTimeout(() => (grace = afterSockets(expire)), timeoutMs);
    const order = this.#identity?.order ?? 0;
    try {
      const config: pg.QueryConfig = typeof q === 'string' ? { text: q } : { ...q };
      if (values !== undefined) config.values = [...values];
      // Of several statements pg returns an array of results, which its types do not say.
      const result: unknown = await this.#orLost(this.client.query(config));
      if (this.#member !== null) this.#identity?.answered(this.#member, order);
      // What was found on one of two servers is not told: it is not known of which one.
      const lost = this.lost;
      if (lost !== null) throw lost;
      const last = (Array.isArray(result) ? result.at(-1) : result) as pg.QueryResult;
      return last.rows as R[];
    } catch (error) {
      const sorted = classify(error, this.db);
      // The server says goodbye with a FATAL error before the socket closes: nothing must use the session meanwhile.
      if (isFatal(error)) this.lose(sorted);
      throw sorted;
    } finally {
      settled = true;
      clearTimeout(timer);
      clearTimeout(grace);
    }
  }

  onLost(listener: (error: Error) => void): () => void {
    if (this.#lost !== null) {
      const error = this.#lost;
      queueMicrotask(() => listener(error));
      return () => undefined;
    }
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Marks the connection as lost and destroys its socket; only the first reason counts. */
  lose(error: Error): void {
    if (this.#lost !== null || this.#closing) return;
    this.#lost = error;
    this.#leave();
    this.#destroy();
    const listeners = [...this.#listeners];
    this.#listeners.clear();
    for (const listener of listeners) listener(error);
  }

  async close(): Promise<void> {
    this.#closing = true;
    this.#leave();
    this.#listeners.clear();
    if (this.#ended || this.#lost !== null) {
      this.#destroy();
      return;
    }
    const ended = new Promise<void>((resolve) => {
      this.client.once('end', resolve);
      setTimeout(resolve, closeTimeoutMs).unref();
    });
    this.client.end().catch(() => undefined);
    await ended;
    this.#destroy();
  }

  async #password(): Promise<string> {
    const password = await passwordFor(this.db);
    if (password !== undefined) return password;
    throw new SourceError(
      'pg_no_password',
      `${placeOf(this.db)}: the server asks for a password and the configuration has none`,
      'put the password into the URL of this database as ${env:NAME} or ${file:PATH}',
    );
  }

  /** Settles as `work` does, or rejects when the connection is lost first. */
  async #orLost<T>(work: Promise<T>): Promise<T> {
    let off: (() => void) | undefined;
    const loss = new Promise<never>((_, reject) => (off = this.onLost(reject)));
    try {
      return await Promise.race([work, loss]);
    } finally {
      off?.();
      work.catch(() => undefined);
    }
  }

  #destroy(): void {
    this.client.connection.stream.destroy();
    this.#socket.destroy();
  }
}

interface OpeningRow {
  /** The process id told at login is the one of the server's session, so nothing stands in between that hands sessions on. */
  direct: boolean;
  version: string;
  home: string | null;
  where: string;
}

function pooler(db: DatabaseConfig): SourceError {
  const kind = wanderingEndpoint(db.address.host);
  return new SourceError(
    'pg_pooler',
    `${placeOf(db)}: this is a connection pooler (such as PgBouncer or RDS Proxy), not the server itself` +
      `${kind === null ? '' : `; ${kind}`}: the session that answers is not the one that was logged in to`,
    `${directAddress(db.address.host)}: LISTEN, advisory locks, session settings and replication do not survive a pooler`,
  );
}

function isFatal(error: unknown): boolean {
  const { severity } = (error ?? {}) as { severity?: unknown };
  return severity === 'FATAL' || severity === 'PANIC';
}
