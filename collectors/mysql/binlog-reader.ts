import type { Collector, CollectorContext, Emit, LinkPlan } from '../collector.js';
import type { HeartbeatLedger } from '../heartbeat/ledger.js';
import type { SeenRow } from '../heartbeat/watcher.js';
import { US_PER_MS, US_PER_S, type Us } from '../../daemon/core/clock.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { LockgateError, SourceError, messageOf, reasonOf } from '../../daemon/core/errors.js';
import type { Observation } from '../../daemon/core/observation.js';
import type { LinkId } from '../../daemon/core/signal.js';
import { placeOf } from '../session/faults.js';
import { identityOf } from '../session/side-identity.js';
import { passwordFor } from '../session/password.js';
import { tlsOptions } from '../session/tls.js';
import { checkBinlog, positionsSql, replicaUuid, type BinlogFacts } from './binlog-checks.js';
import type { BinlogLogin, BinlogOrder, BinlogStart, LoggedHeartbeat, Passed } from './binlog-protocol.js';
import { streamBinlog, type BinlogNews } from './binlog-stream.js';
import type { LogOwner } from './binlog-transactions.js';
import { takesTokens, connect, homeSql, type MysqlConnection } from './connection.js';
import { gapSince, parseMark, type LogMoment } from './local-mark.js';
import { ReadWish } from './read-wish.js';
import { binlogStatusSql } from './source-position.js';
import { StreamIdentity } from './stream-identity.js';

/** Who is told of heartbeats that the reader of a target sees. */
export interface HeartbeatListener {
  /** A heartbeat of this process is in the target's binlog. */
  arrivedByLog(row: SeenRow): void;
  /** The reader began or ceased to stream. */
  reconsider(): void;
}

/** Who is told of local writes, and knows up to where they were seen before. */
export interface LocalListener {
  /** Where what was seen ends; null when it is not known, or says nothing of strays. */
  readonly mark: string | null;
  /** A stream begins; `covered` says that with it nothing since the mark goes unseen. */
  began(server: { home: string; owner: LogOwner }, covered: boolean): void;
  wrote(positions: readonly string[], committedAt: readonly number[], at: Us): void;
  directionTouched(at: Us): void;
  passed(passed: Passed): void;
  /** The mark leads nowhere any more. */
  lost(reason: string): void;
  ended(reason: string): void;
  /** No stream begins, and why. */
  silent(reason: string): void;
}

/** What a binlog reader for one server is made of. */
export interface BinlogReaderOptions {
  readonly db: DatabaseConfig;
  /** Every link that begins or ends at this server. */
  readonly links: readonly LinkPlan[];
  readonly context: CollectorContext;
  readonly ledger: HeartbeatLedger;
}

/** Between looks whether it is wanted. */
const idleMs = 50;
/** Between questions where the log ends: each of them confirms all local writes before it. */
const confirmEveryMs = 1_000;
const closelyEveryMs = 100;
const maxBackoffMs = 5_000;
/** How long a reader that is not permitted stays off: an operator who has just granted it wants to see it work. */
const refusedRestMs = 15_000;
/** How long one stays off that gave way. */
const yieldedRestMs = 60_000;
/** How long at most one that was put out again and again. */
const evictedRestMs = 3_600_000;
const yielded: ReadonlySet<string> = new Set([
  'binlog_behind',
  'binlog_duplicate',
  'binlog_few_connections',
  'binlog_many_readers',
]);
/** A reader that has not come to the end of the log for so long keeps files from being purged. */
const behindMs = 300_000;
const wishEveryMs = 1_000;

/** Collector `<db>/binlog`: reads the binlog of one server, for all links that it is a side of. */
export class BinlogReader implements Collector {
  readonly name: string;
  readonly #from: ReadonlySet<LinkId>;
  readonly #wish: ReadWish;
  #silentBecause: string | null = 'the binlog reader has not started yet';
  #noHeartbeats: string | null = null;
  #listener: HeartbeatListener | null = null;
  #local: LocalListener | null = null;
  #passedAt: Us = 0;

  constructor(private readonly options: BinlogReaderOptions) {
    const { db, links, context } = options;
    this.name = `${db.name}/binlog`;
    this.#from = new Set(links.filter((link) => link.from.name === db.name).map((link) => link.id));
    this.#wish = new ReadWish(db, context);
  }

  /** Null while it streams and heartbeats can be seen; else why not. */
  get silentBecause(): string | null {
    return this.#silentBecause ?? this.#noHeartbeats;
  }

  /** Names who is told of heartbeats: the watcher of the same server. */
  tell(listener: HeartbeatListener): void {
    this.#listener = listener;
  }

  /** Names who is told of local writes. */
  tellLocal(listener: LocalListener): void {
    this.#local = listener;
  }

  async run(emit: Emit, signal: AbortSignal): Promise<void> {
    const { db, context } = this.options;
    let failures = 0;
    let evictions = 0;
    let beganAt: Us = -Infinity;
    const began = (): void => {
      failures = 0;
      beganAt = this.#now();
    };
    let logged: string | null = null;
    const down = (reason: string): void => {
      this.#silence(reason);
      // A stream that was about to begin does not, also when the reason is the same as before.
      this.#local?.silent(reason);
      for (const observation of this.down(reason)) emit(observation);
    };
    try {
      while (!isAborted(signal)) {
        const wish = this.#wish.now();
        if (!wish.wanted) {
          if (this.#silentBecause !== wish.reason) down(wish.reason);
          await context.clock.sleep(idleMs, signal);
          continue;
        }
        try {
          await this.#wish.during((inner) => this.#stream(emit, began, inner), signal);
          logged = null;
        } catch (error) {
          if (isAborted(signal)) return;
          if (!(error instanceof LockgateError)) throw error;
          const reason = reasonOf(error);
          down(reason);
          const refused = error instanceof SourceError;
          if (refused && db.read === 'on') throw error;
          const what = refused
            ? 'the binlog reader stays off; heartbeats are polled'
            : 'the binlog reader was interrupted';
          if (reason !== logged) context.log.warn({ collector: this.name, error: messageOf(error) }, what);
          logged = reason;
          if (error.code === 'binlog_duplicate') {
            // Whoever comes back puts the other out in turn: a long peace, and only that, ends the fight.
            if ((this.#now() - beganAt) / US_PER_MS > 2 * evictedRestMs) evictions = 0;
            evictions += 1;
          }
          await context.clock.sleep(pauseMs(error, failures, evictions), signal);
          failures += 1;
        }
      }
    } finally {
      this.#silence('the binlog reader is not running');
    }
  }

  down(reason: string): Observation[] {
    const at = this.#now();
    return [...this.#from].map((link) => ({
      kind: 'link-reading',
      link,
      signal: 'capture_delay',
      value: null,
      reason,
      at,
    }));
  }

  #now(): Us {
    return this.options.context.clock.monotonicNow();
  }

  #askEveryMs(): number {
    return this.#isClosely() ? closelyEveryMs : confirmEveryMs;
  }

  #isClosely(): boolean {
    return this.options.context.watchClosely?.(this.options.db.name) === true;
  }

  #silence(reason: string | null): void {
    if (this.#silentBecause === reason) return;
    const streamed = this.#silentBecause === null;
    this.#silentBecause = reason;
    this.#listener?.reconsider();
    if (streamed && reason !== null) this.#local?.ended(reason);
  }

  async #stream(emit: Emit, streaming: () => void, signal: AbortSignal): Promise<void> {
    const { db, context } = this.options;
    const { order, facts, where } = await this.#prepare(signal);
    if (isAborted(signal)) return;
    const { home } = facts.moment;
    const inner = new AbortController();
    const identity = new StreamIdentity(identityOf(db), { home, where }, (error) => {
      this.#silence(reasonOf(error));
      inner.abort();
    });
    const stop = (): void => inner.abort();
    signal.addEventListener('abort', stop, { once: true });
    this.#passedAt = this.#now();
    const behind = this.#guard(inner);
    const news = (message: BinlogNews): void => {
      // The reading thread takes its instants from the same clock of the machine; none of them can lie ahead.
      const past = (at: Us): Us => Math.min(at, this.#now());
      if (message.kind === 'tally') {
        context.tally?.(db.name, 'binlog', message.transactions, message.bytes);
        return;
      }
      if (identity.lost !== null) return;
      switch (message.kind) {
        case 'streaming':
          if (!identity.enter()) return;
          streaming();
          this.#noHeartbeats = facts.noHeartbeats;
          this.#silence(null);
          context.tally?.(db.name, 'binlog', 0, 0);
          context.log.info({ collector: this.name, server_id: order.serverId }, 'streaming');
          return;
        case 'heartbeats':
          for (const row of message.rows) this.#heartbeat({ ...row, at: past(row.at) }, home, emit);
          return;
        case 'writes':
          this.#local?.wrote(message.positions, message.committedAt, past(message.at));
          return;
        case 'direction':
          this.#local?.directionTouched(past(message.at));
          return;
        case 'passed':
          if (!identity.told(message.passed.at)) return;
          this.#passedAt = this.#now();
          this.#local?.passed(message.passed);
      }
    };
    const ending = (error: LockgateError): void => this.#silence(reasonOf(error));
    const askEveryMs = (): number => this.#askEveryMs();
    const ended = await streamBinlog(db, order, context.clock, news, ending, inner.signal, askEveryMs).then(
      () => null,
      (error: unknown) => error,
    );
    signal.removeEventListener('abort', stop);
    inner.abort();
    identity.leave();
    const error = identity.lost ?? (await behind) ?? ended;
    if (error instanceof LockgateError && forgetting.has(error.code)) this.#local?.lost(reasonOf(error));
    if (error !== null) throw error as Error;
    if (!isAborted(signal)) return;
    const wish = this.#wish.now();
    if (!wish.wanted) this.#silence(wish.reason);
  }

  /** Looks at the server and decides where to begin. */
  async #prepare(signal: AbortSignal): Promise<{ order: BinlogOrder; facts: BinlogFacts; where: string }> {
    const { db, context } = this.options;
    const { daemonId } = context;
    const applicationName = `lockgate/${daemonId}/binlog`;
    // Before the server is asked: while nothing streams the mark moves on by itself, and one that is newer than the answer
    // would look as if the server had gone back.
    const mark = parseMark(this.#local?.mark ?? null);
    const connection = await connect(
      db,
      { applicationName, statementTimeoutMs: 2_000, connectTimeoutMs: 3_000 },
      signal,
    );
    try {
      const facts = await checkBinlog(connection, db, daemonId);
      const { owner, moment } = facts;
      const mariadb = connection.version.flavour === 'mariadb';
      const order = {
        login: await loginOf(db, applicationName, connection),
        serverId: facts.serverId,
        replicaUuid: replicaUuid(db, daemonId),
        mariadb,
        homeSql: `SELECT ${homeSql(mariadb)} AS home`,
        home: moment.home,
        owner,
        start: this.#startAt(facts, mark),
        askEveryMs: this.#askEveryMs(),
        positionsSql: positionsSql(mariadb),
        statusSql: binlogStatusSql(connection),
        daemonId,
      };
      return { order, facts, where: connection.place };
    } finally {
      await connection.close();
    }
  }

  /** After a gap the binlog of that time is read again, unless nothing local can be in it. */
  #startAt({ owner, moment, files, byPlace }: BinlogFacts, mark: LogMoment | null): BinlogStart {
    const local = this.#local;
    const { executed, file, offset } = moment;
    const end = byPlace || executed === '' ? { file, offset } : { gtids: executed };
    if (local === null) return end;
    const gap = gapSince(mark, moment, files, byPlace);
    if (gap.kind === 'lost' && mark !== null) local.lost(`${placeOf(this.options.db)}: ${gap.reason}`);
    local.began({ home: moment.home, owner }, gap.kind !== 'lost');
    if (gap.kind === 'readable') return gap.start;
    // Nothing before the end is asked for, and a fence waits: from a GTID on the server first looks for it, and may not
    // say for a second that it has found nothing.
    return gap.kind === 'lost' && this.#isClosely() ? { file, offset } : end;
  }

  /** Ends a stream that does not come to the end of the log: the server purges no file that is being read. */
  async #guard(stream: AbortController): Promise<Error | null> {
    const { db, context } = this.options;
    while (!stream.signal.aborted) {
      await context.clock.sleep(wishEveryMs, stream.signal);
      if (isAborted(stream.signal) || (this.#now() - this.#passedAt) / US_PER_MS < behindMs) continue;
      stream.abort();
      const what = `${placeOf(db)}: the binlog reader has not come to the end of the log for ${behindMs / 60_000} min`;
      return new SourceError('binlog_behind', what, 'it gives way, and begins anew at the end after a rest');
    }
    return null;
  }

  #heartbeat({ link: id, run, seq, at }: LoggedHeartbeat, home: string, emit: Emit): void {
    const { ledger } = this.options;
    if (!ledger.owns(run)) return;
    const link = id as LinkId;
    if (!this.#from.has(link)) {
      this.#listener?.arrivedByLog({ link, run, seq, home });
      return;
    }
    const sentAt = ledger.sentAt(link, run, seq);
    if (sentAt === null) return;
    const value = Math.max(0, at - sentAt) / US_PER_S;
    emit({ kind: 'link-reading', link, signal: 'capture_delay', value, reason: null, at });
  }
}

/** After these the binlog cannot be read again from the mark on. */
const forgetting: ReadonlySet<string> = new Set([
  'binlog_gone',
  'binlog_incident',
  'binlog_compressed',
  'binlog_behind',
]);

/**
 * How long to wait, in milliseconds, after a stream has ended with `error`, having failed `failures` times in a row before
 * and been put out by a reader of the same id `evictions` times by now: then each time for twice as long, up to an hour.
 */
export function pauseMs(error: unknown, failures: number, evictions: number): number {
  const jitter = 0.5 + Math.random() / 2;
  if (!(error instanceof SourceError)) return Math.min(100 * 2 ** Math.min(failures, 16), maxBackoffMs) * jitter;
  if (error.code === 'binlog_duplicate') {
    return Math.max(yieldedRestMs, Math.min(yieldedRestMs * 2 ** Math.min(evictions - 1, 16), evictedRestMs) * jitter);
  }
  return yielded.has(error.code) ? yieldedRestMs : refusedRestMs;
}

/** The reader's connections are encrypted where the one was that looked at the server before. */
async function loginOf(db: DatabaseConfig, applicationName: string, connection: MysqlConnection): Promise<BinlogLogin> {
  const { host, port, user } = db.address;
  const password = await passwordFor(db);
  const [status] = await connection.query<{ Value: string }>("SHOW SESSION STATUS LIKE 'Ssl_cipher'");
  const encrypted = (status?.Value ?? '') !== '';
  const tls = encrypted ? await tlsOptions(db) : null;
  // mysql2 checks names by a switch of its own, and functions do not pass between threads.
  if (tls !== null) delete tls.checkServerIdentity;
  return {
    host,
    port,
    user,
    ...(password === undefined ? {} : { password }),
    ...(tls === null
      ? {}
      : { enableCleartextPlugin: takesTokens(db), ssl: { ...tls, verifyIdentity: db.tls.mode === 'verify-full' } }),
    connectTimeout: 5_000,
    connectAttributes: { program_name: applicationName },
  };
}

/** Read through a function, because the compiler takes a checked flag for settled. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}
