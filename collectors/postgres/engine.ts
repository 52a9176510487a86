/** PostgreSQL as the rest of lockgate sees it. */
import type { DatabaseConfig } from '../../daemon/core/config.js';
import type { Observation } from '../../daemon/core/observation.js';
import type { Collector, CollectorContext, Emit, EnginePort, LinkPlan, SidePort } from '../collector.js';
import { SampledPositions } from '../heartbeat/needs.js';
import type { DataPort } from '../verify/port.js';
import { CatalogWatch } from './catalog-watch.js';
import { ChainCollector } from './chain.js';
import { logicalCoverage, physicalCoverage } from './coverage-question.js';
import { controlTables } from './control-tables.js';
import { directionRows } from './direction-rows.js';
import { postgresHeartbeats } from './heartbeats.js';
import { IdentityWatch } from '../session/identity-watch.js';
import { LocalWritesCollector } from './local-writes.js';
import { PhysicalCollector } from './physical.js';
import { PositionsCollector } from './positions.js';
import { sequencesBehind } from './sequences-question.js';
import { SideCollector } from './side.js';
import { SharedSides } from '../session/shared-sides.js';
import { identityOf } from '../session/side-identity.js';
import { PostgresSide } from './fence-side.js';
import { doctor } from './setup/doctor.js';
import { grants } from './setup/grants.js';
import { setup } from './setup/setup.js';
import { teardown } from './setup/teardown.js';
import { PostgresData } from './verify-data.js';

/** The engine `postgres`. */
export const postgresEngine: EnginePort = {
  engine: 'postgres',
  collectors,
  side,
  data,
  grants,
  setup,
  teardown,
  doctor,
};

function data(database: DatabaseConfig, context: CollectorContext): DataPort {
  const sides = context.sides ?? new SharedSides(context.clock, context.homes ?? null);
  return new PostgresData(sides.known(database), context);
}

function side(database: DatabaseConfig, context: CollectorContext): SidePort {
  const sides = context.sides ?? new SharedSides(context.clock, context.homes ?? null);
  return new PostgresSide(sides.known(database), context);
}

function collectors(
  configured: readonly DatabaseConfig[],
  plans: readonly LinkPlan[],
  context: CollectorContext,
): Collector[] {
  // Whoever opens a session to a side: all of them are compared with each other.
  const sides = context.sides ?? new SharedSides(context.clock, context.homes ?? null);
  const own = new Set(configured.map((db) => db.name));
  const known = (db: DatabaseConfig): DatabaseConfig => (own.has(db.name) ? sides.known(db) : db);
  const databases = configured.map(known);
  const links = plans.map((l) => ({ ...l, from: known(l.from), to: known(l.to) }));
  const native = links.filter((l) => l.config.via === 'postgres-logical' || l.config.via === 'postgres-physical');
  const needs = new SampledPositions(native.map((l) => ({ id: l.id, flows: l.config.flows })));
  const physical = new Set(
    native.filter((l) => l.config.via === 'postgres-physical').flatMap((l) => [l.from.name, l.to.name]),
  );
  // Where DMS applies, through ordinary sessions, nothing tells what is local: reading it would cost a slot for nothing.
  const bySessions = new Set(links.filter((l) => l.config.via === 'dms').map((l) => l.to.name));
  const made: Collector[] = databases.flatMap((db) => [
    sideCollector(db, context),
    ...(bySessions.has(db.name) ? [] : [new LocalWritesCollector(db, context, physical.has(db.name))]),
  ]);
  for (const db of databases) {
    const identity = identityOf(db);
    const chained = native.filter((l) => l.from.name === db.name || l.to.name === db.name).map((l) => l.id);
    if (identity !== null) made.push(new IdentityWatch(db.name, chained, identity, context.clock));
  }
  made.push(...postgresHeartbeats(databases, links, context).collectors);
  made.push(...controlTables(databases, links, context));
  for (const { from, to, links: pair } of byPair(native, 'postgres-logical')) {
    made.push(new PositionsCollector(from, to, pair, context, { needs }));
    made.push(new ChainCollector(from, to, pair, context));
    made.push(new CatalogWatch(logicalCoverage(from, to, pair), context));
  }
  for (const { from, to, links: pair } of byPair(native, 'postgres-physical')) {
    made.push(new PhysicalCollector(from, to, pair, context, { needs }));
    made.push(new ChainCollector(from, to, pair, context));
    made.push(new CatalogWatch(physicalCoverage(from, to, pair), context));
  }
  // A migration's sequences are compared by its forward link, whichever way it runs at present.
  for (const { from, to, links: pair } of byPair(native.filter((l) => l.config.name === 'forward'))) {
    const migrations = pair.map(({ migration, config }) => ({ migration, tables: config.tables }));
    made.push(new CatalogWatch(sequencesBehind(from, to, migrations, context.isPassive), context));
  }
  return made.map((c) => tapped(c, (o) => needs.observe(o)));
}

interface Pair {
  from: DatabaseConfig;
  to: DatabaseConfig;
  links: LinkPlan[];
}

/** Links by the two databases they run between. */
function byPair(links: readonly LinkPlan[], via?: LinkPlan['config']['via']): Pair[] {
  const pairs = new Map<string, Pair>();
  for (const link of links) {
    if (via !== undefined && link.config.via !== via) continue;
    const key = JSON.stringify([link.from.name, link.to.name]);
    const pair = pairs.get(key) ?? { from: link.from, to: link.to, links: [] };
    pair.links.push(link);
    pairs.set(key, pair);
  }
  return [...pairs.values()];
}

/** Lets `listener` see every observation of a collector on its way out. */
function tapped(collector: Collector, listener: (o: Observation) => void): Collector {
  return {
    name: collector.name,
    run: (emit, signal) =>
      collector.run((o) => {
        listener(o);
        emit(o);
      }, signal),
    down: (reason) => {
      const observations = collector.down(reason);
      for (const o of observations) listener(o);
      return observations;
    },
  };
}

/** The side's collector, with what it sees of the direction turned into observations. */
function sideCollector(db: DatabaseConfig, context: CollectorContext): Collector {
  let out: Emit = () => undefined;
  const side = new SideCollector(db, context, { onDirection: (sight) => out(directionRows(sight)) });
  const answer = (reason: string): Observation => ({
    kind: 'direction-rows',
    database: db.name,
    rows: null,
    reason,
    at: context.clock.monotonicNow(),
  });
  return {
    name: side.name,
    run: (emit, signal) => {
      out = emit;
      return side.run(emit, signal);
    },
    down: (reason) => [...side.down(reason), answer(reason)],
  };
}
