import { waitFor } from '../../deploy/demo/run-folder.js';
import type { Flavour } from '../../deploy/demo/mysql-install.js';
import { startMysql, type MysqlServer } from '../../deploy/demo/mysql-server.js';
import { rootConnection, rootPool, type MysqlQuery, type MysqlRow } from './mysql-connection.js';
import { replicaWords, sourceStatus, type SourceAddress } from './mysql-dialect.js';
import { mysqlDatabase as database, mysqlShopRows, mysqlShopSchema } from './mysql-shop.js';
import { mysqlTroubles, type MysqlTroubles } from './mysql-troubles.js';
import { runAll } from './pair.js';
import { startProxy, type Proxy } from './proxy.js';

/** Which servers to start and how. */
export interface MysqlPairOptions {
  readonly flavour: Flavour;
  /** Settings of both servers. */
  readonly settings?: Readonly<Record<string, string>>;
  readonly sourceSettings?: Readonly<Record<string, string>>;
  readonly targetSettings?: Readonly<Record<string, string>>;
  /** Replication by GTID (the default) or by file and position. */
  readonly gtid?: boolean;
  /** The target's channels, the one without a name unless told. The first is this pair's; each further one brings a source of its own. */
  readonly channels?: readonly string[];
  /** Environment of one server, for libfaketime for instance. */
  readonly sourceEnv?: Readonly<Record<string, string>>;
  readonly targetEnv?: Readonly<Record<string, string>>;
}

/** Two MariaDB or MySQL servers with replication between them, and the faults that tests bring upon it. */
export interface MysqlPair extends MysqlTroubles {
  readonly flavour: Flavour;
  readonly gtid: boolean;
  /** Server ids 1 and 2. */
  readonly source: MysqlServer;
  readonly target: MysqlServer;
  /** Sources of the further channels, with the database `side` and its table `noise`. */
  readonly others: readonly MysqlServer[];
  readonly channels: readonly string[];
  readonly database: string;
  /** Between target and source: carries replication and nothing else. */
  readonly replicationProxy: Proxy;
  /** For the daemon's own connections. */
  readonly sourceProxy: Proxy;
  readonly targetProxy: Proxy;
  /** Root's address of one side through the daemon's proxy. */
  daemonUrl(side: 'source' | 'target'): string;
  /** Runs statements as root over a direct connection, in the shop's database, and returns the rows. */
  readonly onSource: MysqlQuery;
  readonly onTarget: MysqlQuery;
  /** Inserts an order with this id (or the next) on the source and returns the id. */
  placeOrder(id?: string): Promise<string>;
  /** Waits until the target shows the order. */
  arrived(id: string, timeoutMs?: number): Promise<void>;
  /** Waits until the target has applied what the source has committed so far. */
  settled(timeoutMs?: number): Promise<void>;
  /** What the target says of a channel, as it says it; undefined when it is no replica. */
  replicaStatus(channel?: string): Promise<MysqlRow | undefined>;
  /** Stops the servers and all proxies and removes their folders. */
  destroy(): Promise<void>;
}

/** A channel that does not exist is an error when it has a name (MariaDB's, MySQL's), and an empty answer without one. */
const noSuchChannel = [1617, 3074];

const replicator = { user: 'replicator', password: 'replicator' };

/** Starts source and target with the shop's tables and replication through a proxy, and waits until the target has the first rows. */
export async function startMysqlPair(options: MysqlPairOptions): Promise<MysqlPair> {
  const cleanups: (() => Promise<void>)[] = [];
  try {
    return await buildPair(options, cleanups);
  } catch (error) {
    await runAll(cleanups);
    throw error;
  }
}

async function buildPair(options: MysqlPairOptions, cleanups: (() => Promise<void>)[]): Promise<MysqlPair> {
  const { flavour, gtid = true, channels = [''] } = options;
  const channel = channels[0] ?? '';
  const common = { flavour, gtid };
  // A replica that is killed may have a torn relay log, and without GTIDs what it fetches again may be what it has already.
  const recovery: Record<string, string> = flavour === 'mysql' && !gtid ? { relay_log_recovery: 'ON' } : {};
  const [source, target, ...others] = await allOrNone(
    [
      startMysql({
        ...common,
        name: 'source',
        serverId: 1,
        database,
        settings: { ...options.settings, ...options.sourceSettings },
        env: options.sourceEnv ?? {},
      }),
      startMysql({
        ...common,
        name: 'target',
        serverId: 2,
        database,
        // As a target in a migration ought to be; root is exempt.
        settings: { read_only: 'ON', ...recovery, ...options.settings, ...options.targetSettings },
        env: options.targetEnv ?? {},
      }),
      ...channels.slice(1).map((name, i) => startMysql({ ...common, name: `source-${name}`, serverId: 3 + i })),
    ],
    cleanups,
  );
  if (source === undefined || target === undefined) throw new Error('a pair needs two servers');
  const proxy = async (server: MysqlServer): Promise<Proxy> => {
    const made = await startProxy(server);
    cleanups.push(() => made.close());
    return made;
  };
  const query = (server: MysqlServer): MysqlQuery => {
    const pool = rootPool(server, database);
    cleanups.push(() => pool.end());
    return pool.query;
  };
  const replicationProxy = await proxy(source);
  const sourceProxy = await proxy(source);
  const targetProxy = await proxy(target);
  const onSource = query(source);
  const onTarget = query(target);

  for (const server of [source, ...others]) {
    await alone(
      server,
      `set session sql_log_bin = 0;
       create user '${replicator.user}'@'%' identified by '${replicator.password}';
       grant replication slave on *.* to '${replicator.user}'@'%'`,
    );
  }
  // Replication begins at the beginning of the binary log, so tables and rows come to the target by it.
  await onSource(mysqlShopSchema + mysqlShopRows);
  const address = (port: number): SourceAddress => ({
    ...replicator,
    port,
    from: gtid ? 'gtid' : { file: 'binlog.000001', position: 4 },
  });
  for (const [i, other] of others.entries()) {
    const words = replicaWords(flavour, channels[i + 1]);
    if (flavour === 'mariadb') await alone(other, `set global gtid_domain_id = ${i + 1}`);
    await alone(other, 'create database side; create table side.noise (id bigint auto_increment primary key)');
    await alone(target, words.become(address(other.port)));
    await alone(target, words.start);
  }
  const words = replicaWords(flavour, channel);
  await alone(target, words.become(address(replicationProxy.port)));
  await alone(target, words.start);

  const replicaStatus = async (name = channel): Promise<MysqlRow | undefined> => {
    const answer = await onTarget(replicaWords(flavour, name).status).catch((error: unknown) => {
      if (noSuchChannel.includes((error as { errno?: number }).errno ?? 0)) return [];
      throw error;
    });
    return answer[0];
  };
  /** Waits, and says what the replica says where it is in vain. */
  const replicated = async (what: string, timeoutMs: number, done: () => Promise<boolean>): Promise<void> => {
    try {
      await waitFor(what, timeoutMs, done);
    } catch (error) {
      const status = Object.entries((await replicaStatus().catch(() => null)) ?? {});
      const told = status.filter(([name]) => /_Running|_Error$|_Log_(File|Pos)$/.test(name)).map(([n, v]) => `${n}=${String(v)}`); // prettier-ignore
      throw new Error(`${error instanceof Error ? error.message : String(error)}; ${told.join(' ')}`, { cause: error });
    }
  };
  const base = { flavour, gtid, channel, source, target, replicationProxy, onSource, onTarget };
  const pair: MysqlPair = {
    ...base,
    others,
    channels,
    database,
    sourceProxy,
    targetProxy,
    daemonUrl(side) {
      const server = side === 'source' ? source : target;
      const url = new URL(server.adminUrl(database));
      url.port = String((side === 'source' ? sourceProxy : targetProxy).port);
      return url.href;
    },
    async placeOrder(id) {
      const connection = await rootConnection(source, database);
      try {
        const [row] = await connection.query<{ id: string | number }>(
          `insert into orders (id, customer_id, amount, note) values (?, 1, 1, 'placed');
           select coalesce(?, last_insert_id()) as id`,
          [id ?? null, id ?? null],
        );
        if (row === undefined) throw new Error('the insert of an order returned no row');
        return String(row.id);
      } finally {
        connection.destroy();
      }
    },
    async arrived(id, timeoutMs = 10_000) {
      await replicated(`order ${id} on the target`, timeoutMs, async () => {
        return (await onTarget('select 1 from orders where id = ?', [id])).length > 0;
      });
    },
    async settled(timeoutMs = 30_000) {
      const [sql, what] = await positionReached(pair, channel);
      await replicated(`the target to apply ${what}`, timeoutMs, async () => {
        const [row] = await onTarget<{ done: number | string | null }>(sql);
        return row?.done !== null && Number(row?.done) === 1;
      });
    },
    replicaStatus,
    ...mysqlTroubles({ ...base, words, address: () => address(replicationProxy.port), alone }),
    destroy: () => runAll(cleanups),
  };
  await pair.settled();
  return pair;
}

/** A question to the target that answers 1 once it has applied what the source has committed by now, and the position's name. */
async function positionReached(pair: MysqlPair, channel: string): Promise<[sql: string, what: string]> {
  const { flavour, gtid, onSource } = pair;
  if (flavour === 'mariadb') {
    const [row] = await onSource<{ gtid: string }>('select @@global.gtid_binlog_pos as gtid');
    const set = row?.gtid ?? '';
    return [`select master_gtid_wait('${set}', 0.2) = 0 as done`, set];
  }
  if (gtid) {
    const [row] = await onSource<{ gtid: string }>('select @@global.gtid_executed as gtid');
    const set = (row?.gtid ?? '').replaceAll('\n', '');
    return [`select gtid_subset('${set}', @@global.gtid_executed) as done`, set];
  }
  const [row] = await onSource<{ File: string; Position: number }>(sourceStatus(flavour));
  const [file, position] = [row?.File ?? '', Number(row?.Position)];
  return [`select source_pos_wait('${file}', ${position}, 0.2, '${channel}') >= 0 as done`, `${file}:${position}`];
}

/** Runs statements on a connection of their own, whose session settings end with it. */
export async function alone(server: MysqlServer, sql: string): Promise<MysqlRow[]> {
  const connection = await rootConnection(server, '');
  try {
    return await connection.query(sql);
  } finally {
    connection.destroy();
  }
}

/** Waits for all servers; when one fails, the others are destroyed before the error goes on. */
async function allOrNone(starting: Promise<MysqlServer>[], cleanups: (() => Promise<void>)[]): Promise<MysqlServer[]> {
  for (const result of await Promise.allSettled(starting)) {
    if (result.status === 'fulfilled') cleanups.push(() => result.value.destroy());
  }
  return await Promise.all(starting);
}
