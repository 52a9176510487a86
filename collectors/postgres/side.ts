import { US_PER_MS, US_PER_S, type Clock, type Us } from '../../daemon/core/clock.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { LockgateError, reasonOf } from '../../daemon/core/errors.js';
import type { Observation } from '../../daemon/core/observation.js';
import type { SideSignal } from '../../daemon/core/signal.js';
import type { Collector, CollectorContext, Emit } from '../collector.js';
import { quoteIdent, type PgConnection } from './connection.js';
import { LazySession } from './lazy-session.js';

/** One row of `lockgate.direction`. */
export interface DirectionRow {
  migration: string;
  epoch: number;
  direction: string;
  /** RFC 3339, UTC. */
  changedAt: string | null;
  changedBy: string | null;
  reason: string | null;
}

/**
 * What a database says about the directions of migrations. `tableMissing`: the database answered, and there is no such
 * table, so that there can be no row either. With `rows` null nothing is known: a newer row may be there.
 */
export type DirectionSight =
  | { database: string; askedAt: Us; at: Us; rows: readonly DirectionRow[]; tableMissing: boolean; reason: null }
  | { database: string; at: Us; rows: null; reason: string };

/** What the collector is told besides its database. */
export interface SideOptions {
  /** Called at every look, at failed ones too; it must not throw. */
  readonly onDirection?: (sight: DirectionSight) => void;
  /** 1 s unless told. */
  readonly intervalMs?: number;
}

/** When a question was sent, where there was one, and when its answer or failure came. */
interface Taken {
  readonly askedAt?: Us;
  readonly at: Us;
}

const signals = [
  'reachable',
  'writable',
  'clock_skew',
  'longest_transaction',
  'connections',
] as const satisfies SideSignal[];

const defaultIntervalMs = 1_000;
const queryTimeoutMs = 1_000;
/** Below the client's own limit, so that a server that is merely slow keeps its session. */
const statementTimeoutMs = 900;
const connectTimeoutMs = 2_000;
/**
 * Attempts start at most 2 s apart, because each of them is the observation: with longer pauses the 0 of `reachable`
 * would be stale, and so unknown, before the next one.
 */
const attempts = { minMs: 500, maxMs: 2_000 };
/** The wall clock ran so differently from the monotonic clock during a query that it must have been set. */
const clockSetUs: Us = 50_000;

/** Faults of the daemon's own surroundings, and answers of something else than the server: they say nothing about it. */
const ownFaults: ReadonlySet<string> = new Set([
  ...['tls_file', 'pg_no_password', 'too_many_files', 'aborted'],
  ...['pg_pooler', 'pg_split_side'],
]);

interface SideRow {
  in_recovery: boolean;
  default_read_only: boolean;
  read_only: boolean;
  settings: string | null;
  clock_us: string;
  direction_table: boolean;
  direction_readable: boolean;
  direction_filtered: boolean;
  all_stats: boolean;
  connections: number;
  oldest_s: number | null;
  oldest_prepared_s: number | null;
}

// ALTER DATABASE or ALTER ROLE … SET reaches new sessions only, so what they would get is read along: when it changes,
// the session is opened anew and sees what any new session sees.
const sideSql = `
  SELECT pg_catalog.pg_is_in_recovery() AS in_recovery,
         pg_catalog.current_setting('default_transaction_read_only') = 'on' AS default_read_only,
         pg_catalog.current_setting('transaction_read_only') = 'on' AS read_only,
         (SELECT pg_catalog.string_agg(r.setdatabase || '/' || r.setrole || ' ' || c.setting, ', '
                                       ORDER BY r.setdatabase, r.setrole, c.setting)
            FROM pg_catalog.pg_db_role_setting r, pg_catalog.unnest(r.setconfig) AS c (setting)
           WHERE r.setdatabase IN (0, (SELECT d.oid FROM pg_catalog.pg_database d
                                        WHERE d.datname = pg_catalog.current_database()))
             AND r.setrole IN (0, (SELECT a.oid FROM pg_catalog.pg_roles a WHERE a.rolname = session_user))
             AND c.setting LIKE '%transaction_read_only=%') AS settings,
         t.oid IS NOT NULL AS direction_table,
         coalesce(pg_catalog.has_schema_privilege(t.relnamespace, 'USAGE')
              AND pg_catalog.has_table_privilege(t.oid, 'SELECT'), false) AS direction_readable,
         coalesce(pg_catalog.row_security_active(t.oid), false) AS direction_filtered,
         pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') AS all_stats,
         a.connections, a.oldest_s, p.oldest_prepared_s,
         (EXTRACT(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::pg_catalog.int8::pg_catalog.text AS clock_us
    FROM (SELECT 1) one
    LEFT JOIN (SELECT c.oid, c.relnamespace
                 FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid
                WHERE n.nspname = 'lockgate' AND c.relname = 'direction') t ON true
    CROSS JOIN (SELECT pg_catalog.count(*) FILTER (WHERE s.backend_type = 'client backend'
                         AND s.application_name NOT LIKE 'lockgate/%')::pg_catalog.int4 AS connections,
                       EXTRACT(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.min(s.xact_start)
                         FILTER (WHERE s.backend_xid IS NOT NULL))::pg_catalog.float8 AS oldest_s
                  FROM pg_catalog.pg_stat_activity s
                 WHERE s.datname = pg_catalog.current_database()) a
    CROSS JOIN (SELECT EXTRACT(epoch FROM pg_catalog.clock_timestamp()
                         - pg_catalog.min(x.prepared))::pg_catalog.float8 AS oldest_prepared_s
                  FROM pg_catalog.pg_prepared_xacts x
                 WHERE x.database = pg_catalog.current_database()) p`;

const directionSql = `
  SELECT migration, epoch::pg_catalog.text AS epoch, direction, changed_by AS "changedBy", reason,
         pg_catalog.to_char(changed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS "changedAt"
    FROM lockgate.direction`;

/** Reads `lockgate.direction`; rejects with a classified error when it cannot be read. */
export async function readDirection(
  connection: PgConnection,
  database: string,
  clock: Pick<Clock, 'monotonicNow'>,
): Promise<DirectionSight> {
  const askedAt = clock.monotonicNow();
  const rows = await connection.query<Omit<DirectionRow, 'epoch'> & { epoch: string }>(
    { name: 'direction', text: directionSql },
    undefined,
    { timeoutMs: queryTimeoutMs },
  );
  const sights = rows.map((each) => ({ ...each, epoch: Number(each.epoch) }));
  return { database, askedAt, at: clock.monotonicNow(), rows: sights, tableMissing: false, reason: null };
}

/** Watches one database: whether it answers, whether it accepts writes, its clock, and its directions. */
export class SideCollector implements Collector {
  readonly name: string;
  readonly #session: LazySession;
  #seen: { connection: PgConnection; settings: string | null } | null = null;
  #failing: string | null = null;

  constructor(
    private readonly database: DatabaseConfig,
    private readonly context: CollectorContext,
    private readonly options: SideOptions = {},
  ) {
    this.name = `${database.name}/side`;
    this.#session = new LazySession(
      database,
      { applicationName: `lockgate/${context.daemonId}/side`, statementTimeoutMs, connectTimeoutMs, attempts },
      context.clock,
    );
  }

  async run(emit: Emit, signal: AbortSignal): Promise<void> {
    const { clock } = this.context;
    const intervalMs = this.options.intervalMs ?? defaultIntervalMs;
    const stopped = (): boolean => signal.aborted;
    const onAbort = (): void => void this.#session.close();
    signal.addEventListener('abort', onAbort, { once: true });
    let failures = 0;
    try {
      while (!stopped()) {
        const startedAt = clock.monotonicNow();
        try {
          await this.#look(emit, signal);
          if (this.#failing !== null) this.context.log.info({ collector: this.name }, 'the database answers again');
          this.#failing = null;
          failures = 0;
        } catch (error) {
          if (stopped()) break;
          // What is not from a server is a bug, and the supervisor's matter.
          if (!(error instanceof LockgateError)) throw error;
          this.#fail(emit, error);
          failures += 1;
        }
        const restMs = Math.max(0, intervalMs - (clock.monotonicNow() - startedAt) / US_PER_MS);
        // A session that was lost is opened anew at once; after that each attempt has its pause.
        const pauseMs = failures === 0 ? restMs : failures === 1 ? 0 : attempts.minMs;
        await clock.sleep(Math.max(pauseMs, this.#session.pauseMs()), signal);
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
      await this.#session.close();
    }
  }

  down(reason: string): Observation[] {
    const at = this.context.clock.monotonicNow();
    this.options.onDirection?.({ database: this.database.name, at, rows: null, reason });
    return signals.map((signal) => this.#reading(signal, null, reason, { at }));
  }

  async #look(emit: Emit, signal: AbortSignal): Promise<void> {
    const { clock } = this.context;
    let connection = await this.#session.get(signal);
    let answer = await this.#ask(connection);
    if (this.#seen?.connection === connection && this.#seen.settings !== answer.row.settings) {
      await this.#session.close();
      connection = await this.#session.get(signal);
      answer = await this.#ask(connection);
    }
    this.#seen = { connection, settings: answer.row.settings };
    if (signal.aborted) return;

    const { row, askedAt, at, skew } = answer;
    const taken = { askedAt, at };
    emit(this.#reading('reachable', 1, null, taken));
    const obstacle = obstacleOf(row);
    emit(this.#reading('writable', obstacle === null ? 1 : 0, obstacle, taken));
    emit(this.#reading('clock_skew', skew.value, skew.reason, taken));
    this.#activity(emit, row, taken);

    const { onDirection } = this.options;
    if (onDirection === undefined) return;
    const database = this.database.name;
    if (!row.direction_table) {
      onDirection({ database, askedAt, at, rows: [], tableMissing: true, reason: null });
      return;
    }
    const hidden = this.#directionHidden(row);
    if (hidden !== null) {
      onDirection({ database, at, rows: null, reason: hidden });
      return;
    }
    try {
      onDirection(await readDirection(connection, database, clock));
    } catch (error) {
      if (!(error instanceof LockgateError)) throw error;
      onDirection({ database, at: clock.monotonicNow(), rows: null, reason: reasonOf(error) });
      // The side itself has answered; whether it still does is the next look's question.
    }
  }

  async #ask(
    connection: PgConnection,
  ): Promise<{ row: SideRow; askedAt: Us; at: Us; skew: { value: number | null; reason: string } }> {
    const { clock } = this.context;
    const [wallBefore, before] = [clock.wallNow(), clock.monotonicNow()];
    const [row] = await connection.query<SideRow>({ name: 'side', text: sideSql }, undefined, {
      timeoutMs: queryTimeoutMs,
    });
    const [wallAfter, at] = [clock.wallNow(), clock.monotonicNow()];
    if (row === undefined) throw new RangeError('a statement that always returns a row returned none');
    return {
      row,
      askedAt: before,
      at,
      skew: skewOf(Number(row.clock_us), { wallBefore, wallAfter, roundTripUs: at - before }),
    };
  }

  /** Sessions and their transactions; the server hides those of others from a user without the privilege. */
  #activity(emit: Emit, row: SideRow, taken: Taken): void {
    const { name, address } = this.database;
    const hidden = row.all_stats
      ? null
      : `other sessions on ${name} are hidden; GRANT pg_read_all_stats TO ${quoteIdent(address.user)}`;
    const oldest = Math.max(0, row.oldest_s ?? 0, row.oldest_prepared_s ?? 0);
    const prepared = row.oldest_prepared_s !== null && row.oldest_prepared_s >= (row.oldest_s ?? 0);
    // When a prepared transaction began is not known any more, only when it was prepared.
    const remark = prepared ? 'a prepared transaction (pg_prepared_xacts); counted from when it was prepared' : null;
    emit(this.#reading('longest_transaction', hidden === null ? oldest : null, hidden ?? remark, taken));
    emit(this.#reading('connections', hidden === null ? row.connections : null, hidden, taken));
  }

  #fail(emit: Emit, error: LockgateError): void {
    const at = this.context.clock.monotonicNow();
    const reason = reasonOf(error);
    if (this.#failing !== reason) this.context.log.warn({ collector: this.name }, `not reachable: ${reason}`);
    this.#failing = reason;
    const notAsked = ownFaults.has(error.code);
    emit(this.#reading('reachable', notAsked ? null : 0, reason, { at }));
    for (const signal of signals) if (signal !== 'reachable') emit(this.#reading(signal, null, reason, { at }));
    this.options.onDirection?.({ database: this.database.name, at, rows: null, reason });
  }

  #directionHidden(row: SideRow): string | null {
    const { name, address } = this.database;
    if (!row.direction_readable) {
      return `lockgate.direction on ${name} may not be read; GRANT USAGE ON SCHEMA lockgate TO ${quoteIdent(address.user)}; GRANT SELECT ON lockgate.direction TO ${quoteIdent(address.user)}`;
    }
    if (row.direction_filtered) {
      return `row security on ${name} may hide rows of lockgate.direction; ALTER TABLE lockgate.direction DISABLE ROW LEVEL SECURITY`;
    }
    return null;
  }

  #reading(signal: SideSignal, value: number | null, reason: string | null, taken: Taken): Observation {
    return { kind: 'side-reading', database: this.database.name, signal, value, reason, ...taken };
  }
}

/** Why the database does not accept writes; null when it does. */
export function obstacleOf(
  row: Pick<SideRow, 'in_recovery' | 'default_read_only' | 'read_only' | 'settings'>,
): string | null {
  if (row.in_recovery) return 'in recovery: a standby accepts no writes';
  if (row.default_read_only) {
    const where = row.settings === null ? '' : ` (${row.settings})`;
    return `default_transaction_read_only is on${where}; sessions opened earlier, and those that override it, can still write`;
  }
  if (row.read_only) return 'transaction_read_only is on';
  return null;
}

/**
 * Database clock minus daemon clock, in seconds. The server read its clock at some moment of the round trip, so the
 * middle of it is off by at most half of it, which the reason says.
 */
export function skewOf(
  databaseUs: number,
  taken: { wallBefore: number; wallAfter: number; roundTripUs: Us },
): { value: number | null; reason: string } {
  const { wallBefore, wallAfter, roundTripUs } = taken;
  const wallUs = (wallAfter - wallBefore) * US_PER_MS;
  if (Math.abs(wallUs - roundTripUs) > clockSetUs) {
    return { value: null, reason: "the daemon's own clock was set during the measurement" };
  }
  const middleUs = wallBefore * US_PER_MS + roundTripUs / 2;
  const uncertainMs = Math.round(roundTripUs / 2 / 10) / 100;
  return {
    value: Math.round(databaseUs - middleUs) / US_PER_S,
    reason: `± ${String(uncertainMs)} ms (half the round trip)`,
  };
}
