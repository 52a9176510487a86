import type { Clock } from '../../daemon/core/clock.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import type { Homes, Sides } from '../collector.js';
import { SideIdentity, identified } from './side-identity.js';

/** One identity for each database, whoever opens sessions to it, until its configuration changes. */
export class SharedSides implements Sides {
  readonly #sides = new Map<string, { key: string; identity: SideIdentity }>();

  constructor(
    private readonly clock: Clock,
    private readonly homes: Homes | null = null,
  ) {}

  known(database: DatabaseConfig): DatabaseConfig {
    const { name, address, tls } = database;
    const key = JSON.stringify([address, tls]);
    let side = this.#sides.get(name);
    if (side?.key !== key) {
      side = { key, identity: new SideIdentity(database, this.clock, this.homes) };
      this.#sides.set(name, side);
    }
    return identified(database, side.identity);
  }
}
