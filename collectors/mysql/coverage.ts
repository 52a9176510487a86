import type { TableChooser } from '../../daemon/core/table-pattern.js';
import { nameKey, type CatalogTable } from './catalog.js';
import { renamed, whyIgnored, whyUnlogged, type Origin, type ReplicateRules } from './replicate-rules.js';

/** Which application tables a link by MySQL's own replication does not carry whole. Pure: what both servers say comes in. */

/** All that the two servers say. */
export interface CoverageFacts {
  /** Names of the databases, for reasons. */
  readonly from: string;
  readonly to: string;
  readonly tables: readonly CatalogTable[];
  readonly columns: ReadonlyMap<string, readonly string[]>;
  /** Tables of the target. */
  readonly others: readonly CatalogTable[];
  readonly otherColumns: ReadonlyMap<string, readonly string[]>;
  /** Some side takes names of any case for the same table. */
  readonly anyCase: boolean;
  readonly origin: Origin;
  /** Null when the source keeps no binlog. */
  readonly binlog: { readonly doDb: string; readonly ignoreDb: string } | null;
  /** The filters of the link's channels, or why there are none. */
  readonly flows: readonly (ReplicateRules | string)[];
}

/** A table that is not carried whole, and why. */
export interface Uncovered {
  readonly schema: string;
  readonly name: string;
  readonly reason: string;
  /** The target lacks it, which is no news when the source has dropped it meanwhile. */
  readonly absent: boolean;
}

/** What was found, or why nobody can tell. */
export type Judged<T> =
  { readonly found: readonly T[]; readonly reason: null } | { readonly found: null; readonly reason: string };

/** Tables whose rows lie somewhere else than in the server. */
const ELSEWHERE = new Set(['FEDERATED', 'CONNECT', 'SPIDER', 'S3', 'OQGRAPH', 'SPHINX']);

/** The application tables that are to be carried and are not, or not whole. */
export function judgeCoverage(facts: CoverageFacts, chooser: TableChooser): Judged<Uncovered> {
  const { from } = facts;
  const tables = facts.tables.filter((t) => !t.sequence);
  if (tables.length === 0) return { found: null, reason: `there is no application table on ${from}` };
  const idle = chooser.idlePattern(tables);
  if (idle !== null) return { found: null, reason: `the pattern ${idle} matches no application table on ${from}` };
  const chosen = tables.filter((t) => chooser.chooses(t.schema, t.name));
  if (chosen.length === 0) {
    return { found: null, reason: `the patterns leave no application table of ${from} to be carried` };
  }
  const letters = (text: string): string => (facts.anyCase ? text.toLowerCase() : text);
  const others = new Map(facts.others.map((t) => [letters(nameKey(t.schema, t.name)), t] as const));
  const found = chosen.flatMap((table): Uncovered[] => {
    const { schema, name } = table;
    const own = whyOnSource(facts, table);
    if (own !== null) return [{ schema, name, reason: own, absent: false }];
    // Of several channels one that carries it is enough; of those that do not the first tells why.
    let first: Omit<Uncovered, 'schema' | 'name'> | null = null;
    for (const rules of facts.flows) {
      const why = typeof rules === 'string' ? { reason: rules, absent: false } : whyOnTarget(facts, table, rules, (key) => others.get(letters(key))); // prettier-ignore
      if (why === null) return [];
      first ??= why;
    }
    return [{ schema, name, ...(first ?? { reason: 'the link has no channel', absent: false }) }];
  });
  return { found, reason: null };
}

function whyOnSource({ from, binlog, origin }: CoverageFacts, { schema, engine }: CatalogTable): string | null {
  if (binlog === null) return `${from} keeps no binlog`;
  const unlogged = whyUnlogged(binlog, origin, schema);
  if (unlogged !== null) return `${unlogged} on ${from}`;
  if (engine === null) return `${from} cannot open it`;
  const kind = engine.toUpperCase();
  if (ELSEWHERE.has(kind)) return `${kind}: its rows do not lie on ${from}`;
  if (kind === 'BLACKHOLE') return 'BLACKHOLE: its updates and deletes are not logged';
  if (kind === 'MEMORY') return 'MEMORY: a restart empties it, on either side for itself';
  return null;
}

function whyOnTarget(
  facts: CoverageFacts,
  { schema, name }: CatalogTable,
  rules: ReplicateRules,
  find: (key: string) => CatalogTable | undefined,
): Omit<Uncovered, 'schema' | 'name'> | null {
  const { to } = facts;
  const ignored = whyIgnored(rules, facts.origin, schema, name);
  if (ignored !== null) return { reason: `${ignored} on ${to}`, absent: false };
  const other = find(nameKey(renamed(rules, schema), name));
  if (other === undefined) return { reason: `there is no such table on ${to}`, absent: true };
  const kind = other.engine?.toUpperCase();
  if (kind === 'BLACKHOLE' || kind === 'MEMORY') {
    return { reason: `${kind} on ${to}: what it is given there is not kept`, absent: false };
  }
  const columns = facts.columns.get(nameKey(schema, name));
  const there = facts.otherColumns.get(nameKey(other.schema, other.name));
  // A table made between two questions: the next look knows its columns.
  if (columns === undefined || there === undefined) return null;
  const reason = whyColumns(columns, there, to);
  return reason === null ? null : { reason, absent: false };
}

/** The key that MySQL itself adds, on one side only if it is told so; replication knows of it. */
const MADE_UP = 'my_row_id';

/** Why rows do not fit the columns of the other side, by their order; further ones at its end do no harm. */
export function whyColumns(columns: readonly string[], there: readonly string[], to: string): string | null {
  const only = columns.includes(MADE_UP) === there.includes(MADE_UP) ? '' : MADE_UP;
  const own = columns.filter((c) => c !== only);
  const other = there.filter((c) => c !== only);
  const missing = own.filter((c) => !other.includes(c));
  if (missing.length > 0) {
    const more = missing.length > 5 ? ` and ${missing.length - 5} more` : '';
    return `${to} lacks its column${missing.length > 1 ? 's' : ''} ${missing.slice(0, 5).join(', ')}${more}`;
  }
  const at = own.findIndex((c, i) => other[i] !== c);
  if (at < 0) return null;
  return `its column ${at + 1} is ${own[at] ?? ''}, and on ${to} ${other[at] ?? ''}: rows are carried by the order of columns`;
}

/** How many tables a reason names. */
const NAMED = 10;

/** Those that the text of a reason names, in the order of their names. */
export function named<T extends { readonly schema: string; readonly name: string }>(found: readonly T[]): T[] {
  const key = (t: T): string => `${t.schema}.${t.name}`;
  return [...found].sort((a, b) => (key(a) < key(b) ? -1 : 1)).slice(0, NAMED);
}

/** The names with why, and how many more there are; null when there is none. */
export function listed(
  found: readonly { readonly schema: string; readonly name: string; readonly reason: string }[],
): string | null {
  if (found.length === 0) return null;
  const lines = named(found).map((t) => `${shownName(t)}: ${t.reason}`);
  if (found.length > NAMED) lines.push(`and ${found.length - NAMED} more`);
  return lines.join('; ');
}

/** A table's name as it is written in SQL, for people; quotes only where they are needed. */
export function shownName({ schema, name }: { readonly schema: string; readonly name: string }): string {
  const part = (text: string): string =>
    /^[A-Za-z_][A-Za-z0-9_$]*$/.test(text) ? text : `\`${text.replaceAll('`', '``').replace(/[\r\n]+/g, ' ')}\``;
  return `${part(schema)}.${part(name)}`;
}
