/** The same as `lag` on MariaDB and MySQL, and what reading a busy binlog costs the daemon. */
import { readdirSync, readFileSync } from 'node:fs';
import { mysqlEngine } from '../../collectors/mysql/engine.js';
import { flavours, type Flavour } from '../../deploy/demo/mysql-install.js';
import { rootConnection } from '../support/mysql-connection.js';
import { alone, startMysqlPair, type MysqlPair } from '../support/mysql-pair.js';
import { installMysqlBed } from '../support/mysql-bed.js';
import { writeConfig } from './daemon.js';
import { lagReport, measureWatch, type LagResult } from './lag.js';
import type { LoadName, LoadRate } from './load.js';
import { busyShare } from './machine.js';
import { whole, type BenchContext, type SectionResult } from './report.js';

interface Plan {
  sessions: number;
  /** Transactions a second of each session; Infinity is as many as there can be. */
  tps: number;
  rows: number;
  rowBytes: number;
}

/** `bulk` is 50 MB/s, `brisk` as many single rows as the machine commits and the replica applies. */
const plans: Readonly<Partial<Record<LoadName, Plan>>> = {
  bulk: { sessions: 1, tps: 10, rows: 5_000, rowBytes: 1_024 },
  brisk: { sessions: 8, tps: Infinity, rows: 1, rowBytes: 64 },
};

interface Cost {
  /** Processor time of the process's main thread, and of all others together, in share of a core. */
  main: number;
  others: number;
  /** Resident memory at the end. */
  mebibytes: number;
}

type MysqlResult = LagResult & { flavour: Flavour } & { cost: Cost };

function yaml(pair: MysqlPair, watch: 'binlog' | 'poll'): string {
  const url = (port: number): string => `mysql://lg:lg@127.0.0.1:${port}/${pair.database}`;
  const read = watch === 'binlog' ? 'auto' : 'off';
  return `
daemon: { id: bench-${watch}, listen: 127.0.0.1:1 }
databases:
  onprem: { engine: mysql, url: "${url(pair.source.port)}", read: ${read} }
  aws: { engine: mysql, url: "${url(pair.target.port)}", read: ${read} }
migrations:
  shop:
    source: onprem
    target: aws
    forward: { via: mysql, heartbeat: { interval: 50ms, watch: ${watch} } }
    gates: { lag: { require: "forward.lag < 2s" } }
`;
}

/** Measures both ways to watch on both flavours. */
export async function measureMysql({ quick, progress }: BenchContext): Promise<SectionResult> {
  const busyBefore = await busyShare(1_000);
  const results: MysqlResult[] = [];
  for (const flavour of flavours) {
    progress(`mysql: starting two servers of ${flavour}`);
    // What is measured is the reading of the log, not how fast a disk of this machine syncs.
    const settings = { sync_binlog: '0', innodb_flush_log_at_trx_commit: '2', max_binlog_size: '1073741824' };
    const pair = await startMysqlPair({ flavour, settings });
    try {
      await installMysqlBed(pair);
      await prepare(pair);
      for (const watch of ['binlog', 'poll'] as const) {
        const { config } = writeConfig(yaml(pair, watch));
        for (const load of ['rest', 'bulk', 'brisk'] as const) {
          progress(`mysql: ${flavour}, watch ${watch}, load ${load}`);
          const sides = { source: pair.source.adminUrl(pair.database), target: pair.target.adminUrl(pair.database) };
          const cost = beginCost();
          const result = await measureWatch({
            ...{ config, engine: mysqlEngine, sides, watch, load, seconds: quick ? 5 : 20 },
            startLoad: (seconds) => startLoad(pair, load, seconds),
          });
          results.push({ ...result, flavour, cost: cost() });
          await pair.onSource('truncate orders');
          await pair.settled(120_000);
        }
      }
    } finally {
      await pair.destroy();
    }
  }
  return report(results, busyBefore);
}

async function prepare({ source }: MysqlPair): Promise<void> {
  await alone(
    source,
    `use app; set session sql_log_bin = 0;
     create procedure bench_load(tps double, many int, bytes int, seconds double)
     begin
       declare started datetime(6) default sysdate(6);
       declare done int default 0;
       declare ahead double;
       while timestampdiff(microsecond, started, sysdate(6)) < seconds * 1e6 do
         if many = 1 then
           insert into orders (customer_id, note) values (1 + done % 20, repeat('x', bytes));
         else
           insert into customers (name, notes)
             select 'bulk', repeat('x', bytes) from customers a, customers b, customers c where a.id <= 20 and b.id <= 20 and c.id <= 20
             limit many;
         end if;
         set done = done + 1;
         set ahead = done / tps - timestampdiff(microsecond, started, sysdate(6)) / 1e6;
         if ahead > 0.001 then do sleep(ahead); end if;
       end while;
       select done;
     end`,
  );
}

async function startLoad(pair: MysqlPair, name: LoadName, seconds: number): Promise<LoadRate | null> {
  const plan = plans[name];
  if (plan === undefined) return null;
  const connections = await Promise.all(
    Array.from({ length: plan.sessions }, () => rootConnection(pair.source, pair.database)),
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

/** Begins to measure what this process uses; the reading threads are all but its main one. */
function beginCost(): () => Cost {
  const [before, from] = [threadTimes(), performance.now()];
  let sampled = before;
  // A thread that has ended takes its figures with it.
  const timer = setInterval(() => (sampled = new Map([...sampled, ...threadTimes()])), 500);
  return () => {
    clearInterval(timer);
    sampled = new Map([...sampled, ...threadTimes()]);
    const seconds = (performance.now() - from) / 1_000;
    const used = [...sampled].map(([id, ticks]) => [id, (ticks - (before.get(id) ?? 0)) / 100] as const);
    const share = (main: boolean): number =>
      used.filter(([id]) => (id === process.pid) === main).reduce((sum, [, s]) => sum + s, 0) / seconds;
    return { main: share(true), others: share(false), mebibytes: process.memoryUsage.rss() / 2 ** 20 };
  };
}

/** Ticks of 10 ms that each thread of this process has used. */
function threadTimes(): Map<number, number> {
  const times = new Map<number, number>();
  for (const id of readdirSync('/proc/self/task')) {
    try {
      const fields = readFileSync(`/proc/self/task/${id}/stat`, 'utf8')
        .replace(/^.*\) /, '')
        .split(' ');
      times.set(Number(id), Number(fields[11]) + Number(fields[12]));
    } catch {
      // It ended meanwhile.
    }
  }
  return times;
}

function report(results: readonly MysqlResult[], busyBefore: number): SectionResult {
  const parts = flavours.map((flavour) =>
    lagReport(
      results.filter((r) => r.flavour === flavour),
      busyBefore,
      `lag minus truth on ${flavour}, heartbeats every 50 ms`,
    ),
  );
  const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;
  const rows = results.map((r) => [
    `${r.flavour}, ${r.watch}, ${r.load}`,
    percent(r.cost.main),
    percent(r.cost.others),
    `${whole(r.cost.mebibytes)} MiB`,
  ]);
  const notes = ['Of one core, over the whole measurement, the start of the daemon’s collectors included.'];
  const head = ['', 'main thread', 'other threads', 'memory'];
  return {
    tables: [
      ...parts.flatMap((p) => p.tables),
      { title: 'what it costs the process of the daemon', head, rows, notes },
    ],
    data: { busyBefore, results },
    wrong: parts.reduce((sum, p) => sum + (p.wrong ?? 0), 0),
  };
}
