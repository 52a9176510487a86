/**
 * Whether what a client shows of a daemon is what the daemon says now.
 *
 *   connecting ─ everything was fetched ─▶ live
 *   connecting, live ─ the stream ended, a request failed, silence, the clocks jumped ─▶ lost
 *   lost ─ tried again ─▶ connecting
 *
 * Nothing else leads from one to another. Only `live` may look good; both others show what was known last, as such.
 */

/** A look at the client's two clocks, milliseconds. The monotonic one never goes back; it may or may not stand still during a suspend. */
export interface Now {
  monotonicMs: number;
  wallMs: number;
}

/** The daemon says something every second; after this long without a byte it is lost. */
export const SILENCE_MS = 3_000;
/** Longest time to fetch everything. */
export const CONNECT_MS = 15_000;
/** How far the client's two clocks may part between two looks: more than that, and the machine slept or its clock was set. */
const DIVERGENCE_MS = 1_000;

/** The connection to one daemon; `since` is when it came into this state. */
export type Connection =
  | {
      state: 'connecting';
      since: Now;
      opened: boolean;
      /** Why it was lost before, in words; null at the first attempt. */
      after: string | null;
    }
  | { state: 'live'; since: Now }
  | {
      state: 'lost';
      since: Now;
      /** In words, for people. */
      reason: string;
      /** The daemon answered, and refused: another attempt with the same token is of no use. */
      refused: boolean;
    };

/** Why a connection that is not lost must be taken for lost at `now`; null when there is no reason. */
export function whyLost(c: Connection, looked: Now, heardMs: number, now: Now): string | null {
  if (c.state === 'lost') return null;
  const passed = now.monotonicMs - looked.monotonicMs;
  const wall = now.wallMs - looked.wallMs;
  if (passed < 0 || Math.abs(wall - passed) > DIVERGENCE_MS) {
    return 'this machine was asleep, or its clock was set';
  }
  if (now.monotonicMs - heardMs > SILENCE_MS) {
    // Not to have looked for so long is a silence of our own, during which the daemon may have said anything.
    return passed > SILENCE_MS
      ? 'this machine or window was stopped for a while'
      : `nothing was heard for ${String(SILENCE_MS / 1000)} s`;
  }
  if (c.state === 'connecting' && now.monotonicMs - c.since.monotonicMs > CONNECT_MS) {
    return `not everything was answered within ${String(CONNECT_MS / 1000)} s`;
  }
  return null;
}
