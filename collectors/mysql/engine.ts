/** MySQL and MariaDB as the rest of lockgate sees them. */
import type { DatabaseConfig } from '../../daemon/core/config.js';
import type { Observation } from '../../daemon/core/observation.js';
import type { LinkId } from '../../daemon/core/signal.js';
import type { Collector, CollectorContext, EnginePort, LinkPlan } from '../collector.js';
import { SampledPositions } from '../heartbeat/needs.js';
import type { DataPort } from '../verify/port.js';
import { IdentityWatch } from '../session/identity-watch.js';
import { SharedSides } from '../session/shared-sides.js';
import { identityOf } from '../session/side-identity.js';
import { catalogWatch } from './catalog.js';
import { MysqlChainCollector } from './chain.js';
import { isFrom } from './channel-state.js';
import { controlTables } from './control-tables.js';
import { countersBehind } from './counters-question.js';
import { mysqlCoverage } from './coverage-question.js';
import { ExternalHeartbeatCollector } from './external-heartbeat.js';
import type { CarriesBack } from './heartbeat-writer.js';
import { MysqlFenceSide } from './fence-side.js';
import { mysqlHeartbeats } from './heartbeats.js';
import type { ServerIdentity } from './position-views.js';
import { MysqlPositionsCollector } from './positions.js';
import { doctor } from './setup/doctor.js';
import { grants } from './setup/grants.js';
import { setup } from './setup/setup.js';
import { teardown } from './setup/teardown.js';
import { MysqlSideCollector } from './side.js';
import { MysqlData } from './verify-data.js';

/** The engine `mysql`. */
export const mysqlEngine: EnginePort = {
  engine: 'mysql',
  collectors,
  side: (database, context) => new MysqlFenceSide(database, context),
  data,
  grants,
  setup,
  teardown,
  doctor,
};

function data(database: DatabaseConfig, context: CollectorContext): DataPort {
  const sides = context.sides ?? new SharedSides(context.clock, context.homes ?? null);
  return new MysqlData(sides.known(database), context.daemonId);
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
  const native = links.filter((l) => l.config.via === 'mysql');
  const needs = new SampledPositions(native.map((l) => ({ id: l.id, flows: l.config.flows })));
  const running = new Set<LinkId>();
  const identities = new Map<string, ServerIdentity>();
  const carriesBack: CarriesBack = (link, channels) => {
    const target = links.find(({ id }) => id === link)?.to.name;
    const identity = target === undefined ? undefined : identities.get(target);
    return running.has(link) && identity !== undefined && channels.every((c) => isFrom(c, identity));
  };
  const made: Collector[] = [
    ...databases.map((db) => new MysqlSideCollector(db, context)),
    ...mysqlHeartbeats(databases, links, context, carriesBack),
    ...controlTables(databases, links, context),
    ...links.flatMap((link) => {
      const table = link.config.heartbeat.external ?? null;
      return table === null ? [] : [new ExternalHeartbeatCollector(link, table, context)];
    }),
    ...pairsOf(native).map(
      ({ from, to, links: pair }) =>
        new MysqlPositionsCollector(from, to, pair, context, {
          needs,
          onTarget: (identity) => void identities.set(to.name, identity),
        }),
    ),
    ...pairsOf(native).flatMap(({ from, to, links: pair }) => [
      new MysqlChainCollector(from, to, pair, context),
      catalogWatch(mysqlCoverage(from, to, pair), context),
    ]),
    // A migration's counters are compared by its forward link, whichever way it runs at present.
    ...pairsOf(native.filter((l) => l.config.name === 'forward')).map(({ from, to, links: pair }) => {
      const migrations = pair.map(({ migration, config }) => ({ migration, tables: config.tables }));
      return catalogWatch(countersBehind(from, to, migrations, context.isPassive), context);
    }),
  ];
  for (const db of databases) {
    const identity = identityOf(db);
    const chained = native.filter((l) => l.from.name === db.name || l.to.name === db.name).map((l) => l.id);
    if (identity !== null) made.push(new IdentityWatch(db.name, chained, identity, context.clock));
  }
  return made.map((c) =>
    tapped(c, (o) => {
      needs.observe(o);
      if (o.kind !== 'link-reading' || o.signal !== 'running') return;
      if (o.value === 1) running.add(o.link);
      else running.delete(o.link);
    }),
  );
}

interface Pair {
  from: DatabaseConfig;
  to: DatabaseConfig;
  links: LinkPlan[];
}

/** Links by the two servers they run between. */
function pairsOf(links: readonly LinkPlan[]): Pair[] {
  const pairs = new Map<string, Pair>();
  for (const link of links) {
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
