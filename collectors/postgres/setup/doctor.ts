import type { DatabaseConfig } from '../../../daemon/core/config.js';
import { LockgateError } from '../../../daemon/core/errors.js';
import type { CollectorContext, Finding, LinkPlan } from '../../collector.js';
import { fenceReadiness } from '../../session/fence-readiness.js';
import type { PgConnection } from '../connection.js';
import { throwIfAborted } from './admin.js';
import { examineEndpoint } from './doctor-endpoint.js';
import { examineLink } from './doctor-link.js';
import { examineReader } from './doctor-reader.js';
import { examineServer } from './doctor-server.js';
import { allSignals, desiredObjects } from './objects.js';
import { OtherSides, holds } from './other-side.js';
import { onlyLink, sidePlan, type SidePlan } from './side-plan.js';

/**
 * Connects to every database with the daemon's own user and reports what works, what deserves reading, and what would
 * leave signals unknown, each with its remedy. It changes nothing; the one thing it makes is a temporary slot, which is
 * dropped at once. Rejects only when it is aborted.
 */
export async function doctor(
  databases: readonly DatabaseConfig[],
  links: readonly LinkPlan[],
  context: CollectorContext,
  signal: AbortSignal,
): Promise<Finding[]> {
  const others = new OtherSides(`lockgate/${context.daemonId}/doctor`, signal);
  try {
    const plans = databases.filter((db) => db.engine === 'postgres').map((db) => sidePlan(db, links));
    const perDatabase = await Promise.all(plans.map((plan) => examineDatabase(plan, others, context, signal)));
    throwIfAborted(signal);
    const perLink: Finding[] = [];
    for (const link of links) perLink.push(...(await guarded(null, link, () => examineLink(link, links, others))));
    throwIfAborted(signal);
    return [...perDatabase.flat(), ...perLink];
  } finally {
    await others.close();
  }
}

async function examineDatabase(
  plan: SidePlan,
  others: OtherSides,
  context: CollectorContext,
  signal: AbortSignal,
): Promise<Finding[]> {
  const { name } = plan.database;
  const conn = await others.look(plan.database);
  if (conn instanceof LockgateError) {
    return [
      {
        level: 'fault',
        database: name,
        link: onlyLink(plan),
        message: conn.message,
        signals: allSignals(plan),
        remedy: conn.hint,
      },
    ];
  }
  const findings: Finding[] = [];
  const add = async (look: () => Promise<Finding[]>): Promise<void> => {
    findings.push(...(await guarded(plan, null, look)));
  };
  await add(() => examineServer(plan, conn, context));
  await add(() => examineEndpoint(plan, conn, `lockgate/${context.daemonId}/doctor`, signal));
  await add(() => examineObjects(plan, conn));
  await add(() => examineReader(plan, conn, context, signal));
  findings.push(...fenceReadiness(plan.database, plan.links));
  return findings;
}

/** Compares with the list that setup works off; on a standby all of it has come from the primary. */
async function examineObjects(plan: SidePlan, conn: PgConnection): Promise<Finding[]> {
  const findings: Finding[] = [];
  const where = plan.standbyOf === null ? '' : `on ${plan.standbyOf.from.name}, the primary: `;
  const missing: Finding[] = [];
  let fine = 0;
  for (const object of desiredObjects(plan)) {
    if (await holds(conn, object.check)) {
      fine++;
      continue;
    }
    missing.push({
      level: object.level,
      database: plan.database.name,
      link: object.link,
      message: `${object.what} is missing, or not as setup makes it`,
      signals: object.level === 'fault' ? object.signals : [],
      remedy: where + object.make,
    });
  }
  if (fine > 0) {
    const message = `${fine} of ${fine + missing.length} objects and privileges that setup makes are in place`;
    findings.push({
      level: 'ok',
      database: plan.database.name,
      link: onlyLink(plan),
      message,
      signals: [],
      remedy: null,
    });
  }
  return [...findings, ...missing];
}

/** A look that fails is a finding too: one thing that cannot be seen must not hide the others. */
async function guarded(
  plan: SidePlan | null,
  link: LinkPlan | null,
  look: () => Promise<Finding[]>,
): Promise<Finding[]> {
  try {
    return await look();
  } catch (error) {
    if (!(error instanceof LockgateError)) throw error;
    return [
      {
        level: 'fault',
        database: plan?.database.name ?? null,
        link: link?.id ?? (plan === null ? null : onlyLink(plan)),
        message: `could not be looked at: ${error.message}`,
        signals: plan === null ? [] : allSignals(plan),
        remedy: error.hint,
      },
    ];
  }
}
