import type { LinkId, Reading } from '../../daemon/core/signal.js';
import { stateAt, valueAt } from '../../daemon/core/signal.js';
import type { Config } from '../../daemon/core/config.js';
import type { DirectionRow } from '../../daemon/core/direction.js';
import { Engine } from '../../daemon/engine.js';
import type { EngineMemories } from '../../daemon/engine-output.js';
import type { Store } from '../../daemon/store/store.js';
import { Verifications } from '../../daemon/verifications.js';
import { FakeClock } from './fake-clock.js';
import { FakeVerifier } from './fake-verifier.js';

const S = 1_000_000;
export const TABLES = ['public.a', 'public.b'];

/** What outlives a kill: the values of the store, and what the engine remembers. */
export interface Disk {
  values: Map<string, string>;
  engine: EngineMemories | undefined;
}

/** Verification over a real engine and a fake verifier, by a clock that the test moves. */
export class VerifyBed {
  readonly journal: { kind: string; actor: string; data: Record<string, unknown> }[] = [];
  readonly events: Record<string, unknown>[] = [];
  readonly verifiers: FakeVerifier[] = [];
  readonly schedules: { expression: string; tick: () => void; stopped: boolean }[] = [];
  readonly engine: Engine;
  readonly all: Verifications;
  rows = 0;
  writable = true;
  direction: 'forward' | 'reverse' | 'unknown' = 'forward';
  epoch = 0;

  constructor(
    public config: Config,
    readonly clock = new FakeClock(),
    readonly disk: Disk = { values: new Map(), engine: undefined },
  ) {
    this.engine = new Engine(
      config,
      clock,
      {
        record: () => true,
        delay: () => undefined,
        direction: (migration) => this.all.turned(migration),
        jumped: () => this.all.jumped(),
        broke: (link) => this.all.turned(link.slice(0, link.indexOf('/'))),
      },
      disk.engine,
    );
    const store = {
      get: (key: string) => this.disk.values.get(key) ?? null,
      set: (key: string, value: string) => {
        if (!this.writable) throw new Error('disk full');
        this.disk.values.set(key, value);
      },
    } as unknown as Store;
    const log = { debug: nothing, info: nothing, warn: nothing, error: nothing };
    const journal = (kind: string, _m: string, actor: string, data: Record<string, unknown>): boolean => {
      this.journal.push({ kind, actor, data });
      return true;
    };
    this.all = new Verifications({
      ...{ config: () => this.config, clock, log, engine: this.engine, store },
      schedule: (expression, tick) => {
        const entry = { expression, tick, stopped: false };
        this.schedules.push(entry);
        return { nextAt: () => null, stop: () => void (entry.stopped = true) };
      },
      verifier: () => {
        const verifier = new FakeVerifier(TABLES);
        this.verifiers.push(verifier);
        return verifier;
      },
      note: journal,
      must: (...entry) => this.writable && journal(...entry),
      publish: (data) => this.events.push(data),
      compared: (_migration, rows) => (this.rows += rows),
      save: () => (this.disk.engine = structuredClone(this.engine.memories)),
    });
  }

  get verifier(): FakeVerifier {
    const found = this.verifiers.at(-1);
    if (found === undefined) throw new Error('nothing is compared');
    return found;
  }

  /** Begins, with the direction known and the tables looked at. */
  async start(): Promise<this> {
    this.observeDirection();
    await this.all.apply();
    await this.seconds(1);
    return this;
  }

  observeDirection(): void {
    const { direction, epoch } = this;
    const row = (): DirectionRow[] =>
      epoch === 0 || direction === 'unknown'
        ? []
        : ['shop', 'crm', 'pay'].map((migration) => ({
            ...{ migration, epoch, direction, changedAt: null, changedBy: null, reason: null },
          }));
    for (const database of this.config.databases.keys()) {
      const rows = direction === 'unknown' ? null : row();
      const reason = direction === 'unknown' ? 'it does not answer' : null;
      this.engine.observe({ kind: 'direction-rows', database, rows, reason, at: this.clock.monotonicNow() });
    }
  }

  /** Lets time pass as the daemon does, with the direction read each second. */
  async seconds(n: number): Promise<void> {
    for (let i = 0; i < n; i += 1) {
      await this.clock.advance(S);
      this.engine.tick();
      this.observeDirection();
      this.all.tick();
    }
  }

  /** What happens at once, without time passing. */
  settle(): Promise<void> {
    return this.clock.advance(0);
  }

  breaks(what: string, link: LinkId = 'shop/forward'): void {
    this.engine.observe({ kind: 'chain-broken', link, what, heartbeatsSince: null, at: this.clock.monotonicNow() });
  }

  reading(signal: string): Reading {
    return this.engine.reading('shop', signal);
  }

  /** The value of a signal as a gate may use it; null when it is not known. */
  value(signal: string): number | null {
    const now = this.clock.monotonicNow();
    const reading = this.reading(signal);
    return stateAt(reading, now) === 'ok' ? valueAt(reading, now) : null;
  }

  kinds(): string[] {
    return this.journal.map((entry) => entry.kind);
  }

  /** The daemon is gone without having been asked to stop; another one starts on what it had written. */
  async killed(change: (clock: FakeClock) => void = () => undefined): Promise<VerifyBed> {
    const wall = new Date(this.clock.wallNow() + 5_000).toISOString();
    const disk = structuredClone({ values: this.disk.values, engine: structuredClone(this.engine.memories) });
    const clock = new FakeClock({ wall, monotonic: 50 * S });
    change(clock);
    const next = new VerifyBed(this.config, clock, disk);
    next.direction = this.direction;
    next.epoch = this.epoch;
    await next.start();
    return next;
  }
}

function nothing(): void {
  // Nobody reads the log of a test.
}
