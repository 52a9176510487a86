/**
 * Both sides at work for one pass. Before each piece of work it may be paused:
 *
 *   working ──lag above the limit or unknown──▶ paused (lag)
 *           ──too many statements run on the active side──▶ paused (load)
 *           ──a side does not answer──▶ paused (source, target)
 *
 * and goes on by itself from each of them.
 */
import { US_PER_S, type Clock, type Us } from '../../daemon/core/clock.js';
import type { VerifyConfig } from '../../daemon/core/config.js';
import { formatDurationUs } from '../../daemon/core/units.js';
import { Lane, pause } from './lane.js';
import { PaceShare } from './pace-share.js';
import type { SideName } from './plan.js';
import type { DataPort } from './port.js';
import type { Reporter } from './reporter.js';
import type { Settling } from './verifier.js';

const LOOK_EVERY_US: Us = 250_000;
const RUNNING_EVERY_US: Us = US_PER_S;
const PASSED_EVERY_US: Us = 50_000;
/** Shorter waits are part of the work and not worth telling. */
const TOLD_AFTER_US: Us = 2_000_000;
const RUNNING_LIMIT = { timeoutMs: 5_000 };

/** What a desk is made of. */
export interface DeskOptions {
  clock: Clock;
  ports: Readonly<Record<SideName, DataPort>>;
  /** The side that carries the writes. */
  active: SideName;
  config: VerifyConfig;
  settling: Settling;
  reporter: Reporter;
  signal: AbortSignal;
}

/** Sessions, pauses and rests of a pass. */
export class Desk {
  readonly lanes: Readonly<Record<SideName, Lane>>;
  /** A second session of the active side, where that side may be kept busy all the time. */
  readonly ahead: Lane | null;
  readonly active: SideName;
  readonly passive: SideName;
  readonly #share: PaceShare;
  #askedAt: Us = -Infinity;
  #busy = false;

  constructor(readonly options: DeskOptions) {
    const { active, ports, config, clock, signal, reporter } = options;
    this.active = active;
    this.passive = active === 'source' ? 'target' : 'source';
    this.#share = new PaceShare(config.sourceShare);
    const lane = (side: SideName, what: string): Lane =>
      new Lane(ports[side], {
        clock,
        signal,
        trouble: (reason) =>
          reporter.paused(
            what,
            reason === null ? null : `the ${side} (${ports[side].database}) does not answer: ${reason}`,
          ),
        ...(side === active && {
          rest: () => this.#rest(),
          worked: (from: Us, to: Us) => this.#share.worked(from, to),
        }),
      });
    this.lanes = { source: lane('source', 'source'), target: lane('target', 'target') };
    this.ahead = config.sourceShare >= 1 ? lane(active, 'ahead') : null;
  }

  get clock(): Clock {
    return this.options.clock;
  }

  now(): Us {
    return this.options.clock.monotonicNow();
  }

  /** Whether both sides are written to by the application, with nothing between them. */
  get symmetric(): boolean {
    return this.options.settling.by === 'waiting';
  }

  /** How far attempts are to be apart that settle by waiting. */
  get settleUs(): Us {
    const { settling } = this.options;
    return settling.by === 'waiting' ? settling.settleUs : 0;
  }

  /** Resolves when neither lag nor load forbid the next piece of work. */
  async ready(): Promise<void> {
    const { reporter, signal, clock } = this.options;
    for (;;) {
      const lag = this.#lag();
      reporter.paused('lag', lag);
      if (lag === null) {
        const load = await this.#load();
        reporter.paused('load', load);
        if (load === null) return;
      }
      await pause(clock, LOOK_EVERY_US, signal);
    }
  }

  /** Whether what was compared at an instant may be compared again by now. */
  passed(at: Us): boolean {
    const { settling } = this.options;
    if (settling.by === 'waiting') return this.now() - at >= settling.settleUs;
    return settling.gauge.passedAt() > at;
  }

  /** Waits until everything committed before an instant is visible on the passive side; false after `mostUs`. */
  async waitPassed(at: Us, mostUs: Us): Promise<boolean> {
    const { reporter, signal, clock } = this.options;
    const from = this.now();
    try {
      while (!this.passed(at)) {
        const waited = this.now() - from;
        if (waited >= mostUs) return false;
        if (waited >= TOLD_AFTER_US) reporter.paused('link', 'waiting until the link has passed what was read');
        await pause(clock, Math.min(PASSED_EVERY_US, mostUs - waited), signal);
      }
      return true;
    } finally {
      reporter.paused('link', null);
    }
  }

  /** Leaves everything alone for a while. */
  async pause(us: Us): Promise<void> {
    await pause(this.options.clock, us, this.options.signal);
  }

  /** Closes all sessions. */
  async close(): Promise<void> {
    const lanes = [this.lanes.source, this.lanes.target, ...(this.ahead === null ? [] : [this.ahead])];
    await Promise.all(lanes.map((lane) => lane.close()));
  }

  #lag(): string | null {
    const { settling, config } = this.options;
    if (settling.by === 'waiting') return null;
    const { seconds, reason } = settling.gauge.lag();
    if (seconds === null) return `the lag is unknown${reason === null ? '' : `: ${reason}`}`;
    if (seconds * US_PER_S <= config.pauseAboveLagUs) return null;
    return `the lag is above ${formatDurationUs(config.pauseAboveLagUs)}`;
  }

  async #load(): Promise<string | null> {
    const most = this.options.config.pauseAboveRunning;
    if (most === null) return null;
    if (this.now() - this.#askedAt >= RUNNING_EVERY_US) {
      const running = await this.lanes[this.active].ask((session) => session.running(RUNNING_LIMIT));
      this.#askedAt = this.now();
      this.#busy = running > most;
    }
    return this.#busy ? `the ${this.active} executes more than ${most} statements` : null;
  }

  async #rest(): Promise<void> {
    for (let us = this.#share.restUs(this.now()); us > 0; us = this.#share.restUs(this.now())) await this.pause(us);
  }
}
