/** The application tables of a PostgreSQL database at the beginning of a link by DMS. */
import type { DatabaseConfig } from '../../daemon/core/config.js';
import type { Collector, CollectorContext, LinkPlan } from '../collector.js';
import { catalogSession } from '../session/catalog-watch.js';
import { isOfDms, watchSourceTables, type ReadChosen } from '../session/source-tables.js';
import { connect, type PgConnection } from './connection.js';
import { chosenTables, leavesOf } from './coverage.js';
import { readSourceCatalog } from './coverage-views.js';

const read: ReadChosen<PgConnection> = async (session, db, links) => {
  const { tables: all, busyMs } = await readSourceCatalog(session, []);
  const tables = new Map([...all].filter(([, { name }]) => !isOfDms(name)));
  const chosen = links.map(({ chooser }) => {
    const found = chosenTables(tables, chooser, db.name);
    if (found.found === null) return { tables: null, reason: found.reason };
    const leaves = leavesOf(tables, chooser);
    const seen = found.found.map(({ oid, schema, name, partitioned }) => {
      const parts = partitioned ? (leaves.get(oid) ?? []).map(({ table }) => ({ schema: table.schema, name: table.name })) : []; // prettier-ignore
      return { schema, name, parts };
    });
    return { tables: seen, reason: null };
  });
  return { chosen, busyMs };
};

/** Watches them on every database that a link by DMS begins at. */
export function sourceTables(
  databases: readonly DatabaseConfig[],
  links: readonly LinkPlan[],
  context: CollectorContext,
): Collector[] {
  return watchSourceTables(
    databases,
    links,
    context,
    (db, applicationName) => (signal) => connect(db, { applicationName, ...catalogSession }, signal),
    read,
  );
}
