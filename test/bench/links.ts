/** Processor time and memory of the daemon by the number of links. */
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../daemon/core/errors.js';
import { freePort, waitFor } from '../../deploy/demo/run-folder.js';
import type { VerdictJson } from '../../daemon/http/port.js';
import { compileDaemon, setUpAll, startDaemon, TOKEN, writeConfig, type BenchDaemon } from './daemon.js';
import { busyShare, memoryOf, processorTimeUs, serverTimeUs } from './machine.js';
import { startManyLinks, type Shape } from './many-links.js';
import { whole, type BenchContext, type SectionResult } from './report.js';
import { median } from './statistics.js';

const SHAPES: readonly Shape[] = [
  { pairs: 1, databases: 1, links: 1 },
  { pairs: 2, databases: 5, links: 5 },
  { pairs: 2, databases: 10, links: 10 },
];
/** With that many links the daemon should stay below this much memory and this share of a core. */
const AIM = { links: 200, bytes: 300e6, core: 0.5 } as const;

/** One stretch of the measurement. */
interface Stretch {
  /** Shares of a core. */
  daemon: number;
  servers: number;
  rss: number;
  /** Gates that were open at its end. */
  open: number;
}

interface LinksResult {
  shape: Shape;
  links: number;
  sessions: number;
  stretches: Stretch[];
  peak: number;
  busyBefore: number;
}

/** Measures each number of links in turn. */
export async function measureLinks({ quick, progress }: BenchContext): Promise<SectionResult> {
  const main = await compileDaemon();
  const results: LinksResult[] = [];
  for (const shape of SHAPES) {
    const stretches = quick ? 3 : 12;
    results.push(await measure(shape, main, stretches, quick ? 3_000 : 5_000, progress));
  }
  return report(results);
}

async function measure(
  shape: Shape,
  main: string,
  count: number,
  stretchMs: number,
  progress: BenchContext['progress'],
): Promise<LinksResult> {
  const links = shape.pairs * shape.databases * shape.links;
  const busyBefore = await busyShare(1_000);
  progress(`links: starting ${2 * shape.pairs} servers with ${links} links`);
  const many = await startManyLinks(shape);
  try {
    const listen = `daemon: { id: bench, listen: 127.0.0.1:${await freePort()}, auth: { tokens: [ { name: bench, token: ${TOKEN}, role: reader } ] } }`;
    const { file, config } = writeConfig(`${listen}\n${many.yaml}`);
    await setUpAll(config, many.admin);
    const daemon = await startDaemon(main, file, null);
    try {
      progress(`links: waiting for ${links} gates`);
      // On a machine that cannot keep up they may never all be open; then that is what is reported.
      await waitFor(`${links} gates to be open`, 300_000, async () => (await openGates(daemon)) === links, 1_000).catch(
        (error: unknown) => progress(`links: ${messageOf(error)}`),
      );
      progress(`links: measuring ${links} links`);
      // Compiling what is hot and filling what is kept in memory is not the steady state.
      await sleep(2 * stretchMs);
      const stretches: Stretch[] = [];
      for (let n = 0; n < count; n += 1) {
        const from = {
          at: performance.now(),
          ...used(
            daemon,
            many.servers.map((s) => s.postmasterPid()),
          ),
        };
        await sleep(stretchMs);
        const to = {
          at: performance.now(),
          ...used(
            daemon,
            many.servers.map((s) => s.postmasterPid()),
          ),
        };
        const us = (to.at - from.at) * 1_000;
        stretches.push({
          daemon: (to.daemon - from.daemon) / us,
          servers: (to.servers - from.servers) / us,
          rss: memoryOf(daemon.pid).rss,
          open: await openGates(daemon),
        });
      }
      const { peak } = memoryOf(daemon.pid);
      return { shape, links, sessions: await sessionsOf(daemon), stretches, peak, busyBefore };
    } finally {
      await daemon.stop();
    }
  } finally {
    await many.destroy();
  }
}

function used(daemon: BenchDaemon, postmasters: readonly number[]): { daemon: number; servers: number } {
  return {
    daemon: processorTimeUs(daemon.pid),
    servers: postmasters.reduce((sum, pid) => sum + serverTimeUs(pid), 0),
  };
}

async function get(daemon: BenchDaemon, path: string): Promise<Response> {
  const headers = { authorization: `Bearer ${TOKEN}` };
  return fetch(`${daemon.url}${path}`, { headers, signal: AbortSignal.timeout(10_000) });
}

async function openGates(daemon: BenchDaemon): Promise<number> {
  const answer = await get(daemon, '/v1/gates');
  if (!answer.ok) throw new Error(`/v1/gates answered ${answer.status}`);
  const { gates } = (await answer.json()) as { gates: VerdictJson[] };
  return gates.filter((gate) => gate.open).length;
}

/** Sockets to databases, as the daemon's own process has them open. */
async function sessionsOf(daemon: BenchDaemon): Promise<number> {
  const text = await (await get(daemon, '/metrics')).text();
  const line = /^nodejs_active_resources\{type="(?:TCPSocketWrap|TCPSOCKETWRAP)"\} (\d+)/m.exec(text);
  return Number(line?.[1] ?? NaN);
}

function report(results: readonly LinksResult[]): SectionResult {
  const spread = (values: readonly number[], show: (value: number) => string): string =>
    [Math.min(...values), median(values), Math.max(...values)].map(show).join(' / ');
  const percent = (share: number): string => (share * 100).toFixed(1);
  const mb = (bytes: number): string => (bytes / 1e6).toFixed(0);
  const rows = results.map((r) => [
    String(r.links),
    `${r.shape.pairs} x ${r.shape.databases} x ${r.shape.links}`,
    whole(r.sessions),
    `${Math.min(...r.stretches.map((s) => s.open))} of ${r.links}`,
    spread(
      r.stretches.map((s) => s.daemon),
      percent,
    ),
    spread(
      r.stretches.map((s) => s.rss),
      mb,
    ),
    mb(r.peak),
    spread(
      r.stretches.map((s) => s.servers),
      percent,
    ),
    `${Math.round(r.busyBefore * 100)} %`,
  ]);
  const wrong = results.reduce((sum, r) => sum + Math.max(...r.stretches.map((s) => r.links - s.open)), 0);
  return {
    tables: [
      {
        title: 'processor time and memory by the number of links, each with a heartbeat a second',
        head: [
          'links',
          'shape',
          'sessions',
          'gates open',
          '% of a core',
          'RSS, MB',
          'peak',
          "servers' %",
          'busy before',
        ],
        rows,
        notes: [
          'Least / median / most. shape: pairs of servers x databases on each x links in each, every link with a subscription',
          'of its own. watch: notify, read: off. gates open: the fewest at the end of any stretch; all must be.',
          'A gate: lag, lag_by_position, agreement and running, for 10 s. servers: all processes of all servers together.',
          `Aim with ${AIM.links} links: under ${AIM.bytes / 1e6} MB and ${AIM.core * 100} % of a core.`,
        ],
      },
    ],
    data: { aim: AIM, results },
    wrong,
  };
}
