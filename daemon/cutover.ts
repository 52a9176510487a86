/** What a cutover is made of, put together: the databases as they are asked, the fences, the changes of direction. */
import type { CollectorContext, EnginePort, Log } from '../collectors/collector.js';
import type { Clock } from './core/clock.js';
import type { Config } from './core/config.js';
import type { Engine } from './engine.js';
import { Fences } from './fences.js';
import type { DirectionChangeJson, FenceJson } from './http/port.js';
import type { Recorder } from './recorder.js';
import { SidePorts } from './side-ports.js';
import type { Store } from './store/store.js';
import { Switchover } from './switchover.js';

/** What it needs of the daemon. */
export interface CutoverParts {
  engines: readonly EnginePort[];
  context: Omit<CollectorContext, 'watchClosely'>;
  config: () => Config;
  clock: Clock;
  log: Log;
  engine: Engine;
  store: Store;
  recorder: Recorder;
  publish: (fence: FenceJson) => void;
  /** A change of direction was declared. */
  declared: (done: DirectionChangeJson) => void;
  save: () => void;
}

/** The fences and changes of direction of a daemon. */
export class Cutover {
  readonly fences: Fences;
  readonly switchover: Switchover;
  /** What collectors are handed. */
  readonly context: CollectorContext;
  private readonly sides: SidePorts;
  private taken: Config;

  constructor(private readonly parts: CutoverParts) {
    const { config, clock, log, engine, store, publish, save } = parts;
    this.taken = config();
    this.context = {
      ...parts.context,
      watchClosely: (database) => this.fences.watchClosely(database) || engine.suspectsSplit(database),
    };
    this.sides = new SidePorts(parts.engines, this.context, config);
    const common = { config, clock, log, engine, store, save, side: (database: string) => this.sides.of(database) };
    this.fences = new Fences({
      ...common,
      must: (...entry) => this.must('fence', ...entry),
      note: (...entry) => this.note('fence', ...entry),
      publish,
      targetWrote: (migration, first) => this.switchover.targetWrote(migration, first),
    });
    this.switchover = new Switchover({
      ...common,
      ...{ fences: this.fences, declared: parts.declared },
      must: (...entry) => this.must(...entry),
      note: (...entry) => this.note(...entry),
    });
  }

  /** Takes up the configuration that the daemon has just taken up. */
  reload(): void {
    const before = this.taken;
    this.taken = this.parts.config();
    this.fences.reload(before);
  }

  /** Ends all looking and closes all sessions; open fences stay open in the store. */
  async stop(): Promise<void> {
    await this.fences.stop();
    await this.sides.close();
  }

  private must(kind: string, migration: string, actor: string, data: Record<string, unknown>): boolean {
    return this.parts.recorder.must(this.draft(kind, migration, actor, data));
  }

  private note(kind: string, migration: string, actor: string, data: Record<string, unknown>): void {
    this.parts.recorder.note(this.draft(kind, migration, actor, data));
  }

  private draft(kind: string, migration: string, actor: string, data: Record<string, unknown>) {
    return { at: this.parts.clock.wallNow(), kind, migration, gate: null, actor, by: null, data };
  }
}
