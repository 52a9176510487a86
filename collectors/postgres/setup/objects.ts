import type { LinkPlan } from '../../collector.js';
import { quoteIdent, quoteLiteral } from '../connection.js';
import type { DesiredObject } from './desired-object.js';
import { linkSignals, migrationSignals, onlyLink, sideSignals, type DaemonUser, type SidePlan } from './side-plan.js';
import { DIRECTION_OID, HEARTBEAT_OID, VERSION_NUM, comment, doBlock, roleWhere, textArray } from './sql-text.js';
import { scramVerifier } from './scram.js';
import { originStatus } from './origin-objects.js';
import { receivingObjects } from './receiving-objects.js';
import { rowReading } from './reading-objects.js';
import { sequenceReading } from './sequence-objects.js';
import { tableObjects } from './table-objects.js';

/**
 * Everything that a database must have and that does not depend on what is on the other side of a link, in the order in
 * which it is made. `grants`, `setup` and `doctor` all come from this list.
 */
export function desiredObjects(plan: SidePlan): DesiredObject[] {
  return [
    ...plan.users.flatMap((user) => userObjects(plan, user)),
    ...tableObjects(plan),
    ...plan.users.map((user) => sequenceReading(plan, user)),
    ...(plan.links.some((l) => l.verify !== undefined) ? plan.users.map((user) => rowReading(plan, user)) : []),
    ...(plan.receives.length > 0 ? plan.users.map((user) => originProgress(plan, user)) : []),
    ...(plan.receives.length > 0 ? plan.users.map((user) => originStatus(plan, user)) : []),
    ourPublication(plan),
    ...receivingObjects(plan),
    ...plan.sends.map((link) => copyable(link)),
  ];
}

/** Signals that go when the daemon cannot use the database at all. */
export function allSignals(plan: SidePlan): string[] {
  return [
    ...sideSignals(plan, 'reachable', 'writable', 'local_writes', 'last_local_write_age', 'longest_transaction'),
    ...sideSignals(plan, 'connections', 'clock_skew'),
    ...plan.links.flatMap((l) => linkSignals(l, 'lag', 'lag_low', 'lag_by_position', 'agreement', 'running')),
    ...migrationSignals(plan, 'fence.drained', 'standby.stray_writes'),
  ];
}

/** Signals that only a WAL reader can give. */
export function readerSignals(plan: SidePlan): string[] {
  return [
    ...sideSignals(plan, 'local_writes', 'last_local_write_age'),
    ...migrationSignals(plan, 'standby.stray_writes', 'fence.drained'),
  ];
}

function userObjects(plan: SidePlan, user: DaemonUser): DesiredObject[] {
  const role = quoteIdent(user.name);
  const name = quoteLiteral(user.name);
  const { database } = plan.database.address;
  const link = onlyLink(plan);
  const { password } = user;
  const create: DesiredObject = {
    what: `the login role ${role}`,
    why: 'create the login role of the daemon',
    check: roleWhere(user.name, 'r.rolcanlogin'),
    make: [
      comment(`Then give it the password that the configuration names, in psql: \\password ${role}`),
      doBlock(
        `BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = ${name}) THEN
    ALTER ROLE ${role} LOGIN;
  ELSE
    CREATE ROLE ${role} LOGIN;
  END IF;
END`,
      ),
    ].join('\n'),
    level: 'fault',
    signals: allSignals(plan),
    link,
  };
  const objects: DesiredObject[] = [
    password === null
      ? create
      : {
          ...create,
          // The role may be there without LOGIN; then its password is its owner's business.
          makeSecretly: () =>
            doBlock(
              `BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = ${name}) THEN
    ALTER ROLE ${role} LOGIN;
  ELSE
    CREATE ROLE ${role} LOGIN PASSWORD ${quoteLiteral(scramVerifier(password.reveal()))};
  END IF;
END`,
            ),
        },
    {
      what: `CONNECT on the database for ${role}`,
      why: 'let the daemon connect to the database',
      check: roleWhere(
        user.name,
        `pg_catalog.has_database_privilege(r.oid, (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = ${quoteLiteral(database)}), 'CONNECT')`,
      ),
      make: `GRANT CONNECT ON DATABASE ${quoteIdent(database)} TO ${role};`,
      level: 'fault',
      signals: allSignals(plan),
      link,
    },
  ];
  if (user.reads) objects.push(replication(plan, user));
  objects.push(readAllStats(plan, user));
  return objects;
}

/** Managed services have no REPLICATION attribute to give, but a role that stands for it. */
function replication(plan: SidePlan, user: DaemonUser): DesiredObject {
  const role = quoteIdent(user.name);
  const rds = `SELECT g.oid FROM pg_catalog.pg_roles g WHERE g.rolname = 'rds_replication'`;
  return {
    what: `REPLICATION for ${role}`,
    why: 'let the daemon read the WAL (where read is off for this database it is not needed)',
    check: roleWhere(
      user.name,
      `r.rolreplication OR r.rolsuper OR coalesce(pg_catalog.pg_has_role(r.oid, (${rds}), 'MEMBER'), false)`,
    ),
    make: doBlock(
      `BEGIN
  IF EXISTS (${rds}) THEN
    GRANT rds_replication TO ${role};
  ELSE
    ALTER ROLE ${role} REPLICATION;
  END IF;
END`,
    ),
    level: 'fault',
    signals: readerSignals(plan),
    link: onlyLink(plan),
  };
}

/**
 * The narrower pg_read_all_stats rather than pg_monitor: the LSNs of pg_stat_replication and pg_stat_wal_receiver and
 * other users' rows of pg_stat_activity need no more, while pg_monitor also reads server files' names and all settings.
 * An administrator of a managed service may hold only pg_monitor to pass on.
 */
function readAllStats(plan: SidePlan, user: DaemonUser): DesiredObject {
  const role = quoteIdent(user.name);
  return {
    what: `pg_read_all_stats for ${role}`,
    why: 'let the daemon see positions in pg_stat_replication and other sessions in pg_stat_activity',
    check: roleWhere(user.name, `pg_catalog.pg_has_role(r.oid, 'pg_read_all_stats', 'USAGE')`),
    make: doBlock(
      `BEGIN
  GRANT pg_read_all_stats TO ${role};
EXCEPTION WHEN insufficient_privilege THEN
  GRANT pg_monitor TO ${role};
END`,
    ),
    level: 'fault',
    signals: [
      ...sideSignals(plan, 'longest_transaction', 'connections'),
      // What may still commit is part of the proof.
      ...migrationSignals(plan, 'fence.drained'),
      ...plan.links
        .filter((l) => l.from.name === plan.database.name)
        .flatMap((l) =>
          linkSignals(l, 'lag_by_position', 'agreement', 'running', 'backlog_bytes', 'drain_eta', 'drain_eta_high'),
        ),
      ...migrationSignals(plan, 'fence.drained'),
    ],
    link: onlyLink(plan),
  };
}

/** The signature of the built-in that tells how far a subscription has durably applied. */
const BUILT_IN = 'pg_catalog.pg_replication_origin_progress(text, boolean)';

/**
 * From 14 on EXECUTE on the built-in can be granted; on 13 its code insists on a superuser, whom a SECURITY DEFINER
 * function stands in for. The same function helps where an administrator may use the built-in but not grant it.
 */
function originProgress(plan: SidePlan, user: DaemonUser): DesiredObject {
  const role = quoteIdent(user.name);
  const builtIn = `r.rolsuper OR (${VERSION_NUM} >= 140000 AND pg_catalog.has_function_privilege(r.oid, '${BUILT_IN}', 'EXECUTE'))`;
  // On 13 anyone may execute it, by its privileges, and is then refused by its code.
  const mayCall = (user: string): string =>
    `CASE WHEN ${VERSION_NUM} >= 140000 THEN pg_catalog.has_function_privilege(${user}, '${BUILT_IN}', 'EXECUTE')
      ELSE (SELECT a.rolsuper FROM pg_catalog.pg_roles a WHERE a.oid = ${user}) END`;
  const ours = `EXISTS (SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
      WHERE n.nspname = 'lockgate' AND p.proname = 'origin_progress' AND p.prosecdef AND p.proconfig IS NOT NULL
        AND ${mayCall('p.proowner')}
        AND pg_catalog.has_function_privilege(r.oid, p.oid, 'EXECUTE'))`;
  return {
    what: `the right of ${role} to read durable applied positions`,
    why: 'let the daemon read how far each subscription has durably applied',
    check: roleWhere(user.name, `${builtIn} OR ${ours}`),
    make: doBlock(
      `BEGIN
  IF ${VERSION_NUM} >= 140000 THEN
    BEGIN
      GRANT EXECUTE ON FUNCTION ${BUILT_IN} TO ${role};
    EXCEPTION WHEN insufficient_privilege THEN
      NULL;
    END;
    IF pg_catalog.has_function_privilege(${quoteLiteral(user.name)}, '${BUILT_IN}', 'EXECUTE') THEN
      RETURN;
    END IF;
  END IF;
  IF NOT (${mayCall('(SELECT a.oid FROM pg_catalog.pg_roles a WHERE a.rolname = current_user)')}) THEN
    RAISE insufficient_privilege USING MESSAGE = 'only a superuser may read applied positions, or let others read them';
  END IF;
  CREATE OR REPLACE FUNCTION lockgate.origin_progress(name text, flush boolean) RETURNS pg_catalog.pg_lsn
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'SELECT pg_catalog.pg_replication_origin_progress($1, $2)';
  REVOKE ALL ON FUNCTION lockgate.origin_progress(text, boolean) FROM PUBLIC;
  GRANT EXECUTE ON FUNCTION lockgate.origin_progress(text, boolean) TO ${role};
END`,
    ),
    level: 'fault',
    dispensable: true,
    signals: [
      ...plan.receives.flatMap((l) => linkSignals(l, 'lag_by_position', 'agreement')),
      ...migrationSignals(plan, 'fence.drained'),
    ],
    link: onlyLink(plan),
  };
}

/** Nobody subscribes to this publication: it tells pgoutput what the daemon's own WAL reader wants to see. */
function ourPublication(plan: SidePlan): DesiredObject {
  return {
    what: 'the publication lockgate',
    why: "create the publication for the daemon's own WAL reader",
    check: `EXISTS (SELECT FROM pg_catalog.pg_publication p WHERE p.pubname = 'lockgate' AND p.pubinsert AND p.pubupdate
      AND (p.puballtables OR EXISTS (SELECT FROM pg_catalog.pg_publication_rel r
        WHERE r.prpubid = p.oid AND r.prrelid = ${HEARTBEAT_OID})))`,
    make: doBlock(
      `BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_publication WHERE pubname = 'lockgate') THEN
    CREATE PUBLICATION lockgate FOR TABLE lockgate.heartbeat;
  ELSIF NOT EXISTS (SELECT FROM pg_catalog.pg_publication_tables
      WHERE pubname = 'lockgate' AND schemaname = 'lockgate' AND tablename = 'heartbeat') THEN
    ALTER PUBLICATION lockgate ADD TABLE lockgate.heartbeat;
  END IF;
END`,
    ),
    level: plan.database.read === 'off' ? 'warning' : 'fault',
    signals:
      plan.database.read === 'off'
        ? []
        : [...readerSignals(plan), ...plan.receives.flatMap((l) => linkSignals(l, 'lag', 'lag_low'))],
    link: onlyLink(plan),
  };
}

/**
 * Should the subscription ever copy the table (created anew, or refreshed with copy_data), its login must be able to read
 * it, or the copy is tried again for ever. Who that is shows only while it is connected. The direction table is for
 * publications of all tables.
 */
function copyable(link: LinkPlan): DesiredObject {
  const flows = textArray(link.config.flows);
  const logins = `SELECT DISTINCT r.oid, r.rolname AS name FROM pg_catalog.pg_stat_replication w
      LEFT JOIN pg_catalog.pg_replication_slots s ON s.active_pid = w.pid
      JOIN pg_catalog.pg_roles r ON r.oid = w.usesysid
      WHERE w.application_name = ANY (${flows}) OR s.slot_name = ANY (${flows})`;
  const reads = (oid: string): string => `coalesce(pg_catalog.has_table_privilege(x.oid, ${oid}, 'SELECT'), false)`;
  return {
    what: 'the right of the subscription to copy the heartbeat table',
    why: "let the subscription's login read the heartbeat table, should it copy it",
    check: `NOT EXISTS (SELECT FROM (${logins}) x WHERE NOT (${reads(HEARTBEAT_OID)} AND ${reads(DIRECTION_OID)}
      AND EXISTS (SELECT FROM pg_catalog.pg_namespace n
        WHERE n.nspname = 'lockgate' AND pg_catalog.has_schema_privilege(x.oid, n.oid, 'USAGE'))))`,
    make: doBlock(
      `DECLARE
  x record;
BEGIN
  FOR x IN ${logins} LOOP
    EXECUTE pg_catalog.format('GRANT USAGE ON SCHEMA lockgate TO %I', x.name);
    EXECUTE pg_catalog.format('GRANT SELECT ON TABLE lockgate.heartbeat, lockgate.direction TO %I', x.name);
  END LOOP;
END`,
    ),
    level: 'warning',
    signals: [],
    link: link.id,
  };
}
