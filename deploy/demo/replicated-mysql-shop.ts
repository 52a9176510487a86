import mysql from 'mysql2/promise';
import { STRAY, type DemoShop, type DemoWords, type TableCounts } from './demo-shop.js';
import type { Flavour } from './mysql-install.js';
import { startMysql, type MysqlServer } from './mysql-server.js';
import { DATABASE, FIRST_CUSTOMERS, FIRST_ORDERS, Writer, type Side } from './shop.js';
import { Wire } from './wire.js';

const SHOP = 'shop';
const REPLICATOR = 'replicator';

const SCHEMA = `
  create table customers (id bigint not null auto_increment primary key, name text not null);
  create table orders (
    id bigint not null auto_increment primary key,
    customer_id bigint not null,
    total numeric(10, 2) not null,
    created_at timestamp(6) not null default current_timestamp(6),
    foreign key (customer_id) references customers (id)
  );
  create table order_lines (
    order_id bigint not null,
    line integer not null,
    product varchar(100) not null,
    quantity integer not null,
    primary key (order_id, line),
    foreign key (order_id) references orders (id)
  );`;

const DIGITS = `(select 0 as d union all select 1 union all select 2 union all select 3 union all select 4
  union all select 5 union all select 6 union all select 7 union all select 8 union all select 9)`;
/** Numbers from 1 to below a hundred thousand: recursion is limited by settings, this is not. */
const NUMBERS = `(select 1 + a.d + 10 * b.d + 100 * c.d + 1000 * e.d + 10000 * f.d as n
  from ${DIGITS} a, ${DIGITS} b, ${DIGITS} c, ${DIGITS} e, ${DIGITS} f)`;

const FIRST_ROWS = `
  insert into customers (id, name) select n, concat('customer ', n) from ${NUMBERS} x where n <= ${FIRST_CUSTOMERS} order by n;
  insert into orders (id, customer_id, total) select n, 1 + n % ${FIRST_CUSTOMERS}, n % 300 from ${NUMBERS} x where n <= ${FIRST_ORDERS} order by n;
  insert into order_lines select n, 1, concat('product ', n % 40), 1 + n % 3 from ${NUMBERS} x where n <= ${FIRST_ORDERS} order by n;`;

const ORDER = `
  begin;
  insert into orders (customer_id, total) values (1 + floor(rand() * ${FIRST_CUSTOMERS}), round(rand() * 300, 2));
  insert into order_lines values
    (last_insert_id(), 1, concat('product ', floor(rand() * 40)), 1 + floor(rand() * 3)),
    (last_insert_id(), 2, concat('product ', floor(rand() * 40)), 1 + floor(rand() * 3));
  commit;
  select last_insert_id() as id;`;

const TABLES: readonly { name: string; columns: string }[] = [
  { name: 'customers', columns: 'id, name' },
  { name: 'orders', columns: 'id, customer_id, total, created_at' },
  { name: 'order_lines', columns: 'order_id, line, product, quantity' },
];

/** The shop on two MariaDB or MySQL servers, with their own replication between them. */
export class ReplicatedMysqlShop implements DemoShop {
  readonly #pools = new Map<MysqlServer, mysql.Pool>();
  readonly #wire: Wire;
  readonly link = 'via: mysql';
  readonly wayBack = 'via: mysql';
  /** Each would wait for the tables that come from the other. */
  readonly backBeforeSetup = false;

  private constructor(
    readonly source: MysqlServer,
    readonly target: MysqlServer,
    readonly words: DemoWords,
  ) {
    this.#wire = new Wire(source);
  }

  /** Starts both servers, with the shop's tables and its first rows on the source; nothing is replicated yet. */
  static async start(flavour: Flavour, words: DemoWords): Promise<ReplicatedMysqlShop> {
    // Numbers of every second row each, so that none is handed out on both sides.
    const settings = (side: 1 | 2): Record<string, string> => ({
      auto_increment_increment: '2',
      auto_increment_offset: String(side),
      ...(flavour === 'mariadb' ? { gtid_domain_id: String(side - 1) } : {}),
    });
    const results = await Promise.allSettled([
      startMysql({ flavour, name: 'onprem', serverId: 1, database: DATABASE, settings: settings(1) }),
      startMysql({
        flavour,
        name: 'aws',
        serverId: 2,
        database: DATABASE,
        settings: { ...settings(2), read_only: 'ON' },
      }),
    ]);
    const [source, target] = results.flatMap((r) => (r.status === 'fulfilled' ? [r.value] : []));
    if (source === undefined || target === undefined) {
      await source?.destroy();
      throw results.find((r) => r.status === 'rejected')?.reason;
    }
    const shop = new ReplicatedMysqlShop(source, target, words);
    try {
      for (const server of [source, target]) {
        await shop.#unlogged(
          server,
          `create user '${SHOP}'@'%' identified by '${SHOP}'; grant all on ${DATABASE}.* to '${SHOP}'@'%';
           create user '${REPLICATOR}'@'%' identified by '${REPLICATOR}'; grant replication slave on *.* to '${REPLICATOR}'@'%'`,
        );
      }
      await shop.#on(source, SCHEMA + FIRST_ROWS);
      await shop.#wire.open();
      return shop;
    } catch (error) {
      await shop.destroy();
      throw error;
    }
  }

  entry(port: number, password: string): string {
    return `{ engine: mysql, url: ${JSON.stringify(`mysql://lockgate:${password}@127.0.0.1:${port}/${DATABASE}`)}, read: on }`;
  }

  writer(perSecond: number): Writer {
    return new Writer(async (side, failed) => {
      const uri = `mysql://${SHOP}:${SHOP}@127.0.0.1:${this[side].port}/${DATABASE}`;
      const connection = await mysql.createConnection({ uri, multipleStatements: true, connectTimeout: 5_000 });
      connection.on('error', failed);
      return {
        async place() {
          const [results] = await connection.query<mysql.RowDataPacket[][]>({ sql: ORDER, timeout: 10_000 });
          return Number(results.at(-1)?.[0]?.['id']);
        },
        end: () => connection.end(),
      };
    }, perSecond);
  }

  replicate(): Promise<void> {
    return this.#follow(this.target, this.#wire.port);
  }

  replicateBack(): Promise<void> {
    return this.#follow(this.source, this.target.port);
  }

  /** Makes a server the replica of what answers at a port; what has passed through it already does not come again. */
  async #follow(server: MysqlServer, port: number): Promise<void> {
    const login = (s: 'source' | 'master'): string =>
      `${s}_host = '127.0.0.1', ${s}_port = ${port}, ${s}_user = '${REPLICATOR}', ${s}_password = '${REPLICATOR}', ${s}_connect_retry = 1`;
    await this.#on(
      server,
      server.flavour === 'mysql'
        ? `change replication source to ${login('source')}, source_auto_position = 1, get_source_public_key = 1; start replica`
        : `change master to ${login('master')}, master_use_gtid = slave_pos; start slave`,
    );
  }

  async copied(): Promise<boolean> {
    const rows = await this.#on(
      this.target,
      `select 1 from information_schema.tables where table_schema = '${DATABASE}' and table_name = 'order_lines'`,
    );
    if (rows.length === 0) return false;
    const [row] = await this.#on(this.target, 'select count(*) as n from order_lines');
    return Number(row?.['n']) >= FIRST_ORDERS;
  }

  async orders(): Promise<{ source: number; target: number }> {
    const count = async (server: MysqlServer): Promise<number> =>
      Number((await this.#on(server, 'select count(*) as n from orders'))[0]?.['n']);
    const target = await count(this.target);
    return { source: await count(this.source), target };
  }

  async compare(): Promise<TableCounts[]> {
    const counts: TableCounts[] = [];
    for (const { name, columns } of TABLES) {
      const sql = `select count(*) as n, bit_xor(crc32(concat_ws('#', ${columns}))) as digest from ${name}`;
      const [a, b] = await Promise.all([this.#on(this.source, sql), this.#on(this.target, sql)]);
      const [source, target] = [Number(a[0]?.['n']), Number(b[0]?.['n'])];
      counts.push({ table: name, source, target, same: JSON.stringify(a) === JSON.stringify(b) });
    }
    return counts;
  }

  async customaryLag(): Promise<string> {
    const [row] = (await this.#on(this.target, this.words.customary)) as Record<string, unknown>[];
    const behind = row?.['Seconds_Behind_Source'] ?? row?.['Seconds_Behind_Master'];
    const io = row?.['Replica_IO_Running'] ?? row?.['Slave_IO_Running'];
    const sql = row?.['Replica_SQL_Running'] ?? row?.['Slave_SQL_Running'];
    return `seconds behind: ${String(behind)}, IO thread: ${String(io)}, SQL thread: ${String(sql)}`;
  }

  break(): Promise<void> {
    this.#wire.freeze();
    return Promise.resolve();
  }

  async heal(): Promise<void> {
    this.#wire.thaw();
    await this.#unlogged(this.source, "grant insert on lockgate.heartbeat to 'lockgate'@'%'");
  }

  async blind(): Promise<void> {
    await this.#unlogged(this.source, "revoke insert on lockgate.heartbeat from 'lockgate'@'%'");
  }

  async silence(side: Side): Promise<void> {
    await this.#on(this[side], 'set global read_only = ON');
  }

  async admit(side: Side): Promise<void> {
    await this.#on(this[side], 'set global read_only = OFF');
  }

  async missing(side: Side, orders: readonly number[]): Promise<number> {
    const [row] = await this.#on(this[side], 'select count(*) as n from orders where id in (?)', [orders]);
    return orders.length - Number(row?.['n']);
  }

  async addStray(): Promise<void> {
    await this.#on(this.source, 'insert into customers (name) values (?)', [STRAY]);
  }

  async removeStray(): Promise<void> {
    await this.#on(this.target, 'delete from customers where name = ?', [STRAY]);
  }

  async strays(): Promise<{ source: number; target: number }> {
    const count = async (server: MysqlServer): Promise<number> => {
      const [row] = await this.#on(server, 'select count(*) as n from customers where name = ?', [STRAY]);
      return Number(row?.['n']);
    };
    return { source: await count(this.source), target: await count(this.target) };
  }

  async destroy(): Promise<void> {
    this.#wire.close();
    await Promise.allSettled([...this.#pools.values()].map((pool) => pool.end()));
    await Promise.all([this.source.destroy(), this.target.destroy()]);
  }

  /** Accounts and rights are each side's own. */
  async #unlogged(server: MysqlServer, sql: string): Promise<void> {
    await this.#on(server, `set session sql_log_bin = 0; ${sql}; set session sql_log_bin = 1`);
  }

  async #on(server: MysqlServer, sql: string, values: readonly unknown[] = []): Promise<mysql.RowDataPacket[]> {
    let pool = this.#pools.get(server);
    if (pool === undefined) {
      pool = mysql.createPool({
        uri: server.adminUrl(DATABASE),
        connectionLimit: 2,
        connectTimeout: 5_000,
        multipleStatements: true,
        dateStrings: true,
      });
      this.#pools.set(server, pool);
    }
    const [answer] = await pool.query<mysql.RowDataPacket[]>({ sql, values: [...values], timeout: 20_000 });
    return answer;
  }
}

/** How the demo on a flavour is told. */
export function mysqlWords(flavour: Flavour): DemoWords {
  const mariadb = flavour === 'mariadb';
  return {
    servers: `Two ${mariadb ? 'MariaDB' : 'MySQL'} servers`,
    replication: `${mariadb ? 'MariaDB' : 'MySQL'} replication by GTID`,
    targetHas: 'nothing yet: tables and rows come by replication',
    breaks: 'the network between them goes silent',
    heals: 'the network is back',
    customary: mariadb ? 'show slave status' : 'show replica status',
    customaryAt: 'aws',
    silences: 'set global read_only = ON',
    admits: 'set global read_only = OFF',
  };
}
