/** What fences and changes of direction ask of one PostgreSQL database. */
import type { CollectorContext, FencePlace, FenceSight, SidePort, SideStand } from '../collector.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import type { DirectionRow } from '../../daemon/core/direction.js';
import { SourceError, TransientError, messageOf } from '../../daemon/core/errors.js';
import type { DirectionRows } from '../../daemon/core/observation.js';
import type { LinkId } from '../../daemon/core/signal.js';
import { connect, quoteIdent, type ConnectOptions, type PgConnection } from './connection.js';
import { writeDirection } from './direction-write.js';
import {
  readIdentity,
  readMarker,
  readPrepared,
  readRecovery,
  readSchema,
  readStand,
  readWriters,
} from './fence-views.js';
import { errorCodeOf, placeOf } from './pg-errors.js';
import { SharedSession, orAborted } from './shared-session.js';

const connectTimeoutMs = 3_000;
/** A look is soon repeated; below the client's own limit, so that a server that is merely slow keeps its session. */
const look = { statementTimeoutMs: 1_200, queryTimeoutMs: 1_500 } as const;
/** The catalogs of a large schema take longer, and are read once. */
const errand = { statementTimeoutMs: 3_000, queryTimeoutMs: 3_500 } as const;
const attempts = { minMs: 200, maxMs: 2_000 } as const;

const insertSql = `
  INSERT INTO lockgate.heartbeat (daemon, link, run, seq, sent_at)
  VALUES ($1, $2, $3, 1, pg_catalog.clock_timestamp())`;

/**
 * The port of one database. Looks go over one session that stays open; what is asked once, or depends on what a new
 * session may do, over one of its own.
 */
export class PostgresSide implements SidePort {
  readonly database: string;
  readonly #looks: SharedSession;
  readonly #stands: SharedSession;
  #closing = new AbortController();
  /** The server as it was when it was last seen as a standby, and which start of it that was. */
  #standby: { identity: string; started: string } | null = null;

  constructor(
    private readonly db: DatabaseConfig,
    private readonly context: CollectorContext,
  ) {
    this.database = db.name;
    const shared = (statementTimeoutMs: number): SharedSession =>
      new SharedSession(db, { ...this.#options(statementTimeoutMs), attempts }, context.clock);
    this.#looks = shared(look.statementTimeoutMs);
    this.#stands = shared(errand.statementTimeoutMs);
  }

  /**
   * Over a session of its own: what made the database read-only a moment ago (ALTER DATABASE … SET) binds new sessions
   * only. The schema is read first, so that a change of it after that is found when it is read again.
   */
  async place(link: LinkId, marker: string, signal: AbortSignal): Promise<FencePlace> {
    const { clock, daemonId } = this.context;
    const options = { ...this.#options(errand.statementTimeoutMs), settings: { synchronous_commit: 'local' } };
    return this.#once(options, signal, async (connection) => {
      const schema = await readSchema(connection, errand.queryTimeoutMs);
      const askedAt = clock.monotonicNow();
      const { position, identity, readOnly } = await readStand(connection, this.db, look.queryTimeoutMs);
      const at = clock.monotonicNow();
      const place = { position, identity, schema, askedAt };
      if (readOnly || signal.aborted) return { ...place, marked: false, at };
      try {
        const values = [daemonId, link, marker];
        await connection.query(insertSql, values, { timeoutMs: look.queryTimeoutMs });
      } catch (error) {
        // Made read-only since it was asked.
        if (errorCodeOf(error) === '25006') return { ...place, marked: false, at };
        throw this.#markerFault(error);
      }
      return { ...place, marked: true, at: clock.monotonicNow() };
    });
  }

  async lookAtSource(signal: AbortSignal): Promise<FenceSight> {
    const { clock } = this.context;
    return this.#looks.use(async (connection) => {
      const askedAt = clock.monotonicNow();
      const { identity, open } = await readWriters(connection, this.db, look.queryTimeoutMs);
      const prepared = await readPrepared(connection, look.queryTimeoutMs);
      return { identity, marker: null, open: [...open, ...prepared], askedAt, at: clock.monotonicNow() };
    }, signal);
  }

  async lookAtTarget(link: LinkId, marker: string | null, signal: AbortSignal): Promise<FenceSight> {
    const { clock, daemonId } = this.context;
    return this.#looks.use(async (connection) => {
      const askedAt = clock.monotonicNow();
      const identity = await readIdentity(connection, this.db, look.queryTimeoutMs);
      const was = await this.#formerly(connection, identity);
      const key = { daemon: daemonId, link, run: marker ?? '' };
      const there = marker === null ? null : await this.#isThere(connection, key);
      const open = await readPrepared(connection, look.queryTimeoutMs);
      return { identity, ...(was === null ? {} : { was }), marker: there, open, askedAt, at: clock.monotonicNow() };
    }, signal);
  }

  /**
   * What a server was as a standby, if it has been promoted since this port has seen it as one. Of the same start only:
   * a server that has crashed since has replayed WAL of its own as well.
   */
  async #formerly(connection: PgConnection, identity: string): Promise<Required<FenceSight>['was'] | null> {
    const { inRecovery, started, replayed } = await readRecovery(connection, look.queryTimeoutMs);
    if (inRecovery) {
      this.#standby = { identity, started };
      return null;
    }
    const standby = this.#standby;
    if (standby === null || standby.started !== started || replayed === null) return null;
    return { identity: standby.identity, applied: replayed };
  }

  async stand(signal: AbortSignal): Promise<SideStand> {
    const { clock } = this.context;
    return this.#stands.use(async (connection) => {
      const askedAt = clock.monotonicNow();
      const { position, identity } = await readStand(connection, this.db, look.queryTimeoutMs);
      return { position, identity, schema: await readSchema(connection, errand.queryTimeoutMs), askedAt };
    }, signal);
  }

  async declare(row: DirectionRow, signal: AbortSignal): Promise<DirectionRows> {
    const { clock, log } = this.context;
    const options = { ...this.#options(look.statementTimeoutMs), settings: { synchronous_commit: 'on' } };
    return this.#once(options, signal, (connection) => {
      const cancel = async (pid: number): Promise<void> => {
        log.warn(
          { database: this.database },
          'a synchronous standby does not answer: the direction is not waited for there',
        );
        await this.#looks.use((c) => c.query('SELECT pg_catalog.pg_cancel_backend($1)', [pid]), this.#closing.signal);
      };
      return writeDirection({ db: this.db, clock, connection, cancel }, row);
    });
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#closing = new AbortController();
    await Promise.all([this.#looks.close(), this.#stands.close()]);
  }

  #options(statementTimeoutMs: number): ConnectOptions {
    return { applicationName: `lockgate/${this.context.daemonId}/fence`, statementTimeoutMs, connectTimeoutMs };
  }

  /** Does `work` over a session of its own, which is closed then. */
  async #once<R>(
    options: ConnectOptions,
    signal: AbortSignal,
    work: (connection: PgConnection) => Promise<R>,
  ): Promise<R> {
    const either = AbortSignal.any([signal, this.#closing.signal]);
    const connection = await connect(this.db, options, either);
    try {
      return await orAborted(work(connection), this.db, either);
    } finally {
      await connection.close();
    }
  }

  async #isThere(connection: PgConnection, key: { daemon: string; link: LinkId; run: string }): Promise<boolean> {
    try {
      return await readMarker(connection, this.db, key, look.queryTimeoutMs);
    } catch (error) {
      if (errorCodeOf(error) !== '42501') throw error;
      throw this.#lacks('may not be read', 'SELECT', error);
    }
  }

  #markerFault(error: unknown): unknown {
    if (errorCodeOf(error) === '42501') return this.#lacks('may not be written', 'INSERT', error);
    if (errorCodeOf(error) !== '23505') return error;
    const what = `${placeOf(this.db)}: this marker was committed before, by an attempt that was given up`;
    return new TransientError('marker_taken', what, 'place another fence', { cause: error });
  }

  #lacks(what: string, privilege: string, cause: unknown): SourceError {
    const user = quoteIdent(this.db.address.user);
    return new SourceError(
      'pg_privilege',
      `${placeOf(this.db)}: lockgate.heartbeat ${what}: ${messageOf(cause)}`,
      `GRANT USAGE ON SCHEMA lockgate TO ${user}; GRANT ${privilege} ON TABLE lockgate.heartbeat TO ${user}`,
      { cause },
    );
  }
}
