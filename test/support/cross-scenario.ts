/** A migration across engines for tests: a relay of our own stands in for DMS, everything else is real. */
import pg from 'pg';
import { waitFor } from '../../deploy/demo/run-folder.js';
import type { Flavour } from '../../deploy/demo/mysql-install.js';
import { startMysql, type MysqlServer } from '../../deploy/demo/mysql-server.js';
import { startPostgres, type PostgresServer } from '../../deploy/demo/postgres-server.js';
import { DmsWorld } from './aws/dms-world.js';
import { startFakeAws } from './aws/fake.js';
import { GateWatch, workspace, type Workspace } from './lockgate.js';
import { rootPool } from './mysql-connection.js';
import { observe, type TruthTable } from './observer.js';
import { runAll } from './pair.js';
import { startProxy, type Proxy } from './proxy.js';
import { mysqlReader, mysqlWriter } from './relay-mysql.js';
import { postgresReader, postgresWriter } from './relay-postgres.js';
import { Relay } from './relay.js';
import { opened, type Scenario } from './scenario.js';
import { timing } from './scenario-setup.js';

/** Name of the application's database on both sides. */
const database = 'app';

/** Runs statements past all proxies, as administrator. */
type Ask = (sql: string, values?: unknown[]) => Promise<Record<string, unknown>[]>;

/** One side of the pair. */
export interface CrossSide {
  readonly engine: 'mysql' | 'postgres';
  /** As the configuration names it. */
  readonly name: 'onprem' | 'aws';
  readonly proxy: Proxy;
  readonly ask: Ask;
  adminUrl(): string;
  kill(): Promise<void>;
  start(): Promise<void>;
  /** SIGSTOP or SIGCONT to the server as a whole. */
  hang(on: boolean): void;
}

/** Two servers of different engines with a relay between them. */
export interface CrossPair {
  readonly source: CrossSide;
  readonly target: CrossSide;
  /** The servers themselves; one of the two is null on each side. */
  readonly servers: Readonly<
    Record<'source' | 'target', { mysql: MysqlServer | null; postgres: PostgresServer | null }>
  >;
  readonly relay: Relay;
  /** What DMS would say of the relay. */
  readonly dms: DmsWorld;
  /** The task of the forward link. */
  readonly task: string;
  destroy(): Promise<void>;
}

/** Which way, and how the link is configured. */
export interface CrossOptions {
  readonly from: Flavour | 'postgres';
  /** The flavour of the MySQL side when it is the target. */
  readonly to: Flavour | 'postgres';
  /** Further conditions of the gate on all signals. */
  readonly require?: readonly string[];
  /** Further tables that are relayed, by their names without a schema, with the columns of their keys; they are made by whoever names them. */
  readonly tables?: Readonly<Record<string, readonly string[]>>;
  /** Neither server waits for its disk: for loads that a relay of one session has to follow. */
  readonly quick?: boolean;
  /** Further lines of the migration's configuration, and of its gates. */
  readonly yaml?: string;
  readonly gates?: string;
  /** Between two heartbeats, if not as usual. */
  readonly heartbeatMs?: number;
}

/** A migration across engines that is being watched. */
export type CrossScenario = Scenario<CrossPair>;

const orders = 'create table orders (id bigint not null primary key, customer_id bigint not null, note varchar(200))';
const truth = 'create table lg_truth (id bigint not null primary key)';
/** Keys of what is relayed, by the name without its schema. */
const keys: Readonly<Record<string, readonly string[]>> = {
  heartbeat: ['daemon', 'link', 'run'],
  orders: ['id'],
  lg_truth: ['id'],
};

interface Made {
  side: CrossSide;
  mysql: MysqlServer | null;
  postgres: PostgresServer | null;
}

async function startSide(
  engine: Flavour | 'postgres',
  name: CrossSide['name'],
  cleanups: (() => Promise<void>)[],
  quick: boolean,
): Promise<Made> {
  if (engine === 'postgres') {
    const settings: Record<string, string> = quick ? { fsync: 'off' } : {};
    const server = await startPostgres({ name, database, settings });
    cleanups.push(() => server.destroy());
    const proxy = await startProxy(server);
    cleanups.push(() => proxy.close());
    const pool = new pg.Pool({ connectionString: server.adminUrl(database), max: 3, query_timeout: 10_000 });
    pool.on('error', () => undefined); // servers are killed here on purpose; the next query says so
    cleanups.push(() => pool.end());
    const ask: Ask = async (sql, values) => (await pool.query<Record<string, unknown>>(sql, values)).rows;
    const side: CrossSide = {
      ...{ engine, name, proxy, ask },
      adminUrl: () => server.adminUrl(database),
      kill: () => server.kill(),
      start: () => server.start(),
      hang: () => {
        throw new RangeError('a PostgreSQL server is many processes');
      },
    };
    return { side, mysql: null, postgres: server };
  }
  const settings: Record<string, string> = quick ? { sync_binlog: '0', innodb_flush_log_at_trx_commit: '2' } : {};
  const server = await startMysql({ flavour: engine, name, database, settings, serverId: name === 'onprem' ? 1 : 2 });
  cleanups.push(() => server.destroy());
  const proxy = await startProxy(server);
  cleanups.push(() => proxy.close());
  const pool = rootPool(server, database);
  cleanups.push(() => pool.end());
  const side: CrossSide = {
    ...{ engine: 'mysql' as const, name, proxy },
    ask: (sql, values) => pool.query(sql, values),
    adminUrl: () => server.adminUrl(database),
    kill: () => server.kill(),
    start: () => server.start(),
    hang: (on) => server.signal(on ? 'SIGSTOP' : 'SIGCONT'),
  };
  return { side, mysql: server, postgres: null };
}

function relayBetween(from: Made, to: Made, more: Readonly<Record<string, readonly string[]>>): Relay {
  const schema = from.side.engine === 'mysql' ? database : 'public';
  const own = to.side.engine === 'mysql' ? database : 'public';
  const named = (table: string): { table: string; key: readonly string[] } => {
    const name = table.split('.')[1] ?? '';
    return { table: table.startsWith('lockgate.') ? table : `${own}.${name}`, key: keys[name] ?? more[name] ?? [] };
  };
  const relayed = ['orders', 'lg_truth', ...Object.keys(more)].map((name) => `${schema}.${name}`);
  const tables = ['lockgate.heartbeat', ...relayed];
  if (from.mysql !== null && to.postgres !== null) {
    return new Relay(mysqlReader(from.mysql, tables), postgresWriter(to.postgres, database, named));
  }
  if (from.postgres !== null && to.mysql !== null) {
    return new Relay(
      postgresReader(from.postgres, database, tables),
      mysqlWriter(to.mysql, (table) => named(table).table),
    );
  }
  throw new RangeError('the two sides must be of different engines');
}

/** Rows of the observer's own, by the relay. */
function truthTable({ source, target }: CrossPair): TruthTable {
  const place = (side: CrossSide): string => (side.engine === 'mysql' ? '?' : '$1');
  const present = async (side: CrossSide, ids: readonly string[]): Promise<string[]> => {
    if (ids.length === 0) {
      await limited(side.ask('select 1'));
      return [];
    }
    const list = ids.map((id) => BigInt(id).toString()).join(', ');
    return (await limited(side.ask(`select id from lg_truth where id in (${list})`))).map((row) => String(row['id']));
  };
  return {
    setUp: async () => {
      await source.ask(`insert into lg_truth values (1)`);
      await waitFor("the observer's first row on the target", 20_000, async () => {
        return (await target.ask('select id from lg_truth where id = 1')).length > 0;
      });
      return 2n;
    },
    write: async (id) => {
      await limited(source.ask(`insert into lg_truth values (${place(source)})`, [id]));
    },
    committed: (ids) => present(source, ids),
    arrived: (ids) => present(target, ids),
    close: () => undefined,
  };
}

/** An answer that comes late is none: the observer must know soon that it cannot tell. */
async function limited<T>(work: Promise<T>): Promise<T> {
  work.catch(() => undefined);
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => (timer = setTimeout(() => reject(new Error('no answer')), 500)));
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Looks at DMS are this far apart. */
export const dmsEveryMs = 1_000;

function yaml(pair: CrossPair, endpoint: string, options: CrossOptions): (port: number) => string {
  const entry = ({ engine, proxy }: CrossSide): string =>
    engine === 'mysql'
      ? `{ engine: mysql, url: "mysql://lockgate:pw@127.0.0.1:${proxy.port}/${database}" }`
      : `{ engine: postgres, url: "postgres://lockgate:pw@127.0.0.1:${proxy.port}/${database}?sslmode=disable" }`;
  const lag = `< ${timing.thresholdMs}ms for ${timing.holdMs}ms`;
  return (port) => `
daemon: { id: tester, listen: 127.0.0.1:${port} }
databases:
  onprem: ${entry(pair.source)}
  aws: ${entry(pair.target)}
migrations:
  shop:
    source: onprem
    target: aws
    forward:
      via: dms
      dms: { tasks: [ "${pair.task}" ], region: eu-west-1, every: ${dmsEveryMs}ms, endpoint: "${endpoint}" }
      heartbeat: { interval: ${options.heartbeatMs ?? timing.intervalMs}ms }
${options.yaml ?? ''}    gates:
${options.gates ?? ''}      lag: { require: "forward.lag ${lag}" }
      drained: { require: fence.drained is 1 }
      dms: { require: [ forward.running is 1, forward.errors is 0, forward.tables_syncing is 0, dms.running is 1 ] }
      whole:
        require:
          - forward.lag ${lag}
          - source.reachable is 1
          - target.reachable is 1
${(options.require ?? []).map((c) => `          - ${c}\n`).join('')}`;
}

/** What DMS could not apply would be written there. */
export const controlTable = 'awsdms_control.awsdms_apply_exceptions';

async function mayReadControlTables({ engine, ask }: CrossSide): Promise<void> {
  if (engine === 'postgres') {
    await ask('grant usage on schema awsdms_control to lockgate');
    await ask(`grant select on ${controlTable} to lockgate`);
    return;
  }
  const [user] = await ask(`select host as place from mysql.user where user = 'lockgate'`);
  await ask(`grant select on awsdms_control.* to lockgate@'${String(user?.['place'])}'`);
}

/** Starts both servers with their tables and the fake of AWS; the relay is made and not started. */
export async function startCrossPair(options: CrossOptions): Promise<CrossPair & { readonly endpoint: string }> {
  const cleanups: (() => Promise<void>)[] = [];
  try {
    const from = await startSide(options.from, 'onprem', cleanups, options.quick ?? false);
    const to = await startSide(options.to, 'aws', cleanups, options.quick ?? false);
    for (const { side } of [from, to]) {
      await side.ask(orders);
      await side.ask(truth);
    }
    if (from.postgres !== null) {
      await from.side.ask(`select pg_create_logical_replication_slot('relay', 'test_decoding')`);
    }
    const relay = relayBetween(from, to, options.tables ?? {});
    cleanups.push(() => relay.close());
    const aws = await startFakeAws();
    cleanups.push(() => aws.close());
    const dms = new DmsWorld(aws);
    const schema = from.side.engine === 'mysql' ? database : 'public';
    const names = ['orders', 'lg_truth', ...Object.keys(options.tables ?? {})];
    const task = dms.addTask(
      'SHOP',
      names.map((name) => `${schema}.${name}`),
    );
    await to.side.ask(to.side.engine === 'mysql' ? 'create database awsdms_control' : 'create schema awsdms_control');
    await to.side.ask(`create table ${controlTable} (TASK_NAME varchar(128), ERROR_TIME timestamp)`);
    return {
      ...{ source: from.side, target: to.side, servers: { source: from, target: to }, relay, dms, task },
      endpoint: aws.endpoint,
      destroy: () => runAll(cleanups),
    };
  } catch (error) {
    await runAll(cleanups);
    throw error;
  }
}

/** A folder with the configuration of a migration over the relay, set up. */
export async function crossWorkspace(
  pair: CrossPair & { readonly endpoint: string },
  options: CrossOptions,
): Promise<Workspace> {
  const env = {
    AWS_ACCESS_KEY_ID: 'AKIATEST',
    AWS_SECRET_ACCESS_KEY: 'secret',
    AWS_ENDPOINT_URL_CLOUDWATCH: pair.endpoint,
    AWS_CONFIG_FILE: '/nonexistent',
    AWS_SHARED_CREDENTIALS_FILE: '/nonexistent',
  };
  const lockgate = await workspace(yaml(pair, pair.endpoint, options), { env });
  const args = ['setup', '--config', lockgate.configFile];
  for (const side of [pair.source, pair.target]) args.push('--admin', `${side.name}=${side.adminUrl()}`);
  const result = await lockgate.run(args, {}, 60_000);
  if (result.code !== 0) {
    await lockgate.destroy();
    throw new Error(`setup ended with ${String(result.code)}:\n${result.stdout}${result.stderr}`);
  }
  await mayReadControlTables(pair.target);
  return lockgate;
}

/** Starts both servers, the relay, the observer and the daemon, and waits until the gates are open. */
export async function startCrossScenario(options: CrossOptions): Promise<CrossScenario> {
  const cleanups: (() => Promise<void>)[] = [];
  try {
    const pair = await startCrossPair(options);
    cleanups.push(() => pair.destroy());
    const { relay } = pair;
    const lockgate = await crossWorkspace(pair, options);
    cleanups.push(() => lockgate.destroy());
    relay.start();
    cleanups.push(() => relay.close());
    const observer = await observe(truthTable(pair)).catch((error: unknown) => {
      throw new Error(`${String(error)}; the relay: ${relay.trouble ?? 'no trouble'}`);
    });
    cleanups.push(() => observer.stop());
    const daemon = await lockgate.start();
    const lagGate = new GateWatch(lockgate.url, 'shop/lag');
    const wholeGate = new GateWatch(lockgate.url, 'shop/whole');
    cleanups.push(
      () => lagGate.stop(),
      () => wholeGate.stop(),
    );
    const scenario = { pair, lockgate, daemon, observer, lagGate, wholeGate, destroy: () => runAll(cleanups) };
    await opened(scenario).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${relay.trouble ?? ''}\n${daemon.log().slice(-4_000)}`);
    });
    return scenario;
  } catch (error) {
    await runAll(cleanups);
    throw error;
  }
}
