/** Alerts over a real engine and a real store's worth of memory, on a clock that the test moves; it can be killed and started again. */
import { Courier } from '../../alerts/courier.js';
import { loadConfig } from '../../daemon/config/load.js';
import { Alerting } from '../../daemon/alerting.js';
import type { AlertEvent, AlertSink, Delivery } from '../../daemon/core/alert-event.js';
import type { Config } from '../../daemon/core/config.js';
import type { LinkSignal } from '../../daemon/core/signal.js';
import { Engine } from '../../daemon/engine.js';
import type { FenceJson } from '../../daemon/http/port.js';
import type { Store } from '../../daemon/store/store.js';
import { FakeClock } from './fake-clock.js';

const S = 1_000_000;

/** Someone who is told, and answers as the test says. */
export class FakeSink implements AlertSink {
  readonly taken: AlertEvent[] = [];
  readonly tried: AlertEvent[] = [];
  /** What is answered; `silent`: nothing, until the attempt is given up; `unsaid`: it takes the event and says nothing. */
  answers: 'delivered' | 'refused' | 'retry' | 'silent' | 'unsaid' = 'delivered';

  /** Called before an event is answered. */
  onTry: (event: AlertEvent) => void = () => undefined;

  constructor(readonly name: string) {}

  async deliver(event: AlertEvent, signal: AbortSignal): Promise<Delivery> {
    this.onTry(event);
    this.tried.push(event);
    const { answers } = this;
    if (answers === 'delivered' || answers === 'unsaid') this.taken.push(event);
    if (answers === 'silent' || answers === 'unsaid') {
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    }
    if (answers === 'delivered') return { outcome: 'delivered', answer: '202' };
    if (answers === 'refused') return { outcome: 'refused', reason: 'it answered 400' };
    return { outcome: 'retry', reason: 'no answer', afterMs: null };
  }

  /** What it took, in short. */
  get said(): string[] {
    return this.taken.map((e) => `${e.kind} ${e.kind === 'change' ? e.summary : e.key}`);
  }

  /** The incidents that are open, as PagerDuty has it: a trigger of one that is open begins none. */
  get incidents(): { open: string[]; begun: number } {
    const open = new Set<string>();
    let begun = 0;
    for (const { kind, key } of this.taken) {
      if (kind === 'trigger' && !open.has(key)) begun += 1;
      if (kind === 'trigger') open.add(key);
      if (kind === 'resolve') open.delete(key);
    }
    return { open: [...open], begun };
  }
}

/** A configuration of one migration, `shop`, with these lines under `alerts` and these windows. */
export function alertsConfig(alerts: readonly string[], migration: readonly string[] = []): Config {
  const text = [
    'databases:',
    '  onprem: { engine: postgres, url: "postgres://lockgate@a/app" }',
    '  aws: { engine: postgres, url: "postgres://lockgate@b/app" }',
    'migrations:',
    '  shop:',
    '    source: onprem',
    '    target: aws',
    '    forward: { via: postgres-logical, subscription: s }',
    '    reverse: { via: postgres-logical, subscription: r }',
    ...migration.map((line) => `    ${line}`),
    ...(alerts.length === 0 ? [] : ['alerts:', ...alerts.map((line) => `  ${line}`)]),
    '',
  ].join('\n');
  const env = { PD_KEY: 'routing-key-of-the-test', HOOK: 'hook-secret' };
  const readFile = (): never => {
    throw new Error('no file');
  };
  return loadConfig({ file: 'lockgate.yaml', text, env, readFile, hostName: 'lockgate-a' });
}

/** One machine: its clock, what is on its disk, who is told. */
export class AlertBench {
  readonly clock = new FakeClock();
  disk = new Map<string, string>();
  diskFull = false;
  readonly sink = new FakeSink('pagerduty');
  /** Who is told; the same at every start. */
  sinks: FakeSink[] = [this.sink];
  readonly journal: Record<string, unknown>[] = [];
  /** Gates of which a transition was to be journaled. */
  readonly gates: string[] = [];
  newest: FenceJson | null = null;
  engine!: Engine;
  alerting!: Alerting;

  constructor(public config: Config) {
    this.start();
  }

  start(): void {
    const { clock } = this;
    const disk = this.disk;
    const store = {
      get: (key: string) => disk.get(key) ?? null,
      set: (key: string, value: string) => {
        if (this.diskFull) throw new Error('the disk is full');
        disk.set(key, value);
      },
    } as Partial<Store> as Store;
    const silent = () => undefined;
    const log = { debug: silent, info: silent, warn: silent, error: silent };
    this.engine = new Engine(this.config, clock, {
      record: ({ gate }) => this.gates.push(gate) > 0,
      rule: (t) => this.alerting.told(t),
      delay: silent,
      direction: (migration, after) => this.alerting.turned(migration, after),
      jumped: silent,
    });
    this.alerting = new Alerting({
      ...{ config: () => this.config, clock, log, engine: this.engine, store },
      fence: () => this.newest,
      note: (_, data) => void this.journal.push(data),
      sinks: () => this.sinks,
      deliveries: (keeper, kept) => new Courier({ clock, random: () => 0.5, keeper, warn: silent }, kept),
    });
  }

  /** Ends at once, as a kill does: what is on the disk at this instant is all that is left. */
  async kill(): Promise<void> {
    const left = new Map(this.disk);
    this.disk = new Map();
    const stopped = this.alerting.stop();
    await this.clock.advance(1);
    await stopped;
    this.disk = left;
  }

  reload(config: Config): void {
    this.config = config;
    this.engine.reload(config);
    this.alerting.reload();
  }

  observe(signal: LinkSignal, value: number | null): void {
    const at = this.clock.monotonicNow();
    this.engine.observe({
      kind: 'link-reading',
      link: 'shop/forward',
      signal,
      value,
      reason: value === null ? 'gone' : null,
      at,
    });
  }

  /** Both sides say that this is the direction. */
  direction(
    direction: 'forward' | 'reverse',
    epoch: number,
    changedAt = new Date(this.clock.wallNow()).toISOString(),
  ): void {
    const at = this.clock.monotonicNow();
    const rows = [{ migration: 'shop', epoch, direction, changedAt, changedBy: null, reason: null }];
    for (const database of ['onprem', 'aws']) {
      this.engine.observe({ kind: 'direction-rows', database, rows, reason: null, at });
    }
  }

  /** Lets seconds pass, observing `forward.errors` at each of them: a number, or null for a failed observation. */
  async errors(value: number | null | 'unseen', seconds: number): Promise<void> {
    for (let n = 0; n < seconds; n += 1) {
      if (value !== 'unseen') this.observe('errors', value);
      await this.pass(1);
    }
  }

  /** Lets seconds pass, ticking as the daemon does. */
  async pass(seconds: number): Promise<void> {
    for (let n = 0; n < seconds * 4; n += 1) {
      await this.clock.advance(S / 4);
      this.engine.tick();
      this.alerting.tick();
    }
    // Whoever was told may answer.
    await this.clock.advance(0);
  }

  state(rule: string): string | undefined {
    return this.alerting.json().alerts.find((a) => a.rule === rule)?.state;
  }

  journaled(rule?: string): string[] {
    return this.journal.filter((e) => rule === undefined || e['rule'] === rule).map((e) => String(e['state']));
  }
}
