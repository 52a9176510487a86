import { linkId, type LinkId } from '../../../daemon/core/signal.js';
import { quoteLiteral, type PgConnection } from '../connection.js';
import { readCarriage, type Carriage, type Subscription } from './other-side.js';

/** A subscription that gets heartbeats from the sending side, and by which publications. */
export interface Carrying {
  readonly subscription: Subscription;
  readonly carriage: readonly Carriage[];
}

/** Two subscriptions of one database that both get the same heartbeat rows: the second INSERT of a row stops apply. */
export interface Overlap {
  readonly first: Carrying;
  readonly second: Carrying;
  /** Links whose rows come twice, made-up ones left out; empty where only links that nobody has configured would. */
  readonly links: readonly string[];
}

/** Link ids that no configuration can have: a publication that carries them carries more than it was told to. */
const NOBODY = ['~/forward', '~/reverse'];

/** Those of the receiving side's subscriptions that the connected sender serves: their slots are in its database. */
export async function servedBy(
  sender: PgConnection,
  subscriptions: readonly Subscription[],
): Promise<readonly Subscription[]> {
  const slots = subscriptions.flatMap((s) => (s.slot === null ? [] : [s.slot]));
  if (slots.length === 0) return [];
  const rows = await sender.query<{ slot: string }>(
    `SELECT slot_name AS slot FROM pg_catalog.pg_replication_slots
      WHERE database = pg_catalog.current_database() AND slot_name = ANY ($1)`,
    [slots],
  );
  return subscriptions.filter((s) => rows.some((r) => r.slot === s.slot));
}

/** Those of the subscriptions whose publications on the connected sender have the heartbeat table. */
export async function carrying(sender: PgConnection, subscriptions: readonly Subscription[]): Promise<Carrying[]> {
  const all = await readCarriage(sender, [...new Set(subscriptions.flatMap((s) => s.publications))]);
  return subscriptions
    .map((subscription) => ({
      subscription,
      carriage: all.filter((c) => subscription.publications.includes(c.publication)),
    }))
    .filter(({ carriage }) => carriage.length > 0);
}

/**
 * Which of the links' rows the publications would send, by what the sender itself makes of their filters. A filter over
 * other columns, which cannot be decided by the link alone, counts as letting the row pass.
 */
export async function carried(
  sender: PgConnection,
  carriage: readonly Carriage[],
  links: readonly string[],
): Promise<ReadonlySet<string>> {
  if (carriage.some((c) => c.filter === null)) return new Set(links);
  const passed = new Set<string>();
  for (const { filter } of carriage) {
    // The text comes from pg_get_expr: an expression over columns of this table and built-in immutable functions only.
    const rows = await sender.query<{ link: string }>(
      `SELECT h.link FROM (SELECT l.link, NULL::text AS daemon, NULL::text AS run, NULL::bigint AS seq,
          NULL::timestamptz AS sent_at FROM pg_catalog.unnest($1::text[]) AS l (link)) AS h
        WHERE (${filter ?? 'true'}) IS NOT FALSE`,
      [links],
    );
    for (const { link } of rows) passed.add(link);
  }
  return passed;
}

/** Every link id that a filter may speak of, and two that none does. */
export function probes(known: readonly string[], carriage: readonly Carriage[]): string[] {
  const spoken = carriage.flatMap((c) => literals(c.filter).map((text) => text.replace(/[%_]/g, '~')));
  return [...new Set([...known, ...spoken, ...NOBODY])];
}

function literals(filter: string | null): string[] {
  return [...(filter ?? '').matchAll(/'((?:[^']|'')*)'/g)].map(([, text = '']) => text.replaceAll("''", "'"));
}

/** The pairs of subscriptions that both get some row; `links` are the ids that the configuration knows of. */
export async function overlaps(
  sender: PgConnection,
  subscriptions: readonly Subscription[],
  links: readonly LinkId[],
): Promise<Overlap[]> {
  const all = await carrying(sender, await servedBy(sender, subscriptions));
  if (all.length < 2) return [];
  const asked = probes(
    links,
    all.flatMap((c) => c.carriage),
  );
  const sets = await Promise.all(all.map((c) => carried(sender, c.carriage, asked)));
  const found: Overlap[] = [];
  for (const [n, first] of all.entries()) {
    for (const [m, second] of all.entries()) {
      if (m <= n) continue;
      const both = asked.filter((link) => sets[n]?.has(link) === true && sets[m]?.has(link) === true);
      if (both.length === 0) continue;
      found.push({ first, second, links: both.filter((link) => !link.includes('~')) });
    }
  }
  return found;
}

/** The filter that lets only these links' rows pass. */
export function ownRows(links: readonly string[]): string {
  return `link = ANY (ARRAY[${[...links].sort().map(quoteLiteral).join(', ')}])`;
}

/** The filter of `ownRows` as the server shows it. */
export function ownRowsShown(links: readonly string[]): string {
  const each = [...links].sort().map((link) => `${quoteLiteral(link)}::text`);
  return `(link = ANY (ARRAY[${each.join(', ')}]))`;
}

/** The links of a filter that `ownRows` made; null for any other filter. */
export function linksOfOwnRows(filter: string | null): LinkId[] | null {
  const ids = literals(filter).flatMap((text) => {
    const [, migration, name] = /^([a-z0-9][a-z0-9-]*)\/(forward|reverse)$/.exec(text) ?? [];
    return migration === undefined || (name !== 'forward' && name !== 'reverse') ? [] : [linkId(migration, name)];
  });
  return ids.length > 0 && filter === ownRowsShown(ids) ? ids : null;
}
