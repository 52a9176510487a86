import type { Clock } from '../../daemon/core/clock.js';
import type { Observation } from '../../daemon/core/observation.js';
import type { LinkId } from '../../daemon/core/signal.js';
import type { Collector, Emit } from '../collector.js';
import type { SideIdentity } from './side-identity.js';

/**
 * Collector `<database>/identity`: breaks the chain of every link of a database whose sessions were found on different
 * servers. It asks nothing; what is read meanwhile is made unknown by the sessions themselves, which end.
 */
export class IdentityWatch implements Collector {
  readonly name: string;

  constructor(
    database: string,
    private readonly links: readonly LinkId[],
    private readonly identity: SideIdentity,
    private readonly clock: Clock,
  ) {
    this.name = `${database}/identity`;
  }

  async run(emit: Emit, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    this.identity.onSplit((what) => {
      const at = this.clock.monotonicNow();
      for (const link of this.links) emit({ kind: 'chain-broken', link, what, heartbeatsSince: null, at });
    });
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    this.identity.onSplit(null);
  }

  /** It has no signals of its own. */
  down(): Observation[] {
    return [];
  }
}
