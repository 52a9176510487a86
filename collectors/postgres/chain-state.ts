/**
 * What the two sides of a link look like at one moment, turned into facts that the chain hangs on. Pure: the facts come
 * from two queries, and comparing them with what they were before is the core's work.
 *
 * What a healthy life may do to them decides what is compared, and for how long:
 * - durable positions (the source's flushed WAL, the durable progress of an origin) never go back, whatever crashes;
 * - a crash of the source may take a slot's confirmed position back, and one of either side begins all statistics anew;
 * - while a subscription is idle, keepalives move its slot forward and not its origin;
 * - a worker that is about to end may still confirm something after the subscription was disabled.
 */
import type {
  ChainFacts,
  Counter,
  DrivenPosition,
  Flaw,
  Guarded,
  Identity,
  RisingPosition,
} from '../../daemon/core/continuity.js';
import { formatLsn } from '../../daemon/core/position.js';

/** A server as one session shows it. */
export interface ServerFacts {
  /** Null when this user may not read it. */
  systemIdentifier: string | null;
  timeline: number | null;
  inRecovery: boolean;
  /** The end of the durable WAL; in recovery of what was replayed. */
  position: bigint;
  /** Nothing on this server is beyond it. */
  end: bigint;
  /** When the server was started. */
  startedAt: string;
  /** Changes when the server's statistics begin anew: at a crash, not at a restart. */
  statistics: string;
}

/** A subscription as the target shows it. */
export interface ChainSubscription {
  /** Null when it cannot be told which of several of that name it is. */
  id: string | null;
  enabled: boolean;
  slot: string | null;
  worker: number | null;
  /** Changes with every change of the subscription's row in the catalog; null when it may not be read. */
  rowVersion: string | null;
  /** The transaction that `ALTER SUBSCRIPTION … SKIP` told to skip; null when none is set. */
  skip: string | null;
  /**
   * The apply worker itself made the last change of the row although it is enabled and without two-phase commit: it has
   * skipped. Null when the target does not remember who made that change, or when it can mean something else.
   */
  skipped: boolean | null;
  /** Durable progress of its origin; null before the first or when it may not be read. */
  applied: bigint | null;
  /** Its origin in memory; null while it has none. */
  origin: { remote: bigint; local: string } | null;
  /** New apply errors since the server counts; null before version 15. */
  errors: number | null;
  /** Application tables that were taken up without copying their rows, with what changes when they are taken up anew. */
  uncopied: readonly { table: string; version: string }[];
}

/** A replication slot as the source shows it. */
export interface ChainSlot {
  plugin: string | null;
  database: string | null;
  activePid: number | null;
  /** Why the slot is of no use any more; null while it is. */
  invalid: string | null;
  confirmed: bigint | null;
  /** Transactions that it has decoded, and since when that is counted; null before version 14. */
  decoded: { count: number; since: string } | null;
}

/** One look at the target of a logical pair. */
export interface TargetSight {
  server: ServerFacts;
  /** Whether this user may see origins at all. */
  originsReadable: boolean;
  version: number;
  subscriptions: ReadonlyMap<string, ChainSubscription>;
}

/** One look at the source of a logical pair, made after the one at the target. */
export interface SourceSight {
  server: ServerFacts;
  slots: ReadonlyMap<string, ChainSlot>;
}

/** What a flow was like at the last look, in this run of the collector. */
export interface FlowTrace {
  /** A slot of that name was seen. */
  hadSlot: boolean;
  /** Looks in a row at which the slot was missing. */
  missing: number;
  /** Since which look nothing can have moved the flow: disabled, no worker, slot unused. Null while something can. */
  idleSince: number | null;
  look: number;
  /** The version of the subscription's row; null when it may not be read. */
  rowVersion: string | null;
}

/** What the collector knows of its own looks. */
export interface Looks {
  /** Changes when looks were so far apart that something may have been done to a flow in between and be over. */
  watch: string;
  /** Flows whose apply fails again and again at the same position. */
  stuck: ReadonlySet<string>;
}

/** Names that clauses and remedies are made of. */
export interface ChainNames {
  from: string;
  to: string;
  /** Quoted. */
  fromUser: string;
  toUser: string;
  /** Of this run of the collector. */
  run: string;
}

/** Facts of a link, or why there are none. */
export type ChainVerdict = { facts: ChainFacts; fault: null } | { facts: null; fault: string };

const NO_TRACE: FlowTrace = { hadSlot: false, missing: 0, idleSince: null, look: 0, rowVersion: null };

/** Collects the facts of one look, part by part. */
class FactsBuilder {
  readonly identities: Identity[] = [];
  readonly positions: RisingPosition[] = [];
  readonly driven: DrivenPosition[] = [];
  readonly counters: Counter[] = [];
  readonly guarded: Guarded[] = [];
  readonly flaws: Flaw[] = [];
  readonly broken: string[] = [];
}

/** Judges one look at a link by logical replication; answers the facts and the traces for the next look. */
export function judgeLogicalChain(
  names: ChainNames,
  flows: readonly string[],
  target: TargetSight,
  source: SourceSight,
  traces: ReadonlyMap<string, FlowTrace>,
  looks: Looks,
): { verdict: ChainVerdict; traces: Map<string, FlowTrace> } {
  const facts = new FactsBuilder();
  const next = new Map(traces);
  const fault = addServers(facts, names, source.server, target.server) ?? originFault(names, target);
  if (fault !== null) return { verdict: { facts: null, fault }, traces: next };
  for (const flow of flows) {
    const subscription = target.subscriptions.get(flow);
    if (subscription === undefined) {
      const reason = `${flow}: no subscription of this name in the database of ${names.to}`;
      return { verdict: { facts: null, fault: reason }, traces: next };
    }
    if (subscription.id === null) {
      const grant = `GRANT SELECT (oid, xmin) ON pg_catalog.pg_subscription TO ${names.toUser}`;
      const reason = `several databases of ${names.to} have a subscription ${flow}: ${grant}`;
      return { verdict: { facts: null, fault: reason }, traces: next };
    }
    const before = traces.get(flow) ?? NO_TRACE;
    addHandling(facts, names, flow, subscription, before, looks, target.version);
    next.set(flow, addFlow(facts, names, flow, { target, source }, subscription, before));
  }
  return { verdict: { facts, fault: null }, traces: next };
}

function originFault(names: ChainNames, target: TargetSight): string | null {
  if (target.originsReadable) return null;
  const remedy =
    target.version >= 140000
      ? `GRANT EXECUTE ON FUNCTION pg_catalog.pg_show_replication_origin_status() TO ${names.toUser}`
      : 'let a superuser run what `lockgate grants` prints (the function lockgate.origin_status), because version 13 shows origins to superusers only';
  return `the origins of subscriptions on ${names.to} may not be read: ${remedy}`;
}

/** Both servers' identities and the source's position; answers what cannot be read. */
function addServers(facts: FactsBuilder, names: ChainNames, source: ServerFacts, target: ServerFacts): string | null {
  for (const [key, name, user, server] of [
    ['source', names.from, names.fromUser, source],
    ['target', names.to, names.toUser, target],
  ] as const) {
    if (server.systemIdentifier === null) {
      const grant = `GRANT EXECUTE ON FUNCTION pg_catalog.pg_control_system() TO ${user}`;
      return `the system identifier of ${name} may not be read: ${grant}`;
    }
    const system = { key: `${key}.system`, what: `the system identifier of ${name}`, value: server.systemIdentifier };
    facts.identities.push(system);
    if (server.timeline === null) continue;
    // Another timeline: promoted, failed over, or restored to a point in time.
    facts.identities.push({ key: `${key}.timeline`, what: `the timeline of ${name}`, value: String(server.timeline) });
  }
  facts.positions.push({
    key: 'source',
    what: `the WAL of ${names.from}`,
    position: { kind: 'lsn', lsn: source.position },
    // A standby that starts again replays from its last restart point on.
    ...(source.inRecovery ? { life: `standby ${source.startedAt} ${source.statistics}` } : {}),
  });
  return null;
}

function addFlow(
  facts: FactsBuilder,
  names: ChainNames,
  flow: string,
  { target, source }: { target: TargetSight; source: SourceSight },
  subscription: ChainSubscription,
  before: FlowTrace,
): FlowTrace {
  const { from, to } = names;
  const look = before.look + 1;
  const { rowVersion } = subscription;
  const key = `flow.${flow}`;
  const id = subscription.id ?? '';
  facts.identities.push(
    { key: `${key}.subscription`, what: `the subscription ${flow} on ${to} was made anew: its id`, value: id },
    { key: `${key}.slot`, what: `the slot of ${flow}`, value: subscription.slot ?? '(none)' },
  );
  addSubscription(facts, names, flow, subscription);

  const slot = subscription.slot === null ? null : (source.slots.get(subscription.slot) ?? null);
  const idle = !subscription.enabled && subscription.worker === null && (slot === null || slot.activePid === null);
  const idleSince = idle ? (before.idleSince ?? look) : null;
  const asleep = idleSince === null ? null : asleepBy(names, subscription, idleSince);
  if (subscription.origin !== null) {
    const { remote, local } = subscription.origin;
    const position = { kind: 'lsn', lsn: remote } as const;
    const what = `the position that ${flow} on ${to} has applied`;
    const life = `${id} ${target.server.startedAt} ${target.server.statistics}`;
    const still = 'nothing was applied in between';
    facts.driven.push({ key: `${key}.origin`, what, position, driver: local, life, still });
    if (asleep !== null) facts.driven.push({ key: `${key}.origin.idle`, what, position, ...asleep });
    if (remote > source.server.end) {
      facts.broken.push(
        `${flow} on ${to} stands at a position beyond the WAL of ${from}: it was moved by hand, or ${from} has gone back (restore, failover)`,
      );
    }
  }
  if (subscription.slot === null) return { hadSlot: before.hadSlot, missing: 0, idleSince, look, rowVersion };
  const wasThere = before.hadSlot || (subscription.origin?.remote ?? 0n) > 0n;
  if (slot === null) {
    const missing = before.missing + 1;
    // Once may be the subscription being dropped, slot first; and a subscription may be made before its slot.
    if (missing > 1 && wasThere) facts.broken.push(`slot ${subscription.slot} of ${flow} is missing on ${from}`);
    return { hadSlot: before.hadSlot, missing, idleSince, look, rowVersion };
  }
  addSlot(facts, names, flow, id, subscription.slot, slot, source.server, asleep);
  return { hadSlot: true, missing: 0, idleSince, look, rowVersion };
}

function addSubscription(facts: FactsBuilder, names: ChainNames, flow: string, s: ChainSubscription): void {
  const key = `flow.${flow}`;
  const id = s.id ?? '';
  if (s.applied !== null) {
    facts.positions.push({
      key: `${key}.applied`,
      what: `the position that ${flow} on ${names.to} has durably applied`,
      position: { kind: 'lsn', lsn: s.applied },
      // Another subscription begins anew, which is another break.
      life: id,
    });
  }
  facts.flaws.push({
    key: `${key}.uncopied`,
    what: `${flow} on ${names.to} has taken up, without copying their rows,`,
    members: s.uncopied.map(({ table, version }) => ({ id: `${id} ${table} ${version}`, name: table })),
  });
  if (s.skip !== null) {
    facts.broken.push(`ALTER SUBSCRIPTION ${flow} SKIP was set on ${names.to}, to skip the transaction at ${s.skip}`);
  }
  facts.flaws.push({
    key: `${key}.skipped`,
    what: `${flow} on ${names.to} has skipped a transaction (ALTER SUBSCRIPTION … SKIP), by its row`,
    members:
      s.skipped === true && s.rowVersion !== null
        ? [{ id: `${id}/${s.rowVersion}`, name: `${id}/${s.rowVersion}` }]
        : [],
  });
}

/**
 * Where nothing is left of what was done to a flow, what counts is that someone handled it: while nobody looked it may
 * have been disabled, moved and enabled again, and while its apply was failing it may have been told to skip.
 */
function addHandling(
  facts: FactsBuilder,
  { to }: ChainNames,
  flow: string,
  { id, rowVersion, enabled, skipped }: ChainSubscription,
  before: FlowTrace,
  { watch, stuck }: Looks,
  version: number,
): void {
  if (rowVersion === null) return;
  facts.guarded.push({
    key: `flow.${flow}.row`,
    unwatched: `the subscription ${flow} on ${to} was altered while lockgate was not looking: it may have been moved, or told to skip changes`,
    value: rowVersion,
    watch,
    life: id ?? '',
  });
  const altered = before.rowVersion !== null && before.rowVersion !== rowVersion;
  if (version < 150000 || !altered || !enabled || skipped !== null || !stuck.has(flow)) return;
  facts.broken.push(
    `the subscription ${flow} on ${to} was altered while its apply was failing: it may have been told to skip a transaction (only with track_commit_timestamp = on does ${to} tell)`,
  );
}

function addSlot(
  facts: FactsBuilder,
  names: ChainNames,
  flow: string,
  subscription: string,
  name: string,
  slot: ChainSlot,
  server: ServerFacts,
  asleep: Pick<DrivenPosition, 'driver' | 'life' | 'still'> | null,
): void {
  const key = `flow.${flow}.slot`;
  const { from } = names;
  const kind = `${slot.plugin ?? 'none'} in database ${slot.database ?? '(none)'}`;
  facts.identities.push({ key: `${key}.kind`, what: `what slot ${name} on ${from} decodes`, value: kind });
  if (slot.invalid !== null) facts.broken.push(`slot ${name} on ${from} is of no use any more: ${slot.invalid}`);
  if (slot.decoded !== null) {
    facts.counters.push({
      key: `${key}.decoded`,
      fallen: `slot ${name} on ${from} was made anew: its statistics began again`,
      value: slot.decoded.count,
      life: `${subscription} ${server.statistics} ${slot.decoded.since}`,
    });
  }
  if (slot.confirmed === null || asleep === null) return;
  facts.driven.push({
    key: `${key}.idle`,
    what: `the position of slot ${name} on ${from}`,
    position: { kind: 'lsn', lsn: slot.confirmed },
    ...asleep,
  });
}

/**
 * What shows that a flow was asleep between two looks: its row in the catalog has not changed, so that it has been
 * disabled all the time, even while nobody looked; where the row may not be read, that every look found it asleep.
 */
function asleepBy(
  names: ChainNames,
  { id, rowVersion }: ChainSubscription,
  idleSince: number,
): Pick<DrivenPosition, 'driver' | 'life' | 'still'> {
  const still = 'its subscription was disabled all the time';
  if (rowVersion !== null) return { driver: rowVersion, life: id ?? '', still };
  return { driver: String(idleSince), life: `${id ?? ''} ${names.run}`, still };
}

/** Judges one look at a link by physical replication. */
export function judgePhysicalChain(names: ChainNames, source: ServerFacts, target: ServerFacts): ChainVerdict {
  const facts = new FactsBuilder();
  const fault = addServers(facts, names, source, target);
  if (fault !== null) return { facts: null, fault };
  const { from, to } = names;
  if (source.systemIdentifier !== target.systemIdentifier) {
    facts.broken.push(`${to} is no copy of ${from}: their system identifiers differ`);
  }
  if (!target.inRecovery) facts.broken.push(`${to} is no standby of ${from} any more: it has been promoted`);
  else {
    facts.positions.push({
      key: 'target',
      what: `the position that ${to} has replayed`,
      position: { kind: 'lsn', lsn: target.position },
      life: `${target.startedAt} ${target.statistics}`,
    });
  }
  return { facts, fault: null };
}

/** A clause for two sessions of one side that lead to different servers; null when they agree. */
export function disagreement(name: string, a: ServerFacts, b: ServerFacts): string | null {
  const same =
    a.systemIdentifier === b.systemIdentifier && a.inRecovery === b.inRecovery && a.startedAt === b.startedAt;
  return same ? null : `connections to ${name} lead to different servers at the same time (${textOf(a)}; ${textOf(b)})`;
}

function textOf(s: ServerFacts): string {
  return `system ${s.systemIdentifier ?? 'unknown'}, ${s.inRecovery ? 'standby' : 'primary'} since ${s.startedAt} at ${formatLsn(s.position)}`;
}
