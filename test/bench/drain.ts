/** How often the upper bound of the drain time held, over backlogs of many causes and sizes. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Collecting } from '../../daemon/collecting.js';
import { stateAt, valueAt } from '../../daemon/core/signal.js';
import { Engine } from '../../daemon/engine.js';
import { SystemClock } from '../../daemon/lifecycle/clock.js';
import { postgresEngine } from '../../collectors/postgres/engine.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { startPair, type Pair } from '../support/pair.js';
import { backlogs, prepareBacklogs, type Backlog } from './backlogs.js';
import { setUp, silent, writeConfig } from './daemon.js';
import { busyShare } from './machine.js';
import { whole, type BenchContext, type SectionResult } from './report.js';
import { median, quantile } from './statistics.js';

/** Share of the predictions that must hold. */
const LEAST = 0.95;
/** Between two predictions while it drains. */
const PREDICT_EVERY_MS = 250;
/** Drains shorter than this are not compared for pessimism: the bound has a floor of a quarter of a second. */
const TELLING_S = 0.5;

/** What was predicted at one moment, and what came. */
interface Prediction {
  /** Since writes stopped. */
  atS: number;
  /** What it rests on was seen before writes stopped, so that it cannot know of what was written last. */
  early: boolean;
  /** Null where the signal was unknown, so that no gate could have been open. */
  etaS: number | null;
  highS: number | null;
  actualS: number;
}

/** A signal as a gate would see it now, and how old it is. */
type Read = (name: string) => { value: number | null; ageMs: number };

interface Drained {
  backlog: Backlog;
  bytes: number;
  predictions: Prediction[];
}

/** Makes every backlog in turn and holds the predictions against what came. */
export async function measureDrain({ quick, progress }: BenchContext): Promise<SectionResult> {
  const busyBefore = await busyShare(1_000);
  progress('drain: starting two servers');
  const pair = await startPair({ settings: { max_wal_size: '4GB' } });
  const results: Drained[] = [];
  try {
    const url = (port: number): string => `postgres://lockgate:pw@127.0.0.1:${port}/${pair.database}?sslmode=disable`;
    const { config } = writeConfig(`
daemon: { id: bench }
databases:
  onprem: { engine: postgres, url: "${url(pair.source.port)}", read: off }
  aws: { engine: postgres, url: "${url(pair.target.port)}", read: off }
migrations:
  shop: { source: onprem, target: aws, forward: { via: postgres-logical, subscription: shop_sub, heartbeat: { watch: notify } } }
`);
    await setUp(config, pair);
    await prepareBacklogs(pair);
    const clock = new SystemClock();
    const nothing = (): undefined => undefined;
    const engine = new Engine(config, clock, {
      record: () => true,
      delay: nothing,
      direction: nothing,
      jumped: nothing,
      broke: nothing,
      stray: nothing,
    });
    const crashed = (error: unknown): void => {
      throw error;
    };
    const context = { clock, log: silent, daemonId: 'bench' };
    const collecting = new Collecting([postgresEngine], context, (o) => engine.observe(o), crashed);
    const read: Read = (name) => {
      const reading = engine.reading('shop', name);
      const at = clock.monotonicNow();
      const value = stateAt(reading, at) === 'ok' ? valueAt(reading, at) : null;
      return { value, ageMs: (at - reading.observedAt) / 1_000 };
    };
    try {
      await collecting.apply(config);
      const all = backlogs(quick ? 8 : 50);
      for (const [i, backlog] of all.entries()) {
        await waitFor('the link to be level', 120_000, () => (read('forward.lag_by_position').value ?? Infinity) < 0.5);
        progress(`drain: ${i + 1} of ${all.length}: ${backlog.cause}, ${backlog.plan.seconds.toFixed(1)} s`);
        results.push(await once(pair, backlog, read));
      }
    } finally {
      await collecting.stop();
    }
  } finally {
    await pair.destroy();
  }
  return report(results, busyBefore);
}

async function once(pair: Pair, backlog: Backlog, read: Read): Promise<Drained> {
  await backlog.make(pair);
  // From here on nobody writes but lockgate; the end of all that was written is what has to be applied.
  const stopped = performance.now();
  const taken: { at: number; early: boolean; etaS: number | null; highS: number | null }[] = [];
  const predict = (): void => {
    const at = performance.now();
    const { value: highS, ageMs } = read('forward.drain_eta_high');
    taken.push({ at, early: at - ageMs < stopped, etaS: read('forward.drain_eta').value, highS });
  };
  predict();
  const [row] = await pair.onSource<{ lsn: string }>('select pg_current_wal_insert_lsn()::text as lsn');
  const lsn = row?.lsn ?? '0/0';
  let bytes = -1;
  let drained: number | null = null;
  let nextAt = stopped + PREDICT_EVERY_MS;
  while (drained === null) {
    const [state] = await pair.onSource<{ done: boolean; missing: number }>(
      `select coalesce(flush_lsn >= $1, false) as done, pg_wal_lsn_diff($1, flush_lsn)::float8 as missing
         from pg_stat_replication where application_name = 'shop_sub'`,
      [lsn],
    );
    const now = performance.now();
    if (bytes < 0) bytes = Math.max(0, state?.missing ?? -1);
    if (state?.done === true) drained = now;
    else if (now - stopped > 180_000) throw new Error(`${backlog.cause} did not drain within 3 min`);
    else if (now >= nextAt) {
      predict();
      nextAt += PREDICT_EVERY_MS;
    }
    await sleep(5);
  }
  const end = drained;
  const predictions = taken.map(({ at, ...said }) => ({
    atS: (at - stopped) / 1_000,
    ...said,
    actualS: (end - at) / 1_000,
  }));
  return { backlog, bytes, predictions };
}

/** How predictions fared. */
function judge(predictions: readonly Prediction[]): {
  known: number;
  held: number;
  all: number;
  ratio: number;
  p90: number;
} {
  const known = predictions.flatMap((p) => (p.highS === null ? [] : [{ high: p.highS, actual: p.actualS }]));
  const ratios = known.filter((p) => p.actual >= TELLING_S).map((p) => p.high / p.actual);
  return {
    known: known.length,
    held: known.filter((p) => p.high >= p.actual).length,
    all: predictions.length,
    ratio: median(ratios),
    p90: quantile(ratios, 0.9),
  };
}

function report(results: readonly Drained[], busyBefore: number): SectionResult {
  const causes = [...new Set(results.map((r) => r.backlog.cause))];
  const line = (name: string, some: readonly Drained[]): string[] => {
    const all = some.flatMap((r) => r.predictions);
    const stop = judge(some.flatMap((r) => r.predictions.slice(0, 1)));
    const informed = judge(all.filter((p) => !p.early));
    const actual = some.map((r) => r.predictions[0]?.actualS ?? NaN);
    const bounds = some.flatMap((r) => r.predictions.slice(0, 1).flatMap((p) => (p.highS === null ? [] : [p.highS])));
    const share = ({ held, known }: { held: number; known: number }): string => `${held} of ${known}`;
    return [
      name,
      String(some.length),
      (median(some.map((r) => r.bytes)) / 1e6).toFixed(1),
      `${median(actual).toFixed(1)} / ${Math.max(...actual).toFixed(1)}`,
      share(stop),
      `${median(bounds).toFixed(1)} / ${quantile(bounds, 0.9).toFixed(1)}`,
      share(informed),
      `${informed.ratio.toFixed(1)} / ${informed.p90.toFixed(1)}`,
      String(all.filter((p) => p.highS === null).length),
    ];
  };
  const rows = [
    ...causes.map((cause) =>
      line(
        cause,
        results.filter((r) => r.backlog.cause === cause),
      ),
    ),
    line('all', results),
  ];
  const stop = judge(results.flatMap((r) => r.predictions.slice(0, 1)));
  const informed = judge(results.flatMap((r) => r.predictions.filter((p) => !p.early)));
  // Each backlog counts once here, however long it took: it held when every prediction made for it did.
  const whollyHeld = results.filter((r) =>
    r.predictions.every((p) => p.early || p.highS === null || p.highS >= p.actualS),
  ).length;
  const coverage = { stop: stop.held / stop.known, informed: informed.held / informed.known };
  const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;
  const notes = [
    'MB and drain s: median, and median and most, of what was left when writes stopped. at stop: predictions read at that',
    `moment that held, whatever they rest on, and their median and 90th percentile (bound s); informed: those, and others read every ${PREDICT_EVERY_MS} ms while it drained, that rest on a`,
    `look made after writes had stopped. bound / actual: of informed ones, median and 90th percentile, where at least ${TELLING_S} s`,
    'were left. unknown: predictions that were refused (no rate known yet, nothing being applied); no gate opens with them.',
    `Held: ${percent(coverage.stop)} at stop; ${percent(coverage.informed)} of ${whole(informed.known)} informed ones, and all of them in ${whollyHeld} of ${results.length} backlogs. At least ${LEAST * 100} % of either must.`,
    `The machine was ${Math.round(busyBefore * 100)} % busy before this began.`,
  ];
  const head = ['cause', 'n', 'MB', 'drain s', 'at stop', 'bound s', 'informed', 'bound / actual', 'unknown'];
  const listed = results.map(({ backlog, ...rest }) => ({ cause: backlog.cause, ...backlog.plan, ...rest }));
  return {
    tables: [{ title: 'how often drain_eta_high held', head, rows, notes }],
    data: { busyBefore, least: LEAST, coverage, whollyHeld, results: listed },
    wrong: coverage.stop >= LEAST && coverage.informed >= LEAST ? 0 : 1,
  };
}
