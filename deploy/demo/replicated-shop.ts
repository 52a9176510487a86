import pg from 'pg';
import { startPostgres, type PostgresServer } from './postgres-server.js';
import { STRAY, type DemoShop, type DemoWords, type TableCounts } from './demo-shop.js';
import { DATABASE, FIRST_ROWS, ORDER, SCHEMA, TABLES, Writer, type Side } from './shop.js';

/** The subscriptions that carry the shop from the source to the target, and back. */
const SUBSCRIPTION = 'shop_sub';
const SUBSCRIPTION_BACK = 'shop_back';
/** Numbers on the target begin here, so that none is handed out on both sides: replication does not carry sequences. */
const NUMBERS_ON_TARGET = 1_000_000;
/** Logins that have one task each. */
const SHOP = 'shop';
const REPLICATOR = 'replicator';

/** The shop on two servers, and what is done to the replication between them. */
export class ReplicatedShop implements DemoShop {
  readonly words = POSTGRES_WORDS;
  readonly link = `via: postgres-logical, subscription: ${SUBSCRIPTION}`;
  readonly wayBack = `via: postgres-logical, subscription: ${SUBSCRIPTION_BACK}`;
  readonly backBeforeSetup = true;
  readonly #pools = new Map<PostgresServer, pg.Pool>();

  private constructor(
    readonly source: PostgresServer,
    readonly target: PostgresServer,
  ) {}

  /** Starts both servers, with the shop's tables on both and its first rows on the source; nothing is replicated yet. */
  static async start(): Promise<ReplicatedShop> {
    // By default the server waits 5 s before it starts a subscription's worker again; the tour would mostly show that.
    const settings = { wal_retrieve_retry_interval: '500ms' };
    const results = await Promise.allSettled([
      startPostgres({ name: 'onprem', database: DATABASE, settings }),
      startPostgres({ name: 'aws', database: DATABASE, settings }),
    ]);
    const [source, target] = results.flatMap((r) => (r.status === 'fulfilled' ? [r.value] : []));
    if (source === undefined || target === undefined) {
      await source?.destroy();
      throw results.find((r) => r.status === 'rejected')?.reason;
    }
    const shop = new ReplicatedShop(source, target);
    try {
      for (const server of [source, target]) {
        await shop.#on(
          server,
          // The target lets the shop in when it is to carry the writes, not before.
          `create role ${SHOP} ${server === source ? 'login' : 'nologin'} password '${SHOP}'; grant create on schema public to ${SHOP};
           create role ${REPLICATOR} login replication password '${REPLICATOR}'`,
        );
        await shop.#on(server, `set role ${SHOP}; ${SCHEMA}; reset role`);
      }
      await shop.#on(source, `set role ${SHOP}; ${FIRST_ROWS} reset role; analyze`);
      return shop;
    } catch (error) {
      await shop.destroy();
      throw error;
    }
  }

  entry(port: number, password: string): string {
    const url = `postgres://lockgate:${password}@127.0.0.1:${port}/${DATABASE}?sslmode=disable`;
    return `{ engine: postgres, url: ${JSON.stringify(url)}, read: on }`;
  }

  writer(perSecond: number): Writer {
    return new Writer(async (side, failed) => {
      const client = new pg.Client({
        connectionString: this.#url(this[side], SHOP, SHOP),
        connectionTimeoutMillis: 5_000,
        query_timeout: 10_000,
      });
      client.on('error', failed);
      await client.connect();
      return {
        async place() {
          const [row] = (await client.query<{ id: number }>(ORDER)).rows;
          if (row === undefined) throw new Error('an order was placed without a number');
          return row.id;
        },
        end: () => client.end(),
      };
    }, perSecond);
  }

  /** Address for a login of one task. */
  #url(server: PostgresServer, user: string, password: string): string {
    return `postgres://${user}:${password}@${server.host}:${server.port}/${DATABASE}?sslmode=disable`;
  }

  /** Publication on the source, subscription on the target: the initial copy begins. */
  async replicate(): Promise<void> {
    await this.#publish(this.source, 'shop_pub');
    await this.#subscribe(this.target, SUBSCRIPTION, this.source, 'shop_pub', true);
  }

  /** The same the other way round, without a copy: the rows are where they came from. */
  async replicateBack(): Promise<void> {
    await this.#on(
      this.target,
      TABLES.flatMap(({ name, key }) => (key === 'id' ? [`select setval('${name}_id_seq', ${NUMBERS_ON_TARGET})`] : []))
        .join('; ')
        .concat(';'),
    );
    await this.#publish(this.target, 'back_pub');
    await this.#subscribe(this.source, SUBSCRIPTION_BACK, this.target, 'back_pub', false);
  }

  async #publish(server: PostgresServer, publication: string): Promise<void> {
    await this.#on(
      server,
      `grant select on all tables in schema public to ${REPLICATOR};
       create publication ${publication} for table ${TABLES.map((t) => t.name).join(', ')}`,
    );
  }

  /** With `origin = none` only what was written on the other server itself is sent: nothing goes round in a circle. */
  async #subscribe(
    server: PostgresServer,
    name: string,
    { host, port }: PostgresServer,
    publication: string,
    copy: boolean,
  ): Promise<void> {
    await this.#on(
      server,
      `create subscription ${name}
         connection 'host=${host} port=${port} dbname=${DATABASE} user=${REPLICATOR} password=${REPLICATOR}'
         publication ${publication} with (origin = none, copy_data = ${String(copy)})`,
    );
  }

  /** Whether the initial copy of every table is done. */
  async copied(): Promise<boolean> {
    const [row] = await this.#on<{ done: boolean }>(
      this.target,
      `select count(*) = ${TABLES.length} and bool_and(srsubstate = 'r') as done from pg_subscription_rel`,
    );
    return row?.done === true;
  }

  /** Orders on both sides, the source counted last: what is missing on the target is never understated. */
  async orders(): Promise<{ source: number; target: number }> {
    const count = async (server: PostgresServer): Promise<number> => {
      const [row] = await this.#on<{ n: number }>(server, 'select count(*)::int as n from orders');
      return row?.n ?? 0;
    };
    const target = await count(this.target);
    return { source: await count(this.source), target };
  }

  /** Every table's rows counted on both sides, and their contents compared. */
  async compare(): Promise<TableCounts[]> {
    const counts: TableCounts[] = [];
    for (const { name, key } of TABLES) {
      const sql = `select count(*)::int as n, md5(string_agg(t::text, chr(10) order by ${key})) as digest from ${name} t`;
      const [a, b] = await Promise.all(
        [this.source, this.target].map((server) => this.#on<{ n: number; digest: string | null }>(server, sql)),
      );
      const [source, target] = [a?.[0], b?.[0]];
      if (source === undefined || target === undefined) throw new Error(`${name} could not be counted`);
      const same = source.n === target.n && source.digest === target.digest;
      counts.push({ table: name, source: source.n, target: target.n, same });
    }
    return counts;
  }

  /** What the customary query on the source calls the lag. */
  async customaryLag(): Promise<string> {
    const [row] = await this.#on<{ lag: string }>(this.source, `select lag::text from (${CUSTOMARY_QUERY}) as q (lag)`);
    return row?.lag ?? 'no answer';
  }

  /** Breaks replication: the subscription is disabled. */
  async break(): Promise<void> {
    await this.#on(this.target, `alter subscription ${SUBSCRIPTION} disable`);
  }

  /** Heals what `break` and `blind` did. */
  async heal(): Promise<void> {
    await this.#on(this.target, `alter subscription ${SUBSCRIPTION} enable`);
    await this.#on(this.source, 'grant insert, update on lockgate.heartbeat to lockgate');
  }

  /** Takes the daemon's means to measure away, while replication goes on. */
  async blind(): Promise<void> {
    await this.#on(this.source, 'revoke insert, update on lockgate.heartbeat from lockgate');
  }

  /** No session of the shop is left, and none can begin. */
  async silence(side: Side): Promise<void> {
    await this.#on(
      this[side],
      `alter role ${SHOP} nologin; select pg_terminate_backend(pid) from pg_stat_activity where usename = '${SHOP}'`,
    );
  }

  async admit(side: Side): Promise<void> {
    await this.#on(this[side], `alter role ${SHOP} login`);
  }

  async missing(side: Side, orders: readonly number[]): Promise<number> {
    const [row] = await this.#on<{ n: number }>(
      this[side],
      `select count(*)::int as n from unnest($1::bigint[]) as wanted (id)
        where not exists (select from orders where orders.id = wanted.id)`,
      [orders],
    );
    if (row === undefined) throw new Error('orders could not be counted');
    return row.n;
  }

  async addStray(): Promise<void> {
    await this.#on(this.source, 'insert into customers (name) values ($1)', [STRAY]);
  }

  async removeStray(): Promise<void> {
    await this.#on(this.target, 'delete from customers where name = $1', [STRAY]);
  }

  async strays(): Promise<{ source: number; target: number }> {
    const count = async (server: PostgresServer): Promise<number> => {
      const sql = 'select count(*)::int as n from customers where name = $1';
      return (await this.#on<{ n: number }>(server, sql, [STRAY]))[0]?.n ?? 0;
    };
    return { source: await count(this.source), target: await count(this.target) };
  }

  /** Stops both servers and removes their folders. */
  async destroy(): Promise<void> {
    await Promise.allSettled([...this.#pools.values()].map((pool) => pool.end()));
    await Promise.all([this.source.destroy(), this.target.destroy()]);
  }

  async #on<R extends pg.QueryResultRow>(
    server: PostgresServer,
    sql: string,
    values: readonly unknown[] = [],
  ): Promise<R[]> {
    let pool = this.#pools.get(server);
    if (pool === undefined) {
      pool = new pg.Pool({
        connectionString: server.adminUrl(DATABASE),
        max: 2,
        connectionTimeoutMillis: 5_000,
        query_timeout: 20_000,
      });
      pool.on('error', () => undefined); // the next query says so
      this.#pools.set(server, pool);
    }
    return (await pool.query<R>(sql, values.length === 0 ? undefined : [...values])).rows;
  }
}

const CUSTOMARY_QUERY = `select coalesce(max(replay_lag), '0') from pg_stat_replication where application_name = '${SUBSCRIPTION}'`;

/** How the demo on PostgreSQL is told. */
export const POSTGRES_WORDS: DemoWords = {
  servers: 'Two PostgreSQL 18 servers',
  replication: 'Logical replication',
  targetHas: 'the same tables, empty',
  breaks: `alter subscription ${SUBSCRIPTION} disable`,
  heals: `alter subscription ${SUBSCRIPTION} enable`,
  customary: CUSTOMARY_QUERY,
  customaryAt: 'onprem',
  silences: `alter role ${SHOP} nologin`,
  admits: `alter role ${SHOP} login`,
};
