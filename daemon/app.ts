/**
 * The composition root: builds the daemon from a configuration, starts it in order and stops it in reverse. It alone
 * knows every part; the parts know each other by their ports only.
 */
import { randomBytes } from 'node:crypto';
import { schedule } from 'node-cron';
import { Courier } from '../alerts/courier.js';
import { sinksOf, testSinks } from '../alerts/sinks.js';
import { cloudwatchAlarms } from '../alerts/cloudwatch-alarms.js';
import { prometheusRules } from '../alerts/prometheus-rules.js';
import type { EnginePort, Log, ServicePort } from '../collectors/collector.js';
import type { LazyAws } from '../collectors/session/lazy-aws.js';
import { HeartbeatHub } from '../collectors/heartbeat/hub.js';
import { SharedSides } from '../collectors/session/shared-sides.js';
import { createVerifier } from '../collectors/verify/service.js';
import type { Verifier, VerifierOptions } from '../collectors/verify/verifier.js';
import { measures } from './alert-rules.js';
import { Alerting } from './alerting.js';
import type { Backend, RunningDaemon, StepOptions, StepResult } from './cli/backend.js';
import { Collecting, share } from './collecting.js';
import { configJsonSchema } from './config/json-schema.js';
import { explainConfig, loadConfigFile } from './config/load.js';
import { US_PER_MS, type Clock } from './core/clock.js';
import type { Config } from './core/config.js';
import { messageOf, UsageError } from './core/errors.js';
import type { Transition } from './core/gate.js';
import { Engine } from './engine.js';
import { EventStream } from './events.js';
import { Telling } from './telling.js';
import { Cutover } from './cutover.js';
import { EntryHomes } from './homes.js';
import { forgottenMemories, Keeper, keptMemories } from './keeper.js';
import { createServer } from './http/server.js';
import { CloudWatchPublisher } from './publish/cloudwatch.js';
import { createMetrics } from './publish/prometheus.js';
import { Recorder } from './recorder.js';
import { SteadyLook, verdictJson } from './render.js';
import type { JournalDraft } from './store/store.js';
import { openStore } from './store/sqlite.js';
import { Verifications } from './verifications.js';
import { verifierFor } from './verifier-for.js';
import { View } from './view.js';

/** Between two looks at what time alone has changed. */
const TICK_MS = 250;
/** Ticks between two sweeps of the history, publications of signals and tries of a store that failed. */
const TICKS_PER_SECOND = 1000 / TICK_MS;
/** How often long holds are put into the store, in ticks. */
const TICKS_PER_SAVE = 10 * TICKS_PER_SECOND;
/** How long requests may take to finish when the daemon stops. */
const CLOSE_DEADLINE_MS = 3_000;
/** When old journal entries are deleted: at night, daily, and not at the full hour. */
const PRUNE_SCHEDULE = '17 3 * * *';

/** Attestations that clear what is latched. */
const CONTINUITY_ACCEPTED = 'continuity-accepted';
const STRAYS_RECONCILED = 'stray-writes-reconciled';
/** A prune stops after so many rows, so as not to block; it goes on as long as it finds as many. */
const PRUNE_MOST = 20_000;

/** What the process gives to the daemon. */
export interface AppOptions {
  clock: Clock;
  env: Readonly<Record<string, string | undefined>>;
  /** `process.version`. */
  nodeVersion: string;
  version: string;
  log: Log;
  engines: readonly EnginePort[];
  services: readonly ServicePort[];
  /** The clients that the services use as well; closed when a daemon or a `doctor` ends. */
  aws: LazyAws;
  /** What compares the data of both sides; another one in tests. */
  verifier?: (options: VerifierOptions) => Verifier;
}

/** The server side of the command line. */
export function createBackend(options: AppOptions): Backend {
  const load = (file: string): Config => loadConfigFile(file, options.env);
  return {
    loadConfig: (file) => Promise.resolve().then(() => load(file)),
    configSchema: () => Promise.resolve(configJsonSchema()),
    explain: (config) => Promise.resolve(explainConfig(config)),
    grants: (config) =>
      Promise.resolve(
        options.engines.flatMap((engine) => {
          const { databases, links } = share(engine, config);
          return databases.flatMap((db) => engine.grants(db, links));
        }),
      ),
    rules: (config, what) =>
      Promise.resolve().then(() =>
        what.kind === 'prometheus' ? prometheusRules(config, measures, what.job) : cloudwatchAlarms(config, measures),
      ),
    setup: (config, steps) => runSteps(options.engines, config, steps, 'setup'),
    teardown: (config, steps) => runSteps(options.engines, config, steps, 'teardown'),
    doctor: async (config, signal) => {
      try {
        const findings = await Promise.all(
          options.engines.map((engine) => {
            const { databases, links } = share(engine, config);
            return engine.doctor(databases, links, contextOf(options, config), signal);
          }),
        );
        const asked = options.services.map((s) => s.doctor(config, contextOf(options, config), signal));
        return [...findings, ...(await Promise.all(asked))].flat();
      } finally {
        await options.aws.close();
      }
    },
    testAlerts: (config, signal) => {
      const id = randomBytes(6).toString('hex');
      const { clock } = options;
      return testSinks(sinksOf(config.alerts, clock), { daemon: config.daemon.id, id }, clock, signal);
    },
    start: (file, signal) => startDaemon(options, file, load, signal),
  };
}

/** The sides of a link wait for each other (a subscription for the publication, the publication's name for the subscription). */
const MOST_PASSES = 4;

/**
 * Runs setup or teardown over all databases, in the order in which replication needs them. What had to wait for another
 * database is tried again in a further pass as long as passes still change something; what waits in the end is yielded
 * as it is, so that it is not taken for done.
 */
async function* runSteps(
  engines: readonly EnginePort[],
  config: Config,
  { admin, dryRun, signal }: StepOptions,
  what: 'setup' | 'teardown',
): AsyncIterable<StepResult> {
  for (const engine of engines) {
    const { databases, links } = share(engine, config);
    const sends = (name: string): number =>
      links.filter((l) => l.config.name === 'forward' && l.from.name === name).length;
    const ordered = [...databases].sort((a, b) => sends(b.name) - sends(a.name));
    if (what === 'teardown') ordered.reverse();
    let waiting: StepResult[] = [];
    for (let pass = 1; pass <= MOST_PASSES; pass += 1) {
      let changed = false;
      waiting = [];
      for (const db of ordered) {
        const options = { adminUrl: admin.get(db.name) ?? null, otherAdmins: admin, dryRun, signal };
        for await (const result of engine[what](db, links, options)) {
          if (result.outcome === 'would-do' && !dryRun) {
            waiting.push(result);
            continue;
          }
          changed ||= result.outcome === 'done';
          if (pass === 1 || result.outcome === 'done') yield result;
        }
      }
      if (waiting.length === 0 || !changed) break;
    }
    yield* waiting;
  }
}

function contextOf(options: AppOptions, config: Config): { clock: Clock; log: Log; daemonId: string } {
  return { clock: options.clock, log: options.log, daemonId: config.daemon.id };
}

async function startDaemon(
  options: AppOptions,
  file: string,
  load: (file: string) => Config,
  signal: AbortSignal,
): Promise<RunningDaemon> {
  const daemon = new Daemon(options, file, load);
  try {
    await daemon.start(signal);
  } catch (error) {
    await daemon.stop();
    throw error;
  }
  return daemon;
}

/** A daemon: everything it has opened is closed by `stop`, last opened first, also when it failed to start. */
class Daemon implements RunningDaemon {
  address = '';
  readonly crashed: Promise<never>;
  private config: Config;
  private readonly closers: (() => void | Promise<void>)[] = [];
  private readonly reloaders: ((config: Config) => void | Promise<void>)[] = [];
  private reloadSucceeded: (ok: boolean) => void = () => undefined;
  private closeServer: () => Promise<void> = () => Promise.resolve();
  private crash: (error: unknown) => void = () => undefined;
  private note: (kind: string, data: Record<string, unknown>) => void = () => undefined;
  private reloading: Promise<void> = Promise.resolve();
  private missing: string[] = ['starting'];
  private stopped: Promise<void> | null = null;
  private readonly look: SteadyLook;

  constructor(
    private readonly options: AppOptions,
    private readonly file: string,
    private readonly load: (file: string) => Config,
  ) {
    this.config = load(file);
    this.look = new SteadyLook(options.clock);
    this.crashed = new Promise((_, reject) => {
      this.crash = reject;
    });
    this.crashed.catch(() => undefined);
  }

  async start(signal: AbortSignal): Promise<void> {
    const { clock, log, version } = this.options;
    for (const warning of this.config.warnings) log.warn({}, warning);
    const { store, recovered } = openStore(this.config.store.path, clock);
    this.closers.push(() => store.close());
    if (recovered !== null) {
      log.error(
        { moved_to: recovered },
        'THE STORE WAS CORRUPT: it was renamed aside and a new, empty one opened; the journal begins anew, and continuity and stray writes are not vouched for until the data was compared, or somebody attests continuity-accepted and stray-writes-reconciled',
      );
    }
    this.closers.push(() => this.options.aws.close());
    const events = new EventStream();
    const recorder = new Recorder(store, log, (id, draft) => events.publish('journal', journalJson(id, draft)));
    this.closers.push(() => recorder.end());
    const note = (kind: string, migration: string | null, data: Record<string, unknown>): void =>
      recorder.note({ at: clock.wallNow(), kind, migration, gate: null, actor: 'lockgate', by: null, data });

    const engine = new Engine(
      this.config,
      clock,
      {
        record: (transition) => this.record(transition, recorder, events, () => view.wake(transition.gate)),
        rule: (transition) => alerting.told(transition),
        delay: (link, delayUs) => {
          const [migration = '', name = ''] = link.split('/');
          metrics.observeDelay(migration, name, delayUs / 1e6);
        },
        direction: (migration, after, before) => {
          events.publish('direction', { migration, ...after });
          note('direction', migration, { from: before.direction, ...after });
          alerting.turned(migration, after);
          verifications.turned(migration);
          log.warn({ migration, ...after }, `direction of ${migration}: ${before.direction} -> ${after.direction}`);
        },
        jumped: (what) => {
          log.warn({}, `${what}: nothing observed before counts`);
          note('clock-jump', null, { what });
          keeper.readAttestations(this.config.migrations.keys());
          cutover.fences.forget();
          verifications.jumped();
        },
        broke: (link, { what }) => {
          const migration = link.slice(0, link.indexOf('/'));
          note('continuity-broken', migration, { link, what });
          log.error({ link }, `the chain of ${link} is broken: ${what}`);
          keeper.save();
          verifications.turned(migration);
        },
        remember: () => keeper.save(),
        stray: (migration, side, latched) => {
          note('stray-write', migration, {
            side,
            count: latched.count,
            first_at: latched.firstAt === null ? null : new Date(latched.firstAt).toISOString(),
            first_position: latched.firstPosition,
          });
          log.error({ migration, side, position: latched.firstPosition }, `stray write on the ${side} of ${migration}`);
          keeper.save();
        },
        splitBrain: (migration, reason) => {
          note('split-brain', migration, { reason });
          log.error({ migration }, `split brain: both sides of ${migration} are being written to`);
          keeper.save();
        },
      },
      recovered === null ? keptMemories(store) : forgottenMemories(this.config, clock.wallNow()),
    );
    const alerting = new Alerting({
      ...{ config: () => this.config, clock, log, engine, store },
      fence: (migration) => cutover.fences.latest(migration),
      note: (migration, data) => note('alert', migration, data),
      sinks: (config) => sinksOf(config.alerts, clock),
      deliveries: (keeper, kept) =>
        new Courier({ clock, random: Math.random, keeper, warn: (message) => log.warn({}, message) }, kept),
    });
    this.closers.push(() => alerting.stop());
    const keeper = new Keeper(store, engine, clock, log);
    keeper.restore(this.config.migrations.keys());
    if (recovered !== null) keeper.save();
    this.closers.push(() => keeper.save());

    const homes = new EntryHomes();
    const cutover = new Cutover({
      ...{ engines: this.options.engines, config: () => this.config, clock, log, engine, store, recorder },
      context: {
        ...contextOf(this.options, this.config),
        isPassive: (database) => engine.isPassive(database),
        localMark: (database) => engine.localMark(database),
        homes,
        sides: new SharedSides(clock, homes),
        tally: (database, stream, transactions, bytes) => metrics.streamed(database, stream, transactions, bytes),
      },
      publish: (fence) => {
        events.publish('fence', fence);
        metrics.fenceTold(fence);
        alerting.fence(fence);
      },
      declared: (done) => alerting.declared(done),
      save: () => keeper.save(),
    });
    this.closers.push(() => cutover.stop());

    const verifications = new Verifications({
      ...{ config: () => this.config, clock, log, engine, store },
      schedule: (expression, tick) => {
        const task = schedule(expression, tick, { timezone: 'UTC', name: `verify ${expression}`, unref: true });
        return { nextAt: () => task.getNextRun()?.getTime() ?? null, stop: () => void task.destroy() };
      },
      verifier: verifierFor(this.options.verifier ?? createVerifier, {
        ...{ engines: this.options.engines, config: () => this.config, clock, log, engine, context: cutover.context },
      }),
      note: (kind, migration, actor, data) =>
        recorder.note({ at: clock.wallNow(), kind, migration, gate: null, actor, by: null, data }),
      must: (kind, migration, actor, data) =>
        recorder.must({ at: clock.wallNow(), kind, migration, gate: null, actor, by: null, data }),
      publish: (data) => events.publish('verify', data),
      compared: (migration, rows) => metrics.rowsCompared(migration, rows),
      save: () => keeper.save(),
    });
    this.closers.push(() => verifications.stop());

    const collecting = new Collecting(
      this.options.engines,
      cutover.context,
      (o) => {
        engine.observe(o);
        cutover.fences.observe(o);
      },
      (error) => this.crash(error),
      () => ({ heartbeats: new HeartbeatHub(clock, randomBytes(6).toString('hex')) }),
      this.options.services,
    );
    const view = new View({
      version,
      config: () => this.config,
      clock,
      look: this.look,
      engine,
      events,
      store,
      collectors: () => collecting.status,
      notReady: () => this.missing,
      attest: (a) => {
        const id = store.attest(a);
        const { migration, name, at, by, note, actor } = a;
        const draft = { at, kind: 'attestation', migration, gate: null, actor, by, data: { name, note } };
        events.publish('journal', journalJson(id, draft));
        keeper.attested(a);
        if (a.name === CONTINUITY_ACCEPTED) engine.acceptBreaks(a.migration);
        if (a.name === STRAYS_RECONCILED) engine.reconcileStrays(a.migration);
        alerting.attested(a);
        keeper.save();
      },
      ...{ fences: cutover.fences, switchover: cutover.switchover, alerting, verifications },
    });
    const { aws, nodeVersion } = this.options;
    const cloudwatch = new CloudWatchPublisher({
      ...{ port: view, clock, log },
      put: async (config, data, signal) => {
        const { putMetricData } = await import('../collectors/session/put-metric-data.js');
        return putMetricData((await aws.clients()).cloudwatch(config), config.namespace, data, signal);
      },
      crashed: (error) => this.crash(error),
    });
    const metrics = createMetrics(view, {
      nodeVersion,
      http: () => server.stats(),
      cloudwatch: () => cloudwatch.stats,
    });
    cutover.fences.start();
    this.reloadSucceeded = (ok) => metrics.configLoaded(ok, clock.wallNow());
    this.reloadSucceeded(true);
    const server = await createServer(view, { config: this.config.daemon, metrics, log, clock });
    this.closeServer = () => server.close(CLOSE_DEADLINE_MS);
    const address = await server.listen();
    this.address = address.url;

    this.closers.push(() => collecting.stop());
    await collecting.apply(this.config);
    await verifications.apply();
    this.reloaders.push(
      (config) => server.reload(config.daemon),
      // Before the engine, so that nobody speaks for the old section once the new one is in force.
      () => verifications.apply(),
      (config) => engine.reload(config),
      () => cutover.reload(),
      () => alerting.reload(),
      () => keeper.readAttestations(this.config.migrations.keys()),
      (config) => collecting.apply(config),
      (config) => cloudwatch.apply(config.publish?.cloudwatch ?? null),
    );
    this.closers.push(() => cloudwatch.stop());
    await cloudwatch.apply(this.config.publish?.cloudwatch ?? null);

    const ticking = new AbortController();
    const ticks = this.tick(ticking.signal, engine, view, recorder, events, keeper, alerting, verifications).catch(
      (error: unknown) => this.crash(error),
    );
    this.closers.push(async () => {
      ticking.abort();
      await ticks;
    });
    const prune = (): void => {
      try {
        const before = clock.wallNow() - this.config.store.retainUs / US_PER_MS;
        // The rest after a yield to whoever asks for a gate meanwhile.
        if (store.prune(before) >= PRUNE_MOST) void clock.sleep(TICK_MS).then(prune);
      } catch (error) {
        log.error({}, `the journal could not be pruned: ${messageOf(error)}`);
      }
    };
    const pruning = schedule(PRUNE_SCHEDULE, prune, { timezone: 'UTC', name: 'prune-journal' });
    this.closers.push(() => pruning.destroy());
    prune();

    this.note = (kind, data) => note(kind, null, data);
    note('start', null, { version, daemon: this.config.daemon.id, config_hash: this.config.hash });
    this.closers.push(() => note('stop', null, { daemon: this.config.daemon.id }));
    this.missing = [];
    if (signal.aborted) throw new UsageError('aborted', 'stopped while starting');
    log.info({ address: this.address, config: this.config.hash }, 'lockgate is running');
  }

  async reload(): Promise<void> {
    if (this.stopped !== null) throw new UsageError('stopping', 'nothing is reloaded while the daemon stops');
    const done = this.takeUp();
    // What is stopped meanwhile would be started again behind the back of `close`, so that waits for it.
    this.reloading = done.catch(() => undefined);
    try {
      await done;
    } catch (error) {
      this.reloadSucceeded(false);
      this.note('reload-refused', { reason: messageOf(error), config_hash: this.config.hash });
      throw error;
    }
    this.reloadSucceeded(true);
    this.note('reload', { config_hash: this.config.hash });
    for (const warning of this.config.warnings) this.options.log.warn({}, warning);
  }

  private async takeUp(): Promise<void> {
    const next = this.load(this.file);
    refuseFixed(this.config, next);
    const before = this.config;
    this.config = next;
    try {
      for (const reload of this.reloaders) await reload(next);
    } catch (error) {
      this.config = before;
      for (const reload of this.reloaders) await reload(before);
      throw error;
    }
  }

  stop(): Promise<void> {
    this.missing = ['stopping'];
    this.stopped ??= this.close();
    return this.stopped;
  }

  private async close(): Promise<void> {
    // Whoever waits for a gate is answered first, while there is still something to answer with.
    await this.closeServer();
    await this.reloading;
    for (const close of this.closers.reverse()) {
      try {
        await close();
      } catch (error) {
        this.options.log.error({}, `while stopping: ${messageOf(error)}`);
      }
    }
  }

  private record(transition: Transition, recorder: Recorder, events: EventStream, wake: () => void): boolean {
    const { log } = this.options;
    const now = this.look.now();
    const [migration, gate] = splitGate(transition.gate);
    const verdict = verdictJson(transition.verdict, now, this.config.hash, this.config.daemon.id);
    const draft: JournalDraft = {
      at: now.wall - (now.monotonic - transition.at) / US_PER_MS,
      kind: 'gate',
      migration,
      gate,
      actor: 'lockgate',
      by: null,
      data: { from: transition.from, to: transition.to, verdict },
    };
    if (transition.to === 'open') {
      if (!recorder.must(draft)) return false;
    } else {
      recorder.note(draft);
    }
    log.info(
      { gate: transition.gate, from: transition.from, to: transition.to },
      `gate ${transition.gate}: ${transition.to}`,
    );
    // Whoever hears of it may ask for the gate at once, and the gate is still in the middle of changing.
    queueMicrotask(() => {
      events.publish('gate', { gate: transition.gate, from: transition.from, to: transition.to, verdict });
      wake();
    });
    return true;
  }

  private async tick(
    signal: AbortSignal,
    engine: Engine,
    view: View,
    recorder: Recorder,
    events: EventStream,
    keeper: Keeper,
    alerting: Alerting,
    verifications: Verifications,
  ): Promise<void> {
    const telling = new Telling(view, events);
    for (let n = 1; !signal.aborted; n += 1) {
      await this.options.clock.sleep(TICK_MS, signal);
      engine.tick();
      alerting.tick();
      view.wake();
      if (n % TICKS_PER_SECOND === 0) {
        engine.board.sweep(this.options.clock.monotonicNow());
        recorder.retry();
        verifications.tick();
        if (events.watched) telling.tell();
      }
      if (n % TICKS_PER_SAVE === 0) keeper.save();
    }
  }
}

/** An entry as `/v1/journal` gives it, so that a client can go on with events where it ended a page. */
function journalJson(id: number, draft: JournalDraft): object {
  return { id, ...draft, at: new Date(draft.at).toISOString() };
}

function splitGate(id: string): [string | null, string] {
  const slash = id.indexOf('/');
  return slash < 0 ? [null, id] : [id.slice(0, slash), id.slice(slash + 1)];
}

/** What cannot change while the daemon runs, because others know it by that. */
function refuseFixed(before: Config, after: Config): void {
  const fixed: [string, string, string][] = [
    ['daemon.id', before.daemon.id, after.daemon.id],
    ['daemon.listen', JSON.stringify(before.daemon.listen), JSON.stringify(after.daemon.listen)],
    ['daemon.tls', String(before.daemon.tls !== null), String(after.daemon.tls !== null)],
    ['store.path', before.store.path, after.store.path],
  ];
  const changed = fixed.filter(([, a, b]) => a !== b).map(([name]) => name);
  if (changed.length === 0) return;
  throw new UsageError(
    'reload_refused',
    `${changed.join(', ')} cannot change while the daemon runs`,
    'restart it to change them; holds will start again',
  );
}
