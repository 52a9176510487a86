import { US_PER_S, type Us } from '../../daemon/core/clock.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import type { DirectionRow } from '../../daemon/core/direction.js';
import { InvariantError, SourceError, TransientError } from '../../daemon/core/errors.js';
import type { DirectionRows } from '../../daemon/core/observation.js';
import type { Position } from '../../daemon/core/position.js';
import type { LinkId } from '../../daemon/core/signal.js';
import type { CollectorContext, FencePlace, FenceSight, SidePort, SideStand } from '../collector.js';
import { placeOf } from '../session/faults.js';
import { LazySession } from '../session/lazy-session.js';
import { Budget } from './budget.js';
import { connect, type ConnectOptions, type MysqlConnection } from './connection.js';
import { writeDirection } from './declare-direction.js';
import { readDirection } from './direction-rows.js';
import { errnoOf } from './mysql-errors.js';
import { OpenWork } from './open-work.js';
import { reopening } from './reopen.js';
import { readChannels } from './replica-status.js';
import { readSchemaDigest } from './schema-digest.js';
import { obstacleOf } from './side.js';
import { readFencePosition } from './source-position.js';

/** One look, list of transactions made anew included. */
const lookMs = 2_500;
/** Placing and standing ask for the whole catalog. */
const placeMs = 8_000;
const eachMs = 1_200;
const connectTimeoutMs = 2_000;
/** Of the columns of the heartbeat table. */
const longestRun = 40;
/** A heartbeat that was written so lately shows that what is written on a replica is carried back. */
const beatingSeconds = 15;
const readOnlyErrors: ReadonlySet<number | null> = new Set([1290, 1836]);

/** A MySQL or MariaDB server as fences and changes of direction ask it. */
export class MysqlFenceSide implements SidePort {
  readonly database: string;
  /** Places, stands: statements that may take long on a large catalog. */
  readonly #placing: LazySession<MysqlConnection>;
  readonly #looking: LazySession<MysqlConnection>;
  readonly #work: OpenWork;
  #looks: Promise<unknown> = Promise.resolve();
  #reopenedAt: Us = -Infinity;

  constructor(
    private readonly db: DatabaseConfig,
    private readonly context: CollectorContext,
  ) {
    this.database = db.name;
    this.#work = new OpenWork(db, context.clock);
    const lazy = (statementTimeoutMs: number): LazySession<MysqlConnection> =>
      new LazySession(
        reopening((signal) => connect(db, this.#options(statementTimeoutMs), signal)),
        context.clock,
        { minMs: 200, maxMs: 1_000 },
      );
    this.#placing = lazy(5_000);
    this.#looking = lazy(eachMs);
  }

  async place(link: LinkId, marker: string, signal: AbortSignal): Promise<FencePlace> {
    if (!/^fence-[\x21-\x7e]+$/.test(marker) || marker.length > longestRun) {
      throw new InvariantError(`not the name of a fence's marker: ${marker}`);
    }
    const budget = this.#budget(placeMs, signal);
    const connection = await this.#placing.get(signal);
    const carried = await this.#isCarried(connection, link, budget);
    // Before the position: what is changed after it must not be in it.
    const schema = await this.#privileged(this.#placing, readSchemaDigest(connection, this.db, budget));
    // Our user may be one of those that read_only does not bind.
    const mayMark = carried && (await this.#obstacle(connection, budget)) === null;
    const askedAt = this.context.clock.monotonicNow();
    const position = await this.#position(connection, budget);
    const marked = mayMark && (await this.#mark(connection, link, marker, budget));
    const at = this.context.clock.monotonicNow();
    return { position, marked, identity: connection.home, schema, askedAt, at };
  }

  lookAtSource(signal: AbortSignal): Promise<FenceSight> {
    return this.#look(signal, async (connection, budget) => ({
      marker: null,
      open: [
        // In this order: what has been prepared meanwhile is in the list that comes second.
        ...(await this.#work.writing(connection, budget)),
        ...(await this.#work.prepared(connection, budget)),
      ],
    }));
  }

  lookAtTarget(link: LinkId, marker: string | null, signal: AbortSignal): Promise<FenceSight> {
    return this.#look(signal, async (connection, budget) => ({
      marker: marker === null ? null : await this.#isThere(connection, link, marker, budget),
      open: await this.#work.prepared(connection, budget),
    }));
  }

  async stand(signal: AbortSignal): Promise<SideStand> {
    const budget = this.#budget(placeMs, signal);
    const connection = await this.#placing.get(signal);
    const askedAt = this.context.clock.monotonicNow();
    const position = await this.#position(connection, budget);
    // After the position: what was changed before it must be in it.
    const schema = await this.#privileged(this.#placing, readSchemaDigest(connection, this.db, budget));
    return { position, identity: connection.home, schema, askedAt };
  }

  async declare(row: DirectionRow, signal: AbortSignal): Promise<DirectionRows> {
    const budget = this.#budget(placeMs, signal);
    // A session of its own, which may write beside the binlog: no marker must ever be written by it.
    const connection = await connect(this.db, this.#options(eachMs), signal);
    try {
      const obstacle = await this.#obstacle(connection, budget);
      if (obstacle !== null) throw this.#readOnly(obstacle);
      await writeDirection(connection, this.db, row, this.context.log, budget);
      const answer = await readDirection(connection, this.db, this.context.clock, budget.nextMs());
      if (answer.rows !== null) return answer;
      throw new TransientError(
        'mysql_direction_unread',
        `${placeOf(this.db)}: the direction was written, and cannot be read back: ${answer.reason ?? 'no reason given'}`,
      );
    } catch (error) {
      if (readOnlyErrors.has(errnoOf(error))) throw this.#readOnly('read_only is on', error);
      throw error;
    } finally {
      await connection.close();
    }
  }

  async close(): Promise<void> {
    await Promise.all([this.#placing.close(), this.#looking.close()]);
  }

  #options(statementTimeoutMs: number): ConnectOptions {
    return { applicationName: `lockgate/${this.context.daemonId}/fence`, statementTimeoutMs, connectTimeoutMs };
  }

  #budget(totalMs: number, signal: AbortSignal): Budget {
    return new Budget(this.db, this.context.clock, totalMs, eachMs, signal);
  }

  /** Looks one after the other, because a look has a transaction of its own. */
  #look(
    signal: AbortSignal,
    see: (connection: MysqlConnection, budget: Budget) => Promise<Pick<FenceSight, 'marker' | 'open'>>,
  ): Promise<FenceSight> {
    const budget = this.#budget(lookMs, signal);
    const look = async (): Promise<FenceSight> => {
      const connection = await this.#looking.get(signal);
      const askedAt = this.context.clock.monotonicNow();
      const { marker, open } = await this.#privileged(this.#looking, see(connection, budget));
      const at = this.context.clock.monotonicNow();
      return { identity: connection.home, marker, open, askedAt, at };
    };
    const result = this.#looks.then(look, look);
    this.#looks = result.catch(() => undefined);
    return result;
  }

  /** A session keeps the privileges that it began with, so that one which lacks some is opened anew, but not all the time. */
  async #privileged<T>(session: LazySession<MysqlConnection>, work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      const now = this.context.clock.monotonicNow();
      if (error instanceof SourceError && now - this.#reopenedAt > US_PER_S) {
        this.#reopenedAt = now;
        await session.close();
      }
      throw error;
    }
  }

  async #position(connection: MysqlConnection, budget: Budget): Promise<Position> {
    const position = await readFencePosition(connection, budget.nextMs());
    if (position !== null) return position;
    throw new SourceError(
      'binlog_off',
      `${placeOf(this.db)}: the server keeps no binlog, so that it has no position`,
      'start the server with log_bin in its configuration',
    );
  }

  /** Whether what is written here is a transaction that no server lacks which ought to have it. */
  async #isCarried(connection: MysqlConnection, link: LinkId, budget: Budget): Promise<boolean> {
    const channels = await readChannels(connection, budget.nextMs());
    if (channels.length === 0) return true;
    // On a replica it is written where heartbeats of the link are, because their writer knows what carries them back.
    const [row] = await connection.query<{ beating: string | number }>(
      `SELECT EXISTS (SELECT 1 FROM lockgate.heartbeat WHERE daemon = ? AND link = ? AND run NOT LIKE 'fence-%'
          AND sent_at > UTC_TIMESTAMP(6) - INTERVAL ? SECOND) AS beating`,
      [this.context.daemonId, link, beatingSeconds],
      { timeoutMs: budget.nextMs() },
    );
    return Number(row?.beating) === 1;
  }

  async #mark(connection: MysqlConnection, link: LinkId, marker: string, budget: Budget): Promise<boolean> {
    try {
      await connection.execute(
        'INSERT INTO lockgate.heartbeat (daemon, link, run, seq, sent_at) VALUES (?, ?, ?, 1, UTC_TIMESTAMP(6))',
        [this.context.daemonId, link, marker],
        { timeoutMs: budget.nextMs() },
      );
      return true;
    } catch (error) {
      // It was made read-only since it was asked.
      if (readOnlyErrors.has(errnoOf(error))) return false;
      throw error;
    }
  }

  async #isThere(connection: MysqlConnection, link: LinkId, marker: string, budget: Budget): Promise<boolean> {
    const rows = await connection.query<object>(
      'SELECT 1 FROM lockgate.heartbeat WHERE daemon = ? AND link = ? AND run = ? AND seq = 1',
      [this.context.daemonId, link, marker],
      { timeoutMs: budget.nextMs() },
    );
    return rows.length > 0;
  }

  async #obstacle(connection: MysqlConnection, budget: Budget): Promise<string | null> {
    const superReadOnly = connection.version.flavour === 'mysql' ? '@@GLOBAL.super_read_only' : '0';
    const [row] = await connection.query<Parameters<typeof obstacleOf>[0]>(
      `SELECT @@GLOBAL.read_only AS read_only, ${superReadOnly} AS super_read_only,
        @@GLOBAL.innodb_read_only AS innodb_read_only`,
      undefined,
      { timeoutMs: budget.nextMs() },
    );
    return row === undefined ? 'it does not say whether it takes writes' : obstacleOf(row);
  }

  #readOnly(obstacle: string, cause?: unknown): SourceError {
    return new SourceError(
      'mysql_read_only',
      `${placeOf(this.db)}: ${obstacle}, so that no direction can be written`,
      'take read_only off first (SET GLOBAL read_only = OFF), then declare again',
      { cause },
    );
  }
}
