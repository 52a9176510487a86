/** Runs the soak: servers, load, daemon, faults one after another, and what became of each. */
import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { waitFor, sendSignal } from '../../deploy/demo/run-folder.js';
import { messageOf } from '../../daemon/core/errors.js';
import { compileDaemon } from '../bench/daemon.js';
import { workspace, type Daemon } from '../support/lockgate.js';
import { startObserver, type Observer } from '../support/observer.js';
import { runAll, startPair, type Pair } from '../support/pair.js';
import { boundMs, scenarioYaml, setUp, timing } from '../support/scenario-setup.js';
import type { SoakOptions } from './arguments.js';
import type { SoakFault } from './fault.js';
import { blindfolded, soakFaults } from './faults.js';
import { Asker, GATES, Judge, type Answer, type Gate } from './gates.js';
import { Load } from './load.js';
import { judgeMemory } from './memory.js';
import { OPEN_WITHIN_MS, recover } from './recover.js';
import { heldNow, mostOf, Sampler, within, type HeldOnBoth } from './resources.js';
import { sayHeld, sayRecord, type FalseRed, type FaultRecord, type SoakResult } from './result.js';
import { randomOf, Schedule } from './schedule.js';

/** What the gate on everything asks for beyond the usual. */
const FURTHER = [
  'forward.continuity is 1',
  'forward.tables_uncovered is 0',
  'forward.tables_syncing is 0',
  'standby.stray_writes is 0',
];
const ALLOWED_MS = timing.thresholdMs + boundMs;
/** Left at the end for the last healing. */
const RESERVE_MS = 20_000;
/** A daemon whose true lag stayed below this for three seconds has no reason to be red. */
const GOOD_MS = 1_000;
/** The share of faults, once every kind has come, that begin while the daemon cannot see. */
const TWO_AT_ONCE = 0.4;
const QUIET_MS = [3_000, 6_000] as const;

/** Runs for as long as asked, or until aborted. */
export async function soak(
  options: SoakOptions,
  progress: (text: string) => void,
  signal: AbortSignal,
): Promise<SoakResult> {
  const cleanups: (() => Promise<void>)[] = [];
  try {
    return await new Soak(options, progress, signal, cleanups).run();
  } finally {
    await runAll(cleanups);
  }
}

class Soak {
  readonly #startedAt = performance.now();
  readonly #records: FaultRecord[] = [];
  readonly #falseReds: FalseRed[] = [];
  readonly #problems: string[] = [];
  /** What the answers that come now belong to. */
  #during = 'the start';

  constructor(
    private readonly options: SoakOptions,
    private readonly progress: (text: string) => void,
    private readonly signal: AbortSignal,
    private readonly cleanups: (() => Promise<void>)[],
  ) {}

  async run(): Promise<SoakResult> {
    const { cleanups, options, progress } = this;
    const random = randomOf(options.seed);
    progress('starting two servers, compiling the daemon');
    const [pair, main] = await Promise.all([
      startPair({ targetSettings: { track_commit_timestamp: 'on' } }),
      compileDaemon('lockgate-soak'),
    ]);
    cleanups.push(() => pair.destroy());
    const lockgate = await workspace(scenarioYaml(pair, { via: 'postgres-logical', require: FURTHER }), { main });
    cleanups.push(() => lockgate.destroy());
    await setUp(lockgate, pair);
    const observer = await startObserver(pair);
    cleanups.push(() => observer.stop());
    const load = await Load.start(pair);
    cleanups.push(() => load.stop());

    let daemon = await lockgate.start();
    const goWithUs = (): void => {
      sendSignal(daemon.pid, 'SIGKILL');
      rmSync(lockgate.folder, { recursive: true, force: true });
    };
    process.once('exit', goWithUs);
    cleanups.push(() => Promise.resolve(void process.off('exit', goWithUs)));
    const sampler = new Sampler(this.#startedAt);
    cleanups.push(() => sampler.stop());
    sampler.watch(daemon);
    const judge = new Judge(observer, ALLOWED_MS, this.#startedAt);
    // Its own numbers: how often it asks depends on the machine, and the faults must not.
    const asker = new Asker(lockgate.url, randomOf(options.seed + 1), (answer) => {
      judge.take(answer, this.#during);
      judge.sweep(performance.now());
    });
    cleanups.push(() => asker.stop());

    const before = await rows(pair);
    // The observer's own table was taken up without a copy: it had no rows.
    const first = await recover({ mayBreak: true }, performance.now(), asker, () => daemon);
    if (first.openedMs === null) {
      throw new Error(`the gates do not open at all: ${first.stuckOn ?? ''}\n${daemon.log()}`);
    }
    const baseline = await this.#baseline(pair);
    progress(`healthy; lockgate holds ${sayHeld(baseline)}`);

    const parts = {
      ...{ pair, load, daemon: () => daemon },
      startDaemon: async () => {
        daemon = await lockgate.start();
        sampler.watch(daemon);
      },
    };
    const schedule = new Schedule(soakFaults, random);
    const totalMs = options.minutes * 60_000;
    // Starting up takes what it takes; the minutes are those under watch.
    const healthyAt = performance.now();
    const elapsedMs = (): number => performance.now() - healthyAt;
    const longestMs = options.minutes < 10 ? 8_000 : 30_000;
    let most = baseline;
    while (!this.signal.aborted && elapsedMs() < totalMs - RESERVE_MS) {
      const two = schedule.dealt && random() < TWO_AT_ONCE;
      const fault = two ? blindfolded(random) : schedule.next(elapsedMs() / totalMs);
      const record = await this.#one(fault, schedule.duration(longestMs), { parts, asker, judge }).catch(
        (error: unknown) => {
          this.#problems.push(`"${fault.name}" could not be made or healed: ${messageOf(error)}`);
          return null;
        },
      );
      if (record === null) break;
      this.#records.push(record);
      progress(`${this.#records.length}: ${sayRecord(record)}`);
      if (record.openedMs === null) break;
      most = mostOf(most, await this.#nothingLeaked(pair, baseline, fault.name));
      await this.#quiet(schedule.duration(QUIET_MS[1]), asker, observer);
    }

    this.#during = 'the end';
    await sleep(3_000);
    await asker.stop();
    await sleep(500);
    judge.sweep(Infinity);
    const processorShare = sampler.processorShare();
    await sampler.stop();
    const rowsWritten = (await rows(pair).catch(() => NaN)) - before;
    await load.stop();
    await this.#end(daemon, pair);
    const memory = judgeMemory(sampler.processes, sampler.metrics);
    if (memory.problem !== null) this.#problems.push(`memory is not flat: ${memory.problem}`);
    for (const green of judge.falseGreens) {
      this.#problems.unshift(
        `FALSE GREEN: ${green.gate} at ${green.fromSeconds.toFixed(1)} s, ${green.answers} answers in ` +
          `${(green.toSeconds - green.fromSeconds).toFixed(1)} s, in or after "${green.fault}": ${green.why}` +
          (green.worstMissingMs === null ? '' : ` for up to ${Math.round(green.worstMissingMs)} ms`),
      );
    }
    return {
      ...{ seed: options.seed, minutes: options.minutes, allowedMs: ALLOWED_MS, faults: this.#records },
      ...{ falseGreens: judge.falseGreens, falseReds: this.#falseReds, asked: asker.asked, judged: judge.judged },
      ...{ worstOpenMs: judge.worstOpenMs, rowsWritten, baseline, most, memory, processorShare, lives: sampler.life },
      ...{ processes: sampler.processes, metrics: sampler.metrics, problems: this.#problems },
      log: this.#problems.length === 0 ? '' : daemon.log(),
    };
  }

  async #one(
    fault: SoakFault,
    lastsMs: number,
    { parts, asker, judge }: { parts: Parameters<SoakFault['make']>[0]; asker: Asker; judge: Judge },
  ): Promise<FaultRecord> {
    const { name } = fault;
    this.#during = name;
    const from = performance.now();
    const heal = await fault.make(parts);
    const made = performance.now();
    await sleep(lastsMs, undefined, { signal: this.signal }).catch(() => undefined);
    const until = performance.now();
    await heal?.();
    const healed = performance.now();
    const recovery = await recover(fault, healed, asker, parts.daemon);
    const forbidden = fault.expect === 'breaks' ? GATES : fault.expect === 'unseen' ? (['whole'] as const) : [];
    for (const gate of forbidden) {
      const to = fault.latches === true ? (recovery.attestedAt ?? performance.now()) : until;
      const window = { gate, from: made + (fault.withinMs ?? 0), to, why: 'open in spite of the fault' };
      judge.forbid(window, asker.between(gate, window.from, to), name);
    }
    const problems = recovery.forNothing.map((said) => `latched for nothing after "${name}": ${said}`);
    if (recovery.openedMs === null) {
      problems.push(
        `stuck: not open ${OPEN_WITHIN_MS / 1_000} s after "${name}" was healed: ${recovery.stuckOn ?? ''}`,
      );
    }
    this.#problems.push(...problems);
    const closedMs = (gate: Gate): number | null => {
      const first = asker.between(gate, from, Math.max(healed, from)).find((a) => a.state !== 'open');
      return first === undefined ? null : first.askedAt - from;
    };
    return {
      ...{ name, detail: fault.detail ?? null, atSeconds: (from - this.#startedAt) / 1_000, lastedMs: healed - from },
      ...{ closedMs: { lag: closedMs('lag'), whole: closedMs('whole') }, openedMs: recovery.openedMs },
      ...{ attested: [...new Set(recovery.attested)], problems },
    };
  }

  /** A healthy stretch: counts answers that were not "open" though the truth was good. */
  async #quiet(ms: number, asker: Asker, observer: Observer): Promise<void> {
    const from = performance.now();
    const after = this.#during;
    this.#during = `the quiet after ${after}`;
    await sleep(ms, undefined, { signal: this.signal }).catch(() => undefined);
    const to = performance.now() - 200;
    for (const gate of GATES) {
      for (const answer of asker.between(gate, from, to)) {
        if (answer.state !== 'open' && truthWasGood(observer, answer.askedAt)) this.#red(answer, after);
      }
    }
  }

  #red(answer: Answer, after: string): void {
    const at = (answer.askedAt - this.#startedAt) / 1_000;
    const known = this.#falseReds.find((r) => r.gate === answer.gate && r.during === after && at - r.atSeconds < 10);
    if (known !== undefined) known.answers += 1;
    else {
      const said = (answer.verdict?.conditions ?? [])
        .filter((c) => c.state !== 'held')
        .map((c) => `${c.text}: ${c.state}, ${String(c.value)}${c.reason === null ? '' : ` (${c.reason})`}`);
      const text = said.length === 0 ? answer.state : said.join('; ');
      this.#falseReds.push({ gate: answer.gate, during: after, atSeconds: at, answers: 1, said: text });
    }
  }

  /** What lockgate holds when all is well: the most of some looks, because some sessions come and go. */
  async #baseline(pair: Pair): Promise<HeldOnBoth> {
    let most = await heldNow(pair);
    for (let n = 0; n < 10; n += 1) {
      await sleep(500);
      most = mostOf(most, await heldNow(pair));
    }
    return most;
  }

  async #nothingLeaked(pair: Pair, baseline: HeldOnBoth, fault: string): Promise<HeldOnBoth> {
    let held = baseline;
    await waitFor(
      'sessions, slots and locks to be as before',
      60_000,
      async () => within((held = await heldNow(pair)), baseline),
      250,
    ).catch(() => {
      this.#problems.push(`left over 60 s after "${fault}": lockgate holds ${sayHeld(held)}`);
    });
    return held;
  }

  /** Stops the daemon as an operator would, and looks for what it has left. */
  async #end(daemon: Daemon, pair: Pair): Promise<void> {
    const code = await daemon.stop().catch((error: unknown) => messageOf(error).split('\n')[0]);
    if (code !== 0) this.#problems.push(`SIGTERM ended the daemon with ${String(code)}`);
    const none = { connections: 0, slots: 0, locks: 0 };
    let held: HeldOnBoth | undefined;
    await waitFor(
      'nothing to be left',
      10_000,
      async () => within((held = await heldNow(pair)), { source: none, target: none }),
      100,
    ).catch(() => {
      this.#problems.push(`left on the servers after SIGTERM: ${held === undefined ? 'unknown' : sayHeld(held)}`);
    });
  }
}

function truthWasGood(observer: Observer, at: number): boolean {
  for (let back = 0; back <= 3_000; back += 200) {
    const truth = observer.trueLagAt(at - back);
    if (truth === null || truth.highMs > GOOD_MS) return false;
  }
  return true;
}

async function rows(pair: Pair): Promise<number> {
  const [row] = await pair.onSource<{ n: string }>(
    `select coalesce(pg_sequence_last_value(pg_get_serial_sequence('public.orders', 'id')), 0) as n`,
  );
  return Number(row?.n ?? 0);
}
