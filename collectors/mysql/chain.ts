import { randomBytes } from 'node:crypto';
import { US_PER_MS, type Us } from '../../daemon/core/clock.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { LockgateError, messageOf, reasonOf } from '../../daemon/core/errors.js';
import type { Observation } from '../../daemon/core/observation.js';
import type { Collector, CollectorContext, Emit, LinkPlan } from '../collector.js';
import { LazySession } from '../session/lazy-session.js';
import { both, untilDue } from '../session/pace.js';
import { isTroubled, judgeChain, traceOf, type ChainNames, type ChainSource, type ChainTarget, type ChainTrace } from './chain-state.js'; // prettier-ignore
import { readChainSource, readChainTarget, type PurgedSight } from './chain-views.js';
import { connect, type MysqlConnection } from './connection.js';
import { InjectedSearch } from './injected.js';
import { reopening } from './reopen.js';

const defaultIntervalMs = 1_000;
/** While replication stands still, for what is done to it then (a skip, another place) is soon gone again. */
const eagerMs = 200;
/** While a fence is open. */
const closelyMs = 100;
const freshUs: Us = 3_000_000;
const queryTimeoutMs = 1_500;
const connectOptions = { statementTimeoutMs: 1_200, connectTimeoutMs: 3_000 };
/** Looks further apart than this did not watch what happened in between; a server that starts again takes less. */
const unwatchedUs: Us = 10_000_000;
/** Looks from one second connection to the next. */
const looksPerProbe = 30;

/**
 * Collector `<from>-><to>/chain`: looks about once a second at everything that the chain of changes from one server to
 * another hangs on, for all links between them. What it was before the collector began is remembered by the core, across
 * restarts.
 */
export class MysqlChainCollector implements Collector {
  readonly name: string;
  readonly #sessions: Record<'source' | 'target', LazySession<MysqlConnection>>;
  readonly #run = randomBytes(6).toString('hex');
  readonly #injected = new InjectedSearch();
  #purged: PurgedSight | null = null;
  #trace: ChainTrace | null = null;
  #eager = false;
  #lookedAt: Us = -Infinity;
  #watches = 0;
  #probedAt: Us = -Infinity;
  #failing: string | null = null;

  /** All `links` are of kind mysql and run from `from` to `to`. */
  constructor(
    private readonly from: DatabaseConfig,
    private readonly to: DatabaseConfig,
    private readonly links: readonly LinkPlan[],
    private readonly context: CollectorContext,
    private readonly intervalMs = defaultIntervalMs,
  ) {
    this.name = `${from.name}->${to.name}/chain`;
    const open = (db: DatabaseConfig): LazySession<MysqlConnection> =>
      new LazySession(
        reopening((signal) => this.#connect(db, signal)),
        context.clock,
      );
    this.#sessions = { source: open(from), target: open(to) };
  }

  async run(emit: Emit, signal: AbortSignal): Promise<void> {
    const { clock } = this.context;
    const close = async (): Promise<void> => {
      await Promise.all([this.#sessions.source.close(), this.#sessions.target.close()]);
    };
    const onAbort = (): void => void close();
    signal.addEventListener('abort', onAbort, { once: true });
    const stopped = (): boolean => signal.aborted;
    try {
      while (!stopped()) {
        const startedAt = clock.monotonicNow();
        await this.#look(emit, signal);
        // While a fence is open, what is skipped or moved would make positions tell more than was applied: the fence waits for
        // a look after them.
        await untilDue(clock, startedAt, signal, () => {
          if (this.context.watchClosely?.(this.from.name) === true) return Math.min(closelyMs, this.intervalMs);
          return this.#eager ? Math.min(eagerMs, this.intervalMs) : this.intervalMs;
        });
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
      await close();
    }
  }

  down(reason: string): Observation[] {
    const at = this.context.clock.monotonicNow();
    return this.links.map(({ id }) => ({ kind: 'chain-fault', link: id, reason, at }));
  }

  #connect(db: DatabaseConfig, signal: AbortSignal): Promise<MysqlConnection> {
    const applicationName = `lockgate/${this.context.daemonId}/chain`;
    return connect(db, { applicationName, ...connectOptions }, signal);
  }

  async #look(emit: Emit, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.context;
    const askedAt = clock.monotonicNow();
    let observations: Observation[];
    try {
      observations = await this.#see(askedAt, signal);
      await this.#probe(emit, signal);
    } catch (error) {
      if (signal.aborted) return;
      // What is not from a server is a bug, and the supervisor's matter.
      if (!(error instanceof LockgateError)) throw error;
      const reason = reasonOf(error);
      if (this.#failing !== reason) log.warn({ collector: this.name }, `chain: ${reason}`);
      this.#failing = reason;
      this.#eager = false;
      for (const observation of this.down(reason)) emit(observation);
      return;
    }
    if (signal.aborted) return;
    if (this.#failing !== null) log.info({ collector: this.name }, 'chain: both sides answer again');
    this.#failing = null;
    for (const observation of observations) emit(observation);
  }

  async #see(askedAt: Us, signal: AbortSignal): Promise<Observation[]> {
    const [onTarget, onSource] = await both(this.#sessions.target.get(signal), this.#sessions.source.get(signal));
    // First the target: what it had applied then, the source must have by the time it is asked.
    const { target, sight } = await readChainTarget(onTarget, this.#purged, queryTimeoutMs);
    this.#purged = sight;
    const injected = await this.#skipped(onTarget, target);
    const source = await readChainSource(onSource, queryTimeoutMs);
    const names: ChainNames = { from: this.from.name, to: this.to.name, watch: this.#watch() };
    const observations = this.#judge(names, target, source, injected, askedAt);
    this.#eager = isTroubled(target, this.#trace);
    this.#trace = traceOf(target, this.#trace);
    return observations;
  }

  #judge(
    names: ChainNames,
    target: ChainTarget,
    source: ChainSource,
    injected: readonly string[],
    askedAt: Us,
  ): Observation[] {
    const at = this.context.clock.monotonicNow();
    return this.links.map(({ id, config }): Observation => {
      const { facts, fault } = judgeChain(names, config.flows, target, source, this.#trace, injected);
      if (facts === null) return { kind: 'chain-fault', link: id, reason: fault, at };
      return { kind: 'chain-seen', link: id, facts, askedAt, at, freshUs: Math.max(freshUs, config.freshnessUs) };
    });
  }

  /** Transactions of other servers that were committed by hand on the target since the last look. */
  async #skipped(onTarget: MysqlConnection, target: ChainTarget): Promise<string[]> {
    const { server, head, executed } = target;
    if (server.mariadb || executed === null) return [];
    const troubled = isTroubled(target, this.#trace);
    return await this.#injected.look(onTarget, server.identity, head, troubled, queryTimeoutMs);
  }

  /** Names the stretch of looks that follow each other closely. */
  #watch(): string {
    const now = this.context.clock.monotonicNow();
    if (now - this.#lookedAt > unwatchedUs) this.#watches += 1;
    this.#lookedAt = now;
    return `${this.#run}/${this.#watches}`;
  }

  /**
   * Opens another connection to each side from time to time and compares where it leads with where the session leads:
   * behind a proxy or a reader endpoint these may be different servers. That the session answers afterwards shows that
   * both were there at the same time.
   */
  async #probe(emit: Emit, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.context;
    const now = clock.monotonicNow();
    if (now - this.#probedAt < looksPerProbe * this.intervalMs * US_PER_MS) return;
    this.#probedAt = now;
    for (const [side, db] of [
      ['source', this.from],
      ['target', this.to],
    ] as const) {
      try {
        const session = await this.#sessions[side].get(signal);
        const other = await this.#connect(db, signal);
        const { home } = other;
        await other.close();
        await session.query('SELECT 1 AS alive', undefined, { timeoutMs: queryTimeoutMs });
        if (session.home === home) continue;
        const what = `connections to ${db.name} lead to different servers at the same time (${session.home}; ${home})`;
        const at = clock.monotonicNow();
        for (const { id } of this.links) emit({ kind: 'chain-broken', link: id, what, heartbeatsSince: null, at });
      } catch (error) {
        if (!(error instanceof LockgateError)) throw error;
        log.debug({ collector: this.name, error: messageOf(error) }, 'no second connection to compare with');
      }
    }
  }
}
