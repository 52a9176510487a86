import { randomBytes } from 'node:crypto';
import type { Collector, CollectorContext, LinkPlan } from '../collector.js';
import { HeartbeatHub } from '../heartbeat/hub.js';
import type { HeartbeatLedger } from '../heartbeat/ledger.js';
import type { HeartbeatWatcher } from '../heartbeat/watcher.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { postgresHeartbeatWatcher } from './heartbeat-watcher.js';
import { postgresHeartbeatWriter } from './heartbeat-writer.js';
import { WalReader } from './wal-reader.js';

/** The collectors that write heartbeats and notice their arrival, wired to each other. */
export interface Heartbeats {
  readonly collectors: readonly Collector[];
  readonly ledger: HeartbeatLedger;
  /** By the name of the database. */
  readonly watchers: ReadonlyMap<string, HeartbeatWatcher>;
}

/**
 * Creates writers, watchers and WAL readers for all links whose databases are among `databases`; links by `none` have no
 * heartbeat. Nothing is started.
 */
export function postgresHeartbeats(
  databases: readonly DatabaseConfig[],
  links: readonly LinkPlan[],
  context: CollectorContext,
): Heartbeats {
  const hub = context.heartbeats ?? new HeartbeatHub(context.clock, randomBytes(6).toString('hex'));
  const { ledger, existsOnTarget } = hub;
  const beating = links.filter((link) => link.config.via !== 'none');
  const watchers = new Map<string, HeartbeatWatcher>();
  const collectors: Collector[] = [];

  for (const db of databases) {
    const from = beating.filter((link) => link.from.name === db.name);
    const to = beating.filter((link) => link.to.name === db.name);
    const both = [...from, ...to];
    if (both.length === 0) continue;
    const reader = db.read === 'off' ? null : new WalReader({ db, links: both, context, ledger });
    if (to.length > 0) {
      const watcher = postgresHeartbeatWatcher({ db, links: to, context, ledger, reader });
      reader?.tell(watcher);
      watchers.set(db.name, watcher);
      const targets = to.map((link) => link.id);
      hub.watches(targets, (rows) => watcher.existsHere(rows));
      collectors.push(watcher);
    }
    if (reader !== null) collectors.push(reader);
    if (from.length > 0) collectors.push(postgresHeartbeatWriter({ db, links: from, context, ledger, existsOnTarget }));
  }
  return { collectors, ledger, watchers };
}
