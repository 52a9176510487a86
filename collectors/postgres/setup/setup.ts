import type { DatabaseConfig } from '../../../daemon/core/config.js';
import { SourceError, messageOf } from '../../../daemon/core/errors.js';
import type { LinkPlan, SqlStep } from '../../collector.js';
import { quoteLiteral, type PgConnection } from '../connection.js';
import { atStep, connectAdmin, throwIfAborted, type SetupOptions, type StepReport } from './admin.js';
import { planCarriage, type Change } from './carriage.js';
import type { DesiredObject } from './desired-object.js';
import { carriageWhy, refreshWhy, standbyStep } from './grants.js';
import { desiredObjects } from './objects.js';
import { OtherSides, holds } from './other-side.js';
import { planRefresh } from './refresh.js';
import { sidePlan, type SidePlan } from './side-plan.js';

/**
 * Makes on one database what `grants` lists, and nothing that is there already. A step that hangs on the other side of a
 * link (the publication on the subscriber's table, the refresh on the publication) is reported as `would-do`, with the
 * reason in its `why`, until the other side is ready: run setup on all databases again and again as long as a round has
 * both `done` and `would-do` (three rounds where links run both ways). Throws a SourceError where it must not go on.
 */
export async function* setup(
  database: DatabaseConfig,
  links: readonly LinkPlan[],
  options: SetupOptions,
): AsyncGenerator<StepReport, void, undefined> {
  const plan = sidePlan(database, links);
  const others = new OtherSides('lockgate/setup', options.signal, options.otherAdmins ?? new Map());
  const conn = await connectAdmin(database, options);
  try {
    if (await isStandby(conn, plan)) {
      const step = standbyStep(plan);
      if (step !== null) yield { step, outcome: 'unchanged' };
      return;
    }
    await requireCreatableUsers(plan, conn);
    // Refusals come before anything is changed.
    for (const link of plan.sends) await planCarriage(plan, link, conn, others);
    for (const object of desiredObjects(plan)) yield await make(plan, object, conn, options);
    for (const link of plan.sends) {
      yield await change(plan, carriageWhy(link), () => planCarriage(plan, link, conn, others), conn, options);
    }
    for (const link of plan.receives) {
      yield await change(plan, refreshWhy(link), () => planRefresh(link, conn, others), conn, options);
    }
  } finally {
    await Promise.all([conn.close(), others.close()]);
  }
}

/** True on a standby of a physical link; any other server in recovery is a mistake in the URL. */
export async function isStandby(conn: PgConnection, plan: SidePlan): Promise<boolean> {
  if (!(await holds(conn, 'pg_catalog.pg_is_in_recovery()'))) return false;
  if (plan.standbyOf !== null) return true;
  throw new SourceError(
    'in_recovery',
    `${plan.database.name} is a standby, which takes no changes`,
    'let the URL name the primary',
  );
}

/** A role without a password would be made but could not log in; better not to make it. */
async function requireCreatableUsers(plan: SidePlan, conn: PgConnection): Promise<void> {
  for (const user of plan.users) {
    if (user.password !== null || user.tokens) continue;
    if (await holds(conn, `EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = ${quoteLiteral(user.name)})`))
      continue;
    throw new SourceError(
      'role_missing',
      `${plan.database.name}: there is no role ${user.name}, and the configured URL has no password to create it with`,
      'create the role as `lockgate grants` prints it, or put a password into the URL',
    );
  }
}

async function make(
  plan: SidePlan,
  object: DesiredObject,
  conn: PgConnection,
  options: SetupOptions,
): Promise<StepReport> {
  throwIfAborted(options.signal);
  const step: SqlStep = { database: plan.database.name, why: object.why, sql: object.make };
  if (await holds(conn, object.check)) return { step, outcome: 'unchanged' };
  if (options.dryRun) return { step, outcome: 'would-do' };
  try {
    await conn.query(object.makeSecretly?.() ?? object.make);
  } catch (error) {
    const failure = atStep(step, error);
    if (object.dispensable !== true || failure.code !== 'admin_privilege') throw failure;
    return {
      step: { ...step, why: `${step.why} (needs a superuser or the owner: ${messageOf(error)})` },
      outcome: 'would-do',
    };
  }
  if (await holds(conn, object.check)) return { step, outcome: 'done' };
  throw new SourceError(
    'setup_ineffective',
    `${plan.database.name}: ${object.what} is not as it should be even after setup: something of that name is in the way`,
    `look at what is there, remove or rename it, and run setup again; wanted: ${object.make}`,
  );
}

async function change(
  plan: SidePlan,
  why: string,
  decide: () => Promise<Change>,
  conn: PgConnection,
  options: SetupOptions,
): Promise<StepReport> {
  throwIfAborted(options.signal);
  const decided = await decide();
  const step = (reason: string, sql: string): SqlStep => ({ database: plan.database.name, why: why + reason, sql });
  switch (decided.state) {
    case 'in-place':
      return { step: step('', decided.sql), outcome: 'unchanged' };
    case 'waits':
      return { step: step(` (waits: ${decided.reason})`, decided.sql), outcome: 'would-do' };
    case 'needed':
      break;
  }
  const needed = step('', decided.sql);
  if (options.dryRun) return { step: needed, outcome: 'would-do' };
  try {
    await conn.query(decided.sql);
  } catch (error) {
    throw atStep(needed, error);
  }
  const after = await decide();
  if (after.state === 'in-place') return { step: needed, outcome: 'done' };
  throw new SourceError('setup_ineffective', `${plan.database.name}: it did not help to ${why}`, decided.sql);
}
