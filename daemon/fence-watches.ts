/** What readers say of the local writes of each database, and how a fence waits for them before it is placed. */
import { US_PER_MS, type Clock, type Us } from './core/clock.js';
import type { Config } from './core/config.js';
import { Refusal } from './core/errors.js';
import type { LocalWatch, LocalWrites } from './core/observation.js';
import { APPLIED_BY_SESSIONS, type LocalWrite } from './core/stray.js';
import { appliedBySessions } from './strays.js';

/** The source's reader has so long to begin. */
const ARM_MS = 15_000;
/** How often a watch that is waited for is looked at, in milliseconds. */
export const WATCH_LOOK_MS = 10;

/** What is seen of a database while something is under way that the writes on it matter to. */
export interface Seen {
  readonly database: string;
  readonly writes: LocalWrite[];
  /** Whether the watch has ended at any time since. */
  lost: boolean;
}

/** The watch of local writes, by database. */
export class Watches {
  private readonly said = new Map<string, { confirmed: Us } | { reason: string }>();
  private readonly seeing = new Set<Seen>();

  constructor(
    private readonly clock: Clock,
    private readonly config: () => Config,
    private readonly stopping: AbortSignal,
  ) {}

  /** Takes what a reader says of its watch. */
  watch(o: LocalWatch): void {
    if (o.watching) {
      const confirmed = Math.max(o.at, this.confirmed(o.database) ?? o.at);
      this.said.set(o.database, { confirmed });
      return;
    }
    this.said.set(o.database, { reason: o.reason ?? 'its local writes are not watched' });
    for (const seen of this.seeing) if (seen.database === o.database) seen.lost = true;
  }

  /** Takes writes that a reader has seen. */
  wrote(o: LocalWrites): void {
    for (const seen of this.seeing) if (seen.database === o.database) seen.writes.push(...o.writes);
  }

  /** Everything that was committed before this instant was seen; null while the database is not watched. */
  confirmed(database: string): Us | null {
    const said = this.said.get(database);
    return said !== undefined && 'confirmed' in said ? said.confirmed : null;
  }

  /** Why a database is not watched. */
  reason(database: string): string {
    const said = this.said.get(database);
    return said !== undefined && 'reason' in said ? said.reason : 'its reader has confirmed nothing';
  }

  /** Keeps what is seen of a database from now on, until `unsee`. */
  see(database: string): Seen {
    const seen = { database, writes: [], lost: false };
    this.seeing.add(seen);
    return seen;
  }

  /** Ends keeping. */
  unsee(seen: Seen): void {
    this.seeing.delete(seen);
  }

  /** Resolves once the local writes of a database are watched from before now on; rejects with a Refusal when they are not. */
  async arm(database: string): Promise<void> {
    const whole = this.config();
    if (whole.databases.get(database)?.read === 'off') {
      throw new Refusal(
        409,
        'not_watched',
        `with \`read: off\` nobody watches the local writes of ${database}, and a fence cannot tell whether writes have stopped`,
        `set \`read: auto\` (or on) for ${database}`,
      );
    }
    if (appliedBySessions(whole).has(database)) {
      throw new Refusal(409, 'not_watched', `${database}: ${APPLIED_BY_SESSIONS}`);
    }
    const since = this.clock.monotonicNow();
    while ((this.confirmed(database) ?? -Infinity) < since) {
      if (this.stopping.aborted) throw new Refusal(503, 'stopping', 'the daemon is stopping');
      if (this.clock.monotonicNow() - since > ARM_MS * US_PER_MS) {
        throw new Refusal(
          503,
          'not_watched',
          `the local writes of ${database} are not watched ${ARM_MS / 1_000} s after they were asked for: ${this.reason(database)}`,
          'end what it waits for, and place the fence again',
        );
      }
      await this.clock.sleep(WATCH_LOOK_MS, this.stopping);
    }
  }

  /** Waits until everything committed before `since` was seen; false when it was not within `patienceMs`. */
  async passed(database: string, since: Us, patienceMs: number): Promise<boolean> {
    const until = this.clock.monotonicNow() + patienceMs * US_PER_MS;
    for (;;) {
      const confirmed = this.confirmed(database);
      if (confirmed === null) return false;
      if (confirmed >= since) return true;
      if (this.clock.monotonicNow() > until || this.stopping.aborted) return false;
      await this.clock.sleep(WATCH_LOOK_MS, this.stopping);
    }
  }
}
