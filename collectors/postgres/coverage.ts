import type { TableChooser } from '../../daemon/core/table-pattern.js';
import { quoteIdent } from './connection.js';

/**
 * Which application tables a link does not carry whole. Pure: what the catalogs of both sides say comes in, and the rules
 * by which a publisher decides what it sends (pgoutput's, for 13 to 18) are written down here.
 */

/** A table of the source. */
export interface SourceTable {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly partitioned: boolean;
  readonly unlogged: boolean;
  /** The partitioned table that it is a partition of; null for none. */
  readonly parent: number | null;
}

/** The operations that a publication may leave out. */
export const OPERATIONS = ['insert', 'update', 'delete', 'truncate'] as const;
export type Operation = (typeof OPERATIONS)[number];

/** A publication of the source. */
export interface Publication {
  readonly name: string;
  readonly allTables: boolean;
  readonly viaRoot: boolean;
  readonly operations: ReadonlySet<Operation>;
  /** Tables that it names, by oid. */
  readonly members: ReadonlyMap<number, Membership>;
  readonly schemas: ReadonlySet<string>;
}

/** How a publication names a table. */
export interface Membership {
  readonly filtered: boolean;
  /** Columns that its column list leaves out; empty without such a list. */
  readonly lacks: readonly string[];
}

/** A subscription of the target. */
export interface SubscriptionTables {
  readonly publications: readonly string[];
  /** State of every table that it knows, by `nameKey`. */
  readonly tables: ReadonlyMap<string, SubscribedTable>;
}

/** A table that a subscription knows. */
export interface SubscribedTable {
  readonly schema: string;
  readonly name: string;
  /** As pg_subscription_rel has it: i, d, f, s or r. */
  readonly state: string;
}

/** All that the catalogs say. */
export interface CoverageFacts {
  /** Names of the databases, for reasons. */
  readonly from: string;
  readonly to: string;
  readonly tables: ReadonlyMap<number, SourceTable>;
  /** Publications of the source that some subscription of the link names, by name. */
  readonly publications: ReadonlyMap<string, Publication>;
  /** The link's subscriptions, by name; null when the target has none of that name. */
  readonly flows: ReadonlyMap<string, SubscriptionTables | null>;
}

/** A table that is not carried whole, and why. `absent`: the target's name to look for before the reason is final. */
export interface Uncovered {
  readonly schema: string;
  readonly name: string;
  readonly reason: string;
  readonly absent: { readonly schema: string; readonly name: string } | null;
}

/** A count, or null with the reason why there is none. */
export type Judged<T> =
  { readonly found: readonly T[]; readonly reason: null } | { readonly found: null; reason: string };

/** A name that no other can be mistaken for. */
export function nameKey(schema: string, name: string): string {
  return JSON.stringify([schema, name]);
}

/** Tables and partitioned tables that are no partition themselves, as far as they are chosen. */
export function chosenTables(
  tables: ReadonlyMap<number, SourceTable>,
  chooser: TableChooser,
  from: string,
): Judged<SourceTable> {
  const roots = [...tables.values()].filter((t) => t.parent === null);
  if (roots.length === 0) return { found: null, reason: `there is no application table on ${from}` };
  const idle = chooser.idlePattern(roots);
  if (idle !== null) {
    const reason = `the pattern ${idle} matches no application table on ${from} (a partition counts as its partitioned table)`;
    return { found: null, reason };
  }
  const found = roots.filter((t) => chooser.chooses(t.schema, t.name));
  if (found.length > 0) return { found, reason: null };
  return { found: null, reason: `the patterns leave no application table of ${from} to be carried` };
}

/** Every table that has rows of its own, by the table that it belongs to; partitions that are excluded by name left out. */
export function leavesOf(
  tables: ReadonlyMap<number, SourceTable>,
  chooser: TableChooser,
): ReadonlyMap<number, { table: SourceTable; chain: SourceTable[] }[]> {
  const leaves = new Map<number, { table: SourceTable; chain: SourceTable[] }[]>();
  for (const table of tables.values()) {
    if (table.partitioned) continue;
    const chain = [table];
    for (let at: SourceTable | undefined = table; at !== undefined && at.parent !== null;) {
      at = tables.get(at.parent);
      if (at !== undefined) chain.push(at);
    }
    const root = chain.at(-1) ?? table;
    if (chain.slice(0, -1).some((t) => chooser.excludes(t.schema, t.name))) continue;
    const known = leaves.get(root.oid);
    if (known === undefined) leaves.set(root.oid, [{ table, chain }]);
    else known.push({ table, chain });
  }
  return leaves;
}

/** The application tables that a logical link does not carry whole. */
export function judgeCoverage(facts: CoverageFacts, chooser: TableChooser): Judged<Uncovered> {
  const chosen = chosenTables(facts.tables, chooser, facts.from);
  if (chosen.found === null) return chosen;
  const leaves = leavesOf(facts.tables, chooser);
  const found: Uncovered[] = [];
  for (const table of chosen.found) {
    const { oid, schema, name, partitioned } = table;
    const parts = leaves.get(oid) ?? [];
    const of = (part: SourceTable): string => (part.oid === oid ? '' : `partition ${shownName(part)}: `);
    if (parts.length === 0) {
      // A partitioned table without partitions has nothing to carry yet, but its first partition will.
      if (partitioned && !carriesSome(facts, table)) {
        found.push({ schema, name, reason: 'in no publication of this link', absent: null });
      }
      continue;
    }
    const bad = parts.flatMap((part) => {
      const obstacle = obstacleOf(facts, part.chain);
      return obstacle === null ? [] : [{ part: part.table, ...obstacle }];
    });
    const [first] = bad;
    if (first === undefined) continue;
    const more = bad.length > 1 ? ` (and ${bad.length - 1} more of ${parts.length} partitions)` : '';
    found.push({ schema, name, reason: `${of(first.part)}${first.reason}${more}`, absent: first.absent });
  }
  return { found, reason: null };
}

/** The application tables that crash recovery empties and a physical standby never has the rows of. */
export function judgeUnlogged(facts: Pick<CoverageFacts, 'from' | 'tables'>, chooser: TableChooser): Judged<Uncovered> {
  const chosen = chosenTables(facts.tables, chooser, facts.from);
  if (chosen.found === null) return chosen;
  const leaves = leavesOf(facts.tables, chooser);
  const found = chosen.found.flatMap(({ oid, schema, name }) => {
    const bad = (leaves.get(oid) ?? []).find(({ table }) => table.unlogged)?.table;
    if (bad === undefined) return [];
    const reason = bad.oid === oid ? 'unlogged' : `partition ${shownName(bad)}: unlogged`;
    return [{ schema, name, reason, absent: null }];
  });
  return { found, reason: null };
}

/** What one subscription's publications send of a table's changes, and under which name. */
interface Sent {
  as: SourceTable;
  operations: ReadonlySet<Operation>;
  /** Publications whose row filter keeps back rows of an operation that is sent. */
  filtered: Map<Operation, string>;
  lacks: { publication: string; columns: readonly string[] } | null;
}

interface Obstacle {
  reason: string;
  absent: Uncovered['absent'];
}

/** Why a table's changes do not all arrive; null when they do. `chain` is the table and the partitioned tables above it. */
function obstacleOf(facts: CoverageFacts, chain: readonly SourceTable[]): Obstacle | null {
  if (chain[0]?.unlogged === true) return { reason: 'unlogged', absent: null };
  const whole = new Set<Operation>();
  /** The one that comes nearest to carrying it tells most. */
  let best: Obstacle & { rank: number } = { rank: -1, reason: 'the link has no subscription', absent: null };
  const offer = (rank: number, reason: string, absent: Uncovered['absent'] = null): void => {
    if (rank > best.rank) best = { rank, reason, absent };
  };
  const partial: Sent[] = [];
  for (const [flow, subscription] of facts.flows) {
    if (subscription === null) {
      offer(0, `there is no subscription ${quoteIdent(flow)} on ${facts.to}`);
      continue;
    }
    const publications = subscription.publications.flatMap((name) => facts.publications.get(name) ?? []);
    const sent = sentBy(publications, chain);
    if (sent === null) {
      offer(1, `in no publication of this link (${subscription.publications.join(', ')})`);
      continue;
    }
    const { schema, name } = sent.as;
    if (!subscription.tables.has(nameKey(schema, name))) {
      const refresh = `not known to the subscription: ALTER SUBSCRIPTION ${quoteIdent(flow)} REFRESH PUBLICATION`;
      offer(2, refresh, { schema, name });
      continue;
    }
    partial.push(sent);
    for (const operation of sent.operations) {
      const hidden = sent.filtered.has(operation);
      const narrow = sent.lacks !== null && (operation === 'insert' || operation === 'update');
      if (!hidden && !narrow) whole.add(operation);
    }
  }
  if (OPERATIONS.every((operation) => whole.has(operation))) return null;
  if (partial.length > 0) offer(3, whyPartial(partial, whole));
  return { reason: best.reason, absent: best.absent };
}

function whyPartial(sent: readonly Sent[], whole: ReadonlySet<Operation>): string {
  const reasons = new Set<string>();
  const missing = OPERATIONS.filter((o) => !whole.has(o));
  const unsent = missing.filter((o) => !sent.some(({ operations }) => operations.has(o)));
  if (unsent.length > 0) reasons.add(`${unsent.join(', ')} not published`);
  for (const { filtered, lacks } of sent) {
    for (const operation of missing) {
      const publication = filtered.get(operation);
      if (publication !== undefined) reasons.add(`row filter in ${publication}`);
    }
    if (lacks !== null) reasons.add(`column list of ${lacks.publication} lacks ${lacks.columns.join(', ')}`);
  }
  return [...reasons].join(', ');
}

/**
 * What a walsender does with one table's changes, given all publications of its subscription; null when it sends none.
 * Operations of all publications that have the table are joined, while filters and column lists count only of those
 * through which it goes out under the topmost name.
 */
function sentBy(publications: readonly Publication[], chain: readonly SourceTable[]): Sent | null {
  const has = (p: Publication, table: SourceTable): boolean =>
    p.allTables || p.members.has(table.oid) || p.schemas.has(table.schema);
  const through: { publication: Publication; level: number }[] = [];
  for (const publication of publications) {
    const level = chain.findLastIndex((table) => has(publication, table));
    if (level >= 0) through.push({ publication, level: publication.viaRoot ? level : 0 });
  }
  if (through.length === 0) return null;
  const top = Math.max(...through.map(({ level }) => level));
  const as = chain[top];
  if (as === undefined) return null;
  const deciding = through.filter(({ level }) => level === top).map(({ publication }) => publication);
  const filtered = new Map<Operation, string>();
  // A TRUNCATE has no rows that a filter could look at.
  for (const operation of OPERATIONS.slice(0, 3)) {
    const senders = deciding.filter((p) => p.operations.has(operation));
    const [first] = senders;
    if (first !== undefined && senders.every((p) => isFiltered(p, as))) filtered.set(operation, first.name);
  }
  const lists = deciding.map((p) => ({ publication: p.name, columns: listOf(p, as) }));
  const complete = lists.some(({ columns }) => columns.length === 0);
  return {
    as,
    operations: new Set(through.flatMap(({ publication }) => [...publication.operations])),
    filtered,
    lacks: complete ? null : (lists[0] ?? null),
  };
}

/** A publication of all tables or of the table's schema has no filters and no column lists. */
function isFiltered(publication: Publication, as: SourceTable): boolean {
  if (publication.allTables || publication.schemas.has(as.schema)) return false;
  return publication.members.get(as.oid)?.filtered === true;
}

function listOf(publication: Publication, as: SourceTable): readonly string[] {
  if (publication.allTables || publication.schemas.has(as.schema)) return [];
  return publication.members.get(as.oid)?.lacks ?? [];
}

function carriesSome(facts: CoverageFacts, table: SourceTable): boolean {
  return [...facts.flows.values()].some((subscription) =>
    subscription?.publications.some((name) => {
      const publication = facts.publications.get(name);
      return publication !== undefined && sentBy([publication], [table]) !== null;
    }),
  );
}

const STATES: Readonly<Record<string, string>> = {
  i: 'waits to be copied',
  d: 'is being copied',
  f: 'is copied and catches up',
  s: 'is copied and catches up',
};

/** The application tables whose initial copy is not finished; a partitioned table counts once. */
export function judgeSyncing(facts: CoverageFacts, chooser: TableChooser): Judged<Uncovered> {
  const roots = new Map<string, SourceTable>();
  for (const table of facts.tables.values()) {
    let root = table;
    for (let up = table.parent; up !== null; up = root.parent) {
      const parent = facts.tables.get(up);
      if (parent === undefined) break;
      root = parent;
    }
    roots.set(nameKey(table.schema, table.name), root);
  }
  const found = new Map<string, Uncovered>();
  let known = 0;
  for (const [flow, subscription] of facts.flows) {
    if (subscription === null) {
      return { found: null, reason: `there is no subscription ${quoteIdent(flow)} on ${facts.to}` };
    }
    for (const [key, { schema, name, state }] of subscription.tables) {
      const root = roots.get(key) ?? { schema, name };
      if (!chooser.chooses(root.schema, root.name) || chooser.excludes(schema, name)) continue;
      known += 1;
      if (state === 'r') continue;
      const unit = nameKey(root.schema, root.name);
      const reason = STATES[state] ?? `state ${state}`;
      if (!found.has(unit)) found.set(unit, { schema: root.schema, name: root.name, reason, absent: null });
    }
  }
  // Nothing unfinished among nothing is no good news.
  if (known === 0) return { found: null, reason: `no subscription of this link knows an application table yet` };
  return { found: [...found.values()], reason: null };
}

/** How many tables a reason names. */
const NAMED = 10;

/** Those that the text of a reason names, in the order of their names. */
export function named(found: readonly Uncovered[]): Uncovered[] {
  const key = (t: Uncovered): string => `${t.schema}.${t.name}`;
  return [...found].sort((a, b) => (key(a) < key(b) ? -1 : 1)).slice(0, NAMED);
}

/** The names with why, and how many more there are; null when there is none. */
export function listed(found: readonly Uncovered[], first: readonly Uncovered[] = named(found)): string | null {
  if (found.length === 0) return null;
  const lines = first.map((t) => `${shownName(t)}: ${t.reason}`);
  if (found.length > first.length) lines.push(`and ${found.length - first.length} more`);
  return lines.join('; ');
}

/** A table's name as it is written in SQL, for people; quotes only where they are needed. */
export function shownName({ schema, name }: { readonly schema: string; readonly name: string }): string {
  const part = (text: string): string =>
    /^[a-z_][a-z0-9_$]*$/.test(text) ? text : quoteIdent(text).replace(/[\r\n]+/g, ' ');
  return `${part(schema)}.${part(name)}`;
}
