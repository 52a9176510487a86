import type { Us } from '../../daemon/core/clock.js';
import type { DatabaseConfig, LinkConfig } from '../../daemon/core/config.js';
import { LockgateError, reasonOf } from '../../daemon/core/errors.js';
import type { Observation } from '../../daemon/core/observation.js';
import { bytesBetween, formatLsn } from '../../daemon/core/position.js';
import type { LinkId, LinkSignal } from '../../daemon/core/signal.js';
import type { Collector, CollectorContext, Emit, LinkPlan } from '../collector.js';
import type { PositionNeeds } from '../heartbeat/needs.js';
import { quoteIdent } from './connection.js';
import { ErrorWindow } from '../session/error-window.js';
import {
  judgeApplied,
  judgeDelays,
  judgeRunning,
  worstRunning,
  type AppliedState,
  type FlowMemory,
  type FlowNames,
  type RunningState,
  type SlotFacts,
} from './flow-state.js';
import {
  readSource,
  sourceView,
  readTarget,
  targetView,
  type SourceFacts,
  type SourceView,
  type TargetFacts,
  type TargetView,
} from './logical-views.js';
import { both, keepLooking, type Look } from '../session/pace.js';
import { LazySession } from './lazy-session.js';
import { LogRate } from '../session/log-rate.js';
import { judgeRetained, judgeRunway, type SlotRetention } from './retention.js';

/** What the collector is told besides the links. */
export interface PositionsOptions {
  readonly needs: PositionNeeds;
  /** Between looks while nobody waits for a position; 1 s unless told. */
  readonly intervalMs?: number;
  /** For so long the rate of WAL is learnt before `runway` is known; a minute unless told. */
  readonly learnUs?: Us;
}

/** The signals of a link that this collector answers for. */
const signals = [
  'running',
  'errors',
  'backlog_bytes',
  'retained_bytes',
  'runway',
  'transit_delay',
  'apply_delay',
] as const satisfies LinkSignal[];
type Signal = (typeof signals)[number];

interface Value {
  value: number | null;
  reason: string | null;
  bound?: 'at-least';
}

const defaultIntervalMs = 1_000;
const queryTimeoutMs = 1_500;
/** Below the client's own limit, so that a server that is merely slow keeps its session. */
const statementTimeoutMs = 1_200;
const connectTimeoutMs = 3_000;
/** Privileges may be granted while a session lasts, and need not be asked for at every look. */
const viewFreshUs: Us = 10_000_000;

/** One look at both sides. */
interface Sight {
  askedAt: Us;
  at: Us;
  target: TargetFacts;
  source: SourceFacts;
}

/**
 * Watches the applied positions and the machinery of all logical replication from one database to another, by one query
 * on each side. Every link gets an `applied` or an `applied-fault` for each of its flows at every look, and its other
 * readings about every second and whenever `running` or `errors` change.
 */
export class PositionsCollector implements Collector {
  readonly name: string;
  readonly #source: LazySession;
  readonly #target: LazySession;
  readonly #subscriptions: readonly string[];
  readonly #memories = new Map<string, FlowMemory>();
  readonly #windows = new Map<string, ErrorWindow>();
  readonly #reported = new Map<string, string>();
  readonly #walRate: LogRate;
  /** Slots of the subscriptions as the target named them last. */
  #slots: readonly string[] = [];
  #view: { view: TargetView; at: Us } | null = null;
  #sourceView: SourceView | null = null;
  #failing: string | null = null;

  /** All `links` are of kind postgres-logical and run from `from` to `to`. */
  constructor(
    private readonly from: DatabaseConfig,
    private readonly to: DatabaseConfig,
    private readonly links: readonly LinkPlan[],
    private readonly context: CollectorContext,
    private readonly options: PositionsOptions,
  ) {
    this.name = `${from.name}->${to.name}/positions`;
    this.#subscriptions = [...new Set(links.flatMap((link) => link.config.flows))];
    const session = {
      applicationName: `lockgate/${context.daemonId}/positions`,
      statementTimeoutMs,
      connectTimeoutMs,
    };
    this.#walRate = new LogRate(options.learnUs);
    this.#source = new LazySession(from, session, context.clock);
    this.#target = new LazySession(to, session, context.clock);
  }

  async run(emit: Emit, signal: AbortSignal): Promise<void> {
    const close = async (): Promise<void> => {
      await Promise.all([this.#source.close(), this.#target.close()]);
    };
    const onAbort = (): void => void close();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      await keepLooking(
        {
          clock: this.context.clock,
          needs: this.options.needs,
          links: this.links.map((link) => link.id),
          intervalMs: this.options.intervalMs ?? defaultIntervalMs,
          look: (full) => this.#look(emit, full, signal),
          closely: () => this.context.watchClosely?.(this.from.name) === true,
        },
        signal,
      );
    } finally {
      signal.removeEventListener('abort', onAbort);
      await close();
      this.#reported.clear();
    }
  }

  down(reason: string): Observation[] {
    const at = this.context.clock.monotonicNow();
    return this.links.flatMap((link) => faultsOf(link, reason, at));
  }

  async #look(emit: Emit, full: boolean, signal: AbortSignal): Promise<Look> {
    let sight: Sight;
    try {
      sight = await this.#see(signal);
    } catch (error) {
      if (signal.aborted) return { blind: new Set() };
      // What is not from a server is a bug, and the supervisor's matter.
      if (!(error instanceof LockgateError)) throw error;
      const reason = reasonOf(error);
      if (this.#failing !== reason) this.context.log.warn({ collector: this.name }, `positions: ${reason}`);
      this.#failing = reason;
      this.#reported.clear();
      for (const observation of this.down(reason)) emit(observation);
      return { blind: new Set(this.links.map((link) => link.id)) };
    }
    if (signal.aborted) return { blind: new Set() };
    if (this.#failing !== null) this.context.log.info({ collector: this.name }, 'positions: both sides answer again');
    this.#failing = null;
    return { blind: this.#report(emit, full, sight) };
  }

  /** Asks both sides at once, and the source again where the first answers do not fit together. */
  async #see(signal: AbortSignal): Promise<Sight> {
    const { clock } = this.context;
    // Without sessions there is nothing to time yet: connecting is not part of the question.
    const [view, source] = await both(this.#viewTarget(signal), this.#viewSource(signal));
    const askedAt = clock.monotonicNow();
    const [target, first] = await both(
      readTarget(view, this.#subscriptions, queryTimeoutMs),
      readSource(source, this.#slots, queryTimeoutMs),
    );
    const named = [...target.subscriptions.values()].flatMap(({ slot }) => (slot === null ? [] : [slot]));
    const slots = [...new Set(named)].sort();
    const changed = slots.length !== this.#slots.length || slots.some((slot, i) => slot !== this.#slots[i]);
    this.#slots = slots;
    // The target answers a little later than the source, so a position ahead of the source is first doubted by asking again.
    const ahead = [...target.subscriptions.values()].some(
      ({ origin, received }) => (origin ?? 0n) > first.insert || (received ?? 0n) > first.insert,
    );
    const again = changed || ahead ? await readSource(source, slots, queryTimeoutMs) : first;
    return { askedAt, at: clock.monotonicNow(), target, source: again };
  }

  async #viewTarget(signal: AbortSignal): Promise<TargetView> {
    const connection = await this.#target.get(signal);
    const at = this.context.clock.monotonicNow();
    const known = this.#view;
    if (known !== null && known.view.connection === connection && at - known.at < viewFreshUs) return known.view;
    const view = await targetView(connection, queryTimeoutMs);
    this.#view = { view, at };
    return view;
  }

  async #viewSource(signal: AbortSignal): Promise<SourceView> {
    const connection = await this.#source.get(signal);
    if (this.#sourceView?.connection === connection) return this.#sourceView;
    return (this.#sourceView = await sourceView(connection, queryTimeoutMs));
  }

  /** Emits what was seen, and returns the links of which some position cannot be told. */
  #report(emit: Emit, full: boolean, sight: Sight): Set<LinkId> {
    const { target, source, askedAt, at } = sight;
    const applied = new Map<string, AppliedState>();
    for (const flow of this.#subscriptions) applied.set(flow, this.#applied(flow, sight));
    this.#walRate.observe(at, source.insert);
    const head = { kind: 'lsn', lsn: source.sendable } as const;
    const blind = new Set<LinkId>();
    for (const { id, config } of this.links) {
      let least: bigint | null = null;
      let missing: string | null = null;
      for (const flow of config.flows) {
        const state = applied.get(flow) ?? { lsn: null, reason: 'not looked at' };
        if (state.lsn === null) {
          missing ??= `${flow}: ${state.reason}`;
          blind.add(id);
          emit({ kind: 'applied-fault', link: id, flow, at, reason: state.reason });
        } else {
          if (least === null || state.lsn < least) least = state.lsn;
          emit({ kind: 'applied', link: id, flow, position: { kind: 'lsn', lsn: state.lsn }, head, askedAt, at });
        }
      }
      const slots = config.flows.flatMap((flow) => this.#slotOf(flow, sight) ?? []);
      const delays = judgeDelays(
        slots.filter((slot) => slot.walsender),
        quoteIdent(this.from.address.user),
      );
      this.#readings(emit, full, id, sight, {
        running: worstRunning(config.flows.map((flow) => this.#running(flow, sight))),
        errors: this.#errors(config.flows, target, at),
        // The flushed end of the WAL and not the insert position: walsenders send flushed WAL only, and one open
        // transaction keeps the insert position ahead, so that an idle link would never show 0.
        backlog_bytes:
          missing !== null || least === null
            ? { value: null, reason: missing ?? 'the link has no flow' }
            : {
                value: bytesBetween({ kind: 'lsn', lsn: least }, head),
                reason: null,
              },
        ...this.#retention(config, sight),
        transit_delay: delays.transit,
        apply_delay: delays.apply,
      });
    }
    return blind;
  }

  #applied(flow: string, sight: Sight): AppliedState {
    const subscription = sight.target.subscriptions.get(flow) ?? null;
    const { applied, memory } = judgeApplied(
      this.#names(flow),
      subscription,
      this.#slotOf(flow, sight),
      sight.source.identity,
      this.#memories.get(flow) ?? null,
    );
    if (memory === null) this.#memories.delete(flow);
    else this.#memories.set(flow, memory);
    const { insert } = sight.source;
    const ahead = [applied.lsn, subscription?.received ?? null].find((lsn) => lsn !== null && lsn > insert) ?? null;
    if (ahead === null) return applied;
    // Once the source's WAL has grown past it, it is still not of this source's history.
    if (memory !== null) this.#memories.set(flow, { ...memory, foreign: ahead });
    if (applied.lsn === null) return applied;
    const reason =
      `${this.to.name} claims to have ${formatLsn(ahead)}, but the WAL of ${this.from.name} ends at ${formatLsn(insert)}: ` +
      'the subscription follows another server, or the source has gone back (restore, failover)';
    return { lsn: null, reason };
  }

  #running(flow: string, sight: Sight): RunningState {
    const subscription = sight.target.subscriptions.get(flow) ?? null;
    return judgeRunning(this.#names(flow), sight.target.inRecovery, subscription, this.#slotOf(flow, sight));
  }

  #retention({ flows, retentionLimitBytes }: LinkConfig, sight: Sight): Record<'retained_bytes' | 'runway', Value> {
    const { sendable } = sight.source;
    const slots = flows.map((flow) => ({
      flow,
      slotName: sight.target.subscriptions.get(flow)?.slot ?? null,
      slot: this.#slotOf(flow, sight),
    }));
    const rate = this.#walRate.perSecond();
    return {
      retained_bytes: judgeRetained(this.from.name, slots, sendable),
      runway: judgeRunway(this.from.name, slots, sendable, retentionLimitBytes, rate),
    };
  }

  #slotOf(flow: string, sight: Sight): (SlotFacts & SlotRetention) | null {
    const name = sight.target.subscriptions.get(flow)?.slot ?? null;
    return name === null ? null : (sight.source.slots.get(name) ?? null);
  }

  #errors(flows: readonly string[], target: TargetFacts, at: Us): Value {
    let value = 0;
    let partly = false;
    for (const flow of flows) {
      const subscription = target.subscriptions.get(flow);
      if (subscription === undefined) {
        return { value: null, reason: `${flow}: no subscription of this name in the database of ${this.to.name}` };
      }
      if (subscription.errors === null) {
        return {
          value: null,
          reason: `${this.to.name} has no error counters: versions before 15 do not count apply errors; see its log`,
        };
      }
      const window = this.#windows.get(flow) ?? new ErrorWindow();
      this.#windows.set(flow, window);
      const seen = window.look(subscription.errors, at);
      value += seen.value;
      partly ||= seen.bound === 'at-least';
    }
    if (!partly) return { value, reason: null };
    const reason = 'the counters have not been watched for the whole of the last 10 minutes';
    return { value, reason, bound: 'at-least' };
  }

  #readings(emit: Emit, full: boolean, link: LinkId, sight: Sight, values: Record<Signal, Value>): void {
    const { askedAt, at } = sight;
    for (const signal of signals) {
      const { value, reason, bound } = values[signal];
      const state = `${String(value)} ${bound ?? ''}`;
      const news = (signal === 'running' || signal === 'errors') && this.#reported.get(`${link} ${signal}`) !== state;
      if (!full && !news) continue;
      this.#reported.set(`${link} ${signal}`, state);
      emit({
        kind: 'link-reading',
        link,
        signal,
        value,
        reason,
        ...(bound === undefined ? {} : { bound }),
        askedAt,
        at,
      });
    }
  }

  #names(flow: string): FlowNames {
    const { from, to } = this;
    return {
      flow,
      from: from.name,
      to: to.name,
      fromUser: quoteIdent(from.address.user),
      toUser: quoteIdent(to.address.user),
      toVersion: this.#view?.view.connection.serverVersion ?? 0,
    };
  }
}

/** What makes everything that this collector says of a link unknown. */
function faultsOf(link: LinkPlan, reason: string, at: Us): Observation[] {
  const { id } = link;
  return [
    ...link.config.flows.map((flow): Observation => ({ kind: 'applied-fault', link: id, flow, at, reason })),
    ...signals.map((signal): Observation => ({ kind: 'link-reading', link: id, signal, value: null, reason, at })),
  ];
}
