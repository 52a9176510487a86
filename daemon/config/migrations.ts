import type { ConditionContext } from '../core/condition.js';
import type { DatabaseConfig, LinkConfig, MigrationConfig, VerifyConfig } from '../core/config.js';
import type { LinkName, SignalContext } from '../core/signal.js';
import { didYouMean } from '../core/suggest.js';
import type { Unit } from '../core/units.js';
import { presetGate, resolveGate, type PlacedGate } from './gates.js';
import { resolveLink, subscriptionsOf } from './links.js';
import { isLoopback } from './network.js';
import type { PresetLink, PresetSide } from './preset-recipe.js';
import { SIGNAL_PART } from './services.js';
import { runbookPreset, type Preset } from './presets.js';
import type { RawConfig, RawGate, RawLink, RawMigration } from './schema.js';
import type { Scope } from './scope.js';

const LINKS: readonly LinkName[] = ['forward', 'reverse'];
const TRAFFIC_UNITS: Readonly<Record<string, Unit>> = {
  '%': 'ratio',
  ratio: 'ratio',
  s: 's',
  ms: 's',
  us: 's',
  B: 'B',
  count: 'count',
  'count/s': 'count/s',
};

/** What conditions may name of a migration; what is written counts even where it is wrong, to spare errors that follow from it. */
export function signalContext(name: string, raw: RawMigration | undefined, scope: Scope): SignalContext {
  const at = ['migrations', name];
  const traffic = scope.source.keys([...at, 'traffic']).map((key): [string, Unit] => {
    return [key, TRAFFIC_UNITS[raw?.traffic?.[key]?.unit ?? 'count'] ?? 'count'];
  });
  return {
    links: LINKS.filter((l) => l === 'forward' || scope.source.has([...at, l])),
    traffic: Object.fromEntries(traffic),
    dns: scope.source.keys([...at, 'dns']),
  };
}

/** Checks the databases that a migration names. */
export function checkSides(
  name: string,
  raw: RawMigration,
  databases: ReadonlyMap<string, DatabaseConfig | null>,
  scope: Scope,
): void {
  const path = ['migrations', name];
  for (const side of ['source', 'target'] as const) {
    const database = raw[side];
    if (database === undefined || databases.has(database)) continue;
    const all = [...databases.keys()];
    const hint = didYouMean(database, all, all.length === 0 ? null : `the databases are ${all.join(', ')}`);
    scope.problems.add([...path, side], `there is no database \`${database}\``, hint);
  }
  if (raw.source === undefined || raw.target === undefined) return;
  if (raw.source === raw.target) {
    const hint = 'a migration goes from one database to another';
    scope.problems.add([...path, 'target'], 'source and target are the same database', hint);
    return;
  }
  const [a, b] = [databases.get(raw.source), databases.get(raw.target)];
  if (a && b && place(a) === place(b)) {
    const message = `\`${raw.source}\` and \`${raw.target}\` are the same database: ${place(a)}`;
    scope.problems.add([...path, 'target'], message, 'correct the URL of one of them');
  }
}

function place(database: DatabaseConfig): string {
  const { host, port, database: name } = database.address;
  return `${isLoopback(host) ? 'localhost' : host.toLowerCase()}:${String(port)}/${name}`;
}

/** Builds the links of a migration; the map lacks those with something wrong. */
export function resolveLinks(
  name: string,
  raw: RawMigration,
  config: RawConfig,
  scope: Scope,
): Map<LinkName, LinkConfig> {
  const links = new Map<LinkName, LinkConfig>();
  const databases = config.databases ?? {};
  for (const link of LINKS) {
    const written = raw[link];
    if (written === undefined) continue;
    const [from, to] = link === 'forward' ? [raw.source, raw.target] : [raw.target, raw.source];
    const resolved = resolveLink(link, written, ['migrations', name, link], { from, to, databases }, scope);
    if (resolved !== null) links.set(link, resolved);
  }
  if (raw.forward?.via === 'none' && raw.reverse !== undefined && raw.reverse.via !== 'none') {
    const hint = 'remove this section: the application writes to both sides, so that going back needs no replication';
    const at = ['migrations', name, 'reverse'];
    scope.problems.add(at, 'with `via: none` of the forward link there is no `reverse` link', hint, { key: true });
  }
  const forward = subscriptionsOf(raw.forward);
  const twice = subscriptionsOf(raw.reverse).find((s) => forward.includes(s));
  if (twice !== undefined) {
    const message = `the reverse link has the same subscription as the forward link, \`${twice}\``;
    const hint = 'the way back is a subscription of its own, made on the source';
    scope.problems.add(['migrations', name, 'reverse', 'subscription'], message, hint);
  }
  return links;
}

/** Names of the gates of a migration, those of its preset included. */
export function gateNames(name: string, raw: RawMigration | undefined, scope: Scope): string[] {
  const written = scope.source.keys(['migrations', name, 'gates']).filter((g) => g !== 'preset');
  return [...new Set([...presetOf(raw, {}).gates.map((g) => g.name), ...written])];
}

function presetOf(raw: RawMigration | undefined, config: RawConfig): Preset {
  if (raw?.gates?.preset !== 'runbook') return { gates: [], missing: [] };
  const link = (written: RawLink | undefined): PresetLink => ({
    via: written?.via ?? 'postgres-logical',
    limited: written?.retention_limit !== undefined,
    startsWithFlip: written?.starts === 'with-flip',
  });
  const side = (name: string | undefined): PresetSide => ({
    read: (name === undefined ? undefined : config.databases?.[name]?.read) ?? 'auto',
    dual: raw.forward?.via === 'none',
    bySessions: [raw, ...Object.values(config.migrations ?? {})].some(
      (m) =>
        name !== undefined &&
        ((m?.forward?.via === 'dms' && m.target === name) || (m?.reverse?.via === 'dms' && m.source === name)),
    ),
  });
  return runbookPreset({
    forward: link(raw.forward),
    reverse: raw.reverse === undefined ? null : link(raw.reverse),
    sides: { source: side(raw.source), target: side(raw.target) },
    traffic: Object.keys(raw.traffic ?? {}).filter((key) => SIGNAL_PART.test(key)),
    dns: Object.keys(raw.dns ?? {}).filter((key) => SIGNAL_PART.test(key)),
    verify: raw.verify !== undefined,
  });
}

/** Builds the gates of a migration: the preset's first, in their order, each replaced by a written one of its name. */
export function resolveMigrationGates(
  name: string,
  raw: RawMigration,
  config: RawConfig,
  context: ConditionContext,
  scope: Scope,
): Map<string, PlacedGate> {
  const path = ['migrations', name, 'gates'];
  const gates = new Map<string, PlacedGate>();
  const all = (raw.gates ?? {}) as Record<string, RawGate | undefined>;
  const written = Object.fromEntries(Object.entries(all).filter(([gate]) => gate !== 'preset'));
  const resolve = (gate: string, value: RawGate) => resolveGate(gate, value, [...path, gate], context, scope);
  const preset = presetOf(raw, config);
  for (const made of preset.gates) {
    const own = Object.hasOwn(written, made.name) ? written[made.name] : undefined;
    const at = [...path, 'preset'];
    gates.set(made.name, own === undefined ? presetGate(made, at, context, scope) : resolve(made.name, own));
  }
  for (const { name: missing, why } of preset.missing) {
    if (!Object.hasOwn(written, missing)) {
      scope.warn(`migration ${name}: preset runbook leaves the gate ${missing} out, because ${why}`);
    }
  }
  for (const [gate, value] of Object.entries(written)) {
    if (value !== undefined && !gates.has(gate)) gates.set(gate, resolve(gate, value));
  }
  return gates;
}

/** Puts a migration together when all of its parts are there. */
export function assembleMigration(
  name: string,
  raw: RawMigration,
  links: ReadonlyMap<LinkName, LinkConfig>,
  gates: ReadonlyMap<string, PlacedGate>,
  { verify, ...services }: Pick<MigrationConfig, 'traffic' | 'dns' | 'maintenance'> & { verify: VerifyConfig | null },
): MigrationConfig | null {
  const forward = links.get('forward');
  const reverse = links.get('reverse');
  if (forward === undefined || raw.source === undefined || raw.target === undefined) return null;
  return {
    name,
    source: raw.source,
    target: raw.target,
    links: reverse === undefined ? { forward } : { forward, reverse },
    promotion: raw.promotion ?? 'manual',
    gates: new Map([...gates].map(([gate, placed]) => [gate, placed.gate])),
    ...services,
    ...(verify === null ? {} : { verify }),
  };
}

/** Warns of entries that are one and the same database, which is watched twice then and has heartbeats of one only. */
export function warnOfSameDatabases(databases: ReadonlyMap<string, DatabaseConfig | null>, scope: Scope): void {
  const first = new Map<string, string>();
  for (const [name, database] of databases) {
    if (database === null) continue;
    const where = place(database);
    const known = first.get(where);
    if (known === undefined) first.set(where, name);
    else {
      scope.warn(
        `databases.${known} and databases.${name} are the same database, ${where}: heartbeats are written for one of ` +
          'them only, and the lag of the other stays unknown (keep one entry and let the migrations share it)',
      );
    }
  }
}

/** Warns of a flow that two links claim, which is allowed but mostly a copy that was not finished. */
export function warnOfSharedFlows(
  all: readonly { migration: string; links: ReadonlyMap<LinkName, LinkConfig> }[],
  scope: Scope,
): void {
  const owners = new Map<string, string>();
  for (const { migration, links } of all) {
    for (const link of links.values()) {
      if (link.via !== 'postgres-logical') continue;
      for (const flow of link.flows) {
        const key = `${link.to}/${flow}`;
        const owner = owners.get(key);
        const own = `${migration}.${link.name}`;
        if (owner !== undefined)
          scope.warn(`${owner} and ${own} both watch the subscription \`${flow}\` on ${link.to}`);
        else owners.set(key, own);
      }
    }
  }
}
