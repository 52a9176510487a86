import type { DatabaseConfig } from '../../../daemon/core/config.js';
import type { LinkPlan, SqlStep } from '../../collector.js';
import { addToPublication, rowsByConfig } from './carriage.js';
import { ownRows } from './overlap.js';
import { desiredObjects } from './objects.js';
import { refreshSql } from './refresh.js';
import { sidePlan, type SidePlan } from './side-plan.js';
import { comment, shown } from './sql-text.js';

/**
 * The statements that setup would run on one database, as a script to review and paste into psql, without connecting.
 * It may be run again. What depends on the other side of a link is preceded by what to check there; a refresh, which
 * could begin to replicate other tables without copying them, is printed as a comment only.
 */
export function grants(database: DatabaseConfig, links: readonly LinkPlan[]): SqlStep[] {
  const plan = sidePlan(database, links);
  const step = (why: string, sql: string): SqlStep => ({ database: database.name, why, sql });
  const nothing = standbyStep(plan);
  if (nothing !== null) return [nothing];
  return [
    ...desiredObjects(plan).map((o) => step(o.why, o.make)),
    ...plan.sends.map((link) => step(carriageWhy(link), carriageScript(link, plan))),
    ...plan.receives.map((link) => step(refreshWhy(link), refreshScript(link))),
  ];
}

/** The step of a standby, where nothing can be run; null for any other database. */
export function standbyStep(plan: SidePlan): SqlStep | null {
  if (plan.standbyOf === null) return null;
  const primary = plan.standbyOf.from.name;
  return {
    database: plan.database.name,
    why: 'nothing to run on a standby',
    sql: comment(`Everything reaches this standby by replication from ${primary}: run what is printed for ${primary}.`),
  };
}

/** Why the heartbeat table goes into the link's publication. */
export function carriageWhy(link: LinkPlan): string {
  return `let ${link.id} carry the heartbeat table`;
}

/** Why the link's subscription is refreshed. */
export function refreshWhy(link: LinkPlan): string {
  return `make the subscription of ${link.id} take up the heartbeat table`;
}

function carriageScript(link: LinkPlan, plan: SidePlan): string {
  const rows = rowsByConfig(link, plan.links);
  const { publication, flows } = link.config;
  const first = comment(
    `First run what is printed for ${link.to.name}: a change for a table that the subscriber lacks stops its apply worker.`,
  );
  if (publication !== null) return `${first}\n${addToPublication(link, publication, rows)}`;
  const filter = rows === 'direction' ? `link LIKE '%/${link.config.name}'` : rows === 'all' ? null : ownRows(rows);
  const where = filter === null ? '' : ` WHERE (${filter})`;
  return [
    first,
    comment(
      `Which publication carries ${link.id} is not in the configuration; on ${link.to.name} this tells:`,
      `  SELECT subname, subpublications FROM pg_subscription WHERE subname IN (${flows.map((f) => `'${f.replaceAll("'", "''")}'`).join(', ')});`,
      `Take the first publication of the first subscription (or name it as \`publication\` of the link), and run here:`,
      `  ALTER PUBLICATION … ADD TABLE lockgate.heartbeat${where};`,
    ),
  ].join('\n');
}

function refreshScript(link: LinkPlan): string {
  const [first = ''] = link.config.flows;
  return comment(
    `Last, and only when ${link.from.name} publishes no table that ${shown(first)} does not know yet: such a table would`,
    `be replicated from now on without its rows being copied. On ${link.from.name}:`,
    `  SELECT schemaname, tablename FROM pg_publication_tables WHERE pubname IN (…);`,
    `and here:  SELECT srrelid::regclass FROM pg_subscription_rel;`,
    `If nothing but lockgate.heartbeat differs:`,
    `  ${refreshSql(first)}`,
  );
}
