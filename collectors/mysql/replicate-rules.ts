/**
 * Which tables the filters of a replica and of its source let through. Pure: the rules of both flavours for changes that
 * are logged by row, as their manuals give them, and what is different where statements are logged.
 *
 * Where upper and lower case may or may not matter, depending on the server's file system, a rule that lets through is
 * taken by the exact letters and one that leaves out by any, so that a doubt is never a table that seems to be carried.
 */

/** The filters of one channel. */
export interface ReplicateRules {
  readonly doDb: readonly string[];
  readonly ignoreDb: readonly string[];
  readonly doTable: readonly string[];
  readonly ignoreTable: readonly string[];
  readonly wildDoTable: readonly string[];
  readonly wildIgnoreTable: readonly string[];
  /** Databases that have another name on the replica. */
  readonly rewrite: ReadonlyMap<string, string>;
  /** Servers and domains whose changes are left out, or let through alone. */
  readonly ignoreServers: readonly string[];
  readonly doDomains: readonly string[];
  readonly ignoreDomains: readonly string[];
}

/** Where changes come from. */
export interface Origin {
  readonly serverId: number;
  /** Null on MySQL. */
  readonly domain: number | null;
  /** `binlog_format`. */
  readonly format: string;
}

const list = (text: string | undefined): string[] =>
  (text ?? '')
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');

/** Reads the filters as the status of a replica shows them. */
export function rulesOf(filters: Readonly<Record<string, string>>): ReplicateRules {
  return {
    doDb: list(filters['Replicate_Do_DB']),
    ignoreDb: list(filters['Replicate_Ignore_DB']),
    doTable: list(filters['Replicate_Do_Table']),
    ignoreTable: list(filters['Replicate_Ignore_Table']),
    wildDoTable: list(filters['Replicate_Wild_Do_Table']),
    wildIgnoreTable: list(filters['Replicate_Wild_Ignore_Table']),
    rewrite: new Map(rewritesOf(filters['Replicate_Rewrite_DB'] ?? '')),
    ignoreServers: list(filters['Replicate_Ignore_Server_Ids']),
    doDomains: list(filters['Replicate_Do_Domain_Ids']),
    ignoreDomains: list(filters['Replicate_Ignore_Domain_Ids']),
  };
}

/** MySQL shows pairs in brackets, MariaDB shows them with arrows. */
function rewritesOf(text: string): [string, string][] {
  const pairs = text.includes('->')
    ? text.split(',').map((pair) => pair.split('->'))
    : [...text.matchAll(/\(([^,()]*),([^()]*)\)/g)].map((m) => m.slice(1));
  return pairs.map(([from = '', to = '']) => [from.trim(), to.trim()]);
}

/** What a database of the source is called on the replica. */
export function renamed(rules: ReplicateRules, schema: string): string {
  return rules.rewrite.get(schema) ?? schema;
}

/** Why a replica leaves out some or all changes of a table; null when it applies all of them. `schema` is the source's name. */
export function whyIgnored(rules: ReplicateRules, origin: Origin, schema: string, table: string): string | null {
  if (rules.ignoreServers.includes(String(origin.serverId))) return 'IGNORE_SERVER_IDS names its source';
  const domain = origin.domain === null ? null : String(origin.domain);
  if (domain !== null && rules.ignoreDomains.includes(domain)) return `IGNORE_DOMAIN_IDS names domain ${domain}`;
  if (domain !== null && rules.doDomains.length > 0 && !rules.doDomains.includes(domain)) {
    return `DO_DOMAIN_IDS lacks domain ${domain}`;
  }
  // Renaming comes before every other rule.
  const db = renamed(rules, schema);
  const byDatabase = whyNotDatabase(rules.doDb, rules.ignoreDb, db, 'Replicate_Do_DB', 'Replicate_Ignore_DB', origin);
  if (byDatabase !== null) return byDatabase;
  const name = `${db}.${table}`;
  if (rules.doTable.includes(name)) return null;
  if (rules.ignoreTable.some((t) => sameLetters(t, name))) return 'Replicate_Ignore_Table names it';
  if (rules.wildDoTable.some((pattern) => matches(pattern, name, ''))) return null;
  const wild = rules.wildIgnoreTable.find((pattern) => matches(pattern, name, 'i'));
  if (wild !== undefined) return `Replicate_Wild_Ignore_Table has ${wild}`;
  if (rules.doTable.length + rules.wildDoTable.length > 0) {
    return `Replicate_${rules.doTable.length > 0 ? 'Do_Table' : 'Wild_Do_Table'} lacks it`;
  }
  return null;
}

/** Why a source does not log some or all changes of a database; null when it logs all of them. */
export function whyUnlogged(
  binlog: { readonly doDb: string; readonly ignoreDb: string },
  origin: Origin,
  schema: string,
): string | null {
  return whyNotDatabase(list(binlog.doDb), list(binlog.ignoreDb), schema, 'binlog_do_db', 'binlog_ignore_db', origin);
}

/** Rows go by the database of their table, statements by the default one of their session. */
function whyNotDatabase(
  doDb: readonly string[],
  ignoreDb: readonly string[],
  db: string,
  doName: string,
  ignoreName: string,
  { format }: Origin,
): string | null {
  const statements = format.toUpperCase() !== 'ROW';
  if (doDb.length > 0) {
    if (!doDb.includes(db)) return `${doName} lacks ${db}`;
    return statements
      ? `${doName} with binlog_format = ${format}: statements run from another default database are left out`
      : null;
  }
  if (ignoreDb.some((d) => sameLetters(d, db))) return `${ignoreName} names ${db}`;
  return ignoreDb.length > 0 && statements
    ? `${ignoreName} with binlog_format = ${format}: statements run from an ignored default database are left out`
    : null;
}

function sameLetters(a: string, b: string): boolean {
  return a.toLowerCase() === b.toLowerCase();
}

/** As LIKE has it: `%` and `_` stand for others unless a backslash comes before them. */
function matches(pattern: string, name: string, flags: '' | 'i'): boolean {
  const literal = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
  const source = [...pattern.matchAll(/\\(.)|(%)|(_)|(.)/gs)]
    .map(([, escaped, many, one, other]) => {
      if (many !== undefined) return '.*';
      if (one !== undefined) return '.';
      return literal(escaped ?? other ?? '');
    })
    .join('');
  return new RegExp(`^${source}$`, `s${flags}`).test(name);
}
