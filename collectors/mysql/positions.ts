import { US_PER_S, type Us } from '../../daemon/core/clock.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { LockgateError, reasonOf } from '../../daemon/core/errors.js';
import { countMissing, type GtidSet } from '../../daemon/core/gtid.js';
import type { Observation } from '../../daemon/core/observation.js';
import type { LinkSignal } from '../../daemon/core/signal.js';
import type { Collector, CollectorContext, Emit, LinkPlan } from '../collector.js';
import type { PositionNeeds } from '../heartbeat/needs.js';
import { ErrorWindow } from '../session/error-window.js';
import { LazySession } from '../session/lazy-session.js';
import { both, keepLooking, type Look } from '../session/pace.js';
import { BinlogMeter, bytesAcross, type BinlogFile, type BinlogPlace } from './binlog-distance.js';
import {
  channelOfFlow,
  errorKeyOf,
  isCaughtUp,
  isFrom,
  lostBySource,
  judgeApplied,
  judgeRunning,
  nameOf,
  type Judged,
  type SourceIdentity,
} from './channel-state.js';
import { connect, type MysqlConnection } from './connection.js';
import { readSource, readTarget, type ServerIdentity, type SourceFacts, type TargetFacts } from './position-views.js';
import { reopening } from './reopen.js';
import { BinlogRetention } from './retention-watch.js';
import type { ReplicaChannel } from './replica-status.js';

/** What the collector is told besides the links. */
export interface MysqlPositionsOptions {
  readonly needs: PositionNeeds;
  /** Called at each look with who the target is. */
  readonly onTarget?: (identity: ServerIdentity) => void;
  /** Between looks while nobody waits for a position; 1 s unless told. */
  readonly intervalMs?: number;
  /** For so long the rate of the binlog is learnt before it can tell `runway`; a minute unless told. */
  readonly learnUs?: Us;
}

const signals = [
  'running',
  'errors',
  'backlog_bytes',
  'backlog_transactions',
  'retained_bytes',
  'runway',
] as const satisfies LinkSignal[];
type Signal = (typeof signals)[number];

interface Value extends Judged {
  readonly bound?: 'at-least';
}

const queryTimeoutMs = 1_500;
/** How long the list of the source's files is used. */
const filesForUs: Us = 60 * US_PER_S;
/** The same while a channel needs an older one than the newest, which may be purged under it. */
const trailingFilesForUs: Us = 2 * US_PER_S;
const connectOptions = { statementTimeoutMs: 1_200, connectTimeoutMs: 3_000 };

interface Sight {
  askedAt: Us;
  at: Us;
  source: SourceFacts;
  target: TargetFacts;
  /** Why positions prove nothing at present. */
  behind: string | null;
}

/**
 * Watches the applied positions and the machinery of all MySQL replication from one server to another, by a few queries
 * on each side. Every link gets an `applied` or an `applied-fault` for each of its flows at every look, and its other
 * readings about every second and whenever `running` or `errors` change. While a fence is open on the source, it looks about
 * every 50 ms.
 */
export class MysqlPositionsCollector implements Collector {
  readonly name: string;
  readonly #source: LazySession<MysqlConnection>;
  readonly #target: LazySession<MysqlConnection>;
  readonly #meter = new BinlogMeter();
  readonly #errors = new Map<string, { window: ErrorWindow; total: number; last: string | null }>();
  readonly #reported = new Map<string, string>();
  readonly #retention: BinlogRetention;
  #trailing = false;
  #failing: string | null = null;
  #files: { of: MysqlConnection; at: Us; list: readonly BinlogFile[] } | null = null;
  #before: TargetFacts | null = null;

  /** All `links` are of kind mysql and run from `from` to `to`. */
  constructor(
    private readonly from: DatabaseConfig,
    private readonly to: DatabaseConfig,
    private readonly links: readonly LinkPlan[],
    private readonly context: CollectorContext,
    private readonly options: MysqlPositionsOptions,
  ) {
    this.name = `${from.name}->${to.name}/positions`;
    const applicationName = `lockgate/${context.daemonId}/positions`;
    this.#retention = new BinlogRetention(from.name, options.learnUs);
    const open = (db: DatabaseConfig) =>
      reopening((signal) => connect(db, { applicationName, ...connectOptions }, signal));
    this.#source = new LazySession(open(from), context.clock);
    this.#target = new LazySession(open(to), context.clock);
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
          intervalMs: this.options.intervalMs ?? 1_000,
          closely: () => this.context.watchClosely?.(this.from.name) === true,
          look: (full) => this.#look(emit, full, signal),
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
    return this.links.flatMap(({ id, config }) => [
      ...config.flows.map((flow): Observation => ({ kind: 'applied-fault', link: id, flow, at, reason })),
      ...signals.map((signal): Observation => ({ kind: 'link-reading', link: id, signal, value: null, reason, at })),
    ]);
  }

  async #look(emit: Emit, full: boolean, signal: AbortSignal): Promise<Look> {
    const all = new Set(this.links.map((link) => link.id));
    let sight: Sight;
    try {
      sight = await this.#see(full, signal);
    } catch (error) {
      if (signal.aborted) return { blind: new Set() };
      // What is not from a server is a bug, and the supervisor's matter.
      if (!(error instanceof LockgateError)) throw error;
      const reason = reasonOf(error);
      if (this.#failing !== reason) this.context.log.warn({ collector: this.name }, `positions: ${reason}`);
      this.#failing = reason;
      this.#reported.clear();
      for (const observation of this.down(reason)) emit(observation);
      return { blind: all };
    }
    if (signal.aborted) return { blind: new Set() };
    if (this.#failing !== null) this.context.log.info({ collector: this.name }, 'positions: both sides answer again');
    this.#failing = null;
    const blind = new Set<LinkPlan['id']>();
    for (const link of this.links) if (!this.#report(emit, full, link, sight)) blind.add(link.id);
    return { blind };
  }

  async #see(full: boolean, signal: AbortSignal): Promise<Sight> {
    const { clock } = this.context;
    // Without sessions there is nothing to time yet: connecting is not part of the question.
    const [source, target] = await both(this.#source.get(signal), this.#target.get(signal));
    if (full) await this.#retention.ask(source, target, queryTimeoutMs);
    const askedAt = clock.monotonicNow();
    const files = this.#files;
    // Now and then from anew, because files are purged.
    const useForUs = this.#trailing ? trailingFilesForUs : filesForUs;
    const known = files?.of === source && askedAt - files.at < useForUs ? files.list : [];
    const [from, to] = await both(readSource(source, queryTimeoutMs, known), readTarget(target, queryTimeoutMs));
    if (from.files !== known) {
      this.#files = { of: source, at: askedAt, list: from.files };
      this.#meter.learn(from.files);
    }
    this.#trailing = to.channels.some((c) => c.executedFile !== from.head?.file || c.readFile !== from.head.file);
    this.#retention.observe(from, this.#meter, clock.monotonicNow(), clock.uptime());
    this.options.onTarget?.(to.identity);
    // The two were asked at once: only what the target had before says what the source must have.
    const behind = this.#before === null ? null : lostBySource(this.#before, from, this.from.name);
    this.#before = to;
    return { askedAt, at: clock.monotonicNow(), source: from, target: to, behind };
  }

  /** Emits what was seen of a link; returns whether all of its positions can be told. */
  #report(emit: Emit, full: boolean, { id, config }: LinkPlan, sight: Sight): boolean {
    const { askedAt, at, source, target, behind } = sight;
    const identity: SourceIdentity = { name: this.from.name, ...source.identity };
    const { channels, executed } = target;
    let told = true;
    for (const flow of config.flows) {
      const applied =
        behind === null
          ? judgeApplied(flow, this.to.name, channels, identity, source.position, executed)
          : ({ position: null, reason: behind } as const);
      if (applied.position === null) {
        told = false;
        emit({ kind: 'applied-fault', link: id, flow, at, reason: applied.reason });
        continue;
      }
      const bytes = this.#bytes(channelOfFlow(flow, channels, identity), source, executed);
      const { position } = applied;
      emit({ kind: 'applied', link: id, flow, position, ...(bytes === null ? {} : { bytes }), askedAt, at });
    }
    this.#readings(
      emit,
      full,
      id,
      { askedAt, at },
      {
        running: this.#running(config.flows, channels, identity),
        errors: this.#errorsOf(id, config.flows, channels, identity, at),
        backlog_bytes: this.#backlog(config.flows, channels, identity, source, executed),
        backlog_transactions: transactionsBetween(executed, source.gtids),
        ...this.#retention.judge(
          config.flows,
          config.retentionLimitBytes,
          identity,
          { source, channels, executed },
          this.context.clock.uptime(),
        ),
      },
    );
    return told;
  }

  #running(flows: readonly string[], channels: readonly ReplicaChannel[], source: SourceIdentity): Judged {
    const each = flows.map((flow) => judgeRunning(flow, this.to.name, channels, source));
    const worst = each.find(({ value }) => value !== 1) ?? each.find(({ reason }) => reason !== null) ?? each[0];
    const meant = new Set(flows.map((flow) => channelOfFlow(flow, channels, source)));
    const other = channels.find((c) => isFrom(c, source) && !meant.has(c));
    if (other !== undefined && worst?.value === 1) {
      return {
        value: null,
        reason: `${nameOf(other)} replicates from ${this.from.name} too: list all channels of this link under \`channel\``,
      };
    }
    return worst ?? { value: null, reason: 'the link has no flow' };
  }

  /** Each error that a channel begins to show counts as one, dated by the look that saw it first. */
  #errorsOf(
    link: LinkPlan['id'],
    flows: readonly string[],
    channels: readonly ReplicaChannel[],
    source: SourceIdentity,
    at: Us,
  ): Value {
    let value = 0;
    for (const flow of flows) {
      const key = `${link} ${flow}`;
      const known = this.#errors.get(key) ?? { window: new ErrorWindow(), total: 0, last: null };
      this.#errors.set(key, known);
      const channel = channelOfFlow(flow, channels, source);
      const shown = channel === null ? null : errorKeyOf(channel);
      if (shown !== null && shown !== known.last) known.total += 1;
      known.last = shown;
      value += known.window.look({ total: known.total, reset: false, identity: '' }, at).value;
    }
    const reason = 'counted from the errors that the channels show at each look; retries that succeed are not errors';
    return { value, reason };
  }

  #backlog(
    flows: readonly string[],
    channels: readonly ReplicaChannel[],
    identity: SourceIdentity,
    source: SourceFacts,
    executed: GtidSet | null,
  ): Value {
    if (isCaughtUp(source.gtids, executed) === true) return { value: 0, reason: null };
    let worst = 0;
    for (const flow of flows) {
      const channel = channelOfFlow(flow, channels, identity);
      if (channel === null) return { value: null, reason: `${this.to.name} has no channel for this link` };
      if (source.head === null) return { value: null, reason: `${this.from.name} keeps no binlog` };
      const bytes = bytesAcross(source.files, executedPlace(channel), source.head);
      if (bytes === null) {
        const reason = `${this.from.name} has no binlog file ${channel.executedFile || '(none named yet)'} any more, or not yet`;
        return { value: null, reason };
      }
      worst = Math.max(worst, bytes);
    }
    return { value: worst, reason: null };
  }

  /** What the drain estimate needs: bytes outstanding, and bytes applied since a fixed point. */
  #bytes(
    channel: ReplicaChannel | null,
    source: SourceFacts,
    executed: GtidSet | null,
  ): { backlog: number; applied: number } | null {
    if (channel === null || source.head === null) return null;
    const head = this.#meter.at(source.head);
    if (head === null) return null;
    if (isCaughtUp(source.gtids, executed) === true) return { backlog: 0, applied: head };
    const applied = this.#meter.at(executedPlace(channel));
    return applied === null ? null : { backlog: Math.max(0, head - applied), applied };
  }

  #readings(
    emit: Emit,
    full: boolean,
    link: LinkPlan['id'],
    taken: Pick<Sight, 'askedAt' | 'at'>,
    values: Record<Signal, Value>,
  ): void {
    for (const signal of signals) {
      const { value, reason, bound } = values[signal];
      const state = `${String(value)} ${bound ?? ''}`;
      const news = (signal === 'running' || signal === 'errors') && this.#reported.get(`${link} ${signal}`) !== state;
      if (!full && !news) continue;
      this.#reported.set(`${link} ${signal}`, state);
      emit({ kind: 'link-reading', link, signal, value, reason, ...(bound === undefined ? {} : { bound }), ...taken });
    }
  }
}

function executedPlace({ executedFile, executedOffset }: ReplicaChannel): BinlogPlace {
  return { file: executedFile, offset: executedOffset };
}

function transactionsBetween(executed: GtidSet | null, head: GtidSet | null): Value {
  if (executed === null || head === null) return { value: null, reason: 'transactions have no GTIDs' };
  const value = countMissing(executed, head);
  const reason =
    head.flavour === 'mariadb' ? 'by the numbers of the GTIDs, some of which may never have been used' : null;
  return value === null ? { value, reason: 'the GTIDs of the two sides are of different kinds' } : { value, reason };
}
