import type { Collector, CollectorContext, Emit, LinkPlan } from '../collector.js';
import { US_PER_MS, type Us } from '../../daemon/core/clock.js';
import type { Observation } from '../../daemon/core/observation.js';
import type { LinkId } from '../../daemon/core/signal.js';
import type { HeartbeatLedger, RunKey, Sighting } from './ledger.js';
import { Waker } from './waker.js';

/** How a link's heartbeats are noticed on the target first; the poll stands behind each of them. */
export type WatchMode = 'wal' | 'binlog' | 'notify' | 'poll';

/** In which mode a link is watched now, and why. */
export interface WatchChoice {
  readonly mode: WatchMode;
  readonly why: string;
}

/** The row of a link that the target shows, with the highest seq of this process. */
export interface SeenRow extends Sighting {
  readonly link: LinkId;
}

/** A link of which the table proves nothing at present, whatever it shows. */
export interface Unproven {
  readonly link: LinkId;
  /** Why, for people. */
  readonly unproven: string;
}

/** A session on the target database that can be asked for heartbeats; each engine has its own. */
export interface WatcherSession {
  /** Tells the database that it is in from every other one; left out where that cannot be told. */
  readonly home?: string;
  /** Chooses the mode of each link by what is possible at present. */
  choose(links: readonly LinkPlan[]): Promise<ReadonlyMap<LinkId, WatchChoice>>;
  /** The newest row of this process for each of these links that has one, or why that would prove nothing. */
  newest(links: readonly LinkId[]): Promise<readonly (SeenRow | Unproven)[]>;
  /** Which of these rows exist. */
  exists(rows: readonly RunKey[]): Promise<readonly RunKey[]>;
  /** Whether an error means that the session itself is gone or unusable. */
  isLost(error: unknown): boolean;
  /** The reason for people. */
  reasonOf(error: unknown): string;
  /** Settles when the session is lost, with the reason; it never rejects. */
  readonly lost: Promise<Error>;
}

/** What the engine-neutral watcher is made of. */
export interface WatcherOptions {
  readonly name: string;
  readonly context: CollectorContext;
  readonly ledger: HeartbeatLedger;
  /** All links whose `to` is this database; at least one. */
  readonly links: readonly LinkPlan[];
  /** Keeps a session open, as in WriterOptions; `arrived` takes what the session's own stream brings. */
  readonly sessions: (
    use: (session: WatcherSession, healthy: () => void) => Promise<void>,
    arrived: (row: SeenRow, by: 'notify') => void,
    down: (reason: string) => void,
    signal: AbortSignal,
  ) => Promise<void>;
}

interface WatchedLink {
  readonly plan: LinkPlan;
  readonly id: LinkId;
  choice: WatchChoice;
  /** How many arrivals in a row the poll has found before the stream told of them. */
  missed: number;
  /** When the poll last asked for it. */
  askedAt: Us;
  /** What a stream has told of and the table has not yet shown. */
  announced: { seq: number; at: Us; by: Exclude<WatchMode, 'poll'> } | null;
}

/** A heartbeat may take so long to arrive by a stream before the table is asked, and as long between questions. */
const backstopUs = 250 * US_PER_MS;
/** Between questions in poll mode while a heartbeat is young. */
const eagerUs = 10 * US_PER_MS;
/** Between questions for a row that a stream has told of already. */
const againUs = US_PER_MS;
/** While waiting longer, the resolution is this share of the wait. */
const coarseness = 100;
/** After so many misses in a row the stream counts as broken, and the link is polled as if there were none. */
const missesUntilPolled = 3;

/** Creates the collector that watches for the heartbeats of all links which end at one database. */
export function createHeartbeatWatcher(options: WatcherOptions): HeartbeatWatcher {
  return new HeartbeatWatcher(options);
}

/** Collector of heartbeat arrivals; what else it offers is for the WAL reader, the writer and `doctor`. */
export class HeartbeatWatcher implements Collector {
  readonly name: string;
  readonly #links: ReadonlyMap<LinkId, WatchedLink>;
  readonly #waker: Waker;
  #session: WatcherSession | null = null;
  #emit: Emit | null = null;
  #chooseAgain = false;

  constructor(private readonly options: WatcherOptions) {
    this.name = options.name;
    this.#waker = new Waker(options.context.clock);
    const choice: WatchChoice = { mode: 'poll', why: 'not connected yet' };
    this.#links = new Map(
      options.links.map((plan) => [
        plan.id,
        { plan, id: plan.id, choice, missed: 0, askedAt: -Infinity, announced: null },
      ]),
    );
  }

  async run(emit: Emit, signal: AbortSignal): Promise<void> {
    const { ledger, sessions } = this.options;
    this.#emit = emit;
    const off = ledger.onIssue((link) => {
      if (this.#links.has(link)) this.#waker.wake();
    });
    signal.addEventListener('abort', this.#waker.wake, { once: true });
    const down = (reason: string): void => {
      for (const observation of this.down(reason)) emit(observation);
    };
    try {
      await sessions(
        (session, healthy) => this.#watch(session, emit, healthy, signal),
        (row, by) => this.#fromStream(row, by),
        down,
        signal,
      );
    } finally {
      off();
      signal.removeEventListener('abort', this.#waker.wake);
      this.#emit = null;
    }
  }

  down(reason: string): Observation[] {
    const at = this.#now();
    return [...this.#links.keys()].map((link) => ({ kind: 'watch-fault', link, at, reason }));
  }

  /** In which mode each link is watched at present, and why. */
  describe(): { link: LinkId; mode: WatchMode; why: string }[] {
    return [...this.#links.values()].map((link) => {
      const { choice } = link;
      if (choice.mode === 'poll' || link.missed < missesUntilPolled) return { link: link.id, ...choice };
      return { link: link.id, mode: 'poll', why: `${choice.mode} is set up but silent, so the table is polled` };
    });
  }

  /**
   * Takes an arrival that the reader of the target's log saw; links that are not watched by it ignore it. So it is while there
   * is no session here, or the reader is in another database than it (a proxy or a name that leads to several servers):
   * then nothing says that what the reader saw is on the target.
   */
  arrivedByLog(row: SeenRow): void {
    if (this.#session !== null && this.#session.home === row.home) this.#fromStream(row, 'log');
  }

  /** Has the modes chosen anew, because what they depend on has changed. */
  reconsider(): void {
    this.#chooseAgain = true;
    this.#waker.wake();
  }

  /** Which of these rows exist on this target at this moment; rejects when it cannot be asked. */
  async existsHere(rows: readonly RunKey[]): Promise<readonly RunKey[]> {
    const session = this.#session;
    if (session === null) throw new Error(`${this.name} is not connected`);
    return session.exists(rows);
  }

  #now(): Us {
    return this.options.context.clock.monotonicNow();
  }

  /**
   * What a stream tells of only has the table asked at once. A record in the WAL is there a moment before its row can be
   * seen (the server first flushes a commit, then shows it), and no event says by which worker the row came.
   */
  #fromStream(row: SeenRow, by: 'log' | 'notify'): void {
    const link = this.#links.get(row.link);
    const { ledger } = this.options;
    const mode = link?.choice.mode ?? 'poll';
    if (link === undefined || mode === 'poll' || streamOf(mode) !== by) return;
    if (this.#emit === null || !ledger.owns(row.run)) return;
    link.missed = 0;
    if (ledger.pending(row.link) === null) return;
    link.announced = { seq: row.seq, at: this.#now(), by: mode };
    this.#waker.wake();
  }

  async #watch(session: WatcherSession, emit: Emit, healthy: () => void, signal: AbortSignal): Promise<void> {
    const losses: Error[] = [];
    void session.lost.then((error) => {
      losses.push(error);
      this.#waker.wake();
    });
    this.#session = session;
    this.reconsider();
    // Whatever is pending is asked for at once: that also tells that the target answers again.
    for (const link of this.#links.values()) link.askedAt = -Infinity;
    try {
      while (!signal.aborted) {
        const [loss] = losses;
        if (loss !== undefined) throw loss;
        if (this.#chooseAgain) await this.#choose(session);
        const { links, waitMs } = this.#due();
        if (links.length > 0) {
          if (await this.#ask(session, links, emit)) healthy();
          continue;
        }
        await this.#waker.wait(waitMs);
      }
    } finally {
      this.#session = null;
    }
  }

  async #choose(session: WatcherSession): Promise<void> {
    this.#chooseAgain = false;
    const { log } = this.options.context;
    const choices = await session.choose(this.options.links);
    for (const link of this.#links.values()) {
      const choice = choices.get(link.id);
      if (choice === undefined) continue;
      const before = link.choice;
      link.choice = choice;
      if (before.mode === choice.mode && before.why === choice.why) continue;
      const wanted = link.plan.config.heartbeat.watch;
      const fields = { collector: this.name, link: link.id, mode: choice.mode, why: choice.why };
      if (wanted !== 'auto' && wanted !== choice.mode) log.warn(fields, `heartbeats cannot be watched by ${wanted}`);
      else log.info(fields, 'how heartbeats are watched');
    }
  }

  /** The links to ask for now, or how long to wait until there is one. */
  #due(): { links: WatchedLink[]; waitMs: number } {
    const now = this.#now();
    const links: WatchedLink[] = [];
    let next = Infinity;
    for (const link of this.#links.values()) {
      const since = this.options.ledger.pending(link.id);
      if (since === null) continue;
      const due = this.#dueAt(link, since, now);
      // Whoever is nearly due is asked along: it is the same query.
      if (due <= now + eagerUs / 2) links.push(link);
      next = Math.min(next, due);
    }
    return next <= now ? { links, waitMs: 0 } : { links: [], waitMs: (next - now) / US_PER_MS };
  }

  #dueAt(link: WatchedLink, since: Us, now: Us): Us {
    if (link.announced !== null) return Math.max(link.announced.at, link.askedAt + againUs);
    const polled = link.choice.mode === 'poll' || link.missed >= missesUntilPolled;
    if (!polled) return Math.max(since, link.askedAt) + backstopUs;
    const pauseUs = Math.min(Math.max(eagerUs, Math.round((now - since) / coarseness)), backstopUs);
    return Math.max(since + eagerUs / 5, link.askedAt + pauseUs);
  }

  /** Asks the table for some links; returns whether it answered. Throws when the session is gone. */
  async #ask(session: WatcherSession, links: readonly WatchedLink[], emit: Emit): Promise<boolean> {
    const { ledger } = this.options;
    const askedAt = this.#now();
    for (const link of links) link.askedAt = askedAt;
    let rows: readonly (SeenRow | Unproven)[];
    try {
      rows = await session.newest(links.map((link) => link.id));
    } catch (error) {
      if (session.isLost(error)) throw error;
      const reason = session.reasonOf(error);
      // The table cannot be read for any link: the others would only learn it later.
      for (const observation of this.down(reason)) emit(observation);
      for (const link of this.#links.values()) link.askedAt = this.#now() + backstopUs;
      return false;
    }
    const at = this.#now();
    const byLink = new Map(rows.map((row) => [row.link, row]));
    for (const link of links) {
      const row = byLink.get(link.id) ?? null;
      if (row !== null && 'unproven' in row) {
        link.announced = null;
        emit({ kind: 'watch-fault', link: link.id, at, reason: row.unproven });
        continue;
      }
      const { announced } = link;
      const told = announced !== null && row !== null && row.seq >= announced.seq;
      // What the stream told of and the table does not show in all this time is not on this target.
      if (told || (announced !== null && at - announced.at > backstopUs)) link.announced = null;
      const news = ledger.visible(link.id, row, askedAt, at, told ? announced.by : 'poll', emit);
      if (told) link.missed = 0;
      else if (news && link.choice.mode !== 'poll') link.missed = Math.min(link.missed + 1, missesUntilPolled);
    }
    return true;
  }
}

/** By what kind of stream a mode hears of arrivals. */
function streamOf(mode: Exclude<WatchMode, 'poll'>): 'log' | 'notify' {
  return mode === 'notify' ? 'notify' : 'log';
}
