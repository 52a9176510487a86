/** What many open status pages cost the daemon: its processor time with and without clients that read as the page does. */
import { setTimeout as sleep } from 'node:timers/promises';
import { spawn, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { request } from 'node:http';
import { freePort, waitFor } from '../../deploy/demo/run-folder.js';
import { follow, type LiveTransport } from '../../daemon/live/follow.js';
import { nothing } from '../../daemon/live/model.js';
import { gateShown, isLive } from '../../daemon/live/shown.js';
import { startPair, type Pair } from '../support/pair.js';
import { REAL } from '../support/live-client.js';
import { endWithThisProcess } from './child.js';
import { compileDaemon, setUp, startDaemon, TOKEN, writeConfig } from './daemon.js';
import { busyShare, memoryOf, processorTimeUs } from './machine.js';
import type { BenchContext, SectionResult } from './report.js';
import { median } from './statistics.js';

const PAGES = 50;
/** So many pages together should cost less than this share of a core. */
const AIM = 0.05;

interface Stretch {
  pages: number;
  share: number;
  rssMiB: number;
  /** What a page received, bytes a second. */
  bytes: number;
  /** Pages that were live, and showed the gate as the API did. */
  right: number;
}

function yaml(pair: Pair, port: number): string {
  const url = (side: 'source' | 'target'): string =>
    `postgres://lockgate:pw@127.0.0.1:${pair[side].port}/${pair.database}?sslmode=disable`;
  return `
daemon: { id: bench, listen: 127.0.0.1:${port}, auth: { tokens: [ { name: bench, token: ${TOKEN}, role: reader } ] } }
databases:
  onprem: { engine: postgres, url: "${url('source')}" }
  aws: { engine: postgres, url: "${url('target')}" }
migrations:
  shop:
    source: onprem
    target: aws
    forward: { via: postgres-logical, subscription: shop_sub }
    gates: { preset: runbook, ready: { require: [ "forward.lag < 10s", "forward.running is 1" ] } }
`;
}

/** Measures the daemon without pages and with them, in turn. The heartbeats make values change every second. */
export async function measurePages({ quick, progress }: BenchContext): Promise<SectionResult> {
  const rounds = quick ? 1 : 3;
  const seconds = quick ? 8 : 30;
  const busyBefore = await busyShare(1_000);
  progress('pages: starting two servers');
  const [pair, main] = await Promise.all([startPair(), compileDaemon()]);
  const stretches: Stretch[] = [];
  try {
    const { file, config } = writeConfig(yaml(pair, await freePort()));
    await setUp(config, pair);
    const daemon = await startDaemon(main, file, null);
    try {
      await waitFor('the gate to be open', 60_000, async () => (await check(daemon.url)) === 'open');
      for (let round = 1; round <= rounds; round += 1) {
        for (const pages of [0, PAGES]) {
          progress(`pages: ${pages} pages, round ${round} of ${rounds}`);
          stretches.push(await measure(daemon, pages, seconds));
        }
      }
    } finally {
      await daemon.stop();
    }
  } finally {
    await pair.destroy();
  }
  return report(stretches, seconds, busyBefore);
}

async function check(url: string): Promise<string> {
  const headers = { authorization: `Bearer ${TOKEN}` };
  const answer = await fetch(`${url}/v1/gates/shop/ready/check`, { headers, signal: AbortSignal.timeout(5_000) });
  return { 200: 'open', 409: 'closed' }[answer.status] ?? 'unknown';
}

async function measure({ pid, url }: { pid: number; url: string }, pages: number, seconds: number): Promise<Stretch> {
  const reader = pages === 0 ? null : await startReader(url, pages);
  try {
    // What is fetched once, after connecting, is not what a page costs that is open all day.
    await sleep(5_000);
    const before = await reader?.count();
    const [from, at] = [processorTimeUs(pid), performance.now()];
    await sleep(seconds * 1_000);
    const passed = (performance.now() - at) * 1_000;
    const used = processorTimeUs(pid) - from;
    const after = await reader?.count();
    return {
      pages,
      share: used / passed,
      rssMiB: memoryOf(pid).rss / 2 ** 20,
      bytes: pages === 0 ? 0 : ((after?.bytes ?? 0) - (before?.bytes ?? 0)) / pages / (passed / 1e6),
      right: after?.right ?? 0,
    };
  } finally {
    await reader?.stop();
  }
}

interface Count {
  bytes: number;
  right: number;
}

/** The pages run in a process of their own, so that what they cost themselves is nobody else's. */
async function startReader(url: string, pages: number): Promise<{ count(): Promise<Count>; stop(): Promise<void> }> {
  const main = fileURLToPath(new URL('main.ts', import.meta.url));
  const child: ChildProcess = spawn(process.execPath, ['--import', 'tsx', main, '--child', 'pages'], {
    env: { ...process.env, BENCH_URL: url, BENCH_PAGES: String(pages), BENCH_TOKEN: TOKEN },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  endWithThisProcess(child);
  const count = (): Promise<Count> =>
    new Promise((resolve) => {
      child.once('message', (message) => resolve(message as Count));
      child.send('count');
    });
  await new Promise((resolve) => child.once('message', resolve));
  await waitFor(`${pages} pages to be live`, 30_000, async () => (await count()).right === pages);
  return {
    count,
    async stop() {
      const closed = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGTERM');
      await closed;
    },
  };
}

/** Reads as so many pages do, and tells what it has read when it is asked. */
export async function readAsPages(): Promise<void> {
  const { BENCH_URL: url = '', BENCH_PAGES: pages = '', BENCH_TOKEN: token = '' } = process.env;
  let bytes = 0;
  const models = Array.from({ length: Number(pages) }, () => nothing(REAL.now()));
  for (const i of models.keys()) {
    void follow({
      ...{ clock: REAL, signal: new AbortController().signal, random: Math.random },
      transport: browserLike(url, token, (n) => (bytes += n)),
      changed: (model) => (models[i] = model),
    });
  }
  process.on('message', () => {
    void check(url).then((state) => {
      const now = REAL.now();
      const right = models.filter((m) => isLive(m, now) && gateShown(m, 'shop/ready', now).state === state).length;
      process.send?.({ bytes, right });
    });
  });
  process.send?.('ready');
  await new Promise(() => undefined);
}

/** As a browser: a connection for the stream, and others. */
function browserLike(url: string, token: string, read: (bytes: number) => void): LiveTransport {
  const headers = { authorization: `Bearer ${token}` };
  return {
    async get(path, signal) {
      const response = await fetch(url + path, { headers, signal });
      const text = await response.text();
      read(text.length);
      return { status: response.status, json: JSON.parse(text) as unknown };
    },
    stream: (path, signal) =>
      new Promise((resolve, reject) => {
        request(url + path, { headers, signal, agent: false }, (response) => {
          response.setEncoding('utf8').on('data', (text: string) => read(text.length));
          const header = (name: string): string | null => {
            const value = response.headers[name];
            return typeof value === 'string' ? value : null;
          };
          resolve({ status: response.statusCode ?? 0, json: undefined, header, chunks: response });
        })
          .on('error', reject)
          .end();
      }),
  };
}

function report(stretches: readonly Stretch[], seconds: number, busyBefore: number): SectionResult {
  const of = (pages: number, key: 'share' | 'rssMiB' | 'bytes'): number =>
    median(stretches.filter((s) => s.pages === pages).map((s) => s[key]));
  const percent = (share: number): string => (share * 100).toFixed(2);
  const more = of(PAGES, 'share') - of(0, 'share');
  const rows = [
    ['no page', percent(of(0, 'share')), '-', of(0, 'rssMiB').toFixed(0), '-'],
    [`${PAGES} pages`, percent(of(PAGES, 'share')), percent(more), of(PAGES, 'rssMiB').toFixed(0), (of(PAGES, 'bytes') / 1024).toFixed(2)], // prettier-ignore
  ];
  const notes = [
    `Medians of ${stretches.length / 2} stretches of ${seconds} s each. cpu: of the daemon, in % of a core; each page reads the stream of`,
    'events and fetches what the status page does. KiB/s: what one page receives. Every page showed the gate as the API did.',
    `Aim: ${PAGES} pages cost less than ${AIM * 100} % of a core. The machine was ${Math.round(busyBefore * 100)} % busy before this began.`,
  ];
  return {
    tables: [{ title: 'open status pages', head: ['', 'cpu %', 'more %', 'RSS MiB', 'KiB/s'], rows, notes }],
    data: { seconds, busyBefore, aim: AIM, more, stretches },
    wrong: stretches.filter((s) => s.right !== s.pages).length,
  };
}
