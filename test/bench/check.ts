/** Requests a second that `check` answers on the real daemon, beside a bare server that gives the same answer. */
import { startPair, type Pair } from '../support/pair.js';
import { freePort, waitFor } from '../../deploy/demo/run-folder.js';
import type { BareAnswer } from './check-bare.js';
import type { AskOrder, AskResult } from './check-load.js';
import { startChild, type Child } from './child.js';
import { compileDaemon, setUp, startDaemon, TOKEN, writeConfig } from './daemon.js';
import { busyShare, processorTimeUs } from './machine.js';
import { ms, whole, type BenchContext, type SectionResult } from './report.js';
import { median } from './statistics.js';

const CONNECTIONS = 32;
/** Servers on one core, the generator on the other. */
const SERVER_CORE = 0;
const GENERATOR_CORE = 1;
const GOAL = 0.75;
const GATES = ['open', 'closed'] as const;
const STATUS = { open: 200, closed: 409 } as const;

type GateName = (typeof GATES)[number];

function yaml(pair: Pair, port: number): string {
  const url = (at: number): string => `postgres://lockgate:pw@127.0.0.1:${at}/${pair.database}?sslmode=disable`;
  const rest = `"forward.agreement is 1", "forward.running is 1"`;
  return `
daemon: { id: bench, listen: 127.0.0.1:${port}, auth: { tokens: [ { name: bench, token: ${TOKEN}, role: reader } ] } }
databases:
  onprem: { engine: postgres, url: "${url(pair.source.port)}" }
  aws: { engine: postgres, url: "${url(pair.target.port)}" }
migrations:
  shop:
    source: onprem
    target: aws
    forward: { via: postgres-logical, subscription: shop_sub }
    gates:
      open: { require: [ "forward.lag < 30s for 1s", "forward.lag_by_position < 30s for 1s", ${rest} ] }
      closed: { require: [ "forward.lag < 30s for 12h", "forward.lag_by_position < 30s for 12h", ${rest} ] }
`;
}

/** One stretch of questions to one server. */
interface Stretch extends AskResult {
  /** What the server's process spent on each answer; NaN where the system does not tell. */
  serverUs: number;
}

interface Round {
  bare: Stretch;
  check: Stretch;
}

/** Measures both servers in turn, several times. */
export async function measureCheck({ quick, progress }: BenchContext): Promise<SectionResult> {
  // Many short rounds rather than few long ones: on a machine with other work both of a round then meet the same weather.
  const rounds = quick ? 5 : 20;
  const seconds = quick ? 0.7 : 1.2;
  const busyBefore = await busyShare(1_000);
  progress('check: compiling the daemon, starting two servers');
  const [pair, main] = await Promise.all([startPair(), compileDaemon()]);
  const bare = startChild('bare', SERVER_CORE);
  const generator = startChild('ask', GENERATOR_CORE);
  const results: Record<GateName, Round[]> = { open: [], closed: [] };
  try {
    const { file, config } = writeConfig(yaml(pair, await freePort()));
    await setUp(config, pair);
    const daemon = await startDaemon(main, file, SERVER_CORE);
    try {
      await Promise.all([bare.next(), generator.next()]);
      bare.send(await Promise.all(GATES.map((gate) => settled(daemon.url, gate))));
      const ports = await bare.next<number[]>();
      const daemonPort = Number(new URL(daemon.url).port);
      const askWhom = (who: keyof Round, gate: GateName, length = seconds): Promise<Stretch> => {
        const port = who === 'check' ? daemonPort : (ports[GATES.indexOf(gate)] ?? 0);
        const order = { port, path: `/v1/gates/shop/${gate}/check`, token: TOKEN, connections: CONNECTIONS };
        return ask(generator, who === 'check' ? daemon.pid : bare.pid, { ...order, seconds: length });
      };
      progress('check: warming up');
      for (const gate of GATES) for (const who of ['bare', 'check'] as const) await askWhom(who, gate, 2);
      for (let n = 1; n <= rounds; n += 1) {
        progress(`check: round ${n} of ${rounds}`);
        for (const gate of GATES) {
          // Who goes first changes, so that a machine that becomes slower or faster favours neither.
          const early = n % 2 === 0 ? await askWhom('check', gate) : null;
          const yardstick = await askWhom('bare', gate);
          results[gate].push({ bare: yardstick, check: early ?? (await askWhom('check', gate)) });
        }
      }
    } finally {
      await daemon.stop();
    }
  } finally {
    bare.end();
    generator.end();
    await pair.destroy();
  }
  return report(results, busyBefore);
}

async function ask(generator: Child, server: number, order: AskOrder): Promise<Stretch> {
  const before = processorTimeUs(server);
  generator.send(order);
  const result = await generator.next<AskResult>();
  return { ...result, serverUs: (processorTimeUs(server) - before) / result.answered };
}

/** Waits until the gate is as it is to be, and returns its answer. */
async function settled(url: string, gate: GateName): Promise<BareAnswer> {
  return waitFor(`gate ${gate} to be so`, 30_000, async () => {
    const headers = { authorization: `Bearer ${TOKEN}` };
    const response = await fetch(`${url}/v1/gates/shop/${gate}/check`, { headers });
    const body = await response.text();
    return response.status === STATUS[gate] && { status: response.status, body };
  });
}

function report(results: Record<GateName, Round[]>, busyBefore: number): SectionResult {
  const summary = GATES.map((gate) => {
    const rounds = results[gate];
    const of = (which: keyof Round, what: 'perSecond' | 'p50Us' | 'p99Us' | 'cpu' | 'serverUs'): number =>
      median(rounds.map((r) => r[which][what]));
    const side = (who: keyof Round) => ({
      perSecond: of(who, 'perSecond'),
      p50Us: of(who, 'p50Us'),
      p99Us: of(who, 'p99Us'),
      serverUs: of(who, 'serverUs'),
    });
    const ratios = rounds.map((r) => r.check.perSecond / r.bare.perSecond);
    const others = rounds.flatMap((r) =>
      Object.entries(r.check.statuses).flatMap(([s, n]) => (s === String(STATUS[gate]) ? [] : [n])),
    );
    return {
      gate,
      rounds: rounds.length,
      bare: side('bare'),
      check: side('check'),
      ratio: median(ratios),
      ratioLeast: Math.min(...ratios),
      ratioMost: Math.max(...ratios),
      generatorCpu: of('bare', 'cpu'),
      otherStatuses: others.reduce((sum, n) => sum + n, 0),
    };
  });
  const rows = summary.map((s) => [
    `gate ${s.gate} (${STATUS[s.gate]})`,
    whole(s.bare.perSecond),
    ms(s.bare.p50Us),
    ms(s.bare.p99Us),
    s.bare.serverUs.toFixed(1),
    whole(s.check.perSecond),
    ms(s.check.p50Us),
    ms(s.check.p99Us),
    s.check.serverUs.toFixed(1),
    s.ratio.toFixed(2),
    `${s.ratioLeast.toFixed(2)} - ${s.ratioMost.toFixed(2)}`,
    (s.bare.serverUs / s.check.serverUs).toFixed(2),
  ]);
  const notes = [
    `Medians of ${summary[0]?.rounds ?? 0} rounds, in turn. ${CONNECTIONS} connections, each with one request under way; four conditions; latencies in ms`,
    'under full load. bare: node:http with the same body, ready beforehand. ratio: check per bare, by round; goal: at least 0.75.',
    'µs: processor time of the server for each answer; by µs: the ratio of those, which other work on the machine spoils least.',
    `The generator used ${Math.round((summary[0]?.generatorCpu ?? NaN) * 100)} % of its core with the bare server.`,
    ...summary.flatMap((s) =>
      s.otherStatuses === 0
        ? []
        : [`Gate ${s.gate} gave another answer ${whole(s.otherStatuses)} times: the machine stalled.`],
    ),
    `The machine was ${Math.round(busyBefore * 100)} % busy before this began.`,
  ];
  const head = [
    '',
    'bare req/s',
    'p50',
    'p99',
    'µs',
    'check req/s',
    'p50',
    'p99',
    'µs',
    'ratio',
    'least - most',
    'by µs',
  ];
  return {
    tables: [{ title: 'check', head, rows, notes }],
    data: { goal: GOAL, connections: CONNECTIONS, busyBefore, summary, rounds: results },
  };
}
