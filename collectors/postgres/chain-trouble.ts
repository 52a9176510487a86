import type { Us } from '../../daemon/core/clock.js';
import type { TargetSight } from './chain-state.js';

/** A flow is in trouble for so long after its last apply error. */
const troubledUs: Us = 60_000_000;
/** So many errors with nothing applied in between are no lost connection any more, which counts as an apply error too. */
const stuckErrors = 2;
/** A flow that goes on again counts as stuck for a little longer, because what made it go on may be seen a look later. */
const looseUs: Us = 3_000_000;

interface Trouble {
  errors: number;
  /** When the last error was seen; -Infinity before any. */
  at: Us;
  /** Errors since the origin moved last. */
  inARow: number;
  origin: bigint | null;
  stuckUntil: Us;
  /** It counted as stuck at the last look, whatever time has passed since: nobody has looked in between. */
  stuck: boolean;
}

/** Follows the apply errors of flows, from version 15 on. */
export class FlowTroubles {
  readonly #flows = new Map<string, Trouble>();

  /**
   * Takes one look. Answers whether flows should be looked at more often (one is disabled, has no worker, or had apply
   * errors lately), and which are stuck: their apply fails again and again at the same position.
   */
  observe(target: Pick<TargetSight, 'subscriptions'>, now: Us): { eager: boolean; stuck: Set<string> } {
    const stuck = new Set<string>();
    let eager = false;
    for (const [flow, { enabled, worker, errors, origin }] of target.subscriptions) {
      if (!enabled || worker === null) eager = true;
      if (errors === null) continue;
      const remote = origin?.remote ?? null;
      const before = this.#flows.get(flow) ?? {
        errors,
        at: -Infinity,
        inARow: 0,
        origin: remote,
        stuckUntil: -Infinity,
        stuck: false,
      };
      const rose = Math.max(0, errors - before.errors);
      // All of them may have come before a move, which then ended the trouble; for what follows only the last counts.
      const most = before.inARow + rose;
      const inARow = before.origin === remote ? most : Math.min(rose, 1);
      const stuckUntil = most >= stuckErrors && (rose > 0 || inARow === most) ? now + looseUs : before.stuckUntil;
      const trouble: Trouble = {
        errors,
        at: rose > 0 ? now : before.at,
        inARow,
        origin: remote,
        stuckUntil,
        stuck: now < stuckUntil,
      };
      this.#flows.set(flow, trouble);
      if (now - trouble.at < troubledUs) eager = true;
      if (trouble.stuck || before.stuck) stuck.add(flow);
    }
    return { eager, stuck };
  }
}
