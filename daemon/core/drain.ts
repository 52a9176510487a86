/**
 * Drain estimate: how long the target would need to apply what is outstanding if writes stopped now. The rate of apply
 * is learnt only while there is a backlog, because an idle applier shows the rate of the writers, not its own, and only
 * while it moves: what held apply up (a lock, a disabled subscription) took its time whatever the bytes. The upper
 * bound uses the slow end of the rates seen, so that it holds in at least 95 of 100 cases; it never lies below
 * `lag_by_position`, because a delay on the way is no matter of bytes. It counts what may have been written since the look
 * as well, at the highest rate of the last ten seconds, and what may have been written lately by a transaction that was open:
 * its bytes count as passed on before it is committed (see `Capture`). While nothing is being applied (a large transaction
 * shows its progress only at its end) it grows several times as fast as the time, until there is no end to predict.
 */
import { Capture, quantile, type Speed } from './capture.js';
import type { Us } from './clock.js';
import type { Applied, AppliedFault, PositionSampled } from './observation.js';
import { bytesBetween, type Position } from './position.js';
import { stateAt, unknown, type Reading } from './signal.js';

/** One look at a flow: bytes outstanding, and the position applied as a count of bytes. */
export interface DrainSample {
  at: Us;
  /** Bytes between the source's position and the applied one, at `at`. */
  backlogBytes: number;
  /** Bytes applied since some fixed point; only differences count. */
  appliedBytes: number;
}

/**
 * A prediction in seconds. `caught-up`: so little is outstanding that delay decides and not the rate; `high` is then
 * what the bytes alone may take. `none`: there is nothing to predict from.
 */
export type DrainEstimate =
  | { kind: 'caught-up'; high: number }
  | { kind: 'draining'; eta: number; high: number }
  | { kind: 'none'; reason: string };

/** What the backlog of a look does not tell, for the upper bound. */
export interface Ahead {
  /** Bytes written since the look, or that may have been. */
  more: number;
  /** Bytes that may be outstanding though they count as passed on: what was written lately beyond what is usual. */
  atLeast: number;
  /** Bytes per second at which that was written. */
  rate: number;
}

const NOTHING: Ahead = { more: 0, atLeast: 0, rate: 0 };

/** Below this many bytes outstanding there is nothing to drain that a rate could tell of. */
const CAUGHT_UP_BYTES = 64 * 1024;
/** Rates are taken over stretches of at least this length, so that the grain of the samples does not show. */
const STRETCH_US: Us = 200_000;
/** A stretch in which nobody looked for longer than this may have been idle in between. */
const GAP_US: Us = 5_000_000;
/** A backlog of which nothing was applied for longer than this has no end that could be predicted. */
const STUCK_US: Us = 2_000_000;
/** A stretch in which nothing was applied for longer than this tells how long apply was held up, and not how fast it is. */
const HELD_UP_US: Us = 500_000;
/**
 * Being held up is how fast it is where this share of the bytes of so many stretches was applied in held-up ones: a large
 * transaction ends its pause with all its bytes, what waited for a lock goes on with the first small one.
 */
const RECENT = 10;
const RULE_SHARE = 0.3;
/** What can hide is one transaction, applied without a commit in between: so many times the typical time is enough. */
const HIDDEN_FACTOR = 2;
/** Nothing applied for so long is usual, and says nothing yet. */
const USUAL_PAUSE_US: Us = 250_000;
/** A pause that has lasted longer may last so many times as long again. */
const PAUSE_FACTOR = 4;
/** How many rates are remembered. */
const REMEMBERED = 120;
/** Share of the time that the upper bound allows to be slower. */
const SLOW_SHARE = 0.05;
/** Rates needed before the slow end of them means anything; until then the bound is twice the estimate. */
const ENOUGH = 20;
/** What the end of a drain takes beside the bytes: the last flush and the answer that it arrived. */
const SETTLE_US: Us = 250_000;

/** A rate of apply. */
interface Rate extends Speed {
  /** Nothing was applied for a while in it. */
  heldUp: boolean;
}

/** Learns the apply rate of one flow and predicts how long a backlog would take. */
export class DrainEstimator {
  private readonly rates: Rate[] = [];
  /** Stretches at whose end the backlog was gone: the truth is this or more. Used while there is nothing better. */
  private readonly atLeast: Rate[] = [];
  private start: DrainSample | null = null;
  private latest: DrainSample | null = null;
  /** Since when nothing has been applied although there is a backlog. */
  private stuckSince: Us | null = null;
  /** Whether it was held up in the present stretch. */
  private paused = false;

  /** Takes one sample; samples must come in the order of their instants. */
  observe(sample: DrainSample): void {
    const before = this.latest;
    this.latest = sample;
    if (before !== null && sample.appliedBytes < before.appliedBytes) {
      // It went back: what was learnt belongs to another life of the target.
      this.rates.length = 0;
      this.atLeast.length = 0;
      this.start = null;
      this.stuckSince = null;
    }
    if (before !== null && sample.at - before.at > GAP_US) this.start = null;
    const progressed = before === null || sample.appliedBytes > before.appliedBytes;
    if (this.stuckSince !== null && sample.at - this.stuckSince > HELD_UP_US) this.paused = true;
    if (progressed || before.backlogBytes === 0 || sample.backlogBytes === 0) this.stuckSince = null;
    else this.stuckSince ??= before.at;

    const start = this.start;
    if (sample.backlogBytes < CAUGHT_UP_BYTES) {
      if (start !== null) remember(this.atLeast, start, sample, false);
      this.begin(null);
    } else if (start === null) {
      this.begin(sample);
    } else if (progressed && sample.at - start.at >= STRETCH_US) {
      // A stretch ends only with progress: a transaction is applied for seconds and then counts all at once, and the
      // time that it took must not be lost.
      remember(this.rates, start, sample, this.paused);
      this.begin(sample);
    }
  }

  /** Begins a stretch, or none. */
  private begin(start: DrainSample | null): void {
    this.start = start;
    this.paused = false;
  }

  /** The instants of what was observed mean nothing any more; rates that were learnt stay. */
  reset(): void {
    this.start = null;
    this.latest = null;
    this.stuckSince = null;
  }

  /** When the newest sample was taken; null before the first. */
  get observedAt(): Us | null {
    return this.latest?.at ?? null;
  }

  /** Bytes outstanding at the newest sample; 0 before the first. */
  get backlogBytes(): number {
    return this.latest?.backlogBytes ?? 0;
  }

  /** Predicts at `now`; `ahead` is for the upper bound only. */
  estimate(now: Us, ahead: Ahead = NOTHING): DrainEstimate {
    const sample = this.latest;
    if (sample === null) return { kind: 'none', reason: 'no position has been read together with the head yet' };
    if (this.stuckSince !== null && now - this.stuckSince > STUCK_US) {
      return {
        kind: 'none',
        reason: 'there is a backlog and nothing is being applied, so there is no end to predict',
      };
    }
    const { backlogBytes: bytes } = sample;
    const eta = this.typical(bytes);
    const pauseUs = this.stuckSince === null ? 0 : now - this.stuckSince;
    const pause = (PAUSE_FACTOR * Math.max(0, pauseUs - USUAL_PAUSE_US)) / 1e6;
    const high = this.most(bytes, ahead);
    if (bytes < CAUGHT_UP_BYTES) return { kind: 'caught-up', high: pause + (high ?? unlearnt(bytes, ahead)) };
    if (eta === null || high === null)
      return { kind: 'none', reason: 'there is a backlog, and no rate of apply has been seen yet' };
    return { kind: 'draining', eta, high: pause + high };
  }

  private typical(bytes: number): number | null {
    const rates = this.rates.length > 0 ? this.telling() : this.atLeast;
    return rates.length === 0 ? null : bytes / quantile(rates, 0.5);
  }

  /** The rates that tell how fast it is: without those while it was held up, where that was the exception. */
  private telling(): readonly Rate[] {
    const moving = this.rates.filter((rate) => !rate.heldUp);
    const recent = this.rates.slice(-RECENT);
    const bytes = (some: readonly Rate[]): number => some.reduce((sum, r) => sum + r.perSecond * r.us, 0);
    const exception = bytes(recent.filter((rate) => rate.heldUp)) < RULE_SHARE * bytes(recent);
    return exception && moving.length > 0 ? moving : this.rates;
  }

  /** The upper bound, with what the backlog does not tell; null before any rate has been seen. */
  private most(bytes: number, { more, atLeast }: Ahead): number | null {
    const seen = this.bound(bytes + more);
    const hidden = this.typical(atLeast + more);
    return seen === null || hidden === null ? null : Math.max(seen, HIDDEN_FACTOR * hidden);
  }

  /** The upper bound for so many bytes; null before any rate has been seen. */
  private bound(bytes: number): number | null {
    const eta = this.typical(bytes);
    if (eta === null || this.rates.length === 0) return eta === null ? null : 2 * eta;
    const rates = this.telling();
    const high = bytes / quantile(rates, SLOW_SHARE);
    return rates.length >= ENOUGH ? high : Math.max(high, 2 * eta);
  }
}

/**
 * It has never been behind, so nothing is known of its speed but that it kept up with what is written. One transaction is
 * applied by one process as it was written by one: for the time that its bytes take at the highest rate of writing.
 */
function unlearnt(backlog: number, { more, atLeast, rate }: Ahead): number {
  const bytes = Math.max(backlog, atLeast) + more;
  return bytes < CAUGHT_UP_BYTES || rate <= 0 ? 0 : bytes / rate;
}

/** Predicts for a whole link: the worst of its flows, none of which may be unknown. */
export class LinkDrain {
  private readonly flows = new Map<
    string,
    { estimator: DrainEstimator; base: Position | null; fault: string | null; head: number }
  >();
  private readonly capture = new Capture();
  /** From here bytes of the source's positions are counted. */
  private origin: Position | null = null;

  constructor(
    flows: readonly string[],
    private readonly freshUs: Us,
  ) {
    for (const flow of flows)
      this.flows.set(flow, { estimator: new DrainEstimator(), base: null, fault: null, head: 0 });
  }

  /** Takes what is known of one flow's position, or of the source's. */
  observe(o: Applied | AppliedFault | PositionSampled): void {
    if (o.kind === 'position-sampled') {
      this.captured(o.position, o.at);
      return;
    }
    const flow = this.flows.get(o.flow);
    if (flow === undefined) return;
    if (o.kind === 'applied-fault') {
      flow.fault = o.reason;
      return;
    }
    flow.fault = null;
    if (o.bytes !== undefined) {
      flow.estimator.observe({ at: o.at, backlogBytes: o.bytes.backlog, appliedBytes: o.bytes.applied });
      return;
    }
    flow.base ??= o.position;
    const backlogBytes = o.head === undefined ? null : bytesBetween(o.position, o.head);
    const forth = bytesBetween(flow.base, o.position);
    const back = bytesBetween(o.position, flow.base);
    if (backlogBytes === null || forth === null || back === null) {
      flow.fault = 'the distance of its positions cannot be told in bytes';
      return;
    }
    flow.estimator.observe({ at: o.at, backlogBytes, appliedBytes: forth - back });
    if (o.head !== undefined) flow.head = this.captured(o.head, o.at);
  }

  /** Learns from a position of the source, and returns it as a count of bytes. */
  private captured(position: Position, at: Us): number {
    this.origin ??= position;
    const forth = bytesBetween(this.origin, position);
    const back = bytesBetween(position, this.origin);
    if (forth === null || back === null) return this.capture.head ?? 0;
    // It went back: another life of the source.
    if (back > 0) {
      this.capture.reset();
      this.origin = position;
    }
    this.capture.observe(at, forth);
    return forth;
  }

  /** What the look at a flow, which saw the source at `head`, does not tell. */
  private ahead(head: number, backlog: number, now: Us): Ahead {
    const { rate, floor } = this.capture;
    // What is usual a target that is level keeps up with; one that is behind may not.
    const faster = backlog < CAUGHT_UP_BYTES ? rate - floor : rate;
    const unseen = (faster * this.capture.gap(now)) / 1e6;
    const known = Math.max(0, (this.capture.head ?? head) - head);
    const burst = this.capture.burst(now);
    return {
      more: known + (unseen < CAUGHT_UP_BYTES ? 0 : unseen),
      atLeast: burst < CAUGHT_UP_BYTES ? 0 : burst,
      rate,
    };
  }

  /** The clocks jumped: instants of before mean nothing. */
  reset(): void {
    for (const { estimator } of this.flows.values()) estimator.reset();
    this.capture.reset();
  }

  /** The readings at `now`; `lag` is the reading of `lag_by_position`, which decides while the link is caught up. */
  readings(now: Us, lag: Reading): { drain_eta: Reading; drain_eta_high: Reading } {
    const both = (reason: string): ReturnType<LinkDrain['readings']> => {
      const reading = unknown(reason, now);
      return { drain_eta: reading, drain_eta_high: reading };
    };
    if (this.flows.size === 0) return both('this link has no readable applied positions');
    let eta: number | null = null;
    let high = 0;
    let observedAt = Infinity;
    let allowed = 0;
    for (const [name, { estimator, fault, head }] of this.flows) {
      const ahead = this.ahead(head, estimator.backlogBytes, now);
      allowed = Math.max(allowed, ahead.more, ahead.atLeast);
      const estimate: DrainEstimate = fault === null ? estimator.estimate(now, ahead) : { kind: 'none', reason: fault };
      if (estimate.kind === 'none') return both(`${name}: ${estimate.reason}`);
      observedAt = Math.min(observedAt, estimator.observedAt ?? now);
      high = Math.max(high, estimate.high);
      if (estimate.kind === 'draining') eta = Math.max(eta ?? 0, estimate.eta);
    }
    const bytes = { growsFrom: null, bound: 'exact', observedAt, freshUs: this.freshUs, reason: null } as const;
    const etaByBytes: Reading | null = eta === null ? null : { ...bytes, value: eta };
    if (lag.value === null || stateAt(lag, now) !== 'ok') {
      const reason = `lag_by_position is ${stateAt(lag, now)}: ${lag.reason ?? 'it has not been observed lately'}`;
      const none = unknown(reason, now);
      return { drain_eta: etaByBytes ?? none, drain_eta_high: none };
    }
    const usableTo = Math.min(observedAt + this.freshUs, lag.observedAt + lag.freshUs);
    const since = Math.min(observedAt, lag.observedAt);
    const delay: Reading = { ...lag, observedAt: since, freshUs: Math.max(0, usableTo - since) };
    return {
      drain_eta: etaByBytes ?? delay,
      drain_eta_high: {
        ...delay,
        value: Math.max(high, lag.value) + SETTLE_US / 1e6,
        reason:
          allowed < CAUGHT_UP_BYTES
            ? lag.reason
            : `the source is being written to, or was just now: allows for ${(allowed / 1e6).toFixed(1)} MB that its positions do not show as outstanding`,
        growsFrom: lag.growsFrom === null ? null : lag.growsFrom - SETTLE_US,
      },
    };
  }
}

function remember(rates: Rate[], start: DrainSample, end: DrainSample, heldUp: boolean): void {
  const us = end.at - start.at;
  if (us <= 0 || end.appliedBytes <= start.appliedBytes) return;
  rates.push({ perSecond: ((end.appliedBytes - start.appliedBytes) / us) * 1e6, us, heldUp });
  if (rates.length > REMEMBERED) rates.shift();
}
