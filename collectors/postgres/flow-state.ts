import { formatLsn } from '../../daemon/core/position.js';

/**
 * What one subscription and its slot look like at one moment, judged. Pure: the facts come from two queries, and nothing
 * here asks anything.
 */

/** A subscription as the target shows it. */
export interface SubscriptionFacts {
  /** Null when it cannot be told which of several of that name (in other databases) it is: version 13 without a grant. */
  id: string | null;
  enabled: boolean;
  /** Null when the subscription was told to have none. */
  slot: string | null;
  /** The main apply worker's process. */
  worker: number | null;
  /** How far that worker has received from its walsender; null while there is none, or it has not received anything. */
  received: bigint | null;
  /** Whether this user may ask for the origin's progress at all. */
  originReadable: boolean;
  /** Durable progress of its replication origin; null when it has none yet or cannot be read. */
  origin: bigint | null;
}

/** A replication slot as the source shows it, with the walsender that serves it. */
export interface SlotFacts {
  database: string | null;
  ours: boolean;
  plugin: string | null;
  /** Null when no process uses the slot. */
  activePid: number | null;
  walStatus: string | null;
  /** The process that uses the slot is a walsender and not, say, a session that reads the slot by SQL. */
  walsender: boolean;
  /** The server shows this user more of a walsender than its process id. */
  visible: boolean;
  state: string | null;
  /** What the walsender's client reported as flushed; null when it has not reported yet, or is not shown. */
  flush: bigint | null;
  /** Delays that the server measured, in seconds; null when idle or not shown. */
  writeLag: number | null;
  replayLag: number | null;
}

/** What a flow's position was known to be before; it belongs to one subscription id, one slot and one history of the source. */
export interface FlowMemory {
  key: string;
  /** A walsender has been seen to serve the slot, so that the subscription follows this source. */
  served: boolean;
  /** The highest position that a walsender reported as flushed. */
  heard: bigint | null;
  /** The last progress of the origin. */
  origin: bigint | null;
  /** Up to here its positions may be of another history of the source than the present one; null when they cannot. */
  foreign: bigint | null;
}

/** How far a flow has applied, or why that cannot be told. */
export type AppliedState = { lsn: bigint; reason: null } | { lsn: null; reason: string };

/** Whether the machinery of a flow runs: 1, 0 or null when it cannot be told; `reason` also carries remarks. */
export interface RunningState {
  value: 0 | 1 | null;
  reason: string | null;
}

/** Names that reasons and remedies are made of. */
export interface FlowNames {
  flow: string;
  from: string;
  to: string;
  fromUser: string;
  toUser: string;
  toVersion: number;
}

/** What makes the columns of a walsender readable: the same that setup grants (pg_monitor has it too, and more). */
export function monitorGrant(user: string): string {
  return `GRANT pg_read_all_stats TO ${user}`;
}

/** What makes the progress of a replication origin readable, by the target's version. */
export function originGrant(user: string, version: number): string {
  return version >= 140000
    ? `GRANT EXECUTE ON FUNCTION pg_catalog.pg_replication_origin_progress(text, boolean) TO ${user}`
    : 'let a superuser run what `lockgate grants` prints (the function lockgate.origin_progress), because version 13 shows origins to superusers only';
}

/** Judges whether a flow's machinery runs; `subscription` or `slot` null means that there is none. */
export function judgeRunning(
  names: FlowNames,
  targetInRecovery: boolean,
  subscription: SubscriptionFacts | null,
  slot: SlotFacts | null,
): RunningState {
  const { flow, from, to } = names;
  const stopped = (reason: string): RunningState => ({ value: 0, reason: `${flow}: ${reason}` });
  const untold = (reason: string): RunningState => ({ value: null, reason: `${flow}: ${reason}` });

  if (targetInRecovery) return stopped(`${to} is in recovery, where subscriptions do not run`);
  if (subscription === null) return stopped(`no subscription of this name in the database of ${to}`);
  if (!subscription.enabled) return stopped(`the subscription is disabled on ${to}`);
  if (subscription.slot === null) return stopped('the subscription has no slot (slot_name = NONE)');
  const name = subscription.slot;
  if (slot === null) return stopped(`slot ${name} does not exist on ${from}`);
  if (!slot.ours) return stopped(`slot ${name} on ${from} belongs to database ${slot.database ?? '(none)'}`);
  if (slot.walStatus === 'lost') return stopped(`slot ${name} on ${from} has lost WAL that it needs`);
  if (subscription.id !== null && subscription.worker === null) {
    return stopped(`the subscription has no apply worker on ${to}; see that server's log`);
  }
  if (slot.activePid === null) return stopped(`slot ${name} on ${from} is not in use: no walsender serves it`);
  if (!slot.walsender) return stopped(`slot ${name} on ${from} is in use by a process that is no walsender`);
  if (!slot.visible) {
    return untold(`the state of the walsender on ${from} is hidden; ${monitorGrant(names.fromUser)}`);
  }
  if (subscription.id === null) return untold(ambiguous(names));
  if (subscription.received === null) {
    return stopped(`its apply worker on ${to} has received nothing: it has just started, or ${takenOver(name, names)}`);
  }
  switch (slot.state) {
    case 'streaming':
      return { value: 1, reason: null };
    case 'catchup':
      // It sends; that it is behind is what lag says.
      return { value: 1, reason: `${flow}: catching up after a reconnect` };
    default:
      return stopped(`the walsender of slot ${name} on ${from} is in state ${slot.state ?? 'unknown'}`);
  }
}

function takenOver(slot: string, { from, to }: FlowNames): string {
  return `another subscriber than ${to} (a copy of it?) uses slot ${slot} on ${from}`;
}

function ambiguous({ to, toUser }: FlowNames): string {
  return `several databases of ${to} have a subscription of this name; GRANT SELECT (oid) ON pg_catalog.pg_subscription TO ${toUser}`;
}

/**
 * The greater of the target's durable origin progress and what the slot's walsender reports as flushed, with the memory
 * to judge the next look by. Both are lower bounds of the truth. An idle subscription's origin stays behind what its
 * walsender reported, so when the walsender goes away, what it had reported goes on counting for as long as the origin
 * does not go back (that would be a target restored to an earlier state).
 *
 * Slot names do not say who uses a slot: a copy of the target has the same subscription, and another server may have a
 * slot of the same name. So a walsender's report counts only while the subscription's own worker receives, and no
 * further than that worker has received.
 */
export function judgeApplied(
  names: FlowNames,
  subscription: SubscriptionFacts | null,
  slot: SlotFacts | null,
  sourceIdentity: string,
  before: FlowMemory | null,
): { applied: AppliedState; memory: FlowMemory | null } {
  const { from, to } = names;
  const fault = (reason: string, memory: FlowMemory | null = null): ReturnType<typeof judgeApplied> => ({
    applied: { lsn: null, reason },
    memory,
  });
  if (subscription === null) return fault(`no subscription of this name in the database of ${to}`);
  if (subscription.slot === null) {
    return fault('the subscription has no slot, so that its positions cannot be tied to this source');
  }
  // Without its slot nothing says that the origin's positions are of this server's WAL.
  if (slot === null) return fault(`slot ${subscription.slot} does not exist on ${from}`, before);
  if (!slot.ours) {
    return fault(`slot ${subscription.slot} on ${from} belongs to database ${slot.database ?? '(none)'}`, before);
  }

  // Positions of another timeline of the source must not vouch for this one.
  const key = `${subscription.id ?? ''}/${subscription.slot}/${sourceIdentity}`;
  const old =
    before?.key === key
      ? before
      : { key, served: false, heard: null, origin: null, foreign: foreignOf(before, key, subscription) };
  if (subscription.id === null) return fault(ambiguous(names), old);
  const { received } = subscription;
  const own = slot.walsender && received !== null;
  const served = old.served || own;
  if (!served) {
    if (slot.walsender) return fault(`no worker receives for it; ${takenOver(subscription.slot, names)}`, old);
    return fault(
      `slot ${subscription.slot} on ${from} has not been in use since lockgate looks: nothing ties the subscription's position to this server`,
      old,
    );
  }
  const { foreign } = old;
  const flush = own ? lower(slot.flush, received) : null;
  if (subscription.originReadable) {
    const wentBack = old.origin !== null && (subscription.origin ?? 0n) < old.origin;
    const heard = higher(flush, wentBack ? null : old.heard);
    const memory = { key, served, heard, origin: subscription.origin, foreign };
    const lsn = higher(subscription.origin, heard);
    if (lsn !== null && foreign !== null && lsn <= foreign) return fault(otherHistory(lsn, names), memory);
    if (lsn !== null) return { applied: { lsn, reason: null }, memory };
    if (!slot.walsender) return fault('nothing has been applied yet, and no walsender serves its slot', memory);
    if (!slot.visible) {
      return fault(`nothing has been applied yet and the walsender is hidden; ${monitorGrant(names.fromUser)}`, memory);
    }
    return fault('the subscription has neither applied nor confirmed anything yet', memory);
  }

  // By the walsender alone.
  const memory = { key, served, heard: higher(flush, old.heard), origin: null, foreign };
  if (flush !== null && foreign !== null && flush <= foreign) return fault(otherHistory(flush, names), memory);
  if (flush === null) {
    const origin = `the progress of its origin on ${to} cannot be read (${originGrant(names.toUser, names.toVersion)})`;
    if (!slot.walsender) return fault(`no walsender serves its slot, and ${origin}`, memory);
    if (!own) return fault(`no worker receives for it (${takenOver(subscription.slot, names)}), and ${origin}`, memory);
    if (!slot.visible) {
      return fault(`the walsender on ${from} is hidden (${monitorGrant(names.fromUser)}), and ${origin}`, memory);
    }
    return fault(`its walsender has just connected and reports nothing yet, and ${origin}`, memory);
  }
  if (old.heard !== null && flush < old.heard) {
    // A worker that has just come back may report less than before; so does a target that was restored.
    return fault(
      `its walsender reports ${formatLsn(flush)}, less than ${formatLsn(old.heard)} before: it has just reconnected, or the target has gone back`,
      memory,
    );
  }
  return { applied: { lsn: flush, reason: null }, memory };
}

/**
 * What the target had applied when the source became another one (a failover, a restore) may be of WAL that is no longer
 * part of its history. It counts again only once something newer was applied.
 */
function foreignOf(before: FlowMemory | null, key: string, { id, slot, origin }: SubscriptionFacts): bigint | null {
  if (before === null || !before.key.startsWith(`${id ?? ''}/${slot ?? ''}/`)) return null;
  return before.key === key ? before.foreign : higher(origin, before.foreign);
}

function otherHistory(lsn: bigint, { from }: FlowNames): string {
  return `${formatLsn(lsn)} may be of another history of ${from}, which has failed over or was restored; nothing newer has been applied since`;
}

function lower(a: bigint | null, b: bigint | null): bigint | null {
  return a === null || b === null ? null : a < b ? a : b;
}

function higher(a: bigint | null, b: bigint | null): bigint | null {
  if (a === null) return b;
  return b === null || a > b ? a : b;
}

/** The worst of several flows: 0 beats unknown, unknown beats 1; the reasons of the worst (or all remarks) are joined. */
export function worstRunning(flows: readonly RunningState[]): RunningState {
  for (const value of [0, null, 1] as const) {
    const these = flows.filter((flow) => flow.value === value);
    if (these.length === 0) continue;
    const reasons = these.flatMap(({ reason }) => (reason === null ? [] : [reason]));
    return { value, reason: reasons.length === 0 ? null : reasons.join('; ') };
  }
  return { value: null, reason: 'the link has no flow' };
}

/** A delay of the worst walsender in seconds, or why there is none. */
export type Delay = { value: number; reason: null } | { value: null; reason: string };

/** Where the time goes, by what walsenders measured: on the way there and back, and from there to applied. */
export function judgeDelays(
  walsenders: readonly Pick<SlotFacts, 'visible' | 'writeLag' | 'replayLag'>[],
  fromUser: string,
): { transit: Delay; apply: Delay } {
  const none = (reason: string): { transit: Delay; apply: Delay } => ({
    transit: { value: null, reason },
    apply: { value: null, reason },
  });
  if (walsenders.length === 0) return none('no walsender is connected');
  const shown = walsenders.filter((each) => each.visible);
  if (shown.length === 0) return none(`the walsender is hidden; ${monitorGrant(fromUser)}`);
  const worst = (values: (number | null)[]): Delay => {
    const known = values.filter((value) => value !== null);
    if (known.length === 0) return { value: null, reason: 'idle: the server reports no delay' };
    return { value: Math.max(...known), reason: null };
  };
  return {
    transit: worst(shown.map((each) => each.writeLag)),
    apply: worst(
      shown.map(({ writeLag, replayLag }) => {
        return writeLag === null || replayLag === null ? null : Math.max(0, replayLag - writeLag);
      }),
    ),
  };
}
