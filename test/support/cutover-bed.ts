/**
 * Fences and changes of direction with the real engine, recorder and store, over two databases in memory that answer, hang
 * or refuse as a test says, and whose readers see what is written to them. Nothing happens but in `pass`.
 */
import { rmSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FencePlace, FenceSight, SidePort, SideStand } from '../../collectors/collector.js';
import type { Config, DatabaseConfig, LinkConfig, MigrationConfig } from '../../daemon/core/config.js';
import type { DirectionRow } from '../../daemon/core/direction.js';
import { Refusal, TransientError } from '../../daemon/core/errors.js';
import type { DirectionRows, Observation } from '../../daemon/core/observation.js';
import type { Position } from '../../daemon/core/position.js';
import { formatLsn } from '../../daemon/core/position.js';
import { stateAt, type LinkName } from '../../daemon/core/signal.js';
import { Engine } from '../../daemon/engine.js';
import { Fences } from '../../daemon/fences.js';
import type { DirectionChange, DirectionChangeJson, FenceJson } from '../../daemon/http/port.js';
import { Keeper, keptMemories } from '../../daemon/keeper.js';
import { Recorder } from '../../daemon/recorder.js';
import { openStore } from '../../daemon/store/sqlite.js';
import { StoreError, type JournalEntry, type Store } from '../../daemon/store/store.js';
import { Switchover } from '../../daemon/switchover.js';
import { FakeClock } from './fake-clock.js';

const S = 1_000_000;
const STEP_MS = 50;

/** A database in memory. */
export class FakeDatabase implements SidePort {
  lsn = 0x1000n;
  row: DirectionRow | null = null;
  open: string[] = [];
  prepared: string[] = [];
  identity: string;
  schema = 'tables';
  readOnly = false;
  /** What its answers do; an answer that hangs comes when this is changed. */
  mode: 'answers' | 'hangs' | 'rejects' = 'answers';
  /** Done once, within the question, after the server's answer was made and before it arrives. */
  meanwhile: Partial<Record<'place' | 'stand' | 'declare', (() => void) | undefined>> = {};
  /** The reader of its local writes. */
  reader: 'on' | 'silent' | 'off' = 'on';
  readonly markers = new Set<string>();
  asked = 0;

  constructor(
    readonly database: string,
    private readonly clock: FakeClock,
  ) {
    this.identity = `system of ${database}`;
  }

  async place(_: string, marker: string): Promise<FencePlace> {
    const askedAt = await this.answer();
    const position: Position = { kind: 'lsn', lsn: this.lsn };
    if (!this.readOnly) {
      this.lsn += 8n;
      this.markers.add(marker);
    }
    this.happen('place');
    const { identity, schema } = this;
    return { position, marked: !this.readOnly, identity, schema, askedAt, at: this.clock.monotonicNow() };
  }

  async lookAtSource(): Promise<FenceSight> {
    const askedAt = await this.answer();
    return { identity: this.identity, marker: null, open: [...this.open], askedAt, at: askedAt };
  }

  async lookAtTarget(_: string, marker: string | null): Promise<FenceSight> {
    const askedAt = await this.answer();
    const there = marker === null ? null : this.markers.has(marker);
    return { identity: this.identity, marker: there, open: [...this.prepared], askedAt, at: askedAt };
  }

  async stand(): Promise<SideStand> {
    const askedAt = await this.answer();
    const stand = { position: { kind: 'lsn', lsn: this.lsn } as const, identity: this.identity, schema: this.schema };
    this.happen('stand');
    return { ...stand, askedAt };
  }

  async declare(row: DirectionRow): Promise<DirectionRows> {
    await this.answer();
    if (this.row === null || this.row.epoch < row.epoch) this.row = row;
    const said = this.rows();
    this.happen('declare');
    return said;
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  rows(): DirectionRows {
    const rows = this.row === null ? [] : [this.row];
    return { kind: 'direction-rows', database: this.database, rows, reason: null, at: this.clock.monotonicNow() };
  }

  private happen(what: 'place' | 'stand' | 'declare'): void {
    const act = this.meanwhile[what];
    this.meanwhile = { ...this.meanwhile, [what]: undefined };
    act?.();
  }

  private async answer(): Promise<number> {
    this.asked += 1;
    const askedAt = this.clock.monotonicNow();
    if (this.mode === 'rejects') throw new TransientError('connection', 'connection refused');
    if (this.mode === 'hangs') await new Promise(() => undefined);
    await this.clock.sleep(1);
    return askedAt;
  }
}

const database = (name: string): DatabaseConfig => ({
  ...{ name, engine: 'postgres', password: null, read: 'auto' },
  address: { host: name, port: 5432, database: 'app', user: 'lockgate' },
  tls: { mode: 'disable', ca: null, cert: null, key: null },
});

const link = (name: LinkName, from: string, to: string): LinkConfig => ({
  ...{ name, via: 'postgres-logical', from, to, flows: ['sub'], publication: null, tables: null },
  ...{ heartbeat: { intervalUs: S, watch: 'auto' }, freshnessUs: 3 * S, retentionLimitBytes: null },
});

export function cutoverConfig(part: Partial<MigrationConfig> = {}): Config {
  const shop: MigrationConfig = {
    ...{ name: 'shop', source: 'onprem', target: 'aws', promotion: 'manual', gates: new Map() },
    links: { forward: link('forward', 'onprem', 'aws'), reverse: link('reverse', 'aws', 'onprem') },
    ...part,
  };
  return {
    ...{ file: 'lockgate.yaml', hash: 'hash', gates: new Map(), warnings: [] },
    daemon: { id: 'a', listen: { host: '127.0.0.1', port: 0 }, tls: null, auth: null },
    store: { path: ':memory:', retainUs: 0 },
    databases: new Map(['onprem', 'aws'].map((name) => [name, database(name)])),
    migrations: new Map([['shop', shop]]),
  };
}

/** A daemon's part in a cutover; `restart` gives it a new process over the same store. */
export class CutoverBed {
  readonly clock = new FakeClock();
  readonly onprem = new FakeDatabase('onprem', this.clock);
  readonly aws = new FakeDatabase('aws', this.clock);
  /** Replication goes on. */
  replicates = true;
  /** The chains of changes are looked at, and are whole. */
  looksAtChains = true;
  /** Whether the store takes writes. */
  storeBroken = false;
  readonly directions: string[] = [];
  readonly published: FenceJson[] = [];
  readonly errors: string[] = [];
  config: Config;
  store!: Store;
  engine!: Engine;
  fences!: Fences;
  switchover!: Switchover;
  private keeper!: Keeper;
  private closeStore!: () => void;
  private readonly folder = mkdtempSync(join(tmpdir(), 'lockgate-cutover-'));
  private steps = 0;

  constructor(part: Partial<MigrationConfig> = {}) {
    this.config = cutoverConfig(part);
    this.boot();
  }

  /** Lets time pass while everything is observed that there is to observe. */
  async pass(ms: number): Promise<void> {
    for (let t = 0; t < ms; t += STEP_MS) {
      this.observeAll();
      await this.clock.advance(STEP_MS * 1_000);
    }
  }

  /** The same until something is settled; a refusal is its code. */
  async settle<T>(work: Promise<T>, mostMs = 30_000): Promise<T> {
    const settled = { done: false };
    const mark = (): void => void (settled.done = true);
    work.then(mark, mark);
    for (let t = 0; !settled.done && t < mostMs; t += STEP_MS) await this.pass(STEP_MS);
    if (!settled.done) throw new Error(`not settled within ${mostMs} ms`);
    return work;
  }

  /** Why it was refused: status and code. */
  async refusal(work: Promise<unknown>, mostMs?: number): Promise<string> {
    try {
      await this.settle(work, mostMs);
    } catch (error) {
      if (error instanceof Refusal) return `${error.status} ${error.code}`;
      throw error;
    }
    return 'done';
  }

  async place(deadlineMs = 60_000): Promise<FenceJson> {
    return this.settle(this.fences.place('shop', { deadlineMs, note: '', actor: 'ops' }));
  }

  /** A fence that has drained. */
  async drained(): Promise<FenceJson> {
    const { id } = await this.place();
    await this.pass(300);
    const json = await this.settle(this.fences.get('shop', id));
    if (json?.state !== 'drained') throw new Error(`not drained: ${JSON.stringify(json)}`);
    return json;
  }

  change(part: Partial<DirectionChange> = {}): Promise<DirectionChangeJson> {
    return this.switchover.change({
      ...{ migration: 'shop', action: 'promote', reason: 'cutover', expect: 'forward', force: false, actor: 'ops' },
      ...{ idempotencyKey: null, ...part },
    });
  }

  /** A local write, which its reader sees at once unless it is off or silent. */
  write(db: FakeDatabase, seen = true): string {
    db.lsn += 16n;
    const position = formatLsn(db.lsn);
    if (db.reader === 'on' && seen) this.sees(db, position);
    return position;
  }

  sees(db: FakeDatabase, position: string): void {
    const writes = [{ position, committedAt: null }];
    this.emit({ kind: 'local-writes', database: db.database, writes, at: this.clock.monotonicNow() });
  }

  /** Its reader sees that the direction row was changed. */
  touched(db: FakeDatabase): void {
    this.emit({ kind: 'direction-touched', database: db.database, at: this.clock.monotonicNow() });
  }

  watch(db: FakeDatabase, watching: boolean, emptyGap = false, at = this.clock.monotonicNow()): void {
    db.reader = watching ? 'on' : 'off';
    const reason = watching ? null : 'the reader died';
    const base = { kind: 'local-watch', database: db.database, upTo: null } as const;
    this.emit({ ...base, watching, emptyGap, mark: watching ? `mark ${at}` : null, reason, at });
  }

  emit(o: Observation): void {
    this.engine.observe(o);
    this.fences.observe(o);
  }

  reads(signal: string): string {
    const reading = this.engine.reading('shop', signal);
    const state = stateAt(reading, this.clock.monotonicNow());
    return state === 'ok' ? String(reading.value) : state;
  }

  get direction(): string {
    const d = this.engine.direction('shop');
    return d.direction === 'unknown' ? 'unknown' : `${d.direction} ${d.epoch}`;
  }

  strays(side: 'source' | 'target'): number {
    return this.engine.strayWrites('shop', side).count;
  }

  journal(kind?: string): JournalEntry[] {
    return this.store.journal({ limit: 1_000, ...(kind === undefined ? {} : { kind }) });
  }

  save(): void {
    this.keeper.save();
  }

  async reload(config: Config): Promise<void> {
    const before = this.config;
    this.config = config;
    this.engine.reload(config);
    this.fences.reload(before);
    await this.clock.advance(0);
  }

  /** Another process over the same store; `kill`: without a chance to write anything. */
  async restart(kill = false): Promise<void> {
    if (kill) this.storeBroken = true;
    await this.fences.stop();
    if (!kill) this.keeper.save();
    this.closeStore();
    this.storeBroken = false;
    this.boot();
    await this.clock.advance(0);
  }

  async close(): Promise<void> {
    await this.fences.stop();
    this.closeStore();
    rmSync(this.folder, { recursive: true, force: true });
  }

  private observeAll(): void {
    const at = this.clock.monotonicNow();
    for (const db of [this.onprem, this.aws]) {
      if (db.reader === 'on') this.watch(db, true);
      if (this.steps % 10 === 0 && db.mode === 'answers') this.emit(db.rows());
    }
    this.steps += 1;
    const facts = { identities: [], positions: [], broken: [] };
    for (const link of ['shop/forward', 'shop/reverse'] as const) {
      if (this.looksAtChains) this.emit({ kind: 'chain-seen', link, facts, at, freshUs: 3 * S });
    }
    if (!this.replicates) return;
    const ends = { forward: [this.onprem, this.aws], reverse: [this.aws, this.onprem] } as const;
    for (const [name, [from, to]] of Object.entries(ends) as [LinkName, readonly [FakeDatabase, FakeDatabase]][]) {
      for (const marker of from.markers) to.markers.add(marker);
      const position: Position = { kind: 'lsn', lsn: from.lsn };
      this.emit({ kind: 'applied', link: `shop/${name}`, flow: 'sub', position, askedAt: at, at });
    }
  }

  private boot(): void {
    const { store } = openStore(join(this.folder, 'lockgate.db'), this.clock);
    this.closeStore = () => store.close();
    this.store = this.breakable(store);
    const log = {
      debug: () => undefined,
      info: () => undefined,
      warn: () => undefined,
      error: (_: object, text: string) => void this.errors.push(text),
    };
    const { clock } = this;
    const recorder = new Recorder(this.store, log, () => undefined);
    const draft = (kind: string, migration: string, actor: string, data: Record<string, unknown>) => ({
      ...{ at: clock.wallNow(), kind, migration, gate: null, actor, by: null, data },
    });
    this.engine = new Engine(
      this.config,
      clock,
      {
        record: () => true,
        delay: () => undefined,
        direction: (_, to) => void this.directions.push(to.direction),
        jumped: () => this.fences.forget(),
      },
      keptMemories(store),
    );
    this.keeper = new Keeper(this.store, this.engine, clock, log);
    const common = {
      ...{ config: () => this.config, clock, log, engine: this.engine, store: this.store },
      side: (name: string): SidePort => (name === 'onprem' ? this.onprem : this.aws),
    };
    this.fences = new Fences({
      ...common,
      must: (migration, actor, data) => recorder.must(draft('fence', migration, actor, data)),
      note: (migration, actor, data) => recorder.note(draft('fence', migration, actor, data)),
      publish: (fence) => void this.published.push(fence),
      save: () => this.keeper.save(),
      targetWrote: (migration, first) => this.switchover.targetWrote(migration, first),
    });
    this.switchover = new Switchover({
      ...common,
      fences: this.fences,
      must: (kind, ...rest) => recorder.must(draft(kind, ...rest)),
      note: (kind, ...rest) => recorder.note(draft(kind, ...rest)),
      save: () => this.keeper.save(),
    });
    this.fences.start();
  }

  /** The store, which refuses every write while it is broken. */
  private breakable(store: Store): Store {
    const refuse = (): void => {
      if (this.storeBroken) throw new StoreError('store_full', 'the disk is full');
    };
    return new Proxy(store, {
      get: (target, key: keyof Store) => {
        if (key === 'writable') return target.writable && !this.storeBroken;
        if (key === 'probe') return () => !this.storeBroken && target.probe();
        const value: unknown = Reflect.get(target, key);
        if (typeof value !== 'function') return value;
        return (...args: unknown[]): unknown => {
          if (['append', 'set', 'saveHolds', 'attest'].includes(key)) refuse();
          return (value as (...all: unknown[]) => unknown).apply(target, args);
        };
      },
    });
  }
}
