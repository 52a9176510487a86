/** The daemon as the HTTP server and the metrics see it: names in, plain data out, computed when asked. */
import type { Clock } from './core/clock.js';
import { US_PER_S, wallIso } from './core/clock.js';
import type { Config, MigrationConfig } from './core/config.js';
import {
  findSignal,
  signalNames,
  valueAt,
  stateAt,
  isDmsSignal,
  type Reading,
  type SideName,
  type SignalContext,
} from './core/signal.js';
import type { Alerting } from './alerting.js';
import type { Engine } from './engine.js';
import { isAlias } from './aliases.js';
import { contextOf } from './link-state.js';
import type { EventStream } from './events.js';
import type {
  AlertsJson,
  CollectorStatus,
  DaemonEvent,
  DaemonPort,
  DirectionChange,
  DirectionChangeJson,
  FenceJson,
  GateState,
  HistoryPoint,
  MigrationJson,
  SideJson,
  SignalJson,
  VerdictJson,
  VerifyJson,
  VerifyRowJson,
} from './http/port.js';
import { IsoMemory, signalJson, verdictJson, type Instant, type SteadyLook } from './render.js';
import type { Fences } from './fences.js';
import { passiveSide } from './strays.js';
import type { Verifications } from './verifications.js';
import type { Switchover } from './switchover.js';
import type { Attestation, JournalEntry, Store } from './store/store.js';

/** What the view is made of. */
export interface ViewParts {
  version: string;
  config: () => Config;
  clock: Clock;
  look: SteadyLook;
  engine: Engine;
  events: EventStream;
  store: Store;
  collectors: () => CollectorStatus[];
  notReady: () => string[];
  attest: (attestation: Attestation) => void;
  fences: Fences;
  switchover: Switchover;
  alerting: Alerting;
  verifications: Verifications;
}

/** Implements the port over a running engine. */
export class View implements DaemonPort {
  private readonly isoMemory = new IsoMemory();
  private readonly gateListeners = new Map<string, Set<() => void>>();

  constructor(private readonly parts: ViewParts) {}

  get id(): string {
    return this.parts.config().daemon.id;
  }

  get version(): string {
    return this.parts.version;
  }

  migrations(): string[] {
    return [...this.parts.config().migrations.keys()];
  }

  migration(name: string): MigrationJson | undefined {
    const m = this.parts.config().migrations.get(name);
    if (m === undefined) return undefined;
    const now = this.now();
    const direction = this.parts.engine.direction(name);
    const links: MigrationJson['links'] = {};
    for (const s of this.signals(name) ?? []) {
      const [link = '', ...rest] = s.name.split('.');
      if (link !== 'forward' && link !== 'reverse') continue;
      (links[link] ??= {})[rest.join('.')] = s;
    }
    return {
      name,
      direction: direction.direction,
      epoch: direction.direction === 'unknown' ? null : direction.epoch,
      direction_since: direction.direction === 'unknown' ? null : direction.changedAt,
      source: m.source,
      target: m.target,
      links,
      sides: { source: this.side(m, 'source', now), target: this.side(m, 'target', now) },
      gates: [...m.gates.values()].map((g) => {
        const verdict = this.verdict(g.id);
        return { name: g.name, state: verdict?.state ?? 'unknown', opens_at: verdict?.opens_at ?? null };
      }),
      fence: this.parts.fences.latest(name),
      attestations: this.parts.store.attestations(name).map((a) => ({
        name: a.name,
        at: new Date(a.at).toISOString(),
        by: a.by,
        note: a.note,
        age_seconds: Math.max(0, (now.wall - a.at) / 1000),
      })),
      alerts: this.parts.alerting.firing(name).map(({ rule, severity, since, value, unit, reason, ...rest }) => ({
        ...{ rule, severity, since, value, unit, reason, summary: rest.summary, silenced_until: rest.silenced_until },
      })),
    };
  }

  signals(migration: string): SignalJson[] | undefined {
    const m = this.parts.config().migrations.get(migration);
    if (m === undefined) return undefined;
    const now = this.now();
    const context = contextOf(m);
    return this.signalNames(m, context).map((name) => {
      const unit = findSignal(name, context)?.unit ?? 'count';
      return signalJson(name, unit, this.parts.engine.reading(migration, name), now);
    });
  }

  history(migration: string, signal: string, sinceWallMs: number, stepSeconds: number): HistoryPoint[] | undefined {
    const m = this.parts.config().migrations.get(migration);
    if (m === undefined || findSignal(signal, contextOf(m)) === undefined) return undefined;
    const now = this.now();
    const since = now.monotonic - (now.wall - sinceWallMs) * 1000;
    const key = `${migration}.${this.boardName(migration, signal)}`;
    const step = Math.max(1, Math.round(stepSeconds));
    const points = new Map<number, HistoryPoint>();
    for (const bucket of this.parts.engine.board.history(key, since, now.monotonic)) {
      const second = Math.floor(bucket.second / step) * step;
      const point = points.get(second) ?? { at: wallIso(second * US_PER_S, now), value: null, max: null };
      point.value = bucket.last;
      if (bucket.max !== null) point.max = Math.max(point.max ?? bucket.max, bucket.max);
      points.set(second, point);
    }
    return [...points.values()];
  }

  gates(): string[] {
    const config = this.parts.config();
    return [
      ...[...config.migrations.values()].flatMap((m) => [...m.gates.values()].map((g) => g.id)),
      ...[...config.gates.values()].map((g) => g.id),
    ];
  }

  verdict(gate: string): VerdictJson | undefined {
    const verdict = this.parts.engine.verdict(gate);
    return verdict && verdictJson(verdict, this.now(), this.parts.config().hash, this.id, this.isoMemory);
  }

  gateState(gate: string): { state: GateState; opensInSeconds: number | null } | undefined {
    const verdict = this.parts.engine.verdict(gate);
    if (verdict === undefined) return undefined;
    return {
      state: verdict.state,
      opensInSeconds: verdict.opensAt === null ? null : (verdict.opensAt - verdict.at) / US_PER_S,
    };
  }

  onGate(gate: string, listener: () => void): () => void {
    const listeners = this.gateListeners.get(gate) ?? new Set();
    this.gateListeners.set(gate, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0 && this.gateListeners.get(gate) === listeners) this.gateListeners.delete(gate);
    };
  }

  /** Wakes those who wait for a gate, or for any gate when none is named. */
  wake(gate?: string): void {
    const sets = gate === undefined ? [...this.gateListeners.values()] : [this.gateListeners.get(gate)];
    for (const listeners of sets) for (const listener of listeners ?? []) listener();
  }

  journal(query: Parameters<DaemonPort['journal']>[0]): JournalEntry[] {
    return this.parts.store.journal(query);
  }

  attest(migration: string, name: string, by: string, note: string, actor: string): Attestation {
    const attestation: Attestation = { migration, name, at: Math.round(this.parts.clock.wallNow()), by, note, actor };
    this.parts.attest(attestation);
    return attestation;
  }

  placeFence(migration: string, asked: Parameters<DaemonPort['placeFence']>[1]): Promise<FenceJson> {
    return this.parts.fences.place(migration, asked);
  }

  fence(migration: string, id: string): Promise<FenceJson | undefined> {
    return this.parts.fences.get(migration, id);
  }

  fences(migration: string): Promise<FenceJson[]> {
    return this.parts.fences.list(migration);
  }

  cancelFence(migration: string, id: string, actor: string): Promise<FenceJson | undefined> {
    return Promise.resolve().then(() => this.parts.fences.cancel(migration, id, actor));
  }

  onFence(migration: string, listener: () => void): () => void {
    return this.parts.fences.onChange(migration, listener);
  }

  startVerify(migration: string, asked: Parameters<DaemonPort['startVerify']>[1]): Promise<{ pass: string }> {
    return this.parts.verifications.start(migration, asked);
  }

  stopVerify(migration: string, actor: string): Promise<{ pass: string }> {
    return this.parts.verifications.end(migration, actor);
  }

  verification(migration: string): VerifyJson | undefined {
    return this.parts.verifications.json(migration);
  }

  verifyRows(migration: string, table: string, keys: Record<string, string>[]): Promise<VerifyRowJson[]> {
    return this.parts.verifications.rows(migration, table, keys);
  }

  changeDirection(change: DirectionChange): Promise<DirectionChangeJson> {
    return this.parts.switchover.change(change);
  }

  subscribe(listener: (event: DaemonEvent) => void): () => void {
    return this.parts.events.subscribe(listener);
  }

  eventsAfter(id: number): DaemonEvent[] | null {
    return this.parts.events.after(id);
  }

  alerts(migration?: string): AlertsJson {
    return this.parts.alerting.json(migration);
  }

  collectors(): CollectorStatus[] {
    return this.parts.collectors();
  }

  notReady(): string[] {
    return this.parts.notReady();
  }

  storeWritable(): boolean {
    return this.parts.store.writable;
  }

  private now(): Instant {
    return this.parts.look.now();
  }

  /** Attestations have no list of their own: those that a gate asks for, and those that were given. */
  private signalNames(m: MigrationConfig, context: SignalContext): string[] {
    const attested = this.parts.store.attestations(m.name).map((a) => `attest.${a.name}.age`);
    const asked = [...m.gates.values()].flatMap((g) =>
      g.require.flatMap((c) => (c.kind === 'signal' && c.signal.startsWith('attest.') ? [c.signal] : [])),
    );
    return [...signalNames(context), ...new Set([...asked, ...attested])];
  }

  private boardName(migration: string, signal: string): string {
    const [head = '', ...rest] = signal.split('.');
    const direction = this.parts.engine.direction(migration).direction;
    if (!isAlias(signal) || direction === 'unknown') return signal;
    if (isDmsSignal(signal)) return `${direction}.${signal}`;
    const link = (head === 'active') === (direction === 'forward') ? 'forward' : 'reverse';
    return `${link}.${rest.join('.')}`;
  }

  private side(m: MigrationConfig, side: SideName, now: Instant): SideJson {
    const flag = (name: string): boolean | null => {
      const reading: Reading = this.parts.engine.reading(m.name, `${side}.${name}`);
      return stateAt(reading, now.monotonic) === 'ok' ? valueAt(reading, now.monotonic) === 1 : null;
    };
    return {
      database: m[side],
      reachable: flag('reachable'),
      writable: flag('writable'),
      stray_writes: this.strayWrites(m.name, side, now),
    };
  }

  private strayWrites(migration: string, side: SideName, now: Instant): SideJson['stray_writes'] {
    const latched = this.parts.engine.strayWrites(migration, side);
    const passive = passiveSide(this.parts.engine.direction(migration)) === side;
    const reading = this.parts.engine.reading(migration, 'standby.stray_writes');
    // No count is shown where a write may have gone unseen; what is latched is shown whatever the direction is now.
    const exact = latched.count > 0 || (passive && stateAt(reading, now.monotonic) === 'ok');
    return {
      count: exact ? latched.count : null,
      first_at: latched.firstAt === null ? null : new Date(latched.firstAt).toISOString(),
      first_position: latched.firstPosition,
    };
  }
}
