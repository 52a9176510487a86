/** What lockgate costs the source: processor time, transactions and WAL, with and without WAL reading, at rest and under load. */
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort, waitFor } from '../../deploy/demo/run-folder.js';
import { startPair, type Pair } from '../support/pair.js';
import { compileDaemon, setUp, startDaemon, TOKEN, writeConfig, type BenchDaemon } from './daemon.js';
import { prepareLoad, startLoad } from './load.js';
import { busyShare, serverTimeUs, singleThreadTimeUs } from './machine.js';
import { whole, type BenchContext, type SectionResult } from './report.js';
import { median } from './statistics.js';

/** No daemon; one that reads no WAL; one that reads it on both sides. */
const MODES = ['none', 'read off', 'read on'] as const;
const LOADS = ['rest', 'brisk'] as const;
/** lockgate's own sessions should cost the source less than this share of a core at rest. */
const AIM = 0.02;

type Mode = (typeof MODES)[number];
type Load = (typeof LOADS)[number];

/** What was used in one stretch, per second. */
interface Stretch {
  mode: Mode;
  load: Load;
  /** Shares of a core: all processes of the source, and those of lockgate's sessions alone. */
  server: number;
  own: number;
  commits: number;
  walBytes: number;
  /** Rows written by the load. */
  tps: number;
  /** The gate was open at the end. */
  open: boolean;
}

function yaml(pair: Pair, port: number, read: 'on' | 'off'): string {
  const url = (side: 'source' | 'target'): string =>
    `postgres://lockgate:pw@127.0.0.1:${pair[side].port}/${pair.database}?sslmode=disable`;
  return `
daemon: { id: bench, listen: 127.0.0.1:${port}, auth: { tokens: [ { name: bench, token: ${TOKEN}, role: reader } ] } }
databases:
  onprem: { engine: postgres, url: "${url('source')}", read: ${read} }
  aws: { engine: postgres, url: "${url('target')}", read: ${read} }
migrations:
  shop:
    source: onprem
    target: aws
    forward: { via: postgres-logical, subscription: shop_sub, heartbeat: { interval: 1s, watch: ${read === 'on' ? 'wal' : 'notify'} } }
    gates: { ready: { require: [ "forward.lag < 10s", "forward.lag_by_position < 10s", "forward.running is 1" ] } }
`;
}

/** Measures every mode under every load, in several rounds. */
export async function measureCost({ quick, progress }: BenchContext): Promise<SectionResult> {
  const rounds = quick ? 1 : 3;
  const seconds = quick ? 6 : 20;
  const busyBefore = await busyShare(1_000);
  progress('cost: starting two servers');
  // After a checkpoint every page is written to the WAL in full once; in one stretch and not in another it would blur both.
  const settings = { checkpoint_timeout: '1h', max_wal_size: '4GB' };
  const [pair, main] = await Promise.all([startPair({ settings }), compileDaemon()]);
  const stretches: Stretch[] = [];
  try {
    const files = new Map<Mode, string>();
    for (const read of ['off', 'on'] as const) {
      const { file, config } = writeConfig(yaml(pair, await freePort(), read));
      await setUp(config, pair);
      files.set(`read ${read}`, file);
    }
    await prepareLoad(pair);
    for (let round = 1; round <= rounds; round += 1) {
      for (const mode of MODES) {
        const file = files.get(mode);
        const daemon = file === undefined ? null : await startDaemon(main, file, null);
        try {
          if (daemon !== null) await waitFor('the gate to be open', 60_000, () => isOpen(daemon));
          // What is asked once after connecting is not what it costs to watch.
          await sleep(3_000);
          for (const load of LOADS) {
            progress(`cost: ${mode}, ${load}, round ${round} of ${rounds}`);
            stretches.push(await measure(pair, daemon, mode, load, seconds));
          }
        } finally {
          await daemon?.stop();
        }
        await pair.settled(60_000);
      }
    }
  } finally {
    await pair.destroy();
  }
  return report(stretches, seconds, busyBefore);
}

async function isOpen(daemon: BenchDaemon): Promise<boolean> {
  const headers = { authorization: `Bearer ${TOKEN}` };
  const { ok } = await fetch(`${daemon.url}/v1/gates/shop/ready/check`, {
    headers,
    signal: AbortSignal.timeout(5_000),
  });
  return ok;
}

async function measure(
  pair: Pair,
  daemon: BenchDaemon | null,
  mode: Mode,
  load: Load,
  seconds: number,
): Promise<Stretch> {
  // Statistics are told about once a second.
  await sleep(1_500);
  const running = startLoad(pair, load, seconds + 2);
  running.catch(() => undefined);
  await sleep(1_000);
  const from = await used(pair);
  await sleep(seconds * 1_000);
  const to = await used(pair);
  const open = daemon === null || (await isOpen(daemon));
  await running;
  const us = (to.at - from.at) * 1_000;
  const rate = (key: 'commits' | 'walBytes' | 'rows'): number => ((to[key] - from[key]) / us) * 1e6;
  let own = 0;
  for (const [pid, time] of to.own) own += time - (from.own.get(pid) ?? 0);
  return {
    mode,
    load,
    server: (to.server - from.server) / us,
    own: own / us,
    commits: rate('commits'),
    walBytes: rate('walBytes'),
    tps: load === 'rest' ? 0 : rate('rows'),
    open,
  };
}

interface Used {
  at: number;
  server: number;
  own: Map<number, number>;
  commits: number;
  walBytes: number;
  rows: number;
}

/** One look; its own two statements are the same in every stretch. */
async function used(pair: Pair): Promise<Used> {
  const [row] = await pair.onSource<{ pids: number[]; commits: number; wal: number; rows: number }>(
    `select array(select pid from pg_stat_activity where application_name like 'lockgate/%') as pids,
            (select xact_commit::float8 from pg_stat_database where datname = current_database()) as commits,
            (pg_current_wal_lsn() - '0/0')::float8 as wal,
            coalesce(pg_sequence_last_value(pg_get_serial_sequence('public.orders', 'id')), 0)::float8 as rows`,
  );
  if (row === undefined) throw new RangeError('a statement that always returns a row returned none');
  return {
    at: performance.now(),
    server: serverTimeUs(pair.source.postmasterPid()),
    own: new Map(row.pids.map((pid) => [pid, singleThreadTimeUs(pid) || 0])),
    commits: row.commits,
    walBytes: row.wal,
    rows: row.rows,
  };
}

function report(stretches: readonly Stretch[], seconds: number, busyBefore: number): SectionResult {
  const of = (mode: Mode, load: Load, key: 'server' | 'own' | 'commits' | 'walBytes' | 'tps'): number =>
    median(stretches.filter((s) => s.mode === mode && s.load === load).map((s) => s[key]));
  const percent = (share: number): string => (share * 100).toFixed(2);
  const rows = LOADS.flatMap((load) =>
    MODES.map((mode) => {
      const more = (key: 'server' | 'commits' | 'walBytes'): number => of(mode, load, key) - of('none', load, key);
      return [
        `${load === 'rest' ? 'at rest' : 'under load'}, ${mode === 'none' ? 'no lockgate' : mode}`,
        load === 'rest' ? '-' : whole(of(mode, load, 'tps')),
        percent(of(mode, load, 'server')),
        ...(mode === 'none'
          ? ['-', '-', '-', '-']
          : [
              percent(of(mode, load, 'own')),
              percent(more('server')),
              // Under load it is the difference of two large numbers.
              load === 'rest' ? more('commits').toFixed(1) : '-',
              load === 'rest' ? whole(more('walBytes')) : '-',
            ]),
      ];
    }),
  );
  const notes = [
    `Medians of ${stretches.length / rows.length} stretches of ${seconds} s. server: all processes of the source, in % of a core; own: those of lockgate's`,
    'sessions and WAL readers; more: server minus server without lockgate, so with what its heartbeats cost replication',
    'too (and under load with the noise of the load). transactions and WAL: a second, more than without lockgate.',
    `Aim: own under ${AIM * 100} % of a core at rest. One link, a heartbeat a second.`,
    `The machine was ${Math.round(busyBefore * 100)} % busy before this began.`,
  ];
  const head = ['', 'tps', 'server %', 'own %', 'more %', 'transactions/s', 'WAL B/s'];
  return {
    tables: [{ title: 'what lockgate costs the source', head, rows, notes }],
    data: { seconds, busyBefore, aim: AIM, stretches },
    wrong: stretches.filter((s) => !s.open).length,
  };
}
