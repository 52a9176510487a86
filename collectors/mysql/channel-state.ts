/**
 * What a replica's status says of a link's channel: whether the machinery runs, and how far it has applied. Pure: the
 * collector asks, this judges.
 */
import { containsGtids, gtidsOf, type GtidSet } from '../../daemon/core/gtid.js';
import { reached, type Position } from '../../daemon/core/position.js';
import type { ServerIdentity, SourceFacts, TargetFacts } from './position-views.js';
import type { ReplicaChannel } from './replica-status.js';

/** How the channel without a name is called in the configuration. */
export const DEFAULT_CHANNEL = 'default channel';

/** The server that a link begins at, as its replicas name it. */
export interface SourceIdentity extends ServerIdentity {
  /** As the configuration names it. */
  readonly name: string;
}

/** A value with what people should know about it. */
export interface Judged {
  readonly value: number | null;
  readonly reason: string | null;
}

/** The channel that a flow of the configuration names; null when the replica has none of that name. */
export function channelOfFlow(
  flow: string,
  channels: readonly ReplicaChannel[],
  source: SourceIdentity,
): ReplicaChannel | null {
  const name = flow === DEFAULT_CHANNEL ? '' : flow;
  const named = channels.find((c) => c.channel === name);
  if (named !== undefined || name !== '') return named ?? null;
  // Nobody named a channel: then the only one that comes from this source is meant.
  const own = channels.filter((c) => isFrom(c, source));
  return own.length === 1 ? (own[0] ?? null) : null;
}

/** Whether a channel replicates from this very server. */
export function isFrom(channel: ReplicaChannel, source: ServerIdentity): boolean {
  if (source.uuid !== null && channel.sourceUuid !== null) return channel.sourceUuid === source.uuid.toLowerCase();
  return channel.sourceServerId === source.serverId;
}

/** Whether the machinery of one flow runs: 1 or 0, with the server's own words. */
export function judgeRunning(
  flow: string,
  target: string,
  channels: readonly ReplicaChannel[],
  source: SourceIdentity,
): Judged {
  if (channels.length === 0) {
    return { value: 0, reason: `${target} is no replica: its status shows no channel (detached, or never attached)` };
  }
  const channel = channelOfFlow(flow, channels, source);
  if (channel === null) {
    const there = channels.map((c) => nameOf(c)).join(', ');
    return { value: 0, reason: `${target} has no channel of this name: it has ${there}` };
  }
  const faults: string[] = [];
  if (channel.sql !== 'Yes') faults.push(`the SQL thread is stopped${said(channel.sqlErrno, channel.sqlError)}`);
  if (channel.io === 'Connecting') {
    faults.push(`the IO thread cannot connect to ${channel.sourceHost}${said(channel.ioErrno, channel.ioError)}`);
  } else if (channel.io !== 'Yes') {
    faults.push(`the IO thread is stopped${said(channel.ioErrno, channel.ioError)}`);
  }
  if (faults.length > 0) return { value: 0, reason: `${nameOf(channel)} on ${target}: ${faults.join('; ')}` };
  if (channel.sourceServerId !== 0 && !isFrom(channel, source)) {
    return {
      value: 0,
      reason:
        `${nameOf(channel)} on ${target} replicates from ${channel.sourceHost}:${channel.sourcePort} ` +
        `(server id ${channel.sourceServerId}), which is not ${source.name}`,
    };
  }
  const remark = channel.delay > 0 ? `it is delayed on purpose by ${channel.delay} s (SQL_Delay)` : null;
  return { value: 1, reason: remark };
}

/** How far one flow has applied, or why that cannot be told. */
export function judgeApplied(
  flow: string,
  target: string,
  channels: readonly ReplicaChannel[],
  source: SourceIdentity,
  wanted: Position | null,
  executed: GtidSet | null,
): { position: Position } | { position: null; reason: string } {
  const channel = channelOfFlow(flow, channels, source);
  if (wanted?.kind === 'gtid') {
    // The set says which transactions are there, whoever brought them; without a channel nothing will bring more, which
    // `running` says.
    if (executed === null) return { position: null, reason: `${target} gives its transactions no GTIDs` };
    return { position: { kind: 'gtid', set: executed } };
  }
  if (channel === null) return { position: null, reason: `${target} has no such channel` };
  if (channel.executedFile === '') {
    return { position: null, reason: `${nameOf(channel)} on ${target} has not said yet how far it has applied` };
  }
  if (!isFrom(channel, source)) {
    return {
      position: null,
      reason: `${nameOf(channel)} on ${target} replicates from another server than ${source.name}`,
    };
  }
  const server = source.uuid ?? String(source.serverId);
  return {
    position: { kind: 'binlog', server, file: channel.executedFile, offset: channel.executedOffset },
  };
}

/**
 * Why positions prove nothing, when the target had applied transactions that the source, asked later, does not have: its
 * binlog was reset, or it lost its newest transactions in a crash or a restore. It then gives their numbers to other
 * transactions, which the target seems to have long before they come. Null when there is no such sign.
 */
export function lostBySource(target: TargetFacts, source: SourceFacts, name: string): string | null {
  const { identity, gtids, position } = source;
  const reason = `the target has applied transactions that ${name} does not have (a reset binlog, a crash or a restore): compare the data`;
  if (gtids !== null && target.executed !== null) return lacks(gtids, target.executed, identity) ? reason : null;
  if (position?.kind !== 'binlog') return null;
  const beyond = target.channels.some((c) => {
    if (!isFrom(c, identity) || c.executedFile === '') return false;
    const { server } = position;
    const applied: Position = { kind: 'binlog', server, file: c.executedFile, offset: c.executedOffset };
    return reached(applied, position) && !reached(position, applied);
  });
  return beyond ? reason : null;
}

/** Whether a server lacks some of its own transactions among those that were executed elsewhere. */
function lacks(has: GtidSet, executed: GtidSet, { uuid, serverId }: ServerIdentity): boolean {
  if (has.flavour === 'mysql' && executed.flavour === 'mysql') {
    return uuid !== null && !containsGtids(has, gtidsOf(executed, uuid));
  }
  if (has.flavour !== 'mariadb' || executed.flavour !== 'mariadb') return false;
  return [...executed.domains].some(
    ([domain, { server, seq }]) => server === serverId && (has.domains.get(domain)?.seq ?? 0n) < seq,
  );
}

/** Everything the source has is on the target; null when GTIDs do not tell. */
export function isCaughtUp(head: GtidSet | null, executed: GtidSet | null): boolean | null {
  return head === null || executed === null ? null : containsGtids(executed, head);
}

/** An error that a channel shows now, in a form that changes when another one takes its place; null when it shows none. */
export function errorKeyOf(channel: ReplicaChannel): string | null {
  // A connection that is being made anew is no error of applying.
  const io = channel.io === 'Connecting' ? 0 : channel.ioErrno;
  if (channel.sqlErrno === 0 && io === 0) return null;
  return `${channel.sqlErrno} ${channel.sqlError} ${io} ${io === 0 ? '' : channel.ioError} ${channel.executedFile}:${channel.executedOffset}`;
}

/** How a channel is called in messages. */
export function nameOf({ channel }: ReplicaChannel): string {
  return channel === '' ? 'the default channel' : `channel ${channel}`;
}

function said(errno: number, error: string): string {
  if (errno === 0) return '';
  return ` by error ${errno}: ${error.length > 300 ? `${error.slice(0, 300)}…` : error}`;
}
