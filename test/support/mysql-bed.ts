/** Heartbeats and binlog readers of the daemon against a MySQL or MariaDB pair, and all that they have said. */
import { randomBytes } from 'node:crypto';
import type { Collector, CollectorContext, LinkPlan } from '../../collectors/collector.js';
import { HeartbeatWatcher } from '../../collectors/heartbeat/watcher.js';
import { mysqlHeartbeats } from '../../collectors/mysql/heartbeats.js';
import { SCHEMA, TABLES } from '../../collectors/mysql/setup/objects.js';
import { SideIdentity, identified } from '../../collectors/session/side-identity.js';
import type { DatabaseConfig, LinkConfig } from '../../daemon/core/config.js';
import type { Observation } from '../../daemon/core/observation.js';
import { SystemClock } from '../../daemon/lifecycle/clock.js';
import type { MysqlServer } from '../../deploy/demo/mysql-server.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { databaseAt, planOf } from './listening.js';
import { alone, type MysqlPair } from './mysql-pair.js';

/** Who the daemon is on both servers. */
export const bedUser = { name: 'lg', password: 'lg' };

/** Makes lockgate's tables on both sides, and the account of the daemon with what `lockgate grants` would give it. */
export async function installMysqlBed(pair: MysqlPair): Promise<void> {
  await pair.onSource(`${SCHEMA.make} ${TABLES.map(({ make }) => make).join('\n')}`);
  await pair.settled();
  for (const server of [pair.source, pair.target]) await makeBedUser(server);
}

/** Makes the account of the daemon on one server, past its binlog. */
export async function makeBedUser(server: MysqlServer): Promise<void> {
  const status =
    server.flavour === 'mariadb' ? 'binlog monitor, slave monitor' : 'replication client, xa_recover_admin';
  await alone(
    server,
    `set session sql_log_bin = 0; create user lg@'%' identified by 'lg';
     grant replication slave, process, ${status} on *.* to lg@'%';
     grant select, insert, delete on lockgate.* to lg@'%'`,
  );
}

/** How a bed differs from the usual one. */
export interface MysqlBedOptions {
  readonly watch?: LinkConfig['heartbeat']['watch'];
  readonly sourceRead?: DatabaseConfig['read'];
  readonly targetRead?: DatabaseConfig['read'];
  readonly serverId?: number;
  readonly daemonId?: string;
  /** Makes the collectors; those of the sources unless told. */
  readonly collectors?: typeof mysqlHeartbeats;
}

/** Collectors at work. */
export interface MysqlBed {
  readonly daemonId: string;
  readonly seen: readonly Observation[];
  readonly logged: readonly string[];
  /** What was read of each log, by `database/stream`. */
  readonly read: ReadonlyMap<string, { transactions: number; bytes: number }>;
  of<K extends Observation['kind']>(kind: K, since?: number): Extract<Observation, { kind: K }>[];
  /** How heartbeats are watched on the target, and why. */
  watched(): { mode: string; why: string };
  until(what: string, condition: () => boolean | Promise<boolean>, timeoutMs?: number): Promise<void>;
  stop(): Promise<void>;
}

/** Starts writer, watcher, readers and watches of local writes, started again when they fail as the supervisor would. */
export function startMysqlBed(pair: MysqlPair, options: MysqlBedOptions = {}): MysqlBed {
  const clock = new SystemClock();
  const database = (side: 'source' | 'target', read: DatabaseConfig['read'] = 'auto'): DatabaseConfig => {
    const db: DatabaseConfig = {
      ...databaseAt(side, pair.daemonUrl(side), bedUser),
      engine: 'mysql',
      read,
      ...(options.serverId === undefined ? {} : { serverId: options.serverId }),
    };
    return identified(db, new SideIdentity(db, clock));
  };
  const [from, to] = [database('source', options.sourceRead), database('target', options.targetRead)];
  const plan: LinkPlan = planOf(from, to, { via: 'mysql', flows: ['default channel'] });
  plan.config = { ...plan.config, heartbeat: { intervalUs: 100_000, watch: options.watch ?? 'auto' } };
  const seen: Observation[] = [];
  const logged: string[] = [];
  const read = new Map<string, { transactions: number; bytes: number }>();
  const log = (fields: object, message: string): void => void logged.push(`${message} ${JSON.stringify(fields)}`);
  const daemonId = options.daemonId ?? `test-${randomBytes(3).toString('hex')}`;
  const context: CollectorContext = {
    clock,
    log: { debug: log, info: log, warn: log, error: log },
    daemonId,
    isPassive: (name) => name === 'target',
    tally: (database, stream, transactions, bytes) => {
      const before = read.get(`${database}/${stream}`) ?? { transactions: 0, bytes: 0 };
      read.set(`${database}/${stream}`, {
        transactions: before.transactions + transactions,
        bytes: before.bytes + bytes,
      });
    },
  };
  const collectors = (options.collectors ?? mysqlHeartbeats)([from, to], [plan], context, () => false);
  const stopping = new AbortController();
  const supervise = async (collector: Collector): Promise<void> => {
    while (!stopping.signal.aborted) {
      try {
        await collector.run((o) => void seen.push(o), stopping.signal);
      } catch (error) {
        log({ collector: collector.name }, `fault: ${String(error)}`);
        seen.push(...collector.down(String(error)));
        await clock.sleep(200, stopping.signal);
      }
    }
  };
  const running = collectors.map(supervise);
  const watcher = collectors.find((c) => c instanceof HeartbeatWatcher);
  return {
    daemonId,
    seen,
    logged,
    read,
    of: <K extends Observation['kind']>(kind: K, since = 0) =>
      seen.slice(since).filter((o): o is Extract<Observation, { kind: K }> => o.kind === kind),
    watched: () => watcher?.describe()[0] ?? { mode: 'none', why: '' },
    until: async (what, condition, timeoutMs = 15_000) => {
      await waitFor(what, timeoutMs, condition, 10).catch((error: unknown) => {
        const last = seen
          .slice(-6)
          .map((o) => JSON.stringify(o, (_, v: unknown) => (typeof v === 'bigint' ? String(v) : v)));
        throw new Error([String(error), ...logged.slice(-12), ...last].join('\n'), { cause: error });
      });
    },
    async stop() {
      stopping.abort();
      await Promise.all(running);
    },
  };
}
