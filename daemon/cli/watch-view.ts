import type { GateState, MigrationJson } from '../http/port.js';
import type { Now } from '../live/connection.js';
import type { Model } from '../live/model.js';
import { presentGate, railOf, topGates } from '../live/rail.js';
import { gateShown, isLive, worstState, type GateShown } from '../live/shown.js';

/** One of the daemons that are watched. */
export interface Watched {
  url: string;
  model: Model;
}

/** What is watched, and what of it somebody has chosen to see. */
export interface View {
  daemons: readonly Watched[];
  /** Null: the first one. */
  migration: string | null;
  /** The id of a gate; null: the one that matters now. */
  gate: string | null;
}

/** A gate by the word of every daemon: the worst counts. */
export interface GateOfAll {
  state: GateState;
  /** By whom it is in that state, the first of them. */
  by: Watched;
  shown: GateShown;
}

/** A gate with its place: the phase is named at its first gate. */
export interface Row {
  gate: string;
  phase: string;
}

/** Migrations that any of the daemons knows, in the order of the first. */
export function migrationsOf({ daemons }: Pick<View, 'daemons'>): string[] {
  return [...new Set(daemons.flatMap(({ model }) => [...model.migrations.keys()]))];
}

/** The migration that is shown, as the first daemon that knows it (a live one before others) tells it. */
export function migrationOf(view: View, now: Now): { by: Watched; migration: MigrationJson } | null {
  const name = view.migration ?? migrationsOf(view)[0];
  if (name === undefined) return null;
  const know = view.daemons.flatMap((by) => {
    const migration = by.model.migrations.get(name);
    return migration === undefined ? [] : [{ by, migration }];
  });
  return know.find(({ by }) => isLive(by.model, now)) ?? know[0] ?? null;
}

/** A gate as all daemons see it; a daemon that is lost or does not know it makes it unknown. */
export function gateOfAll(view: View, gate: string, now: Now): GateOfAll | null {
  const all = view.daemons.map((by) => ({ by, shown: gateShown(by.model, gate, now) }));
  const state = worstState(all.map(({ shown }) => shown.state));
  const worst = all.find(({ shown }) => shown.state === state);
  return worst === undefined ? null : { state, ...worst };
}

/** The gates of a migration in the order of the runbook, then those across migrations. */
export function rowsOf(by: Watched, migration: MigrationJson): Row[] {
  const own = railOf(migration).flatMap(({ number, name, gates }) =>
    gates.map((gate, i) => ({
      gate: `${migration.name}/${gate}`,
      phase: i > 0 ? '' : number === null ? `  ${name}` : `${number} ${name}`,
    })),
  );
  const across = topGates(by.model).map((gate, i) => ({ gate, phase: i > 0 ? '' : '  across' }));
  return [...own, ...across];
}

/** The gate whose conditions are shown. */
export function selectedGate(view: View, now: Now): string | null {
  const found = migrationOf(view, now);
  if (found === null) return null;
  const { by, migration } = found;
  if (view.gate !== null && rowsOf(by, migration).some(({ gate }) => gate === view.gate)) return view.gate;
  const present = presentGate(by.model, migration, now);
  return present === null ? null : `${migration.name}/${present}`;
}
