/**
 * A whole migration for tests: a pair of real servers set up by `lockgate setup` for a least-privileged user, the real
 * daemon, an observer that knows the truth, and tools that ask the gates as their users would.
 */
import { expect } from 'vitest';
import { setTimeout as sleep } from 'node:timers/promises';
import { GateWatch, workspace, type Daemon, type Workspace } from './lockgate.js';
import { startObserver, type Observer } from './observer.js';
import { runAll, startPair, type Pair, type ServerPair } from './pair.js';
import { startPhysicalPair, type PhysicalPair } from './physical-pair.js';
import { boundMs, scenarioYaml, setUp, timing, type ScenarioOptions } from './scenario-setup.js';

/** A migration that is being watched. */
export interface Scenario<P = Pair> {
  readonly pair: P;
  readonly lockgate: Workspace;
  daemon: Daemon;
  readonly observer: Observer | null;
  /** Condition on lag alone; and on all that the first release measures. */
  readonly lagGate: GateWatch;
  readonly wholeGate: GateWatch;
  destroy(): Promise<void>;
}

async function begin<P extends ServerPair & { kind: 'logical' | 'physical' }>(
  pair: P,
  options: ScenarioOptions & { via: string },
  cleanups: (() => Promise<void>)[],
): Promise<Scenario<P>> {
  cleanups.push(() => pair.destroy());
  const lockgate = await workspace(scenarioYaml(pair, options));
  cleanups.push(() => lockgate.destroy());
  await setUp(lockgate, pair);
  const observer = options.observer === false ? null : await startObserver(pair);
  if (observer !== null) cleanups.push(() => observer.stop());
  const daemon = await lockgate.start();
  const lagGate = new GateWatch(lockgate.url, 'shop/lag');
  const wholeGate = new GateWatch(lockgate.url, 'shop/whole');
  cleanups.push(
    () => lagGate.stop(),
    () => wholeGate.stop(),
  );
  const scenario: Scenario<P> = {
    pair,
    lockgate,
    daemon,
    observer,
    lagGate,
    wholeGate,
    destroy: () => runAll(cleanups),
  };
  await opened(scenario);
  return scenario;
}

/** Starts a scenario over logical replication and waits until its gates are open. */
export async function startScenario(options: ScenarioOptions = {}): Promise<Scenario> {
  const cleanups: (() => Promise<void>)[] = [];
  try {
    return await begin(await startPair(options), { ...options, via: 'postgres-logical' }, cleanups);
  } catch (error) {
    await runAll(cleanups);
    throw error;
  }
}

/** Starts a scenario over physical replication and waits until its gates are open. */
export async function startPhysicalScenario(major: number): Promise<Scenario<PhysicalPair>> {
  const cleanups: (() => Promise<void>)[] = [];
  try {
    return await begin(await startPhysicalPair({ major }), { via: 'postgres-physical' }, cleanups);
  } catch (error) {
    await runAll(cleanups);
    throw error;
  }
}

/** Waits until both gates are open. */
export async function opened(s: Pick<Scenario, 'lagGate' | 'wholeGate'>, timeoutMs = 40_000): Promise<void> {
  await Promise.all([s.lagGate.until(['open'], timeoutMs), s.wholeGate.until(['open'], timeoutMs)]);
}

/**
 * Asserts that no answer in `[from, to]` was "open" while the observer's rows had been missing for longer than the
 * threshold and the bound together; answers how many open and not open samples there were.
 */
export function expectNoFalseGreen(
  watch: GateWatch,
  observer: Observer,
  from: number,
  to: number,
): { open: number; notOpen: number } {
  const samples = watch.between(from, to);
  for (const s of samples) {
    if (s.state !== 'open') continue;
    const truth = observer.trueLagAt(s.askedAt);
    if (truth === null) continue;
    expect(
      truth.lowMs,
      `FALSE GREEN: open ${Math.round(s.askedAt - from)} ms after the fault while rows were missing for ${Math.round(truth.lowMs)} ms: ${JSON.stringify(s.verdict)}`,
    ).toBeLessThanOrEqual(timing.thresholdMs + boundMs);
  }
  const open = samples.filter((s) => s.state === 'open').length;
  return { open, notOpen: samples.length - open };
}

/** A fault: how it is made and healed, and what the gates must do. */
export interface Fault<P = Pair> {
  name: string;
  /** Faults of one class are alike in how they show; one of each class runs on every version. */
  class: 'replication' | 'network' | 'apply' | 'process' | 'server' | 'load' | 'heartbeat' | 'blind' | 'coverage';
  /**
   * `breaks`: both gates must leave `open` within `withinMs` and stay so until healed. `healthy`: neither may ever leave
   * it. `truth`: whatever the observer says. `unseen`: lag looks perfect all the time, so that the gate on lag stays
   * open, and the one on all signals must leave it.
   */
  expect: 'breaks' | 'healthy' | 'truth' | 'unseen';
  withinMs?: number;
  /** How long the fault lasts. */
  lastsMs?: number;
  /** What the gate on all signals says in it, at its end. */
  state?: 'closed' | 'unknown';
  /** What some condition's reason or text must match at its end. */
  says?: RegExp;
  make(s: Pick<Scenario<P>, 'pair'>): Promise<(() => Promise<void>) | undefined>;
}

/** Runs one fault and asserts the whole timeline of both gates. */
export async function runFault<P>(s: Scenario<P>, fault: Fault<P>): Promise<void> {
  await opened(s);
  const from = performance.now();
  const heal = await fault.make(s);
  const made = performance.now();
  const lastsMs = fault.lastsMs ?? timing.thresholdMs + 4_000;
  await sleep(lastsMs);
  const last = s.wholeGate.samples.at(-1);
  const until = performance.now();
  await heal?.();
  if (s.observer !== null) {
    for (const watch of [s.lagGate, s.wholeGate]) expectNoFalseGreen(watch, s.observer, from, until);
  }
  for (const watch of [s.lagGate, s.wholeGate]) {
    const samples = watch.between(from, until);
    expect(samples.length, 'the gate was asked all the time').toBeGreaterThan(lastsMs / 500);
    const wanted = fault.expect !== 'unseen' ? fault.expect : watch === s.wholeGate ? 'breaks' : 'healthy';
    if (wanted === 'healthy') {
      const red = samples.find((x) => x.state !== 'open');
      expect(red, `a healthy stretch closed the gate: ${JSON.stringify(red?.verdict, null, 1)}`).toBeUndefined();
    }
    if (wanted === 'breaks') {
      const withinMs = fault.withinMs ?? timing.thresholdMs + boundMs;
      const green = samples.filter((x) => x.state === 'open' && x.askedAt > made + withinMs);
      expect(
        green.at(-1),
        `FALSE GREEN: open for too long: ${JSON.stringify(green.at(-1)?.verdict, null, 1)}`,
      ).toBeUndefined();
      expect(samples.some((x) => x.state !== 'open')).toBe(true);
    }
  }
  if (fault.state !== undefined) expect(last?.state, JSON.stringify(last?.verdict, null, 1)).toBe(fault.state);
  if (fault.says !== undefined) expect(JSON.stringify(last?.verdict)).toMatch(fault.says);
  const healed = performance.now();
  await opened(s);
  if (s.observer !== null) {
    for (const watch of [s.lagGate, s.wholeGate]) expectNoFalseGreen(watch, s.observer, until, performance.now());
  }
  expect(performance.now() - healed, 'healed within a reasonable time').toBeLessThan(40_000);
}
