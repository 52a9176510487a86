import type { Us } from '../../daemon/core/clock.js';
import type { DatabaseConfig, LinkConfig } from '../../daemon/core/config.js';
import type { MigrationReading, Observation } from '../../daemon/core/observation.js';
import { TableChooser } from '../../daemon/core/table-pattern.js';
import type { CollectorContext } from '../collector.js';
import type { CatalogAnswer, CatalogQuestion } from '../session/catalog-watch.js';
import { both } from '../session/pace.js';
import { noDirection, passiveOf } from '../session/passive.js';
import { whyHidden } from './catalog.js';
import type { MysqlConnection } from './connection.js';
import { OpenedTables, readCounters, spaced, type CountersSeen } from './counter-views.js';
import { compareCounters, listedBehind, sequenceGrants } from './counters.js';

/** One migration between the two servers of a question. */
export interface CountersOf {
  readonly migration: string;
  readonly tables: LinkConfig['tables'];
}

/** Until the catalogs grow large. */
const defaultIntervalMs = 3_000;

type Value = Pick<MigrationReading, 'value' | 'reason' | 'bound'>;

/**
 * Asks which counters of the passive side stand below those of the active one. The passive side is compared with what the
 * active one had at the look before: rows that are on their way would otherwise make every counter seem to be behind now
 * and then, and nothing can be told from the first look.
 */
export function countersBehind(
  source: DatabaseConfig,
  target: DatabaseConfig,
  migrations: readonly CountersOf[],
  isPassive: CollectorContext['isPassive'],
  intervalMs = defaultIntervalMs,
): CatalogQuestion<MysqlConnection> {
  const opened = { source: new OpenedTables(), target: new OpenedTables() };
  let before: { active: DatabaseConfig; seen: CountersSeen } | null = null;
  const reading = (migration: string, value: Value, at: Us, freshUs: Us): Observation => ({
    kind: 'migration-reading',
    migration,
    signal: 'sequences.behind',
    ...value,
    at,
    freshUs,
  });
  const nothing = (reason: string, busyMs: number): CatalogAnswer => ({
    observations: (at, freshUs) =>
      migrations.map(({ migration }) => reading(migration, { value: null, reason }, at, freshUs)),
    busyMs,
  });
  return {
    name: `${source.name}+${target.name}/sequences`,
    purpose: 'sequences',
    databases: [source, target],
    intervalMs,
    async ask(onSource, onTarget) {
      const passive = passiveOf(source, target, isPassive);
      if (passive === null) {
        before = null;
        return nothing(noDirection, 0);
      }
      const [a, b] = await both(readCounters(onSource, opened.source), readCounters(onTarget, opened.target));
      const busyMs = a.busyMs + b.busyMs;
      // The roles may have changed while the answers were on their way.
      if (passiveOf(source, target, isPassive) !== passive) {
        before = null;
        return nothing(noDirection, busyMs);
      }
      const [active, own, other] = passive === target ? [source, a, b] : [target, b, a];
      const last = before?.active === active ? before.seen : null;
      before = { active, seen: own };
      if (last === null) return nothing('the counters are being looked at for the first time', busyMs);
      const unopened = last.unopened + other.unopened;
      if (unopened > 0)
        return nothing(`the counters are being read: ${unopened} tables are still to be opened`, busyMs);
      const values = migrations.map(({ migration, tables }): [string, Value] => {
        const hidden = whyHidden(active, own.sight, tables) ?? whyHidden(passive, other.sight, tables);
        if (hidden !== null) return [migration, { value: null, reason: hidden }];
        return [migration, judged(last, other, active, passive, new TableChooser(tables))];
      });
      return {
        observations: (at, freshUs) => values.map(([migration, value]) => reading(migration, value, at, freshUs)),
        busyMs,
      };
    },
    unknown: (reason, at) => {
      before = null;
      return migrations.map(({ migration }) => reading(migration, { value: null, reason }, at, 0));
    },
  };
}

function judged(
  activeSeen: CountersSeen,
  passiveSeen: CountersSeen,
  active: DatabaseConfig,
  passive: DatabaseConfig,
  chooser: TableChooser,
): Value {
  const result = compareCounters(activeSeen.counters, spaced(passiveSeen), passive.name, chooser);
  const grants = [
    { db: active, sequences: result.hidden.active },
    { db: passive, sequences: result.hidden.passive },
  ].flatMap(({ db, sequences }) =>
    sequences.length === 0
      ? []
      : [`${sequences.length} may not be read on ${db.name}: ${sequenceGrants(sequences, db.address.user)}`],
  );
  const value = result.behind.length;
  const reason = [listedBehind(result, passive.name), ...grants].filter((part) => part !== null).join('; ');
  if (grants.length === 0) return { value, reason: reason === '' ? null : reason };
  // What is behind already decides; what is hidden can only add to it.
  return value === 0 ? { value: null, reason } : { value, reason, bound: 'at-least' };
}
