/** Runs the collectors of local writes against a real server, and counts what they see as the daemon does. */
import { randomBytes } from 'node:crypto';
import type { Collector, CollectorContext } from '../../collectors/collector.js';
import { HeartbeatHub } from '../../collectors/heartbeat/hub.js';
import { BinlogReader } from '../../collectors/mysql/binlog-reader.js';
import { MysqlLocalWrites } from '../../collectors/mysql/local-writes.js';
import { LocalWritesCollector } from '../../collectors/postgres/local-writes.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import type { Direction } from '../../daemon/core/direction.js';
import type { LocalWatch, LocalWrites, Observation } from '../../daemon/core/observation.js';
import { stateAt, type Reading } from '../../daemon/core/signal.js';
import type { StrayMemory } from '../../daemon/core/stray.js';
import { SystemClock } from '../../daemon/lifecycle/clock.js';
import { Strays, type StrayMemories } from '../../daemon/strays.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { contextOf, listenTo, type Listening } from './listening.js';

const clock = new SystemClock();
const forward: Direction = { direction: 'forward', epoch: 0, changedAt: null };
const reverse: Direction = { direction: 'reverse', epoch: 1, changedAt: null };

/** The target of a migration, watched for local writes. */
export class LocalBench {
  readonly seen: (LocalWatch | LocalWrites)[] = [];
  touched = 0;
  direction: Direction = forward;
  private strays = new Strays({});
  private listening: Listening[] = [];
  /** What the collectors have logged, with its fields. */
  readonly logged: string[] = [];

  constructor(
    private readonly db: DatabaseConfig,
    private readonly daemonId = 'test',
    private readonly mayStandBy = true,
  ) {}

  /** Begins to watch, as a daemon that starts would, with what the one before had kept. */
  start(): void {
    this.strays = new Strays(JSON.parse(JSON.stringify(this.strays.kept)) as StrayMemories);
    this.turn(this.direction);
    const say = (fields: object, message: string): void =>
      void this.logged.push(`${message} ${JSON.stringify(fields)}`);
    const context = {
      ...contextOf(),
      log: { debug: say, info: say, warn: say, error: say },
      daemonId: this.daemonId,
      isPassive: () => (this.direction.direction === 'unknown' ? null : this.direction.direction === 'forward'),
      localMark: () => this.memory.mark,
    };
    this.listening = this.collectors(context).map((collector) => listenTo(collector, (o) => this.take(o)));
  }

  async stop(): Promise<void> {
    const listening = this.listening;
    this.listening = [];
    await Promise.all(listening.map((each) => each.stop()));
  }

  private collectors(context: CollectorContext): Collector[] {
    const { db } = this;
    if (db.engine === 'postgres') return [new LocalWritesCollector(db, context, this.mayStandBy)];
    const local = new MysqlLocalWrites(db, context);
    if (db.read === 'off') return [local];
    const { ledger } = new HeartbeatHub(clock, randomBytes(6).toString('hex'));
    const reader = new BinlogReader({ db, links: [], context, ledger });
    reader.tellLocal(local);
    return [local, reader];
  }

  turn(direction: Direction): void {
    this.direction = direction;
    this.strays.turn('shop', direction, clock.wallNow());
  }

  /** Production writes go to the target, and back to the source. */
  promote(): void {
    this.turn(reverse);
  }

  rollback(): void {
    this.turn({ direction: 'forward', epoch: 2, changedAt: null });
  }

  reconcile(): void {
    this.strays.clear('shop', Infinity, clock.wallNow());
  }

  get memory(): StrayMemory {
    return this.strays.shown('shop', 'target');
  }

  get reading(): Reading {
    return this.strays.reading('shop', forward, clock.monotonicNow());
  }

  get local(): { writes: Reading; age: Reading } {
    return this.strays.local('shop', 'target', clock.monotonicNow());
  }

  get state(): string {
    const { reading } = this;
    const state = stateAt(reading, clock.monotonicNow());
    return state === 'ok'
      ? String(reading.value)
      : reading.bound === 'at-least' && reading.value !== null
        ? `>=${reading.value}`
        : state;
  }

  /** Waits until stray writes read so. */
  async reads(state: string, timeoutMs = 10_000): Promise<void> {
    await waitFor(`stray writes to read ${state}`, timeoutMs, () => this.state === state, 5).catch((error: unknown) => {
      throw new Error(
        `${String(error)}; they read ${this.state} (${String(this.reading.reason)}); last ${JSON.stringify(
          this.seen.slice(-4),
          (_, v: unknown) => (typeof v === 'bigint' ? String(v) : v),
        )}`,
      );
    });
  }

  /** Waits for a confirmation of what was committed before now. */
  async confirmed(timeoutMs = 10_000): Promise<LocalWatch> {
    const from = clock.monotonicNow();
    return await waitFor(
      'a confirmation',
      timeoutMs,
      () => this.seen.find((o): o is LocalWatch => o.kind === 'local-watch' && o.watching && o.at > from),
      5,
    );
  }

  private take(o: Observation): void {
    const wall = clock.wallNow();
    if (o.kind === 'direction-touched') {
      this.touched += 1;
      this.strays.directionTouched('shop', 'target', wall);
    }
    if (o.kind !== 'local-watch' && o.kind !== 'local-writes') return;
    this.seen.push(o);
    this.strays.observe('shop', 'target', o, wall - (clock.monotonicNow() - o.at) / 1_000);
  }
}
