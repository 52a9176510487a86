/**
 * How fast the source writes, learnt from its position: what the bound of a drain adds to the backlog. A look behind a
 * reading is up to a second old, and what was written since is missing in it; and the bytes of a transaction count as
 * passed on while it is open, though nothing of it has been applied.
 */
import type { Us } from './clock.js';

/** Rates are taken over stretches of at least this length, so that the grain of the samples does not show. */
const STRETCH_US: Us = 200_000;
/** For so long the highest rate is remembered: a burst is likely to come again. */
const RATE_US: Us = 60_000_000;
/** What was written longer ago than this belongs to no transaction that has just been committed. */
const OPEN_US: Us = 5_000_000;
/** For three quarters of the time at least so much is written: the target keeps up with that or shows a backlog. */
const FLOOR_SHARE = 0.25;
/** Before so much has been seen nothing counts as usual. */
const FLOOR_US: Us = 30_000_000;
/** Never allows for a longer time without a look: such a reading is stale. */
const MOST_GAP_US: Us = 5_000_000;

/** Bytes per second over a stretch of `us`. */
export interface Speed {
  perSecond: number;
  us: Us;
}

interface Head {
  at: Us;
  bytes: number;
}

/** Learns from heads of one source, given as counts of bytes from a fixed point. */
export class Capture {
  /** Oldest first, a stretch or more apart, no older than `RATE_US` but for the first. */
  private kept: Head[] = [];
  private latest: Head | null = null;
  /** Made of `kept` when it is asked for, because heads come more often than stretches end. */
  private learnt: { rate: number; floor: number } | null = null;

  /** Takes a head; one that is older or lower than what is known adds nothing. */
  observe(at: Us, bytes: number): void {
    if (this.latest !== null && bytes < this.latest.bytes && at - this.latest.at > MOST_GAP_US) this.reset(); // it went back
    if (this.latest !== null && (at <= this.latest.at || bytes < this.latest.bytes)) return;
    this.latest = { at, bytes };
    const last = this.kept.at(-1);
    if (last !== undefined && at - last.at < STRETCH_US) return;
    this.kept.push(this.latest);
    this.learnt = null;
    while ((this.kept[1]?.at ?? Infinity) < at - RATE_US) this.kept.shift();
  }

  /** Forgets everything: the instants, or the positions, mean nothing any more. */
  reset(): void {
    this.kept = [];
    this.latest = null;
    this.learnt = null;
  }

  /** The newest head; null before the first. */
  get head(): number | null {
    return this.latest?.bytes ?? null;
  }

  /**
   * Bytes written in the seconds before `now` beyond what is usual: they may be those of a transaction that was open then.
   * What is always written passes in small transactions, or shows as backlog again and again.
   */
  burst(now: Us): number {
    if (this.latest === null) return 0;
    const { floor } = this;
    let bytes = 0;
    let end = this.latest;
    for (let i = this.kept.length - 1; i >= 0 && end.at > now - OPEN_US; i--) {
      const start = this.kept[i] ?? end;
      bytes += Math.max(0, end.bytes - start.bytes - (floor * (end.at - start.at)) / 1e6);
      end = start;
    }
    return bytes;
  }

  /** The highest rate of the last minute, in bytes per second. */
  get rate(): number {
    return this.learn().rate;
  }

  /** The rate that is usual, in bytes per second; 0 until half a minute has been seen. */
  get floor(): number {
    return this.learn().floor;
  }

  private learn(): { rate: number; floor: number } {
    if (this.learnt !== null) return this.learnt;
    const speeds: Speed[] = [];
    let rate = 0;
    let us = 0;
    for (const [i, start] of this.kept.entries()) {
      const end = this.kept[i + 1];
      if (end === undefined) break;
      const speed = { perSecond: ((end.bytes - start.bytes) / (end.at - start.at)) * 1e6, us: end.at - start.at };
      speeds.push(speed);
      rate = Math.max(rate, speed.perSecond);
      us += speed.us;
    }
    this.learnt = { rate, floor: us < FLOOR_US ? 0 : quantile(speeds, FLOOR_SHARE) };
    return this.learnt;
  }

  /** For so long nobody may have looked when a reading made at `now` is used: the longest distance of late. */
  gap(now: Us): Us {
    let most = this.latest === null ? 0 : now - this.latest.at;
    for (let i = this.kept.length - 1; i > 0; i--) {
      const [before, head] = [this.kept[i - 1], this.kept[i]];
      if (before === undefined || head === undefined || head.at < now - 2 * OPEN_US) break;
      most = Math.max(most, head.at - before.at);
    }
    return Math.min(most, MOST_GAP_US);
  }
}

/** The rate below which a share `q` of the time was spent; weighted by time, because one slow stretch may outlast many fast ones. */
export function quantile(rates: readonly Speed[], q: number): number {
  const sorted = [...rates].sort((a, b) => a.perSecond - b.perSecond);
  const wanted = q * sorted.reduce((sum, r) => sum + r.us, 0);
  let passed = 0;
  for (const { perSecond, us } of sorted) {
    passed += us;
    if (passed > wanted) return perSecond;
  }
  return sorted.at(-1)?.perSecond ?? 0;
}
