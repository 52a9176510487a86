import type { DatabaseConfig } from '../../../daemon/core/config.js';
import { LockgateError } from '../../../daemon/core/errors.js';
import type { LinkPlan, SqlStep } from '../../collector.js';
import { quoteIdent, quoteLiteral, type PgConnection } from '../connection.js';
import { atStep, connectAdmin, throwIfAborted, type SetupOptions, type StepReport } from './admin.js';
import { standbyStep } from './grants.js';
import { OtherSides, holds, readPublishedTables, readSubscribedTables, readSubscriptions } from './other-side.js';
import { originStatusRemovals } from './origin-objects.js';
import { TRIGGERS } from './receiving-objects.js';
import { hasHeartbeat, refreshEffect, refreshSql } from './refresh.js';
import { isStandby } from './setup.js';
import { sidePlan, type DaemonUser, type SidePlan } from './side-plan.js';
import { rowRevocation } from './reading-objects.js';
import { sequenceRevocation } from './sequence-objects.js';
import { DIRECTION_OID, HEARTBEAT_OID, comment, roleWhere, shown } from './sql-text.js';
import { tablesMayGo } from './teardown-guard.js';

interface Removal {
  readonly why: string;
  /** An SQL boolean: there is something to remove. */
  readonly present: string;
  readonly sql: string;
}

/**
 * Removes from one database what setup made there: first the sending sides, then the receiving ones, because a table
 * must stay until nothing can arrive for it any more. Until then dropping it is reported as `would-do`; run teardown
 * on all databases again as long as a round has both `done` and `would-do`. The daemon must be stopped. The login role
 * stays, with its right to connect; so do its privileges when it is more than the daemon's own role.
 */
export async function* teardown(
  database: DatabaseConfig,
  links: readonly LinkPlan[],
  options: SetupOptions,
): AsyncGenerator<StepReport, void, undefined> {
  const plan = sidePlan(database, links);
  const others = new OtherSides('lockgate/teardown', options.signal);
  const conn = await connectAdmin(database, options);
  try {
    if (await isStandby(conn, plan)) {
      const step = standbyStep(plan);
      if (step !== null) yield { step, outcome: 'unchanged' };
      return;
    }
    for (const publication of await publicationsWithHeartbeat(conn)) {
      const name = quoteIdent(publication);
      const step = stepOf(
        plan,
        `take the heartbeat table out of the publication ${name}`,
        `ALTER PUBLICATION ${name} DROP TABLE lockgate.heartbeat;`,
      );
      yield await run(step, conn, options);
    }
    for (const link of plan.receives) yield* unsubscribe(plan, link, conn, others, options);
    for (const removal of beforeTables()) yield await remove(plan, removal, conn, options);
    const wait = await tablesMayGo(plan, conn, others);
    for (const removal of tables(plan)) {
      const step = stepOf(plan, removal.why, removal.sql);
      if (wait !== null && (await holds(conn, removal.present))) {
        yield { step: { ...step, why: `${step.why} (waits: ${wait})` }, outcome: 'would-do' };
      } else {
        yield await remove(plan, removal, conn, options);
      }
    }
    if (wait === null) {
      for (const user of plan.users) for (const r of roleRemovals(user)) yield await remove(plan, r, conn, options);
      yield { step: roleStays(plan), outcome: 'unchanged' };
    }
  } finally {
    await Promise.all([conn.close(), others.close()]);
  }
}

function stepOf(plan: SidePlan, why: string, sql: string): SqlStep {
  return { database: plan.database.name, why, sql };
}

async function remove(
  plan: SidePlan,
  removal: Removal,
  conn: PgConnection,
  options: SetupOptions,
): Promise<StepReport> {
  const step = stepOf(plan, removal.why, removal.sql);
  if (!(await holds(conn, removal.present))) return { step, outcome: 'unchanged' };
  return run(step, conn, options);
}

async function run(step: SqlStep, conn: PgConnection, options: SetupOptions): Promise<StepReport> {
  throwIfAborted(options.signal);
  if (options.dryRun) return { step, outcome: 'would-do' };
  try {
    await conn.query(step.sql);
  } catch (error) {
    throw atStep(step, error);
  }
  return { step, outcome: 'done' };
}

async function publicationsWithHeartbeat(conn: PgConnection): Promise<string[]> {
  const rows = await conn.query<{ name: string }>(
    `SELECT p.pubname AS name FROM pg_catalog.pg_publication p
      JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid
      WHERE r.prrelid = ${HEARTBEAT_OID} AND p.pubname <> 'lockgate' ORDER BY 1`,
  );
  return rows.map((r) => r.name);
}

/** Dropping the table also ends its subscription, so a refresh that would change other tables is simply left out. */
async function* unsubscribe(
  plan: SidePlan,
  link: LinkPlan,
  conn: PgConnection,
  others: OtherSides,
  options: SetupOptions,
): AsyncGenerator<StepReport, void, undefined> {
  for (const subscription of await readSubscriptions(conn)) {
    if (!link.config.flows.includes(subscription.name)) continue;
    const subscribed = await readSubscribedTables(conn, subscription.name);
    if (!subscription.enabled || !subscribed.some((t) => t.schema === 'lockgate')) continue;
    const publisher = await others.look(link.from);
    if (publisher instanceof LockgateError) continue;
    const published = await readPublishedTables(publisher, conn.serverVersion, subscription.publications);
    const effect = refreshEffect(subscribed, published);
    if (hasHeartbeat(published) || effect.added.length + effect.removed.length > 0) continue;
    const why = `make the subscription ${shown(subscription.name)} forget the heartbeat table`;
    yield await run(stepOf(plan, why, refreshSql(subscription.name)), conn, options);
  }
}

/** What may go at any time: nothing that arrives needs it. */
function beforeTables(): Removal[] {
  const removals: Removal[] = [
    {
      why: 'drop our own publication',
      present: `EXISTS (SELECT FROM pg_catalog.pg_publication p WHERE p.pubname = 'lockgate' AND NOT p.puballtables
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_publication_tables t
          WHERE t.pubname = p.pubname AND (t.schemaname, t.tablename) <> ('lockgate', 'heartbeat')))`,
      sql: 'DROP PUBLICATION IF EXISTS lockgate;',
    },
  ];
  for (const { name, table } of [TRIGGERS.flush, TRIGGERS.notify]) removals.push(triggerRemoval(name, table));
  return removals;
}

function triggerRemoval(name: string, table: 'heartbeat' | 'direction'): Removal {
  return {
    why: `drop the trigger ${name} and its function`,
    present: `EXISTS (SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
      WHERE n.nspname = 'lockgate' AND p.proname = '${name}')`,
    sql: `DROP TRIGGER IF EXISTS ${name} ON lockgate.${table};\nDROP FUNCTION IF EXISTS lockgate.${name}();`,
  };
}

function tables(plan: SidePlan): Removal[] {
  const { name, table } = TRIGGERS.direction;
  const schema = `SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname = 'lockgate'`;
  return [
    triggerRemoval(name, table),
    { why: 'drop the heartbeat table', present: `${HEARTBEAT_OID} IS NOT NULL`, sql: 'DROP TABLE lockgate.heartbeat;' },
    {
      why: 'drop the direction table',
      present: `${DIRECTION_OID} IS NOT NULL`,
      sql: 'DROP TABLE lockgate.direction;',
    },
    {
      why: 'drop the function that read applied positions',
      present: `EXISTS (SELECT FROM pg_catalog.pg_proc p WHERE p.pronamespace = (${schema}) AND p.proname = 'origin_progress')`,
      sql: 'DROP FUNCTION IF EXISTS lockgate.origin_progress(text, boolean);',
    },
    ...plan.users.map((user) => originRevocation(user)),
    ...originStatusRemovals(plan.users),
    ...plan.users.map((user) => rowRevocation(user)),
    ...plan.users.map((user) => sequenceRevocation(user)),
    {
      // RESTRICT: whatever else is in there is not ours.
      why: 'drop the schema, if nothing else is in it',
      present: `EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname = 'lockgate'
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid)
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_proc p WHERE p.pronamespace = n.oid)
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_type t WHERE t.typnamespace = n.oid))`,
      sql: 'DROP SCHEMA lockgate RESTRICT;',
    },
    ...plan.users.map((user) => usageRevocation(user)),
  ];
}

/** A schema with other things in it stays, but the daemon's user has no business there any more. */
function usageRevocation(user: DaemonUser): Removal {
  return {
    why: 'revoke the use of the schema',
    present: `EXISTS (SELECT FROM pg_catalog.pg_namespace n CROSS JOIN LATERAL pg_catalog.aclexplode(n.nspacl) a
      JOIN pg_catalog.pg_roles r ON r.oid = a.grantee
      WHERE n.nspname = 'lockgate' AND a.grantee <> n.nspowner AND r.rolname = ${quoteLiteral(user.name)})`,
    sql: `REVOKE USAGE ON SCHEMA lockgate FROM ${quoteIdent(user.name)};`,
  };
}

function originRevocation(user: DaemonUser): Removal {
  return {
    why: 'revoke the right to read applied positions',
    present: `EXISTS (SELECT FROM pg_catalog.pg_proc p CROSS JOIN LATERAL pg_catalog.aclexplode(p.proacl) a
      JOIN pg_catalog.pg_roles r ON r.oid = a.grantee
      WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname = 'pg_replication_origin_progress'
        AND r.rolname = ${quoteLiteral(user.name)} AND a.grantee <> p.proowner)`,
    sql: `REVOKE EXECUTE ON FUNCTION pg_catalog.pg_replication_origin_progress(text, boolean) FROM ${quoteIdent(user.name)};`,
  };
}

/**
 * The role's privileges on the whole server. They stay when the role is more than the daemon's own: a superuser, the
 * administrator at work, an owner of anything, or one with privileges in another database (another lockgate's, perhaps).
 */
function roleRemovals(user: DaemonUser): Removal[] {
  const role = quoteIdent(user.name);
  const ours = `NOT r.rolsuper AND r.rolname <> current_user AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_shdepend d WHERE d.refclassid = 'pg_catalog.pg_authid'::regclass AND d.refobjid = r.oid
        AND (d.deptype = 'o' OR d.dbid NOT IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))))`;
  const member = (group: string): string =>
    `EXISTS (SELECT FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles g ON g.oid = m.roleid
      WHERE m.member = r.oid AND g.rolname = '${group}')`;
  // Setup grants pg_monitor only where the administrator has nothing narrower to give: elsewhere it is someone else's.
  const noSuper = `NOT (SELECT a.rolsuper FROM pg_catalog.pg_roles a WHERE a.rolname = current_user)`;
  return [
    {
      why: 'take the right to replicate from the role',
      present: roleWhere(user.name, `r.rolreplication AND ${ours}`),
      sql: `ALTER ROLE ${role} NOREPLICATION;`,
    },
    {
      why: 'take the right to replicate from the role',
      present: roleWhere(user.name, `${member('rds_replication')} AND ${ours}`),
      sql: `REVOKE rds_replication FROM ${role};`,
    },
    {
      why: 'take the right to see all statistics from the role',
      present: roleWhere(user.name, `${member('pg_read_all_stats')} AND ${ours}`),
      sql: `REVOKE pg_read_all_stats FROM ${role};`,
    },
    {
      why: 'take the right to see all statistics from the role',
      present: roleWhere(user.name, `${member('pg_monitor')} AND ${noSuper} AND ${ours}`),
      sql: `REVOKE pg_monitor FROM ${role};`,
    },
  ];
}

function roleStays(plan: SidePlan): SqlStep {
  const roles = plan.users.map((u) => quoteIdent(u.name)).join(', ');
  return stepOf(
    plan,
    `the login role ${roles} stays: drop it yourself when nothing else uses it`,
    comment(
      `REVOKE CONNECT ON DATABASE ${quoteIdent(plan.database.address.database)} FROM ${roles};`,
      `DROP ROLE ${roles};`,
    ),
  );
}
