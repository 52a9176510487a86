/** What the daemon asks of verification: which tables there are to compare, and a pass over them. */
import type { Clock, Us } from '../../daemon/core/clock.js';
import type { VerifyConfig } from '../../daemon/core/config.js';
import type { PassEnd, PassOrder, PassProgress, Selection, TableResult } from '../../daemon/core/verification.js';
import type { Log } from '../collector.js';
import type { DataPort } from './port.js';

/** What is known of the link that carries the writes to the passive side, at the moment of asking. */
export interface LinkGauge {
  /** In seconds; null while it is unknown, with the reason. */
  lag(): { seconds: number | null; reason: string | null };
  /**
   * An instant of the daemon's clock: everything that was committed on the active side before it is visible on the passive
   * one, by a heartbeat sent after it and by the applied position of every flow where the mechanism has one. -Infinity when
   * nothing is known.
   */
  passedAt(): Us;
}

/** A gauge for sides without a link between them, both of which the application writes to: what differs settles by waiting. */
export type Settling = { by: 'link'; gauge: LinkGauge } | { by: 'waiting'; settleUs: Us };

/** What is needed to compare the two databases of a migration. */
export interface VerifierOptions {
  clock: Clock;
  log: Log;
  source: DataPort;
  target: DataPort;
  config: VerifyConfig;
  /** What the links ought to carry, by the source's names; null: all application tables. */
  carried: { include: readonly string[]; exclude: readonly string[] } | null;
  settling: Settling;
}

/** What a pass tells while it works. None of these throws or waits. */
export interface PassHooks {
  progress(progress: PassProgress): void;
  table(result: TableResult): void;
  /** Where it is, as plain JSON: given back to `run` after a restart it goes on from there. Called at most once a second. */
  save(state: PassState): void;
}

/** A pass and where it is; opaque to everybody but the verifier, and plain JSON. */
export interface PassState {
  order: PassOrder;
  /** Changes with the form of `where`; another one begins the pass anew. */
  version: number;
  where: unknown;
}

/** Compares the data of two databases. */
export interface Verifier {
  /** Looks at both catalogs. Rejects with a LockgateError when one cannot be read, or when nothing can be seen in it. */
  look(signal: AbortSignal): Promise<Selection>;
  /** Runs a pass, from its beginning or from where it was; resolves when it has ended or `signal` aborts. */
  run(pass: PassOrder | PassState, hooks: PassHooks, signal: AbortSignal): Promise<PassEnd>;
  /** The values of rows on both sides as text, for a person who asked for them. */
  values(
    table: string,
    keys: readonly Readonly<Record<string, string>>[],
    signal: AbortSignal,
  ): Promise<
    {
      key: Readonly<Record<string, string>>;
      source: Readonly<Record<string, string | null>> | null;
      target: Readonly<Record<string, string | null>> | null;
    }[]
  >;
  /** Closes its sessions. */
  close(): Promise<void>;
}
