import { quoteIdent, quoteLiteral } from '../connection.js';
import { APPLICATION_SCHEMA } from '../coverage-views.js';
import type { DesiredObject } from './desired-object.js';
import { migrationSignals, onlyLink, type DaemonUser, type SidePlan } from './side-plan.js';
import { doBlock, roleWhere } from './sql-text.js';

/** The application's sequences (not those of unlogged tables, nor lockgate's), as a FROM with their WHERE begun. */
const SEQUENCES = `pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind = 'S' AND c.relpersistence = 'p' AND c.oid >= 16384 AND ${APPLICATION_SCHEMA}`;

/**
 * SELECT on the application's sequences, and nothing of its tables: where a sequence stands shows in no catalog. It
 * covers those that are there; one that is made later is missing until setup is run again, and the signal says so.
 */
export function sequenceReading(plan: SidePlan, user: DaemonUser): DesiredObject {
  const role = quoteIdent(user.name);
  return {
    what: `SELECT on the application's sequences for ${role}`,
    why: 'let the daemon compare sequences, which replication does not carry',
    check: roleWhere(
      user.name,
      `NOT EXISTS (SELECT FROM ${SEQUENCES} AND NOT (pg_catalog.has_sequence_privilege(r.oid, c.oid, 'SELECT')
        AND pg_catalog.has_schema_privilege(r.oid, n.oid, 'USAGE')))`,
    ),
    make: doBlock(
      `DECLARE
  x record;
BEGIN
  FOR x IN SELECT DISTINCT n.nspname AS name,
      pg_catalog.has_schema_privilege(${quoteLiteral(user.name)}, n.oid, 'USAGE') AS used FROM ${SEQUENCES} LOOP
    IF NOT x.used THEN EXECUTE pg_catalog.format('GRANT USAGE ON SCHEMA %I TO %I', x.name, ${quoteLiteral(user.name)}); END IF;
    EXECUTE pg_catalog.format('GRANT SELECT ON ALL SEQUENCES IN SCHEMA %I TO %I', x.name, ${quoteLiteral(user.name)});
  END LOOP;
END`,
    ),
    level: 'fault',
    // Whoever may not grant it (sequences of other owners on a managed service) goes without this one signal.
    dispensable: true,
    signals: migrationSignals(plan, 'sequences.behind'),
    link: onlyLink(plan),
  };
}

/** Takes back what `sequenceReading` granted: what is granted to the role by name and not as the sequence's owner. */
export function sequenceRevocation(user: DaemonUser): { why: string; present: string; sql: string } {
  const name = quoteLiteral(user.name);
  const granted = (acl: string, owner: string): string => `CROSS JOIN LATERAL pg_catalog.aclexplode(${acl}) a
        JOIN pg_catalog.pg_roles r ON r.oid = a.grantee WHERE r.rolname = ${name} AND a.grantee <> ${owner}`;
  const sequences = `SELECT c.oid, n.nspname AS schema, c.relname AS name FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace ${granted('c.relacl', 'c.relowner')}
        AND c.relkind = 'S' AND a.privilege_type = 'SELECT' AND ${APPLICATION_SCHEMA}`;
  const schemas = `SELECT DISTINCT n.nspname AS schema FROM pg_catalog.pg_namespace n ${granted('n.nspacl', 'n.nspowner')}
        AND a.privilege_type = 'USAGE' AND ${APPLICATION_SCHEMA}
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c CROSS JOIN LATERAL pg_catalog.aclexplode(c.relacl) g
          WHERE c.relnamespace = n.oid AND g.grantee = r.oid AND NOT (c.relkind = 'S' AND g.privilege_type = 'SELECT'))`;
  return {
    why: "revoke the right to read the application's sequences",
    present: `EXISTS (${sequences})`,
    sql: doBlock(
      `DECLARE
  x record;
BEGIN
  FOR x IN ${schemas} LOOP
    EXECUTE pg_catalog.format('REVOKE USAGE ON SCHEMA %I FROM %I', x.schema, ${name});
  END LOOP;
  FOR x IN ${sequences} LOOP
    EXECUTE pg_catalog.format('REVOKE SELECT ON SEQUENCE %I.%I FROM %I', x.schema, x.name, ${name});
  END LOOP;
END`,
    ),
  };
}
