/** The application tables of a MySQL or MariaDB server at the beginning of a link by DMS. */
import type { DatabaseConfig } from '../../daemon/core/config.js';
import type { Collector, CollectorContext, LinkPlan } from '../collector.js';
import { catalogSession } from '../session/catalog-watch.js';
import { isOfDms, watchSourceTables, type ReadChosen } from '../session/source-tables.js';
import { readSight, readTables, whyHidden } from './catalog.js';
import { connect, type MysqlConnection } from './connection.js';
import { reopening } from './reopen.js';

const read: ReadChosen<MysqlConnection> = async (session, db, links) => {
  const { tables: all, busyMs } = await readTables(session, false);
  const tables = all.filter((t) => !t.sequence && !isOfDms(t.name));
  const sight = await readSight(session);
  const chosen = links.map(({ chooser, selection }) => {
    const hidden = whyHidden(db, sight, selection);
    if (hidden !== null) return { tables: null, reason: hidden };
    const idle = chooser.idlePattern(tables);
    if (idle !== null)
      return { tables: null, reason: `the pattern ${idle} matches no application table on ${db.name}` };
    const seen = tables.filter((t) => chooser.chooses(t.schema, t.name));
    if (seen.length === 0) return { tables: null, reason: `there is no application table to be carried on ${db.name}` };
    return { tables: seen.map(({ schema, name }) => ({ schema, name, parts: [] })), reason: null };
  });
  return { chosen, busyMs };
};

/** Watches them on every server that a link by DMS begins at. */
export function sourceTables(
  databases: readonly DatabaseConfig[],
  links: readonly LinkPlan[],
  context: CollectorContext,
): Collector[] {
  return watchSourceTables(
    databases,
    links,
    context,
    (db, applicationName) => reopening((signal) => connect(db, { applicationName, ...catalogSession }, signal)),
    read,
  );
}
