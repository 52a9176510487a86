/** What a pass at default settings does to the application's writes: alternated with none, on the table that is compared. */
import { createVerifier } from '../../collectors/verify/service.js';
import { SystemClock } from '../../daemon/lifecycle/clock.js';
import { setTimeout as sleep } from 'node:timers/promises';
import { contextOf } from '../support/listening.js';
import { BedGauge } from '../support/verify/bed.js';
import type { Flavoured } from '../support/verify/kinds.js';
import { dataOf, orderOf, runPass, verifyConfig } from '../support/verify/passes.js';
import { startChild } from './child.js';
import type { BenchContext } from './report.js';
import { median, quantile } from './statistics.js';
import { SCHEMA, sizeOf, type BenchSides } from './verify-sides.js';
import type { WriterOrder, Written } from './verify-writer.js';

interface Stretch {
  /** Milliseconds. */
  p50: number;
  p99: number;
  writes: number;
}

/** What came of all rounds. */
export interface LatencyResult {
  flavour: Flavoured;
  perSecond: number;
  rounds: { with: Stretch; without: Stretch; rowsCompared: number }[];
  /** Of p99 with a pass by p99 without one, round by round; `low` and `high` hold the middle half. */
  ratio: { median: number; low: number; high: number; p50: number };
}

const SESSIONS = 4;
const RATE = 50;
/** How long is waited after a change before it counts. */
const SETTLE_MS = 700;

/** Alternates, beginning with the one and the other in turn. */
export async function measureLatency(
  sides: BenchSides,
  { rounds, seconds }: { rounds: number; seconds: number },
  progress: BenchContext['progress'],
): Promise<LatencyResult> {
  const { flavour } = sides;
  const clock = new SystemClock();
  const context = contextOf();
  // Every second, as the daemon's heartbeat does by default.
  const gauge = new BedGauge(sides, clock, 1_000);
  const verifier = createVerifier({
    ...{ clock, log: context.log },
    source: dataOf(sides.source, context),
    target: dataOf(sides.target, context),
    // The defaults.
    config: {
      ...verifyConfig,
      ...{
        tables: [`${SCHEMA}.*`],
        chunkUs: 500_000,
        sourceShare: 0.2,
        pauseAboveLagUs: 5_000_000,
        pauseAboveRunning: 50,
      },
    },
    carried: null,
    settling: { by: 'link', gauge },
  });
  const { rows } = await sizeOf(sides.source, 'orders');
  const writer = startChild('write');
  try {
    await writer.next();
    const { address, password } = sides.source.database;
    const engine = flavour === 'postgres' ? 'postgres' : 'mysql';
    const url = `${engine}://${address.user}:${encodeURIComponent(password?.reveal() ?? '')}@${address.host}:${address.port}/${address.database}`;
    writer.send({ engine, url, sessions: SESSIONS, rate: RATE, keys: rows } satisfies WriterOrder);
    await writer.next();
    await sleep(3_000);
    const stretch = async (): Promise<Stretch> => {
      await sleep(SETTLE_MS);
      writer.send({});
      await writer.next<Written>();
      await sleep(seconds * 1_000);
      writer.send({});
      const { latencies, failed } = await writer.next<Written>();
      if (failed > 0) throw new Error(`${failed} writes of the application failed`);
      return { p50: quantile(latencies, 0.5), p99: quantile(latencies, 0.99), writes: latencies.length };
    };
    const passing = async (): Promise<{ stretch: Stretch; rowsCompared: number }> => {
      const stopping = new AbortController();
      let rowsCompared = 0;
      const lost: unknown[] = [];
      const pass = (async () => {
        while (!stopping.signal.aborted) {
          let done = 0;
          await runPass(verifier, orderOf([`${SCHEMA}.lineitem`, `${SCHEMA}.orders`]), {
            signal: stopping.signal,
            progress: (p) => (done = p.rowsDone),
          });
          rowsCompared += done;
        }
      })().catch((error: unknown) => void lost.push(error));
      const measured = await stretch();
      stopping.abort();
      await pass;
      if (lost.length > 0) throw new Error(`the pass had ended by itself: ${String(lost[0])}`);
      return { stretch: measured, rowsCompared };
    };
    const result: LatencyResult['rounds'] = [];
    for (let round = 0; round < rounds; round++) {
      const first = round % 2 === 0 ? null : await stretch();
      const { stretch: during, rowsCompared } = await passing();
      const without = first ?? (await stretch());
      result.push({ with: during, without, rowsCompared });
      progress(
        `verify: ${flavour}, round ${round + 1}: p99 ${without.p99.toFixed(2)} ms without, ${during.p99.toFixed(2)} ms with, ${rowsCompared} rows compared`,
      );
    }
    const ratios = result.map((r) => r.with.p99 / r.without.p99);
    return {
      ...{ flavour, perSecond: SESSIONS * RATE, rounds: result },
      ratio: {
        median: median(ratios),
        low: quantile(ratios, 0.25),
        high: quantile(ratios, 0.75),
        p50: median(result.map((r) => r.with.p50 / r.without.p50)),
      },
    };
  } finally {
    writer.end();
    await gauge.stop();
    await verifier.close();
  }
}
