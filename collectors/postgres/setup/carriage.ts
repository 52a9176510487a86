import { LockgateError, SourceError } from '../../../daemon/core/errors.js';
import type { LinkPlan } from '../../collector.js';
import { quoteIdent, quoteLiteral, type PgConnection } from '../connection.js';
import {
  carrierOf,
  flowsOf,
  holds,
  readCarriage,
  readPublications,
  readSubscriptions,
  type Carriage,
  type OtherSides,
  type Subscription,
} from './other-side.js';
import { applyMayWrite } from './receiving-objects.js';
import { twinOf, type SidePlan } from './side-plan.js';
import { HEARTBEAT_OID, VERSION_NUM, doBlock, shown } from './sql-text.js';

/** What is to be done about something that hangs on the other side of a link. */
export type Change =
  | { readonly state: 'in-place' | 'needed'; readonly sql: string }
  /** It has to wait for something on the other side; `sql` is what will be run then. */
  | { readonly state: 'waits'; readonly sql: string; readonly reason: string };

/** The statement that adds the heartbeat table to a link's publication; `filter` keeps out rows of the other direction. */
export function addToPublication(link: LinkPlan, publication: string, filter: boolean): string {
  const name = quoteIdent(publication);
  const add = `ALTER PUBLICATION ${name} ADD TABLE lockgate.heartbeat`;
  const rows = `pg_catalog.pg_publication_tables t WHERE t.pubname = ${quoteLiteral(publication)}
      AND t.schemaname = 'lockgate' AND t.tablename = 'heartbeat'`;
  if (!filter) {
    return doBlock(
      `BEGIN
  IF NOT EXISTS (SELECT FROM ${rows}) THEN
    ${add};
  END IF;
END`,
    );
  }
  return doBlock(
    `BEGIN
  IF ${VERSION_NUM} < 150000 THEN
    RAISE EXCEPTION 'both directions at once need row filters (15 and later): heartbeats would be sent round for ever';
  END IF;
  IF EXISTS (SELECT FROM ${rows}
      AND strpos(coalesce(to_jsonb(t) ->> 'rowfilter', ''), ${quoteLiteral(pattern(link))}) > 0) THEN
    RETURN;
  END IF;
  IF EXISTS (SELECT FROM pg_catalog.pg_publication_rel r JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid
      WHERE p.pubname = ${quoteLiteral(publication)} AND r.prrelid = ${HEARTBEAT_OID}) THEN
    ALTER PUBLICATION ${name} DROP TABLE lockgate.heartbeat; -- to be added again with the filter, in this transaction
  END IF;
  -- A publication of all tables takes no filter; then the other side's subscription needs origin = none (16 and later).
  IF EXISTS (SELECT FROM ${rows}) THEN
    RAISE NOTICE 'set origin = none on the subscription that receives %', ${quoteLiteral(link.id)};
    RETURN;
  END IF;
  EXECUTE ${quoteLiteral(`${add} WHERE (link LIKE ${quoteLiteral(pattern(link))})`)};
END`,
  );
}

function pattern(link: LinkPlan): string {
  return `%/${link.config.name}`;
}

function isFiltered(carriage: Carriage, link: LinkPlan): boolean {
  return carriage.filter !== null && carriage.filter.includes(`'${pattern(link)}'`);
}

/**
 * Whether heartbeats that reached the sending side by replication would go out again through this link, and then round
 * for ever. `sender` runs the sending side; `flows` are the link's subscriptions. The publisher honours origin = none
 * from 16 on, and ignores it silently before.
 */
export async function echoes(link: LinkPlan, sender: PgConnection, flows: readonly Subscription[]): Promise<boolean> {
  for (const flow of flows) {
    if (flow.origin === 'none' && sender.serverVersion >= 160000) continue;
    const carriage = await readCarriage(sender, flow.publications);
    if (carriage.some((c) => !isFiltered(c, link))) return true;
  }
  return false;
}

/**
 * Decides how the heartbeat table gets into a link's publication on its sending side. Throws a SourceError where it must
 * not: with replication both ways and nothing that tells the directions apart, one row would be sent round for ever.
 */
export async function planCarriage(
  plan: SidePlan,
  link: LinkPlan,
  conn: PgConnection,
  others: OtherSides,
): Promise<Change> {
  const twin = twinOf(link, plan.links);
  // Neither remedy exists on such a publisher, whatever the other side is.
  if (twin !== null && conn.serverVersion < 150000) throw pingPong(link, 'its sending side is older than 15');
  const named = link.config.publication;
  const sql = addToPublication(link, named ?? 'PUBLICATION', twin !== null);
  const receiver = await others.look(link.to);
  if (receiver instanceof LockgateError) {
    return { state: 'waits', sql, reason: `${link.to.name} must be looked at first: ${receiver.message}` };
  }
  const subscriptions = await readSubscriptions(receiver);
  const publication = carrierOf(link, subscriptions)?.publication ?? named;
  if (publication === null) {
    const flows = link.config.flows.map(shown).join(', ');
    return { state: 'waits', sql, reason: `there is no subscription ${flows} in ${link.to.name} yet` };
  }
  if ((await readPublications(conn, [publication])).length === 0) {
    throw new SourceError(
      'publication_missing',
      `${plan.database.name}: there is no publication ${shown(publication)} for ${link.id}`,
      'create it, or name the right one as `publication` of this link',
    );
  }
  const flows = flowsOf(link, subscriptions);
  const publications = [...new Set([publication, ...flows.flatMap((s) => s.publications)])];
  const carriage = await readCarriage(conn, publications);
  let filter = false;
  if (twin !== null) {
    const byOrigin = flows.length > 0 && flows.every((s) => s.origin === 'none') && conn.serverVersion >= 160000;
    filter = !byOrigin;
    if (filter) refuseWithoutFilter(link, twin, carriage);
    const back = flowsOf(twin, await readSubscriptions(conn));
    if (await echoes(twin, receiver, back)) {
      if (receiver.serverVersion < 150000) throw pingPong(twin, 'its sending side is older than 15');
      const reason = `the publication of ${twin.id} must get its row filter first: run setup on ${link.to.name}`;
      return { state: 'waits', sql: addToPublication(link, publication, filter), reason };
    }
  }
  const step = addToPublication(link, publication, filter);
  if (carriage.length > 0 && (!filter || carriage.every((c) => isFiltered(c, link)))) {
    return { state: 'in-place', sql: step };
  }
  // A change for a table that the subscriber lacks, or may not write, stops its apply worker.
  const ready =
    (await holds(receiver, `${HEARTBEAT_OID} IS NOT NULL`)) && (await holds(receiver, applyMayWrite(link).check));
  if (!ready) return { state: 'waits', sql: step, reason: `${link.to.name} cannot take it yet: run setup there` };
  return { state: 'needed', sql: step };
}

function refuseWithoutFilter(link: LinkPlan, twin: LinkPlan, carriage: readonly Carriage[]): void {
  if (twin.config.name === link.config.name) {
    throw pingPong(link, `a row filter cannot tell it from ${twin.id}, which is a ${twin.config.name} link too`);
  }
  const whole = carriage.filter((c) => c.whole).map((c) => shown(c.publication));
  if (whole.length > 0) throw pingPong(link, `${whole.join(', ')} takes whole schemas, which cannot have a row filter`);
}

function pingPong(link: LinkPlan, why: string): SourceError {
  const flows = link.config.flows.map((f) => `ALTER SUBSCRIPTION ${shown(f)} SET (origin = none);`).join(' ');
  return new SourceError(
    'ping_pong',
    `${link.id}: with replication both ways one heartbeat row would be sent round for ever: ${why}`,
    `where both servers are 16 or later, run on ${link.to.name}: ${flows} (15: publish tables by name, so that setup can add ours with a row filter; older: one direction at a time)`,
  );
}
