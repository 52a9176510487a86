import type { DatabaseConfig } from '../../daemon/core/config.js';
import { SourceError, TransientError } from '../../daemon/core/errors.js';
import { placeOf } from '../session/faults.js';
import type {
  DataPort,
  DataSession,
  DataTraits,
  Limit,
  ReadSpec,
  TableName,
  TableReader,
  TableShape,
} from '../verify/port.js';
import { readSight } from './catalog.js';
import { connect, type MysqlConnection } from './connection.js';
import { mayProcess } from './side.js';
import { catalogSql, factsOf, hiddenTables, type CheckRow, type ColumnRow, type KeyRow, type TableFacts } from './verify-catalog.js'; // prettier-ignore
import { dataError } from './verify-errors.js';
import { MysqlReader, type ReadingSession, type Row } from './verify-reader.js';

/** How long the client waits beyond what the server is allowed. */
const graceMs = 2_000;
/** Short texts have to fit, however many columns of them a row has: 65,535 bytes, three times as many in another charset. */
const leastPacket = 1_048_576;

/** The data of one MySQL or MariaDB server. */
export class MysqlData implements DataPort {
  readonly database: string;
  readonly engine = 'mysql';

  constructor(
    private readonly config: DatabaseConfig,
    private readonly daemonId: string,
  ) {
    this.database = config.name;
  }

  async open(signal: AbortSignal): Promise<DataSession> {
    const options = { applicationName: `lockgate/${this.daemonId}/verify` };
    const connection = await connect(this.config, options, signal);
    const session = new MysqlDataSession(this.config, connection, signal);
    try {
      await session.begin();
      return session;
    } catch (error) {
      await session.close();
      throw error;
    }
  }
}

// Everything else that decides how a value prints is set with every connection. Nothing is locked, and no snapshot kept.
const settings = [
  'SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY',
  `SET NAMES utf8mb4 COLLATE utf8mb4_bin`,
  'SET SESSION wait_timeout = 3600, lock_wait_timeout = 1, innodb_lock_wait_timeout = 1',
];

/**
 * One value of many types, hashed as the digest does it. The flavour is part of it, for the two differ where no statement
 * that both of them take can show it: what MySQL keeps as JSON is text to MariaDB.
 */
const probeSql = `SELECT SHA2(CONCAT(CAST(1.50 AS DECIMAL(10, 2)), 0xFF, 0.1e0 * 1e0, 0xFF, 1e15, 0xFF, -1.5e-7, 0xFF, 1e300, 0xFF,
    CAST('2020-02-29 10:00:00.123456' AS DATETIME(6)), 0xFF, CAST('-10:00:00.5' AS TIME(6)), 0xFF,
    CAST('2020-02-29' AS DATE), 0xFF, CAST(18446744073709551615 AS UNSIGNED), 0xFF,
    CAST(CONVERT(_latin1 X'E980' USING utf8mb4) AS BINARY), 0xFE), 256) AS probe, @@max_allowed_packet AS packet`;

// Of all databases of the server, which share its processors and disks. Replication's threads execute nothing by this.
const runningSql = `SELECT COUNT(*) AS n FROM information_schema.PROCESSLIST
  WHERE COMMAND IN ('Query', 'Execute') AND USER <> 'system user' AND USER <> 'event_scheduler'
    AND ID <> CONNECTION_ID() AND USER <> SUBSTRING_INDEX(USER(), '@', 1)`;

class MysqlDataSession implements DataSession, ReadingSession {
  #traits: DataTraits;
  #closed: Promise<void> | null = null;
  readonly #ended: Promise<never>;
  #end: (error: Error) => void = () => undefined;
  readonly #onAbort = (): void => void this.close();

  constructor(
    private readonly config: DatabaseConfig,
    private readonly connection: MysqlConnection,
    private readonly signal: AbortSignal,
  ) {
    const { flavour, number } = connection.version;
    this.#traits = { flavour, version: number, probe: '' };
    this.#ended = new Promise<never>((_, reject) => (this.#end = reject));
    this.#ended.catch(() => undefined);
    signal.addEventListener('abort', this.#onAbort, { once: true });
  }

  get traits(): DataTraits {
    return this.#traits;
  }

  get lost(): Error | null {
    return this.connection.lost;
  }

  async begin(): Promise<void> {
    if (this.signal.aborted) this.#onAbort();
    const work = async (): Promise<void> => {
      for (const sql of settings) await this.connection.execute(sql);
      if (this.connection.version.flavour === 'mysql') {
        await this.connection.execute('SET SESSION information_schema_stats_expiry = 0');
      }
      const [row] = await this.connection.query<{ probe: string; packet: string | number }>(probeSql);
      const packet = Number(row?.packet ?? 0);
      if (packet < leastPacket) {
        throw new SourceError(
          'verify_packet',
          `${placeOf(this.config)}: max_allowed_packet is ${String(packet)}, so that rows could not be compared`,
          `SET GLOBAL max_allowed_packet = ${String(16 * leastPacket)}`,
        );
      }
      const { flavour } = this.#traits;
      this.#traits = { ...this.#traits, probe: `${flavour} ${row?.probe ?? ''}` };
    };
    await this.#orEnded(work());
  }

  async tables(limit: Limit, only?: readonly TableName[]): Promise<TableShape[]> {
    if (only?.length === 0) return [];
    const facts = await this.#catalog(limit, only ?? null);
    // After the tables: a privilege may be taken away meanwhile.
    const sight = await this.#orEnded(readSight(this.connection));
    const hidden = hiddenTables(this.config, sight, only ?? null);
    if (hidden !== null) throw hidden;
    return facts.map(({ shape }) => shape);
  }

  async running(limit: Limit): Promise<number> {
    const [row] = await this.#ask<{ n: string | number }>(null, runningSql, limit);
    if (!(await this.#orEnded(mayProcess(this.connection, limit.timeoutMs + graceMs)))) {
      throw new SourceError(
        'mysql_privilege',
        `${placeOf(this.config)}: other sessions are hidden from ${this.config.address.user}`,
        `GRANT PROCESS ON *.* TO '${this.config.address.user}'@'…'`,
      );
    }
    return Number(row?.n ?? 0);
  }

  reader(spec: ReadSpec): TableReader {
    return new MysqlReader(this, spec);
  }

  async facts(spec: ReadSpec, limit: Limit): Promise<TableFacts | null> {
    const [facts = null] = await this.#catalog(limit, [spec]);
    return facts;
  }

  rows(spec: ReadSpec, sql: string, limit: Limit): Promise<Row[]> {
    return this.#ask<Row>(spec, sql, limit);
  }

  close(): Promise<void> {
    this.signal.removeEventListener('abort', this.#onAbort);
    // Who waits for an answer learns of it at once, for none will come.
    this.#end(new TransientError('aborted', `${placeOf(this.config)}: the session was closed`));
    return (this.#closed ??= this.connection.close());
  }

  async #catalog(limit: Limit, only: readonly TableName[] | null): Promise<TableFacts[]> {
    const { version } = this.connection;
    const sql = catalogSql(version, only);
    const columns = await this.#ask<ColumnRow>(null, sql.columns, limit);
    const keys = await this.#ask<KeyRow>(null, sql.keys, limit);
    const checks = sql.checks === null ? [] : await this.#ask<CheckRow>(null, sql.checks, limit);
    return factsOf({ columns, keys, checks }, version, this.config);
  }

  /** One statement, a SELECT, with its limit. */
  async #ask<R>(table: TableName | null, sql: string, { timeoutMs }: Limit): Promise<R[]> {
    const ms = Math.max(20, Math.ceil(timeoutMs));
    const limited =
      this.connection.version.flavour === 'mariadb'
        ? `SET STATEMENT max_statement_time = ${String(ms / 1000)} FOR ${sql}`
        : sql.replace(/^SELECT\b/, `SELECT /*+ MAX_EXECUTION_TIME(${String(ms)}) */`);
    try {
      return await this.#orEnded(this.connection.query<R>(limited, undefined, { timeoutMs: ms + graceMs }));
    } catch (error) {
      throw dataError(error, this.config, table, ms);
    }
  }

  /** Settles as `work` does, or rejects when the session is closed first. */
  #orEnded<T>(work: Promise<T>): Promise<T> {
    work.catch(() => undefined);
    return Promise.race([work, this.#ended]);
  }
}
