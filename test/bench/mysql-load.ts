/** Writes on a MySQL or MariaDB pair made inside its servers, so that they cost the benchmark's own process nothing. */
import type { Flavour } from '../../deploy/demo/mysql-install.js';
import type { MysqlServer } from '../../deploy/demo/mysql-server.js';
import { rootConnection } from '../support/mysql-connection.js';
import { alone, type MysqlPair, type MysqlPairOptions } from '../support/mysql-pair.js';
import type { WatchLoad } from './lag.js';
import type { LoadRate } from './load.js';

/** Loads on the source, and those beside replication: on the target alone. */
export type MysqlLoad = Exclude<WatchLoad, 'small'>;

interface Plan {
  readonly on: 'source' | 'target';
  readonly sessions: number;
  /** Transactions a second of each session; Infinity is as many as there can be. */
  readonly tps: number;
  readonly rows: number;
  readonly rowBytes: number;
}

const bulk = { sessions: 1, tps: 10, rows: 5_000, rowBytes: 1_024 };
const brisk = { sessions: 8, rows: 1, rowBytes: 64 };

/** `bulk` is 50 MB/s; `brisk` as many single rows as the machine commits and the replica applies, beside it 20,000 a second. */
const plans: Readonly<Record<Exclude<MysqlLoad, 'rest'>, Plan>> = {
  bulk: { on: 'source', ...bulk },
  brisk: { on: 'source', ...brisk, tps: Infinity },
  // Fewer rows of more bytes: the server, which has to make them too, would reach half of it otherwise.
  'bulk-beside': { on: 'target', sessions: 2, tps: 5, rows: 1_250, rowBytes: 4_096 },
  'brisk-beside': { on: 'target', ...brisk, tps: 2_500 },
};

/** Of both servers: what is looked at is the reading of their logs, not how fast a disk of this machine syncs. */
const common = { sync_binlog: '0', innodb_flush_log_at_trx_commit: '2', max_binlog_size: '1073741824' };

/** What the loads need of a pair; the target has the means to be written to beside replication as fast as is asked for. */
export function busyPair(flavour: Flavour): Pick<MysqlPairOptions, 'flavour' | 'settings' | 'targetSettings'> {
  return {
    flavour,
    settings: common,
    targetSettings: {
      // Otherwise a large transaction goes through a temporary file first.
      binlog_cache_size: '16777216',
      innodb_doublewrite: 'OFF',
      innodb_buffer_pool_size: '512M',
      // In strict mode a write on the replica itself stops MariaDB's applier.
      ...(flavour === 'mariadb'
        ? { innodb_log_file_size: '512M', gtid_strict_mode: 'OFF' }
        : { innodb_redo_log_capacity: '1G' }),
    },
  };
}

/** Makes the procedures that the loads run, and the table of the target's own. */
export async function prepareMysqlLoads({ source, target, database }: MysqlPair): Promise<void> {
  await alone(source, `use ${database}; set session sql_log_bin = 0; ${procedure('orders', 'customers')}`);
  await alone(
    target,
    `use ${database}; set session sql_log_bin = 0;
     create table beside (id bigint auto_increment primary key, customer_id bigint, name varchar(20), note text, notes text);
     ${procedure('beside', 'beside')}`,
  );
}

function procedure(one: string, many: string): string {
  return `create procedure bench_load(tps double, many int, bytes int, seconds double)
     begin
       declare started datetime(6) default sysdate(6);
       declare done int default 0;
       declare ahead double;
       while timestampdiff(microsecond, started, sysdate(6)) < seconds * 1e6 do
         if many = 1 then
           insert into ${one} (customer_id, note) values (1 + done % 20, repeat('x', bytes));
         else
           insert into ${many} (name, notes)
             select 'bulk', repeat('x', bytes) from customers a, customers b, customers c where a.id <= 20 and b.id <= 20 and c.id <= 20
             limit many;
         end if;
         set done = done + 1;
         set ahead = done / tps - timestampdiff(microsecond, started, sysdate(6)) / 1e6;
         if ahead > 0.001 then do sleep(ahead); end if;
       end while;
       select done;
     end`;
}

/** Writes for so long; resolves at the end with the rate that was reached. */
export async function startMysqlLoad(pair: MysqlPair, name: MysqlLoad, seconds: number): Promise<LoadRate | null> {
  if (name === 'rest') return null;
  const plan = plans[name];
  const server: MysqlServer = pair[plan.on];
  const connections = await Promise.all(
    Array.from({ length: plan.sessions }, () => rootConnection(server, pair.database)),
  );
  try {
    const from = performance.now();
    const tps = Math.min(plan.tps, 1e9);
    const done = await Promise.all(
      connections.map(async (c) => {
        const [row] = await c.query<{ done: number }>('call bench_load(?, ?, ?, ?)', [
          ...[tps, plan.rows, plan.rowBytes, seconds],
        ]);
        return row?.done ?? 0;
      }),
    );
    const each = done.reduce((sum, n) => sum + n, 0) / ((performance.now() - from) / 1_000);
    return { tps: each, bytesPerSecond: each * plan.rows * plan.rowBytes };
  } finally {
    for (const c of connections) c.destroy();
  }
}

/** Takes away what the loads wrote, as far as a later one would be slower for it. */
export async function clearMysqlLoads(pair: MysqlPair): Promise<void> {
  await pair.onSource('truncate orders');
  await alone(pair.target, `truncate ${pair.database}.beside`);
  await pair.settled(120_000);
}
