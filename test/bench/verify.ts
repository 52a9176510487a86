/** How fast verification compares, against what the databases and pt-table-checksum need, and what it costs the application's writes. */
import type { Verifier } from '../../collectors/verify/verifier.js';
import { createVerifier } from '../../collectors/verify/service.js';
import { SystemClock } from '../../daemon/lifecycle/clock.js';
import { contextOf } from '../support/listening.js';
import { ptTableChecksum } from '../support/pt-checksum.js';
import type { Flavoured } from '../support/verify/kinds.js';
import { dataOf, orderOf, runPass, verifyConfig } from '../support/verify/passes.js';
import { TPCH_TABLES, type TpchTable } from '../support/verify/tpch.js';
import { busyShare } from './machine.js';
import { whole, type BenchContext, type SectionResult, type Table } from './report.js';
import { median } from './statistics.js';
import { ownScanOf, SCHEMA, sizeOf, startBenchSides, type BenchSides } from './verify-sides.js';
import { measureLatency, type LatencyResult } from './verify-latency.js';

interface ScanResult {
  flavour: Flavoured;
  table: TpchTable;
  rows: number;
  bytes: number;
  /** Seconds, the middle of all runs. */
  own: number;
  pass: number;
  /** Null on PostgreSQL, and where it could not be run. */
  ptTableChecksum: number | null;
}

const flavours: readonly Flavoured[] = ['postgres', 'mariadb', 'mysql'];
/** A table of fewer rows shows only what a pass takes to begin. */
const LEAST_ROWS = 10_000;

/** Measures on all three; `LOCKGATE_BENCH_SCALE=1` is 1 GB on each side, else lineitem has a million rows. */
export async function measureVerify({ quick, progress }: BenchContext): Promise<SectionResult> {
  const scale = Number(process.env['LOCKGATE_BENCH_SCALE'] ?? (quick ? 1 / 60 : 1 / 6));
  const named = (process.env['LOCKGATE_BENCH_FLAVOURS'] ?? flavours.join(',')).split(',');
  const parts = (process.env['LOCKGATE_BENCH_PARTS'] ?? 'scan,latency').split(',');
  const busyBefore = await busyShare(2_000);
  const scans: ScanResult[] = [];
  const latencies: LatencyResult[] = [];
  let aside = false;
  for (const flavour of flavours.filter((f) => named.includes(f))) {
    progress(`verify: starting two servers of ${flavour}`);
    const sides = await startBenchSides(flavour, scale, (text) => progress(`verify: ${text}`));
    try {
      if (parts.includes('scan')) scans.push(...(await measureScans(sides, quick ? 1 : 3, progress)));
      if (parts.includes('latency')) {
        // LOCKGATE_BENCH_TARGET=beside leaves the target its full share of this machine's processors.
        if (process.env['LOCKGATE_BENCH_TARGET'] !== 'beside') aside = sides.targetAside();
        latencies.push(
          await measureLatency(sides, quick ? { rounds: 3, seconds: 4 } : { rounds: 12, seconds: 7 }, progress),
        );
      }
    } finally {
      await sides.destroy();
    }
  }
  return report(scans, latencies, busyBefore, scale, aside);
}

/** A verifier at full speed; nothing is written meanwhile. */
export function fastVerifier(sides: BenchSides): Verifier {
  const context = contextOf();
  const clock = new SystemClock();
  return createVerifier({
    ...{ clock, log: context.log },
    source: dataOf(sides.source, context),
    target: dataOf(sides.target, context),
    config: { ...verifyConfig, tables: [`${SCHEMA}.*`], chunkUs: 500_000 },
    carried: null,
    settling: {
      by: 'link',
      gauge: { lag: () => ({ seconds: 0, reason: null }), passedAt: () => clock.monotonicNow() },
    },
  });
}

async function measureScans(
  sides: BenchSides,
  runs: number,
  progress: BenchContext['progress'],
): Promise<ScanResult[]> {
  const verifier = fastVerifier(sides);
  const results: ScanResult[] = [];
  try {
    for (const table of TPCH_TABLES) {
      const { rows, bytes } = await sizeOf(sides.source, table);
      if (rows < LEAST_ROWS) continue;
      const sql = await ownScanOf(sides.source, table);
      const own = async (): Promise<number> => {
        const from = performance.now();
        const answers = await Promise.all([sides.source.ask(sql), sides.target.ask(sql)]);
        if (JSON.stringify(answers[0]) !== JSON.stringify(answers[1]))
          throw new Error(`${table} differs between the sides`);
        return (performance.now() - from) / 1_000;
      };
      const pass = async (): Promise<number> => {
        const { end, results: found, seconds } = await runPass(verifier, orderOf([`${SCHEMA}.${table}`]));
        const result = found.get(`${SCHEMA}.${table}`);
        if (!end.complete || result?.state !== 'match' || result.sourceRows !== rows) {
          throw new Error(`${table}: ${end.reason ?? ''} ${JSON.stringify(result)}`);
        }
        return seconds;
      };
      // Once unmeasured, so that neither finds the tables cold.
      await own();
      await pass();
      const [owns, passes]: [number[], number[]] = [[], []];
      for (let i = 0; i < runs; i++) {
        owns.push(await own());
        passes.push(await pass());
      }
      let tool: number | null = null;
      if (sides.mysql !== null) {
        progress(`verify: pt-table-checksum over ${table}`);
        tool = await ptTableChecksum(sides.mysql, SCHEMA, table).then(
          (r) => r.seconds,
          (error: unknown) => {
            progress(`verify: ${String(error)}`);
            return null;
          },
        );
      }
      results.push({
        flavour: sides.flavour,
        table,
        rows,
        bytes,
        own: median(owns),
        pass: median(passes),
        ptTableChecksum: tool,
      });
      const last = results.at(-1);
      progress(
        `verify: ${sides.flavour} ${table}: own ${last?.own.toFixed(2) ?? ''} s, pass ${last?.pass.toFixed(2) ?? ''} s`,
      );
    }
  } finally {
    await verifier.close();
  }
  return results;
}

function report(
  scans: readonly ScanResult[],
  latencies: readonly LatencyResult[],
  busyBefore: number,
  scale: number,
  aside: boolean,
): SectionResult {
  const tables: Table[] = [];
  const busy = `Others used ${(busyBefore * 100).toFixed(0)} % of the machine before the measurement.`;
  if (scans.length > 0) {
    tables.push({
      title: `verification at full speed, TPC-H at scale ${scale.toFixed(3)}, both sides on this machine`,
      head: ['', 'rows', 'MB', 'own rows/s', 'pass rows/s', 'pass MB/s', 'times own', 'pt-table-checksum rows/s'],
      rows: scans.map((s) => [
        `${s.flavour}, ${s.table}`,
        whole(s.rows),
        whole(s.bytes / 1e6),
        whole(s.rows / s.own),
        whole(s.rows / s.pass),
        (s.bytes / 1e6 / s.pass).toFixed(1),
        (s.pass / s.own).toFixed(2),
        s.ptTableChecksum === null ? '-' : whole(s.rows / s.ptTableChecksum),
      ]),
      notes: [
        'Rows and MB of one side; both are read. own: count(*) and a checksum of all columns by the database itself, both',
        'sides at once. pass: source_share 100 %, nothing is written meanwhile. pt-table-checksum: until the replica is done.',
        busy,
      ],
    });
  }
  if (latencies.length > 0) {
    tables.push({
      title: "the application's writes while a pass runs at default settings, and without one",
      head: [
        '',
        'writes/s',
        'rounds',
        'p99 without',
        'p99 with',
        'median ratio',
        'middle half of ratios',
        'median p50 ratio',
      ],
      rows: latencies.map((l) => [
        l.flavour,
        whole(l.perSecond),
        String(l.rounds.length),
        `${median(l.rounds.map((r) => r.without.p99)).toFixed(2)} ms`,
        `${median(l.rounds.map((r) => r.with.p99)).toFixed(2)} ms`,
        l.ratio.median.toFixed(3),
        `${l.ratio.low.toFixed(2)} to ${l.ratio.high.toFixed(2)}`,
        l.ratio.p50.toFixed(3),
      ]),
      notes: [
        'Each round has a stretch with a pass and one without, in turn first; a ratio is that of one round. Writes are small',
        'transactions at a fixed rate on the table that is compared, each counted from when it was due.',
        aside
          ? "The target's server gets only processor time that nobody else wants, as if it had a machine of its own."
          : "The target's server shares the processors with the source's and the application.",
        busy,
      ],
    });
  }
  return { tables, data: { busyBefore, scale, aside, scans, latencies } };
}
