import type { Us } from '../../daemon/core/clock.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import type { Observation } from '../../daemon/core/observation.js';
import { TableChooser } from '../../daemon/core/table-pattern.js';
import type { LinkPlan } from '../collector.js';
import { catalogTimeoutMs, type CatalogAnswer } from '../session/catalog-watch.js';
import type { CatalogQuestion } from './catalog-watch.js';
import type { PgConnection } from './connection.js';
import {
  judgeCoverage,
  judgeSyncing,
  judgeUnlogged,
  listed,
  nameKey,
  named,
  type CoverageFacts,
  type Judged,
  type Uncovered,
} from './coverage.js';
import { existingTables, readSourceCatalog, readSubscriptionTables } from './coverage-views.js';

const signals = ['tables_uncovered', 'tables_syncing'] as const;
type Signal = (typeof signals)[number];

interface Value {
  value: number | null;
  reason: string | null;
}

/** Until the catalogs grow large. */
const defaultIntervalMs = 2_000;

/**
 * Asks which application tables the logical links from one database to another do not carry whole, and which of them are
 * still being copied.
 */
export function logicalCoverage(
  from: DatabaseConfig,
  to: DatabaseConfig,
  links: readonly LinkPlan[],
  intervalMs = defaultIntervalMs,
): CatalogQuestion {
  const flows = [...new Set(links.flatMap((link) => link.config.flows))];
  return {
    ...question(from, to, links, intervalMs),
    async ask(source, target) {
      // The target first: what is published after it was looked at cannot be known to it yet, and is not covered.
      const { subscriptions, busyMs } = await readSubscriptionTables(target, flows);
      const publications = [...new Set([...subscriptions.values()].flatMap((s) => s.publications))];
      const catalog = await readSourceCatalog(source, publications);
      const values: [LinkPlan, Record<Signal, Value>][] = [];
      for (const link of links) {
        const facts: CoverageFacts = {
          from: from.name,
          to: to.name,
          tables: catalog.tables,
          publications: catalog.publications,
          flows: new Map(link.config.flows.map((flow) => [flow, subscriptions.get(flow) ?? null])),
        };
        const chooser = new TableChooser(link.config.tables);
        values.push([
          link,
          {
            tables_uncovered: await counted(judgeCoverage(facts, chooser), to, target),
            tables_syncing: await counted(judgeSyncing(facts, chooser), to, target),
          },
        ]);
      }
      return answer(values, busyMs + catalog.busyMs);
    },
  };
}

/** Asks the same of physical links, where only unlogged tables stay behind and nothing is copied table by table. */
export function physicalCoverage(
  from: DatabaseConfig,
  to: DatabaseConfig,
  links: readonly LinkPlan[],
  intervalMs = defaultIntervalMs,
): CatalogQuestion {
  return {
    ...question(from, to, links, intervalMs),
    name: `${from.name}->${to.name}/standby-coverage`,
    async ask(source, target) {
      const [row] = await target.query<{ standby: boolean }>(
        'SELECT pg_catalog.pg_is_in_recovery() AS standby',
        undefined,
        { timeoutMs: catalogTimeoutMs },
      );
      const catalog = await readSourceCatalog(source, []);
      const values: [LinkPlan, Record<Signal, Value>][] = [];
      for (const link of links) {
        const facts = { from: from.name, tables: catalog.tables };
        const uncovered = judgeUnlogged(facts, new TableChooser(link.config.tables));
        values.push([
          link,
          {
            tables_uncovered: await counted(uncovered, to, target),
            // A standby lets nobody in before its copy is consistent, so that its answer says that the copy is complete.
            tables_syncing:
              row?.standby === true
                ? { value: 0, reason: null }
                : { value: null, reason: `${to.name} is not in recovery: it is no standby (any more)` },
          },
        ]);
      }
      return answer(values, catalog.busyMs);
    },
  };
}

function question(
  from: DatabaseConfig,
  to: DatabaseConfig,
  links: readonly LinkPlan[],
  intervalMs: number,
): Omit<CatalogQuestion, 'ask'> {
  return {
    name: `${from.name}->${to.name}/coverage`,
    purpose: 'coverage',
    databases: [from, to],
    intervalMs,
    unknown: (reason, at) =>
      links.flatMap(({ id }) =>
        signals.map((signal): Observation => ({ kind: 'link-reading', link: id, signal, value: null, reason, at })),
      ),
  };
}

function answer(values: readonly [LinkPlan, Record<Signal, Value>][], busyMs: number): CatalogAnswer {
  const observations = (at: Us, freshUs: Us): Observation[] =>
    values.flatMap(([{ id }, each]) =>
      signals.map((signal): Observation => ({ kind: 'link-reading', link: id, signal, ...each[signal], at, freshUs })),
    );
  return { observations, busyMs };
}

/** The count, with the names; whether a table that is not subscribed to exists on the target is asked only of those named. */
async function counted(judged: Judged<Uncovered>, to: DatabaseConfig, target: PgConnection): Promise<Value> {
  if (judged.found === null) return { value: null, reason: judged.reason };
  const first = named(judged.found);
  const wanted = first.flatMap(({ absent }) => (absent === null ? [] : [absent]));
  const there = await existingTables(target, wanted);
  const final = first.map((table) => {
    const { absent } = table;
    if (absent === null || there.has(nameKey(absent.schema, absent.name))) return table;
    return { ...table, reason: `there is no such table on ${to.name}` };
  });
  return { value: judged.found.length, reason: listed(judged.found, final) };
}
