/** What is remembered of alerts across a restart: incidents, events that wait, and what was told of fences and directions. */
import type { Log } from '../collectors/collector.js';
import type { QueueMemory } from './core/alert-event.js';
import type { Severity } from './core/config.js';
import { messageOf } from './core/errors.js';
import type { LinkName } from './core/signal.js';
import type { Store } from './store/store.js';

const NAME = 'alerting';

/** What a rule went by. */
export interface Evidence {
  value: number | null;
  unit: string | null;
  reason: string | null;
}

/** An incident that is not over; plain JSON. */
export interface AlertMemory {
  readonly migration: string;
  readonly rule: string;
  readonly severity: Severity;
  /** Wall clock, milliseconds since 1970. */
  readonly firedAt: number;
  readonly evidence: Evidence;
  /** The sinks whose queues its trigger was put into. */
  readonly told: readonly string[];
  /** It was journaled that a maintenance window keeps it from being told. */
  readonly silenced: boolean;
}

interface Kept {
  alerts: Record<string, AlertMemory>;
  queues: QueueMemory;
  /** What was last told of each migration's newest fence. */
  fences: Record<string, string>;
  directions: Record<string, { direction: LinkName; epoch: number }>;
}

/** Incidents and all else in one value of the store, so that a kill never finds them at odds with each other. */
export class AlertMemories {
  private readonly kept: Kept;
  private saved = '';
  private failing = false;
  private dirty = false;

  constructor(
    private readonly store: Store,
    private readonly log: Log,
  ) {
    this.kept = { alerts: {}, queues: {}, fences: {}, directions: {} };
    try {
      const text = store.get(NAME);
      if (text !== null) Object.assign(this.kept, JSON.parse(text) as Kept);
    } catch (error) {
      log.error({}, `what was remembered of alerts cannot be read, so they begin anew: ${messageOf(error)}`);
    }
  }

  /** What waited when the daemon last ran. */
  get queues(): QueueMemory {
    return this.kept.queues;
  }

  /** Whether something is to be saved. */
  get changed(): boolean {
    return this.dirty;
  }

  get(key: string): AlertMemory | undefined {
    return this.kept.alerts[key];
  }

  all(): [string, AlertMemory][] {
    return Object.entries(this.kept.alerts);
  }

  set(key: string, memory: AlertMemory): void {
    this.kept.alerts[key] = memory;
    this.dirty = true;
  }

  remove(key: string): void {
    this.kept.alerts = Object.fromEntries(Object.entries(this.kept.alerts).filter(([k]) => k !== key));
    this.dirty = true;
  }

  /** Something else than an incident waits to be told. */
  touch(): void {
    this.dirty = true;
  }

  direction(migration: string): { direction: LinkName; epoch: number } | null {
    return this.kept.directions[migration] ?? null;
  }

  setDirection(migration: string, known: { direction: LinkName; epoch: number }): void {
    this.kept.directions[migration] = known;
    this.dirty = true;
  }

  /** Takes up what is to be told of the newest fence; false when that was told already. */
  newFence(migration: string, what: string): boolean {
    if (this.kept.fences[migration] === what) return false;
    this.kept.fences[migration] = what;
    this.dirty = true;
    return true;
  }

  /** Forgets migrations that are not configured any more. */
  only(migrations: ReadonlySet<string>): void {
    const of = <T>(all: Record<string, T>): Record<string, T> =>
      Object.fromEntries(Object.entries(all).filter(([name]) => migrations.has(name)));
    this.kept.fences = of(this.kept.fences);
    this.kept.directions = of(this.kept.directions);
    this.dirty = true;
  }

  /** Writes all of it where it has changed; where the store cannot be written it is tried again at the next call. */
  save(queues: QueueMemory): void {
    this.kept.queues = queues;
    const text = JSON.stringify(this.kept);
    try {
      if (text !== this.saved) this.store.set(NAME, text);
      this.saved = text;
      this.dirty = false;
      this.failing = false;
    } catch (error) {
      this.dirty = true;
      if (!this.failing) this.log.error({}, `what fires cannot be kept, and would be told anew: ${messageOf(error)}`);
      this.failing = true;
    }
  }
}
