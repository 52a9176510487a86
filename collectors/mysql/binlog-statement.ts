/**
 * What a statement in the binlog does, as far as it must be known to tell local writes from everything else. Pure.
 * Changes of rows come as row events; statements are DDL, the ends of transactions, TRUNCATE, and what sessions write
 * that chose statement format.
 */

/** What a statement does. */
export type StatementEffect =
  /** Nothing to the application's rows: DDL, ANALYZE, grants, savepoints, BEGIN. */
  | { readonly kind: 'none' }
  /** It ends the transaction, and what was in it stays. */
  | { readonly kind: 'commit' }
  | { readonly kind: 'xa-commit' | 'xa-rollback'; readonly xid: string }
  /** It empties a table and is a transaction of its own. */
  | { readonly kind: 'truncate'; readonly owner: Owner }
  /** It changes rows, as part of its transaction. */
  | { readonly kind: 'change'; readonly owner: Owner };

/** Whose table something is. */
export type Owner = 'application' | 'direction' | 'other';

const NONE: StatementEffect = { kind: 'none' };
/** The server's own tables: what is in them is no row of the application. */
const SYSTEM: ReadonlySet<string> = new Set(['mysql', 'sys', 'performance_schema', 'information_schema']);

/** Whose a table is: lockgate's, one of DMS's control tables and the server's own are not the application's. */
export function ownerOf(schema: string, name: string): Owner {
  if (schema === 'lockgate') return name === 'direction' ? 'direction' : 'other';
  return SYSTEM.has(schema) || name.startsWith('awsdms_') ? 'other' : 'application';
}

const NAME = '(?:`((?:[^`]|``)+)`|([^\\s`.;,()]+))';
const TABLE = new RegExp(`^\\s*${NAME}(?:\\s*\\.\\s*${NAME})?`);
const CHANGE =
  /^(?:(?:insert|replace)\s+(?:low_priority\s+|delayed\s+|high_priority\s+|ignore\s+)*into|delete\s+(?:low_priority\s+|quick\s+|ignore\s+)*from|update(?:\s+low_priority|\s+ignore)*)\s+/i;
const HARMLESS =
  /^(?:begin|start\s+transaction|xa\s+(?:start|begin|end|prepare)|savepoint|release|rollback\s+to|set|create|alter|drop|rename|grant|revoke|flush|analyze|optimize|repair|check|install|uninstall|import|cache|reset)\b/i;
const MAKES_ROWS = /^create\s+(?:or\s+replace\s+)?(?:temporary\s+)?table\b[^]*\bselect\b/i;
const EMPTIES_PARTITION = /^alter\s+table\b[^]*\btruncate\s+partition\b/i;

/** Tells what a statement does that ran in the database `schema`; whatever is not known counts as a change of the application's. */
export function effectOf(text: string, schema: string): StatementEffect {
  const sql = stripped(text);
  if (/^(?:commit|rollback)\s*;?\s*$/i.test(sql)) return { kind: 'commit' };
  const xa = /^xa\s+(commit|rollback)\s+([^]*)$/i.exec(sql);
  if (xa !== null) {
    const xid = (xa[2] ?? '').toLowerCase().replace(/\s|;|one\s+phase/g, '');
    return { kind: xa[1]?.toLowerCase() === 'commit' ? 'xa-commit' : 'xa-rollback', xid };
  }
  const truncate = /^truncate\s+(?:table\s+)?/i.exec(sql);
  if (truncate !== null) return { kind: 'truncate', owner: tableOwner(sql.slice(truncate[0].length), schema) };
  if (EMPTIES_PARTITION.test(sql)) {
    return { kind: 'truncate', owner: tableOwner(sql.replace(/^alter\s+table\s+/i, ''), schema) };
  }
  if (MAKES_ROWS.test(sql)) return { kind: 'change', owner: 'application' };
  if (HARMLESS.test(sql) || sql === '') return NONE;
  const change = CHANGE.exec(sql);
  return { kind: 'change', owner: change === null ? 'application' : tableOwner(sql.slice(change[0].length), schema) };
}

function tableOwner(after: string, schema: string): Owner {
  const match = TABLE.exec(after);
  if (match === null) return 'application';
  const first = unquoted(match[1], match[2]);
  const second = unquoted(match[3], match[4]);
  if (first === null) return 'application';
  return second === null ? ownerOf(schema, first) : ownerOf(first, second);
}

function unquoted(quoted: string | undefined, plain: string | undefined): string | null {
  return quoted?.replaceAll('``', '`') ?? plain ?? null;
}

/** Leaves out comments before the statement, and opens those that the server executes. */
function stripped(text: string): string {
  let sql = text;
  for (;;) {
    const before = sql;
    sql = sql
      .trimStart()
      .replace(/^(?:#|--\s)[^\n]*(?:\n|$)/, '')
      .replace(/^\/\*M?!\d*\s*/, '')
      .replace(/^\/\*[^]*?\*\//, '');
    if (sql === before) return sql.replace(/\*\/\s*$/, '');
  }
}
