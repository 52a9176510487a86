import type { Collector, CollectorContext, Emit } from '../collector.js';
import type { Us } from '../../daemon/core/clock.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { LockgateError, reasonOf } from '../../daemon/core/errors.js';
import { parseMariadbGtidSet, parseMysqlGtidSet } from '../../daemon/core/gtid.js';
import type { Observation } from '../../daemon/core/observation.js';
import type { Position } from '../../daemon/core/position.js';
import { LazySession } from '../session/lazy-session.js';
import { readMoment } from './binlog-checks.js';
import type { Passed } from './binlog-protocol.js';
import type { LocalListener } from './binlog-reader.js';
import type { LogOwner } from './binlog-transactions.js';
import { connect, type MysqlConnection } from './connection.js';
import { formatMark, isSilent, ownPart, parseMark, type LogMoment } from './local-mark.js';
import { reopening } from './reopen.js';

const lookEveryMs = 1_000;
const roleEveryMs = 250;
/** After the server has written something that nobody could look into, a reader has so long to read it after all. */
const patienceUs: Us = 30_000_000;
const session = { statementTimeoutMs: 1_200, connectTimeoutMs: 3_000 };

/** Whether local writes are to be watched now, and if not, why. */
type Wanted = { readonly watch: true } | { readonly watch: false; readonly reason: string };

/**
 * Collector `<db>/local`: says which committed transactions of a server came neither by replication nor from lockgate. The
 * binlog reader of the same server tells them, with their positions; while it reads, each second confirms that all before
 * was seen. After a gap it reads the binlog of the gap, from the mark that is kept for it, so that only what was purged or
 * reset meanwhile stays unknown.
 *
 * Where no reader can run, the server's own GTIDs are asked for each second: while they do not grow the server has written
 * nothing itself. When they do, nobody can say what it was, and its local writes are unknown.
 */
export class MysqlLocalWrites implements Collector, LocalListener {
  readonly name: string;
  readonly #session: LazySession<MysqlConnection>;
  #emit: Emit | null = null;
  #mark: string | null;
  /** The server that is being read, and whether the stream began without a gap; null while no reader streams. */
  #stream: { home: string; owner: LogOwner; covered: boolean; confirmed: boolean } | null = null;
  #watching = false;
  #said: string | null = null;
  #silentBecause = 'its binlog is not read yet';
  /** Since when the server has written what nobody could look into. */
  #wroteAt: Us | null = null;
  /** The mark was made anew, so that what came before it is not accounted for. */
  #anew = false;
  /** Why. */
  #lostBecause: string | null = null;

  constructor(
    private readonly db: DatabaseConfig,
    private readonly context: CollectorContext,
  ) {
    this.name = `${db.name}/local`;
    const options = { applicationName: `lockgate/${context.daemonId}/local`, ...session };
    this.#session = new LazySession(
      reopening((signal) => connect(db, options, signal)),
      context.clock,
      { minMs: 200, maxMs: 2_000 },
    );
    this.#mark = context.localMark?.(db.name) ?? null;
  }

  async run(emit: Emit, signal: AbortSignal): Promise<void> {
    const { clock } = this.context;
    const onAbort = (): void => void this.#session.close();
    signal.addEventListener('abort', onAbort, { once: true });
    this.#emit = emit;
    this.#said = null;
    try {
      while (!isAborted(signal)) {
        const wanted = this.#wanted();
        if (!wanted.watch) {
          // What the active side writes is no stray, and must not be taken for one later.
          if (this.#passive() === false) this.#forget();
          this.#unwatched(wanted.reason);
        }
        if (!wanted.watch || this.#stream?.confirmed === true) {
          await this.#session.close();
          await clock.sleep(roleEveryMs, signal);
          continue;
        }
        await this.#lookForSilence(signal);
        await clock.sleep(Math.max(lookEveryMs, this.#session.pauseMs()), signal);
      }
    } finally {
      // Whoever takes over, after a reload say, begins a watch of its own.
      this.#unwatched('the watch of local writes was stopped');
      this.#emit = null;
      signal.removeEventListener('abort', onAbort);
      await this.#session.close();
    }
  }

  down(reason: string): Observation[] {
    const at = this.context.clock.monotonicNow();
    const nothing = { watching: false, emptyGap: false, upTo: null, mark: null } as const;
    return [{ kind: 'local-watch', database: this.db.name, ...nothing, reason, at }];
  }

  get mark(): string | null {
    return this.#mark;
  }

  began(server: { home: string; owner: LogOwner }, covered: boolean): void {
    this.#stream = { ...server, covered, confirmed: false };
  }

  wrote(positions: readonly string[], committedAt: readonly number[], at: Us): void {
    const writes = positions.map((position, i) => ({ position, committedAt: committedAt[i] ?? null }));
    if (writes.length > 0 && this.#wanted().watch) {
      this.#emit?.({ kind: 'local-writes', database: this.db.name, writes, at });
    }
  }

  directionTouched(at: Us): void {
    this.#emit?.({ kind: 'direction-touched', database: this.db.name, at });
  }

  passed({ at, executed, state, file, offset }: Passed): void {
    const stream = this.#stream;
    if (stream === null || this.#emit === null || !this.#wanted().watch) return;
    const own = ownPart(executed, state, stream.owner);
    const first = !stream.confirmed;
    stream.confirmed = true;
    this.#wroteAt = null;
    this.#confirm({ home: stream.home, executed, state, own, file, offset }, at, first && stream.covered);
  }

  lost(reason: string): void {
    this.#forget();
    this.#lostBecause = reason;
    this.context.log.warn(
      { collector: this.name, reason },
      'local writes of a time that is past cannot be seen any more',
    );
    this.#unwatched(reason);
  }

  ended(reason: string): void {
    this.#stream = null;
    this.#silentBecause = reason;
    this.#unwatched(reason);
  }

  silent(reason: string): void {
    this.#stream = null;
    this.#silentBecause = reason;
  }

  #forget(): void {
    this.#mark = null;
    this.#anew = true;
  }

  #passive(): boolean | null {
    return this.context.isPassive?.(this.db.name) ?? null;
  }

  #wanted(): Wanted {
    const { read, name } = this.db;
    if (read === 'on') return { watch: true };
    const passive = this.#passive();
    if (passive === true) return { watch: true };
    const closely = this.context.watchClosely?.(name) === true;
    if (closely && read !== 'off') return { watch: true };
    if (closely && passive === false) {
      const reason = `\`read: off\` for ${name}: without its binlog nobody can tell that writes there have stopped`;
      return { watch: false, reason };
    }
    if (passive === false) {
      const how = read === 'off' ? 'not watched with `read: off`' : 'watched only with `read: on`, or for a fence';
      return { watch: false, reason: `${name} carries production writes: its local writes are ${how}` };
    }
    // Ending the watch while the direction is unknown would leave a gap for nothing.
    if (this.#watching) return { watch: true };
    return { watch: false, reason: 'the direction is not known yet, and with it which side is passive' };
  }

  /** Looks whether the server has written anything itself since the mark. */
  async #lookForSilence(signal: AbortSignal): Promise<void> {
    const at = this.context.clock.monotonicNow();
    const { read, name } = this.db;
    const because = read === 'off' ? `\`read: off\` for ${name}` : this.#silentBecause;
    try {
      const connection = await this.#session.get(signal);
      const moment = await readMoment(connection);
      if (isAborted(signal) || this.#stream?.confirmed === true) return;
      if (moment === null || moment.own === null) {
        this.#unwatched(
          `${because}; and without GTIDs the server does not tell whether it has written anything itself`,
        );
        return;
      }
      const mark = parseMark(this.#mark);
      if (mark !== null && isSilent(mark, moment)) {
        this.#wroteAt = null;
        this.#confirm(moment, at, true);
      } else if (this.#stream === null && (mark === null || this.#waitedEnough(at))) {
        this.#wroteAt = null;
        if (mark !== null) this.#lostBecause = `it wrote transactions of its own (${ownGrowth(mark, moment)})`;
        this.#anew = true;
        this.#mark = formatMark(moment);
        this.#unwatched(`${because}; whether the server writes anything itself is watched by its GTIDs from now on`);
      } else {
        const what = `the server has written transactions of its own${mark === null ? '' : ` (${ownGrowth(mark, moment)})`}`;
        this.#unwatched(`${because}; ${what}, and only its binlog tells what they changed`);
      }
    } catch (error) {
      if (isAborted(signal)) return;
      if (!(error instanceof LockgateError)) throw error;
      this.#unwatched(reasonOf(error));
    }
  }

  /** A reader that comes back reads from the mark on, so the mark stays for a while. */
  #waitedEnough(now: Us): boolean {
    this.#wroteAt ??= now;
    return now - this.#wroteAt > patienceUs;
  }

  #confirm(moment: LogMoment, at: Us, sinceMark: boolean): void {
    const emptyGap = sinceMark && !this.#anew;
    const reason = emptyGap ? null : this.#lostBecause;
    this.#anew = false;
    this.#lostBecause = null;
    this.#mark = formatMark(moment);
    this.#watching = true;
    this.#said = null;
    this.#emit?.({
      kind: 'local-watch',
      database: this.db.name,
      watching: true,
      emptyGap,
      upTo: positionOf(moment),
      mark: this.#mark,
      reason,
      at,
    });
  }

  #unwatched(reason: string): void {
    this.#watching = false;
    if (this.#said === reason) return;
    this.#said = reason;
    for (const observation of this.down(reason)) this.#emit?.(observation);
  }
}

function positionOf({ home, executed, file, offset }: LogMoment): Position {
  if (executed === '') return { kind: 'binlog', server: home, file, offset };
  return { kind: 'gtid', set: executed.includes(':') ? parseMysqlGtidSet(executed) : parseMariadbGtidSet(executed) };
}

function ownGrowth(before: LogMoment, now: LogMoment): string {
  const text = (own: string | null): string => (own === null || own === '' ? 'none' : own.slice(-60));
  return `GTIDs ${text(before.own)} → ${text(now.own)}`;
}

/** Read through a function, because the compiler takes a checked flag for settled. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}
