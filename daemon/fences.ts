/**
 * The fences of all migrations: places them, keeps looking at both sides while they are open, and proves them anew at
 * every question. What they are judged by is in core/fence.ts.
 */
import { randomBytes } from 'node:crypto';
import type { FencePlace, FenceSight, Log, SidePort } from '../collectors/collector.js';
import { US_PER_MS, type Clock, type Us } from './core/clock.js';
import type { Config, LinkConfig, MigrationConfig } from './core/config.js';
import { LockgateError, messageOf, Refusal } from './core/errors.js';
import { Fence, isOpen, type FenceMemory, type FenceOptions, type FenceVerdict } from './core/fence.js';
import type { LocalWatch, LocalWrites, Observation } from './core/observation.js';
import { formatPosition, isBeyond, type Position } from './core/position.js';
import { linkId, stateAt, unknown, valueAt, type LinkId, type LinkName } from './core/signal.js';
import type { LocalWrite } from './core/stray.js';
import type { Engine } from './engine.js';
import { fenceJson } from './fence-json.js';
import type { FenceJson } from './http/port.js';
import type { Store } from './store/store.js';
import { APPLIED_BY_SESSIONS } from './core/stray.js';
import { appliedBySessions } from './strays.js';

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
  /** A local write was seen on the passive side while a fence is drained. */
  targetWrote: (migration: string, first: LocalWrite) => void;
}

/** How many fences of a migration are remembered. */
const MOST_KEPT = 20;
const PLACED_EVERY_MS = 50;
const DRAINED_EVERY_MS = 250;
/** The source's reader has so long to begin. */
const ARM_MS = 15_000;
const ARM_LOOK_MS = 10;
const LOOK_MS = 5_000;
/** Transitions between drained and unknown that are journaled for one fence. */
const MOST_WAVERING = 20;
/** What DMS cannot tell lockgate must be vouched for so recently. */
const ATTESTED_US: Us = 86_400_000_000;
const IN_ORDER = 'dms-applies-in-order';

/** A fence that is open, or was the last to be. */
interface Kept {
  fence: Fence;
  readonly link: LinkConfig;
  readonly marker: string | null;
  /** What was said last. */
  said: string;
  wavered: number;
  round: Promise<void> | null;
  readonly stop: AbortController;
  loop: Promise<void>;
  /** While a change of direction is declared on it: writes of the source beyond where it stands, which end nothing any more. */
  closing: { beyond: Position; writes: LocalWrite[] } | null;
}

interface Placing {
  readonly database: string;
  readonly writes: LocalWrites[];
  /** When the watch was last found to have ended. */
  lostAt: Us;
}

/** Places, watches and proves fences. */
export class Fences {
  private readonly newest = new Map<string, Kept>();
  private readonly past = new Map<string, FenceMemory[]>();
  private readonly placing = new Map<string, Placing>();
  /** What was last said of the watch of each database. */
  private readonly watches = new Map<string, { confirmed: Us } | { reason: string }>();
  private readonly listeners = new Map<string, Set<() => void>>();
  private readonly stopping = new AbortController();

  constructor(private readonly parts: FencesParts) {}

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
      this.end(name, kept, 'cancelled', 'the configuration of its migration was changed', 'lockgate');
      this.newest.delete(name);
    }
    for (const m of config.migrations.values()) if (!this.newest.has(m.name)) this.takeUp(m);
  }

  /** Ends all looking; what is open stays open in the store. */
  async stop(): Promise<void> {
    this.stopping.abort();
    for (const kept of this.newest.values()) kept.stop.abort();
    await Promise.all([...this.newest.values()].map((kept) => kept.loop));
    for (const name of this.newest.keys()) this.save(name);
  }

  /** Whether the local writes of a database are to be watched whatever its role. */
  watchClosely(database: string): boolean {
    for (const p of this.placing.values()) if (p.database === database) return true;
    for (const kept of this.newest.values()) if (kept.fence.isOpen && kept.link.from === database) return true;
    return false;
  }

  /** Takes what collectors see, after the engine has. */
  observe(o: Observation): void {
    switch (o.kind) {
      case 'applied':
      case 'applied-fault':
        this.withLink(o.link, (kept) => {
          if (o.kind === 'applied') kept.fence.applied(o.flow, o.position, o.askedAt);
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

  /** The clocks jumped: nothing that was observed before counts. */
  forget(): void {
    for (const kept of this.newest.values()) kept.fence.forget();
  }

  /** Places a fence on the link of the present direction. */
  async place(migration: string, asked: { deadlineMs: number; note: string; actor: string }): Promise<FenceJson> {
    const { engine, store, clock } = this.parts;
    const m = this.migration(migration);
    if (!store.writable && !store.probe()) {
      throw new Refusal(
        503,
        'store_not_writable',
        'the journal cannot be written now, and what is not journaled is not done',
      );
    }
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
    const placing: Placing = { database: link.from, writes: [], lostAt: -Infinity };
    this.placing.set(migration, placing);
    try {
      await this.arm(link.from);
      const marker = `fence-${clock.wallNow().toString(36).replace('.', '')}-${randomBytes(3).toString('hex')}`;
      const place = await this.ask(() => this.parts.side(link.from).place(linkId(migration, link.name), marker, this.limit()), link.from); // prettier-ignore
      const now = engine.direction(migration);
      if (now.direction !== direction.direction || now.epoch !== direction.epoch) {
        throw new Refusal(409, 'direction_changed', 'the direction changed while the fence was being placed');
      }
      if (link.flows.length === 0 && !place.marked) {
        throw new Refusal(
          409,
          'no_proof',
          `${link.from} takes no writes any more, so that no marker can be committed, and over this link nothing else tells what has arrived`,
          'over DMS place the fence before the source is made read-only',
        );
      }
      return this.placed(m, link, direction.epoch, placing, place, marker, asked);
    } finally {
      this.placing.delete(migration);
    }
  }

  /** A fence as it can be proved now; undefined when there is none of this id. */
  async get(migration: string, id: string): Promise<FenceJson | undefined> {
    const kept = this.newest.get(migration);
    if (kept?.fence.memory.id === id) return this.prove(migration, kept);
    const past = this.past.get(migration)?.find((f) => f.id === id);
    return past && endedJson(past);
  }

  /** The newest fences, newest first. */
  async list(migration: string): Promise<FenceJson[]> {
    const kept = this.newest.get(migration);
    const first = kept === undefined ? [] : [await this.prove(migration, kept)];
    return [...first, ...(this.past.get(migration) ?? []).map(endedJson)];
  }

  /** The newest fence as it was last judged. */
  latest(migration: string): FenceJson | null {
    const kept = this.newest.get(migration);
    return kept === undefined ? null : this.judge(migration, kept);
  }

  /** Ends an open fence by hand; undefined when there is none of this id. */
  cancel(migration: string, id: string, actor: string): FenceJson | undefined {
    const kept = this.newest.get(migration);
    if (kept?.fence.memory.id !== id) {
      const past = this.past.get(migration)?.find((f) => f.id === id);
      if (past === undefined) return undefined;
      throw new Refusal(409, 'fence_ended', `fence ${id} is ${past.state} already`);
    }
    if (!kept.fence.isOpen) throw new Refusal(409, 'fence_ended', `fence ${id} is ${kept.fence.memory.state} already`);
    if (kept.closing !== null)
      throw new Refusal(409, 'fence_closing', `a change of direction is being declared on fence ${id}`);
    this.end(migration, kept, 'cancelled', `cancelled by ${actor}`, actor);
    return this.judge(migration, kept);
  }

  /** Calls back on each change of the newest fence of a migration. */
  onChange(migration: string, listener: () => void): () => void {
    const listeners = this.listeners.get(migration) ?? new Set();
    this.listeners.set(migration, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  /** The open fence of a link, proved anew; null when there is none. */
  async proved(migration: string, link: LinkName): Promise<{ json: FenceJson; memory: FenceMemory } | null> {
    const kept = this.newest.get(migration);
    if (kept === undefined || kept.link.name !== link) return null;
    const json = await this.prove(migration, kept);
    return { json, memory: kept.fence.memory };
  }

  /**
   * Waits until the source's reader has confirmed that everything committed before `askedAt` was seen, and begins to keep
   * writes beyond `stand` for `closed`. Answers why not, or null.
   */
  async silentUntil(
    migration: string,
    id: string,
    askedAt: Us,
    stand: Position,
    patienceMs: number,
  ): Promise<string | null> {
    const { clock } = this.parts;
    const kept = this.newest.get(migration);
    if (kept?.fence.memory.id !== id) return `fence ${id} is not the newest any more`;
    const until = clock.monotonicNow() + patienceMs * US_PER_MS;
    for (;;) {
      const verdict = kept.fence.judge(clock.monotonicNow(), clock.wallNow());
      if (verdict.state !== 'drained') return `fence ${id} is ${verdict.state}: ${verdict.missing.reasons.join('; ')}`;
      const watch = this.watches.get(kept.link.from);
      if (watch !== undefined && 'confirmed' in watch && watch.confirmed >= askedAt) {
        kept.closing = { beyond: stand, writes: [] };
        return null;
      }
      if (clock.monotonicNow() > until || this.stopping.signal.aborted) {
        return `the reader of local writes of ${kept.link.from} has not passed the position where it stands within ${patienceMs / 1_000} s`;
      }
      await clock.sleep(ARM_LOOK_MS);
    }
  }

  /** The change of direction was not declared after all. */
  reopen(migration: string): void {
    const kept = this.newest.get(migration);
    if (kept === undefined || kept.closing === null) return;
    const { writes } = kept.closing;
    kept.closing = null;
    if (writes.length > 0) kept.fence.wrote(writes, this.parts.clock.wallNow());
    this.judge(migration, kept);
  }

  /** A change of direction was declared on the open fence; answers the writes of its source that came after all was said. */
  closed(migration: string, because: string, actor: string): { json: FenceJson; late: LocalWrite[] } | null {
    const kept = this.newest.get(migration);
    if (kept === undefined || !kept.fence.isOpen) return null;
    const late = kept.closing?.writes ?? [];
    this.end(migration, kept, 'closed', because, actor);
    return { json: this.judge(migration, kept), late };
  }

  /** Ends a fence that the change of direction went past. */
  overtaken(migration: string, because: string, actor: string): void {
    const kept = this.newest.get(migration);
    if (kept?.fence.isOpen === true) this.end(migration, kept, 'cancelled', because, actor);
  }

  private placed(
    m: MigrationConfig,
    link: LinkConfig,
    epoch: number,
    placing: Placing,
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
    // What was seen between the position and now.
    if (placing.lostAt >= place.askedAt) fence.notWatching(wall, 'the watch of local writes ended while it was placed');
    for (const writes of placing.writes) fence.wrote(writes.writes, clock.wallNow());
    const watch = this.watches.get(link.from);
    if (watch === undefined || 'reason' in watch) fence.notWatching(wall, watch?.reason ?? 'not watched');
    else fence.watching(watch.confirmed, clock.wallNow(), false, null);

    const before = this.newest.get(m.name);
    const kept = this.keep(link, fence);
    const json = fenceJson(memory, {
      state: 'placed',
      missing: { bytes: null, transactions: null, flows: [], reasons: [] },
      basis: [],
    });
    if (!this.parts.must(m.name, actor, { ...json })) {
      throw new Refusal(
        503,
        'store_not_writable',
        'the journal could not be written, and what is not journaled is not done',
      );
    }
    if (before !== undefined) this.remember(m.name, before.fence.memory);
    this.newest.set(m.name, kept);
    engine.switchBegan(m.name);
    this.save(m.name);
    this.run(m.name, kept);
    return this.judge(m.name, kept);
  }

  private takeUp(m: MigrationConfig): void {
    const [first, ...rest] = this.kept(m.name);
    this.past.set(m.name, rest);
    const link = first === undefined ? undefined : m.links[first.link];
    if (first === undefined || link === undefined) {
      if (first !== undefined) this.past.set(m.name, [first, ...rest]);
      const none = unknown('no fence has been placed', this.parts.clock.monotonicNow());
      this.parts.engine.setReading(m.name, 'fence.drained', none);
      return;
    }
    const { clock, engine } = this.parts;
    const passedUntil = engine.strayWrites(m.name, link.from === m.source ? 'source' : 'target').accountedUntil;
    const fence = Fence.takenUp(first, this.optionsOf(link), clock.monotonicNow(), clock.wallNow(), passedUntil);
    const kept = this.keep(link, fence);
    this.newest.set(m.name, kept);
    if (fence.isOpen) this.run(m.name, kept);
    this.judge(m.name, kept);
  }

  private keep(link: LinkConfig, fence: Fence): Kept {
    const { marker } = fence.memory;
    const stop = new AbortController();
    return { fence, link, marker, said: '', wavered: 0, round: null, stop, loop: Promise.resolve(), closing: null };
  }

  private run(migration: string, kept: Kept): void {
    const { clock, log } = this.parts;
    const loop = async (): Promise<void> => {
      while (!kept.stop.signal.aborted && kept.fence.isOpen) {
        await this.round(kept);
        const { state } = this.judge(migration, kept);
        await clock.sleep(state === 'placed' ? PLACED_EVERY_MS : DRAINED_EVERY_MS, kept.stop.signal);
      }
    };
    kept.loop = loop().catch((error: unknown) => log.error({ migration }, `fence: ${messageOf(error)}`));
  }

  /** One look at both sides; whoever asks while one is under way gets the next one. */
  private async round(kept: Kept): Promise<void> {
    if (kept.round !== null) await kept.round;
    kept.round ??= this.look(kept).finally(() => (kept.round = null));
    await kept.round;
  }

  private async look(kept: Kept): Promise<void> {
    const { fence, link, marker } = kept;
    const signal = this.limit();
    const id = linkId(fence.memory.migration, link.name);
    const one = async (side: 'source' | 'target', asked: () => Promise<FenceSight>): Promise<void> => {
      try {
        fence.looked(side, await asked());
      } catch (error) {
        if (!(error instanceof LockgateError)) throw error;
        if (!kept.stop.signal.aborted) fence.looked(side, { fault: messageOf(error) });
      }
    };
    await Promise.all([
      one('source', () => this.parts.side(link.from).lookAtSource(signal)),
      one('target', () => this.parts.side(link.to).lookAtTarget(id, marker, signal)),
    ]);
  }

  private async prove(migration: string, kept: Kept): Promise<FenceJson> {
    if (kept.fence.isOpen && !this.stopping.signal.aborted) await this.round(kept);
    return this.judge(migration, kept);
  }

  /** Judges a fence now, and tells whoever must know of what has changed. */
  private judge(migration: string, kept: Kept): FenceJson {
    const { clock, engine } = this.parts;
    const { fence } = kept;
    // While a change of direction is declared on it, the direction is about to be another one.
    if (fence.isOpen && kept.closing === null && !this.hinder(migration, kept)) return this.judge(migration, kept);
    const before = fence.memory;
    const now = clock.monotonicNow();
    const verdict = fence.judge(now, clock.wallNow());
    engine.setReading(migration, 'fence.drained', fence.reading(verdict, now));
    const json = fenceJson(fence.memory, verdict);
    if (before.state !== fence.memory.state && !fence.isOpen) this.ended(migration, kept, false);
    if (kept.said !== verdict.state) this.tell(migration, kept, verdict, json);
    return json;
  }

  private tell(migration: string, kept: Kept, verdict: FenceVerdict, json: FenceJson): void {
    const first = kept.said === '';
    const wavering = kept.said === 'unknown' || verdict.state === 'unknown';
    kept.said = verdict.state;
    if (wavering) kept.wavered += 1;
    // A fence that was taken up ended, or was journaled when it was placed.
    if (!first && kept.wavered <= MOST_WAVERING) {
      this.parts.note(migration, 'lockgate', { ...json });
      this.save(migration);
      this.parts.log.info({ migration, fence: json.id, state: json.state }, `fence of ${migration}: ${json.state}`);
    }
    this.parts.publish(json);
    for (const listener of this.listeners.get(migration) ?? []) listener();
  }

  /** What stands against a fence besides what collectors see; false when that has ended it. */
  private hinder(migration: string, kept: Kept): boolean {
    const { fence, link } = kept;
    const { engine, clock } = this.parts;
    const direction = engine.direction(migration);
    if (direction.direction === 'unknown') fence.hinder('direction', `the direction is unknown: ${direction.reason}`);
    else if (direction.direction !== fence.memory.link || direction.epoch !== fence.memory.epoch) {
      const state = fence.memory.state === 'drained' ? 'closed' : 'cancelled';
      const because = `the direction was declared to be ${direction.direction} (epoch ${direction.epoch}) elsewhere`;
      this.end(migration, kept, state, because, 'lockgate', true);
      return false;
    } else fence.hinder('direction', null);
    if (link.via !== 'dms') return true;
    const attested = engine.reading(migration, `attest.${IN_ORDER}.age`);
    const age = valueAt(attested, clock.monotonicNow());
    const vouched = age !== null && age * 1e6 < ATTESTED_US;
    fence.hinder(
      'order',
      vouched
        ? null
        : `with batch or parallel apply a marker may overtake older rows, and the tasks are not asked in this version: look at their settings and attest ${IN_ORDER}`,
    );
    return true;
  }

  private end(
    migration: string,
    kept: Kept,
    state: 'closed' | 'cancelled',
    because: string,
    actor: string,
    carriedThrough = state === 'closed',
  ): void {
    if (!kept.fence.isOpen) return;
    kept.fence.end(state, this.parts.clock.wallNow(), because);
    this.ended(migration, kept, carriedThrough);
    const verdict = kept.fence.judge(this.parts.clock.monotonicNow(), this.parts.clock.wallNow());
    const json = fenceJson(kept.fence.memory, verdict);
    kept.said = verdict.state;
    this.parts.note(migration, actor, { ...json });
    this.save(migration);
    this.parts.publish(json);
    for (const listener of this.listeners.get(migration) ?? []) listener();
  }

  private ended(migration: string, kept: Kept, carriedThrough: boolean): void {
    kept.stop.abort();
    kept.closing = null;
    this.parts.engine.switchEnded(migration, carriedThrough);
    this.save(migration);
  }

  private observeWatch(o: LocalWatch): void {
    const wall = this.wallAt(o.at);
    if (o.watching) {
      const known = this.watches.get(o.database);
      const confirmed = Math.max(o.at, known !== undefined && 'confirmed' in known ? known.confirmed : o.at);
      this.watches.set(o.database, { confirmed });
    } else {
      this.watches.set(o.database, { reason: o.reason ?? 'its local writes are not watched' });
      for (const p of this.placing.values()) if (p.database === o.database) p.lostAt = this.parts.clock.monotonicNow();
    }
    for (const [migration, kept] of this.newest) {
      if (!kept.fence.isOpen || kept.link.from !== o.database) continue;
      if (o.watching) kept.fence.watching(o.at, wall, o.emptyGap, o.reason);
      else kept.fence.notWatching(wall, o.reason ?? 'its local writes are not watched');
      this.judge(migration, kept);
    }
  }

  private observeWrites(o: LocalWrites): void {
    for (const p of this.placing.values()) if (p.database === o.database) p.writes.push(o);
    for (const [migration, kept] of this.newest) {
      if (!kept.fence.isOpen) continue;
      if (kept.link.from === o.database) {
        if (kept.closing === null) kept.fence.wrote(o.writes, this.wallAt(o.at));
        else {
          const { beyond, writes } = kept.closing;
          writes.push(...o.writes.filter((w) => isBeyond(w.position, beyond) !== false));
        }
        this.judge(migration, kept);
      }
      const [first] = o.writes;
      if (kept.link.to === o.database && first !== undefined && kept.fence.memory.state === 'drained') {
        this.parts.targetWrote(migration, first);
      }
    }
  }

  private withLink(link: LinkId, act: (kept: Kept) => void): void {
    const slash = link.indexOf('/');
    const migration = link.slice(0, slash);
    const kept = this.newest.get(migration);
    if (kept === undefined || kept.link.name !== link.slice(slash + 1) || !kept.fence.isOpen) return;
    act(kept);
    this.judge(migration, kept);
  }

  /** Resolves once the local writes of the source are watched from before now on. */
  private async arm(database: string): Promise<void> {
    const { clock, config } = this.parts;
    const whole = config();
    if (whole.databases.get(database)?.read === 'off') {
      throw new Refusal(
        409,
        'not_watched',
        `with \`read: off\` nobody watches the local writes of ${database}, and a fence cannot tell whether writes have stopped`,
        `set \`read: auto\` (or on) for ${database}`,
      );
    }
    if (appliedBySessions(whole).has(database))
      throw new Refusal(409, 'not_watched', `${database}: ${APPLIED_BY_SESSIONS}`);
    const since = clock.monotonicNow();
    for (;;) {
      const watch = this.watches.get(database);
      if (watch !== undefined && 'confirmed' in watch && watch.confirmed >= since) return;
      if (this.stopping.signal.aborted) throw new Refusal(503, 'stopping', 'the daemon is stopping');
      if (clock.monotonicNow() - since > ARM_MS * US_PER_MS) {
        const why = watch !== undefined && 'reason' in watch ? watch.reason : 'its reader has confirmed nothing';
        throw new Refusal(503, 'not_watched', `the local writes of ${database} are not watched ${ARM_MS / 1_000} s after they were asked for: ${why}`, 'end what it waits for, and place the fence again'); // prettier-ignore
      }
      await clock.sleep(ARM_LOOK_MS, this.stopping.signal);
    }
  }

  private async ask<T>(question: () => Promise<T>, database: string): Promise<T> {
    try {
      return await question();
    } catch (error) {
      if (error instanceof Refusal || !(error instanceof LockgateError)) throw error;
      throw new Refusal(503, error.code, `${database}: ${error.message}`, error.hint);
    }
  }

  private limit(): AbortSignal {
    return AbortSignal.timeout(LOOK_MS);
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

  private remember(migration: string, memory: FenceMemory): void {
    const past = [memory, ...(this.past.get(migration) ?? [])].slice(0, MOST_KEPT - 1);
    this.past.set(migration, past);
  }

  private save(migration: string): void {
    const newest = this.newest.get(migration)?.fence.memory;
    try {
      const all = [...(newest === undefined ? [] : [newest]), ...(this.past.get(migration) ?? [])];
      this.parts.store.set(keyOf(migration), JSON.stringify(all));
    } catch (error) {
      this.parts.log.error({ migration }, `the fence could not be kept: ${messageOf(error)}`);
    }
  }

  private kept(migration: string): FenceMemory[] {
    const text = this.parts.store.get(keyOf(migration));
    return text === null ? [] : (JSON.parse(text) as FenceMemory[]);
  }

  private wallAt(at: Us): number {
    const { clock } = this.parts;
    return clock.wallNow() - (clock.monotonicNow() - at) / US_PER_MS;
  }
}

function keyOf(migration: string): string {
  return `fences/${migration}`;
}

function endedJson(memory: FenceMemory): FenceJson {
  const reasons = memory.endedBecause === null || memory.state === 'closed' ? [] : [memory.endedBecause];
  const missing = memory.lacked ?? { bytes: null, transactions: null, flows: [], reasons };
  // One that was overtaken by its end of life in the store is open no more.
  const state = isOpen(memory.state) ? 'unknown' : memory.state;
  return fenceJson(memory, { state, missing, basis: memory.evidence });
}

/** All that decides what a fence of a migration is about. */
function basisOf(config: Config, m: MigrationConfig | undefined): string {
  return JSON.stringify([m?.links, config.databases.get(m?.source ?? ''), config.databases.get(m?.target ?? '')]);
}
