/**
 * Days of heartbeats in minutes: the real writer and its statements against real servers, on a clock that jumps to the
 * end of each sleep instead of waiting. What the table looks like meanwhile is read from the servers.
 */
import { randomBytes } from 'node:crypto';
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import type { CollectorContext, LinkPlan } from '../../collectors/collector.js';
import { HeartbeatLedger, type RunKey } from '../../collectors/heartbeat/ledger.js';
import { postgresHeartbeatWriter } from '../../collectors/postgres/heartbeat-writer.js';
import { US_PER_MS, type Clock, type Us } from '../../daemon/core/clock.js';
import type { LinkConfig } from '../../daemon/core/config.js';
import type { Observation } from '../../daemon/core/observation.js';
import { linkId, type LinkId } from '../../daemon/core/signal.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { databaseConfig } from './heartbeat-bed.js';
import { HeartbeatTable, type Phase, type SideWeek } from './heartbeat-table.js';
import type { ServerPair } from './pair.js';

/** What is to be simulated; stretches are given as shares of all heartbeats, from and to. */
interface WeekPlan {
  /** Heartbeats to write, one a second by the clock of the simulation. */
  readonly beats: number;
  /** How often the daemon ends and another one takes over. */
  readonly restarts: number;
  /** A transaction on each server holds back what may be cleaned up. */
  readonly held: readonly [number, number];
  /** No heartbeat is seen on the target, so that the writer tries fresh rows. */
  readonly unseen: readonly [number, number];
  /** Between two looks at the table. */
  readonly lookEvery: number;
  readonly progress?: (beats: number) => void;
}

/** What the simulation came to. */
export interface WeekResult {
  readonly beats: number;
  readonly seconds: number;
  readonly runs: number;
  readonly source: SideWeek;
  readonly target: SideWeek;
  /** What the writer complained of; empty when all went well. */
  readonly complaints: readonly string[];
}

const link: LinkId = linkId('shop', 'forward');

/** The storage settings and the table must be there already; `pair` is one that setup has been run on. */
export async function simulateWeek(pair: ServerPair, plan: WeekPlan): Promise<WeekResult> {
  const started = performance.now();
  const sides = {
    source: await HeartbeatTable.of(pair.source),
    target: await HeartbeatTable.of(pair.target),
  };
  try {
    const writing = new Writing(pair, plan, sides);
    await writing.run();
    await waitFor('the target to have the last heartbeat', 120_000, async () => {
      const [a, b] = await Promise.all(Object.values(sides).map((side) => side.newest()));
      return a === b;
    });
    // Sessions report what they did about once a second.
    await waitFor('the statistics of the last updates', 10_000, async () => {
      for (const side of Object.values(sides)) await side.look(plan.beats, 'after');
      return sides.source.updates >= writing.updated;
    });
    return {
      beats: writing.beats,
      seconds: (performance.now() - started) / 1_000,
      runs: writing.runs,
      source: await sides.source.result(),
      target: await sides.target.result(),
      complaints: writing.complaints,
    };
  } finally {
    for (const side of Object.values(sides)) await side.end();
  }
}

/** A clock whose sleeps end at once, with the clock moved on. */
class JumpingClock implements Clock {
  /** Real sleeps, for what is to be awaited while a writer is being stopped. */
  real = false;
  #us: Us = 1_000_000_000;

  wallNow(): number {
    return this.#us / US_PER_MS;
  }

  monotonicNow(): Us {
    return this.#us;
  }

  uptime(): Us {
    return this.#us;
  }

  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) return;
    if (this.real) {
      await sleep(ms, undefined, signal === undefined ? {} : { signal }).catch(() => undefined);
      return;
    }
    this.#us += Math.round(Math.max(0, ms) * US_PER_MS);
    await setImmediate();
  }
}

/** The writers, one after the other, and what is done around them. */
class Writing {
  beats = 0;
  updated = 0;
  runs = 0;
  readonly complaints: string[] = [];
  readonly #clock = new JumpingClock();
  readonly #runs = new Set<string>();

  constructor(
    private readonly pair: ServerPair,
    private readonly plan: WeekPlan,
    private readonly sides: { source: HeartbeatTable; target: HeartbeatTable },
  ) {}

  async run(): Promise<void> {
    const { beats, restarts } = this.plan;
    for (let n = 1; n <= restarts + 1; n += 1) {
      await this.#daemon(Math.round((beats * n) / (restarts + 1)));
      // The servers' clocks do not jump: rows of runs that have ended are made as old as they would be.
      await this.sides.source.age();
    }
    this.runs = this.#runs.size;
  }

  /** One life of the daemon, until so many heartbeats were written in all. */
  async #daemon(until: number): Promise<void> {
    const clock = this.#clock;
    const db = databaseConfig(this.pair, 'source');
    const config: LinkConfig = {
      name: 'forward',
      via: 'postgres-logical',
      from: 'source',
      to: 'target',
      flows: ['shop_sub'],
      publication: null,
      heartbeat: { intervalUs: 1_000_000, watch: 'notify' },
      freshnessUs: 3_000_000,
      retentionLimitBytes: null,
      tables: null,
    };
    const links: LinkPlan[] = [
      { id: link, migration: 'shop', config, from: db, to: databaseConfig(this.pair, 'target') },
    ];
    const say = (fields: object, message: string): void => {
      this.complaints.push(`${message} ${JSON.stringify(fields)}`);
    };
    const nothing = (): void => undefined;
    const log = { debug: nothing, info: nothing, warn: say, error: say };
    const context: CollectorContext = { clock, log, daemonId: 'week' };
    const after = Math.floor(clock.monotonicNow() / US_PER_MS);
    const ledger = new HeartbeatLedger(clock, randomBytes(6).toString('hex'), after);
    const existsOnTarget = (rows: readonly RunKey[]): Promise<RunKey[]> => this.sides.target.exists(rows);
    const writer = postgresHeartbeatWriter({ db, links, context, ledger, existsOnTarget });
    const stopping = new AbortController();
    const sent = new Map<number, string>();
    const take = (o: Observation): void => {
      if (o.kind === 'heartbeat-sent') sent.set(o.seq, o.run);
      else if (o.kind === 'heartbeat-failed') this.complaints.push(o.reason);
      if (o.kind !== 'heartbeat-acked') return;
      const run = sent.get(o.seq) ?? '';
      sent.delete(o.seq);
      this.beats += 1;
      if (this.#runs.has(run)) this.updated += 1;
      this.#runs.add(run);
      if (!this.#within(this.plan.unseen)) {
        ledger.visible(link, { run, seq: o.seq }, null, clock.monotonicNow(), 'notify', take);
      }
      if (this.beats < until) return;
      clock.real = true;
      stopping.abort();
    };
    const looking = this.#look(stopping.signal);
    await writer.run(take, stopping.signal);
    clock.real = false;
    await looking;
  }

  #within([from, to]: readonly [number, number]): boolean {
    return this.beats >= from * this.plan.beats && this.beats < to * this.plan.beats;
  }

  get #phase(): Phase {
    const [from, to] = this.plan.held;
    const share = this.beats / this.plan.beats;
    if (share < from) return 'before';
    if (share < to) return 'held';
    return share < 2 * to - from ? 'recovering' : 'after';
  }

  /** Looks at the tables beside the writer, opens and ends the transactions, and ages what was tried and not taken. */
  async #look(signal: AbortSignal): Promise<void> {
    const all = Object.values(this.sides);
    let next = this.beats;
    let unseen = false;
    while (!signal.aborted) {
      const phase = this.#phase;
      for (const side of all) await side.hold(phase === 'held');
      if (this.beats >= next) {
        next = this.beats + this.plan.lookEvery;
        await Promise.all(all.map((side) => side.look(this.beats, phase)));
        this.plan.progress?.(this.beats);
      }
      const now = this.#within(this.plan.unseen);
      if (unseen && !now) await this.sides.source.age();
      unseen = now;
      await sleep(5);
    }
  }
}
