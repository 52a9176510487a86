import { randomBytes } from 'node:crypto';
import type { Collector, CollectorContext, LinkPlan } from '../collector.js';
import { HeartbeatHub } from '../heartbeat/hub.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { BinlogReader } from './binlog-reader.js';
import { mysqlHeartbeatWatcher } from './heartbeat-watcher.js';
import { mysqlHeartbeatWriter, type CarriesBack } from './heartbeat-writer.js';
import { MysqlLocalWrites } from './local-writes.js';

/**
 * Creates writers, watchers and binlog readers for all links whose databases are among `databases`; links by `none` have
 * no heartbeat, and those with an external one none of ours. Nothing is started.
 */
export function mysqlHeartbeats(
  databases: readonly DatabaseConfig[],
  links: readonly LinkPlan[],
  context: CollectorContext,
  carriesBack: CarriesBack,
): Collector[] {
  const hub = context.heartbeats ?? new HeartbeatHub(context.clock, randomBytes(6).toString('hex'));
  const { ledger, existsOnTarget } = hub;
  const beating = links.filter((l) => l.config.via !== 'none' && (l.config.heartbeat.external ?? null) === null);
  return databases.flatMap((db) => {
    const made: Collector[] = [];
    const from = beating.filter((link) => link.from.name === db.name);
    const to = beating.filter((link) => link.to.name === db.name);
    const local = new MysqlLocalWrites(db, context);
    const both = [...from, ...to];
    const reader = db.read === 'off' ? null : new BinlogReader({ db, links: both, context, ledger });
    // Where DMS applies, through ordinary sessions, nothing tells what is local.
    const bySessions = links.some((link) => link.config.via === 'dms' && link.to.name === db.name);
    if (!bySessions) {
      reader?.tellLocal(local);
      made.push(local);
    }
    if (reader !== null) made.push(reader);
    if (to.length > 0) {
      const watcher = mysqlHeartbeatWatcher({ db, links: to, context, ledger, reader });
      reader?.tell(watcher);
      const targets = to.map((link) => link.id);
      hub.watches(targets, (rows) => watcher.existsHere(rows));
      made.push(watcher);
    }
    if (from.length > 0)
      made.push(mysqlHeartbeatWriter({ db, links: from, context, ledger, existsOnTarget, carriesBack }));
    return made;
  });
}
