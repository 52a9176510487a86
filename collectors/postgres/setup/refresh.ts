import { LockgateError, SourceError } from '../../../daemon/core/errors.js';
import type { LinkPlan } from '../../collector.js';
import { quoteIdent, type PgConnection } from '../connection.js';
import type { Change } from './carriage.js';
import {
  carrierOf,
  flowsOf,
  readPublishedTables,
  readSubscribedTables,
  readSubscriptions,
  type OtherSides,
  type Subscription,
  type TableName,
} from './other-side.js';
import { overlaps } from './overlap.js';
import { shown } from './sql-text.js';

/** The statement that makes a subscription take up the heartbeat table. */
export function refreshSql(subscription: string): string {
  return `ALTER SUBSCRIPTION ${quoteIdent(subscription)} REFRESH PUBLICATION WITH (copy_data = false);`;
}

/** What a refresh would change besides lockgate's own tables. */
export interface RefreshEffect {
  /** Published, not subscribed to yet: they would be replicated from now on without their rows being copied. */
  readonly added: readonly string[];
  /** Subscribed to, no longer published. */
  readonly removed: readonly string[];
}

/** Compares what a subscription knows with what it would find; lockgate's own schema is left out. */
export function refreshEffect(subscribed: readonly TableName[], published: readonly TableName[]): RefreshEffect {
  const foreign = (tables: readonly TableName[]): Map<string, string> =>
    new Map(
      tables
        .filter((t) => t.schema !== 'lockgate')
        .map((t) => [JSON.stringify([t.schema, t.name]), `${shown(t.schema)}.${shown(t.name)}`]),
    );
  const [have, find] = [foreign(subscribed), foreign(published)];
  const without = (a: Map<string, string>, b: Map<string, string>): string[] =>
    [...a].filter(([key]) => !b.has(key)).map(([, text]) => text);
  return { added: without(find, have), removed: without(have, find) };
}

/** Whether a list of tables has the heartbeat table. */
export function hasHeartbeat(tables: readonly TableName[]): boolean {
  return tables.some((t) => t.schema === 'lockgate' && t.name === 'heartbeat');
}

/**
 * Decides whether the link's subscription must be refreshed to take up the heartbeat table. What a refresh would do is
 * seen on the publisher, so that one is asked over the daemon's own connection. Throws a SourceError, naming the tables,
 * when a refresh would change any table but lockgate's.
 */
export async function planRefresh(link: LinkPlan, conn: PgConnection, others: OtherSides): Promise<Change> {
  const subscriptions = await readSubscriptions(conn);
  const carrier = carrierOf(link, subscriptions);
  if (carrier === null) {
    const [first = ''] = link.config.flows;
    return { state: 'waits', sql: refreshSql(first), reason: `there is no subscription ${shown(first)} here yet` };
  }
  const { subscription } = carrier;
  const sql = refreshSql(subscription.name);
  for (const flow of flowsOf(link, subscriptions)) {
    const ours = (await readSubscribedTables(conn, flow.name)).filter((t) => hasHeartbeat([t]));
    if (ours.length === 0) continue;
    if (ours.every((t) => t.ready)) return { state: 'in-place', sql };
    return { state: 'waits', sql, reason: `${shown(flow.name)} is copying it: see the server's log if that stays` };
  }
  if (!subscription.enabled) {
    return { state: 'waits', sql, reason: `the subscription ${shown(subscription.name)} is disabled` };
  }
  const publisher = await others.look(link.from);
  if (publisher instanceof LockgateError) {
    return { state: 'waits', sql, reason: `${link.from.name} must be looked at first: ${publisher.message}` };
  }
  await refuseOtherPublisher(link, subscription, publisher);
  const published = await readPublishedTables(publisher, conn.serverVersion, subscription.publications);
  const effect = refreshEffect(await readSubscribedTables(conn, subscription.name), published);
  if (effect.added.length + effect.removed.length > 0) throw wouldChange(link, subscription, effect);
  if (!hasHeartbeat(published)) {
    return { state: 'waits', sql, reason: `${link.from.name} does not publish it yet: run setup there` };
  }
  const double = (await overlaps(publisher, subscriptions, [link.id])).find(({ first, second }) =>
    [first, second].some((c) => c.subscription.name === subscription.name),
  );
  if (double !== undefined) {
    const { first, second } = double;
    const other = first.subscription.name === subscription.name ? second : first;
    const reason = `${shown(other.subscription.name)} brings the same heartbeats, and the second copy would stop apply: run setup on ${link.from.name}`;
    return { state: 'waits', sql, reason };
  }
  return { state: 'needed', sql };
}

/** The comparison means something only if the configured database is the one that the subscription reads from. */
async function refuseOtherPublisher(
  link: LinkPlan,
  subscription: Subscription,
  publisher: PgConnection,
): Promise<void> {
  if (subscription.slot === null) return;
  const slots = await publisher.query(
    `SELECT FROM pg_catalog.pg_replication_slots
      WHERE slot_name = $1 AND database = pg_catalog.current_database()`,
    [subscription.slot],
  );
  if (slots.length > 0) return;
  throw new SourceError(
    'other_publisher',
    `${link.id}: ${link.from.name} has no replication slot ${shown(subscription.slot)}, so the subscription ` +
      `${shown(subscription.name)} of ${link.to.name} reads from elsewhere, or its slot is lost`,
    'check `from` and `to` of this link, and recreate the subscription if its slot is lost',
  );
}

function wouldChange(link: LinkPlan, subscription: Subscription, { added, removed }: RefreshEffect): SourceError {
  const name = quoteIdent(subscription.name);
  const parts = [
    added.length > 0 ? `begin to replicate ${added.join(', ')} without copying what is in there` : '',
    removed.length > 0 ? `cease to replicate ${removed.join(', ')}` : '',
  ].filter((part) => part !== '');
  return new SourceError(
    'refresh_would_change',
    `${link.id}: refreshing the subscription ${shown(subscription.name)} of ${link.to.name} would also ${parts.join(' and ')}`,
    `decide about these tables first: run \`ALTER SUBSCRIPTION ${name} REFRESH PUBLICATION;\` on ${link.to.name} yourself ` +
      `(it copies new tables), or change the publication; then run setup again`,
  );
}
