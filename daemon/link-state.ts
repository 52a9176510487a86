/** What the engine keeps of each link, and how an observation becomes a reading. */
import type { Us } from './core/clock.js';
import type { LinkConfig, MigrationConfig } from './core/config.js';
import type { DmsCoverage } from './core/dms-coverage.js';
import { LinkDrain } from './core/drain.js';
import { lagFreshness, LagTracker } from './core/lag.js';
import type { DmsReading, LinkReading, MigrationReading, SideReading } from './core/observation.js';
import { known, unknown, type LinkId, type Reading, type SignalContext } from './core/signal.js';

/** A link as the engine sees it at present. */
export interface LinkState {
  id: LinkId;
  migration: string;
  config: LinkConfig;
  tracker: LagTracker;
  drain: LinkDrain;
  /** When the heartbeat row and the positions last told different stories. */
  disagreedAt: Us;
  /** Of a link by DMS. */
  coverage?: DmsCoverage;
}

/** The names that a migration's signals depend on. */
export function contextOf(m: MigrationConfig): SignalContext {
  return {
    links: m.links.reverse === undefined ? ['forward'] : ['forward', 'reverse'],
    traffic: Object.fromEntries([...(m.traffic ?? [])].map(([name, { unit }]) => [name, unit])),
    dns: [...(m.dns?.keys() ?? [])],
  };
}

/** A link that nothing is known of yet. */
export function newLink(id: LinkId, migration: string, config: LinkConfig): LinkState {
  const { flows, freshnessUs: freshUs } = config;
  const tracker = new LagTracker({ lagFreshUs: lagFreshness(config.heartbeat.intervalUs), freshUs, flows });
  return { id, migration, config, tracker, drain: new LinkDrain(flows, freshUs), disagreedAt: -Infinity };
}

/** The reading that an observation is, fresh for so long. */
export function readingOf(o: LinkReading | SideReading | MigrationReading | DmsReading, freshUs: Us): Reading {
  if (o.value === null) return unknown(o.reason ?? 'the collector gave no reason', o.at);
  const reading = known(o.value, o.askedAt ?? o.at, freshUs, o.reason);
  return o.kind !== 'side-reading' && o.bound !== undefined ? { ...reading, bound: o.bound } : reading;
}
