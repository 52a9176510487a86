import type { AppliedState, RunningState } from './flow-state.js';
import { monitorGrant } from './flow-state.js';
import { formatLsn } from '../../daemon/core/position.js';

/**
 * What a standby and its primary look like at one moment, judged. Pure: the facts come from two queries.
 *
 * A standby replays only WAL that it has flushed to its own disk (or fetched from an archive, whence it can fetch it
 * again), so what it has replayed is durable, and there is no other progress to compare it with.
 */

/** The one flow of a physical link. */
export const STANDBY_FLOW = 'standby';

/** The WAL receiver as the standby shows it. */
export interface ReceiverFacts {
  /** The server shows this user more than its process id. */
  visible: boolean;
  status: string | null;
  timeline: number | null;
  slot: string | null;
  /** Application name under which its walsender appears on the other side. */
  applicationName: string | null;
  /** `host:port` it receives from. */
  sender: string | null;
}

/** The target of a physical link. */
export interface StandbyFacts {
  inRecovery: boolean;
  systemIdentifier: string | null;
  /** End of the last record replayed; null unless in recovery. */
  replayed: bigint | null;
  /** Null when there is no receiver process. */
  receiver: ReceiverFacts | null;
}

/** A walsender of the source that serves no logical slot. */
export interface WalsenderFacts {
  visible: boolean;
  applicationName: string | null;
  slot: string | null;
  state: string | null;
  writeLag: number | null;
  replayLag: number | null;
}

/** The source of a physical link. */
export interface PrimaryFacts {
  systemIdentifier: string | null;
  /** Null while the source is itself in recovery. */
  timeline: number | null;
  /** The end of what walsenders may send. */
  sendable: bigint;
  walsenders: readonly WalsenderFacts[];
}

/** Names that reasons and remedies are made of. */
export interface PhysicalNames {
  from: string;
  to: string;
  fromUser: string;
  toUser: string;
}

/** Which walsender is the standby's: exactly one, none, several that cannot be told apart, or it cannot be looked for. */
export type Match =
  | { kind: 'one'; walsender: WalsenderFacts }
  | { kind: 'none'; by: string }
  | { kind: 'several'; by: string; walsenders: readonly WalsenderFacts[] }
  | { kind: 'untold' };

/** Finds the walsender that serves a receiver: by the slot that both name, else by the application name. */
export function matchWalsender(receiver: ReceiverFacts, walsenders: readonly WalsenderFacts[]): Match {
  if (!receiver.visible) return { kind: 'untold' };
  const [by, found] =
    receiver.slot !== null
      ? [`slot ${receiver.slot}`, walsenders.filter((each) => each.slot === receiver.slot)]
      : receiver.applicationName !== null
        ? [
            `application name ${receiver.applicationName}`,
            walsenders.filter((each) => each.slot === null && each.applicationName === receiver.applicationName),
          ]
        : [null, []];
  if (by === null) return { kind: 'untold' };
  const [first, second] = found;
  if (first === undefined) return { kind: 'none', by };
  return second === undefined ? { kind: 'one', walsender: first } : { kind: 'several', by, walsenders: found };
}

/** Judges whether streaming runs: a receiver that streams, and a walsender of the source that streams to it. */
export function judgeStreaming(names: PhysicalNames, standby: StandbyFacts, primary: PrimaryFacts): RunningState {
  const { from, to } = names;
  const stopped = (reason: string): RunningState => ({ value: 0, reason });
  const untold = (reason: string): RunningState => ({ value: null, reason });

  if (!standby.inRecovery) return stopped(`${to} is no longer a standby: it has been promoted`);
  const foreign = identityFault(names, standby, primary);
  if (foreign !== null) return stopped(foreign);
  const { receiver } = standby;
  if (receiver === null) {
    return stopped(`no WAL receiver on ${to}: at best it restores WAL from an archive; see that server's log`);
  }
  if (!receiver.visible) return untold(`the WAL receiver on ${to} is hidden; ${monitorGrant(names.toUser)}`);
  if (receiver.status !== 'streaming') {
    return stopped(`the WAL receiver on ${to} is in state ${receiver.status ?? 'unknown'}`);
  }
  const match = matchWalsender(receiver, primary.walsenders);
  switch (match.kind) {
    case 'one':
      return stateOf(match.walsender, names);
    case 'none':
      return untold(
        `${to} streams from ${receiver.sender ?? 'an unknown address'}, but ${from} has no walsender with its ${match.by}: ` +
          'a cascade, or another server than the configured source',
      );
    case 'several': {
      const states = match.walsenders.map((each) => stateOf(each, names));
      const [first] = states;
      if (first !== undefined && states.every((each) => each.value === first.value)) return first;
      return untold(
        `${from} has ${String(match.walsenders.length)} walsenders with ${match.by}: give the standby a slot (primary_slot_name)`,
      );
    }
    case 'untold':
      return untold(`the WAL receiver on ${to} names neither a slot nor an application name`);
  }
}

function stateOf(walsender: WalsenderFacts, names: PhysicalNames): RunningState {
  if (!walsender.visible) {
    return {
      value: null,
      reason: `the state of the walsender on ${names.from} is hidden; ${monitorGrant(names.fromUser)}`,
    };
  }
  if (walsender.state === 'streaming') return { value: 1, reason: null };
  if (walsender.state === 'catchup') return { value: 1, reason: 'catching up after a reconnect' };
  return { value: 0, reason: `the walsender on ${names.from} is in state ${walsender.state ?? 'unknown'}` };
}

/** How far the standby has durably applied, or why that cannot be told. */
export function judgeReplayed(names: PhysicalNames, standby: StandbyFacts, primary: PrimaryFacts): AppliedState {
  const { from, to } = names;
  const fault = (reason: string): AppliedState => ({ lsn: null, reason });
  if (!standby.inRecovery) return fault(`${to} is no longer a standby: it has been promoted`);
  const foreign = identityFault(names, standby, primary);
  if (foreign !== null) return fault(foreign);
  if (standby.systemIdentifier === null || primary.systemIdentifier === null) {
    const proven = standby.receiver !== null && matchWalsender(standby.receiver, primary.walsenders).kind === 'one';
    if (!proven) {
      const [name, user] = primary.systemIdentifier === null ? [from, names.fromUser] : [to, names.toUser];
      return fault(
        `the system identifier of ${name} cannot be read, so that its WAL may be another server's; GRANT EXECUTE ON FUNCTION pg_catalog.pg_control_system() TO ${user}`,
      );
    }
  }
  if (standby.replayed === null) return fault(`${to} has not replayed anything yet`);
  if (standby.replayed > primary.sendable) {
    return fault(
      `${to} has replayed ${formatLsn(standby.replayed)}, but the WAL of ${from} ends at ${formatLsn(primary.sendable)}: ` +
        'the source has gone back (restore, failover), or the standby follows another server',
    );
  }
  return { lsn: standby.replayed, reason: null };
}

/** Why the two sides are not of one history; null when nothing speaks against it. */
function identityFault(names: PhysicalNames, standby: StandbyFacts, primary: PrimaryFacts): string | null {
  const [ours, theirs] = [standby.systemIdentifier, primary.systemIdentifier];
  if (ours !== null && theirs !== null && ours !== theirs) {
    return `${names.to} (system identifier ${ours}) is no standby of ${names.from} (${theirs})`;
  }
  const timeline = standby.receiver?.timeline ?? null;
  if (timeline !== null && primary.timeline !== null && timeline !== primary.timeline) {
    return `${names.to} receives timeline ${String(timeline)}, but ${names.from} writes timeline ${String(primary.timeline)}`;
  }
  return null;
}

/** The application name that a connection string gives its walsender; null when it gives none. */
export function applicationNameOf(conninfo: string | null): string | null {
  if (conninfo === null) return null;
  const value = (key: string): string | null => {
    const found = new RegExp(`(?:^|\\s)${key}=('(?:[^'\\\\]|\\\\.)*'|\\S+)`).exec(conninfo)?.[1];
    if (found === undefined) return null;
    return found.startsWith("'") ? found.slice(1, -1).replaceAll(/\\(.)/g, '$1') : found;
  };
  return value('application_name') ?? value('fallback_application_name');
}
