/**
 * Lag of one link: the heartbeat row's, the applied positions', and whether the two tell the same story. Pure: every
 * method takes the instants, none reads a clock.
 *
 * What is not lag is unknown: the heartbeat could not be committed, the target could not be asked, too much time lies
 * between the newest heartbeat seen and the next one sent (so that nothing vouches for what was written in between).
 */
import { Arrivals, type Arrival, type Outstanding } from './arrivals.js';
import type { Us } from './clock.js';
import type { Observation } from './observation.js';
import { formatPosition, reached, type Position } from './position.js';
import { known, unknown, type Reading } from './signal.js';
import { formatDurationUs } from './units.js';

/** How the lag of a link is judged. */
export interface LagOptions {
  /** Freshness of lag: twice the heartbeat interval, at least a second. */
  lagFreshUs: Us;
  /** Freshness of the link's other signals. */
  freshUs: Us;
  /** Names of the flows whose applied positions count; empty when the mechanism has none. */
  flows: readonly string[];
}

/** Freshness of lag for a heartbeat interval. */
export function lagFreshness(intervalUs: Us): Us {
  return Math.max(2 * intervalUs, 1_000_000);
}

/** The four readings this tracker gives. */
export interface LagReadings {
  lag: Reading;
  lag_low: Reading;
  lag_by_position: Reading;
  agreement: Reading;
}

interface Flow {
  arrivals: Arrivals<Position>;
  applied: Position | null;
  answeredAt: Us | null;
  fault: { reason: string; at: Us } | null;
}

/** Observations that concern the lag of a link. */
export type LagObservation = Extract<
  Observation,
  {
    kind:
      | 'heartbeat-sent'
      | 'heartbeat-acked'
      | 'heartbeat-failed'
      | 'writer-fault'
      | 'heartbeat-visible'
      | 'watch-fault'
      | 'position-sampled'
      | 'applied'
      | 'applied-fault';
  }
>;

/** Folds the observations of one link into its lag readings. */
export class LagTracker {
  private readonly rows: Arrivals<null>;
  private readonly flows = new Map<string, Flow>();
  private sampleId = 0;
  private startedAt: Us | null = null;
  private newestSent = 0;
  /** Heartbeats up to this one cannot vouch for the present: the writer failed after them. */
  private brokenSeq = 0;
  private writerFault: { reason: string; at: Us } | null = null;
  private watchFault: { reason: string; at: Us } | null = null;
  private answeredAt: Us | null = null;
  /** What the target had shown and has lost, until it shows it again. */
  private loss: { shown: number; left: number | null } | null = null;

  constructor(private readonly options: LagOptions) {
    // Two stories differ when one has been ahead for longer than a freshness, so that is how far back both must reach.
    const rememberUs = Math.max(options.lagFreshUs, options.freshUs);
    this.rows = new Arrivals(rememberUs, true);
    for (const name of options.flows) {
      this.flows.set(name, {
        arrivals: new Arrivals(rememberUs),
        applied: null,
        answeredAt: null,
        fault: null,
      });
    }
  }

  /** Takes one observation; the delay of a heartbeat that has just arrived (upper end, microseconds), else null. */
  observe(o: LagObservation): Us | null {
    this.startedAt ??= o.at;
    switch (o.kind) {
      case 'heartbeat-sent':
        this.newestSent = Math.max(this.newestSent, o.seq);
        this.rows.sent(o.seq, o.at, null);
        return null;
      case 'heartbeat-acked':
        this.rows.acked(o.seq, o.at);
        if (o.seq > this.brokenSeq) this.writerFault = null;
        return null;
      case 'heartbeat-failed':
        this.rows.failed(o.seq, o.outcome);
        this.breakChain(o);
        return null;
      case 'writer-fault':
        this.breakChain(o);
        return null;
      case 'heartbeat-visible': {
        this.watchFault = null;
        const upTo = o.upTo;
        if (o.lost !== undefined) {
          this.rows.lost(upTo);
          this.loss = { shown: Math.max(o.lost.shown, this.loss?.shown ?? 0), left: upTo };
        } else if (this.loss !== null && upTo !== null && upTo >= this.loss.shown) this.loss = null;
        const arrival = upTo === null ? null : this.rows.arrived((item) => item.id <= upTo, o.at);
        if (o.askedAt !== null) {
          this.rows.absent(o.askedAt);
          this.answeredAt = Math.max(this.answeredAt ?? o.askedAt, o.askedAt);
        }
        return arrival === null ? null : arrival.highUs;
      }
      case 'watch-fault':
        this.watchFault = { reason: o.reason, at: o.at };
        return null;
      case 'position-sampled':
        this.sampled(o.position, o.sentAt, o.at);
        return null;
      case 'applied':
        this.applied(o);
        return null;
      case 'applied-fault': {
        const flow = this.flows.get(o.flow);
        if (flow !== undefined) flow.fault = { reason: o.reason, at: o.at };
        return null;
      }
    }
  }

  /** Forgets all instants: the clocks jumped, so what was sent before and arrives after has a meaningless delay. */
  reset(): void {
    this.rows.reset();
    this.brokenSeq = this.newestSent;
    this.answeredAt = null;
    for (const flow of this.flows.values()) {
      flow.arrivals.reset();
      flow.answeredAt = null;
    }
  }

  /** The readings at `now`. */
  readings(now: Us): LagReadings {
    const lag = this.lag(now);
    const byPosition = this.byPosition(now);
    return {
      lag: lag.high,
      lag_low: lag.low,
      lag_by_position: byPosition,
      agreement: this.agreement(now, lag.high, byPosition),
    };
  }

  /**
   * An instant before which everything that was committed on the source is visible on the target: by the newest heartbeat
   * that was seen there, and by the newest position that every flow has applied. -Infinity while one of them is not known,
   * or the target has lost what it had.
   */
  passedAt(): Us {
    if (this.watchFault !== null || this.loss !== null) return -Infinity;
    let passed = this.rows.newest()?.sentAt ?? -Infinity;
    for (const flow of this.flows.values()) {
      const applied = flow.fault === null ? flow.arrivals.newest() : null;
      passed = Math.min(passed, applied?.sentAt ?? -Infinity);
    }
    return passed;
  }

  private breakChain(o: { at: Us; reason: string }): void {
    this.writerFault = { reason: o.reason, at: o.at };
    this.brokenSeq = this.newestSent;
  }

  private sampled(position: Position, sentAt: Us, at: Us): void {
    this.sampleId += 1;
    for (const flow of this.flows.values()) {
      flow.arrivals.sent(this.sampleId, sentAt, position);
      flow.arrivals.acked(this.sampleId, at);
    }
  }

  private applied(o: Extract<LagObservation, { kind: 'applied' }>): void {
    const flow = this.flows.get(o.flow);
    if (flow === undefined) return;
    flow.fault = null;
    // A target that went back (restored, failed over) lacks what had arrived, and nothing says since when.
    if (flow.applied !== null && !reached(o.position, flow.applied)) flow.arrivals.forget();
    flow.applied = o.position;
    flow.answeredAt = Math.max(flow.answeredAt ?? o.askedAt, o.askedAt);
    flow.arrivals.arrived((item) => reached(o.position, item.payload), o.at);
    flow.arrivals.absent(o.askedAt);
  }

  private lag(now: Us): { high: Reading; low: Reading } {
    const both = (r: Reading): { high: Reading; low: Reading } => ({ high: r, low: r });
    const newest = this.rows.newest();
    const oldest = this.rows.oldestOutstanding();
    const committed = this.rows.oldestCommitted();
    if (this.watchFault !== null) {
      // Where nothing has been committed since, the target is not even asked again: then the writer's fault is the cause.
      const { watchFault: watch, writerFault: writer } = this;
      const cause = committed === null && writer !== null && writer.at > watch.at ? writer : watch;
      return both(unknown(cause.reason, cause.at));
    }
    if (committed === null && this.writerFault !== null) {
      return both(unknown(this.writerFault.reason, this.writerFault.at));
    }
    if (newest === null && committed !== null && this.loss === null) {
      const missing = this.notReplicated(committed, now);
      if (missing !== null) return both(unknown(missing, now));
    }
    if (oldest === null) {
      if (newest === null) return both(unknown('no heartbeat has been sent yet', this.startedAt ?? now));
      const usable = newest.id > this.brokenSeq;
      const high = known(newest.highUs / 1e6, newest.at, this.options.lagFreshUs);
      const low = known(newest.lowUs / 1e6, newest.at, this.options.lagFreshUs);
      return usable ? { high, low } : both(unknown('no heartbeat has arrived since the writer failed', now));
    }
    const observedAt = Math.max(newest?.at ?? oldest.sentAt, this.answeredAt ?? -Infinity);
    const lowUs = this.rows.lowOutstandingUs();
    if (newest === null || !this.vouched(newest, oldest, committed)) {
      const reason = this.lossReason() ?? `${notVouched(newest, oldest, now)}${this.onlyRow(newest)}`;
      if (committed === null) return both(unknown(reason, observedAt));
      return both({ ...known(lowUs / 1e6, observedAt, this.options.lagFreshUs, reason), bound: 'at-least' });
    }
    const remark = this.lossReason() ?? this.longUnseen(oldest, now);
    const high = known(newest.highUs / 1e6, observedAt, this.options.lagFreshUs, remark);
    const low = known(Math.max(newest.lowUs, lowUs) / 1e6, observedAt, this.options.lagFreshUs, remark);
    return { high: { ...high, growsFrom: oldest.oldestSentAt }, low };
  }

  /**
   * Whether `t - sent` of what is outstanding is an upper bound of the lag: heartbeats were sent without a hole since the
   * newest that arrived. One that was committed before the writer failed, and is still not there, goes on telling how
   * far behind the target is, whatever has become of the writer since.
   */
  private vouched(newest: Arrival, oldest: Outstanding<null>, committed: Outstanding<null> | null): boolean {
    if (oldest.oldestSentAt - newest.sentAt > this.options.lagFreshUs) return false;
    return newest.id > this.brokenSeq || (committed !== null && committed.id <= this.brokenSeq);
  }

  /** What may be wrong when nothing has ever come, where no position tells. */
  private onlyRow(newest: Arrival | null): string {
    return this.flows.size > 0 || newest !== null
      ? ''
      : ': either nothing is copied, or lockgate.heartbeat is not part of what is copied';
  }

  /** What may be wrong when nothing has come for long, where no position tells; null while it is not long. */
  private longUnseen(oldest: Outstanding<null>, now: Us): string | null {
    if (this.flows.size > 0 || now - oldest.oldestSentAt <= this.options.freshUs) return null;
    return (
      'nothing newer arrives: what copies the rows is behind or has stopped, or it copies lockgate.heartbeat no longer. ' +
      'There is no applied position that could tell the two apart'
    );
  }

  /** What the target has lost, for people; null when it has lost nothing, or has it back. */
  private lossReason(): string | null {
    if (this.loss === null) return null;
    const { shown, left } = this.loss;
    const shows = left === null ? 'none' : `only ${left}`;
    return (
      `the target showed heartbeat ${shown} and later ${shows}: it was restored, or its lockgate.heartbeat was copied anew or emptied. ` +
      'Lag counts from the oldest heartbeat that it has lost'
    );
  }

  /** Why a heartbeat that never came although the positions passed it is no lag; null while it may still come. */
  private notReplicated(committed: Outstanding<null>, now: Us): string | null {
    if (this.flows.size === 0) return null;
    let since = -Infinity;
    for (const flow of this.flows.values()) {
      const at = flow.fault === null ? flow.arrivals.arrivedPast(committed.ackedAt ?? committed.sentAt) : null;
      if (at === null) return null;
      since = Math.max(since, at);
    }
    if (now - since <= this.options.freshUs) return null;
    return (
      'heartbeats are committed on the source and the target has applied their positions, but the rows never arrived: ' +
      'lockgate.heartbeat is not part of this replication. Add it to the publication and refresh the subscription (lockgate setup)'
    );
  }

  private byPosition(now: Us): Reading {
    if (this.flows.size === 0) return unknown('this mechanism has no applied position that can be read', now);
    let worst: Reading | null = null;
    let observedAt = Infinity;
    for (const [name, flow] of this.flows) {
      const r = this.flowLag(name, flow, now);
      if (r.value === null) return r;
      observedAt = Math.min(observedAt, r.observedAt);
      worst = worst === null ? r : later(worst, r, now);
    }
    if (worst === null) throw new RangeError('no flow');
    return { ...worst, observedAt };
  }

  private flowLag(name: string, flow: Flow, now: Us): Reading {
    if (flow.fault !== null) return unknown(`${name}: ${flow.fault.reason}`, flow.fault.at);
    const newest = flow.arrivals.newest();
    const oldest = flow.arrivals.oldestOutstanding();
    if (flow.answeredAt === null)
      return unknown(`${name}: no applied position has been read yet`, this.startedAt ?? now);
    if (oldest === null) {
      if (newest === null) return unknown(`${name}: no source position has been read yet`, this.startedAt ?? now);
      return known(newest.highUs / 1e6, newest.at, this.options.freshUs);
    }
    const observedAt = Math.max(flow.answeredAt, newest?.at ?? -Infinity);
    if (newest === null || oldest.oldestSentAt - newest.sentAt > this.options.freshUs) {
      const low = flow.arrivals.lowOutstandingUs() / 1e6;
      const reason = `${name}: ${notVouched(newest, oldest, now)}`;
      return { ...known(low, observedAt, this.options.freshUs, reason), bound: 'at-least' };
    }
    const reading = known(newest.highUs / 1e6, observedAt, this.options.freshUs, this.waitingFor(name, flow, oldest));
    return { ...reading, growsFrom: oldest.oldestSentAt };
  }

  private waitingFor(name: string, flow: Flow, oldest: Outstanding<Position>): string | null {
    if (flow.applied === null || this.flows.size < 2) return null;
    return `${name} has applied ${formatPosition(flow.applied)} of ${formatPosition(oldest.payload)}`;
  }

  private agreement(now: Us, lag: Reading, byPosition: Reading): Reading {
    if (this.flows.size === 0) return unknown('there is only the heartbeat row to go by', now);
    for (const [name, flow] of this.flows) {
      const said = this.disagreement(name, flow);
      if (said !== null) return known(0, now, this.options.freshUs, said);
    }
    for (const [which, r] of [
      ['lag', lag],
      ['lag_by_position', byPosition],
    ] as const) {
      if (r.value === null || r.bound !== 'exact') return unknown(`${which} is unknown: ${r.reason ?? ''}`, now);
    }
    const observedAt = Math.min(lag.observedAt, byPosition.observedAt);
    const usableTo = Math.min(lag.observedAt + lag.freshUs, byPosition.observedAt + byPosition.freshUs);
    return known(1, observedAt, usableTo - observedAt);
  }

  /**
   * What one flow and the heartbeat row say differently for longer than their freshness; null when they agree. Only
   * answers count: the side that says "not arrived" must have been asked that long after the other said "arrived". And
   * only what is certainly behind the other in the log can contradict it: a heartbeat sent after a position was read, a
   * position read after a heartbeat was committed.
   */
  private disagreement(name: string, flow: Flow): string | null {
    if (flow.fault !== null || this.watchFault !== null) return null;
    const behind = flow.arrivals.oldestOutstanding();
    const rowAt = behind === null ? null : this.rows.arrivedPast(behind.ackedAt ?? behind.sentAt);
    const flowAsked = flow.arrivals.askedAt;
    if (rowAt !== null && flowAsked !== null && flowAsked - rowAt > this.options.freshUs) {
      const age = formatDurationUs(flowAsked - rowAt);
      return `the heartbeat row arrived, but ${age} later ${name} had still not applied the position of that moment: its data is stuck`;
    }
    const row = this.rows.oldestCommitted();
    const rowAsked = this.rows.askedAt;
    if (row === null || rowAsked === null) return null;
    let passedAt = -Infinity;
    for (const f of this.flows.values())
      passedAt = Math.max(passedAt, f.arrivals.arrivedPast(row.ackedAt ?? row.sentAt) ?? Infinity);
    if (rowAsked - passedAt <= this.options.lagFreshUs) return null;
    const age = formatDurationUs(rowAsked - passedAt);
    return `the target applied the position of a heartbeat, but ${age} later its row was still not there: lockgate.heartbeat is no longer replicated, or its row is missing on the target`;
  }
}

/** The reading that is larger at `now`; a bound counts as a bound for both. */
function later(a: Reading, b: Reading, now: Us): Reading {
  const at = (r: Reading): number => Math.max(r.value ?? 0, r.growsFrom === null ? 0 : (now - r.growsFrom) / 1e6);
  const [more, less] = at(b) > at(a) ? [b, a] : [a, b];
  const growsFrom =
    more.growsFrom === null || less.growsFrom === null
      ? (more.growsFrom ?? less.growsFrom)
      : Math.min(more.growsFrom, less.growsFrom);
  return {
    ...more,
    value: Math.max(more.value ?? 0, less.value ?? 0),
    growsFrom,
    bound: a.bound === 'exact' && b.bound === 'exact' ? 'exact' : 'at-least',
  };
}

function notVouched(newest: Arrival | null, oldest: Outstanding<unknown>, now: Us): string {
  const age = formatDurationUs(Math.max(0, now - oldest.oldestSentAt));
  if (newest === null) return `nothing sent since the start has arrived yet; the oldest was sent ${age} ago`;
  const gap = formatDurationUs(Math.max(0, oldest.oldestSentAt - newest.sentAt));
  return `nothing was sent for ${gap} before the item that is outstanding since ${age}, so nothing vouches for that time`;
}
