import { US_PER_S, type Clock, type Us } from '../../daemon/core/clock.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { SourceError } from '../../daemon/core/errors.js';
import type { Homes } from '../collector.js';
import { directAddress, wanderingEndpoint } from './endpoint.js';
import { placeOf } from './faults.js';

/** Where a session is, as it says itself. */
export interface Whereabouts {
  /** See `PgConnection.home`. */
  readonly home: string;
  /** For people: the server's address, its role and when it was started. */
  readonly where: string;
}

/** One session that is open, as its side knows it. */
export interface Member {
  readonly at: Whereabouts;
  /** The how-manieth session of the side it is. */
  readonly order: number;
}

interface Opened extends Member {
  readonly openedAt: Us;
}

/** So long nothing connects after sessions have been found on different servers. */
const restUs: Us = 60 * US_PER_S;
/** So many sessions in a row have to lead to one server before the side is believed again. */
const proofs = 6;
/** Of so many sessions it is remembered where they led. */
const mostRemembered = 64;
/** What a stream hands on may have waited for our own process, but never so long. */
const streamDelayUs: Us = 5 * US_PER_S;

/**
 * Which server the sessions of one database lead to, over all collectors that watch it. States: one -> split -> proving ->
 * one, or split again.
 *
 * - one: every session that is open leads to the same server, as far as is known.
 * - split: two were open on different servers at the same time. All sessions are ended, and none is opened for a minute.
 * - proving: sessions are opened only to see where they lead, until enough of them in a row agree.
 *
 * A restart or a failover is no split: the sessions with the old server have ended, and answer nothing any more. The
 * proof of a split is an answer over a session to something that was asked after a later session had been opened
 * elsewhere, so that both servers lived then.
 */
export class SideIdentity {
  readonly #members = new Map<Member, (error: Error) => void>();
  #opened: Opened[] = [];
  #count = 0;
  #split: { readonly error: SourceError; readonly until: Us } | null = null;
  #proving: { home: string; left: number } | null = null;
  #unreported: string | null = null;
  #listener: ((what: string) => void) | null = null;

  constructor(
    private readonly db: DatabaseConfig,
    private readonly clock: Clock,
    private readonly homes: Homes | null = null,
  ) {}

  /** How many sessions have been opened; what is asked now is asked after all of them. */
  get order(): number {
    return this.#count;
  }

  /** Throws why no session may be opened now; passes when one may. */
  admit(): void {
    if (this.#split !== null && this.clock.monotonicNow() < this.#split.until) throw this.#split.error;
  }

  /**
   * Takes in a session that has just been opened; `lose` is called, at most once, when it is not to be used any more.
   * Throws while the side is not believed, and then the session is not taken in.
   */
  enter(at: Whereabouts, lose: (error: Error) => void): Member {
    this.admit();
    this.#prove(at);
    const member: Opened = { at, order: ++this.#count, openedAt: this.clock.monotonicNow() };
    this.#opened = [...this.#opened.slice(1 - mostRemembered), member];
    this.#members.set(member, lose);
    this.homes?.enter(this.db.name, at.home);
    return member;
  }

  /** Lets a session go that has ended. */
  leave(member: Member): void {
    if (this.#members.delete(member) && this.#members.size === 0) this.homes?.leave(this.db.name);
  }

  /** The session has answered what was asked when `order` sessions had been opened; may end it, and all others. */
  answered(member: Member, order: number): void {
    this.#compare(member, (other) => other.order <= order);
  }

  /**
   * The session has handed on something unasked, as streams do, that its server wrote at `since` or later (5 s ago unless
   * told); may end it, and all others.
   */
  streamed(member: Member, since?: Us): void {
    const before = since ?? this.clock.monotonicNow() - streamDelayUs;
    this.#compare(member, (other) => other.openedAt < before);
  }

  /** Names of the other entries of `databases` that lead to the database that this one leads to. */
  get sharedWith(): readonly string[] {
    return this.homes?.sharedWith(this.db.name) ?? [];
  }

  /** Calls the listener with a full clause at each split, at once when there was one that nobody has heard of; null takes it off. */
  onSplit(listener: ((what: string) => void) | null): void {
    this.#listener = listener;
    if (listener === null || this.#unreported === null) return;
    listener(this.#unreported);
    this.#unreported = null;
  }

  #compare(member: Member, before: (other: Opened) => boolean): void {
    if (!this.#members.has(member)) return;
    const other = this.#opened.find((o) => o.order > member.order && o.at.home !== member.at.home && before(o));
    if (other !== undefined) this.#part(member.at, other.at);
  }

  #part(a: Whereabouts, b: Whereabouts): void {
    const { name, address } = this.db;
    const what = `connections to ${name} lead to different servers at the same time (${a.where}; ${b.where})`;
    const kind = wanderingEndpoint(address.host);
    const error = new SourceError(
      `${this.db.engine === 'mysql' ? 'mysql' : 'pg'}_split_side`,
      `${placeOf(this.db)}: ${what}${kind === null ? '' : `; ${kind}`}`,
      `${directAddress(address.host)}, not a proxy or a name that leads to several; nothing is read here until ` +
        `${proofs} connections in a row agree`,
    );
    this.#split = { error, until: this.clock.monotonicNow() + restUs };
    this.#proving = null;
    this.#opened = [];
    if (this.#listener === null) this.#unreported = what;
    else this.#listener(what);
    const losing = [...this.#members.values()];
    this.#members.clear();
    this.homes?.leave(name);
    for (const lose of losing) lose(error);
  }

  /** One session more that shows where the side leads after a split; throws until enough have. */
  #prove(at: Whereabouts): void {
    if (this.#split === null) return;
    const { error } = this.#split;
    this.#proving ??= { home: at.home, left: proofs };
    if (this.#proving.home !== at.home) {
      this.#split = { error, until: this.clock.monotonicNow() + restUs };
      this.#proving = null;
      throw error;
    }
    this.#proving.left -= 1;
    if (this.#proving.left > 0) throw error;
    this.#split = null;
    this.#proving = null;
  }
}

/** A database whose sessions are compared with each other. */
interface IdentifiedDatabase extends DatabaseConfig {
  readonly identity: SideIdentity;
}

/** The same database, with all sessions that are opened for it compared with each other. */
export function identified(db: DatabaseConfig, identity: SideIdentity): DatabaseConfig {
  const watched: IdentifiedDatabase = { ...db, identity };
  return watched;
}

/** What compares the sessions of a database; null when nothing does. */
export function identityOf(db: DatabaseConfig): SideIdentity | null {
  return 'identity' in db ? (db as IdentifiedDatabase).identity : null;
}
