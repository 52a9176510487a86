import { quoteIdent, quoteLiteral } from '../connection.js';

/** The oid of lockgate's heartbeat table, or null; a catalog look-up, because to_regclass fails without USAGE on the schema. */
export const HEARTBEAT_OID = tableOid('heartbeat');
/** The oid of lockgate's direction table, or null. */
export const DIRECTION_OID = tableOid('direction');

function tableOid(table: string): string {
  return (
    `(SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace ` +
    `WHERE n.nspname = 'lockgate' AND c.relname = '${table}')`
  );
}

/** The server's version as a number, in SQL: a script must find out itself where it runs. */
export const VERSION_NUM = `pg_catalog.current_setting('server_version_num')::int`;

/** Wraps statements in a DO block, so that they may depend on what is there; the quoting survives any name inside. */
export function doBlock(body: string): string {
  let tag = '$lockgate$';
  for (let n = 1; body.includes(tag); n++) tag = `$lockgate${n}$`;
  return `DO ${tag}\n${body}\n${tag};`;
}

/** Renders text as SQL comments; names with line breaks must not end the comment. */
export function comment(...lines: readonly string[]): string {
  return lines.map((line) => `-- ${line.replace(/[\r\n]+/g, ' ')}`).join('\n');
}

/** An SQL array of text. */
export function textArray(values: readonly string[]): string {
  return `ARRAY[${values.map(quoteLiteral).join(', ')}]::text[]`;
}

/** `exists (select …)` for a role that fulfils a condition on `r` (pg_roles); without the role it is false. */
export function roleWhere(role: string, condition: string): string {
  return `EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = ${quoteLiteral(role)} AND (${condition}))`;
}

/** True when the role holds every one of the privileges on a table given by an oid expression; false where either is missing. */
export function holdsOnTable(role: string, tableOidSql: string, privileges: readonly string[]): string {
  const each = privileges.map(
    (p) => `coalesce(pg_catalog.has_table_privilege(r.oid, ${tableOidSql}, ${quoteLiteral(p)}), false)`,
  );
  return roleWhere(role, each.join(' AND '));
}

/** A name inside a message, for people. */
export function shown(name: string): string {
  return quoteIdent(name).replace(/[\r\n]+/g, ' ');
}
