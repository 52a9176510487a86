/** MySQL and MariaDB as the rest of lockgate sees them. */
import type { DatabaseConfig } from '../../daemon/core/config.js';
import type { LinkId } from '../../daemon/core/signal.js';
import type { Collector, CollectorContext, EnginePort, LinkPlan } from '../collector.js';
import { mysqlHeartbeats } from './heartbeats.js';
import { MysqlSideCollector } from './side.js';

/** The engine `mysql`. */
export const mysqlEngine: EnginePort = {
  engine: 'mysql',
  collectors,
  grants: () => [],
  setup: nothing,
  teardown: nothing,
  doctor: () => Promise.resolve([]),
};

// eslint-disable-next-line @typescript-eslint/require-await
async function* nothing(): AsyncIterable<never> {
  // Not built yet.
}

function collectors(
  databases: readonly DatabaseConfig[],
  links: readonly LinkPlan[],
  context: CollectorContext,
): Collector[] {
  const running = new Set<LinkId>();
  return [
    ...databases.map((db) => new MysqlSideCollector(db, context)),
    ...mysqlHeartbeats(databases, links, context, (link) => running.has(link)),
  ];
}
