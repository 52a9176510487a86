/** Puts together what compares the data of a migration: its databases, its section, and how it knows that a change has arrived. */
import type { CollectorContext, EnginePort, Log } from '../collectors/collector.js';
import type { Settling, Verifier, VerifierOptions } from '../collectors/verify/verifier.js';
import type { Clock, Us } from './core/clock.js';
import type { Config, MigrationConfig, VerifyConfig } from './core/config.js';
import { InvariantError } from './core/errors.js';
import type { Engine } from './engine.js';

/** How long what differs may take to become equal where the application writes to both sides itself. */
const SETTLE_US: Us = 5_000_000;

/** What it is put together of. */
export interface VerifierParts {
  engines: readonly EnginePort[];
  config: () => Config;
  clock: Clock;
  log: Log;
  engine: Pick<Engine, 'gauge'>;
  context: CollectorContext;
}

/** Makes the verifier of a migration. */
export function verifierFor(
  create: (options: VerifierOptions) => Verifier,
  parts: VerifierParts,
): (m: MigrationConfig & { verify: VerifyConfig }) => Verifier {
  return (m) => {
    const { clock, log, engine } = parts;
    const { forward } = m.links;
    const settling: Settling =
      forward.via === 'none' ? { by: 'waiting', settleUs: SETTLE_US } : { by: 'link', gauge: engine.gauge(m.name) };
    const carried = forward.tables;
    const side = (name: string): VerifierOptions['source'] => {
      const database = parts.config().databases.get(name);
      const port = parts.engines.find((e) => e.engine === database?.engine);
      if (database === undefined || port === undefined) throw new InvariantError(`nobody can compare ${name}`);
      return port.data(database, parts.context);
    };
    return create({ clock, log, source: side(m.source), target: side(m.target), config: m.verify, carried, settling });
  };
}
