/** The same as `lag` on MariaDB and MySQL, and what reading a busy binlog costs the daemon. */
import { readdirSync, readFileSync } from 'node:fs';
import { mysqlEngine } from '../../collectors/mysql/engine.js';
import { flavours, type Flavour } from '../../deploy/demo/mysql-install.js';
import { startMysqlPair, type MysqlPair } from '../support/mysql-pair.js';
import { installMysqlBed } from '../support/mysql-bed.js';
import { writeConfig } from './daemon.js';
import { lagReport, measureWatch, type LagResult } from './lag.js';
import { busyShare } from './machine.js';
import { busyPair, clearMysqlLoads, prepareMysqlLoads, startMysqlLoad, type MysqlLoad } from './mysql-load.js';
import { whole, type BenchContext, type SectionResult } from './report.js';

interface Cost {
  /** Processor time of the process's main thread, and of all others together, in share of a core. */
  main: number;
  others: number;
  /** Resident memory at the end. */
  mebibytes: number;
}

type MysqlResult = LagResult & { flavour: Flavour } & { cost: Cost };

/** The configuration of one measurement. */
export function mysqlBenchYaml(pair: MysqlPair, watch: 'binlog' | 'poll'): string {
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

/** `bulk` and `brisk` come by replication; beside it, the target's reader has to pass what its replica could not apply. */
const loads: readonly MysqlLoad[] = ['rest', 'bulk', 'brisk', 'bulk-beside', 'brisk-beside'];

/** Measures both ways to watch on both flavours. */
export async function measureMysql({ quick, progress }: BenchContext): Promise<SectionResult> {
  const busyBefore = await busyShare(1_000);
  const results: MysqlResult[] = [];
  for (const flavour of flavours) {
    progress(`mysql: starting two servers of ${flavour}`);
    const pair = await startMysqlPair(busyPair(flavour));
    try {
      await installMysqlBed(pair);
      await prepareMysqlLoads(pair);
      for (const watch of ['binlog', 'poll'] as const) {
        const { config } = writeConfig(mysqlBenchYaml(pair, watch));
        for (const load of loads) {
          progress(`mysql: ${flavour}, watch ${watch}, load ${load}`);
          const sides = { source: pair.source.adminUrl(pair.database), target: pair.target.adminUrl(pair.database) };
          const cost = beginCost();
          const result = await measureWatch({
            ...{ config, engine: mysqlEngine, sides, watch, load, seconds: quick ? 5 : 20 },
            startLoad: (seconds) => startMysqlLoad(pair, load, seconds),
          });
          results.push({ ...result, flavour, cost: cost() });
          await clearMysqlLoads(pair);
        }
      }
    } finally {
      await pair.destroy();
    }
  }
  return report(results, busyBefore);
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
