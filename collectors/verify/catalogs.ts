import { SourceError } from '../../daemon/core/errors.js';
import type { VerifyConfig } from '../../daemon/core/config.js';
import type { TableSelection } from '../../daemon/core/table-pattern.js';
import { CATALOG_LIMIT } from './limits.js';
import { planTables, type Plan, type PlannedTable, type SideName } from './plan.js';
import type { DataPort, DataSession, DataTraits, TableName, TableShape } from './port.js';

/** How one side is asked. */
export type Ask = <T>(side: SideName, question: (session: DataSession) => Promise<T>) => Promise<T>;

/** What plans are made of besides the catalogs. */
export interface PlanBasis {
  ports: Readonly<Record<SideName, DataPort>>;
  config: VerifyConfig;
  carried: TableSelection | null;
}

/** Plans all tables. Rejects when nothing can be seen in a catalog. */
export async function planAll(ask: Ask, basis: PlanBasis): Promise<Plan> {
  const [source, target] = await lookAtBoth(ask, null);
  for (const [side, { tables }] of [
    ['source', source],
    ['target', target],
  ] as const) {
    if (tables.length > 0) continue;
    throw new SourceError(
      'verify_nothing_visible',
      `no table can be seen on the ${side} (${basis.ports[side].database})`,
      'Check the database in its URL and the grants of its user.',
    );
  }
  return plan(source, target, basis);
}

/** Plans one table anew; null when it is on neither side any more. */
export async function planAgain(ask: Ask, basis: PlanBasis, planned: PlannedTable): Promise<PlannedTable | null> {
  const [source, target] = await lookAtBoth(ask, planned.names);
  return plan(source, target, basis).tables.find((t) => t.table === planned.table) ?? null;
}

interface Look {
  tables: TableShape[];
  traits: DataTraits;
}

function plan(source: Look, target: Look, { ports, config, carried }: PlanBasis): Plan {
  return planTables({
    source: source.tables,
    target: target.tables,
    traits: {
      source: { ...source.traits, engine: ports.source.engine },
      target: { ...target.traits, engine: ports.target.engine },
    },
    config,
    carried,
  });
}

async function lookAtBoth(ask: Ask, only: Readonly<Record<SideName, TableName>> | null): Promise<[Look, Look]> {
  const look = (side: SideName): Promise<Look> =>
    ask(side, async (session) => ({
      tables: await (only === null ? session.tables(CATALOG_LIMIT) : session.tables(CATALOG_LIMIT, [only[side]])),
      traits: session.traits,
    }));
  const [source, target] = await Promise.allSettled([look('source'), look('target')]);
  if (source.status === 'rejected') throw source.reason;
  if (target.status === 'rejected') throw target.reason;
  return [source.value, target.value];
}
