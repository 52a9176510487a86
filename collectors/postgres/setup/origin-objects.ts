import { quoteIdent, quoteLiteral } from '../connection.js';
import type { DesiredObject } from './desired-object.js';
import { linkSignals, onlyLink, type DaemonUser, type SidePlan } from './side-plan.js';
import { VERSION_NUM, doBlock, roleWhere } from './sql-text.js';

/** The signature of the built-in that tells where every origin stands, and by which local commit. */
const STATUS = 'pg_catalog.pg_show_replication_origin_status()';

/**
 * What shows that an origin was moved by hand, or a subscription's row changed, on the receiving side. From 14 on EXECUTE
 * on the built-in can be granted; on 13, and where an administrator may use but not grant it, a SECURITY DEFINER function
 * stands in for it. The version of a subscription's row is a column that only a superuser can grant; without it a little
 * less is seen, so its refusal is no fault.
 */
export function originStatus(plan: SidePlan, user: DaemonUser): DesiredObject {
  const role = quoteIdent(user.name);
  const builtIn = `r.rolsuper OR (${VERSION_NUM} >= 140000 AND pg_catalog.has_function_privilege(r.oid, '${STATUS}', 'EXECUTE'))`;
  // On 13 anyone may execute it, by its privileges, and is then refused by its code.
  const mayCall = (who: string): string =>
    `CASE WHEN ${VERSION_NUM} >= 140000 THEN pg_catalog.has_function_privilege(${who}, '${STATUS}', 'EXECUTE')
      ELSE (SELECT a.rolsuper FROM pg_catalog.pg_roles a WHERE a.oid = ${who}) END`;
  const ours = `EXISTS (SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
      WHERE n.nspname = 'lockgate' AND p.proname = 'origin_status' AND p.prosecdef AND p.proconfig IS NOT NULL
        AND ${mayCall('p.proowner')}
        AND pg_catalog.has_function_privilege(r.oid, p.oid, 'EXECUTE'))`;
  return {
    what: `the right of ${role} to see where origins stand`,
    why: 'let the daemon see whether a subscription was moved by hand',
    check: roleWhere(user.name, `${builtIn} OR ${ours}`),
    make: doBlock(
      `BEGIN
  BEGIN
    GRANT SELECT (oid, xmin) ON pg_catalog.pg_subscription TO ${role};
  EXCEPTION WHEN insufficient_privilege THEN
    NULL;
  END;
  IF ${VERSION_NUM} >= 140000 THEN
    BEGIN
      GRANT EXECUTE ON FUNCTION ${STATUS} TO ${role};
    EXCEPTION WHEN insufficient_privilege THEN
      NULL;
    END;
    IF pg_catalog.has_function_privilege(${quoteLiteral(user.name)}, '${STATUS}', 'EXECUTE') THEN
      RETURN;
    END IF;
  END IF;
  IF NOT (${mayCall('(SELECT a.oid FROM pg_catalog.pg_roles a WHERE a.rolname = current_user)')}) THEN
    RAISE insufficient_privilege USING MESSAGE = 'only a superuser may see where origins stand, or let others see it';
  END IF;
  CREATE OR REPLACE FUNCTION lockgate.origin_status(OUT name text, OUT remote_lsn pg_catalog.pg_lsn, OUT local_lsn pg_catalog.pg_lsn)
    RETURNS SETOF record LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'SELECT external_id, remote_lsn, local_lsn FROM pg_catalog.pg_show_replication_origin_status()';
  REVOKE ALL ON FUNCTION lockgate.origin_status() FROM PUBLIC;
  GRANT EXECUTE ON FUNCTION lockgate.origin_status() TO ${role};
END`,
    ),
    level: 'fault',
    dispensable: true,
    signals: plan.receives.flatMap((l) => linkSignals(l, 'continuity')),
    link: onlyLink(plan),
  };
}

/** What teardown takes back of `originStatus`; a removal is what `present` (an SQL boolean) finds. */
export function originStatusRemovals(users: readonly DaemonUser[]): { why: string; present: string; sql: string }[] {
  return [
    {
      why: 'drop the function that reads where origins stand',
      present: `EXISTS (SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = 'lockgate' AND p.proname = 'origin_status')`,
      sql: 'DROP FUNCTION IF EXISTS lockgate.origin_status();',
    },
    ...users.flatMap((user) => [
      {
        why: 'revoke the right to see where origins stand',
        present: `EXISTS (SELECT FROM pg_catalog.pg_proc p CROSS JOIN LATERAL pg_catalog.aclexplode(p.proacl) a
      JOIN pg_catalog.pg_roles r ON r.oid = a.grantee
      WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname = 'pg_show_replication_origin_status'
        AND r.rolname = ${quoteLiteral(user.name)} AND a.grantee <> p.proowner)`,
        sql: `REVOKE EXECUTE ON FUNCTION ${STATUS} FROM ${quoteIdent(user.name)};`,
      },
      {
        why: 'revoke the right to see the versions of subscriptions',
        present: `EXISTS (SELECT FROM pg_catalog.pg_attribute c CROSS JOIN LATERAL pg_catalog.aclexplode(c.attacl) a
      JOIN pg_catalog.pg_roles r ON r.oid = a.grantee
      WHERE c.attrelid = 'pg_catalog.pg_subscription'::regclass AND c.attname IN ('oid', 'xmin')
        AND r.rolname = ${quoteLiteral(user.name)})`,
        sql: `REVOKE SELECT (oid, xmin) ON pg_catalog.pg_subscription FROM ${quoteIdent(user.name)};`,
      },
    ]),
  ];
}
