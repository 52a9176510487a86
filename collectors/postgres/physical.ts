import type { Us } from '../../daemon/core/clock.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { LockgateError, reasonOf } from '../../daemon/core/errors.js';
import type { Observation } from '../../daemon/core/observation.js';
import { bytesBetween } from '../../daemon/core/position.js';
import type { LinkId, LinkSignal } from '../../daemon/core/signal.js';
import type { Collector, CollectorContext, Emit, LinkPlan } from '../collector.js';
import type { PositionNeeds } from '../heartbeat/needs.js';
import { quoteIdent, type PgConnection } from './connection.js';
import { judgeDelays } from './flow-state.js';
import { LogRate } from '../session/log-rate.js';
import { judgeRetained, judgeRunway, type SlotRetention } from './retention.js';
import { LazySession } from './lazy-session.js';
import { both, keepLooking, type Look } from '../session/pace.js';
import { readPrimary, readStandby, systemIdentifier } from './physical-views.js';
import {
  STANDBY_FLOW,
  judgeReplayed,
  judgeStreaming,
  matchWalsender,
  type PhysicalNames,
  type PrimaryFacts,
  type StandbyFacts,
} from './physical-state.js';

/** What the collector is told besides the links. */
export interface PhysicalOptions {
  readonly needs: PositionNeeds;
  /** Between looks while nobody waits for a position; 1 s unless told. */
  readonly intervalMs?: number;
  /** For so long the rate of WAL is learnt before `runway` is known; a minute unless told. */
  readonly learnUs?: Us;
}

const signals = [
  'running',
  'errors',
  'backlog_bytes',
  'retained_bytes',
  'runway',
  'transit_delay',
  'apply_delay',
] as const satisfies LinkSignal[];

const defaultIntervalMs = 1_000;
const queryTimeoutMs = 1_500;
/** Below the client's own limit, so that a server that is merely slow keeps its session. */
const statementTimeoutMs = 1_200;
const connectTimeoutMs = 3_000;
const noErrorCounter = 'physical replay has no error counter: a standby that cannot replay stops; see running and lag';

interface Sight {
  askedAt: Us;
  at: Us;
  standby: StandbyFacts & { slotName: string | null };
  primary: PrimaryFacts & { slots: ReadonlyMap<string, SlotRetention> };
}

/** A session and the system identifier of the server it leads to. */
interface Identified {
  connection: PgConnection;
  systemIdentifier: string | null;
}

/**
 * Watches the replay position and the streaming of a physical standby by one query on each side. Every link gets an
 * `applied` or an `applied-fault` for its flow `standby` at every look, and its other readings about every second and
 * whenever `running` changes.
 */
export class PhysicalCollector implements Collector {
  readonly name: string;
  readonly #source: LazySession;
  readonly #target: LazySession;
  readonly #names: PhysicalNames;
  #identified: { source: Identified | null; target: Identified | null } = { source: null, target: null };
  readonly #walRate: LogRate;
  #running: number | null | undefined;
  #failing: string | null = null;

  /** All `links` are of kind postgres-physical and run from `from` to `to`. */
  constructor(
    from: DatabaseConfig,
    to: DatabaseConfig,
    private readonly links: readonly LinkPlan[],
    private readonly context: CollectorContext,
    private readonly options: PhysicalOptions,
  ) {
    this.name = `${from.name}->${to.name}/standby`;
    this.#names = {
      from: from.name,
      to: to.name,
      fromUser: quoteIdent(from.address.user),
      toUser: quoteIdent(to.address.user),
    };
    this.#walRate = new LogRate(options.learnUs);
    const session = {
      applicationName: `lockgate/${context.daemonId}/standby`,
      statementTimeoutMs,
      connectTimeoutMs,
    };
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
          closely: () => this.context.watchClosely?.(this.#names.from) === true,
        },
        signal,
      );
    } finally {
      signal.removeEventListener('abort', onAbort);
      await close();
      this.#running = undefined;
    }
  }

  down(reason: string): Observation[] {
    const at = this.context.clock.monotonicNow();
    return this.links.flatMap(({ id }): Observation[] => [
      { kind: 'applied-fault', link: id, flow: STANDBY_FLOW, at, reason },
      ...signals.map((signal): Observation => ({ kind: 'link-reading', link: id, signal, value: null, reason, at })),
    ]);
  }

  async #look(emit: Emit, full: boolean, signal: AbortSignal): Promise<Look> {
    const all = new Set(this.links.map((link) => link.id));
    let sight: Sight;
    try {
      sight = await this.#see(signal);
    } catch (error) {
      if (signal.aborted) return { blind: all };
      // What is not from a server is a bug, and the supervisor's matter.
      if (!(error instanceof LockgateError)) throw error;
      const reason = reasonOf(error);
      if (this.#failing !== reason) this.context.log.warn({ collector: this.name }, `standby: ${reason}`);
      this.#failing = reason;
      this.#running = undefined;
      for (const observation of this.down(reason)) emit(observation);
      return { blind: all };
    }
    if (signal.aborted) return { blind: all };
    if (this.#failing !== null) this.context.log.info({ collector: this.name }, 'standby: both sides answer again');
    this.#failing = null;
    return { blind: this.#report(emit, full, sight) ? new Set<LinkId>() : all };
  }

  async #see(signal: AbortSignal): Promise<Sight> {
    const { clock } = this.context;
    const [source, target] = await both(this.#identify('source', signal), this.#identify('target', signal));
    const askedAt = clock.monotonicNow();
    const [standby, first] = await both(
      readStandby(target.connection, target.systemIdentifier, queryTimeoutMs),
      readPrimary(source.connection, source.systemIdentifier, queryTimeoutMs),
    );
    // The standby may answer a little later than the primary: ask again before calling it ahead.
    const ahead = standby.replayed !== null && standby.replayed > first.sendable;
    const primary = ahead ? await readPrimary(source.connection, source.systemIdentifier, queryTimeoutMs) : first;
    return { askedAt, at: clock.monotonicNow(), standby, primary };
  }

  async #identify(side: 'source' | 'target', signal: AbortSignal): Promise<Identified> {
    const connection = await (side === 'source' ? this.#source : this.#target).get(signal);
    const known = this.#identified[side];
    // Within one session the identifier cannot change; the query reads a file.
    if (known?.connection === connection) return known;
    const found = { connection, systemIdentifier: await systemIdentifier(connection, queryTimeoutMs) };
    this.#identified[side] = found;
    return found;
  }

  /** Emits what was seen, and returns whether the position could be told. */
  #report(emit: Emit, full: boolean, { askedAt, at, standby, primary }: Sight): boolean {
    const applied = judgeReplayed(this.#names, standby, primary);
    const running = judgeStreaming(this.#names, standby, primary);
    const match = standby.receiver === null ? null : matchWalsender(standby.receiver, primary.walsenders);
    const delays = judgeDelays(match?.kind === 'one' ? [match.walsender] : [], this.#names.fromUser);
    this.#walRate.observe(at, primary.sendable);
    const rate = this.#walRate.perSecond();
    const head = { kind: 'lsn', lsn: primary.sendable } as const;
    const { slotName } = standby;
    const slot = slotName === null ? null : (primary.slots.get(slotName) ?? null);
    const retained = [{ flow: STANDBY_FLOW, slotName, slot }];
    const readings = {
      running,
      errors: { value: null, reason: noErrorCounter },
      // The flushed end of the WAL and not the insert position, for walsenders send flushed WAL only.
      backlog_bytes:
        applied.lsn === null
          ? { value: null, reason: applied.reason }
          : {
              value: bytesBetween({ kind: 'lsn', lsn: applied.lsn }, head),
              reason: null,
            },
      retained_bytes: judgeRetained(this.#names.from, retained, head.lsn),
      transit_delay: delays.transit,
      apply_delay: delays.apply,
    };
    const news = this.#running !== running.value;
    this.#running = running.value;
    for (const { id, config } of this.links) {
      const runway = judgeRunway(this.#names.from, retained, head.lsn, config.retentionLimitBytes, rate);
      const flow = { link: id, flow: STANDBY_FLOW, at };
      if (applied.lsn === null) emit({ kind: 'applied-fault', ...flow, reason: applied.reason });
      else emit({ kind: 'applied', ...flow, position: { kind: 'lsn', lsn: applied.lsn }, head, askedAt });
      if (!full && !news) continue;
      for (const signal of signals) {
        const { value, reason } = signal === 'runway' ? runway : readings[signal];
        emit({ kind: 'link-reading', link: id, signal, value, reason, askedAt, at });
      }
    }
    return applied.lsn !== null;
  }
}
