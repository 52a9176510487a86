/**
 * Alerts while the daemon lives: what the gates behind the rules say becomes incidents, incidents become events for those
 * who are told. Incidents and events that wait are kept in one piece, so that a restart finds them as they belong together.
 *
 * A rule fires by its gates (`core/alert-gates.ts`), by the newest fence, or once and for good by a change of direction that
 * was forced. While a maintenance window is open nobody is told of what fires; what still does when it ends is told then.
 */
import type { Log } from '../collectors/collector.js';
import { changeEvent, incidentEvent, keyOf, type Told } from './alert-events.js';
import { evidenceOf, fenceEvidence, fenceTruth, pendingFrom, valueText, whenText } from './alert-evidence.js';
import { AlertMemories, type AlertMemory, type Evidence } from './alert-memory.js';
import { FORCED_REVIEWED, FORCED_RULE, judgedRules, resolveAfter, watchesOf, type JudgedRule } from './alert-rules.js';
import { advanceAlert, type Alert, type AlertChange, type Moment } from './core/alert.js';
import type { AlertEvent, AlertSink, Deliveries, QueueKeeper, QueueMemory } from './core/alert-event.js';
import type { RuleGates } from './core/alert-gates.js';
import { US_PER_MS, wallIso, type Clock, type Us } from './core/clock.js';
import type { Config, MaintenanceWindow } from './core/config.js';
import type { Direction } from './core/direction.js';
import type { Transition } from './core/gate.js';
import { EMPTY_HOLD, foldHold, type Hold } from './core/hold.js';
import { formatDurationUs } from './core/units.js';
import type { Engine } from './engine.js';
import type { AlertJson, AlertsJson, DirectionChangeJson, FenceJson } from './http/port.js';
import type { Store } from './store/store.js';

/** What alerting is made of. */
export interface AlertingParts {
  config: () => Config;
  clock: Clock;
  log: Log;
  engine: Engine;
  store: Store;
  /** The newest fence of a migration, as it can be judged without asking anybody. */
  fence: (migration: string) => FenceJson | null;
  /** Writes to the journal what has happened anyway. */
  note: (migration: string | null, data: Record<string, unknown>) => void;
  sinks: (config: Config) => readonly AlertSink[];
  deliveries: (keeper: QueueKeeper, kept: QueueMemory) => Deliveries;
}

/** A rule, what judges it, and what has become of it. */
interface Watched {
  rule: JudgedRule;
  gates: RuleGates;
  alert: Alert;
  /** What it went by when its gate last opened. */
  seen: Evidence | null;
  /** Openings of its gates that were not taken up yet. */
  moments: Moment[];
  /** How long a fence's rule is known to be false. */
  over: { hold: Hold; until: Us };
}

/** Judges rules, keeps incidents, tells. */
export class Alerting {
  private readonly memories: AlertMemories;
  private readonly deliveries: Deliveries;
  private watched = new Map<string, Watched>();
  private byGate = new Map<string, Watched>();

  constructor(private readonly parts: AlertingParts) {
    const { store, log, config } = parts;
    this.memories = new AlertMemories(store, log);
    this.deliveries = parts.deliveries(
      {
        keep: () => this.keep(),
        // Told before the window began, and not taken until now.
        holds: ({ kind, migration }) => kind === 'trigger' && migration !== null && this.silence(migration) !== null,
        gaveUp: (sink, event, reason) => this.gaveUp(sink, event, reason),
      },
      this.memories.queues,
    );
    this.install(config());
  }

  /** Takes up a changed configuration: a rule that is still there goes on, what fires of one that has gone is ended. */
  reload(): void {
    this.settle();
    this.install(this.parts.config());
    this.tick();
  }

  /** A gate behind a rule has changed. */
  told({ gate, to, at, verdict }: Transition): void {
    const watched = this.byGate.get(gate);
    if (to !== 'open' || watched === undefined) return;
    if (gate === watched.gates.fires) {
      watched.moments.push({ at, is: 'fires' });
      const [c] = verdict.conditions;
      const tells = watched.rule.test.kind === 'condition' && c !== undefined;
      watched.seen = tells ? { value: c.value, unit: c.unit, reason: c.reason } : null;
    } else if (watched.gates.over.includes(gate)) watched.moments.push({ at, is: 'over' });
  }

  /** A migration's direction is another one, or is known again. */
  turned(migration: string, after: Direction): void {
    if (after.direction === 'unknown' || !this.isOn(migration)) return;
    const before = this.memories.direction(migration);
    if (before?.direction === after.direction && before.epoch === after.epoch) return;
    this.memories.setDirection(migration, { direction: after.direction, epoch: after.epoch });
    // At the first sight of a migration nothing has changed.
    if (before !== null) {
      const what = `direction ${before.direction} -> ${after.direction}`;
      this.change(migration, what, { from: before.direction, to: after.direction, epoch: after.epoch });
    }
    this.flush();
  }

  /** A change of direction was declared here. */
  declared({ migration, action, forced, changed_by: by, reason, epoch }: DirectionChangeJson): void {
    const watched = this.watched.get(keyOf(migration, FORCED_RULE));
    if (watched?.rule.test.kind !== 'forced') return;
    const at = this.parts.clock.monotonicNow();
    if (forced) {
      const why = `${action} by ${by} without a drained fence, to epoch ${epoch}: ${reason}`;
      this.fired(watched, at, { value: null, unit: null, reason: why });
    } else if (watched.alert.state === 'firing') {
      this.resolved(watched, at, `the direction was changed again, on a drained fence: ${action} by ${by}`);
    }
    this.flush();
  }

  /** Somebody has attested something. */
  attested({ migration, name, by }: { migration: string; name: string; by: string }): void {
    const watched = this.watched.get(keyOf(migration, FORCED_RULE));
    if (name !== FORCED_REVIEWED || watched?.rule.test.kind !== 'forced' || watched.alert.state !== 'firing') return;
    this.resolved(watched, this.parts.clock.monotonicNow(), `attested by ${by}`);
    this.flush();
  }

  /** A fence's state has changed. */
  fence(fence: FenceJson): void {
    const { id, migration, state } = fence;
    if ((state !== 'drained' && state !== 'violated') || !this.isOn(migration)) return;
    if (!this.memories.newFence(migration, `${id} ${state}`)) return;
    const told =
      state === 'drained' ? `in ${fence.drain_seconds ?? '?'} s` : `${fence.violations.count} writes after it`;
    this.change(migration, `fence ${id} ${state}: ${told}`, { fence: id, state, position: fence.source_position });
    this.flush();
  }

  /** Takes up what has happened and what time alone has changed; called a few times a second. */
  tick(): void {
    this.settle();
    for (const w of this.watched.values()) this.judgeFence(w);
    for (const w of this.watched.values()) this.tell(w);
    this.flush();
  }

  /** Every rule, or those of one migration, as they stand, and every sink. */
  json(migration?: string): AlertsJson {
    this.settle();
    const asked = [...this.watched.values()].filter((w) => migration === undefined || w.rule.migration === migration);
    return {
      alerts: asked.map((w) => this.alertJson(w)),
      sinks: this.deliveries.status.map((s) => ({
        ...{ name: s.name, waiting: s.waiting, delivered: s.delivered, retried: s.retried },
        ...{ refused: s.refused, dropped: s.dropped, last_error: s.lastError },
        last_delivered_at: s.lastDeliveredAt === null ? null : new Date(s.lastDeliveredAt).toISOString(),
      })),
    };
  }

  /** What fires of a migration. */
  firing(migration: string): AlertJson[] {
    this.settle();
    const firing = [...this.watched.values()].filter(
      (w) => w.rule.migration === migration && w.alert.state === 'firing',
    );
    return firing.map((w) => this.alertJson(w));
  }

  /** Ends all sending; what fires and what waits is found again after a restart. */
  async stop(): Promise<void> {
    this.settle();
    await this.deliveries.stop();
    this.keep();
  }

  private alertJson(w: Watched): AlertJson {
    const { clock, engine } = this.parts;
    const { rule, gates } = w;
    const now = { monotonic: clock.monotonicNow(), wall: clock.wallNow() };
    if (w.alert.state !== 'firing') {
      w.alert = advanceAlert(w.alert, [], pendingFrom(gates, engine), now.monotonic).alert;
    }
    const memory = w.alert.state === 'firing' ? this.memories.get(keyOf(rule.migration, rule.name)) : undefined;
    const silence = this.silence(rule.migration);
    return {
      ...{ migration: rule.migration, rule: rule.name, severity: rule.severity, state: w.alert.state },
      since: memory === undefined ? wallIso(w.alert.since, now) : new Date(memory.firedAt).toISOString(),
      ...(memory?.evidence ?? this.evidence(w)),
      ...{ when: whenText(rule), summary: rule.summary, remedy: rule.remedy, built_in: rule.builtIn },
      silenced_until: silence === null ? null : new Date(silence.to).toISOString(),
    };
  }

  private isOn(migration: string): boolean {
    const config = this.parts.config();
    return (config.alerts ?? null) !== null && config.migrations.has(migration);
  }

  private install(config: Config): void {
    const now = this.parts.clock.monotonicNow();
    const before = this.watched;
    this.watched = new Map();
    this.byGate = new Map();
    for (const rule of judgedRules(config)) {
      const key = keyOf(rule.migration, rule.name);
      const kept = this.memories.get(key);
      const alert: Alert =
        kept === undefined
          ? { state: 'inactive', since: now }
          : { state: 'firing', since: Math.round(now - (this.parts.clock.wallNow() - kept.firedAt) * US_PER_MS) };
      const fresh = { alert, seen: null, moments: [], over: { hold: EMPTY_HOLD, until: now } };
      const watched = { ...(before.get(key) ?? fresh), rule, gates: watchesOf(config, rule) };
      this.watched.set(key, watched);
      for (const { id } of watched.gates.gates) this.byGate.set(id, watched);
    }
    this.deliveries.use(this.parts.sinks(config));
    const { sinks } = this.deliveries;
    for (const [key, memory] of this.memories.all()) {
      // One that comes back later must be told anew.
      this.memories.set(key, { ...memory, told: memory.told.filter((sink) => sinks.includes(sink)) });
      if (!this.watched.has(key)) this.end(key, memory, 'the rule was removed from the configuration');
    }
    this.memories.only(new Set(config.alerts ? config.migrations.keys() : []));
    this.flush();
  }

  private settle(): void {
    const now = this.parts.clock.monotonicNow();
    for (const w of this.watched.values()) {
      if (w.moments.length === 0) continue;
      const { moments } = w;
      w.moments = [];
      for (const change of advanceAlert(w.alert, moments, null, now).changes) this.take(w, change);
    }
  }

  private evidence({ rule, gates }: Watched): Evidence {
    const { engine, fence, clock } = this.parts;
    return evidenceOf(rule, gates, engine, fence(rule.migration), clock.monotonicNow());
  }

  private take(w: Watched, { to, at }: AlertChange): void {
    if (to === 'firing') this.fired(w, at, w.seen ?? this.evidence(w));
    else this.resolved(w, at, `known to be false for ${formatDurationUs(resolveAfter(this.parts.config()))}`);
  }

  private fired(w: Watched, at: Us, evidence: Evidence): void {
    if (w.alert.state === 'firing' && w.rule.test.kind !== 'forced') return;
    const key = keyOf(w.rule.migration, w.rule.name);
    w.alert = { state: 'firing', since: at };
    this.memories.set(key, {
      ...{ migration: w.rule.migration, rule: w.rule.name, severity: w.rule.severity },
      ...{ firedAt: this.wall(at), evidence, told: [], silenced: false },
    });
    this.journal('fired', w.rule, { ...evidence, when: whenText(w.rule) });
    this.parts.log.warn({ migration: w.rule.migration, rule: w.rule.name }, `alert ${key} fires: ${w.rule.summary}`);
    this.tell(w);
  }

  private resolved(w: Watched, at: Us, why: string): void {
    const key = keyOf(w.rule.migration, w.rule.name);
    w.alert = { state: 'resolved', since: at };
    const memory = this.memories.get(key);
    if (memory !== undefined) this.end(key, memory, why);
  }

  /** Ends an incident and tells those who were told of it. */
  private end(key: string, memory: AlertMemory, why: string): void {
    const { migration, rule: name, severity } = memory;
    const rule = { migration, name, severity };
    this.memories.remove(key);
    const summary = `${name} is over: ${why}`;
    const firedAt = new Date(memory.firedAt).toISOString();
    const event = incidentEvent('resolve', rule, summary, { why, fired_at: firedAt }, this.now());
    for (const sink of memory.told) this.deliveries.add(sink, event);
    this.journal('resolved', rule, { reason: why, fired_at: firedAt });
    this.parts.log.info({ migration, rule: name }, `alert ${key} is resolved: ${why}`);
  }

  /** Tells those who do not know yet of what fires, unless a maintenance window is open. */
  private tell(w: Watched): void {
    if (w.alert.state !== 'firing') return;
    const { rule } = w;
    const key = keyOf(rule.migration, rule.name);
    const memory = this.memories.get(key);
    const untold = this.deliveries.sinks.filter((sink) => memory?.told.includes(sink) === false);
    if (memory === undefined || (untold.length === 0 && memory.told.length > 0)) return;
    const silence = this.silence(rule.migration);
    if (silence !== null) {
      if (memory.silenced) return;
      this.memories.set(key, { ...memory, silenced: true });
      this.journal('silenced', rule, { until: new Date(silence.to).toISOString(), note: silence.note });
      return;
    }
    if (untold.length === 0) return;
    const { evidence, firedAt } = memory;
    const because = evidence.reason === null ? '' : `: ${evidence.reason}`;
    const value = evidence.value === null ? '' : ` (${valueText(evidence)})`;
    const details = {
      ...{ when: whenText(rule), ...evidence, fired_at: new Date(firedAt).toISOString() },
      ...{ what_to_do: rule.remedy, config_hash: this.parts.config().hash },
    };
    const event = incidentEvent('trigger', rule, `${rule.summary}${value}${because}`, details, this.now());
    for (const sink of untold) this.deliveries.add(sink, event);
    this.memories.set(key, { ...memory, told: [...memory.told, ...untold] });
  }

  /** What the newest fence says of a rule about fences. */
  private judgeFence(w: Watched): void {
    const { rule, over } = w;
    if (rule.test.kind !== 'fence') return;
    const { clock, fence, config } = this.parts;
    const now = clock.monotonicNow();
    const newest = fence(rule.migration);
    const direction = (): Direction => this.parts.engine.direction(rule.migration);
    const truth = fenceTruth(rule.test.state, newest, direction, w.alert.state === 'firing');
    const { hold, states } = foldHold(
      over.hold,
      [{ from: over.until, to: now + 1, is: truth === 'true' ? 'false' : truth === 'false' ? 'true' : 'unknown' }],
      resolveAfter(config()),
      0,
    );
    w.over = { hold, until: now + 1 };
    if (truth === 'true' && newest !== null) {
      if (w.alert.state !== 'firing') this.fired(w, now, fenceEvidence(newest));
    } else if (w.alert.state === 'firing' && states.at(-1)?.is === 'held') {
      const instead = newest === null ? '' : `; the newest fence ${newest.id} is ${newest.state}`;
      this.resolved(w, now, `known to be over for ${formatDurationUs(resolveAfter(config()))}${instead}`);
    }
  }

  private silence(migration: string): MaintenanceWindow | null {
    const wall = this.parts.clock.wallNow();
    const windows = this.parts.config().migrations.get(migration)?.maintenance ?? [];
    const open = windows.filter((w) => w.from <= wall && wall < w.to);
    return open.reduce<MaintenanceWindow | null>((last, w) => (last === null || w.to > last.to ? w : last), null);
  }

  private change(migration: string, what: string, details: AlertEvent['details']): void {
    const event = changeEvent(migration, what, details, this.now());
    for (const sink of this.deliveries.sinks) this.deliveries.add(sink, event);
    this.memories.touch();
  }

  private now(): Told {
    return { at: this.parts.clock.wallNow(), daemon: this.parts.config().daemon.id };
  }

  private gaveUp(sink: string, event: AlertEvent, reason: string): void {
    const { migration, rule, kind, severity } = event;
    const data = { state: 'delivery-failed', rule, severity, sink, event: kind, reason };
    this.parts.note(migration, data);
    this.parts.log.error({ sink, migration, rule, event: kind }, `an alert was not delivered: ${reason}`);
  }

  private journal(
    state: 'fired' | 'resolved' | 'silenced',
    rule: Pick<JudgedRule, 'migration' | 'name' | 'severity'> & { summary?: string },
    data: Record<string, unknown>,
  ): void {
    const about = { state, rule: rule.name, severity: rule.severity, summary: rule.summary };
    this.parts.note(rule.migration, { ...about, ...data });
  }

  /** Writes what has changed, then sends. */
  private flush(): void {
    if (this.memories.changed) this.keep();
    this.deliveries.send();
  }

  private keep(): void {
    this.memories.save(this.deliveries.memory);
  }

  private wall(at: Us): number {
    const { clock } = this.parts;
    return clock.wallNow() - (clock.monotonicNow() - at) / US_PER_MS;
  }
}
