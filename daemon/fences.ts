/**
 * The fences of all migrations: places them, hands them what collectors see, and proves them anew at every question. The
 * newest fence of a migration is a KeptFence; what it is judged by is in core/fence.ts.
 */
import { randomBytes } from 'node:crypto';
import type { FencePlace, Log, SidePort } from '../collectors/collector.js';
import { askOrRefuse } from './asking.js';
import { US_PER_MS, type Clock, type Us } from './core/clock.js';
import type { Config, LinkConfig, MigrationConfig } from './core/config.js';
import { Refusal } from './core/errors.js';
import { Fence, type FenceOptions } from './core/fence.js';
import type { FenceMemory } from './core/fence-memory.js';
import type { LocalWatch, LocalWrites, Observation } from './core/observation.js';
import { formatPosition } from './core/position.js';
import { linkId, stateAt, unknown, valueAt, type LinkId, type LinkName, type SideName } from './core/signal.js';
import type { LocalWrite } from './core/stray.js';
import type { Engine } from './engine.js';
import { endedJson, FenceArchive } from './fence-archive.js';
import { fenceJson } from './fence-json.js';
import { Watches, type Seen } from './fence-watches.js';
import type { FenceJson } from './http/port.js';
import { KeptFence, type KeptParts } from './kept-fence.js';
import { demandJournal, notJournaled } from './recorder.js';
import type { Store } from './store/store.js';

/** What fences are made of. */
export interface FencesParts {
  config: () => Config;
  clock: Clock;
  log: Log;
  engine: Engine;
  store: Store;
  side: (database: string) => SidePort;
  /** Writes to the journal before anybody sees the effect; false when it cannot be written. */
  must: (migration: string, actor: string, data: Record<string, unknown>) => boolean;
  /** Writes to the journal what has happened anyway. */
  note: (migration: string, actor: string, data: Record<string, unknown>) => void;
  publish: (fence: FenceJson) => void;
  /** Keeps what must survive a kill: among it from where on a gap in the watch of the source can be read again. */
  save: () => void;
  /** A local write was seen on the passive side while a fence is drained. */
  targetWrote: (migration: string, first: LocalWrite) => void;
}

/** Places, watches and proves fences. */
export class Fences {
  private readonly newest = new Map<string, KeptFence>();
  private readonly placing = new Map<string, Seen>();
  private readonly listeners = new Map<string, Set<() => void>>();
  private readonly stopping = new AbortController();
  private readonly archive: FenceArchive;
  private readonly watches: Watches;
  /** When the clocks were last found to have jumped. */
  private jumpedAt: Us = -Infinity;

  constructor(private readonly parts: FencesParts) {
    this.archive = new FenceArchive(parts.store, parts.log);
    this.watches = new Watches(parts.clock, parts.config, this.stopping.signal);
  }

  /** Takes up the fences from before a restart, and says of each migration what is known of its newest one. */
  start(): void {
    for (const m of this.parts.config().migrations.values()) this.takeUp(m);
  }

  /** Takes up a changed configuration: a fence on what has changed is ended. */
  reload(before: Config): void {
    const config = this.parts.config();
    for (const [name, kept] of this.newest) {
      const m = config.migrations.get(name);
      if (m !== undefined && basisOf(config, m) === basisOf(before, before.migrations.get(name))) continue;
      kept.end('cancelled', 'the configuration of its migration was changed', 'lockgate');
      // An ended one stays to be shown; of a migration that has gone nothing is.
      if (m === undefined) this.newest.delete(name);
    }
    for (const m of config.migrations.values()) if (!this.newest.has(m.name)) this.takeUp(m);
  }

  /** Ends all looking; what is open stays open in the store. */
  async stop(): Promise<void> {
    this.stopping.abort();
    await Promise.all([...this.newest.values()].map((kept) => kept.stopped()));
  }

  /** Whether the local writes of a database are to be watched whatever its role. */
  watchClosely(database: string): boolean {
    for (const seen of this.placing.values()) if (seen.database === database) return true;
    for (const kept of this.newest.values()) if (kept.fence.isOpen && kept.link.from === database) return true;
    return false;
  }

  /** Takes what collectors see, after the engine has. */
  observe(o: Observation): void {
    switch (o.kind) {
      case 'applied':
      case 'applied-fault':
        this.withLink(o.link, (kept) => {
          if (o.kind === 'applied') kept.fence.applied(o.flow, o.position, o.askedAt, o.at);
          else kept.fence.appliedFault(o.flow, o.reason);
        });
        return;
      case 'local-watch':
        this.observeWatch(o);
        return;
      case 'local-writes':
        this.observeWrites(o);
        return;
      default:
    }
  }

  /** The clocks jumped: nothing that was asked for before counts. */
  forget(): void {
    this.jumpedAt = this.parts.clock.monotonicNow();
    for (const kept of this.newest.values()) kept.fence.forget(this.jumpedAt);
  }

  /** Places a fence on the link of the present direction. */
  async place(migration: string, asked: { deadlineMs: number; note: string; actor: string }): Promise<FenceJson> {
    const { engine, clock } = this.parts;
    const m = this.migration(migration);
    demandJournal(this.parts.store);
    const direction = engine.direction(migration);
    if (direction.direction === 'unknown') {
      throw new Refusal(409, 'direction_unknown', `the direction of ${migration} is unknown: ${direction.reason}`);
    }
    const link = this.linkOf(m, direction.direction);
    const open = this.newest.get(migration);
    if (this.placing.has(migration) || open?.fence.isOpen === true) {
      const which =
        open?.fence.isOpen === true
          ? `fence ${open.fence.memory.id} is ${open.fence.memory.state}`
          : 'a fence is being placed';
      throw new Refusal(409, 'fence_open', `${which}: one at a time; wait for it, promote on it, or cancel it`);
    }
    const seen = this.watches.see(link.from);
    this.placing.set(migration, seen);
    try {
      await this.watches.arm(link.from);
      // It may have begun anew before; from here on it must not end.
      seen.lost = false;
      const marker = `fence-${clock.wallNow().toString(36).replace('.', '')}-${randomBytes(3).toString('hex')}`;
      const id = linkId(migration, link.name);
      const stop = this.stopping.signal;
      const place = await askOrRefuse(clock, link.from, (s) => this.parts.side(link.from).place(id, marker, s), stop);
      const now = engine.direction(migration);
      if (now.direction !== direction.direction || now.epoch !== direction.epoch) {
        throw new Refusal(409, 'direction_changed', 'the direction changed while the fence was being placed');
      }
      if (JSON.stringify(this.parts.config().migrations.get(migration)?.links[link.name]) !== JSON.stringify(link)) {
        throw new Refusal(409, 'configuration_changed', 'the configuration changed while the fence was being placed');
      }
      if (link.flows.length === 0 && !place.marked) {
        throw new Refusal(
          409,
          'no_proof',
          `${link.from} takes no writes any more, so that no marker can be committed, and over this link nothing else tells what has arrived`,
          'over DMS place the fence before the source is made read-only',
        );
      }
      return this.placed(m, link, direction.epoch, seen, place, marker, asked);
    } finally {
      this.placing.delete(migration);
      this.watches.unsee(seen);
    }
  }

  /** A fence as it can be proved now; undefined when there is none of this id. */
  async get(migration: string, id: string): Promise<FenceJson | undefined> {
    const kept = this.newest.get(migration);
    if (kept?.fence.memory.id === id) return kept.prove();
    const past = this.archive.past(migration).find((f) => f.id === id);
    return past && endedJson(past);
  }

  /** The newest fences, newest first. */
  async list(migration: string): Promise<FenceJson[]> {
    const kept = this.newest.get(migration);
    const first = kept === undefined ? [] : [await kept.prove()];
    return [...first, ...this.archive.past(migration).map(endedJson)];
  }

  /** The newest fence as it can be judged without asking anybody. */
  latest(migration: string): FenceJson | null {
    return this.newest.get(migration)?.judge() ?? null;
  }

  /** Ends an open fence by hand; undefined when there is none of this id. */
  cancel(migration: string, id: string, actor: string): FenceJson | undefined {
    const kept = this.newest.get(migration);
    if (kept?.fence.memory.id !== id) {
      const past = this.archive.past(migration).find((f) => f.id === id);
      if (past === undefined) return undefined;
      throw new Refusal(409, 'fence_ended', `fence ${id} is ${past.state} already`);
    }
    if (!kept.fence.isOpen) throw new Refusal(409, 'fence_ended', `fence ${id} is ${kept.fence.memory.state} already`);
    if (kept.isClosing)
      throw new Refusal(409, 'fence_closing', `a change of direction is being declared on fence ${id}`);
    // A cancelled fence that is open in the store would be taken up at the next start.
    demandJournal(this.parts.store);
    return kept.end('cancelled', `cancelled by ${actor}`, actor);
  }

  /** Calls back on each change of the newest fence of a migration. */
  onChange(migration: string, listener: () => void): () => void {
    const listeners = this.listeners.get(migration) ?? new Set();
    this.listeners.set(migration, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  /** The newest fence, if it is one of this link, proved anew; null when it is not. */
  async proved(migration: string, link: LinkName): Promise<{ json: FenceJson; memory: FenceMemory } | null> {
    const kept = this.newest.get(migration);
    if (kept === undefined || kept.link.name !== link) return null;
    const json = await kept.prove();
    return { json, memory: kept.fence.memory };
  }

  /** Keeps what is seen of a side from now on, until `unsee`; for whom its writes concern. */
  see(database: string): Seen {
    return this.watches.see(database);
  }

  /** Ends keeping. */
  unsee(seen: Seen): void {
    this.watches.unsee(seen);
  }

  /**
   * Waits until the source's reader has confirmed that everything committed before now was seen, so that it has passed
   * whatever position was read before, and lets writes from then on end nothing. Answers why not, or null.
   */
  async silentUntilNow(migration: string, id: string, patienceMs: number): Promise<string | null> {
    const kept = this.newest.get(migration);
    if (kept?.fence.memory.id !== id) return `fence ${id} is not the newest any more`;
    const passed = await this.watches.passed(kept.link.from, this.parts.clock.monotonicNow(), patienceMs);
    const { state, missing } = kept.judge();
    if (state !== 'drained') return `fence ${id} is ${state}: ${missing.reasons.join('; ')}`;
    if (!passed) {
      return `the reader of local writes of ${kept.link.from} has not passed the position where it stands within ${patienceMs / 1_000} s`;
    }
    kept.close();
    return null;
  }

  /** The change of direction was not declared after all. */
  reopen(migration: string): void {
    this.newest.get(migration)?.reopen();
  }

  /** A change of direction was declared on the open fence; answers the writes of its source that came after all was said. */
  closed(migration: string, because: string, actor: string): { json: FenceJson; late: LocalWrite[] } | null {
    const kept = this.newest.get(migration);
    return kept?.fence.isOpen === true ? kept.closed(because, actor) : null;
  }

  /** Ends a fence that the change of direction went past. */
  overtaken(migration: string, because: string, actor: string): void {
    const kept = this.newest.get(migration);
    if (kept?.fence.isOpen === true) kept.end('cancelled', because, actor);
  }

  private placed(
    m: MigrationConfig,
    link: LinkConfig,
    epoch: number,
    seen: Seen,
    place: FencePlace,
    marker: string,
    { deadlineMs, note, actor }: { deadlineMs: number; note: string; actor: string },
  ): FenceJson {
    const { clock, engine } = this.parts;
    const wall = clock.wallNow() - (clock.monotonicNow() - place.askedAt) / US_PER_MS;
    const memory: FenceMemory = {
      id: marker.slice('fence-'.length),
      migration: m.name,
      link: link.name,
      epoch,
      state: 'placed',
      placedAt: wall,
      deadlineAt: wall + deadlineMs,
      position: formatPosition(place.position),
      marker: place.marked ? marker : null,
      identity: { source: place.identity, target: null },
      schema: place.schema,
      note,
      placedBy: actor,
      predicted: this.predicted(m.name, link.name),
      violations: { count: 0, firstAt: null, firstPosition: null },
      unwatched: [],
      evidence: [],
      drainedAt: null,
      endedAt: null,
      endedBecause: null,
      lacked: null,
    };
    const fence = new Fence(memory, this.optionsOf(link), place.at, wall + (place.at - place.askedAt) / US_PER_MS);
    if (this.jumpedAt > place.at) fence.forget(this.jumpedAt);
    const json = fenceJson(memory, {
      state: 'placed',
      missing: { bytes: null, transactions: null, flows: [], reasons: [] },
      basis: [],
    });
    if (!this.parts.must(m.name, actor, { ...json })) throw notJournaled();
    const before = this.newest.get(m.name);
    if (before !== undefined) this.archive.succeed(m.name, before.fence.memory);
    const kept = this.keep(link, fence);
    engine.switchBegan(m.name, passiveOf(link));
    this.archive.save(memory);
    this.parts.save();
    this.parts.publish(json);
    // What was seen between the position and now.
    const confirmed = this.watches.confirmed(link.from);
    if (seen.lost) fence.notWatching(wall, 'the watch of local writes ended while the fence was placed');
    if (confirmed === null) fence.notWatching(wall, this.watches.reason(link.from));
    else fence.watching(confirmed, clock.wallNow(), false, null);
    fence.wrote(seen.writes, clock.wallNow());
    const now = kept.judge();
    kept.run();
    return now;
  }

  private takeUp(m: MigrationConfig): void {
    const { clock, engine } = this.parts;
    const newest = this.archive.load(m.name);
    const link = newest === null ? undefined : m.links[newest.link];
    if (newest === null || link === undefined) {
      if (newest !== null) this.archive.succeed(m.name, newest);
      // What an earlier life may have left held belongs to no switch any more.
      engine.switchEnded(m.name, newest?.state === 'closed');
      engine.setReading(m.name, 'fence.drained', unknown('no fence has been placed', clock.monotonicNow()));
      return;
    }
    const watchedUntil = engine.strayWrites(m.name, link.from === m.source ? 'source' : 'target').accountedUntil;
    const fence = Fence.takenUp(newest, this.optionsOf(link), clock.monotonicNow(), clock.wallNow(), watchedUntil);
    const kept = this.keep(link, fence);
    if (fence.isOpen) engine.switchBegan(m.name, passiveOf(link));
    else engine.switchEnded(m.name, newest.state === 'closed');
    kept.judge();
    if (fence.isOpen) kept.run();
  }

  private keep(link: LinkConfig, fence: Fence): KeptFence {
    const { clock, log, engine, side, note, publish } = this.parts;
    const parts: KeptParts = {
      ...{ clock, log, engine, side, note, publish, archive: this.archive, watches: this.watches },
      changed: (migration) => {
        for (const listener of this.listeners.get(migration) ?? []) listener();
      },
      stopping: this.stopping.signal,
    };
    const kept = new KeptFence(parts, fence, link);
    this.newest.set(fence.memory.migration, kept);
    return kept;
  }

  private observeWatch(o: LocalWatch): void {
    const wall = this.wallAt(o.at);
    this.watches.watch(o);
    for (const kept of this.newest.values()) {
      if (!kept.fence.isOpen || kept.link.from !== o.database) continue;
      if (o.watching) kept.fence.watching(o.at, wall, o.emptyGap, o.reason);
      else kept.fence.notWatching(wall, o.reason ?? 'its local writes are not watched');
      kept.judge();
    }
  }

  private observeWrites(o: LocalWrites): void {
    this.watches.wrote(o);
    const [first] = o.writes;
    for (const [migration, kept] of this.newest) {
      if (kept.fence.isOpen && kept.link.from === o.database) kept.wrote(o, this.wallAt(o.at));
      if (kept.link.to === o.database && first !== undefined && kept.fence.memory.state === 'drained') {
        this.parts.targetWrote(migration, first);
      }
    }
  }

  private withLink(link: LinkId, act: (kept: KeptFence) => void): void {
    const slash = link.indexOf('/');
    const kept = this.newest.get(link.slice(0, slash));
    if (kept === undefined || kept.link.name !== link.slice(slash + 1) || !kept.fence.isOpen) return;
    act(kept);
    kept.judge();
  }

  private migration(name: string): MigrationConfig {
    const m = this.parts.config().migrations.get(name);
    if (m === undefined) throw new Refusal(404, 'not_found', `there is no migration ${name}`);
    return m;
  }

  private linkOf(m: MigrationConfig, name: LinkName): LinkConfig {
    const link = m.links[name];
    if (link !== undefined && link.via !== 'none') return link;
    throw new Refusal(
      409,
      'no_link',
      `the direction of ${m.name} is ${name}, and the configuration has no ${name} link: nothing carries what would be fenced`,
      `configure \`${name}\`, or change the direction with force and a reason`,
    );
  }

  private optionsOf(link: LinkConfig): FenceOptions {
    const { flows, freshnessUs: freshUs } = link;
    const proof = link.via === 'dms' ? 'marker' : 'position';
    return { flows, freshUs, proof, names: { source: link.from, target: link.to } };
  }

  private predicted(migration: string, link: LinkName): FenceMemory['predicted'] {
    const { engine, clock } = this.parts;
    const now = clock.monotonicNow();
    const value = (signal: string): number | null => {
      const reading = engine.reading(migration, `${link}.${signal}`);
      return stateAt(reading, now) === 'ok' ? valueAt(reading, now) : null;
    };
    const [etaS, highS] = [value('drain_eta'), value('drain_eta_high')];
    return etaS === null || highS === null ? null : { etaS, highS };
  }

  private wallAt(at: Us): number {
    const { clock } = this.parts;
    return clock.wallNow() - (clock.monotonicNow() - at) / US_PER_MS;
  }
}

/** The side that a switch over a link makes the active one. */
function passiveOf(link: LinkConfig): SideName {
  return link.name === 'forward' ? 'target' : 'source';
}

/** All that decides what a fence of a migration is about. */
function basisOf(config: Config, m: MigrationConfig | undefined): string {
  return JSON.stringify([m?.links, config.databases.get(m?.source ?? ''), config.databases.get(m?.target ?? '')]);
}
