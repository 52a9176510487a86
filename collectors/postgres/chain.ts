import { randomBytes } from 'node:crypto';
import type { Us } from '../../daemon/core/clock.js';
import { US_PER_MS } from '../../daemon/core/clock.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { LockgateError, messageOf, reasonOf } from '../../daemon/core/errors.js';
import type { Observation } from '../../daemon/core/observation.js';
import type { LinkId } from '../../daemon/core/signal.js';
import type { Collector, CollectorContext, Emit, LinkPlan } from '../collector.js';
import {
  disagreement,
  judgeLogicalChain,
  judgePhysicalChain,
  type ChainNames,
  type ChainVerdict,
  type FlowTrace,
  type ServerFacts,
} from './chain-state.js';
import { FlowTroubles } from './chain-trouble.js';
import { chainTargetView, readChainSource, readChainTarget, readServer, type ChainTargetView } from './chain-views.js';
import { connect, quoteIdent } from './connection.js';
import { LazySession } from './lazy-session.js';
import { targetView } from './logical-views.js';
import { both, untilDue } from '../session/pace.js';

const defaultIntervalMs = 1_000;
/** While something is being done to a flow, for what is done then (a SKIP, an origin moved) is soon gone again. */
const eagerMs = 200;
/** While a fence is open. */
const closelyMs = 100;
const freshUs: Us = 3_000_000;
const queryTimeoutMs = 1_500;
/** Below the client's own limit, so that a server that is merely slow keeps its session. */
const statementTimeoutMs = 1_200;
const connectTimeoutMs = 3_000;
/** Privileges may be granted while a session lasts, and need not be asked for at every look. */
const viewFreshUs: Us = 10_000_000;
/**
 * Looks further apart than this did not watch what happened in between. A server that starts again, and the pause before
 * the next attempt to reach it, are shorter: someone who alters a subscription right after that has not hidden anything.
 */
const unwatchedUs: Us = 10_000_000;
/** Looks from one second connection to the next. */
const looksPerProbe = 30;

/** One look at both sides, judged for each link. */
interface Sight {
  source: ServerFacts;
  target: ServerFacts;
  verdicts: ReadonlyMap<LinkId, ChainVerdict>;
}

/**
 * Collector `<from>-><to>/chain`: looks about once a second at everything that the chain of changes from one database to
 * another hangs on, for all links of one kind between them. It compares nothing with what it was before the collector
 * began: that is remembered by the core, across restarts.
 */
export class ChainCollector implements Collector {
  readonly name: string;
  readonly #sessions: Record<'source' | 'target', LazySession>;
  readonly #flows: readonly string[];
  readonly #names: ChainNames;
  #slots: readonly string[] = [];
  #view: { view: ChainTargetView; at: Us } | null = null;
  #traces = new Map<string, FlowTrace>();
  readonly #troubles = new FlowTroubles();
  #eager = false;
  #lookedAt: Us = -Infinity;
  #watches = 0;
  #probedAt: Us = -Infinity;
  #failing: string | null = null;

  /** All `links` are of the same kind and run from `from` to `to`. */
  constructor(
    private readonly from: DatabaseConfig,
    private readonly to: DatabaseConfig,
    private readonly links: readonly LinkPlan[],
    private readonly context: CollectorContext,
    private readonly intervalMs = defaultIntervalMs,
  ) {
    const logical = links.some((link) => link.config.via === 'postgres-logical');
    this.name = `${from.name}->${to.name}/chain${logical ? '' : '-standby'}`;
    this.#flows = logical ? [...new Set(links.flatMap((link) => link.config.flows))] : [];
    this.#names = {
      from: from.name,
      to: to.name,
      fromUser: quoteIdent(from.address.user),
      toUser: quoteIdent(to.address.user),
      run: randomBytes(6).toString('hex'),
    };
    const session = { applicationName: this.#applicationName, statementTimeoutMs, connectTimeoutMs };
    this.#sessions = {
      source: new LazySession(from, session, context.clock),
      target: new LazySession(to, session, context.clock),
    };
  }

  async run(emit: Emit, signal: AbortSignal): Promise<void> {
    const { clock } = this.context;
    const close = async (): Promise<void> => {
      await Promise.all([this.#sessions.source.close(), this.#sessions.target.close()]);
    };
    const onAbort = (): void => void close();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      while (!isAborted(signal)) {
        const startedAt = clock.monotonicNow();
        await this.#look(emit, signal);
        // While a fence is open, a flow that was made anew would tell of positions that say nothing of what it had to apply:
        // the fence waits for a look after them.
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

  get #applicationName(): string {
    return `lockgate/${this.context.daemonId}/chain`;
  }

  async #look(emit: Emit, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.context;
    const askedAt = clock.monotonicNow();
    let sight: Sight;
    try {
      sight = this.#flows.length > 0 ? await this.#seeLogical(signal) : await this.#seePhysical(signal);
      await this.#probe(emit, sight, signal);
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
    if (isAborted(signal)) return;
    if (this.#failing !== null) log.info({ collector: this.name }, 'chain: both sides answer again');
    this.#failing = null;
    const at = clock.monotonicNow();
    for (const link of this.links) {
      const verdict = sight.verdicts.get(link.id);
      if (verdict === undefined) continue;
      const { facts, fault } = verdict;
      if (facts === null) emit({ kind: 'chain-fault', link: link.id, reason: fault, at });
      else {
        const fresh = Math.max(freshUs, link.config.freshnessUs);
        emit({ kind: 'chain-seen', link: link.id, facts, askedAt, at, freshUs: fresh });
      }
    }
  }

  async #seeLogical(signal: AbortSignal): Promise<Sight> {
    const [view, connection] = await both(this.#viewTarget(signal), this.#sessions.source.get(signal));
    // First the target: what it had applied then, the source must have written by the time it is asked.
    const target = await readChainTarget(view, this.#flows, queryTimeoutMs);
    const named = [...target.subscriptions.values()].flatMap(({ slot }) => (slot === null ? [] : [slot]));
    this.#slots = [...new Set(named)].sort();
    const source = await readChainSource(connection, this.#slots, queryTimeoutMs);
    const { eager, stuck } = this.#troubles.observe(target, this.context.clock.monotonicNow());
    this.#eager = eager;
    const looks = { watch: this.#watch(), stuck };
    const verdicts = new Map<LinkId, ChainVerdict>();
    const traces = new Map(this.#traces);
    for (const { id, config } of this.links) {
      const judged = judgeLogicalChain(this.#names, config.flows, target, source, this.#traces, looks);
      verdicts.set(id, judged.verdict);
      // What is not remembered was not watched.
      if (judged.verdict.facts === null) this.#lookedAt = -Infinity;
      for (const [flow, trace] of judged.traces) traces.set(flow, trace);
    }
    this.#traces = traces;
    return { source: source.server, target: target.server, verdicts };
  }

  async #seePhysical(signal: AbortSignal): Promise<Sight> {
    const [to, from] = await both(this.#sessions.target.get(signal), this.#sessions.source.get(signal));
    const [target, source] = await both(readServer(to, queryTimeoutMs), readServer(from, queryTimeoutMs));
    const verdict = judgePhysicalChain(this.#names, source, target);
    return { source, target, verdicts: new Map(this.links.map(({ id }) => [id, verdict])) };
  }

  async #viewTarget(signal: AbortSignal): Promise<ChainTargetView> {
    const connection = await this.#sessions.target.get(signal);
    const at = this.context.clock.monotonicNow();
    const known = this.#view;
    if (known !== null && known.view.connection === connection && at - known.at < viewFreshUs) return known.view;
    const view = await chainTargetView(await targetView(connection, queryTimeoutMs), queryTimeoutMs);
    this.#view = { view, at };
    return view;
  }

  /** Names the stretch of looks that follow each other closely. */
  #watch(): string {
    const now = this.context.clock.monotonicNow();
    if (now - this.#lookedAt > unwatchedUs) this.#watches += 1;
    this.#lookedAt = now;
    return `${this.#names.run}/${this.#watches}`;
  }

  /**
   * Opens another connection to each side from time to time and compares where it leads with where the session leads:
   * behind a proxy or a reader endpoint these may be different servers. A session that outlives the comparison shows that
   * both were there at the same time, and not one after the other.
   */
  async #probe(emit: Emit, sight: Sight, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.context;
    const now = clock.monotonicNow();
    if (now - this.#probedAt < looksPerProbe * this.intervalMs * US_PER_MS) return;
    this.#probedAt = now;
    for (const [side, db] of [
      ['source', this.from],
      ['target', this.to],
    ] as const) {
      try {
        const other = await this.#readAside(db, signal);
        const again = await readServer(await this.#sessions[side].get(signal), queryTimeoutMs);
        if (disagreement(db.name, sight[side], again) !== null) continue; // it changed meanwhile
        const what = disagreement(db.name, again, other);
        if (what === null) continue;
        const at = clock.monotonicNow();
        for (const { id } of this.links) emit({ kind: 'chain-broken', link: id, what, heartbeatsSince: null, at });
      } catch (error) {
        if (!(error instanceof LockgateError)) throw error;
        log.debug({ collector: this.name, error: messageOf(error) }, 'no second connection to compare with');
      }
    }
  }

  async #readAside(db: DatabaseConfig, signal: AbortSignal): Promise<ServerFacts> {
    const options = { applicationName: this.#applicationName, statementTimeoutMs, connectTimeoutMs };
    const connection = await connect(db, options, signal);
    try {
      return await readServer(connection, queryTimeoutMs);
    } finally {
      await connection.close();
    }
  }
}

/** Read through a function, because the compiler takes a checked flag for settled. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}
