/**
 * The engine turns observations into readings and readings into verdicts. It advances gates on each observation and on
 * each question; the timer only makes changes that come by themselves (a lag that crosses its threshold, a reading that
 * goes stale) known promptly. It does no I/O: what it has to say goes through `EngineOutput`.
 */
import { aliased, aliasReading, isAlias } from './aliases.js';
import { Board } from './board.js';
import { Chains } from './chains.js';
import { viasOf, whyNotMeasured } from './config/available.js';
import { US_PER_MS, US_PER_S, type Clock, type Us } from './core/clock.js';
import type { Config } from './core/config.js';
import { isRuleGate } from './core/alert-gates.js';
import { DmsCoverage } from './core/dms-coverage.js';
import { resolveDirection, type Direction } from './core/direction.js';
import type { Transition, Verdict } from './core/gate.js';
import type { LagObservation } from './core/lag.js';
import {
  askedAtOf,
  type ChainBroken,
  type ChainFault,
  type ChainSeen,
  type DirectionRows,
  type DirectionTouched,
  type DmsReading,
  type LinkReading,
  type LocalWatch,
  type LocalWrites,
  type Observation,
  type SideReading,
  type SourceTablesSeen,
  type TaskTablesSeen,
} from './core/observation.js';
import {
  linkId,
  signalNames,
  stateAt,
  unknown,
  valueAt,
  type LinkId,
  type Reading,
  type SideName,
} from './core/signal.js';
import { APPLIED_BY_SESSIONS, type Gap, type LocalWrite, type StrayMemory } from './core/stray.js';
import { VERIFY_SIGNALS } from './core/verify-readings.js';
import {
  directionAnswer,
  isDual,
  notBefore,
  reversed,
  SIDE_FRESH_US,
  withinDirection,
  type KnownDirection,
  type MigrationState,
} from './direction-state.js';
import type { EngineMemories, EngineOutput, LongHold } from './engine-output.js';
import { basisOf, digest, questionOf } from './gate-footing.js';
import { GateTable } from './gate-table.js';
import { compareLooks, LARGEST_DIVERGENCE_US, lookAt, type ClockLook } from './lifecycle/guard.js';
import { contextOf, newLink, readingOf, type LinkState } from './link-state.js';
import { ReadingParts } from './reading-parts.js';
import { appliedBySessions, passiveSide, Strays, type FirstStray } from './strays.js';

/** The change of its own row of `lockgate.direction` comes out of a server's log within this time, or not at all. */
const OWN_TOUCH_US: Us = 10_000_000;
/** Why nothing is known of a signal that is about something else now. */
const CHANGED = 'nothing has been observed since the configuration was changed';

/** The judgement of the daemon. */
export class Engine {
  readonly board: Board;
  private config: Config;
  private links = new Map<LinkId, LinkState>();
  private migrations = new Map<string, MigrationState>();
  private table: GateTable;
  /** Names on the board, by migration and signal. */
  private readonly keys = new Map<string, Map<string, string>>();
  private lastLook: ClockLook;
  private evaluatedAt: Us;
  /** When the clocks were last found to have jumped; what was asked before says nothing of now. */
  private jumpedAt: Us = -Infinity;

  private readonly chains: Chains;
  private readonly parts = new ReadingParts();
  private readonly strays: Strays;
  /** Databases where nothing tells what is local. */
  private bySessions: ReadonlySet<string> = new Set();
  private shownAt: Us;
  /** Changes of direction rows that this daemon has made and whose sight is still to come. */
  private ownTouches: { database: string; until: Us }[] = [];

  constructor(
    config: Config,
    private readonly clock: Clock,
    private readonly output: EngineOutput,
    private readonly kept: EngineMemories = { chains: {}, strays: {} },
  ) {
    const now = clock.monotonicNow();
    this.chains = new Chains(kept.chains);
    this.strays = new Strays(kept.strays, kept.splits);
    this.shownAt = now;
    this.board = new Board(now);
    this.config = config;
    this.lastLook = lookAt(clock);
    this.evaluatedAt = now;
    this.table = this.install(config, null, now);
  }

  /** Takes up a changed configuration: unchanged gates over unchanged migrations keep their holds, all else starts anew. */
  reload(config: Config): void {
    const now = this.now();
    this.table.advance(now);
    const old = { config: this.config, table: this.table };
    this.config = config;
    this.table = this.install(config, old.config, now);
    this.table.adopt(old.table, now);
    this.board.remove((key) => !config.migrations.has(key.slice(0, key.indexOf('.'))));
  }

  /** Takes one observation. */
  observe(o: Observation): void {
    const now = this.now();
    // Asked before the clocks jumped and answered after it: how old the answer is, nobody knows.
    if ((askedAtOf(o) ?? Infinity) < this.jumpedAt) return;
    switch (o.kind) {
      case 'side-reading':
        this.observeSide(o, now);
        return;
      case 'link-reading':
        this.observeLink(o, now);
        return;
      case 'direction-rows':
        this.observeDirection(o, now);
        return;
      case 'migration-reading':
        this.set(o.migration, new Map([[o.signal, readingOf(o, o.freshUs)]]), now);
        return;
      case 'dms-reading':
        this.observeDms(o, now);
        return;
      case 'chain-seen':
      case 'chain-fault':
      case 'chain-broken':
        this.observeChain(o, now);
        return;
      case 'local-watch':
      case 'local-writes':
        this.observeLocal(o, now);
        return;
      case 'source-tables':
      case 'task-tables':
        this.observeTables(o, now);
        return;
      case 'direction-touched':
        this.touchDirection(o, now);
        return;
      default:
        this.observeLag(o, now);
    }
  }

  /** Sets a reading that comes from no collector (an attestation). */
  setReading(migration: string, signal: string, reading: Reading): void {
    this.set(migration, new Map([[signal, reading]]), this.now());
  }

  /** What is worth keeping across a restart besides holds. */
  get memories(): EngineMemories {
    const directions = [...this.migrations].flatMap(([name, { lastKnown }]) =>
      lastKnown === null ? [] : [[name, { ...lastKnown, basis: digest(basisOf(this.config, name)) }] as const],
    );
    return {
      chains: this.chains.kept,
      strays: this.strays.kept,
      splits: this.strays.keptSplits,
      directions: Object.fromEntries(directions),
    };
  }

  /** Someone has accepted the breaks of a migration's chains that happened before now. */
  acceptBreaks(migration: string): void {
    const now = this.now();
    const wall = this.clock.wallNow();
    for (const link of this.links.values()) {
      if (link.migration !== migration || !this.chains.clear(link.id, Infinity, wall)) continue;
      const reading = unknown('accepted just now; the chain is looked at again', now);
      this.set(migration, new Map([[`${link.config.name}.continuity`, reading]]), now);
    }
  }

  /** What broke the chain of a link first since an instant of wall clock, and was not accepted; null when nothing did. */
  brokenSince(link: LinkId, wall: number): string | null {
    return this.chains.brokenSince(link, wall);
  }

  /** When the chain of a link was looked at last, also `inVain`; see `Chains.lookedAt`. */
  chainLookedAt(link: LinkId, inVain: boolean): Us {
    return this.chains.lookedAt(link, inVain);
  }

  /** Someone has reconciled the stray writes of a migration that happened before now. */
  reconcileStrays(migration: string): void {
    const m = this.migrations.get(migration);
    if (m === undefined) return;
    this.strays.clear(migration, Infinity, this.clock.wallNow());
    this.showLocal(m, this.now());
  }

  /** A switch begins: writes on the passive side are not counted as stray until `switchEnded`, whatever is known of the direction now. */
  switchBegan(migration: string, passive: SideName): void {
    if (this.migrations.has(migration)) this.strays.hold(migration, passive);
  }

  /** The switch has ended; unless it was carried through, what was written on the passive side meanwhile is stray. */
  switchEnded(migration: string, carriedThrough: boolean): void {
    const m = this.migrations.get(migration);
    if (m === undefined) return;
    this.tellStrays(m, this.strays.release(migration, carriedThrough, this.clock.wallNow()));
    this.showLocal(m, this.now());
  }

  /**
   * This daemon is about to change the direction row on `database`, whose reader sees that change as anybody's: that one
   * makes nothing unknown, because what the row says afterwards is told at once.
   */
  expectTouch(database: string): void {
    this.ownTouches.push({ database, until: this.now() + OWN_TOUCH_US });
  }

  /** It was not changed after all: the next change is somebody else's. */
  dropTouch(database: string): void {
    this.ownTouches = this.ownTouches.filter((t) => t.database !== database);
  }

  /** It is not known whether the row was changed: a change that was seen, or is still to be seen, is anybody's. */
  doubtTouch(database: string): void {
    this.dropTouch(database);
    this.touchDirection({ kind: 'direction-touched', database, at: this.now() }, this.now());
  }

  /**
   * What was seen of a side just before it became the passive one, and lies beyond where it stood then: writes, and
   * stretches in which nobody saw anything.
   */
  countStrays(migration: string, side: SideName, writes: readonly LocalWrite[], gap: Gap | null): void {
    const m = this.migrations.get(migration);
    if (m === undefined || isDual(m)) return;
    this.tellStrays(m, this.strays.missed(migration, side, writes, gap, this.clock.wallNow()));
    this.showLocal(m, this.now());
  }

  /** The last direction that was known, whatever is known now; null when there was none. */
  lastDirection(migration: string): KnownDirection | null {
    return this.migrations.get(migration)?.lastKnown ?? null;
  }

  /** Whether the local writes of the database matter whatever its role: the other side has some, and it may have, too. */
  suspectsSplit(database: string): boolean {
    return this.sidesOn(database).some(
      ({ m, side }) =>
        m.direction.direction !== 'unknown' &&
        passiveSide(m.direction) !== side &&
        this.strays.suspectsSplit(m.config.name, m.direction),
    );
  }

  /**
   * A complete verification that was begun at `begunAt` (wall clock) found both sides equal: what is latched of breaks and
   * stray writes of before is cleared. Answers whether there was anything to clear.
   */
  verified(migration: string, begunAt: number): boolean {
    const m = this.migrations.get(migration);
    if (m === undefined) return false;
    const now = this.now();
    const wall = this.clock.wallNow();
    const links = [...this.links.values()].filter((link) => link.migration === migration);
    const latched = (): string | null => {
      const [breaks, strays] = [links.map((link) => this.chains.breaks(link.id)), this.strays.latched(migration)];
      return strays === null && breaks.every((all) => all.length === 0) ? null : JSON.stringify([breaks, strays]);
    };
    const before = latched();
    if (before === null) return false;
    this.strays.clear(migration, begunAt, wall);
    for (const link of links) this.chains.clear(link.id, begunAt, wall);
    if (latched() === before) return false;
    for (const link of links) {
      const key = `${link.config.name}.continuity`;
      if (this.chains.breaks(link.id).length > 0 || this.board.reading(this.key(migration, key)).value !== 0) continue;
      this.set(migration, new Map([[key, unknown('verified just now; the chain is looked at again', now)]]), now);
    }
    this.showLocal(m, now);
    return true;
  }

  /** What broke the chain of the active link last, and is not cleared; null when nothing did or the direction is unknown. */
  lastBreak(migration: string): string | null {
    const direction = this.lastDirection(migration)?.direction;
    if (direction === undefined) return null;
    return this.chains.lastBreak(linkId(migration, direction));
  }

  /** Sets readings that hold for the present direction only, and so only for as long as both sides tell it. */
  setDirected(migration: string, readings: ReadonlyMap<string, Reading>): void {
    const m = this.migrations.get(migration);
    const now = this.now();
    // Ages do not go stale, and are told anew each second.
    const within = (reading: Reading): Reading =>
      m === undefined || reading.freshUs === Infinity ? reading : withinDirection(m, reading);
    this.set(migration, new Map([...readings].map(([name, reading]) => [name, within(reading)])), now);
  }

  /** How far the active link of a migration has come, for whoever must wait until something has arrived. */
  gauge(migration: string): { lag(): { seconds: number | null; reason: string | null }; passedAt(): Us } {
    return {
      lag: () => {
        const now = this.now();
        const reading = this.resolve(migration, 'active.lag');
        if (stateAt(reading, now) === 'ok') return { seconds: valueAt(reading, now), reason: null };
        return { seconds: null, reason: reading.reason ?? 'it was not observed lately' };
      },
      passedAt: () => {
        this.now();
        const { direction } = this.direction(migration);
        if (direction === 'unknown') return -Infinity;
        return this.links.get(linkId(migration, direction))?.tracker.passedAt() ?? -Infinity;
      },
    };
  }

  /** What is latched of a side's stray writes. */
  strayWrites(migration: string, side: SideName): StrayMemory {
    return this.strays.shown(migration, side);
  }

  /** Whether a database carries no production writes now in any migration; null while that is not known. */
  isPassive(database: string): boolean | null {
    const sides = [...this.migrations.values()].flatMap((m) =>
      (['source', 'target'] as const)
        .filter((side) => m.config[side] === database)
        .map((side) => (m.direction.direction === 'unknown' ? null : passiveSide(m.direction) === side)),
    );
    if (sides.includes(false)) return false;
    return sides.length === 0 || sides.includes(null) ? null : true;
  }

  /** Where evidence about a database's local writes can begin, by what its reader said last, also before a restart. */
  localMark(database: string): string | null {
    const [first] = this.sidesOn(database);
    return first === undefined ? null : this.strays.shown(first.m.config.name, first.side).mark;
  }

  /** Makes known what changed by the mere passing of time; called a few times a second. */
  tick(): void {
    const now = this.now(true);
    if (now - this.shownAt >= US_PER_S) {
      // Rates decline and ages grow although nothing is observed.
      this.shownAt = now;
      for (const m of this.migrations.values()) this.showLocal(m, now);
    }
    this.table.tick(now);
    this.evaluatedAt = now;
  }

  /** The verdict of a gate, computed now; undefined when there is no such gate. */
  verdict(gate: string): Verdict | undefined {
    return isRuleGate(gate) ? undefined : this.ruleVerdict(gate);
  }

  /** The same, of a gate behind the rule of an alert too. */
  ruleVerdict(gate: string): Verdict | undefined {
    return this.table.verdict(gate, this.now());
  }

  /** The reading of a signal as it may be used now, aliases resolved. */
  reading(migration: string, signal: string): Reading {
    this.now();
    return this.resolve(migration, signal);
  }

  /** What is known of a migration's direction at present. */
  direction(migration: string): Direction {
    const m = this.migrations.get(migration);
    if (m === undefined) return { direction: 'unknown', reason: 'no such migration' };
    const age = this.now() - Math.min(m.answers.source.at, m.answers.target.at);
    if (m.direction.direction !== 'unknown' && age > SIDE_FRESH_US) {
      return { direction: 'unknown', reason: 'the direction was not read from both sides lately' };
    }
    return m.direction;
  }

  /** When gates were last evaluated. */
  get lastEvaluation(): Us {
    return this.evaluatedAt;
  }

  /** Holds that are worth keeping across a restart. */
  longHolds(): LongHold[] {
    return this.table.longHolds();
  }

  /** Takes up holds from before a restart. */
  restoreHolds(holds: readonly LongHold[]): void {
    this.table.restoreHolds(holds);
  }

  private rememberedDirection(migration: string): KnownDirection | null {
    const found = this.kept.directions?.[migration];
    if (found?.basis !== digest(basisOf(this.config, migration))) return null;
    return { direction: found.direction, epoch: found.epoch, changedAt: found.changedAt };
  }

  /** Takes up a configuration, and answers its gates. */
  private install(config: Config, old: Config | null, now: Us): GateTable {
    const before = this.links;
    this.links = new Map();
    const migrations = new Map<string, MigrationState>();
    for (const m of config.migrations.values()) {
      const none = { answer: { unknown: 'not read yet' }, at: now };
      const kept = this.migrations.get(m.name);
      const same = kept !== undefined && old !== null && basisOf(old, m.name) === basisOf(config, m.name);
      if (!same) this.forget(m.name, now);
      else this.forgetAnswers(m.name, old, config, now);
      migrations.set(m.name, {
        config: m,
        direction: same ? kept.direction : { direction: 'unknown', reason: 'not read from both sides yet' },
        lastKnown: same ? kept.lastKnown : old === null ? this.rememberedDirection(m.name) : null,
        answers: same ? kept.answers : { source: none, target: none },
      });
      for (const link of Object.values(m.links)) {
        const id = linkId(m.name, link.name);
        const known = same ? before.get(id) : undefined;
        this.links.set(id, known ?? newLink(id, m.name, link));
      }
    }
    this.migrations = migrations;
    this.bySessions = appliedBySessions(config);
    const around = {
      reading: (migration: string, signal: string): Reading => this.board.reading(this.key(migration, signal)),
      record: (transition: Transition): boolean => {
        if (!isRuleGate(transition.gate)) return this.output.record(transition);
        this.output.rule?.(transition);
        return true;
      },
    };
    const table = new GateTable(config, around, now);
    this.keys.clear();
    for (const m of migrations.values()) {
      const vias = viasOf(m.config);
      for (const signal of signalNames(contextOf(m.config))) {
        const why = isAlias(signal) ? null : whyNotMeasured(signal, vias);
        if (why !== null) this.board.set(`${m.config.name}.${signal}`, unknown(why, now), now);
      }
      for (const side of ['source', 'target'] as const) {
        if (this.bySessions.has(m.config[side])) this.strays.unwatched(m.config.name, side, APPLIED_BY_SESSIONS);
      }
      // Not looked at yet: gates that outlive a reload have not taken over their past.
      for (const signal of table.aliasesOf(m.config.name) ?? [])
        this.board.set(`${m.config.name}.${signal}`, this.resolve(m.config.name, signal), now);
    }
    return table;
  }

  /** Drops what was observed of a migration whose links or databases are no longer what they were. */
  private forget(migration: string, now: Us): void {
    this.parts.forget(migration);
    for (const key of this.board.keys()) {
      const [name = '', head = ''] = key.split('.');
      if (name !== migration || head === 'attest') continue;
      this.board.set(key, unknown(CHANGED, now), now);
    }
  }

  /** Drops the answers to questions that are asked otherwise now, or of somebody else. */
  private forgetAnswers(migration: string, old: Config, config: Config, now: Us): void {
    for (const key of this.board.keys()) {
      if (!key.startsWith(`${migration}.`)) continue;
      const signal = key.slice(migration.length + 1);
      if (questionOf(old, migration, signal) === questionOf(config, migration, signal)) continue;
      this.board.set(key, unknown(CHANGED, now), now);
    }
  }

  private observeSide(o: SideReading, now: Us): void {
    const reading = readingOf(o, Math.max(SIDE_FRESH_US, o.freshUs ?? 0));
    for (const { config: m } of this.migrations.values()) {
      const readings = new Map<string, Reading>();
      if (m.source === o.database) readings.set(`source.${o.signal}`, reading);
      if (m.target === o.database) readings.set(`target.${o.signal}`, reading);
      if (readings.size > 0) this.set(m.name, readings, now);
    }
  }

  private observeDirection(o: DirectionRows, now: Us): void {
    for (const m of this.migrations.values()) {
      const sides = (['source', 'target'] as const).filter((side) => m.config[side] === o.database);
      for (const side of sides) {
        const askedAt = askedAtOf(o) ?? o.at;
        // What was asked for before a change was seen says nothing about it.
        if (askedAt < m.answers[side].at) continue;
        m.answers[side] = { answer: directionAnswer(o, m.config.name), at: askedAt };
      }
      if (sides.length > 0) this.judgeDirection(m, now);
    }
  }

  private observeLink(o: LinkReading, now: Us): void {
    const link = this.links.get(o.link);
    if (link === undefined) return;
    const seen = readingOf(o, Math.max(link.config.freshnessUs, o.freshUs ?? 0));
    const reading = o.part === undefined ? seen : this.parts.sum(`${o.link}.${o.signal}`, o.part, seen, now);
    this.set(link.migration, new Map([[`${link.config.name}.${o.signal}`, reading]]), now);
  }

  private observeTables(o: SourceTablesSeen | TaskTablesSeen, now: Us): void {
    const link = this.links.get(o.link);
    if (link === undefined) return;
    const coverage = (link.coverage ??= new DmsCoverage());
    const name = `${link.config.name}.tables_uncovered`;
    this.set(link.migration, new Map([[name, coverage.observe(o, now)]]), now);
  }

  private observeDms(o: DmsReading, now: Us): void {
    const link = this.links.get(o.link);
    if (link === undefined) return;
    this.set(link.migration, new Map([[`${link.config.name}.${o.signal}`, readingOf(o, o.freshUs)]]), now);
  }

  private observeChain(o: ChainSeen | ChainFault | ChainBroken, now: Us): void {
    const link = this.links.get(o.link);
    if (link === undefined) return;
    if (o.kind === 'chain-broken' && o.heartbeatsSince !== null && link.disagreedAt >= o.heartbeatsSince) return;
    let reading: Reading;
    if (o.kind === 'chain-fault') {
      reading = this.chains.unseen(o.link, o.reason, o.at);
    } else {
      const wall = this.clock.wallNow();
      const seen =
        o.kind === 'chain-broken'
          ? this.chains.broke(o.link, o.what, o.at, wall)
          : this.chains.see(o.link, o.facts, o.askedAt ?? o.at, o.freshUs, wall);
      reading = seen.reading;
      for (const news of seen.news) this.output.broke?.(o.link, news);
      if ('toKeep' in seen && seen.toKeep) this.output.remember?.();
    }
    this.set(link.migration, new Map([[`${link.config.name}.continuity`, reading]]), now);
  }

  private observeLocal(o: LocalWatch | LocalWrites, now: Us): void {
    const wall = this.clock.wallNow() - (now - o.at) / US_PER_MS;
    const counts = !this.bySessions.has(o.database);
    for (const { m, side } of this.sidesOn(o.database)) {
      if (!counts) {
        this.showLocal(m, now);
        continue;
      }
      this.tellStrays(m, this.strays.observe(m.config.name, side, o, wall));
      // Its instant is that of the question, and when that was nobody knows.
      if (o.kind === 'local-watch' && o.at < this.jumpedAt) this.strays.doubt(now);
      this.showLocal(m, now);
    }
  }

  /** The direction is unknown until it has been read again: what is written after the change belongs to the new one. */
  private touchDirection(o: DirectionTouched, now: Us): void {
    this.ownTouches = this.ownTouches.filter(({ until }) => until > now);
    const own = this.ownTouches.findIndex(({ database }) => database === o.database);
    if (own >= 0) {
      this.ownTouches.splice(own, 1);
      return;
    }
    for (const { m, side } of this.sidesOn(o.database)) {
      this.tellStrays(m, this.strays.directionTouched(m.config.name, side, this.clock.wallNow()));
      m.answers[side] = { answer: { unknown: 'it was changed just now, and is read again' }, at: o.at };
      this.judgeDirection(m, now);
    }
  }

  private sidesOn(database: string): { m: MigrationState; side: SideName }[] {
    return [...this.migrations.values()].flatMap((m) =>
      (['source', 'target'] as const).filter((side) => m.config[side] === database).map((side) => ({ m, side })),
    );
  }

  private tellStrays(m: MigrationState, strays: readonly FirstStray[]): void {
    for (const { side, latched } of strays) this.output.stray?.(m.config.name, side, latched);
  }

  private showLocal(m: MigrationState, now: Us): void {
    const readings = new Map<string, Reading>();
    for (const side of ['source', 'target'] as const) {
      const { writes, age } = this.strays.local(m.config.name, side, now);
      readings.set(`${side}.local_writes`, writes).set(`${side}.last_local_write_age`, age);
    }
    const direction = this.direction(m.config.name);
    const split = this.strays.splitBrain(m.config.name, direction, now, this.clock.wallNow());
    if (!isDual(m)) {
      readings.set('standby.stray_writes', this.strays.reading(m.config.name, direction, now));
      readings.set('split_brain', split.reading);
    }
    this.set(m.config.name, readings, now);
    if (split.latched) this.output.splitBrain?.(m.config.name, split.reading.reason ?? '');
  }

  private observeLag(o: LagObservation, now: Us): void {
    const link = this.links.get(o.link);
    if (link === undefined) return;
    const delay = link.tracker.observe(o);
    if (delay !== null) this.output.delay(link.id, delay);
    const readings = new Map<string, Reading>();
    const lag = link.tracker.readings(now);
    if (lag.agreement.value === 0) link.disagreedAt = now;
    if (o.kind === 'applied' || o.kind === 'applied-fault' || o.kind === 'position-sampled') link.drain.observe(o);
    const drain = link.drain.readings(now, lag.lag_by_position);
    for (const [name, reading] of Object.entries({ ...lag, ...drain })) {
      readings.set(`${link.config.name}.${name}`, reading);
    }
    this.set(link.migration, readings, now);
  }

  /** Replaces readings: gates first make final what the old ones said up to now, then look at what the new ones say. */
  private set(migration: string, readings: ReadonlyMap<string, Reading>, now: Us): void {
    const m = this.migrations.get(migration);
    const all =
      m === undefined ? readings : new Map([...readings, ...aliased(m, this.table.aliasesOf(migration), readings)]);
    const groups = this.table.advanceUsers(migration, all.keys(), now);
    for (const [signal, reading] of all) this.board.set(this.key(migration, signal), reading, now);
    for (const group of groups) group.look(now);
  }

  /** The board's name of a signal; kept, because a text that is made anew must be hashed anew at every look. */
  private key(migration: string, signal: string): string {
    let keys = this.keys.get(migration);
    if (keys === undefined) {
      keys = new Map<string, string>();
      this.keys.set(migration, keys);
    }
    let key = keys.get(signal);
    if (key === undefined) keys.set(signal, (key = `${migration}.${signal}`));
    return key;
  }

  private setAliases(m: MigrationState, now: Us): void {
    const used = this.table.aliasesOf(m.config.name);
    if (used === undefined) return;
    this.set(m.config.name, new Map([...used].map((signal) => [signal, this.resolve(m.config.name, signal)])), now);
  }

  private resolve(migration: string, signal: string): Reading {
    const m = this.migrations.get(migration);
    const read = (name: string): Reading => this.board.reading(`${migration}.${name}`);
    if (m === undefined || !isAlias(signal)) return read(signal);
    return aliasReading(m, signal, read, this.clock.monotonicNow());
  }

  private judgeDirection(m: MigrationState, now: Us): void {
    const before = m.direction;
    const after = notBefore(m.lastKnown, resolveDirection(m.answers.source.answer, m.answers.target.answer));
    m.direction = after;
    const changed = before.direction !== after.direction;
    const last = m.lastKnown;
    if (after.direction !== 'unknown') m.lastKnown = after;
    // It may have been unknown in between, and a new epoch under the old name means that it was another one meanwhile.
    const turned =
      last !== null &&
      m.lastKnown !== null &&
      `${last.direction} ${last.epoch}` !== `${m.lastKnown.direction} ${m.lastKnown.epoch}`;
    if (turned) {
      this.table.restart(
        (c) => c.kind === 'signal' && c.migration === m.config.name && /^(active|standby|dms|verify)\./.test(c.signal),
        now,
      );
      // What was compared is the other way round now.
      const behind = unknown('the direction has changed; the sequences are compared again', now);
      const compared = unknown('the direction has changed; the data is compared anew', now);
      const verify = m.config.verify === undefined ? [] : VERIFY_SIGNALS.map((name) => [name, compared] as const);
      this.set(m.config.name, new Map([['sequences.behind', behind], ...verify]), now);
    }
    this.tellStrays(m, this.strays.turn(m.config.name, after, this.clock.wallNow(), isDual(m)));
    this.set(m.config.name, new Map([['direction.reverse', reversed(m, now)]]), now);
    // What was known of the side that was passive until now says nothing of the other one.
    if (changed || turned) this.showLocal(m, now);
    this.setAliases(m, now);
    if (changed) this.output.direction(m.config.name, after, before);
  }

  /**
   * The present instant, after holding the clocks against each other. Uptime costs a read of a kernel file, so between
   * ticks it is only compared when the wall clock is already off: a suspend shows there as well.
   */
  private now(full = false): Us {
    const monotonic = this.clock.monotonicNow();
    const apart = (this.clock.wallNow() - this.lastLook.wall) * 1000 - (monotonic - this.lastLook.monotonic);
    if (full || Math.abs(apart) > LARGEST_DIVERGENCE_US) {
      const look = lookAt(this.clock);
      const { jump, monotonicUs, wallUs, uptimeUs } = compareLooks(this.lastLook, look);
      this.lastLook = look;
      if (jump !== null) this.jump(jump, Math.max(wallUs, uptimeUs) - monotonicUs, monotonic);
    }
    return monotonic;
  }

  private jump(what: string, lostUs: Us, now: Us): void {
    this.jumpedAt = now;
    for (const link of this.links.values()) {
      link.tracker.reset();
      link.drain.reset();
      delete link.coverage;
    }
    this.strays.doubt(now);
    this.parts.forget();
    for (const m of this.migrations.values()) {
      for (const side of ['source', 'target'] as const) m.answers[side] = { ...m.answers[side], at: -Infinity };
    }
    // At least an instant was not observed, even if the next observation comes at this very one.
    this.table.gap(Math.max(1, lostUs), now);
    for (const key of this.board.keys()) {
      if (this.board.reading(key).freshUs === Infinity) continue;
      this.board.set(key, unknown(`${what}; nothing observed before counts`, now), now);
    }
    this.table.look(now);
    this.output.jumped(what);
  }
}
