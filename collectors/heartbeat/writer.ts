import type { Collector, CollectorContext, Emit, LinkPlan } from '../collector.js';
import { US_PER_MS, US_PER_S, type Us } from '../../daemon/core/clock.js';
import { messageOf } from '../../daemon/core/errors.js';
import type { Observation } from '../../daemon/core/observation.js';
import { reached, type Position } from '../../daemon/core/position.js';
import type { LinkId } from '../../daemon/core/signal.js';
import type { HeartbeatLedger, Issued, RunKey } from './ledger.js';
import { RunPlan } from './run-plan.js';
import { Waker } from './waker.js';

/** A heartbeat row that is to be written. */
export interface HeartbeatWrite {
  readonly link: LinkId;
  readonly run: string;
  readonly seq: number;
}

/** Answers which of these rows exist on the targets of their links at this moment; rows that cannot be asked for are left out. */
export type ExistsOnTarget = (rows: readonly RunKey[]) => Promise<readonly RunKey[]>;

/** How a write ended that did not return: the server said no and keeps the session, or nobody knows. */
export type WriteOutcome = 'not-committed' | 'uncertain';

/** A session on the source database that can write heartbeats; each engine has its own. */
export interface WriterSession {
  /** Tells the database that it is in from every other one; null where that cannot be told. */
  readonly home: string | null;
  /** Takes the lock that lets one process per daemon id write; null, or who holds it. */
  claim(): Promise<string | null>;
  /**
   * Whether this side takes writes (null, or why not), and its position if it has one now: what is safely on its disk.
   * `head` is the end of all that was committed by then; it lies beyond `position` while commits do not wait for the disk.
   */
  look(): Promise<{ refusal: string | null; position: Position | null; head: Position | null }>;
  /** Inserts rows in one transaction. */
  insert(rows: readonly HeartbeatWrite[]): Promise<void>;
  /** Updates rows in one transaction, and returns the links whose row was there. */
  update(rows: readonly HeartbeatWrite[]): Promise<ReadonlySet<LinkId>>;
  /** Deletes at most a small batch of this daemon's old rows that are on both sides, `keep` excepted; returns how many. */
  prune(keep: (key: RunKey) => boolean, existsOnTarget: ExistsOnTarget): Promise<number>;
  /** How a write that threw ended. */
  outcomeOf(error: unknown): WriteOutcome;
  /** Whether the error says that no write can succeed until somebody acts, with the reason for people. */
  refusalIn(error: unknown): string | null;
}

/** What the engine-neutral writer is made of. */
export interface WriterOptions {
  readonly name: string;
  readonly context: CollectorContext;
  readonly ledger: HeartbeatLedger;
  /** All links whose `from` is this database; at least one. */
  readonly links: readonly LinkPlan[];
  readonly existsOnTarget: ExistsOnTarget;
  /**
   * Every heartbeat is a row of its own: where an UPDATE of a row that the target lacks would stop its apply. Old rows
   * are then deleted every minute, instead of every hour.
   */
  readonly insertOnly?: boolean;
  /**
   * Keeps a session open: calls `use` with each new one and returns when `signal` aborts; calls `down` with the reason
   * when a session could not be had or was lost.
   */
  readonly sessions: (
    use: (session: WriterSession, healthy: () => void) => Promise<void>,
    down: (reason: string) => void,
    signal: AbortSignal,
  ) => Promise<void>;
}

interface WriterLink {
  readonly id: LinkId;
  readonly intervalUs: Us;
  readonly plan: RunPlan;
  nextAt: Us;
}

interface Planned {
  readonly link: WriterLink;
  readonly heartbeat: Issued;
}

/** Heartbeats that fall due within this time of each other are written together, to spare the server transactions. */
const togetherUs = 20 * US_PER_MS;
const pruneEveryUs = 3600 * US_PER_S;
/** Lets the first heartbeats be seen before old rows are deleted. */
const firstPruneAfterUs = 10 * US_PER_S;

/** Creates the collector that writes the heartbeats of all links which begin at one database. */
export function createHeartbeatWriter(options: WriterOptions): Collector {
  return new HeartbeatWriter(options);
}

class HeartbeatWriter implements Collector {
  readonly name: string;
  readonly #links: WriterLink[];
  #refusal: string | null = null;
  /** The end of all that was committed before an instant, to be compared with later positions. */
  #head: { head: Position; askedAt: Us } | null = null;

  constructor(private readonly options: WriterOptions) {
    this.name = options.name;
    this.#links = options.links.map(({ id, config }) => {
      const { intervalUs } = config.heartbeat;
      return { id, intervalUs, plan: new RunPlan(intervalUs), nextAt: 0 };
    });
  }

  async run(emit: Emit, signal: AbortSignal): Promise<void> {
    const start = this.#now();
    // At the same instant for all links of this database, so that one transaction serves them all, however many there are;
    // at another one than those of other databases, so that a server with many does not have all its work at once.
    const phase = Math.random();
    for (const link of this.#links) link.nextAt = start + Math.round(phase * Math.min(link.intervalUs, US_PER_S));
    const down = (reason: string): void => {
      for (const observation of this.down(reason)) emit(observation);
    };
    const use = (session: WriterSession, healthy: () => void): Promise<void> =>
      this.#beat(session, emit, healthy, signal);
    await this.options.sessions(use, down, signal);
  }

  down(reason: string): Observation[] {
    const at = this.#now();
    return this.#links.map(({ id }) => ({ kind: 'writer-fault', link: id, at, reason }));
  }

  #now(): Us {
    return this.options.context.clock.monotonicNow();
  }

  async #beat(session: WriterSession, emit: Emit, healthy: () => void, signal: AbortSignal): Promise<void> {
    const waker = new Waker(this.options.context.clock);
    signal.addEventListener('abort', waker.wake, { once: true });
    let claimed = false;
    let claimAt = 0;
    let holder: string | null = null;
    let pruneAt = this.#now() + firstPruneAfterUs;
    let pruning: Promise<void> | null = null;
    try {
      for (const { id } of this.#links) this.options.ledger.writesTo(id, session.home);
      this.#head = null;
      const before = this.#now();
      this.#refusal = (await session.look()).refusal;
      // The time the first look took is no reason to be late with every heartbeat after it.
      for (const link of this.#links) link.nextAt = Math.max(link.nextAt, before);
      while (!signal.aborted) {
        const now = this.#now();
        const earliest = this.#links.reduce((least, link) => Math.min(least, link.nextAt), Infinity);
        if (earliest > now) {
          await waker.wait((earliest - now) / US_PER_MS);
          continue;
        }
        const due = this.#links.filter(
          (link) => link.nextAt <= now + togetherUs && link.nextAt <= now + link.intervalUs / 4,
        );
        for (const link of due)
          link.nextAt += link.intervalUs * Math.max(1, Math.ceil((now - link.nextAt) / link.intervalUs));
        if (!claimed) {
          if (now >= claimAt) {
            holder = await session.claim();
            claimAt = this.#now() + US_PER_S;
          }
          if (holder !== null) {
            for (const { id } of due) emit({ kind: 'writer-fault', link: id, at: this.#now(), reason: holder });
            continue;
          }
          claimed = true;
        }
        await this.#tick(session, due, emit);
        healthy();
        if (this.#now() < pruneAt || this.#refusal !== null || pruning !== null) continue;
        // Beside the beat: it asks the target, whose slowness must not delay heartbeats.
        pruning = this.#prune(session).then((more) => {
          pruneAt = this.#now() + (more ? US_PER_S : this.options.insertOnly === true ? 60 * US_PER_S : pruneEveryUs);
          pruning = null;
        });
      }
    } finally {
      await pruning;
      signal.removeEventListener('abort', waker.wake);
    }
  }

  /** One tick of the links that are due: heartbeats, then the position after them. */
  async #tick(session: WriterSession, due: readonly WriterLink[], emit: Emit): Promise<void> {
    const sent = new Map<LinkId, Us>();
    if (this.#refusal === null) {
      const planned = due.map((link) => ({ link, write: this.#plan(link) }));
      const updates = planned.filter(({ write }) => write === 'update').map(({ link }) => link);
      const inserts = planned.filter(({ write }) => write === 'insert').map(({ link }) => link);
      await this.#write(session, updates, 'update', sent, emit);
      await this.#write(session, inserts, 'insert', sent, emit);
    }
    const askedAt = this.#now();
    const { refusal, position, head } = await session.look();
    const at = this.#now();
    this.#refusal = refusal;
    const coveredAt = this.#covered(position, head, askedAt, sent);
    for (const { id } of due) {
      if (refusal !== null) emit({ kind: 'writer-fault', link: id, at, reason: refusal });
      const sentAt = sent.get(id) ?? coveredAt;
      if (position !== null && sentAt !== null) emit({ kind: 'position-sampled', link: id, position, sentAt, at });
    }
  }

  /**
   * The newest instant before which nothing was committed beyond `position`; null when there is none yet. A heartbeat's
   * commit takes all earlier ones to the disk with it. Where none was written, commits that do not wait for the disk may
   * lie beyond the position, and then it only covers what was committed before an earlier look.
   */
  #covered(position: Position | null, head: Position | null, askedAt: Us, sent: ReadonlyMap<LinkId, Us>): Us | null {
    if (position === null) return null;
    const before = this.#head;
    const now = head === null ? null : { head, askedAt };
    if (sent.size > 0 || now === null || reached(position, now.head)) {
      this.#head = now;
      return sent.size > 0 ? Math.max(...sent.values()) : askedAt;
    }
    if (before !== null && !reached(position, before.head)) return null;
    this.#head = now;
    return before === null ? null : before.askedAt;
  }

  #plan(link: WriterLink): 'insert' | 'update' | 'none' {
    const { ledger, insertOnly } = this.options;
    if (insertOnly === true) return 'insert';
    return link.plan.next(this.#now(), ledger.carrier(link.id) !== null, ledger.pending(link.id));
  }

  async #write(
    session: WriterSession,
    links: readonly WriterLink[],
    how: 'insert' | 'update',
    sent: Map<LinkId, Us>,
    emit: Emit,
  ): Promise<void> {
    if (links.length === 0) return;
    const { ledger } = this.options;
    const planned: Planned[] = links.map((link) => {
      const run = (how === 'update' ? ledger.carrier(link.id) : null) ?? ledger.newRun(link.id);
      return { link, heartbeat: ledger.issue(link.id, run, emit) };
    });
    const rows = planned.map(({ link, heartbeat }) => ({ link: link.id, run: heartbeat.run, seq: heartbeat.seq }));
    let written: ReadonlySet<LinkId>;
    try {
      if (how === 'insert') await session.insert(rows);
      written = how === 'update' ? await session.update(rows) : new Set(rows.map((row) => row.link));
    } catch (error) {
      this.#failed(session, planned, how, error, emit);
      // Of uncertain outcome means that the session is gone: leaving the loop opens another one.
      if (session.outcomeOf(error) === 'uncertain') throw error;
      return;
    }
    for (const { link, heartbeat } of planned) {
      if (written.has(link.id)) {
        sent.set(link.id, heartbeat.sentAt);
        ledger.acked(link.id, heartbeat.seq, emit);
        continue;
      }
      ledger.lose(link.id, heartbeat.run);
      link.plan.retry();
      const reason = 'the heartbeat row is gone from the source; a new one is inserted';
      ledger.failed(link.id, heartbeat.seq, 'not-committed', reason, emit);
    }
  }

  #failed(
    session: WriterSession,
    planned: readonly Planned[],
    how: 'insert' | 'update',
    error: unknown,
    emit: Emit,
  ): void {
    const outcome = session.outcomeOf(error);
    const refusal = session.refusalIn(error);
    for (const { link, heartbeat } of planned) {
      if (how === 'insert') link.plan.retry();
      this.options.ledger.failed(link.id, heartbeat.seq, outcome, refusal ?? messageOf(error), emit);
      if (refusal !== null) emit({ kind: 'writer-fault', link: link.id, at: this.#now(), reason: refusal });
    }
  }

  /** Deletes a batch of old rows; returns whether there may be more. Failing to tidy up is no fault of the heartbeat. */
  async #prune(session: WriterSession): Promise<boolean> {
    const { ledger, context, existsOnTarget } = this.options;
    const keep = ({ link, run }: RunKey): boolean => ledger.isSeen(link, run) || ledger.isRecent(link, run);
    try {
      return (await session.prune(keep, existsOnTarget)) > 0;
    } catch (error) {
      context.log.warn({ collector: this.name, error: messageOf(error) }, 'old heartbeat rows could not be deleted');
      return false;
    }
  }
}
