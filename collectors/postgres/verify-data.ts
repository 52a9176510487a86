import { US_PER_MS, type Clock } from '../../daemon/core/clock.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { SourceError, TransientError } from '../../daemon/core/errors.js';
import type { CollectorContext } from '../collector.js';
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
import { connect, quoteIdent, type PgConnection } from './connection.js';
import { placeOf } from './pg-errors.js';
import { catalogSql, factsOf, type CatalogRow, type TableFacts } from './verify-catalog.js';
import { dataError } from './verify-errors.js';
import { PostgresReader, type ReadingSession, type Row } from './verify-reader.js';
import type { Statement } from './verify-sql.js';

/** How long the client waits beyond what the server is allowed. */
const graceMs = 2_000;
/** Opening asks for nothing that takes long. */
const openingMs = 5_000;

// Everything that decides how a value prints, and that nothing is written, hidden or waited for; few resources.
const settings = {
  default_transaction_read_only: 'on',
  TimeZone: 'UTC',
  DateStyle: 'ISO, MDY',
  IntervalStyle: 'postgres',
  extra_float_digits: '1',
  bytea_output: 'hex',
  xmloption: 'content',
  lc_monetary: 'C',
  client_encoding: 'UTF8',
  row_security: 'off',
  lock_timeout: '1000',
  jit: 'off',
  max_parallel_workers_per_gather: '0',
} as const;

/** The data of one PostgreSQL database. */
export class PostgresData implements DataPort {
  readonly database: string;
  readonly engine = 'postgres';

  constructor(
    private readonly config: DatabaseConfig,
    private readonly context: Pick<CollectorContext, 'clock' | 'daemonId'>,
  ) {
    this.database = config.name;
  }

  async open(signal: AbortSignal): Promise<DataSession> {
    const options = {
      applicationName: `lockgate/${this.context.daemonId}/verify`,
      statementTimeoutMs: openingMs,
      settings,
    };
    const connection = await connect(this.config, options, signal);
    const session = new PostgresDataSession(this.config, connection, this.context.clock);
    try {
      await session.begin(signal);
      return session;
    } catch (error) {
      await connection.close();
      throw error;
    }
  }
}

// One value of many types, so that servers that print any of them otherwise are known to. Each hash as the digest makes it.
const probeSql = `
  SELECT pg_catalog.current_setting('server_encoding') || ' ' || pg_catalog.hashtextextended(r COLLATE "C", 1) || ' '
         || pg_catalog.hashtextextended(r COLLATE "C", 2) AS probe
    FROM (SELECT ROW(NULL, '', 'a "b" \\c,', 1.50::numeric, 'NaN'::numeric, 0.1::float4, 0.1::float8, 1e300::float8,
            '-0'::float8, true, '\\x00ff'::bytea, '2020-02-29'::date, '10:00:00.5'::time, '10:00+02'::timetz,
            '2020-02-29 10:00:00.123456'::timestamp, '0044-03-15 10:00:00.1+02 BC'::timestamptz, 'infinity'::timestamptz,
            '1 year 2 mons -3 days 04:05:06.7'::interval, '{"b": 1.0, "a": null}'::json, '{"b": 1.0, "a": null}'::jsonb,
            '{1,NULL,3}'::int4[], '{a,"b c"}'::text[], '[1,5)'::int4range, '1.2.3.4/24'::inet, '(1.5,2)'::point,
            '12.34'::money, B'101'::varbit, 'a:1A b:2'::tsvector)::text AS r OFFSET 0) s`;

// Of all databases of the server, which share its processors and disks.
const runningSql = `
  SELECT pg_catalog.count(*) FILTER (WHERE a.state = 'active')::pg_catalog.text AS n,
         pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')::pg_catalog.text AS all
    FROM pg_catalog.pg_stat_activity a
   WHERE a.backend_type = 'client backend' AND a.pid <> pg_catalog.pg_backend_pid()
     AND coalesce(a.application_name, '') NOT LIKE 'lockgate/%'`;

class PostgresDataSession implements DataSession, ReadingSession {
  #traits: DataTraits | null = null;
  #timeoutMs = openingMs;
  #encoding = '';
  #tail: Promise<unknown> = Promise.resolve();
  #off: () => void = () => undefined;

  constructor(
    private readonly config: DatabaseConfig,
    private readonly connection: PgConnection,
    private readonly clock: Clock,
  ) {}

  get traits(): DataTraits {
    return this.#traits ?? { flavour: 'postgres', version: this.connection.serverVersion, probe: '' };
  }

  get lost(): Error | null {
    return this.connection.lost;
  }

  async begin(signal: AbortSignal): Promise<void> {
    const onAbort = (): void => void this.close();
    signal.addEventListener('abort', onAbort, { once: true });
    this.#off = () => signal.removeEventListener('abort', onAbort);
    const [row] = await this.connection.query<{ probe: string }>(probeSql);
    if (signal.aborted) throw new TransientError('aborted', `${placeOf(this.config)}: opening was given up`);
    this.#traits = { flavour: 'postgres', version: this.connection.serverVersion, probe: row?.probe ?? '' };
  }

  async tables(limit: Limit, only?: readonly TableName[]): Promise<TableShape[]> {
    return (await this.#catalog(limit, only ?? null)).map(({ shape }) => shape);
  }

  async running(limit: Limit): Promise<number> {
    const [row] = await this.#ask<{ n: string; all: string }>(null, { text: runningSql, values: [] }, limit);
    if (row?.all !== 'true') {
      const { name, address } = this.config;
      throw new SourceError(
        'pg_privilege',
        `other sessions on ${name} are hidden`,
        `GRANT pg_read_all_stats TO ${quoteIdent(address.user)}`,
      );
    }
    return Number(row.n);
  }

  reader(spec: ReadSpec): TableReader {
    return new PostgresReader(this, spec);
  }

  async facts(spec: ReadSpec, limit: Limit): Promise<{ facts: TableFacts | null; encoding: string }> {
    const [facts = null] = await this.#catalog(limit, [spec]);
    return { facts, encoding: this.#encoding };
  }

  rows(spec: ReadSpec, statement: Statement, limit: Limit): Promise<Row[]> {
    return this.#ask<Row>(spec, statement, limit);
  }

  async close(): Promise<void> {
    this.#off();
    await this.connection.close();
  }

  async #catalog(limit: Limit, only: readonly TableName[] | null): Promise<TableFacts[]> {
    const names = new Map(only?.map((t) => [JSON.stringify([t.schema, t.name]), t]));
    const [schemas, tables] = [[...names.values()].map((t) => t.schema), [...names.values()].map((t) => t.name)];
    const statement: Statement = {
      text: catalogSql(this.connection.serverVersion, only !== null),
      values: only === null ? [] : [schemas, tables],
    };
    const [row] = await this.#ask<CatalogRow>(null, statement, limit);
    if (row === undefined) throw new RangeError('a statement that always returns a row returned none');
    this.#encoding = row.encoding;
    return factsOf(row, this.config, this.connection.home);
  }

  /** One statement, and before it its limit where that is another one than before; nothing comes in between. */
  #ask<R>(table: TableName | null, statement: Statement, { timeoutMs }: Limit): Promise<R[]> {
    const run = async (): Promise<R[]> => {
      const ms = Math.max(20, Math.ceil(timeoutMs));
      let startedAt = this.clock.monotonicNow();
      try {
        if (ms !== this.#timeoutMs) {
          await this.connection.query(`SELECT pg_catalog.set_config('statement_timeout', $1, false)`, [String(ms)]);
          this.#timeoutMs = ms;
        }
        startedAt = this.clock.monotonicNow();
        return await this.connection.query<R>(statement.text, statement.values, { timeoutMs: ms + graceMs });
      } catch (error) {
        const elapsedMs = (this.clock.monotonicNow() - startedAt) / US_PER_MS;
        throw dataError({ database: this.config, table, error, elapsedMs, timeoutMs: ms });
      }
    };
    const result = this.#tail.then(run, run);
    this.#tail = result.catch(() => undefined);
    return result;
  }
}
