import { randomBytes } from 'node:crypto';
import { US_PER_MS } from '../../daemon/core/clock.js';
import type { Collector, CollectorContext, LinkPlan } from '../collector.js';
import { HeartbeatLedger } from '../heartbeat/ledger.js';
import type { HeartbeatWatcher } from '../heartbeat/watcher.js';
import type { RunKey } from '../heartbeat/writer.js';
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
  // Milliseconds on the monotonic clock rise faster than any heartbeat's seq, so a later ledger is above an earlier one.
  const after = Math.floor(context.clock.monotonicNow() / US_PER_MS);
  const ledger = new HeartbeatLedger(context.clock, randomBytes(6).toString('hex'), after);
  const beating = links.filter((link) => link.config.via !== 'none');
  const targetOf = new Map(beating.map((link) => [link.id, link.to.name]));
  const watchers = new Map<string, HeartbeatWatcher>();
  const collectors: Collector[] = [];

  const existsOnTarget = async (rows: readonly RunKey[]): Promise<RunKey[]> => {
    const found: RunKey[] = [];
    for (const [name, watcher] of watchers) {
      const here = rows.filter((row) => targetOf.get(row.link) === name);
      // A target that cannot be asked only means that nothing is pruned for it now.
      if (here.length > 0) found.push(...(await watcher.existsHere(here).catch(() => [])));
    }
    return found;
  };

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
      collectors.push(watcher);
    }
    if (reader !== null) collectors.push(reader);
    if (from.length > 0) collectors.push(postgresHeartbeatWriter({ db, links: from, context, ledger, existsOnTarget }));
  }
  return { collectors, ledger, watchers };
}
