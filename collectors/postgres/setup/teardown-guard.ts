import { LockgateError, TransientError } from '../../../daemon/core/errors.js';
import type { LinkPlan } from '../../collector.js';
import type { PgConnection } from '../connection.js';
import {
  flowsOf,
  holds,
  readPublishedTables,
  readSubscribedTables,
  readSubscriptions,
  type OtherSides,
  type Subscription,
} from './other-side.js';
import type { SidePlan } from './side-plan.js';
import { HEARTBEAT_OID, shown } from './sql-text.js';
import { hasHeartbeat } from './refresh.js';

/** How often and how far apart the publisher is asked whether the subscriber has caught up. */
const attempts = 25;
const pauseSeconds = 0.2;

/**
 * Why the heartbeat table must not be dropped yet; null when it may go. A change that arrives for a table that is no
 * longer there stops the apply worker, with all of the application's data behind it. So nothing may publish it, and the
 * subscriber must have applied all that was written while something did.
 */
export async function tablesMayGo(plan: SidePlan, conn: PgConnection, others: OtherSides): Promise<string | null> {
  if (plan.receives.length === 0 || !(await holds(conn, `${HEARTBEAT_OID} IS NOT NULL`))) return null;
  const subscriptions = await readSubscriptions(conn);
  for (const link of plan.receives) {
    for (const flow of flowsOf(link, subscriptions)) {
      const reason = await flowIsClear(link, flow, conn, others);
      if (reason !== null) return reason;
    }
  }
  return null;
}

async function flowIsClear(
  link: LinkPlan,
  flow: Subscription,
  conn: PgConnection,
  others: OtherSides,
): Promise<string | null> {
  const name = shown(flow.name);
  const publisher = await others.look(link.from);
  if (publisher instanceof LockgateError) return `${link.from.name} must be looked at first: ${publisher.message}`;
  if (hasHeartbeat(await readPublishedTables(publisher, conn.serverVersion, flow.publications))) {
    return `${link.from.name} still publishes it: run teardown there`;
  }
  const subscribed = await readSubscribedTables(conn, flow.name);
  if (subscribed.some((t) => t.schema === 'lockgate' && !t.ready)) {
    return `the subscription ${name} is copying it: refresh that subscription, which makes it forget our tables`;
  }
  if (flow.slot === null) return null; // it receives nothing, and cannot
  const [at] = await publisher.query<{ lsn: string }>('SELECT pg_catalog.pg_current_wal_lsn()::text AS lsn');
  if (at === undefined) throw new TransientError('no_answer', `${link.from.name} did not tell its position`);
  for (let n = 0; n < attempts; n++) {
    const [slot] = await publisher.query<{ past: boolean }>(
      'SELECT confirmed_flush_lsn >= $1::pg_lsn AS past FROM pg_catalog.pg_replication_slots WHERE slot_name = $2',
      [at.lsn, flow.slot],
    );
    if (slot === undefined || slot.past) return null;
    // The server waits for us: a session that sleeps there is ended with the connection.
    await publisher.query('SELECT pg_catalog.pg_sleep($1)', [pauseSeconds]);
  }
  return `the subscription ${name} has not caught up with ${link.from.name} yet, heartbeats may be on their way`;
}
