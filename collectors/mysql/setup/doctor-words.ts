/** How findings about a MySQL or MariaDB server are put together: who is concerned, and by which signals. */
import type { LinkId, LinkSignal, SideName, SideSignal } from '../../../daemon/core/signal.js';
import type { Finding, LinkPlan } from '../../collector.js';
import type { SidePlan } from './objects.js';

/** Takes one finding. */
export type Say = (
  level: Finding['level'],
  message: string,
  remedy: string | null,
  signals?: readonly string[],
) => void;

/** A plan with every link that the server takes part in. */
export interface DoctorPlan extends SidePlan {
  readonly links: readonly LinkPlan[];
}

/** Full names of signals of a link, as gates at top level name them. */
export function linkSignals(link: LinkPlan, ...names: readonly LinkSignal[]): string[] {
  return names.map((name) => `${link.migration}.${link.config.name}.${name}`);
}

/** Full names of signals of the server in every migration it is a side of. */
export function sideSignals(plan: DoctorPlan, ...names: readonly SideSignal[]): string[] {
  const sides = new Set(plan.links.map((l) => `${l.migration}.${sideOf(l, plan.database.name)}`));
  return [...sides].flatMap((side) => names.map((name) => `${side}.${name}`));
}

/** Signals that go when the daemon cannot use the server at all. */
export function allSignals(plan: DoctorPlan): string[] {
  return [
    ...sideSignals(plan, 'reachable', 'writable', 'longest_transaction', 'connections', 'clock_skew'),
    ...plan.links.flatMap((l) => linkSignals(l, 'lag', 'lag_low', 'lag_by_position', 'agreement', 'running')),
  ];
}

/** The id of the link when the server takes part in just one. */
export function onlyLink(plan: DoctorPlan): LinkId | null {
  return plan.links.length === 1 ? (plan.links[0]?.id ?? null) : null;
}

function sideOf(link: LinkPlan, database: string): SideName {
  return (link.config.name === 'forward') === (link.from.name === database) ? 'source' : 'target';
}
