/** What the daemon takes: of its machine, and of both servers. */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Pair } from '../support/pair.js';
import { processorTimeUs } from '../bench/machine.js';
import type { Daemon } from '../support/lockgate.js';

/** What lockgate holds on one server. */
export interface Held {
  readonly connections: number;
  readonly slots: number;
  /** Advisory locks, and locks that lockgate waits for. */
  readonly locks: number;
}

/** What the daemon holds on both servers. */
export interface HeldOnBoth {
  readonly source: Held;
  readonly target: Held;
}

/** One look at the daemon's process. */
export interface ProcessSample {
  /** Seconds since the start of the run. */
  readonly at: number;
  /** Which of the daemon's processes, from 1. */
  readonly life: number;
  readonly rssMB: number;
  readonly fds: number;
}

/** One look at what the daemon says of itself; NaN where it does not. */
export interface MetricsSample {
  readonly at: number;
  readonly life: number;
  readonly heapMB: number;
  readonly handles: number;
  readonly timers: number;
  readonly eventLoopP99Ms: number;
}

const MB = 1e6;
const SAMPLE_EVERY_MS = 1_000;
const METRICS_EVERY = 5;

const HELD = `
  select (select count(*) from pg_stat_activity where application_name like 'lockgate/%')::int as connections,
         (select count(*) from pg_replication_slots where slot_name like 'lockgate\\_%')::int as slots,
         (select count(*) from pg_locks l join pg_stat_activity a using (pid)
           where a.application_name like 'lockgate/%' and (l.locktype = 'advisory' or not l.granted))::int as locks`;

/** What lockgate holds on both servers now; rejects while one of them is down. */
export async function heldNow(pair: Pair): Promise<HeldOnBoth> {
  const [[source], [target]] = await Promise.all([
    pair.onSource<Held & object>(HELD),
    pair.onTarget<Held & object>(HELD),
  ]);
  if (source === undefined || target === undefined) throw new Error('no answer about connections');
  return { source, target };
}

/** The greater of each. */
export function mostOf(a: HeldOnBoth, b: HeldOnBoth): HeldOnBoth {
  const most = (x: Held, y: Held): Held => ({
    connections: Math.max(x.connections, y.connections),
    slots: Math.max(x.slots, y.slots),
    locks: Math.max(x.locks, y.locks),
  });
  return { source: most(a.source, b.source), target: most(a.target, b.target) };
}

/** Whether nothing of `a` exceeds `b`. */
export function within(a: HeldOnBoth, b: HeldOnBoth): boolean {
  const most = mostOf(a, b);
  return JSON.stringify(most) === JSON.stringify(mostOf(b, b));
}

/** Looks at the daemon's process every second. */
export class Sampler {
  readonly processes: ProcessSample[] = [];
  readonly metrics: MetricsSample[] = [];
  life = 0;
  #daemon: Daemon | undefined;
  #cpuUs = 0;
  #cpuFrom = 0;
  readonly #stopping = new AbortController();
  readonly #loop: Promise<void>;

  constructor(private readonly startedAt: number) {
    this.#loop = this.#run();
  }

  /** A new process of the daemon is to be looked at from now on. */
  watch(daemon: Daemon): void {
    this.#daemon = daemon;
    this.life += 1;
    this.#cpuUs = processorTimeUs(daemon.pid);
    this.#cpuFrom = performance.now();
  }

  /** The share of one core that the present process has used. */
  processorShare(): number {
    if (this.#daemon === undefined) return NaN;
    return (processorTimeUs(this.#daemon.pid) - this.#cpuUs) / 1_000 / (performance.now() - this.#cpuFrom);
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#loop;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    for (let n = 0; !signal.aborted; n += 1) {
      const daemon = this.#daemon;
      if (daemon !== undefined && !daemon.exited()) {
        this.#lookAtProcess(daemon.pid);
        if (n % METRICS_EVERY === 0) await this.#askMetrics(daemon);
      }
      await sleep(SAMPLE_EVERY_MS, undefined, { signal }).catch(() => undefined);
    }
  }

  #lookAtProcess(pid: number): void {
    try {
      const rss = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
      if (rss === undefined) return;
      const fds = readdirSync(`/proc/${pid}/fd`).length;
      this.processes.push({ at: this.#seconds(), life: this.life, rssMB: (Number(rss) * 1024) / MB, fds });
    } catch {
      // It has just ended.
    }
  }

  async #askMetrics({ url }: Daemon): Promise<void> {
    const { life } = this;
    try {
      const answer = await fetch(`${url}/metrics`, { signal: AbortSignal.timeout(2_000) });
      const text = await answer.text();
      const sum = (pattern: string): number => {
        const values = [...text.matchAll(new RegExp(`^${pattern} (\\S+)$`, 'gm'))].map((m) => Number(m[1]));
        return values.length === 0 ? NaN : values.reduce((a, b) => a + b, 0);
      };
      if (life !== this.life) return;
      this.metrics.push({
        at: this.#seconds(),
        life,
        heapMB: sum('nodejs_heap_size_used_bytes') / MB,
        handles: sum('nodejs_active_handles\\{[^}]*\\}'),
        timers: sum('nodejs_active_resources\\{type="Timeout"\\}'),
        eventLoopP99Ms: sum('nodejs_eventloop_lag_p99_seconds') * 1_000,
      });
    } catch {
      // Frozen or gone: the gates' answers tell.
    }
  }

  #seconds(): number {
    return (performance.now() - this.startedAt) / 1_000;
  }
}
