import type { Us } from '../../daemon/core/clock.js';
import type { DatabaseConfig, LinkConfig } from '../../daemon/core/config.js';
import type { MigrationReading, Observation } from '../../daemon/core/observation.js';
import { TableChooser } from '../../daemon/core/table-pattern.js';
import type { CollectorContext } from '../collector.js';
import { both } from '../session/pace.js';
import { noDirection, passiveOf } from '../session/passive.js';
import type { CatalogAnswer } from '../session/catalog-watch.js';
import type { CatalogQuestion } from './catalog-watch.js';
import { quoteIdent } from './connection.js';
import { readSequences, sequenceGrant } from './sequence-views.js';
import { chosenSequences, compareSequences, listedBehind, type SequenceState } from './sequences.js';

/** One migration between the two databases of a question. */
export interface SequencesOf {
  readonly migration: string;
  readonly tables: LinkConfig['tables'];
}

/** Until the catalogs grow large. */
const defaultIntervalMs = 5_000;

type Value = Pick<MigrationReading, 'value' | 'reason' | 'bound'>;

/** Asks which sequences of the passive side would hand out values that the active side has used. */
export function sequencesBehind(
  source: DatabaseConfig,
  target: DatabaseConfig,
  migrations: readonly SequencesOf[],
  isPassive: CollectorContext['isPassive'],
  intervalMs = defaultIntervalMs,
): CatalogQuestion {
  const reading = (migration: string, value: Value, at: Us, freshUs: Us): Observation => ({
    kind: 'migration-reading',
    migration,
    signal: 'sequences.behind',
    ...value,
    at,
    freshUs,
  });
  const unknownDirection: CatalogAnswer = {
    observations: (at, freshUs) =>
      migrations.map(({ migration }) => reading(migration, { value: null, reason: noDirection }, at, freshUs)),
    busyMs: 0,
  };
  return {
    name: `${source.name}+${target.name}/sequences`,
    purpose: 'sequences',
    databases: [source, target],
    intervalMs,
    async ask(onSource, onTarget) {
      const passive = passiveOf(source, target, isPassive);
      if (passive === null) return unknownDirection;
      const [a, b] = await both(readSequences(onSource), readSequences(onTarget));
      // The roles may have changed while the answers were on their way.
      if (passiveOf(source, target, isPassive) !== passive) return unknownDirection;
      const [active, other] = passive === target ? [a, b] : [b, a];
      const activeDb = passive === target ? source : target;
      const values = migrations.map(({ migration, tables }): [string, Value] => {
        const chosen = chosenSequences(active.sequences, new TableChooser(tables));
        return [migration, judged(chosen, other.sequences, activeDb, passive)];
      });
      return {
        observations: (at, freshUs) => values.map(([migration, value]) => reading(migration, value, at, freshUs)),
        busyMs: a.busyMs + b.busyMs,
      };
    },
    unknown: (reason, at) => migrations.map(({ migration }) => reading(migration, { value: null, reason }, at, 0)),
  };
}

function judged(
  active: readonly SequenceState[],
  passive: readonly SequenceState[],
  activeDb: DatabaseConfig,
  passiveDb: DatabaseConfig,
): Value {
  const { behind, hidden } = compareSequences(active, passive, passiveDb.name);
  const grants = [
    { db: activeDb, sequences: hidden.active },
    { db: passiveDb, sequences: hidden.passive },
  ].flatMap(({ db, sequences }) => {
    if (sequences.length === 0) return [];
    const grant = sequenceGrant(
      sequences.map((s) => s.schema),
      quoteIdent(db.address.user),
    );
    return [`${sequences.length} may not be read on ${db.name}: ${grant}`];
  });
  const reason = [listedBehind(behind), ...grants].filter((part) => part !== null).join('; ');
  if (grants.length === 0) return { value: behind.length, reason: reason === '' ? null : reason };
  // What is behind already decides; what is hidden can only add to it.
  return behind.length === 0 ? { value: null, reason } : { value: behind.length, reason, bound: 'at-least' };
}
