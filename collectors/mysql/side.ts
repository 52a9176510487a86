import { reasonOf } from '../../daemon/core/errors.js';
import { US_PER_MS, US_PER_S, type Us } from '../../daemon/core/clock.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import type { LockgateError } from '../../daemon/core/errors.js';
import type { Observation } from '../../daemon/core/observation.js';
import type { SideSignal } from '../../daemon/core/signal.js';
import type { Collector, CollectorContext, Emit } from '../collector.js';
import { keepAsking } from '../session/keep-asking.js';
import { LazySession } from '../session/lazy-session.js';
import { connect, type MysqlConnection } from './connection.js';
import { readDirection } from './direction-rows.js';
import { errnoOf } from './mysql-errors.js';
import { reopening } from './reopen.js';

const signals = [
  'reachable',
  'writable',
  'clock_skew',
  'longest_transaction',
  'connections',
] as const satisfies SideSignal[];

const intervalMs = 1_000;
const queryTimeoutMs = 1_000;
const connectOptions = { statementTimeoutMs: 900, connectTimeoutMs: 2_000 };
/** Attempts start at most 2 s apart, because each of them is the observation and must not be stale before the next. */
const attempts = { minMs: 500, maxMs: 2_000 };
/** The wall clock ran so differently from the monotonic clock during a query that it must have been set. */
const clockSetUs: Us = 50_000;
/** Faults of the daemon's own surroundings: they say nothing about the server. */
const ownFaults: ReadonlySet<string> = new Set(['tls_file', 'too_many_files', 'aborted', 'mysql_split_side']);
const noPrivilege: ReadonlySet<number | null> = new Set([1044, 1142, 1143, 1227, 1401]);

interface SideRow {
  read_only: string | number;
  super_read_only: string | number;
  innodb_read_only: string | number;
  /** In UTC: local time is ambiguous in one hour of the year. */
  clock: string | number;
}

interface ActivityRow {
  connections: string | number;
  oldest_us: string | number | null;
}

/** Watches one server: whether it answers, whether it accepts writes, its clock, its sessions, and its directions. */
export class MysqlSideCollector implements Collector {
  readonly name: string;
  readonly #session: LazySession<MysqlConnection>;
  #prepared = new Map<string, Us>();
  #failing: string | null = null;

  constructor(
    private readonly db: DatabaseConfig,
    private readonly context: CollectorContext,
  ) {
    this.name = `${db.name}/side`;
    const applicationName = `lockgate/${context.daemonId}/side`;
    this.#session = new LazySession(
      reopening((signal) => openSide(db, applicationName, signal)),
      context.clock,
      attempts,
    );
  }

  run(emit: Emit, signal: AbortSignal): Promise<void> {
    return keepAsking(
      {
        clock: this.context.clock,
        session: this.#session,
        intervalMs,
        retryMs: attempts.minMs,
        look: (aborted) => this.#look(emit, aborted),
        failed: (error) => this.#fail(emit, error),
      },
      signal,
    );
  }

  down(reason: string): Observation[] {
    const at = this.#now();
    return [
      ...signals.map((signal) => this.#reading(signal, null, reason, at)),
      { kind: 'direction-rows', database: this.db.name, rows: null, reason, at },
    ];
  }

  #now(): Us {
    return this.context.clock.monotonicNow();
  }

  async #look(emit: Emit, signal: AbortSignal): Promise<void> {
    const { clock } = this.context;
    const stopped = (): boolean => signal.aborted;
    const connection = await this.#session.get(signal);
    const superReadOnly = connection.version.flavour === 'mysql' ? '@@GLOBAL.super_read_only' : '0';
    const [wallBefore, before] = [clock.wallNow(), clock.monotonicNow()];
    const [row] = await connection.query<SideRow>(
      `SELECT @@GLOBAL.read_only AS read_only, ${superReadOnly} AS super_read_only,
        @@GLOBAL.innodb_read_only AS innodb_read_only,
        TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) AS clock`,
      undefined,
      { timeoutMs: queryTimeoutMs },
    );
    const [wallAfter, at] = [clock.wallNow(), clock.monotonicNow()];
    if (row === undefined) throw new RangeError('a statement that always returns a row returned none');
    if (stopped()) return;
    if (this.#failing !== null) this.context.log.info({ collector: this.name }, 'the database answers again');
    this.#failing = null;
    emit(this.#reading('reachable', 1, null, at, before));
    const obstacle = obstacleOf(row);
    emit(this.#reading('writable', obstacle === null ? 1 : 0, obstacle, at, before));
    const skew = skewOf(Number(row.clock), { wallBefore, wallAfter, roundTripUs: at - before });
    emit(this.#reading('clock_skew', skew.value, skew.reason, at, before));
    const activity = await this.#activity(connection);
    if (!stopped()) for (const observation of activity) emit(observation);
    const direction = await readDirection(connection, this.db, clock, queryTimeoutMs);
    if (!stopped()) emit(direction);
  }

  /** Sessions and their transactions; both are hidden from a user without the privilege, so nothing is read as none. */
  async #activity(connection: MysqlConnection): Promise<Observation[]> {
    const user = `'${this.db.address.user}'@'…'`;
    const unknown = (reason: string): Observation[] =>
      (['longest_transaction', 'connections'] as const).map((s) => this.#reading(s, null, reason, this.#now()));
    const askedAt = this.#now();
    try {
      const [row] = await connection.query<ActivityRow>(activitySql, undefined, { timeoutMs: queryTimeoutMs });
      if (!(await mayProcess(connection))) {
        return unknown(`other sessions on ${this.db.name} are hidden; GRANT PROCESS ON *.* TO ${user}`);
      }
      const at = this.#now();
      const connections = this.#reading('connections', Number(row?.connections ?? 0), null, at, askedAt);
      const openUs = Number(row?.oldest_us ?? 0);
      const prepared = await this.#oldestPrepared(connection);
      if (typeof prepared === 'string') return [connections, this.#reading('longest_transaction', null, prepared, at)];
      const oldest = Math.max(0, openUs, prepared) / US_PER_S;
      const remark =
        prepared > openUs ? 'a prepared transaction (XA RECOVER); counted from when it was first seen' : null;
      return [connections, this.#reading('longest_transaction', oldest, remark, at, askedAt)];
    } catch (error) {
      if (noPrivilege.has(errnoOf(error))) return unknown(reasonOf(error));
      throw error;
    }
  }

  /** Microseconds since the oldest prepared transaction was first seen, 0 when there is none; a text when they are hidden. */
  async #oldestPrepared(connection: MysqlConnection): Promise<number | string> {
    let rows: { formatID: string | number; data: string }[];
    try {
      rows = await connection.query('XA RECOVER', undefined, { timeoutMs: queryTimeoutMs });
    } catch (error) {
      if (!noPrivilege.has(errnoOf(error))) throw error;
      return `prepared transactions on ${this.db.name} are hidden; GRANT XA_RECOVER_ADMIN ON *.* TO '${this.db.address.user}'@'…'`;
    }
    const now = this.#now();
    const before = this.#prepared;
    this.#prepared = new Map(
      rows.slice(0, 1_000).map((row) => {
        const key = `${row.formatID} ${row.data}`;
        return [key, before.get(key) ?? now];
      }),
    );
    return this.#prepared.size === 0 ? 0 : Math.max(1, now - Math.min(...this.#prepared.values()));
  }

  #fail(emit: Emit, error: LockgateError): void {
    const at = this.#now();
    const reason = reasonOf(error);
    if (this.#failing !== reason) this.context.log.warn({ collector: this.name }, `not reachable: ${reason}`);
    this.#failing = reason;
    emit(this.#reading('reachable', ownFaults.has(error.code) ? null : 0, reason, at));
    for (const observation of this.down(reason).slice(1)) emit(observation);
  }

  #reading(signal: SideSignal, value: number | null, reason: string | null, at: Us, askedAt = at): Observation {
    return { kind: 'side-reading', database: this.db.name, signal, value, reason, askedAt, at };
  }
}

// InnoDB shows the start of a transaction in the time zone of the server's system, so the session takes that zone too.
async function openSide(db: DatabaseConfig, applicationName: string, signal: AbortSignal): Promise<MysqlConnection> {
  const connection = await connect(db, { applicationName, ...connectOptions }, signal);
  try {
    await connection.execute("SET SESSION time_zone = 'SYSTEM'");
    return connection;
  } catch (error) {
    await connection.close();
    throw error;
  }
}

// Binlog dumps are replication; our own sessions are told by their user, whose name is all that every version shows.
const activitySql = `
  SELECT (SELECT COUNT(*) FROM information_schema.PROCESSLIST
           WHERE COMMAND NOT IN ('Binlog Dump', 'Binlog Dump GTID', 'Daemon', 'Slave_IO', 'Slave_SQL', 'Slave_worker')
             AND USER NOT IN ('system user', 'event_scheduler', SUBSTRING_INDEX(USER(), '@', 1))) AS connections,
         (SELECT MAX(TIMESTAMPDIFF(MICROSECOND, trx_started, SYSDATE(6))) FROM information_schema.INNODB_TRX
           WHERE trx_rows_modified > 0 OR trx_mysql_thread_id = 0) AS oldest_us`;

/** Whether the session sees all others: PROCESS, or all privileges. Roles count when they are active. */
export async function mayProcess(connection: MysqlConnection, timeoutMs = queryTimeoutMs): Promise<boolean> {
  const rows = await connection.query<{ PRIVILEGE_TYPE: string }>(
    "SELECT PRIVILEGE_TYPE FROM information_schema.USER_PRIVILEGES WHERE PRIVILEGE_TYPE = 'PROCESS'",
    undefined,
    { timeoutMs },
  );
  return rows.length > 0;
}

/** Why the server does not accept writes; null when it does. */
export function obstacleOf(row: Pick<SideRow, 'read_only' | 'super_read_only' | 'innodb_read_only'>): string | null {
  if (Number(row.innodb_read_only) !== 0) return 'innodb_read_only is on';
  if (Number(row.super_read_only) !== 0) return 'super_read_only is on';
  if (Number(row.read_only) !== 0) return 'read_only is on; users with SUPER or READ ONLY ADMIN can still write';
  return null;
}

/**
 * Database clock minus daemon clock, in seconds. The server read its clock at some moment of the round trip, so the
 * middle of it is off by at most half of it, which the reason says.
 */
function skewOf(
  databaseUs: number,
  taken: { wallBefore: number; wallAfter: number; roundTripUs: Us },
): { value: number | null; reason: string } {
  const { wallBefore, wallAfter, roundTripUs } = taken;
  const wallUs = (wallAfter - wallBefore) * US_PER_MS;
  if (Math.abs(wallUs - roundTripUs) > clockSetUs) {
    return { value: null, reason: "the daemon's own clock was set during the measurement" };
  }
  const middleUs = ((wallBefore + wallAfter) / 2) * US_PER_MS;
  const uncertainMs = Math.round(roundTripUs / 2 / 10) / 100;
  return {
    value: Math.round(databaseUs - middleUs) / US_PER_S,
    reason: `± ${String(uncertainMs)} ms (half the round trip)`,
  };
}
