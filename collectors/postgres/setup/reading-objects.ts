import { quoteIdent, quoteLiteral } from '../connection.js';
import { APPLICATION_SCHEMA } from '../coverage-views.js';
import { COMPARABLE } from '../verify-catalog.js';
import type { DesiredObject } from './desired-object.js';
import { onlyLink, type DaemonUser, type SidePlan } from './side-plan.js';
import { doBlock, roleWhere } from './sql-text.js';

const TABLES = `pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE ${COMPARABLE}`;

/**
 * SELECT on the application's tables, where their data is compared. It covers those that are there; one that is made
 * later cannot be read until setup is run again, and verification says so.
 */
export function rowReading(plan: SidePlan, user: DaemonUser): DesiredObject {
  const role = quoteIdent(user.name);
  const name = quoteLiteral(user.name);
  const migrations = [...new Set(plan.links.flatMap((l) => (l.verify === undefined ? [] : [l.migration])))];
  return {
    what: `SELECT on the application's tables for ${role}`,
    why: 'let the daemon compare the data of both sides',
    check: roleWhere(
      user.name,
      `NOT EXISTS (SELECT FROM ${TABLES} AND NOT (pg_catalog.has_table_privilege(r.oid, c.oid, 'SELECT')
        AND pg_catalog.has_schema_privilege(r.oid, n.oid, 'USAGE')))`,
    ),
    make: doBlock(
      `DECLARE
  x record;
BEGIN
  FOR x IN SELECT n.nspname AS schema, c.relname AS name,
      pg_catalog.has_schema_privilege(${name}, n.oid, 'USAGE') AS used,
      pg_catalog.has_table_privilege(${name}, c.oid, 'SELECT') AS readable FROM ${TABLES} LOOP
    IF NOT x.used THEN EXECUTE pg_catalog.format('GRANT USAGE ON SCHEMA %I TO %I', x.schema, ${name}); END IF;
    IF NOT x.readable THEN EXECUTE pg_catalog.format('GRANT SELECT ON %I.%I TO %I', x.schema, x.name, ${name}); END IF;
  END LOOP;
END`,
    ),
    level: 'fault',
    // Whoever may not grant it (tables of other owners on a managed service) goes without verification of these tables.
    dispensable: true,
    signals: migrations.flatMap((m) =>
      ['mismatched_rows', 'mismatched_tables', 'row_count_delta', 'coverage', 'age'].map((s) => `${m}.verify.${s}`),
    ),
    link: onlyLink(plan),
  };
}

/** Takes back what `rowReading` granted: what is granted to the role by name and not as the table's owner. */
export function rowRevocation(user: DaemonUser): { why: string; present: string; sql: string } {
  const name = quoteLiteral(user.name);
  const granted = (acl: string, owner: string): string => `CROSS JOIN LATERAL pg_catalog.aclexplode(${acl}) a
        JOIN pg_catalog.pg_roles r ON r.oid = a.grantee AND r.rolname = ${name} AND a.grantee <> ${owner}`;
  const tables = `SELECT c.oid, n.nspname AS schema, c.relname AS name FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace ${granted('c.relacl', 'c.relowner')}
      WHERE a.privilege_type = 'SELECT' AND ${COMPARABLE}`;
  // Not while the role holds anything else there than what setup gives it.
  const schemas = `SELECT DISTINCT n.nspname AS schema FROM pg_catalog.pg_namespace n ${granted('n.nspacl', 'n.nspowner')}
      WHERE a.privilege_type = 'USAGE' AND ${APPLICATION_SCHEMA}
        AND EXISTS (SELECT FROM (${tables}) t WHERE t.schema = n.nspname)
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c CROSS JOIN LATERAL pg_catalog.aclexplode(c.relacl) g
          WHERE c.relnamespace = n.oid AND g.grantee = r.oid
            AND NOT (c.relkind IN ('r', 'p', 'S') AND g.privilege_type = 'SELECT'))`;
  return {
    why: "revoke the right to read the application's tables",
    present: `EXISTS (${tables})`,
    sql: doBlock(
      `DECLARE
  x record;
BEGIN
  FOR x IN ${schemas} LOOP
    EXECUTE pg_catalog.format('REVOKE USAGE ON SCHEMA %I FROM %I', x.schema, ${name});
  END LOOP;
  FOR x IN ${tables} LOOP
    EXECUTE pg_catalog.format('REVOKE SELECT ON %I.%I FROM %I', x.schema, x.name, ${name});
  END LOOP;
END`,
    ),
  };
}
