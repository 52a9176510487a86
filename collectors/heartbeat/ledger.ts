import type { Clock, Us } from '../../daemon/core/clock.js';
import type { Emit, HeartbeatVisible } from '../../daemon/core/observation.js';
import type { LinkId } from '../../daemon/core/signal.js';

/** One heartbeat that was issued. */
export interface Issued {
  readonly run: string;
  readonly seq: number;
  /** Just before its write was issued. */
  readonly sentAt: Us;
}

/** A heartbeat row as the target shows it. */
export interface Sighting {
  readonly run: string;
  readonly seq: number;
  /** The database that showed it; left out where that cannot be told. */
  readonly home?: string;
}

/** The key of a heartbeat row, besides the daemon. */
export interface RunKey {
  readonly link: LinkId;
  readonly run: string;
}

interface LinkState {
  /** Newest seq issued, over all runs. */
  issued: number;
  /** Newest seq seen on the target; null before the first. */
  seen: number | null;
  /** Since when it is known to be there: an answer to a later question that shows less means that the target has lost it. */
  seenAt: Us;
  /** When the target was found to have lost heartbeats; what was asked before says nothing newer. */
  lostAt: Us;
  /** The run whose heartbeat was seen last: the one whose row is known to be on the target. */
  carrier: string | null;
  runs: number;
  /** Newest heartbeats by seq; those beyond the bound are forgotten, oldest first. */
  readonly recent: Map<number, Issued>;
  /** Those of them whose commit was confirmed. */
  readonly committed: Set<number>;
  /** Kept apart from `recent`, so that a stall of days still knows since when it lasts. */
  oldestUnseen: Issued | null;
  /** The database that the heartbeats are written to; null while that cannot be told. */
  home: string | null;
}

/** How many heartbeats of a link are remembered; a stall may last for days. */
const keptPerLink = 512;

/**
 * What this process knows of its own heartbeats, per link: issued, acknowledged, failed, seen. Writers and watchers share
 * it, and all heartbeat observations go out through it, so that each is emitted once and `upTo` goes back only where the target
 * itself has gone back. A `seq` rises by one per heartbeat of a link over all of its runs, so that the newest one seen supersedes all older ones.
 */
export class HeartbeatLedger {
  readonly #links = new Map<LinkId, LinkState>();
  readonly #listeners = new Set<(link: LinkId) => void>();

  /**
   * `process` is unique to this ledger; the keys of all of its runs begin with it. `after` is what the first seq follows:
   * a ledger that takes over from another one (collectors made anew by a reload) must go on above it.
   */
  constructor(
    private readonly clock: Pick<Clock, 'monotonicNow'>,
    readonly process: string,
    private readonly after = 0,
  ) {}

  /** A fresh key for a run of this process. */
  newRun(link: LinkId): string {
    const state = this.#state(link);
    state.runs += 1;
    // Of equal length, so that the database's order of keys is that of the runs.
    return `${this.process}-${String(state.runs).padStart(10, '0')}`;
  }

  /** Names the database that the link's heartbeats are written to from now on. */
  writesTo(link: LinkId, home: string | null): void {
    this.#state(link).home = home;
  }

  /** Whether the run belongs to this process. */
  owns(run: string): boolean {
    return run.startsWith(`${this.process}-`);
  }

  /** Records that a heartbeat is about to be written, wakes the pollers, and returns its seq and instant. */
  issue(link: LinkId, run: string, emit: Emit): Issued {
    const state = this.#state(link);
    const heartbeat: Issued = { run, seq: state.issued + 1, sentAt: this.clock.monotonicNow() };
    state.issued = heartbeat.seq;
    state.recent.set(heartbeat.seq, heartbeat);
    if (state.recent.size > keptPerLink) {
      for (const oldest of state.recent.keys()) {
        state.recent.delete(oldest);
        state.committed.delete(oldest);
        break;
      }
    }
    state.oldestUnseen ??= heartbeat;
    emit({ kind: 'heartbeat-sent', link, run, seq: heartbeat.seq, at: heartbeat.sentAt });
    for (const listener of [...this.#listeners]) listener(link);
    return heartbeat;
  }

  /** Records that the heartbeat's commit returned just now. */
  acked(link: LinkId, seq: number, emit: Emit): void {
    const state = this.#state(link);
    if (state.recent.has(seq)) state.committed.add(seq);
    emit({ kind: 'heartbeat-acked', link, seq, at: this.clock.monotonicNow() });
  }

  /** Records that the heartbeat's write ended without a confirmed commit; what surely did not commit is no longer waited for. */
  failed(link: LinkId, seq: number, outcome: 'not-committed' | 'uncertain', reason: string, emit: Emit): void {
    const state = this.#state(link);
    if (outcome === 'not-committed') {
      state.recent.delete(seq);
      if (state.oldestUnseen?.seq === seq) state.oldestUnseen = this.#firstUnseen(state);
    }
    emit({ kind: 'heartbeat-failed', link, seq, outcome, at: this.clock.monotonicNow(), reason });
  }

  /**
   * Records what the target shows: an answer to a question (`askedAt` set, `sighting` null when it shows nothing) or an
   * event of a stream (`askedAt` null). Every answer is emitted, because it also says what was not there; an event only
   * when it is news. Returns whether it was news. An answer asked for after the newest heartbeat was seen that shows less
   * means that the target has lost it (a restore, a new copy): all above is unseen again. Rows of other processes and heartbeats never issued are not seen. Nor is
   * one that is shown by the very database it was written to: nothing has been replicated then, and lag would be small
   * for ever.
   */
  visible(
    link: LinkId,
    sighting: Sighting | null,
    askedAt: Us | null,
    at: Us,
    by: HeartbeatVisible['by'],
    emit: Emit,
  ): boolean {
    const state = this.#state(link);
    if (sighting?.home !== undefined && sighting.home === state.home) {
      const reason =
        'the target shows heartbeats before any replication, because source and target lead to the same database: ' +
        'check both URLs, and where DNS and proxies take them';
      emit({ kind: 'watch-fault', link, at, reason });
      return false;
    }
    const seq = this.#own(state, sighting);
    const { seen } = state;
    // Once its row is gone from the source, the target lacks it rightly.
    const had = seen !== null && state.carrier !== null;
    const shows = sighting === null || seq !== null;
    if (askedAt !== null && shows && had && askedAt >= state.seenAt && (seq ?? 0) < seen) {
      state.seen = seq;
      state.seenAt = at;
      state.lostAt = at;
      state.carrier = sighting?.run ?? null;
      // Those that are no longer remembered one by one are not forgotten while the oldest of them is.
      const first = this.#firstUnseen(state);
      if (first !== null && first.seq < (state.oldestUnseen?.seq ?? Infinity)) state.oldestUnseen = first;
      emit({ kind: 'heartbeat-visible', link, upTo: seq, lost: { shown: seen }, askedAt, at, by });
      return false;
    }
    const news = seq !== null && seq > (seen ?? 0) && (askedAt ?? at) >= state.lostAt;
    if (news) {
      state.seen = seq;
      state.seenAt = at;
      state.carrier = sighting?.run ?? null;
      if (state.oldestUnseen !== null && state.oldestUnseen.seq <= seq) state.oldestUnseen = this.#firstUnseen(state);
    }
    // An answer may be older than an event that came meanwhile. Saying less (nothing newer than what is seen was there)
    // is still true, so `upTo` does not go back with it.
    if (news || askedAt !== null) emit({ kind: 'heartbeat-visible', link, upTo: state.seen, askedAt, at, by });
    return news;
  }

  /** The seq of a sighting that is one of this process's heartbeats; else null. */
  #own(state: LinkState, sighting: Sighting | null): number | null {
    if (sighting === null || !this.owns(sighting.run) || sighting.seq > state.issued) return null;
    return sighting.seq;
  }

  /** How many of the heartbeats between these two are known to have committed, as far as they are remembered. */
  committedBetween(link: LinkId, after: number, before: number): number {
    let count = 0;
    for (const seq of this.#state(link).committed) if (seq > after && seq < before) count += 1;
    return count;
  }

  /** When the oldest heartbeat was sent that is issued, not known to have failed, and not seen; null when there is none. */
  pending(link: LinkId): Us | null {
    return this.#state(link).oldestUnseen?.sentAt ?? null;
  }

  /** The run whose row is known to be on the target, because its heartbeat was the last one seen there; null before the first. */
  carrier(link: LinkId): string | null {
    return this.#state(link).carrier;
  }

  /** Forgets that the run is on both sides, because its row is gone from the source. */
  lose(link: LinkId, run: string): void {
    const state = this.#state(link);
    if (state.carrier === run) state.carrier = null;
  }

  /** Whether this run is the one known to be on the target. */
  isSeen(link: LinkId, run: string): boolean {
    return this.#state(link).carrier === run;
  }

  /** Whether the run carries a heartbeat that is still remembered and may yet be waited for. */
  isRecent(link: LinkId, run: string): boolean {
    for (const heartbeat of this.#state(link).recent.values()) if (heartbeat.run === run) return true;
    return false;
  }

  /** When a heartbeat was sent; null when that is no longer remembered. */
  sentAt(link: LinkId, run: string, seq: number): Us | null {
    const heartbeat = this.#state(link).recent.get(seq);
    return heartbeat?.run === run ? heartbeat.sentAt : null;
  }

  /** Calls the listener whenever a heartbeat is issued; returns how to take it off again. */
  onIssue(listener: (link: LinkId) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  #firstUnseen(state: LinkState): Issued | null {
    for (const heartbeat of state.recent.values()) if (heartbeat.seq > (state.seen ?? 0)) return heartbeat;
    return null;
  }

  #state(link: LinkId): LinkState {
    let state = this.#links.get(link);
    if (state === undefined) {
      state = {
        issued: this.after,
        seen: null,
        seenAt: -Infinity,
        lostAt: -Infinity,
        carrier: null,
        runs: 0,
        recent: new Map(),
        committed: new Set(),
        oldestUnseen: null,
        home: null,
      };
      this.#links.set(link, state);
    }
    return state;
  }
}
