import type { DatabaseConfig } from '../../../daemon/core/config.js';
import { LockgateError, SourceError } from '../../../daemon/core/errors.js';
import type { LinkPlan } from '../../collector.js';
import { classify, connect, type PgConnection } from '../connection.js';
import { connectAdmin } from './admin.js';

/** A subscription as anyone may see it. */
export interface Subscription {
  readonly name: string;
  readonly enabled: boolean;
  readonly slot: string | null;
  readonly publications: readonly string[];
  /** `none` where only rows that were written on the publisher itself are asked for; null before 16. */
  readonly origin: string | null;
  /** The apply worker runs. */
  readonly running: boolean;
}

/** How a publication carries the heartbeat table. */
export interface Carriage {
  readonly publication: string;
  /** FOR ALL TABLES or FOR TABLES IN SCHEMA lockgate: it cannot take a row filter. */
  readonly whole: boolean;
  /** The row filter's text; null without one. */
  readonly filter: string | null;
}

/** Every subscription of the connected database. */
export async function readSubscriptions(conn: PgConnection): Promise<Subscription[]> {
  const origin = conn.serverVersion >= 160000 ? 's.suborigin' : 'NULL::text';
  return conn.query<Subscription>(
    `SELECT s.subname AS name, s.subenabled AS enabled, s.subslotname AS slot, s.subpublications AS publications,
        ${origin} AS origin, EXISTS (SELECT FROM pg_catalog.pg_stat_subscription w
          WHERE w.subname = s.subname AND w.pid IS NOT NULL AND w.relid IS NULL) AS running
      FROM pg_catalog.pg_subscription s
      WHERE s.subdbid = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
      ORDER BY s.subname`,
  );
}

/** The link's own subscriptions among those of its receiving side, in the order of the configuration. */
export function flowsOf(link: LinkPlan, subscriptions: readonly Subscription[]): Subscription[] {
  return link.config.flows.flatMap((flow) => subscriptions.filter((s) => s.name === flow));
}

/** The subscription and publication that carry the link's heartbeat; null while there is no such subscription. */
export function carrierOf(
  link: LinkPlan,
  subscriptions: readonly Subscription[],
): { subscription: Subscription; publication: string } | null {
  const flows = flowsOf(link, subscriptions);
  const { publication } = link.config;
  const subscription = publication === null ? flows[0] : flows.find((s) => s.publications.includes(publication));
  const name = publication ?? subscription?.publications[0];
  return subscription === undefined || name === undefined ? null : { subscription, publication: name };
}

/** Which of the publications carry the heartbeat table on the connected (sending) side, and how. */
export async function readCarriage(conn: PgConnection, publications: readonly string[]): Promise<Carriage[]> {
  // The column rowfilter exists from 15 on: going through JSON asks for it without naming it.
  return conn.query<Carriage>(
    `SELECT t.pubname AS publication, to_jsonb(t) ->> 'rowfilter' AS filter,
        NOT EXISTS (SELECT FROM pg_catalog.pg_publication_rel r JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid
          JOIN pg_catalog.pg_class c ON c.oid = r.prrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
          WHERE p.pubname = t.pubname AND n.nspname = 'lockgate' AND c.relname = 'heartbeat') AS whole
      FROM pg_catalog.pg_publication_tables t
      WHERE t.schemaname = 'lockgate' AND t.tablename = 'heartbeat' AND t.pubname = ANY ($1)`,
    [publications],
  );
}

/** Which of the publications exist on the connected side. */
export async function readPublications(conn: PgConnection, publications: readonly string[]): Promise<string[]> {
  const rows = await conn.query<{ name: string }>(
    'SELECT pubname AS name FROM pg_catalog.pg_publication WHERE pubname = ANY ($1)',
    [publications],
  );
  return rows.map((r) => r.name);
}

/**
 * The tables that a subscriber of the given version would find in the publications, asked for as the subscriber itself
 * does, so that partitions and publish_via_partition_root come out the same.
 */
export async function readPublishedTables(
  publisher: PgConnection,
  subscriberVersion: number,
  publications: readonly string[],
): Promise<TableName[]> {
  if (publisher.serverVersion >= 160000 && subscriberVersion >= 160000) {
    return publisher.query<TableName>(
      `SELECT DISTINCT n.nspname AS schema, c.relname AS name
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        JOIN (SELECT (pg_catalog.pg_get_publication_tables(VARIADIC array_agg(pubname::text))).*
          FROM pg_catalog.pg_publication WHERE pubname = ANY ($1)) g ON g.relid = c.oid`,
      [publications],
    );
  }
  return publisher.query<TableName>(
    `SELECT DISTINCT t.schemaname AS schema, t.tablename AS name
      FROM pg_catalog.pg_publication_tables t WHERE t.pubname = ANY ($1)`,
    [publications],
  );
}

/** A table by schema and name. */
export interface TableName {
  readonly schema: string;
  readonly name: string;
}

/** A table that a subscription knows. */
export interface SubscribedTable extends TableName {
  /** Its initial copy is finished, or was not asked for. */
  readonly ready: boolean;
}

/** The tables that a subscription of the connected database knows. */
export async function readSubscribedTables(conn: PgConnection, subscription: string): Promise<SubscribedTable[]> {
  // By way of pg_stat_subscription, because before 14 nobody but a superuser may read pg_subscription.oid.
  return conn.query<SubscribedTable>(
    `SELECT n.nspname AS schema, c.relname AS name, r.srsubstate IN ('r', 's') AS ready
      FROM pg_catalog.pg_subscription_rel r JOIN pg_catalog.pg_class c ON c.oid = r.srrelid
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE r.srsubid IN (SELECT s.subid FROM pg_catalog.pg_stat_subscription s WHERE s.subname = $1)`,
    [subscription],
  );
}

/** Whether an SQL boolean holds on the connected server. */
export async function holds(conn: PgConnection, check: string): Promise<boolean> {
  const [row] = await conn.query<{ ok: boolean | null }>(`SELECT (${check}) AS ok`);
  return row?.ok === true;
}

/** The login itself was refused: there may be no such role yet, or with another password. */
const notAdmitted: ReadonlySet<string> = new Set(['pg_wrong_password', 'pg_not_admitted', 'pg_no_password']);

/** Connections to the other databases of a configuration, each opened once, with the daemon's own user. */
export class OtherSides {
  readonly #open = new Map<string, Promise<PgConnection | LockgateError>>();

  /**
   * With `admin`, addresses of administrators by database, a side that does not admit the daemon's user, as before the
   * first setup, is looked at as its administrator instead.
   */
  constructor(
    private readonly purpose: string,
    private readonly signal: AbortSignal,
    private readonly admin: ReadonlyMap<string, string> | null = null,
  ) {}

  /** The connection, or why there is none. */
  async look(database: DatabaseConfig): Promise<PgConnection | LockgateError> {
    let made = this.#open.get(database.name);
    if (made === undefined) {
      made = this.#connect(database).catch((e: unknown) => classify(e, database));
      this.#open.set(database.name, made);
    }
    return made;
  }

  async #connect(database: DatabaseConfig): Promise<PgConnection> {
    try {
      return await connect(database, { applicationName: this.purpose }, this.signal);
    } catch (error) {
      const sorted = classify(error, database);
      if (this.admin === null || !notAdmitted.has(sorted.code)) throw sorted;
      const { name, address } = database;
      const adminUrl = this.admin.get(name);
      if (adminUrl !== undefined) return await connectAdmin(database, { adminUrl, dryRun: false, signal: this.signal });
      throw new SourceError(
        'side_not_set_up',
        `${name} does not admit the user ${address.user} yet, which setup makes there (or mends its password); ` +
          `until then it can be looked at only with --admin ${name}=URL`,
        `run setup on ${name}, or give --admin ${name}=URL`,
        { cause: error },
      );
    }
  }

  /** Ends all of them. */
  async close(): Promise<void> {
    for (const each of this.#open.values()) {
      const conn = await each;
      if (!(conn instanceof LockgateError)) await conn.close();
    }
  }
}
