import type { DatabaseConfig, LinkConfig, Secret } from '../../../daemon/core/config.js';
import type { LinkId, LinkSignal, SideName, SideSignal } from '../../../daemon/core/signal.js';
import type { LinkPlan } from '../../collector.js';

/** A login of the daemon on one server. */
export interface DaemonUser {
  readonly name: string;
  readonly password: Secret | null;
  /** It signs in to RDS with tokens of IAM. */
  readonly tokens?: boolean;
  /** A WAL reader may run under it. */
  readonly reads: boolean;
}

/** What the trigger on the receiving side's heartbeat table does. */
export type TriggerKind = 'flush' | 'notify';

/** Everything that one database is in the links of the configuration. */
export interface SidePlan {
  readonly database: DatabaseConfig;
  /** Every link it takes part in. */
  readonly links: readonly LinkPlan[];
  /** Logical links that start here. */
  readonly sends: readonly LinkPlan[];
  /** Logical links that end here. */
  readonly receives: readonly LinkPlan[];
  /** Heartbeats are written here. */
  readonly writes: boolean;
  /** The physical link whose standby this is, if any: then nothing is run here, all comes from the primary. */
  readonly standbyOf: LinkPlan | null;
  /** The daemon's logins; on a primary those of its standbys too, because roles reach a standby only by replication. */
  readonly users: readonly DaemonUser[];
  readonly triggers: ReadonlySet<TriggerKind>;
}

/** Works out what a database has to be ready for. */
export function sidePlan(database: DatabaseConfig, all: readonly LinkPlan[]): SidePlan {
  const links = all.filter((l) => l.from.name === database.name || l.to.name === database.name);
  const logical = links.filter((l) => isLogical(l));
  const receives = logical.filter((l) => l.to.name === database.name);
  const standbys = links.filter((l) => l.config.via === 'postgres-physical' && l.from.name === database.name);
  const standbyOf = links.find((l) => l.config.via === 'postgres-physical' && l.to.name === database.name);
  const users = new Map<string, DaemonUser>();
  for (const db of [database, ...standbys.map((l) => l.to)]) {
    const { user } = db.address;
    const known = users.get(user);
    const reads = db.read !== 'off' || known?.reads === true;
    const tokens = (db.rdsIam ?? null) !== null || known?.tokens === true;
    users.set(user, { name: user, password: known?.password ?? db.password, tokens, reads });
  }
  return {
    database,
    links,
    sends: logical.filter((l) => l.from.name === database.name),
    receives,
    writes: links.some((l) => l.from.name === database.name && l.config.via !== 'none'),
    standbyOf: standbyOf ?? null,
    users: [...users.values()],
    triggers: new Set(receives.map((l) => triggerFor(l.config.heartbeat.watch, database.read))),
  };
}

/** Whether a link is logical replication between two PostgreSQL databases. */
export function isLogical(link: LinkPlan): boolean {
  return link.config.via === 'postgres-logical' && link.from.engine === 'postgres' && link.to.engine === 'postgres';
}

/**
 * Which trigger a way of watching needs. Polling sees a row before it is durable and would do without, but the durable
 * applied positions (lag_by_position, fences) would trail by the WAL writer's delay, so it gets the flush as well.
 */
export function triggerFor(watch: LinkConfig['heartbeat']['watch'], read: DatabaseConfig['read']): TriggerKind {
  if (watch === 'notify') return 'notify';
  return watch === 'auto' && read === 'off' ? 'notify' : 'flush';
}

/** The link that runs the other way between the same two databases, if there is one. */
export function twinOf(link: LinkPlan, all: readonly LinkPlan[]): LinkPlan | null {
  return all.find((l) => isLogical(l) && l.from.name === link.to.name && l.to.name === link.from.name) ?? null;
}

/** Which side of a link's migration a database is. */
export function sideOf(link: LinkPlan, database: DatabaseConfig): SideName {
  return (link.config.name === 'forward') === (link.from.name === database.name) ? 'source' : 'target';
}

/** Full names of signals of a link, as gates at top level name them. */
export function linkSignals(link: LinkPlan, ...names: readonly LinkSignal[]): string[] {
  return names.map((name) => `${link.migration}.${link.config.name}.${name}`);
}

/** Full names of signals of a database in every migration it is a side of. */
export function sideSignals(plan: SidePlan, ...names: readonly SideSignal[]): string[] {
  const sides = new Set(plan.links.map((l) => `${l.migration}.${sideOf(l, plan.database)}`));
  return [...sides].flatMap((side) => names.map((name) => `${side}.${name}`));
}

/** Full names of signals of every migration that the database is a side of. */
export function migrationSignals(plan: SidePlan, ...names: readonly string[]): string[] {
  return [...new Set(plan.links.map((l) => l.migration))].flatMap((m) => names.map((name) => `${m}.${name}`));
}

/** The id of the link when the database takes part in just one, for findings. */
export function onlyLink(plan: SidePlan): LinkId | null {
  return plan.links.length === 1 ? (plan.links[0]?.id ?? null) : null;
}
