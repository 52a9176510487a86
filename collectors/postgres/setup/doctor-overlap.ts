import type { Finding, LinkPlan } from '../../collector.js';
import type { PgConnection } from '../connection.js';
import { rivalsOf } from './beside.js';
import { readSubscribedTables, type Subscription } from './other-side.js';
import { overlaps, type Carrying } from './overlap.js';
import { hasHeartbeat } from './refresh.js';
import { linkSignals } from './side-plan.js';
import { shown } from './sql-text.js';

/** Adds a finding about a link. */
export type Say = (
  level: Finding['level'],
  database: string,
  message: string,
  remedy: string | null,
  signals?: string[],
) => void;

/**
 * Finds subscriptions of the receiving side that both get the same heartbeat rows from the link's sender, one of them the
 * link's own: lockgate itself would stop apply with them.
 */
export async function examineOverlaps(
  link: LinkPlan,
  all: readonly LinkPlan[],
  sender: PgConnection,
  receiver: PgConnection,
  subscriptions: readonly Subscription[],
  say: Say,
): Promise<void> {
  const ids = all.filter((l) => l.from.name === link.from.name).map((l) => l.id);
  const isOwn = ({ subscription }: Carrying): boolean => link.config.flows.includes(subscription.name);
  for (const { first, second } of await overlaps(sender, subscriptions, ids)) {
    if (!isOwn(first) && !isOwn(second)) continue;
    const names = [first, second].map((c) => shown(c.subscription.name)).join(' and ');
    const publications = [...new Set([...first.carriage, ...second.carriage].map((c) => shown(c.publication)))];
    const known = await Promise.all(
      [first, second].map(async ({ subscription }) =>
        hasHeartbeat(await readSubscribedTables(receiver, subscription.name)),
      ),
    );
    const at = known.every(Boolean)
      ? 'the second copy of a row stops apply on a duplicate key'
      : 'after the next refresh the second copy of a row would stop apply on a duplicate key';
    say(
      'fault',
      link.to.name,
      `${names} both bring the same heartbeats (publications ${publications.join(', ')}): ${at}`,
      remedyFor(link, all, sender),
      linkSignals(link, 'lag', 'lag_low', 'lag_by_position', 'agreement', 'running'),
    );
  }
}

function remedyFor(link: LinkPlan, all: readonly LinkPlan[], sender: PgConnection): string {
  const mend =
    sender.serverVersion < 150000
      ? `drop lockgate.heartbeat from all but one of these publications, and make them one link with all subscriptions (\`subscription: [a, b]\`)`
      : rivalsOf(link, all).length > 0
        ? 'run `lockgate setup`, which gives each publication a row filter'
        : 'put the links of both subscriptions into one configuration and run `lockgate setup`, which gives each publication a row filter, or keep the table in one publication only';
  return `stop the daemon; ${mend}; where apply has stopped already, on ${link.to.name}: DELETE FROM lockgate.heartbeat; (lockgate's own rows, made anew)`;
}
