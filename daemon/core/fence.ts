/**
 * A fence answers exactly, and not by lag, whether the target has everything that the source had when writes stopped. Pure:
 * it is told what was observed, and judges when asked.
 *
 * States: placed -> drained | violated | expired | cancelled; drained -> violated | closed | cancelled. What was drained is
 * proved anew at every question: where that is not possible now, it is shown as `unknown`, and is drained again once it is.
 *
 * The proof has four parts, each from answers that were asked for after the place was taken:
 * - silence: the source's local writes were watched without a gap, and none lies beyond the place;
 * - nothing open: no write transaction is open or prepared on the source, none is prepared on the target. The source must
 *   have been silent up to such a look, because what was committed just before a look is open no more and not seen yet;
 * - positions: every flow has applied the place durably;
 * - marker: the row that was committed after the place is on the target.
 */
import { US_PER_MS, type Us } from './clock.js';
import { isOpen, opened, withEvidence, type FenceMemory, type FenceMissing, type FenceState } from './fence-memory.js';
import { countMissing } from './gtid.js';
import { bytesBetween, formatPosition, isBeyond, parsePosition, reached, type Position } from './position.js';
import { known, unknown, type Reading } from './signal.js';
import type { LocalWrite } from './stray.js';

/** What a fence amounts to now. */
export interface FenceVerdict {
  state: FenceState | 'unknown';
  missing: FenceMissing;
  basis: readonly string[];
  /** The oldest answer that the proof rests on; null when it is not proved. */
  provedAt: Us | null;
}

/** What links can prove: by position and marker, or (DMS) by the marker alone. */
export type FenceProof = 'position' | 'marker';

/** What a fence is judged with, besides what it was told. */
export interface FenceOptions {
  readonly flows: readonly string[];
  readonly proof: FenceProof;
  /** Answers count for so long. */
  readonly freshUs: Us;
  readonly names: { readonly source: string; readonly target: string };
}

/** One look at a side. */
export interface SideSight {
  readonly identity: string;
  /** Of a standby that has been promoted: what it was before, and all that it had applied by then. */
  readonly was?: { readonly identity: string; readonly applied: Position };
  readonly marker: boolean | null;
  readonly open: readonly string[];
  readonly askedAt: Us;
  /** When the answer was there. */
  readonly at: Us;
}

const NOTHING: FenceMissing = { bytes: null, transactions: null, flows: [], reasons: [] };

/** What a fence waits for; nothing at all (the empty GTID set, which has no text) is a place too. */
type Place = Position | 'nothing' | 'unreadable';

/** The place in words that the memory keeps. Words that say nothing must not be taken for "nothing". */
function placeOf(memory: FenceMemory): Place {
  return memory.position === '' ? 'nothing' : (parsePosition(memory.position) ?? 'unreadable');
}

/** A fence while this process lives. */
export class Fence {
  #memory: FenceMemory;
  readonly #place: Place;
  /** Answers count that were asked for since: the place was taken, the fence was taken up again, or the clocks jumped. */
  #since: Us;
  #watch: { confirmed: Us } | null = null;
  #unwatchedBecause = 'its local writes have not been watched yet';
  readonly #flows = new Map<string, { position: Position; askedAt: Us; reachedAt: Us | null } | { fault: string }>();
  #source: SideSight | { fault: string } | null = null;
  /** Looks at the source that found nothing open; the watch has not come so far yet. */
  #clean: { readonly askedAt: Us; readonly at: Us }[] = [];
  /** The newest such look that the watch has passed. */
  #silentAt: Us | null = null;
  #target: SideSight | { fault: string } | null = null;
  /** What else is in the way, by what it concerns. */
  readonly #hindrances = new Map<string, string>();
  /** The deadline on this process's clock, which nobody sets. */
  readonly #deadline: Us;

  /** `now` is the instant from which answers count, `wall` the wall clock at it. */
  constructor(
    memory: FenceMemory,
    private readonly options: FenceOptions,
    now: Us,
    wall: number,
  ) {
    this.#memory = memory;
    this.#place = placeOf(memory);
    this.#since = now;
    this.#deadline = now + (memory.deadlineAt - wall) * US_PER_MS;
  }

  /**
   * Takes a fence up again after a restart: what happened meanwhile must be proved, so it is only placed, and nobody has
   * watched the source since `watchedUntil` (wall clock; null: since it was placed).
   */
  static takenUp(
    memory: FenceMemory,
    options: FenceOptions,
    now: Us,
    wall: number,
    watchedUntil: number | null,
  ): Fence {
    if (!isOpen(memory.state)) return new Fence(memory, options, now, wall);
    const from = Math.max(memory.placedAt, watchedUntil ?? memory.placedAt);
    const unwatched = opened(memory.unwatched, from, 'lockgate was not running');
    return new Fence({ ...memory, state: 'placed', unwatched }, options, now, wall);
  }

  /** What is to be kept. */
  get memory(): FenceMemory {
    return this.#memory;
  }

  /** The newest instant at which the source is known to have had nothing beyond the place, and nothing open. */
  get silentAt(): Us | null {
    return this.#silentAt;
  }

  /** Whether the target is its own standby, promoted since: no flow runs into it any more, and it is judged by what it was. */
  get isPromoted(): boolean {
    return this.#promoted() !== null;
  }

  /** Whether it can still change. */
  get isOpen(): boolean {
    return isOpen(this.#memory.state);
  }

  /**
   * Everything that was committed on the source before `at` was seen. `emptyGap` with the first one after a gap: the
   * server's own evidence shows that nothing was written in it.
   */
  watching(at: Us, wall: number, emptyGap: boolean, because: string | null): void {
    if (!this.isOpen) return;
    const { unwatched } = this.#memory;
    const open = unwatched.findIndex((u) => u.to === null);
    const found = unwatched[open];
    if (found !== undefined) {
      if (emptyGap) {
        this.#change({
          unwatched: unwatched.filter((_, i) => i !== open),
          evidence: withEvidence(this.#memory.evidence),
        });
      } else {
        const reason = because === null ? found.reason : `${found.reason}; ${because}`;
        this.#change({ unwatched: unwatched.map((u, i) => (i === open ? { ...u, to: wall, reason } : u)) });
      }
    }
    this.#watch = { confirmed: Math.max(this.#watch?.confirmed ?? at, at) };
    this.#passLooks();
  }

  /** The source's local writes are not watched any more. */
  notWatching(wall: number, reason: string): void {
    if (!this.isOpen) return;
    this.#unwatchedBecause = reason;
    this.#watch = null;
    this.#change({ unwatched: opened(this.#memory.unwatched, wall, reason) });
  }

  /** Local writes of the source were seen: those beyond the place violate the fence. Answers how many do. */
  wrote(writes: readonly LocalWrite[], wall: number): number {
    if (!this.isOpen) return 0;
    const beyond = this.beyond(writes);
    const [first] = beyond;
    if (first === undefined) return 0;
    const { violations } = this.#memory;
    const seen = { count: beyond.length, firstAt: first.committedAt ?? wall, firstPosition: first.position };
    this.#change({
      violations: violations.count === 0 ? seen : { ...violations, count: violations.count + seen.count },
    });
    this.#end('violated', wall, `a local write was committed after writes were said to have stopped, the first at ${first.position}`); // prettier-ignore
    return beyond.length;
  }

  /** Those of the writes that lie beyond the place. */
  beyond(writes: readonly LocalWrite[]): LocalWrite[] {
    return writes.filter((w) => this.#isBeyond(w.position));
  }

  /** How far one flow has applied durably, as it was asked for at `askedAt` and answered at `at`. */
  applied(flow: string, position: Position, askedAt: Us, at = askedAt): void {
    const known = this.#flows.get(flow);
    // An answer that comes late says nothing of now.
    if (known !== undefined && 'askedAt' in known && known.askedAt > askedAt) return;
    const there = typeof this.#place === 'object' && reached(position, this.#place) && askedAt >= this.#since;
    const before = known !== undefined && 'reachedAt' in known ? known.reachedAt : null;
    this.#flows.set(flow, { position, askedAt, reachedAt: there ? (before ?? at) : null });
  }

  /**
   * When the positions were known by which every flow has reached the place, and has stayed there since; null while one has
   * not. A flow that was made anew begins beyond the place without having applied what lies before it: so they count
   * once the chain of changes was found whole at this instant or later.
   */
  get reachedAt(): Us | null {
    let latest: Us | null = null;
    for (const flow of this.options.flows) {
      const at = this.#flows.get(flow);
      if (at === undefined || 'fault' in at || at.reachedAt === null) return null;
      latest = Math.max(latest ?? at.reachedAt, at.reachedAt);
    }
    return latest;
  }

  /** The place is a set of GTIDs, and no place in a log. */
  get isByGtid(): boolean {
    return typeof this.#place === 'object' && this.#place.kind === 'gtid';
  }

  /** How far a flow has applied cannot be told. */
  appliedFault(flow: string, reason: string): void {
    this.#flows.set(flow, { fault: reason });
  }

  /** A look at one of the sides, or why it could not be looked at. */
  looked(side: 'source' | 'target', sight: SideSight | { fault: string }): void {
    if (side === 'source') {
      this.#source = sight;
      if ('fault' in sight || sight.open.length > 0 || sight.identity !== this.#memory.identity.source) return;
      this.#clean = this.#clean.filter(({ askedAt }) => sight.askedAt - askedAt <= this.options.freshUs);
      this.#clean.push({ askedAt: sight.askedAt, at: sight.at });
      this.#passLooks();
    } else {
      this.#target = sight;
      if ('identity' in sight && this.#memory.identity.target === null && this.isOpen) {
        this.#change({ identity: { ...this.#memory.identity, target: sight.identity } });
      }
    }
  }

  /** What is in the way besides what was observed, such as a direction that is not known; null takes it away. */
  hinder(concerning: string, why: string | null): void {
    if (why === null) this.#hindrances.delete(concerning);
    else this.#hindrances.set(concerning, why);
  }

  /** The clocks jumped: nothing that was asked before `now` counts, also when the answer is still to come; the watch itself goes on. */
  forget(now: Us): void {
    this.#since = Math.max(this.#since, now);
  }

  /** Ends it by hand, or because a change of direction was declared on it. */
  end(state: 'closed' | 'cancelled', wall: number, because: string): void {
    if (this.isOpen) this.#end(state, wall, because);
  }

  /** Judges it at `now`, and makes the changes of state that follow from it. */
  judge(now: Us, wall: number): FenceVerdict {
    const { state, lacked, drainedAt } = this.#memory;
    if (!this.isOpen) {
      const missing = state === 'expired' && lacked !== null ? lacked : { ...NOTHING, reasons: this.#endReasons() };
      return { state, missing: state === 'closed' ? NOTHING : missing, basis: this.#basis(), provedAt: null };
    }
    const { missing, provedAt } = this.#prove(now);
    // One that was drained in time, and is placed because of a restart, has kept its deadline.
    if (state === 'placed' && drainedAt === null && now >= this.#deadline && provedAt === null) {
      this.#change({ lacked: missing });
      this.#end('expired', wall, `not drained before its deadline: ${missing.reasons.join('; ')}`);
      return { state: 'expired', missing, basis: this.#basis(), provedAt: null };
    }
    if (missing.reasons.length > 0) {
      return { state: state === 'drained' ? 'unknown' : 'placed', missing, basis: this.#basis(), provedAt: null };
    }
    if (state === 'placed') this.#change({ state: 'drained', drainedAt: drainedAt ?? wall });
    return { state: 'drained', missing: NOTHING, basis: this.#basis(), provedAt };
  }

  /** `fence.drained` as it reads now; usable until the oldest answer behind it is too old. */
  reading(verdict: FenceVerdict, now: Us): Reading {
    const { id } = this.#memory;
    switch (verdict.state) {
      case 'drained': {
        const provedAt = verdict.provedAt ?? now;
        return known(1, provedAt, this.options.freshUs, `fence ${id} at ${this.#memory.position || 'the beginning'}`);
      }
      case 'violated':
      case 'expired':
        return known(0, now, Infinity, `fence ${id} is ${verdict.state}: ${this.#memory.endedBecause ?? ''}`);
      case 'placed':
        return known(0, now, this.options.freshUs, `fence ${id} waits: ${verdict.missing.reasons.join('; ')}`);
      case 'unknown':
        return unknown(
          `fence ${id} was drained, but that cannot be proved now: ${verdict.missing.reasons.join('; ')}`,
          now,
        );
      case 'closed':
      case 'cancelled':
        return unknown(`the last fence (${id}) was ${verdict.state}: place a new one`, now);
    }
  }

  #prove(now: Us): { missing: FenceMissing; provedAt: Us | null } {
    const reasons: string[] = [];
    let provedAt = now;
    /** Takes an answer that must be of after the place and fresh; false with the reason otherwise. */
    const counts = (askedAt: Us, what: string): boolean => {
      if (askedAt < this.#since) {
        return refuse(`${what}: not asked yet since the fence was placed or taken up, or the clocks jumped`);
      }
      if (now - askedAt > this.options.freshUs) return refuse(`${what} was last asked ${seconds(now - askedAt)} ago`);
      provedAt = Math.min(provedAt, askedAt);
      return true;
    };
    const refuse = (reason: string): false => {
      reasons.push(reason);
      return false;
    };
    for (const why of this.#hindrances.values()) refuse(why);
    this.#proveSilence(counts, refuse);
    this.#proveSide('source', this.#source, counts, refuse);
    this.#proveSide('target', this.#target, counts, refuse);
    const missing = this.#provePositions(counts, refuse);
    return { missing: { ...missing, reasons }, provedAt: reasons.length === 0 ? provedAt : null };
  }

  #proveSilence(counts: (askedAt: Us, what: string) => boolean, refuse: (reason: string) => false): void {
    const { source } = this.options.names;
    const gap = this.#memory.unwatched.find((u) => u.to !== null);
    if (gap !== undefined) {
      refuse(
        `${source} was not watched from ${iso(gap.from)} to ${iso(gap.to ?? gap.from)} (${gap.reason}), and nothing shows ` +
          'that no write was committed in that time: place a new fence',
      );
    }
    if (this.#watch === null) refuse(`the local writes of ${source} are not watched: ${this.#unwatchedBecause}`);
    else if (counts(this.#watch.confirmed, `whether ${source} was written to`)) {
      if (this.#silentAt === null)
        refuse(`the local writes of ${source} are not known yet up to a look that found no transaction open`); // prettier-ignore
      else counts(this.#silentAt, `whether ${source} was silent with no transaction open`);
    }
  }

  #proveSide(
    side: 'source' | 'target',
    sight: SideSight | { fault: string } | null,
    counts: (askedAt: Us, what: string) => boolean,
    refuse: (reason: string) => false,
  ): void {
    const name = this.options.names[side];
    if (sight === null) return void refuse(`${name} has not been looked at yet`);
    if ('fault' in sight) return void refuse(`${name}: ${sight.fault}`);
    const identity = this.#memory.identity[side];
    if (identity !== null && sight.identity !== identity && this.#promoted() === null) {
      return void refuse(
        `${name} is not the server, or not of the history, that the fence was placed on: place a new one`,
      );
    }
    if (!counts(sight.askedAt, `${name}, for open transactions`)) return;
    for (const open of sight.open) refuse(`${name}: ${open}`);
    if (side === 'target' && this.#memory.marker !== null && sight.marker !== true) {
      refuse(`the marker that was committed on ${this.options.names.source} is not on ${name} yet`);
    }
  }

  #provePositions(
    counts: (askedAt: Us, what: string) => boolean,
    refuse: (reason: string) => false,
  ): Omit<FenceMissing, 'reasons'> {
    if (this.options.proof === 'marker') {
      if (this.#memory.marker === null)
        refuse('this link has no readable applied position, and no marker could be committed');
      return { bytes: null, transactions: null, flows: [] };
    }
    const promoted = this.#promoted();
    if (promoted !== null) {
      // No flow runs into it any more: what it had applied by its promotion is all that it will ever have of the source.
      if (typeof this.#place !== 'object' || !reached(promoted.applied, this.#place)) {
        refuse(
          `${this.options.names.target} was promoted when it had applied ${formatPosition(promoted.applied)}, which is not all of ${this.#memory.position}`,
        );
      }
      return { bytes: null, transactions: null, flows: [] };
    }
    const flows: string[] = [];
    let [bytes, transactions]: [number | null, number | null] = [null, null];
    if (this.options.flows.length === 0) refuse('the link has no flow whose position could be read');
    const place = this.#place;
    if (place === 'unreadable') refuse(`the position ${this.#memory.position} cannot be read: place a new fence`);
    for (const flow of this.options.flows) {
      const at = this.#flows.get(flow);
      if (at === undefined) {
        flows.push(flow);
        refuse(`${flow}: no applied position has been read yet`);
      } else if ('fault' in at) {
        flows.push(flow);
        refuse(`${flow}: ${at.fault}`);
      } else if (typeof place === 'object' && !reached(at.position, place)) {
        flows.push(flow);
        const lacks = bytesBetween(at.position, place);
        if (lacks !== null) bytes = Math.max(bytes ?? 0, lacks);
        const behind =
          at.position.kind === 'gtid' && place.kind === 'gtid' ? countMissing(at.position.set, place.set) : null;
        if (behind !== null) transactions = Math.max(transactions ?? 0, behind);
        const much = lacks !== null ? `${lacks} bytes` : behind !== null ? `${behind} transactions` : 'something';
        refuse(`${flow} lacks ${much}: it has applied ${formatPosition(at.position)} of ${formatPosition(place)}`);
      } else if (!counts(at.askedAt, `the applied position of ${flow}`)) flows.push(flow);
    }
    return { bytes, transactions, flows };
  }

  /** What the target had applied, where it is the fence's own standby that has been promoted since; else null. */
  #promoted(): { applied: Position } | null {
    const sight = this.#target;
    if (sight === null || 'fault' in sight || sight.was === undefined) return null;
    const { target } = this.#memory.identity;
    return sight.identity !== target && sight.was.identity === target ? sight.was : null;
  }

  /** What cannot be compared with the place counts as beyond it. */
  #isBeyond(write: string): boolean {
    return typeof this.#place === 'string' || isBeyond(write, this.#place) !== false;
  }

  #passLooks(): void {
    const confirmed = this.#watch?.confirmed ?? -Infinity;
    // The server has looked at some instant until the answer was there: what was committed while it was asked is open no
    // more, and must have been seen.
    for (const { askedAt, at } of this.#clean) {
      if (at <= confirmed) this.#silentAt = Math.max(this.#silentAt ?? askedAt, askedAt);
    }
    this.#clean = this.#clean.filter(({ at }) => at > confirmed);
  }

  #basis(): string[] {
    const { marker, evidence } = this.#memory;
    return [
      ...(marker === null ? [] : ['marker']),
      ...(this.options.proof === 'position' ? ['position'] : []),
      ...evidence,
    ];
  }

  #endReasons(): string[] {
    return this.#memory.endedBecause === null ? [] : [this.#memory.endedBecause];
  }

  #end(state: FenceState, wall: number, because: string): void {
    const unwatched = this.#memory.unwatched.map((u) => (u.to === null ? { ...u, to: wall } : u));
    this.#change({ state, endedAt: wall, endedBecause: because, unwatched });
  }

  #change(part: Partial<FenceMemory>): void {
    this.#memory = { ...this.#memory, ...part };
  }
}

function iso(wall: number): string {
  return new Date(wall).toISOString();
}

function seconds(us: Us): string {
  return `${(us / (1_000 * US_PER_MS)).toFixed(1)} s`;
}
