/**
 * Every gate that is judged under one configuration, those behind rules of alerts included, in groups that depend on each
 * other; and which of them a signal concerns. A changed configuration makes a new table, which adopts the past of the old
 * one where a gate still asks the same of the same databases.
 */
import { rulesOf, watchesOf } from './alert-rules.js';
import type { Us } from './core/clock.js';
import type { Condition } from './core/condition.js';
import type { Config, GateConfig } from './core/config.js';
import { GateGroup, groupGates, type GateSurroundings, type Verdict } from './core/gate.js';
import type { LongHold } from './engine-output.js';
import { digest, footingOf } from './gate-footing.js';
import { isAlias } from './aliases.js';

/** Holds longer than this are kept across a restart. */
const LONG_HOLD_US: Us = 3_600_000_000;

/** The gates of one configuration. */
export class GateTable {
  private readonly gates: ReadonlyMap<string, GateConfig>;
  private readonly groups: readonly GateGroup[];
  private readonly groupOf: ReadonlyMap<string, GateGroup>;
  /** Groups by migration and signal that their conditions use. */
  private readonly users = new Map<string, Map<string, Set<GateGroup>>>();
  /** Signals of `active.` and `standby.` that some gate uses, by migration. */
  private readonly aliases = new Map<string, Set<string>>();

  constructor(
    private readonly config: Config,
    around: GateSurroundings,
    now: Us,
  ) {
    const gates = [
      ...config.gates.values(),
      ...[...config.migrations.values()].flatMap((m) => [...m.gates.values()]),
      ...rulesOf(config).flatMap((rule) => watchesOf(config, rule).gates),
    ];
    this.gates = new Map(gates.map((g) => [g.id, g]));
    this.groups = groupGates(gates).map((group) => new GateGroup(group, around, now));
    this.groupOf = new Map(this.groups.flatMap((g) => g.ids.map((id) => [id, g] as const)));
    for (const gate of gates) {
      const group = this.groupOf.get(gate.id);
      if (group === undefined) continue;
      for (const c of gate.require) if (c.kind !== 'gate') this.addUser(group, c.migration, c.signal);
    }
  }

  private addUser(group: GateGroup, migration: string, signal: string): void {
    const signals = this.users.get(migration) ?? new Map<string, Set<GateGroup>>();
    this.users.set(migration, signals.set(signal, (signals.get(signal) ?? new Set()).add(group)));
    if (isAlias(signal)) this.aliases.set(migration, (this.aliases.get(migration) ?? new Set()).add(signal));
  }

  /** Signals of `active.` and `standby.` that some gate of a migration uses. */
  aliasesOf(migration: string): ReadonlySet<string> | undefined {
    return this.aliases.get(migration);
  }

  /** Makes final what the gates that use one of these signals said up to now; answers them, to look anew at the new readings. */
  advanceUsers(migration: string, signals: Iterable<string>, now: Us): ReadonlySet<GateGroup> {
    const users = this.users.get(migration);
    const groups = new Set<GateGroup>();
    if (users === undefined) return groups;
    for (const signal of signals) for (const group of users.get(signal) ?? []) groups.add(group);
    for (const group of groups) group.advance(now);
    return groups;
  }

  /** Makes final what every gate said up to now. */
  advance(now: Us): void {
    for (const group of this.groups) group.advance(now);
  }

  /** Has every gate look at its readings. */
  look(now: Us): void {
    for (const group of this.groups) group.look(now);
  }

  /** Has every gate go on to the present, group by group, because some depend on others. */
  tick(now: Us): void {
    for (const group of this.groups) {
      group.advance(now);
      group.look(now);
    }
  }

  /** The holds of these conditions begin anew. */
  restart(concerns: (condition: Condition) => boolean, now: Us): void {
    for (const group of this.groups) {
      group.advance(now);
      group.restart(concerns);
    }
  }

  /** Nothing was observed for so long. */
  gap(lengthUs: Us, now: Us): void {
    for (const group of this.groups) {
      group.advance(now);
      group.gap(lengthUs);
    }
  }

  /** Takes over the past of the gates that ask the same of the same databases as before. */
  adopt(old: GateTable, now: Us): void {
    for (const group of this.groups) {
      for (const id of group.ids) {
        const before = old.groupOf.get(id);
        if (before !== undefined) group.adopt(before, (gate) => gate.id === id && old.footing(id) === this.footing(id));
      }
      group.look(now);
    }
  }

  /** The verdict of a gate, computed now; undefined when there is no such gate. */
  verdict(gate: string, now: Us): Verdict | undefined {
    const group = this.groupOf.get(gate);
    if (group === undefined) return undefined;
    group.advance(now);
    group.look(now);
    return group.verdict(gate, now);
  }

  /** Holds that are worth keeping across a restart. */
  longHolds(): LongHold[] {
    return this.groups.flatMap((g) =>
      g.longHolds(LONG_HOLD_US).map((h) => ({ ...h, condition: `${h.condition} | ${digest(this.footing(h.gate))}` })),
    );
  }

  /** Takes up holds from before a restart. */
  restoreHolds(holds: readonly LongHold[]): void {
    for (const h of holds) {
      const end = ` | ${digest(this.footing(h.gate))}`;
      // A hold of a gate that asks something else now, or asks it of other databases, is none.
      if (!h.condition.endsWith(end)) continue;
      const condition = h.condition.slice(0, -end.length);
      this.groupOf.get(h.gate)?.restoreHold(h.gate, condition, h.trueFrom, h.observedUntil);
    }
  }

  private footing(gate: string): string {
    return footingOf(this.config, this.gates, gate);
  }
}
