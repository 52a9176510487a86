import type { LinkId } from '../../../daemon/core/signal.js';

/** One thing that lockgate needs on a server: how to tell whether it is there, and the statement that makes it so. */
export interface DesiredObject {
  /** A noun phrase for findings: `the heartbeat table`. */
  readonly what: string;
  /** What making it does, as steps show it: `create the heartbeat table`. */
  readonly why: string;
  /** An SQL boolean, true when it is as wanted; it must work for any user and in any state of the catalog. */
  readonly check: string;
  /** One statement or several that may run in one transaction; running it again does no harm. */
  readonly make: string;
  /** What is run in place of `make` when that holds a secret. */
  readonly makeSecretly?: () => string;
  /** The rest is of use without it: setup goes on when the administrator may not make it. */
  readonly dispensable?: true;
  /** What its absence means. */
  readonly level: 'fault' | 'warning';
  /** Full names of the signals that are unknown without it. */
  readonly signals: readonly string[];
  readonly link: LinkId | null;
}
