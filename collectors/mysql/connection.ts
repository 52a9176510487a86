import { Socket } from 'node:net';
import mysql from 'mysql2';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { SourceError, TransientError } from '../../daemon/core/errors.js';
import { placeOf } from '../session/faults.js';
import { identityOf, type Member, type SideIdentity } from '../session/side-identity.js';
import { passwordFor } from '../session/password.js';
import { tlsOptions } from '../session/tls.js';
import { classify, errorCodeOf } from './mysql-errors.js';

/** What a connection is opened with; everything but the name has a default. */
export interface ConnectOptions {
  /** `lockgate/<daemon id>/<purpose>`; shown as `program_name` among the session's connection attributes. */
  readonly applicationName: string;
  /** The server ends a query after so long (10 s unless told); it binds SELECT only on MySQL. */
  readonly statementTimeoutMs?: number;
  /** The whole of connecting: name resolution, TCP, TLS, login and settings (5 s unless told). */
  readonly connectTimeoutMs?: number;
}

/** Which server it is, and what it calls itself. */
export interface ServerVersion {
  readonly flavour: 'mysql' | 'mariadb';
  /** For example 90700 for MySQL 9.7.0 and 101118 for MariaDB 10.11.18. */
  readonly number: number;
  /** As the server writes it. */
  readonly text: string;
}

/** One session with a MySQL or MariaDB server, whose queries run one after the other. */
export interface MysqlConnection {
  readonly version: ServerVersion;
  /** The server, told apart from every other one whatever its name and address. */
  readonly home: string;
  /** The same for people: host name, port and server id. */
  readonly place: string;
  /** The connection's id on the server. */
  readonly threadId: number;
  /** Why the connection is no longer usable; null while it is. After `close` it stays null. */
  readonly lost: Error | null;
  /**
   * Runs one statement and returns its rows; dates, decimals and 64-bit numbers come as text. Rejects with a classified
   * error. When no answer comes within `timeoutMs` (the statement timeout and 2 s unless told) the connection is
   * destroyed, because its state is unknown.
   */
  query<R>(sql: string, values?: readonly unknown[], options?: { readonly timeoutMs?: number }): Promise<R[]>;
  /** The same for a statement without rows; returns how many rows it changed. */
  execute(sql: string, values?: readonly unknown[], options?: { readonly timeoutMs?: number }): Promise<number>;
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
  return `\`${name.replaceAll('`', '``')}\``;
}

/** Quotes text as an SQL string, for statements that take no bound values; sessions run without backslash escapes of their own. */
export function quoteLiteral(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`;
}

/**
 * Opens a connection and makes its session settings. Rejects with a TransientError or SourceError that names the
 * database and says what to do, within `connectTimeoutMs`; aborting `signal` gives up on connecting (code `aborted`)
 * and has no effect afterwards. A side whose sessions lead to different servers is refused (`mysql_split_side`).
 */
export async function connect(
  db: DatabaseConfig,
  options: ConnectOptions,
  signal?: AbortSignal,
): Promise<MysqlConnection> {
  identityOf(db)?.admit();
  const { mode } = db.tls;
  if (mode === 'disable') return attempt(db, options, null, signal);
  const tls = await tlsOptions(db);
  // mysql2 checks names by a switch of its own.
  delete tls.checkServerIdentity;
  const ssl = { ...(tls as mysql.SslOptions), verifyIdentity: mode === 'verify-full' };
  if (mode !== 'prefer') return attempt(db, options, ssl, signal);
  try {
    return await attempt(db, options, ssl, signal);
  } catch (error) {
    if (signal?.aborted === true || !mayGoPlain(error)) throw error;
    return attempt(db, options, null, signal);
  }
}

function mayGoPlain(error: unknown): boolean {
  const code = errorCodeOf(error);
  return code === 'HANDSHAKE_NO_SSL_SUPPORT' || (code !== null && /^ERR_(SSL|TLS|OSSL)/.test(code));
}

async function attempt(
  db: DatabaseConfig,
  options: ConnectOptions,
  ssl: mysql.SslOptions | null,
  signal: AbortSignal | undefined,
): Promise<MysqlConnection> {
  if (signal?.aborted === true) throw aborted(db);
  const timeoutMs = options.connectTimeoutMs ?? defaultConnectTimeoutMs;
  const session = new Session(db, options, ssl, await passwordOf(db));
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

/** Whether the server may ask for what is logged in with as it is: for tokens of IAM only. */
export function takesTokens(db: DatabaseConfig): boolean {
  return db.rdsIam !== undefined && db.rdsIam !== null;
}

async function passwordOf(db: DatabaseConfig): Promise<string | undefined> {
  try {
    return await passwordFor(db);
  } catch (error) {
    throw classify(error, db);
  }
}

function aborted(db: DatabaseConfig): TransientError {
  return new TransientError('aborted', `${placeOf(db)}: connecting was given up`);
}

/** Runs `then` after whatever the sockets hold by now was read. */
function afterSockets(then: () => void): NodeJS.Timeout {
  return setTimeout(() => setImmediate(then), graceMs);
}

/**
 * The expression that tells a server apart from every other one. A MariaDB server has no id of its own that a copy of it
 * lacks, so what it is started with stands for one.
 */
export function homeSql(mariadb: boolean): string {
  return mariadb ? "CONCAT_WS('|', @@server_id, @@hostname, @@port, @@datadir, @@pid_file)" : '@@server_uuid';
}

/** Parses what `version()` says; MariaDB names itself in it. */
export function parseVersion(text: string): ServerVersion {
  const found = /(\d+)\.(\d+)\.(\d+)/.exec(text.replace(/^5\.5\.5-/, ''));
  if (found === null) throw new RangeError(`not a server version: ${text}`);
  const [major = 0, minor = 0, patch = 0] = found.slice(1).map(Number);
  return {
    flavour: /mariadb/i.test(text) ? 'mariadb' : 'mysql',
    number: major * 10_000 + minor * 100 + patch,
    text,
  };
}

interface Greeting {
  version: string;
  home: string;
  /** For people. */
  place: string;
  id: string;
}

class Session implements MysqlConnection {
  readonly #client: mysql.Connection;
  readonly #socket = new Socket();
  readonly #listeners = new Set<(error: Error) => void>();
  readonly #statementTimeoutMs: number;
  #version: ServerVersion = { flavour: 'mysql', number: 0, text: '' };
  #home = '';
  #place = '';
  #threadId = 0;
  #lost: Error | null = null;
  #closing = false;
  readonly #identity: SideIdentity | null;
  #member: Member | null = null;
  #tail: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly db: DatabaseConfig,
    options: ConnectOptions,
    ssl: mysql.SslOptions | null,
    password: string | undefined,
  ) {
    const { host, port, user } = db.address;
    this.#identity = identityOf(db);
    this.#statementTimeoutMs = options.statementTimeoutMs ?? defaultStatementTimeoutMs;
    this.#socket.setNoDelay(true);
    this.#socket.setKeepAlive(true, 10_000);
    this.#socket.connect(port, host);
    this.#client = mysql.createConnection({
      host,
      port,
      // No default database: entering one takes a privilege on it, which the daemon has no use for.
      user,
      ...(password === undefined ? {} : { password }),
      // RDS takes tokens as they are, which only TLS keeps from others; the server must not get one without.
      ...(ssl === null ? {} : { ssl, enableCleartextPlugin: takesTokens(db) }),
      stream: this.#socket,
      charset: 'utf8mb4_bin',
      dateStrings: true,
      supportBigNumbers: true,
      bigNumberStrings: true,
      multipleStatements: false,
      // Ours is the only timer: two of them would tell different stories.
      connectTimeout: 0,
      connectAttributes: { program_name: options.applicationName },
    });
    this.#client.on('error', (error) => this.lose(classify(error, db)));
    this.#client.on('end', () => {
      if (!this.#closing) this.lose(new TransientError('connection_lost', `${placeOf(db)}: the connection ended`));
    });
    this.#socket.on('close', () => {
      if (!this.#closing) this.lose(new TransientError('connection_lost', `${placeOf(db)}: the connection ended`));
    });
  }

  get version(): ServerVersion {
    return this.#version;
  }

  get home(): string {
    return this.#home;
  }

  get place(): string {
    return this.#place;
  }

  get threadId(): number {
    return this.#threadId;
  }

  get lost(): Error | null {
    return this.#lost;
  }

  async open(): Promise<void> {
    await this.#orLost(
      new Promise<void>((resolve, reject) =>
        this.#client.connect((error) => {
          if (error === null) resolve();
          else reject(error);
        }),
      ),
    );
    const [hello] = await this.query<{ version: string }>('SELECT VERSION() AS version');
    this.#version = parseVersion(hello?.version ?? '');
    const mariadb = this.#version.flavour === 'mariadb';
    const seconds = String(this.#statementTimeoutMs / 1000);
    await this.execute(
      `SET SESSION time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', autocommit = 1,
        lock_wait_timeout = 2, innodb_lock_wait_timeout = 2, wait_timeout = 60, net_write_timeout = 10,
        ${mariadb ? `max_statement_time = ${seconds}` : `max_execution_time = ${String(this.#statementTimeoutMs)}`}`,
    );
    const [row] = await this.query<Greeting>(
      `SELECT ${homeSql(mariadb)} AS home, CONNECTION_ID() AS id,
        CONCAT(@@hostname, ':', @@port, ', server id ', @@server_id) AS place`,
    );
    this.#home = row?.home ?? '';
    this.#place = row?.place ?? '';
    this.#threadId = Number(row?.id);
    if (this.#home === '')
      throw new SourceError('mysql_no_identity', `${placeOf(this.db)}: the server has no identity`);
    if (this.#identity === null) return;
    this.#member = this.#identity.enter({ home: this.#home, where: this.#place }, (error) => this.lose(error));
  }

  #leave(): void {
    if (this.#member !== null) this.#identity?.leave(this.#member);
    this.#member = null;
  }

  async query<R>(sql: string, values?: readonly unknown[], options?: { readonly timeoutMs?: number }): Promise<R[]> {
    const result = await this.#enqueue(sql, values, options?.timeoutMs);
    return Array.isArray(result) ? (result as R[]) : [];
  }

  async execute(sql: string, values?: readonly unknown[], options?: { readonly timeoutMs?: number }): Promise<number> {
    const result = await this.#enqueue(sql, values, options?.timeoutMs);
    const { affectedRows } = (result ?? {}) as { affectedRows?: unknown };
    return typeof affectedRows === 'number' ? affectedRows : 0;
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
    if (this.#closing) return;
    this.#closing = true;
    this.#leave();
    this.#listeners.clear();
    if (this.#lost === null) {
      await new Promise<void>((resolve) => {
        this.#socket.once('close', () => resolve());
        setTimeout(resolve, closeTimeoutMs).unref();
        this.#client.end(() => resolve());
      });
    }
    this.#destroy();
  }

  #enqueue(sql: string, values: readonly unknown[] | undefined, timeoutMs?: number): Promise<unknown> {
    const run = (): Promise<unknown> => this.#run(sql, values, timeoutMs ?? this.#statementTimeoutMs + 2_000);
    const result = this.#tail.then(run, run);
    this.#tail = result.catch(() => undefined);
    return result;
  }

  async #run(sql: string, values: readonly unknown[] | undefined, timeoutMs: number): Promise<unknown> {
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
      const answer = await this.#orLost(
        new Promise((resolve, reject) =>
          this.#client.query({ sql, values: values === undefined ? [] : [...values] }, (error, result: unknown) => {
            if (error === null) resolve(result);
            else reject(error);
          }),
        ),
      );
      if (this.#member !== null) this.#identity?.answered(this.#member, order);
      // What was found on one of two servers is not told: it is not known of which one.
      const lost = this.lost;
      if (lost !== null) throw lost;
      return answer;
    } catch (error) {
      const sorted = classify(error, this.db);
      if (isFatal(error)) this.lose(sorted);
      throw sorted;
    } finally {
      settled = true;
      clearTimeout(timer);
      clearTimeout(grace);
    }
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
    this.#client.destroy();
    this.#socket.destroy();
  }
}

function isFatal(error: unknown): boolean {
  return (error as { fatal?: unknown } | null)?.fatal === true;
}
