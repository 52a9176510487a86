/**
 * Drain estimate: how long the target would need to apply what is outstanding if writes stopped now. The rate of apply
 * is learnt only while there is a backlog, because an idle applier shows the rate of the writers, not its own. The upper
 * bound uses the slow end of the rates seen, so that it holds in at least 95 of 100 cases.
 */
import type { Us } from './clock.js';

/** One look at a flow: bytes outstanding, and the position applied as a count of bytes. */
export interface DrainSample {
  at: Us;
  /** Bytes between the source's position and the applied one, at `at`. */
  backlogBytes: number;
  /** Bytes applied since some fixed point; only differences count. */
  appliedBytes: number;
}

/** A prediction in seconds; null with a reason when there is nothing to predict from. */
export type DrainEstimate = { eta: number; high: number; reason: null } | { eta: null; high: null; reason: string };

/** Below this many bytes outstanding there is nothing to drain that a rate could tell of. */
const CAUGHT_UP_BYTES = 64 * 1024;
/** Rates are taken over stretches of at least this length, so that the grain of the samples does not show. */
const STRETCH_US: Us = 200_000;
/** How many rates are remembered. */
const REMEMBERED = 120;
/** Share of the rates seen that the upper bound allows to be slower. */
const SLOW_SHARE = 0.05;
/** Rates needed before the slow end of them means anything; until then the bound is twice the estimate. */
const ENOUGH = 20;
/** What the end of a drain takes beside the bytes: the last flush and the answer that it arrived. */
const SETTLE_S = 0.25;

/** Learns the apply rate of one flow and predicts how long a backlog would take. */
export class DrainEstimator {
  private readonly rates: number[] = [];
  private start: DrainSample | null = null;
  private latest: DrainSample | null = null;
  /** Since when nothing has been applied although there is a backlog. */
  private stuckSince: Us | null = null;

  /** Takes one sample; samples must come in the order of their instants. */
  observe(sample: DrainSample): void {
    const before = this.latest;
    this.latest = sample;
    if (before !== null && sample.appliedBytes < before.appliedBytes) {
      // It went back: what was learnt belongs to another life of the target.
      this.rates.length = 0;
      this.start = null;
      this.stuckSince = null;
    }
    if (sample.backlogBytes < CAUGHT_UP_BYTES) {
      this.start = null;
      this.stuckSince = null;
      return;
    }
    if (this.start === null) {
      this.start = sample;
      return;
    }
    const progressed = before !== null && sample.appliedBytes > before.appliedBytes;
    this.stuckSince = progressed ? null : (this.stuckSince ?? before?.at ?? sample.at);
    const us = sample.at - this.start.at;
    if (us < STRETCH_US) return;
    const rate = ((sample.appliedBytes - this.start.appliedBytes) / us) * 1e6;
    if (rate > 0) {
      this.rates.push(rate);
      if (this.rates.length > REMEMBERED) this.rates.shift();
    }
    this.start = sample;
  }

  /** Predicts at `now`; `lagByPosition` (seconds) is the answer while caught up. */
  estimate(now: Us, lagByPosition: number | null): DrainEstimate {
    const none = (reason: string): DrainEstimate => ({ eta: null, high: null, reason });
    const sample = this.latest;
    if (sample === null) return none('no position has been read yet');
    if (sample.backlogBytes < CAUGHT_UP_BYTES) {
      if (lagByPosition === null) return none('caught up, but lag_by_position is unknown');
      return {
        eta: lagByPosition,
        high: Math.max(lagByPosition, this.bound(sample.backlogBytes) ?? 0) + SETTLE_S,
        reason: null,
      };
    }
    if (this.stuckSince !== null && now - this.stuckSince > 2_000_000) {
      return none('there is a backlog and nothing is being applied, so there is no end to predict');
    }
    if (this.rates.length === 0) return none('there is a backlog, and no rate of apply has been seen yet');
    const eta = sample.backlogBytes / quantile(this.rates, 0.5);
    return { eta, high: (this.bound(sample.backlogBytes) ?? 2 * eta) + SETTLE_S, reason: null };
  }

  private bound(bytes: number): number | null {
    if (this.rates.length === 0) return null;
    const slow = quantile(this.rates, SLOW_SHARE);
    const high = bytes / slow;
    return this.rates.length >= ENOUGH ? high : Math.max(high, (2 * bytes) / quantile(this.rates, 0.5));
  }
}

function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0;
}
