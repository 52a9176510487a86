/**
 * What the two sides of a link by MySQL's own replication look like at one moment, turned into facts that the chain of
 * changes hangs on. Pure: the facts come from a few queries, and comparing them with what they were before is the core's
 * work, but for what only two looks in a row can show.
 *
 * A transaction that is left out shows in another place on each kind of server:
 * - MariaDB counts the groups of changes that it has applied, by whatever way: a place that moved further has left some out.
 * - MySQL with GTIDs: the target's own binlog names each transaction that was committed there in the source's name by
 *   someone who wanted it to be skipped, and `gtid_purged` grows with its oldest binlog standing still.
 * - MySQL without GTIDs keeps no trace. A place given by hand is seen while the applier stands still; a skip while
 *   somebody looks, which happens more often then.
 */
import type {
  ChainFacts,
  Counter,
  DrivenPosition,
  Guarded,
  Identity,
  RisingPosition,
} from '../../daemon/core/continuity.js';
import { containsGtids, isEmptyGtidSet, parseMariadbGtidSet, type GtidSet } from '../../daemon/core/gtid.js';
import type { Position } from '../../daemon/core/position.js';
import { channelOfFlow, isFrom, lostBySource, nameOf, type SourceIdentity } from './channel-state.js';
import type { ServerIdentity } from './position-views.js';
import type { ReplicaChannel } from './replica-status.js';

/** A server as one session shows it. */
export interface ChainServer {
  /** See `MysqlConnection.home`. */
  readonly home: string;
  readonly identity: ServerIdentity;
  readonly mariadb: boolean;
  /** See `readStart`. */
  readonly startedAt: string;
  /** A crash of its machine takes no transaction back that was seen. */
  readonly durable: boolean;
}

/** The source at one moment. */
export interface ChainSource {
  readonly server: ChainServer;
  readonly position: Position | null;
  /** MariaDB's `gtid_domain_id`; null on MySQL. */
  readonly domain: string | null;
}

/** A channel with what shows how it was handled. */
export interface ChainChannel extends ReplicaChannel {
  /** Groups of changes that it has applied since it was made (MariaDB); null elsewhere. */
  readonly groups: number | null;
  /** Events or groups that it is still told to skip. */
  readonly skipCounter: number;
}

/** The target at one moment. */
export interface ChainTarget {
  readonly server: ChainServer;
  readonly channels: readonly ChainChannel[];
  /** Everything that was applied there; null without GTIDs. */
  readonly executed: GtidSet | null;
  /** Nothing was applied between reading the channels and that (MariaDB). */
  readonly steady: boolean;
  /** The last number that it has given itself in each GTID domain, read after what was applied (MariaDB). */
  readonly own: ReadonlyMap<number, bigint>;
  /** What its own binlog lacks of that, and the oldest file of it; null where applied changes are not logged. */
  readonly purged: { readonly set: GtidSet; readonly oldest: string } | null;
  /** The end of its own binlog; null without one. */
  readonly head: { readonly file: string; readonly offset: number } | null;
  /** Replication is told to skip something when it starts next. */
  readonly skipping: boolean;
  /** `replica_skip_errors`, empty when there are none. */
  readonly skipErrors: string;
  readonly execMode: string;
  /** How often replication was started, changed and reset there since the server was started. */
  readonly handled: { readonly starts: number; readonly changes: number; readonly resets: number };
}

/** How many groups of changes were applied, and how far the position has come, where both fit each other. */
interface Level {
  readonly groups: number;
  readonly seqs: bigint;
  /** The domains that are left out, because the target's own changes come back in them; of the others, its last change there. */
  readonly returned: string;
}

/** What is remembered from one look to the next, in one run of the collector. */
export interface ChainTrace {
  readonly startedAt: string;
  readonly handled: ChainTarget['handled'];
  /** At the last look at which everything received was applied (MariaDB). */
  readonly level: (Level & Pick<ChainTarget['handled'], 'changes' | 'resets'>) | null;
  /** Delay of each channel, by its name; a channel that was not there has none. */
  readonly delays: ReadonlyMap<string, number>;
}

/** Names that clauses are made of, and what the collector knows of its own looks. */
export interface ChainNames {
  readonly from: string;
  readonly to: string;
  /** Changes when looks were so far apart that something may have been done and be over. */
  readonly watch: string;
}

/** Facts of a link, or why there are none. */
export type ChainVerdict = { facts: ChainFacts; fault: null } | { facts: null; fault: string };

/** Collects the facts of one look, part by part. */
class FactsBuilder {
  readonly identities: Identity[] = [];
  readonly positions: RisingPosition[] = [];
  readonly driven: DrivenPosition[] = [];
  readonly counters: Counter[] = [];
  readonly guarded: Guarded[] = [];
  readonly broken: string[] = [];
}

/** Judges one look at a link; `target` was asked before `source`. `injected` are transactions that were found to be empty. */
export function judgeChain(
  names: ChainNames,
  flows: readonly string[],
  target: ChainTarget,
  source: ChainSource,
  before: ChainTrace | null,
  injected: readonly string[],
): ChainVerdict {
  const { from, to } = names;
  const facts = new FactsBuilder();
  const identity: SourceIdentity = { name: from, ...source.server.identity };
  addServers(facts, names, target, source);
  const { channels, executed } = target;
  const seen = { identity: target.server.identity, channels, executed };
  const { position } = source;
  const gtids = position?.kind === 'gtid' ? position.set : null;
  const lost = lostBySource(seen, { identity: source.server.identity, position, gtids, head: null, files: [] }, from);
  if (lost !== null) facts.broken.push(lost);
  for (const flow of flows) {
    const channel = channelOfFlow(flow, channels, identity) as ChainChannel | null;
    if (channel === null) return { facts: null, fault: `there is no channel for ${flow} on ${to}` };
    addChannel(facts, names, flow, channel, target, identity);
    if (!target.server.mariadb && executed === null) addPlace(facts, names, flow, channel, target, identity, before);
  }
  addTarget(facts, names, target, before);
  for (const gtid of injected) {
    facts.broken.push(`the transaction ${gtid} was skipped on ${to}: somebody committed another one there in its name`);
  }
  return { facts, fault: null };
}

/** What the next look compares with. */
export function traceOf(target: ChainTarget, before: ChainTrace | null): ChainTrace {
  const sums = levelOf(target);
  const kept = before?.startedAt === target.server.startedAt ? before.level : null;
  return {
    startedAt: target.server.startedAt,
    handled: target.handled,
    level: sums === null ? kept : { ...sums, resets: target.handled.resets, changes: target.handled.changes },
    delays: new Map(target.channels.map((c) => [c.channel, c.delay])),
  };
}

/** Whether replication stands still or has been handled since the last look, so that something may be done to it now. */
export function isTroubled(target: ChainTarget, before: ChainTrace | null): boolean {
  if (before !== null && target.handled.starts !== before.handled.starts) return true;
  return target.channels.some((c) => c.sql !== 'Yes' || c.sqlErrno !== 0);
}

function addServers(facts: FactsBuilder, { from, to }: ChainNames, target: ChainTarget, source: ChainSource): void {
  facts.identities.push(
    { key: 'source.server', what: `the server of ${from}`, value: source.server.home },
    { key: 'target.server', what: `the server of ${to}`, value: target.server.home },
  );
  if (source.domain !== null) {
    facts.identities.push({ key: 'source.domain', what: `the GTID domain of ${from}`, value: source.domain });
  }
  if (source.position !== null) {
    facts.positions.push({
      key: 'source',
      what: `the binlog of ${from}`,
      position: source.position,
      ...lifeOf(source.server),
    });
  }
}

function addChannel(
  facts: FactsBuilder,
  { to }: ChainNames,
  flow: string,
  channel: ChainChannel,
  target: ChainTarget,
  source: SourceIdentity,
): void {
  const key = `flow.${flow}`;
  const name = nameOf(channel);
  const comesFrom = channel.sourceUuid ?? `server id ${channel.sourceServerId} at ${channel.sourceHost}:${channel.sourcePort}`; // prettier-ignore
  // Until it has connected a channel does not know.
  if (channel.sourceUuid !== null || (target.server.mariadb && channel.sourceServerId !== 0)) {
    facts.identities.push({ key: `${key}.source`, what: `what ${name} on ${to} replicates from`, value: comesFrom });
    if (!isFrom(channel, source)) {
      facts.broken.push(`${name} on ${to} replicates from another server than ${source.name} (${comesFrom})`);
    }
  }
  if (channel.skipCounter > 0) {
    facts.broken.push(`${name} on ${to} was told to skip changes (sql_slave_skip_counter)`);
  }
}

/** Without GTIDs nothing but the place tells what was applied. */
function addPlace(
  facts: FactsBuilder,
  { from, to }: ChainNames,
  flow: string,
  channel: ChainChannel,
  target: ChainTarget,
  source: SourceIdentity,
  before: ChainTrace | null,
): void {
  const name = nameOf(channel);
  const { startedAt } = target.server;
  const { starts, changes } = target.handled;
  if (channel.executedFile !== '') {
    const server = source.uuid ?? String(source.serverId);
    const position: Position = {
      kind: 'binlog',
      server,
      file: channel.executedFile,
      offset: channel.executedOffset,
    };
    const what = `the place in the binlog of ${from} that ${name} on ${to} has applied`;
    facts.positions.push({ key: `flow.${flow}.applied`, what, position, ...lifeOf(target.server) });
    if (channel.sql === 'No') {
      const still = 'its SQL thread stood still all the time';
      facts.driven.push({ key: `flow.${flow}.place`, what, position, driver: String(starts), life: startedAt, still });
    }
  }
  if (before === null || before.startedAt !== startedAt || changes <= before.handled.changes) return;
  // What was changed while it stood still is plain from the place; and a delay is all that was changed.
  if (starts === before.handled.starts) return;
  const delay = before.delays.get(channel.channel);
  if (delay !== undefined && delay !== channel.delay) return;
  facts.broken.push(
    delay === undefined
      ? `${name} on ${to} was made anew by file and position: nothing shows that it began where it had ended`
      : `${name} on ${to} was changed (CHANGE REPLICATION SOURCE TO) and started again between two looks: it may have been moved`,
  );
}

function addTarget(
  facts: FactsBuilder,
  { to, watch }: ChainNames,
  target: ChainTarget,
  before: ChainTrace | null,
): void {
  // prettier-ignore
  const { server, executed, purged, head, handled } = target;
  const { startedAt } = server;
  if (executed !== null) {
    facts.positions.push({
      key: 'target.applied',
      what: `what was applied on ${to}`,
      position: { kind: 'gtid', set: executed },
      ...lifeOf(server),
    });
  }
  if (purged !== null) {
    facts.driven.push({
      key: 'target.purged',
      what: `gtid_purged of ${to}`,
      position: { kind: 'gtid', set: purged.set },
      driver: purged.oldest,
      life: server.home,
      still: 'none of its binlogs was purged',
    });
  }
  if (head !== null && !server.mariadb) {
    facts.positions.push({
      key: 'target.log',
      what: `the binlog of ${to}`,
      position: { kind: 'binlog', server: server.identity.uuid ?? '', ...head },
      ...lifeOf(server),
    });
  }
  if (target.skipping) facts.broken.push(`replication on ${to} was told to skip changes (sql_slave_skip_counter)`);
  if (target.skipErrors !== '') {
    facts.broken.push(
      `${to} skips changes that fail (replica_skip_errors = ${target.skipErrors}): take that out and restart it`,
    );
  }
  if (target.execMode.toUpperCase() === 'IDEMPOTENT') {
    facts.broken.push(
      `${to} passes over rows that are missing or in the way (replica_exec_mode = IDEMPOTENT): set it to STRICT`,
    );
  }
  addLevel(facts, to, target, before);
  if (!server.mariadb) {
    facts.guarded.push({
      key: 'target.handled',
      unwatched: `replication on ${to} was stopped and started, or changed, while lockgate was not looking: it may have been moved, or told to skip changes`,
      value: `${handled.starts}/${handled.changes}`,
      watch,
      life: startedAt,
    });
  }
}

/** Where MariaDB has applied fewer groups of changes than its position has moved by, some were left out. */
function addLevel(facts: FactsBuilder, to: string, target: ChainTarget, before: ChainTrace | null): void {
  const now = levelOf(target);
  if (now === null) return;
  const { startedAt } = target.server;
  const { resets, changes } = target.handled;
  const what = `the position of ${to} moved further than what was applied there`;
  facts.counters.push({
    key: 'target.level',
    fallen: `${what}: changes were skipped (sql_slave_skip_counter), or gtid_slave_pos was set`,
    value: Number(BigInt(now.groups) - now.seqs),
    life: `${startedAt} ${resets} ${now.returned}`,
  });
  const last = before?.startedAt === startedAt ? before.level : null;
  // Within one life of the count the core compares, over restarts of the daemon too.
  if (last === null || last.resets === resets || last.returned !== now.returned) return;
  // A channel that was made anew counts from nothing.
  const anew = changes !== last.changes || now.groups < last.groups;
  const applied = BigInt(anew ? now.groups : now.groups - last.groups);
  if (now.seqs - last.seqs > applied) {
    facts.broken.push(`${what} while its channel was made anew: gtid_slave_pos was set, or it was given another place`);
  }
}

/**
 * Both sums while nothing is under way, because all that was received is applied, or the SQL thread stands still; only then
 * do they fit each other. A group that failed counts again when it is tried again, so that the difference may grow, but it
 * never falls by what replication does.
 *
 * A group counts when it is begun and the position moves when it is committed, so that a look at one that waits for a lock
 * shows a difference which falls when it is done. The place that was executed does not tell: where domains are applied
 * beside each other it is that of the newest transaction committed, with older ones of another domain still under way.
 * What was received of each domain tells.
 */
function levelOf({ server, channels, executed, steady, own }: ChainTarget): Level | null {
  if (!steady || executed?.flavour !== 'mariadb' || isEmptyGtidSet(executed) || channels.length === 0) return null;
  let groups = 0;
  for (const c of channels) {
    const placed = c.readFile === c.executedFile && c.readOffset === c.executedOffset;
    // Placed by file and offset the receiver does not keep its GTIDs up to date, and all is applied as one domain.
    const level = placed && (!c.byGtid || containsGtids(executed, parseMariadbGtidSet(c.receivedGtids)));
    if (c.groups === null || (c.sql !== 'No' && !level)) return null;
    groups += c.groups;
  }
  let seqs = 0n;
  const returned: string[] = [];
  let counted = 0;
  for (const [domain, last] of executed.domains) {
    // Where replication runs both ways its own changes come back: the position moves, and nothing is applied. So the sums
    // of two looks fit each other only where it wrote nothing in that domain between them, nor had anything on its way.
    const written = own.get(domain);
    if (last.server === server.identity.serverId || (written ?? 0n) > last.seq) returned.push(String(domain));
    else {
      if (written !== undefined) returned.push(`${domain} after ${written}`);
      seqs += last.seq;
      counted += 1;
    }
  }
  return counted === 0 ? null : { groups, seqs, returned: returned.sort().join(',') };
}

function lifeOf({ durable, startedAt }: ChainServer): { life?: string } {
  // What a crash of the machine may take back is fetched again, and is no break by itself.
  return durable ? {} : { life: startedAt };
}
