/** Lag as lockgate gives it, minus the true one, for each way to watch, at rest and under load. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Collecting } from '../../daemon/collecting.js';
import type { Us } from '../../daemon/core/clock.js';
import type { Observation } from '../../daemon/core/observation.js';
import { stateAt, valueAt } from '../../daemon/core/signal.js';
import { Engine } from '../../daemon/engine.js';
import { SystemClock } from '../../daemon/lifecycle/clock.js';
import type { EnginePort } from '../../collectors/collector.js';
import { postgresEngine } from '../../collectors/postgres/engine.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { startPair, type Pair } from '../support/pair.js';
import { setUp, silent, writeConfig } from './daemon.js';
import { prepareLoad, startLoad, type LoadName, type LoadRate } from './load.js';
import { busyShare } from './machine.js';
import { ms, whole, type BenchContext, type SectionResult } from './report.js';
import { startSpinner, type Sightings, type Spinner } from './spin.js';
import { quantile } from './statistics.js';
import { compareBeats, leastLagAt, type Asked, type Beat } from './truth.js';

const WATCHES = ['wal', 'notify', 'poll'] as const satisfies Watch[];
const INTERVAL_MS = 50;
/** How often `lag` is read between heartbeats. */
const ASK_EVERY_MS = 5;
const LINK = 'shop/forward';

type Watch = 'wal' | 'notify' | 'poll' | 'binlog';

/** Beside: written on the target itself, so that it passes its reader at a rate that replication could not keep. */
export type WatchLoad = LoadName | 'bulk-beside' | 'brisk-beside';

/** What was measured of one way to watch under one load. */
export interface LagResult {
  watch: Watch;
  load: WatchLoad;
  rate: LoadRate | null;
  heartbeats: number;
  /** Share of heartbeats that were noticed first by the way that was asked for. */
  byWatch: number;
  lagUs: { p50: Us; p99: Us };
  truthUs: { p50: Us; p99: Us };
  /** Lag minus the middle of the interval in which the truth lies. */
  errorUs: { p50: Us; p99: Us };
  /** Lag minus the lower end of that interval: the error is at most this. */
  errorAtMostUs: { p99: Us };
  /** Half the length of the interval. */
  uncertaintyUs: { p50: Us; p99: Us };
  below: number;
  asked: number;
  askedBelow: number;
  /** Heartbeats that were noticed before they could be seen by a query, and the longest such time. */
  early: { beats: number; mostUs: Us };
}

/** What one measurement is made of. */
export interface LagPlan {
  config: ReturnType<typeof writeConfig>['config'];
  engine: EnginePort;
  /** Addresses of the servers themselves. */
  sides: { source: string; target: string };
  watch: Watch;
  load: WatchLoad;
  startLoad: (seconds: number) => Promise<LoadRate | null>;
  seconds: number;
}

function yaml(pair: Pair, watch: Watch): string {
  const url = (port: number): string => `postgres://lockgate:pw@127.0.0.1:${port}/${pair.database}?sslmode=disable`;
  return `
daemon: { id: bench-${watch}, listen: 127.0.0.1:1 }
databases:
  onprem: { engine: postgres, url: "${url(pair.source.port)}", read: ${watch === 'wal' ? 'auto' : 'off'} }
  aws: { engine: postgres, url: "${url(pair.target.port)}", read: ${watch === 'wal' ? 'auto' : 'off'} }
migrations:
  shop:
    source: onprem
    target: aws
    forward:
      via: postgres-logical
      subscription: shop_sub
      heartbeat: { interval: ${INTERVAL_MS}ms, watch: ${watch} }
    gates:
      lag: { require: "forward.lag < 2s" }
`;
}

/** Measures every watcher under every load. */
export async function measureLag({ quick, progress }: BenchContext): Promise<SectionResult> {
  const busyBefore = await busyShare(1_000);
  progress('lag: starting two servers');
  const pair = await startPair();
  const results: LagResult[] = [];
  try {
    // Straight to the source: the proxy lives in this process, whose event loop is being measured.
    await pair.onTarget(`alter subscription shop_sub connection
      'host=127.0.0.1 port=${pair.source.port} dbname=${pair.database} user=replicator password=replicator'`);
    await pair.settled();
    await prepareLoad(pair);
    const loads: LoadName[] = quick ? ['rest', 'small'] : ['rest', 'small', 'bulk'];
    for (const watch of WATCHES) {
      const { config } = writeConfig(yaml(pair, watch));
      await setUp(config, pair);
      for (const load of loads) {
        progress(`lag: watch ${watch}, load ${load}`);
        const sides = { source: pair.source.adminUrl(pair.database), target: pair.target.adminUrl(pair.database) };
        const start = (seconds: number): Promise<LoadRate | null> => startLoad(pair, load, seconds);
        const plan = { config, engine: postgresEngine, sides, watch, load, startLoad: start, seconds: quick ? 5 : 20 };
        results.push(await measureWatch(plan));
        await Promise.all([pair.onSource('truncate public.orders'), pair.settled(60_000)]);
      }
    }
  } finally {
    await pair.destroy();
  }
  return lagReport(results, busyBefore, `lag minus truth, heartbeats every ${INTERVAL_MS} ms`);
}

/** Measures one way to watch under one load, with a daemon's collectors in this process. */
export async function measureWatch(plan: LagPlan): Promise<LagResult> {
  const { config, watch, load, seconds } = plan;
  // A daemon of its own for each measurement, so that no row of the one before is taken for one of this.
  const daemonId = `${config.daemon.id}-${load}`;
  const clock = new SystemClock();
  const sentAt = new Map<number, Us>();
  const noticed: { seq: number; at: Us; by: string }[] = [];
  const delays = new Map<number, Us>();
  let newestSeen = 0;
  let arriving = 0;
  let spinner: Spinner | null = null;
  const engine = new Engine(config, clock, {
    record: () => true,
    delay: (_link, delayUs) => delays.set(arriving, delayUs),
    direction: () => undefined,
    jumped: () => undefined,
  });
  const take = (o: Observation): void => {
    if (o.kind === 'heartbeat-sent') {
      sentAt.set(o.seq, o.at);
      spinner?.sent(o.seq);
    }
    if (o.kind === 'heartbeat-visible' && o.upTo !== null && o.upTo > newestSeen) {
      arriving = o.upTo;
      for (const seq of sentAt.keys()) if (seq > newestSeen && seq <= o.upTo) noticed.push({ seq, at: o.at, by: o.by });
      newestSeen = o.upTo;
    }
    engine.observe(o);
  };
  const direction = { isPassive: (database: string) => engine.isPassive(database) };
  const crashed = (error: unknown): void => {
    throw error;
  };
  const collecting = new Collecting([plan.engine], { clock, log: silent, daemonId, ...direction }, take, crashed);
  const asked: Asked[] = [];
  const lagNow = (): Asked | null => {
    const reading = engine.reading('shop', 'forward.lag');
    const at = clock.monotonicNow();
    return stateAt(reading, at) === 'ok' ? { at, lagUs: (valueAt(reading, at) ?? 0) * 1e6 } : null;
  };
  try {
    await collecting.apply(config);
    await waitFor(
      `heartbeats to be noticed by ${watch}`,
      20_000,
      () => noticed.at(-1)?.by === watch && lagNow() !== null,
    );
    spinner = await startSpinner(plan.sides, daemonId, LINK);
    const rate = plan.startLoad(seconds + 2);
    rate.catch(() => undefined);
    await sleep(1_500);
    const from = clock.monotonicNow();
    while (clock.monotonicNow() - from < seconds * 1e6) {
      const now = lagNow();
      if (now !== null) asked.push(now);
      await sleep(ASK_EVERY_MS * (0.5 + Math.random()));
    }
    const to = clock.monotonicNow();
    const reached = await rate;
    await sleep(500);
    const truth = await spinner.collect();
    const measured = noticed.filter((n) => (sentAt.get(n.seq) ?? 0) >= from && n.at <= to);
    const beats = measured.map(({ seq, at }): Beat => {
      const sent = sentAt.get(seq) ?? 0;
      // Of several that are noticed at once the engine gives the delay of the newest; the others' follow from the same rule.
      return { seq, sentAt: sent, lagUs: delays.get(seq) ?? at - sent };
    });
    const byWatch = measured.filter((n) => n.by === watch).length / measured.length;
    return { watch, load, rate: reached, byWatch, ...judge(beats, asked, truth) };
  } finally {
    await collecting.stop();
  }
}

function judge(
  beats: readonly Beat[],
  asked: readonly Asked[],
  truth: Sightings,
): Omit<LagResult, 'watch' | 'load' | 'rate' | 'byWatch'> {
  const compared = compareBeats(beats, truth);
  const newest = Math.max(...Object.keys(truth.target).map(Number));
  const both = (values: number[]): { p50: Us; p99: Us } => ({
    p50: quantile(values, 0.5),
    p99: quantile(values, 0.99),
  });
  return {
    heartbeats: compared.length,
    lagUs: both(compared.map((c) => c.lagUs)),
    truthUs: both(compared.map((c) => (c.lowUs + c.highUs) / 2)),
    errorUs: both(compared.map((c) => c.lagUs - (c.lowUs + c.highUs) / 2)),
    errorAtMostUs: {
      p99: quantile(
        compared.map((c) => c.lagUs - c.lowUs),
        0.99,
      ),
    },
    uncertaintyUs: both(compared.map((c) => (c.highUs - c.lowUs) / 2)),
    below: compared.filter((c) => c.lagUs < c.lowUs).length,
    asked: asked.length,
    early: {
      beats: compared.filter((c) => c.earlyUs > 0).length,
      mostUs: compared.reduce((most, c) => Math.max(most, c.earlyUs), 0),
    },
    askedBelow: asked.filter((a) => a.lagUs < leastLagAt(a.at, truth, newest)).length,
  };
}

function early(results: readonly LagResult[]): string {
  const some = results.filter((r) => r.early.beats > 0);
  if (some.length === 0) return 'never';
  return some.map((r) => `${r.watch}, ${r.load}: ${r.early.beats}, by up to ${ms(r.early.mostUs)} ms`).join('; ');
}

/** The table of such measurements. */
export function lagReport(results: readonly LagResult[], busyBefore: number, title: string): SectionResult {
  const rows = results.map((r) => [
    `${r.watch}, ${r.load}`,
    r.rate === null
      ? '-'
      : r.load.startsWith('bulk')
        ? `${(r.rate.bytesPerSecond / 1e6).toFixed(1)} MB/s`
        : `${whole(r.rate.tps)} tps`,
    whole(r.heartbeats),
    `${Math.round(r.byWatch * 100)} %`,
    ms(r.lagUs.p50),
    ms(r.truthUs.p50),
    ms(r.errorUs.p50),
    ms(r.errorUs.p99),
    ms(r.errorAtMostUs.p99),
    `${ms(r.uncertaintyUs.p50)} / ${ms(r.uncertaintyUs.p99)}`,
    `${r.below} of ${whole(r.heartbeats)}`,
    `${r.askedBelow} of ${whole(r.asked)}`,
  ]);
  const wrong = results.reduce((sum, r) => sum + r.below + r.askedBelow, 0);
  const samples = results.reduce((sum, r) => sum + r.heartbeats + r.asked, 0);
  const head = [
    'watch, load',
    'reached',
    'beats',
    'by it',
    'lag p50',
    'truth p50',
    'error p50',
    'p99',
    'p99 at most',
    'truth ± p50 / p99',
    'below',
    'asked, below',
  ];
  const notes = [
    'Milliseconds. error: lag minus the middle of the interval that the truth lies in; at most: minus its lower end.',
    'below: heartbeats whose lag was under the lower end of the truth; asked: the same for `lag` read every 5 ms.',
    `Share of samples below the truth: ${wrong === 0 ? '0' : (wrong / samples).toPrecision(2)} (${whole(wrong)} of ${whole(samples)}); must be 0.`,
    `Noticed before a query could see it (a commit is in the log a moment before it is visible): ${early(results)}.`,
    'Goal: error p99 under 10 ms at rest with wal or notify.',
    `The machine was ${Math.round(busyBefore * 100)} % busy before this began.`,
  ];
  return {
    tables: [{ title, head, rows, notes }],
    data: { intervalMs: INTERVAL_MS, busyBefore, results },
    wrong,
  };
}
