/**
 * Links beside each other: several subscriptions of one database that get heartbeats from one and the same database. A
 * heartbeat that comes by two of them is inserted twice, and the second INSERT stops apply on a duplicate key. So each
 * publication may send its own links' rows only, which takes row filters (15 and later).
 */
import { SourceError } from '../../../daemon/core/errors.js';
import type { LinkId } from '../../../daemon/core/signal.js';
import type { LinkPlan } from '../../collector.js';
import { quoteIdent, quoteLiteral, type PgConnection } from '../connection.js';
import { carrierOf, flowsOf, type Carriage, type Subscription } from './other-side.js';
import { carried, carrying, linksOfOwnRows, overlaps, probes, servedBy, type Carrying } from './overlap.js';
import { isLogical, type SidePlan } from './side-plan.js';
import { shown } from './sql-text.js';

/** What other subscriptions of the same pair of databases ask of a link's publication. */
export interface Beside {
  /** The links whose rows the publication is to send; null when nothing stands beside it. */
  readonly rows: readonly LinkId[] | null;
  /** It sends them already, and nothing that another subscription gets. */
  readonly inPlace: boolean;
  /** What must come first; null when nothing must. */
  readonly waitsFor: string | null;
}

/** Whether two links run from the same database to the same database. */
export function samePair(a: LinkPlan, b: LinkPlan): boolean {
  return isLogical(a) && isLogical(b) && a.from.name === b.from.name && a.to.name === b.to.name;
}

/** Other links between the same databases, in the same direction, with subscriptions of their own. */
export function rivalsOf(link: LinkPlan, all: readonly LinkPlan[]): LinkPlan[] {
  return all.filter(
    (l) => l !== link && samePair(l, link) && !l.config.flows.some((flow) => link.config.flows.includes(flow)),
  );
}

/** Refuses several subscriptions with heartbeats where the publisher has no row filters. */
export function tooOldForTwo(link: LinkPlan, others: readonly string[]): SourceError {
  const flows = [...new Set([...link.config.flows, ...others])];
  return twice(
    link,
    `${flows.map(shown).join(' and ')} would both bring it, and ${link.from.name} is older than 15, which has no row filters`,
    `make them one link: subscription: [${flows.map(quoteLiteral).join(', ')}], where the heartbeat comes with the first and ` +
      `lag_by_position is that of the slowest; or let one subscription take all publications`,
  );
}

/**
 * Decides which rows the link's publication may send beside what other subscriptions get. Throws a SourceError where
 * rows would come twice and setup must not, or cannot, mend it.
 */
export async function planBeside(
  plan: SidePlan,
  link: LinkPlan,
  sender: PgConnection,
  seen: { subscriptions: readonly Subscription[]; publication: string; carriage: readonly Carriage[] },
): Promise<Beside> {
  const { subscriptions, publication, carriage } = seen;
  const own = flowsOf(link, subscriptions);
  const within = await overlaps(sender, own, [link.id]);
  const [double] = within;
  if (double !== undefined) {
    throw twice(link, bothBring(double.first, double.second), 'let one publication of this link have it, and no other');
  }
  const others = (await servedBy(sender, subscriptions)).filter((s) => !own.includes(s));
  const sharing = others.find((s) => s.publications.includes(publication));
  if (sharing !== undefined) {
    throw twice(
      link,
      `${shown(sharing.name)} subscribes to the publication ${shown(publication)} as well, with every table in it`,
      'give each subscription a publication of its own',
    );
  }
  const beside = await carrying(sender, others);
  const rivals = rivalsOf(link, plan.links);
  // A filter of `ownRows` that is there stays one, for the links beside which it was made may come back.
  const filters = carriage.map((c) => linksOfOwnRows(c.filter));
  const before = filters.flatMap((links) => links ?? []);
  if (beside.length === 0 && rivals.length === 0 && before.length === 0) {
    return { rows: null, inPlace: false, waitsFor: null };
  }
  if (sender.serverVersion < 150000)
    throw tooOldForTwo(
      link,
      beside.map((b) => b.subscription.name),
    );
  const whole = carriage.find((c) => c.whole);
  if (whole !== undefined) throw takesWhole(link, whole.publication);

  const mine = plan.links.filter(
    (l) => samePair(l, link) && (carrierOf(l, subscriptions)?.publication ?? l.config.publication) === publication,
  );
  const rivalIds = new Set<string>(rivals.map((l) => l.id));
  const rows = [...new Set([link.id, ...mine.map((l) => l.id), ...before])].filter((id) => !rivalIds.has(id));
  const foreign = carriage.find((c) => isForeign(c));
  const asked = probes([...rows, ...rivalIds], [...carriage, ...beside.flatMap((b) => b.carriage)]);
  const sent = await carried(sender, carriage, carriage.length === 0 ? [] : asked);
  const elsewhere = asked.filter((id) => !rows.some((row) => row === id));
  // A filter that somebody wrote may send more of what nobody else gets; but made-up ids everybody may get.
  const narrow = elsewhere.every((id) => !sent.has(id));
  const inPlace = carriage.length > 0 && narrow && rows.every((id) => sent.has(id));
  let waitsFor: string | null = null;
  for (const other of beside) {
    const passed = await carried(sender, other.carriage, rows);
    if (passed.size === 0) continue;
    const rival = rivals.find((l) => l.config.flows.includes(other.subscription.name));
    if (rival === undefined || other.carriage.some((c) => c.whole)) throw narrowFirst(link, other, rows);
    waitsFor ??= `the publication of ${rival.id} must get its row filter first`;
  }
  if (!inPlace && foreign !== undefined) {
    throw new SourceError(
      'foreign_filter',
      `${link.id}: the publication ${shown(foreign.publication)} has the heartbeat table with a filter that is not lockgate's: ${foreign.filter ?? ''}`,
      `let it send the rows of ${rows.join(', ')} and no others, or drop the table from it, and run setup again`,
    );
  }
  // What is sent already is narrowed at once, whatever the other one sends still: only what is added has to wait.
  return { rows, inPlace, waitsFor: carriage.length > 0 ? null : waitsFor };
}

function isForeign({ filter }: Carriage): boolean {
  return (
    filter !== null && linksOfOwnRows(filter) === null && !/^\(link ~~ '%\/(forward|reverse)'::text\)$/.test(filter)
  );
}

function bothBring(first: Carrying, second: Carrying): string {
  const by = ({ subscription, carriage }: Carrying): string =>
    `${shown(subscription.name)} (by ${carriage.map((c) => shown(c.publication)).join(', ')})`;
  return `${by(first)} and ${by(second)} both bring it`;
}

function takesWhole(link: LinkPlan, publication: string): SourceError {
  return twice(
    link,
    `${shown(publication)} takes whole schemas, which cannot have a row filter, and another subscription brings it too`,
    'publish tables by name, so that setup can add ours with a row filter; or make them one link with all subscriptions',
  );
}

/** The other publication is not in this configuration, so setup does not touch it; it may lose these rows and no others. */
function narrowFirst(link: LinkPlan, other: Carrying, rows: readonly LinkId[]): SourceError {
  const wide = other.carriage.find((c) => c.whole);
  if (wide !== undefined) return takesWhole(link, wide.publication);
  const not = rows.map((id) => `link <> ${quoteLiteral(id)}`).join(' AND ');
  const each = other.carriage.map(({ publication, filter }) => {
    const name = quoteIdent(publication);
    const where = filter === null ? not : `${filter} AND ${not}`;
    return `ALTER PUBLICATION ${name} DROP TABLE lockgate.heartbeat; ALTER PUBLICATION ${name} ADD TABLE lockgate.heartbeat WHERE (${where});`;
  });
  return twice(
    link,
    `${shown(other.subscription.name)}, which no link of this configuration names, brings its rows already (by ${other.carriage.map((c) => shown(c.publication)).join(', ')})`,
    `put both links into one configuration and run setup, or run on ${link.from.name}: BEGIN; ${each.join(' ')} COMMIT;`,
  );
}

function twice(link: LinkPlan, why: string, remedy: string): SourceError {
  return new SourceError(
    'heartbeat_twice',
    `${link.id}: one heartbeat row would arrive twice in ${link.to.name} and stop apply on a duplicate key: ${why}`,
    remedy,
  );
}
