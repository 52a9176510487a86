import { LockgateError, SourceError } from '../../../daemon/core/errors.js';
import type { LinkId } from '../../../daemon/core/signal.js';
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
import { planBeside, rivalsOf, samePair, tooOldForTwo } from './beside.js';
import { linksOfOwnRows, ownRows, ownRowsShown } from './overlap.js';
import { applyMayWrite } from './receiving-objects.js';
import { twinOf, type SidePlan } from './side-plan.js';
import { HEARTBEAT_OID, VERSION_NUM, doBlock, shown } from './sql-text.js';

/** What is to be done about something that hangs on the other side of a link. */
export type Change =
  | { readonly state: 'in-place' | 'needed'; readonly sql: string }
  /** It has to wait for something on the other side; `sql` is what will be run then. */
  | { readonly state: 'waits'; readonly sql: string; readonly reason: string };

/**
 * Which rows a link's publication is to send: all of them; those of its direction, where replication runs both ways; or
 * those of the links named, where another subscription of the same database gets heartbeats from the same sender.
 */
export type Rows = 'all' | 'direction' | readonly LinkId[];

/** The rows that the configuration alone asks for, without a look at the servers. */
export function rowsByConfig(link: LinkPlan, all: readonly LinkPlan[]): Rows {
  if (rivalsOf(link, all).length > 0) {
    return all.filter((l) => l === link || (samePair(l, link) && !rivalsOf(link, all).includes(l))).map((l) => l.id);
  }
  return twinOf(link, all) === null ? 'all' : 'direction';
}

/** The statement that adds the heartbeat table to a link's publication, for these rows and no others. */
export function addToPublication(link: LinkPlan, publication: string, rows: Rows): string {
  const name = quoteIdent(publication);
  const add = `ALTER PUBLICATION ${name} ADD TABLE lockgate.heartbeat`;
  const present = `pg_catalog.pg_publication_tables t WHERE t.pubname = ${quoteLiteral(publication)}
      AND t.schemaname = 'lockgate' AND t.tablename = 'heartbeat'`;
  if (rows === 'all') {
    return doBlock(
      `BEGIN
  IF NOT EXISTS (SELECT FROM ${present}) THEN
    ${add};
  END IF;
END`,
    );
  }
  const direction = rows === 'direction';
  const shownFilter = `coalesce(to_jsonb(t) ->> 'rowfilter', '')`;
  const fits = direction
    ? `strpos(${shownFilter}, ${quoteLiteral(pattern(link))}) > 0`
    : `${shownFilter} = ${quoteLiteral(ownRowsShown(rows))}`;
  const where = direction ? `link LIKE ${quoteLiteral(pattern(link))}` : ownRows(rows);
  const tooOld = direction
    ? 'both directions at once need row filters (15 and later): heartbeats would be sent round for ever'
    : 'several subscriptions of one database need row filters (15 and later): heartbeats would arrive twice and stop apply';
  // A publication of all tables takes no filter.
  const whole = direction
    ? `-- Then the other side's subscription needs origin = none (16 and later).
    RAISE NOTICE 'set origin = none on the subscription that receives %', ${quoteLiteral(link.id)};
    RETURN;`
    : `RAISE EXCEPTION 'the publication takes whole schemas, which cannot have a row filter: heartbeats would arrive twice and stop apply';`;
  return doBlock(
    `BEGIN
  IF ${VERSION_NUM} < 150000 THEN
    RAISE EXCEPTION ${quoteLiteral(tooOld)};
  END IF;
  IF EXISTS (SELECT FROM ${present}
      AND ${fits}) THEN
    RETURN;
  END IF;
  IF EXISTS (SELECT FROM pg_catalog.pg_publication_rel r JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid
      WHERE p.pubname = ${quoteLiteral(publication)} AND r.prrelid = ${HEARTBEAT_OID}) THEN
    ALTER PUBLICATION ${name} DROP TABLE lockgate.heartbeat; -- to be added again with the filter, in this transaction
  END IF;
  IF EXISTS (SELECT FROM ${present}) THEN
    ${whole}
  END IF;
  EXECUTE ${quoteLiteral(`${add} WHERE (${where})`)};
END`,
  );
}

function pattern(link: LinkPlan): string {
  return `%/${link.config.name}`;
}

/** Whether rows of the other direction stay out. */
function isFiltered(carriage: Carriage, link: LinkPlan): boolean {
  if (carriage.filter === null) return false;
  const own = linksOfOwnRows(carriage.filter);
  return own === null
    ? carriage.filter.includes(`'${pattern(link)}'`)
    : own.every((id) => id.endsWith(`/${link.config.name}`));
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
  const configured = twinOf(link, plan.links);
  const named = link.config.publication;
  const rivals = rivalsOf(link, plan.links);
  if (rivals.length > 0 && conn.serverVersion < 150000)
    throw tooOldForTwo(
      link,
      rivals.flatMap((r) => r.config.flows),
    );
  const sql = addToPublication(link, named ?? 'PUBLICATION', rowsByConfig(link, plan.links));
  const twinRuns = configured !== null && runs(configured, await readSubscriptions(conn));
  const receiver = await others.look(link.to);
  if (receiver instanceof LockgateError) {
    // Whether this way runs cannot be told, so that it is taken to.
    if (twinRuns && conn.serverVersion < 150000) throw pingPong(link, 'its sending side is older than 15');
    return { state: 'waits', sql, reason: `${link.to.name} must be looked at first: ${receiver.message}` };
  }
  const subscriptions = await readSubscriptions(receiver);
  // One direction at a time: while either way does not exist yet, or is switched off, nothing comes round.
  const alone = !twinRuns || !runs(link, subscriptions);
  // Neither remedy exists on such a publisher, whatever the other side is.
  if (!alone && conn.serverVersion < 150000) throw pingPong(link, 'its sending side is older than 15');
  const twin = alone && conn.serverVersion < 150000 ? null : configured;
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
  let rows: Rows = 'all';
  if (twin !== null) {
    const byOrigin = flows.length > 0 && flows.every((s) => s.origin === 'none') && conn.serverVersion >= 160000;
    if (!byOrigin) {
      rows = 'direction';
      refuseWithoutFilter(link, twin, carriage);
    }
  }
  const beside = await planBeside(plan, link, conn, { subscriptions, publication, carriage });
  rows = beside.rows ?? rows;
  const step = addToPublication(link, publication, rows);
  if (twin !== null) {
    const back = flowsOf(twin, await readSubscriptions(conn));
    if (!(alone && receiver.serverVersion < 150000) && (await echoes(twin, receiver, back))) {
      if (receiver.serverVersion < 150000) throw pingPong(twin, 'its sending side is older than 15');
      const reason = `the publication of ${twin.id} must get its row filter first: run setup on ${link.to.name}`;
      return { state: 'waits', sql: step, reason };
    }
  }
  if (beside.waitsFor !== null) return { state: 'waits', sql: step, reason: beside.waitsFor };
  const inPlace =
    beside.rows === null && carriage.length > 0 && (rows === 'all' || carriage.every((c) => isFiltered(c, link)));
  if (inPlace || beside.inPlace) return { state: 'in-place', sql: step };
  // A change for a table that the subscriber lacks, or may not write, stops its apply worker.
  const ready =
    (await holds(receiver, `${HEARTBEAT_OID} IS NOT NULL`)) && (await holds(receiver, applyMayWrite(link).check));
  if (!ready) return { state: 'waits', sql: step, reason: `${link.to.name} cannot take it yet: run setup there` };
  return { state: 'needed', sql: step };
}

/** Whether some subscription of a link is among those of its receiving side, and enabled. */
function runs(link: LinkPlan, subscriptions: readonly Subscription[]): boolean {
  return flowsOf(link, subscriptions).some((s) => s.enabled);
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
    `where both servers are 16 or later, run on ${link.to.name}: ${flows} (15: publish tables by name, so that setup can add ours with a row filter; older: one direction at a time, the subscription of the other one disabled or not made yet)`,
  );
}
