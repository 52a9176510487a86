/**
 * Which application tables a link by DMS does not carry whole. The source tells which tables there are, the tasks which
 * they list: neither alone says anything.
 */
import type { SourceTableSeen, SourceTablesSeen, TaskTablesSeen } from './observation.js';
import type { Us } from './clock.js';
import { known, unknown, type Reading } from './signal.js';

/** Tables that a reason names. */
const NAMED = 10;

/** What both halves of one link say. */
export class DmsCoverage {
  private source: SourceTablesSeen | null = null;
  private tasks: TaskTablesSeen | null = null;

  /** Takes a half; answers what both say at `now`. */
  observe(half: SourceTablesSeen | TaskTablesSeen, now: Us): Reading {
    if (half.kind === 'source-tables') this.source = half;
    else this.tasks = half;
    return this.reading(now);
  }

  private reading(now: Us): Reading {
    const { source, tasks } = this;
    if (source === null) return unknown("the source's tables were not read yet", now);
    if (tasks === null) return unknown('the tables of the DMS tasks were not asked for yet', now);
    if (source.tables === null) return unknown(source.reason ?? 'the collector gave no reason', now);
    if (tasks.tables === null) return unknown(tasks.reason ?? 'the collector gave no reason', now);
    const observedAt = Math.min(source.askedAt, tasks.askedAt);
    const until = Math.min(source.askedAt + source.freshUs, tasks.askedAt + tasks.freshUs);
    if (until < now) return unknown(`what ${until === source.askedAt + source.freshUs ? 'the source' : 'DMS'} said of its tables is stale`, now); // prettier-ignore
    const uncovered = uncoveredTables(source.tables, tasks.tables);
    return known(uncovered.length, observedAt, until - observedAt, listed(uncovered));
  }
}

/** The tables that are not carried whole, each with the reason. A partitioned table may be listed itself, or by all of its partitions. */
export function uncoveredTables(
  source: readonly SourceTableSeen[],
  tasks: NonNullable<TaskTablesSeen['tables']>,
): { table: string; why: string }[] {
  // Several tasks may list a table; it is carried whole if one of them does.
  const flaws = new Map<string, string | null>();
  for (const { schema, name, flaw } of tasks) {
    const key = JSON.stringify([schema, name]);
    if (flaws.get(key) !== null) flaws.set(key, flaw);
  }
  const whyNot = (schema: string, name: string): string | null => {
    const flaw = flaws.get(JSON.stringify([schema, name]));
    return flaw === undefined ? 'in no DMS task' : flaw;
  };
  return source.flatMap(({ schema, name, parts }) => {
    const whole = whyNot(schema, name);
    if (whole === null) return [];
    const bad = parts.flatMap((p) => {
      const why = whyNot(p.schema, p.name);
      return why === null ? [] : [{ part: `${p.schema}.${p.name}`, why }];
    });
    if (parts.length > 0 && bad.length === 0) return [];
    const [first] = bad;
    const of = first === undefined || bad.length === parts.length ? whole : `partition ${first.part}: ${first.why}`;
    return [{ table: `${schema}.${name}`, why: of }];
  });
}

function listed(uncovered: readonly { table: string; why: string }[]): string | null {
  if (uncovered.length === 0) return null;
  const names = uncovered.slice(0, NAMED).map(({ table, why }) => `${table} (${why})`);
  return `${names.join(', ')}${uncovered.length > NAMED ? ` and ${uncovered.length - NAMED} more` : ''}`;
}
