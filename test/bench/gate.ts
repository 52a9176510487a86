/** From a fault to the first `check` that is not 200, on the real daemon. */
import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort, waitFor } from '../../deploy/demo/run-folder.js';
import { startPair, type Pair } from '../support/pair.js';
import { compileDaemon, setUp, startDaemon, TOKEN, writeConfig } from './daemon.js';
import { busyShare } from './machine.js';
import type { BenchContext, SectionResult } from './report.js';
import { median } from './statistics.js';

const INTERVAL_MS = 250;
const THRESHOLD_MS = 1_000;
const HOLD_MS = 1_000;
/** Freshness of lag: twice the interval, at least a second. */
const FRESH_MS = Math.max(2 * INTERVAL_MS, 1_000);
const ASK_EVERY_MS = 4;
/** A gate that is still open by then is reported as such. */
const GIVE_UP_MS = 15_000;
const GATES = ['lag', 'whole'] as const;

interface BenchFault {
  name: string;
  /** What the definition of lag makes one wait at least and at most. */
  waitMs: readonly [number, number];
  /** Makes the fault and returns the instant from which it worked at the latest, and how to heal it. */
  make(pair: Pair): Promise<{ at: number; heal: () => Promise<void> }>;
}

/** The oldest heartbeat that cannot arrive was sent at most an interval after the fault, and must be older than the threshold. */
const byLag = [THRESHOLD_MS, THRESHOLD_MS + INTERVAL_MS] as const;

const faults: readonly BenchFault[] = [
  {
    name: 'subscription disabled',
    waitMs: byLag,
    async make(pair) {
      const at = performance.now();
      await pair.disableSubscription();
      return { at, heal: () => pair.enableSubscription() };
    },
  },
  {
    name: 'apply waits for a lock',
    waitMs: byLag,
    async make(pair) {
      const heal = await pair.lockTable('public.orders');
      const at = performance.now();
      await pair.placeOrder();
      return { at, heal };
    },
  },
  {
    name: 'replication network cut',
    waitMs: byLag,
    async make(pair) {
      const at = performance.now();
      await pair.replicationProxy.cut();
      return { at, heal: () => pair.replicationProxy.restore() };
    },
  },
  {
    name: 'blind: target cut off',
    waitMs: [0, 0],
    async make(pair) {
      const at = performance.now();
      await pair.targetProxy.cut();
      return { at, heal: () => pair.targetProxy.restore() };
    },
  },
  {
    name: 'blind: target frozen',
    // The last heartbeat that was seen came within an interval before, and is good for its freshness.
    waitMs: [FRESH_MS - INTERVAL_MS, FRESH_MS],
    make(pair) {
      const at = performance.now();
      pair.targetProxy.freeze();
      return Promise.resolve({
        at,
        heal: () => {
          pair.targetProxy.thaw();
          return Promise.resolve();
        },
      });
    },
  },
];

function yaml(pair: Pair, port: number): string {
  const url = (at: number): string => `postgres://lockgate:pw@127.0.0.1:${at}/${pair.database}?sslmode=disable`;
  const lag = `< ${THRESHOLD_MS}ms for ${HOLD_MS}ms`;
  return `
daemon: { id: bench, listen: 127.0.0.1:${port}, auth: { tokens: [ { name: bench, token: ${TOKEN}, role: reader } ] } }
databases:
  onprem: { engine: postgres, url: "${url(pair.sourceProxy.port)}" }
  aws: { engine: postgres, url: "${url(pair.targetProxy.port)}" }
migrations:
  shop:
    source: onprem
    target: aws
    forward: { via: postgres-logical, subscription: shop_sub, heartbeat: { interval: ${INTERVAL_MS}ms } }
    gates:
      lag: { require: "forward.lag ${lag}" }
      whole: { require: [ "forward.lag ${lag}", "forward.lag_by_position ${lag}", "forward.agreement is 1", "forward.running is 1" ] }
`;
}

/** Measures every fault several times. */
export async function measureGate({ quick, progress }: BenchContext): Promise<SectionResult> {
  const times = quick ? 2 : 7;
  const busyBefore = await busyShare(1_000);
  progress('gate: starting two servers and the daemon');
  const [pair, main] = await Promise.all([startPair(), compileDaemon()]);
  const results: { fault: string; waitMs: readonly [number, number]; closedMs: Record<string, number[]> }[] = [];
  try {
    const { file, config } = writeConfig(yaml(pair, await freePort()));
    await setUp(config, pair);
    const daemon = await startDaemon(main, file, null);
    const asker = new Asker(daemon.url);
    try {
      for (const fault of faults) {
        const closedMs: Record<string, number[]> = { lag: [], whole: [] };
        for (let n = 1; n <= times; n += 1) {
          progress(`gate: ${fault.name}, ${n} of ${times}`);
          const closed = await once(pair, asker, fault);
          for (const gate of GATES) closedMs[gate]?.push(closed[gate]);
        }
        results.push({ fault: fault.name, waitMs: fault.waitMs, closedMs });
      }
    } finally {
      asker.close();
      await daemon.stop();
    }
  } finally {
    await pair.destroy();
  }
  const seconds = (value: number): string => (Number.isFinite(value) ? (value / 1_000).toFixed(3) : 'never');
  const rows = results.map(({ fault, waitMs: [least, most], closedMs }) => {
    const [lag = [], whole = []] = GATES.map((g) => closedMs[g]);
    return [
      fault,
      String(lag.length),
      most === 0 ? 'none' : `${(least / 1_000).toFixed(2)} - ${(most / 1_000).toFixed(2)}`,
      seconds(median(lag)),
      seconds(Math.max(...lag)),
      seconds(median(lag) - most),
      seconds(Math.max(...lag) - most),
      seconds(median(whole)),
      seconds(Math.max(...whole)),
    ];
  });
  const notes = [
    `Seconds. Gate lag: forward.lag < ${THRESHOLD_MS} ms; whole: lag, lag_by_position, agreement and running. Heartbeats every ${INTERVAL_MS} ms.`,
    'wait: what the definition of lag demands (the threshold, and up to one interval until a heartbeat is affected; for a',
    'frozen connection the freshness of lag). beyond: measured minus the longest such wait; below zero is sooner.',
    `Asked every ${ASK_EVERY_MS} ms. The machine was ${Math.round(busyBefore * 100)} % busy before this began.`,
  ];
  const head = ['fault', 'n', 'wait', 'lag median', 'max', 'beyond median', 'max', 'whole median', 'max'];
  return {
    tables: [{ title: 'from a fault to the first check that is not 200', head, rows, notes }],
    data: { intervalMs: INTERVAL_MS, thresholdMs: THRESHOLD_MS, busyBefore, results },
  };
}

/** Makes and heals a fault once; after how many milliseconds each gate was first seen not to be open. */
async function once(pair: Pair, asker: Asker, fault: BenchFault): Promise<Record<(typeof GATES)[number], number>> {
  await waitFor('both gates to be open', 60_000, async () => {
    const statuses = await Promise.all(GATES.map((gate) => asker.status(gate)));
    return statuses.every((status) => status === 200);
  });
  // At no particular moment between two heartbeats.
  await sleep(Math.random() * 2 * INTERVAL_MS);
  const stopping = new AbortController();
  const watches = GATES.map((gate) => watch(asker, gate, stopping.signal));
  const { at, heal } = await fault.make(pair);
  const [lag = Infinity, whole = Infinity] = await Promise.all(watches);
  stopping.abort();
  await heal();
  return { lag: lag - at, whole: whole - at };
}

/** The instant of the first answer that was not 200. */
async function watch(asker: Asker, gate: string, signal: AbortSignal): Promise<number> {
  const until = performance.now() + GIVE_UP_MS;
  while (!signal.aborted && performance.now() < until) {
    if ((await asker.status(gate)) !== 200) return performance.now();
    await sleep(ASK_EVERY_MS);
  }
  return Infinity;
}

/** Asks for gates over connections that are kept. */
class Asker {
  readonly #agent = new Agent({ keepAlive: true });

  constructor(private readonly url: string) {}

  status(gate: string): Promise<number> {
    return new Promise((resolve, reject) => {
      const asked = request(`${this.url}/v1/gates/shop/${gate}/check`, {
        agent: this.#agent,
        headers: { authorization: `Bearer ${TOKEN}` },
        timeout: 5_000,
      });
      asked.on('response', (answer) => {
        answer.resume();
        answer.on('end', () => resolve(answer.statusCode ?? 0));
      });
      asked.on('timeout', () => asked.destroy(new Error('no answer within 5 s')));
      asked.on('error', reject);
      asked.end();
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}
