/** What the judgement itself costs: observations a second through the real engine, and the price of a verdict. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { loadConfig } from '../../daemon/config/load.js';
import { US_PER_S, type Clock, type Us } from '../../daemon/core/clock.js';
import type { Config } from '../../daemon/core/config.js';
import type { Observation } from '../../daemon/core/observation.js';
import type { LinkId } from '../../daemon/core/signal.js';
import { Engine } from '../../daemon/engine.js';
import { busyShare } from './machine.js';
import { whole, type BenchContext, type SectionResult, type Table } from './report.js';
import { quantile } from './statistics.js';

const LINKS = 200;
const GATES = 300;
const WINDOW_FUNCTIONS = ['max', 'p99'] as const;
/** How many seconds of a long window are observed as in life; before them only what leaves a trace in it. */
const MEASURED_SECONDS = 60;

/** A clock that stands still unless told, so that hours pass in seconds. */
class Hands implements Clock {
  us: Us = US_PER_S * 1_000;

  monotonicNow(): Us {
    return this.us;
  }

  wallNow(): number {
    return this.us / 1_000;
  }

  uptime(): Us {
    return this.us;
  }

  sleep(): Promise<void> {
    throw new Error('nothing sleeps on this clock');
  }
}

function configOf(migrations: string): Config {
  const text = `
databases:
  a: { engine: postgres, url: "postgres://u@one:1/x?sslmode=disable" }
  b: { engine: postgres, url: "postgres://u@two:1/x?sslmode=disable" }
migrations:
${migrations}`;
  const readFile = (): string => {
    throw new Error('no secrets in this configuration');
  };
  return loadConfig({ file: 'bench.yaml', text, env: {}, readFile, hostName: 'bench' });
}

/** One migration with a link and these gates. */
function migration(name: string, gates: readonly string[]): string {
  return `  ${name}:
    source: a
    target: b
    forward: { via: postgres-logical, subscription: s }
    gates:
${gates.map((g) => `      ${g}`).join('\n')}`;
}

function engineOf(config: Config, clock: Clock): Engine {
  return new Engine(config, clock, {
    record: () => true,
    delay: () => undefined,
    direction: () => undefined,
    jumped: () => undefined,
  });
}

/** What a link's collectors report within one second: a heartbeat, its position, and that all runs. */
function secondOf(link: LinkId, seq: number): ((at: Us) => Observation)[] {
  const position = { kind: 'lsn', lsn: BigInt(seq) } as const;
  return [
    (at) => ({ kind: 'heartbeat-sent', link, run: 'r', seq, at }),
    (at) => ({ kind: 'heartbeat-acked', link, seq, at }),
    (at) => ({ kind: 'position-sampled', link, position, sentAt: at - 1_000, at }),
    // Not the same delay each time, as in life: the history of a constant takes next to no memory.
    (at) => ({ kind: 'heartbeat-visible', link, upTo: seq, askedAt: null, at: at - ((seq * 7_919) % 700), by: 'wal' }),
    (at) => ({ kind: 'applied', link, flow: 's', position, askedAt: at - 200, at }),
    (at) => ({ kind: 'link-reading', link, signal: 'running', value: 1, reason: null, at }),
  ];
}

/** Places in the list above. */
const SENT = 0;
const VISIBLE = 3;

/** Measures throughput, memory, and verdicts over a long window. */
export async function measureCore({ quick, progress }: BenchContext): Promise<SectionResult> {
  const busyBefore = await busyShare(1_000);
  progress(`core: ${LINKS} links, ${GATES} gates`);
  const many = throughput(quick ? 60 : 300, progress);
  const windows = WINDOW_FUNCTIONS.map((fn) => {
    progress(`core: ${fn} over an hour`);
    return overHour(fn, quick ? 300 : 3_700);
  });
  const busy = `The machine was ${Math.round(busyBefore * 100)} % busy before this began.`;
  const us = (value: number): string => (value >= 100 ? whole(value) : value.toFixed(1));
  const tables: Table[] = [
    {
      title: `core: ${LINKS} links, ${GATES} gates`,
      head: ['', ''],
      rows: [
        ['observations a second', whole(many.perSecond)],
        ['needed for a heartbeat a second on every link', whole(LINKS * secondOf('a/forward', 1).length)],
        ['verdict, p50 / p99, µs', `${us(many.verdictUs.p50)} / ${us(many.verdictUs.p99)}`],
        ['looking at all gates (four times a second), ms', (many.tickUs / 1_000).toFixed(2)],
        ['memory, heap, MiB', whole(many.heapMiB)],
        ['memory, history outside the heap, MiB', whole(many.externalMiB)],
      ],
      notes: [`After ${many.seconds} s of observations, on one core.`, busy],
    },
    {
      title: 'core: a gate with a function over one hour',
      head: ['', 'observed', 'verdict p50, ms', 'p99', 'observation p50, ms', 'p99', 'share of a core'],
      rows: windows.map((w) => [
        `${w.fn}(forward.lag, 1h)`,
        whole(w.observations),
        (w.verdictUs.p50 / 1_000).toFixed(2),
        (w.verdictUs.p99 / 1_000).toFixed(2),
        (w.observeUs.p50 / 1_000).toFixed(2),
        (w.observeUs.p99 / 1_000).toFixed(2),
        `${(w.coreShare * 100).toFixed(1)} %`,
      ]),
      notes: [
        `With ${quick ? 'five minutes' : 'a full hour'} of heartbeats, one a second. share: what its observations cost at that pace, unasked.`,
        busy,
      ],
    },
  ];
  return { tables, data: { busyBefore, many, windows } };
}

function throughput(seconds: number, progress: (text: string) => void) {
  const before = memory();
  const names = Array.from({ length: LINKS }, (_, i) => `m${i}`);
  const ids: string[] = [];
  const text = names.map((name, i) => {
    const gates = [
      'lag: { require: [ "forward.lag < 2s for 10m", "forward.lag_by_position < 2s for 10m", "forward.agreement is 1", "forward.running is 1" ] }',
    ];
    // Every other one has a second gate, which depends on the first.
    if (i < GATES - LINKS) gates.push('flip: { require: [ "max(forward.lag, 1m) < 1s", "gate lag open" ] }');
    ids.push(...gates.map((g) => `${name}/${g.slice(0, g.indexOf(':'))}`));
    return migration(name, gates);
  });
  const clock = new Hands();
  const engine = engineOf(configOf(text.join('\n')), clock);
  let observations = 0;
  let spentMs = 0;
  for (let second = 1; second <= seconds; second += 1) {
    const made = names.map((name) => secondOf(`${name}/forward`, second));
    const step = Math.floor(US_PER_S / (LINKS * 6));
    const startedAt = performance.now();
    for (let kind = 0; kind < 6; kind += 1) {
      for (const link of made) {
        clock.us += step;
        engine.observe(link[kind]!(clock.us));
        observations += 1;
      }
    }
    spentMs += performance.now() - startedAt;
    engine.board.sweep(clock.us);
    if (second % 60 === 0) progress(`core: ${second} of ${seconds} s`);
  }
  const ticks = time(20, () => {
    clock.us += 1_000;
    engine.tick();
  });
  let n = 0;
  const verdicts = time(3_000, () => {
    clock.us += 20;
    engine.verdict(ids[(n += 1) % ids.length]!);
  });
  const after = memory();
  return {
    seconds,
    observations,
    perSecond: observations / (spentMs / 1_000),
    verdictUs: { p50: quantile(verdicts, 0.5), p99: quantile(verdicts, 0.99) },
    tickUs: quantile(ticks, 0.5),
    heapMiB: (after.heapUsed - before.heapUsed) / 2 ** 20,
    externalMiB: (after.arrayBuffers - before.arrayBuffers) / 2 ** 20,
    rssMiB: after.rss / 2 ** 20,
    // Still in use here, so that it was not collected before its memory was taken.
    gates: ids.filter((id) => engine.verdict(id) !== undefined).length,
  };
}

function overHour(fn: (typeof WINDOW_FUNCTIONS)[number], seconds: number) {
  const clock = new Hands();
  const engine = engineOf(configOf(migration('m', [`g: { require: "${fn}(forward.lag, 1h) < 2s" }`])), clock);
  const last: number[] = [];
  let observations = 0;
  for (let second = 1; second <= seconds; second += 1) {
    const inFull = seconds - second < MEASURED_SECONDS;
    for (const [kind, make] of secondOf('m/forward', second).entries()) {
      if (!inFull && kind !== SENT && kind !== VISIBLE) continue;
      // Delays that differ, as they do: equal ones would be cheaper to sort.
      clock.us += 500 + ((second * 7_919) % 5_000);
      const startedAt = performance.now();
      engine.observe(make(clock.us));
      if (inFull) last.push((performance.now() - startedAt) * 1_000);
      observations += 1;
    }
    clock.us = US_PER_S * (1_000 + second);
  }
  const verdicts = time(100, () => {
    clock.us += 100;
    engine.verdict('m/g');
  });
  return {
    fn,
    observations,
    verdictUs: { p50: quantile(verdicts, 0.5), p99: quantile(verdicts, 0.99) },
    observeUs: { p50: quantile(last, 0.5), p99: quantile(last, 0.99) },
    /** What the observations of one link and a heartbeat a second cost of a core, without anybody asking. */
    coreShare: last.reduce((sum, x) => sum + x, 0) / MEASURED_SECONDS / 1e6,
  };
}

/** How long each of so many calls takes, in microseconds. */
function time(times: number, work: () => void): number[] {
  return Array.from({ length: times }, () => {
    const startedAt = performance.now();
    work();
    return (performance.now() - startedAt) * 1_000;
  });
}

function memory(): NodeJS.MemoryUsage {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  collect();
  return process.memoryUsage();
}
