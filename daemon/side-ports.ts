/** The databases as fences and changes of direction ask them: one port each, opened when it is first asked for. */
import type { CollectorContext, EnginePort, SidePort } from '../collectors/collector.js';
import type { Config } from './core/config.js';
import { InvariantError } from './core/errors.js';

/** Ports by the names of `databases`; a changed entry gets a new one. */
export class SidePorts {
  private readonly ports = new Map<string, { port: SidePort; basis: string }>();

  constructor(
    private readonly engines: readonly EnginePort[],
    private readonly context: CollectorContext,
    private readonly config: () => Config,
  ) {}

  /** The port of a database of the present configuration. */
  of(database: string): SidePort {
    const config = this.config().databases.get(database);
    const engine = this.engines.find((e) => e.engine === config?.engine);
    if (config === undefined || engine === undefined) throw new InvariantError(`no database ${database} to ask`);
    const basis = JSON.stringify(config);
    const found = this.ports.get(database);
    if (found?.basis === basis) return found.port;
    if (found !== undefined) void found.port.close();
    const port = engine.side(config, this.context);
    this.ports.set(database, { port, basis });
    return port;
  }

  /** Closes all sessions. */
  async close(): Promise<void> {
    await Promise.all([...this.ports.values()].map(({ port }) => port.close()));
    this.ports.clear();
  }
}
