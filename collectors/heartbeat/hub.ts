import type { Clock } from '../../daemon/core/clock.js';
import { US_PER_MS } from '../../daemon/core/clock.js';
import type { LinkId } from '../../daemon/core/signal.js';
import { HeartbeatLedger, type RunKey } from './ledger.js';

/** Answers which of these rows exist in one database at this moment; rejects when it cannot be asked. */
type ExistsHere = (rows: readonly RunKey[]) => Promise<readonly RunKey[]>;

/**
 * What writers and watchers of heartbeats share, whatever the engines of the two sides: one ledger, and the way for a
 * writer to ask the other side about rows. One for each group of databases that links connect.
 */
export class HeartbeatHub {
  readonly ledger: HeartbeatLedger;
  readonly #askers: { links: ReadonlySet<LinkId>; existsHere: ExistsHere }[] = [];

  /** `process` is unique to this hub; the keys of all of its runs begin with it. */
  constructor(clock: Pick<Clock, 'monotonicNow'>, process: string) {
    // Milliseconds on the monotonic clock rise faster than any heartbeat's seq, so a later ledger is above an earlier one.
    this.ledger = new HeartbeatLedger(clock, process, Math.floor(clock.monotonicNow() / US_PER_MS));
  }

  /** Registers how the target of these links is asked. */
  watches(links: readonly LinkId[], existsHere: ExistsHere): void {
    this.#askers.push({ links: new Set(links), existsHere });
  }

  /** Which of these rows exist on the targets of their links; a target that cannot be asked has none. */
  readonly existsOnTarget = async (rows: readonly RunKey[]): Promise<RunKey[]> => {
    const found: RunKey[] = [];
    for (const { links, existsHere } of this.#askers) {
      const here = rows.filter((row) => links.has(row.link));
      // A target that cannot be asked only means that nothing is pruned for it now.
      if (here.length > 0) found.push(...(await existsHere(here).catch(() => [])));
    }
    return found;
  };
}
