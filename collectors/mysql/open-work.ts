/**
 * What may still commit on a server: open write transactions, statements that are just being carried out, prepared
 * transactions. Whatever cannot be seen is an error here, never "none".
 */
import { US_PER_MS, type Clock, type Us } from '../../daemon/core/clock.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { SourceError, TransientError } from '../../daemon/core/errors.js';
import { placeOf } from '../session/faults.js';
import type { Budget } from './budget.js';
import type { MysqlConnection } from './connection.js';
import { errnoOf } from './mysql-errors.js';
import { mayProcess } from './side.js';

/** A row of InnoDB's list of transactions. */
export interface TransactionRow {
  /** Of the session; 0 for a prepared transaction that has none any more. */
  readonly id: string | number;
  readonly modified: string | number;
  readonly locks: string | number;
  readonly seconds: string | number | null;
  /** The beginning of the statement that it is at; null between statements. */
  readonly query: string | null;
}

/** A session that is there, with the beginning of the statement that it is at. */
export interface SessionRow {
  readonly id: string | number;
  readonly user: string;
  readonly command: string;
  readonly seconds: string | number | null;
  readonly info: string | null;
}

/**
 * InnoDB makes its list of transactions anew only when nobody has read it for 100 ms: whoever looks more often is shown
 * the same old list for as long as he goes on (measured on MySQL 9.7 and MariaDB 10.11).
 */
const listRestsMs = 105;
/** Others read it too, and two that wait equally long would meet again and again. */
const jitterMs = 120;
const mostNamed = 10;
const noPrivilege: ReadonlySet<number | null> = new Set([1044, 1142, 1143, 1227, 1401]);
/** Statements of lockgate's, any daemon's: each is a transaction of its own, on tables of its own. */
const OURS = /^\s*(?:insert\s+into|delete\s+from)\s+lockgate\./i;
/** Statements that may end with rows committed; comments before them are passed over. */
const WRITING = /^(?:\s|\/\*[^]*?\*\/|(?:--|#)[^\n]*\n)*(insert|update|delete|replace|load|truncate|commit|xa)\b/i;
/** Of replication's own threads, on either flavour. */
const APPLIER = 'system user';

/** Looks through the sessions of one server for what may still commit, as often as its lists are made anew. */
export class OpenWork {
  #readAt: Us = -Infinity;
  #looks = 0;

  constructor(
    private readonly db: DatabaseConfig,
    private readonly clock: Clock,
    /** Yields numbers in [0, 1). */
    private readonly random: () => number = Math.random,
  ) {}

  /**
   * A clause for each transaction and statement that may still commit rows; none of replication's, and none of lockgate's.
   * Rejects when the user may not see them, or when the server's list is not made anew in time. To be called for one look
   * at a time.
   */
  async writing(connection: MysqlConnection, budget: Budget): Promise<string[]> {
    const transactions = await this.#fresh(connection, budget);
    const sessions = await connection.query<SessionRow>(SESSIONS, undefined, { timeoutMs: budget.nextMs() });
    // Without it the one list is refused, and the other short.
    if (!(await mayProcess(connection, budget.nextMs()))) throw this.#hidden('PROCESS', 'other sessions');
    return named(openWrites(transactions, sessions, connection.threadId));
  }

  /** A clause for each prepared transaction, whoever prepared it; rejects when they are hidden. */
  async prepared(connection: MysqlConnection, budget: Budget): Promise<string[]> {
    try {
      const rows = await connection.query<object>('XA RECOVER', undefined, { timeoutMs: budget.nextMs() });
      if (rows.length === 0) return [];
      return [`${String(rows.length)} prepared ${rows.length === 1 ? 'transaction' : 'transactions'} (XA RECOVER)`];
    } catch (error) {
      if (!noPrivilege.has(errnoOf(error))) throw error;
      throw this.#hidden('XA_RECOVER_ADMIN', 'prepared transactions', error);
    }
  }

  /** The list of transactions as it is now. */
  async #fresh(connection: MysqlConnection, budget: Budget): Promise<TransactionRow[]> {
    for (let attempt = 0; ; attempt++) {
      const sinceMs = (this.clock.monotonicNow() - this.#readAt) / US_PER_MS;
      const pauseMs = listRestsMs - sinceMs + (attempt === 0 ? 0 : this.random() * jitterMs);
      if (pauseMs > 0) {
        if (!budget.allows(pauseMs)) break;
        await this.clock.sleep(pauseMs, budget.signal);
      }
      // The list shows each transaction's statement: where it shows this very one, it was made for it.
      const mark = `/* lockgate look ${String(connection.threadId)}.${String((this.#looks += 1))} */`;
      const rows = await this.#list(connection, mark, budget);
      if (rows.some(({ id, query }) => Number(id) === connection.threadId && query?.startsWith(mark) === true)) {
        return rows;
      }
    }
    throw new TransientError(
      'mysql_stale_transactions',
      `${placeOf(this.db)}: the server shows an old list of transactions, because others read it all the time`,
      'find who reads information_schema.INNODB_TRX several times a second, and stop that',
    );
  }

  async #list(connection: MysqlConnection, mark: string, budget: Budget): Promise<TransactionRow[]> {
    // Only a session with a transaction is in the list, and a snapshot begins one.
    await connection.execute('START TRANSACTION WITH CONSISTENT SNAPSHOT', undefined, { timeoutMs: budget.nextMs() });
    try {
      return await connection.query<TransactionRow>(mark + TRANSACTIONS, undefined, { timeoutMs: budget.nextMs() });
    } catch (error) {
      if (noPrivilege.has(errnoOf(error))) throw this.#hidden('PROCESS', 'transactions', error);
      throw error;
    } finally {
      this.#readAt = this.clock.monotonicNow();
      // Where even that fails the session is lost, and its transaction with it.
      await connection.execute('ROLLBACK', undefined, { timeoutMs: rollbackMs }).catch(() => undefined);
    }
  }

  #hidden(privilege: string, what: string, cause?: unknown): SourceError {
    const { user } = this.db.address;
    return new SourceError(
      'mysql_privilege',
      `${placeOf(this.db)}: ${what} are hidden from ${user}`,
      `GRANT ${privilege} ON *.* TO '${user}'@'…'`,
      { cause },
    );
  }
}

const rollbackMs = 1_000;

const TRANSACTIONS = ` SELECT trx_mysql_thread_id AS id, trx_rows_modified AS modified, trx_lock_structs AS locks,
    TIMESTAMPDIFF(SECOND, trx_started, SYSDATE()) AS seconds, LEFT(trx_query, 200) AS query
  FROM information_schema.INNODB_TRX`;

const SESSIONS = `SELECT ID AS id, USER AS user, COMMAND AS command, TIME AS seconds, LEFT(INFO, 200) AS info
  FROM information_schema.PROCESSLIST`;

/**
 * Which of these may still commit rows: transactions that have changed some or hold locks, and statements that change rows
 * though no transaction shows it, because they wait at a lock of the server's or their engine has none. Pure.
 */
export function openWrites(
  transactions: readonly TransactionRow[],
  sessions: readonly SessionRow[],
  ownSession: number,
): string[] {
  const users = new Map(sessions.map(({ id, user }) => [Number(id), user]));
  const clauses: string[] = [];
  const told = new Set<number>();
  for (const { id, modified, locks, seconds, query } of transactions) {
    const session = Number(id);
    if (Number(modified) === 0 && Number(locks) === 0) continue;
    if (session === ownSession || users.get(session) === APPLIER || OURS.test(query ?? '')) continue;
    told.add(session);
    // A prepared one that has lost its session is told of by XA RECOVER, too.
    const whose = session === 0 ? 'without a session' : `of session ${String(session)}${by(users.get(session))}`;
    const what = Number(modified) === 0 ? 'with locks' : `with ${String(modified)} changed rows`;
    clauses.push(`an open transaction ${whose} ${what}${since(seconds)}`);
  }
  for (const { id, user, command, seconds, info } of sessions) {
    const session = Number(id);
    const verb = WRITING.exec(info ?? '')?.[1];
    if (verb === undefined || told.has(session) || session === ownSession || user === APPLIER) continue;
    if ((command !== 'Query' && command !== 'Execute') || OURS.test(info ?? '')) continue;
    clauses.push(`session ${String(session)}${by(user)} at ${verb.toUpperCase()}${since(seconds)}`);
  }
  return clauses;
}

function by(user: string | undefined): string {
  return user === undefined ? '' : ` (${user})`;
}

function since(seconds: string | number | null): string {
  return seconds === null ? '' : `, since ${String(Math.max(0, Number(seconds)))} s`;
}

function named(clauses: readonly string[]): string[] {
  const rest = clauses.length - mostNamed;
  return rest <= 0 ? [...clauses] : [...clauses.slice(0, mostNamed), `${String(rest)} more`];
}
