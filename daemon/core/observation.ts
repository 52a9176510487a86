import type { Us } from './clock.js';
import type { ChainFacts } from './continuity.js';
import type { DirectionRow } from './direction.js';
import type { Position } from './position.js';
import type { DmsSignal, LinkId, LinkSignal, MigrationSignal, SideSignal } from './signal.js';
import type { LocalWrite } from './stray.js';

/**
 * What collectors report. Every observation carries the instants at which it was made, read from the injected clock by
 * the collector itself. Nothing here is a judgement: judging is the trackers' work.
 */
export type Observation =
  | HeartbeatSent
  | HeartbeatAcked
  | HeartbeatFailed
  | WriterFault
  | HeartbeatVisible
  | WatchFault
  | PositionSampled
  | Applied
  | AppliedFault
  | LinkReading
  | SideReading
  | MigrationReading
  | DmsReading
  | DirectionRows
  | ChainSeen
  | ChainFault
  | ChainBroken
  | LocalWatch
  | LocalWrites
  | DirectionTouched
  | SourceTablesSeen
  | TaskTablesSeen;

/** Receives observations as they are made; it never throws and never waits. */
export type Emit = (observation: Observation) => void;

/** A heartbeat is about to be written; `seq` rises by one for each heartbeat of this daemon process and link, over all its runs. */
export interface HeartbeatSent {
  kind: 'heartbeat-sent';
  link: LinkId;
  run: string;
  seq: number;
  /** Just before the write was issued. */
  at: Us;
}

/** A heartbeat's commit returned, and the source's position read after it (null when it could not be read). */
export interface HeartbeatAcked {
  kind: 'heartbeat-acked';
  link: LinkId;
  seq: number;
  /** When the commit returned. */
  at: Us;
}

/** A heartbeat's write ended without a confirmed commit. `uncertain`: it may have committed (the connection was lost meanwhile). */
export interface HeartbeatFailed {
  kind: 'heartbeat-failed';
  link: LinkId;
  seq: number;
  outcome: 'not-committed' | 'uncertain';
  at: Us;
  reason: string;
}

/** The writer cannot even issue heartbeats (no connection, read-only side, missing table). */
export interface WriterFault {
  kind: 'writer-fault';
  link: LinkId;
  at: Us;
  reason: string;
}

/**
 * The newest heartbeat of this process that is visible on the target. When it was asked for by a query, `askedAt` is the
 * instant before the query was issued, and everything newer than `upTo` was not visible then; a stream event says
 * nothing about what is absent, so its `askedAt` is null.
 */
export interface HeartbeatVisible {
  kind: 'heartbeat-visible';
  link: LinkId;
  /** Highest visible `seq`, or null when none is. */
  upTo: number | null;
  /**
   * Set when the target showed a newer heartbeat before this question was asked (`shown` is its `seq`): it has lost
   * everything above `upTo`.
   */
  lost?: { shown: number };
  askedAt: Us | null;
  /** When the answer or event arrived. */
  at: Us;
  by: 'wal' | 'notify' | 'poll' | 'binlog';
}

/** The target cannot be asked for heartbeats. */
export interface WatchFault {
  kind: 'watch-fault';
  link: LinkId;
  at: Us;
  reason: string;
}

/**
 * The source's position, read after instant `sentAt`: everything committed before `sentAt` is at or before it. The delay
 * until every flow has applied it is `lag_by_position`.
 */
export interface PositionSampled {
  kind: 'position-sampled';
  link: LinkId;
  position: Position;
  sentAt: Us;
  /** When the answer arrived. */
  at: Us;
}

/** How far one flow of the link has durably applied on the target. */
export interface Applied {
  kind: 'applied';
  link: LinkId;
  flow: string;
  position: Position;
  /** The source's position, read in the same look; the distance between both is the backlog. */
  head?: Position;
  /** Where positions have no distance of their own: bytes outstanding, and bytes applied since some fixed point. */
  bytes?: { backlog: number; applied: number };
  askedAt: Us;
  at: Us;
}

/** How far a flow has applied cannot be told. */
export interface AppliedFault {
  kind: 'applied-fault';
  link: LinkId;
  flow: string;
  at: Us;
  reason: string;
}

/** A value that needs no tracker; `value` null with a reason when it could not be seen. */
export interface LinkReading {
  kind: 'link-reading';
  link: LinkId;
  signal: LinkSignal;
  value: number | null;
  reason: string | null;
  bound?: 'at-least';
  /** Just before the question was sent, from which its age counts; left out where `at` is that instant itself. */
  askedAt?: Us;
  at: Us;
  /** Usable for so long when the collector looks less often than the link's own freshness asks. */
  freshUs?: Us;
  /** Set where the signal is the sum of what several collectors see of it: whose part this is. */
  part?: ReadingPart;
}

/** Who sees errors of a link by DMS: whoever asks DMS about its tasks, and whoever reads its control tables on the target. */
export type ReadingPart = 'dms-tasks' | 'dms-control-tables';

/** The same for a database, which may be a side of several migrations. */
export interface SideReading {
  kind: 'side-reading';
  database: string;
  signal: SideSignal;
  value: number | null;
  reason: string | null;
  /** Just before the question was sent, from which its age counts; left out where `at` is that instant itself. */
  askedAt?: Us;
  at: Us;
  freshUs?: Us;
}

/** The same for a migration as a whole. */
export interface MigrationReading {
  kind: 'migration-reading';
  migration: string;
  signal: MigrationSignal | `traffic.${string}` | `dns.${string}.ttl`;
  value: number | null;
  reason: string | null;
  bound?: 'at-least';
  /** Just before the question was sent, from which its age counts; left out where `at` is that instant itself. */
  askedAt?: Us;
  at: Us;
  freshUs: Us;
}

/** What DMS says of a link; the migration's signal of that name is the one of its active link. */
export interface DmsReading {
  kind: 'dms-reading';
  link: LinkId;
  signal: DmsSignal;
  value: number | null;
  reason: string | null;
  bound?: 'at-least';
  /** Just before the question was sent, or the sample's own time where it has one; left out where `at` is that instant itself. */
  askedAt?: Us;
  at: Us;
  freshUs: Us;
}

/** What `lockgate.direction` says on a database; `rows` null with a reason when it could not be read. */
export interface DirectionRows {
  kind: 'direction-rows';
  database: string;
  rows: readonly DirectionRow[] | null;
  /** Migrations whose rows make no sense, with the reason; nothing is known of their direction. */
  unusable?: readonly { migration: string; reason: string }[];
  reason: string | null;
  /** Just before the question was sent, from which its age counts; left out where `at` is that instant itself. */
  askedAt?: Us;
  at: Us;
}

/** A look at everything that a link's chain of changes hangs on. */
export interface ChainSeen {
  kind: 'chain-seen';
  link: LinkId;
  facts: ChainFacts;
  /** Just before the question was sent, from which its age counts; left out where `at` is that instant itself. */
  askedAt?: Us;
  at: Us;
  freshUs: Us;
}

/** The chain cannot be looked at. */
export interface ChainFault {
  kind: 'chain-fault';
  link: LinkId;
  reason: string;
  at: Us;
}

/** The chain broke, as something else than a look at it shows. */
export interface ChainBroken {
  kind: 'chain-broken';
  link: LinkId;
  /** A full clause. */
  what: string;
  /**
   * Set where heartbeats that were left out are all the evidence: the instant of the last one before them. When the
   * positions have contradicted the row since then, only the heartbeat table was left out, and nothing is said of the rest.
   */
  heartbeatsSince: Us | null;
  at: Us;
}

/**
 * Whether the local writes of a database are being watched now. While they are it comes about every second, and says
 * that everything committed before `at` was seen, in observations that came before this one.
 */
export interface LocalWatch {
  kind: 'local-watch';
  database: string;
  watching: boolean;
  /** With the first one after a gap: the server's own evidence shows that nothing was written locally in the gap. */
  emptyGap: boolean;
  /** The end of the log up to which local writes were seen; null when there is no such position or it is not watched. */
  upTo: Position | null;
  /** Where the server's evidence about a later gap can begin; kept across restarts and handed back to the collector. */
  mark: string | null;
  /** Why it is not watched; while it is, why the server cannot show what was written in the gap before, or null. */
  reason: string | null;
  at: Us;
}

/** Local writes that were seen on a database, oldest first; never empty. */
export interface LocalWrites {
  kind: 'local-writes';
  database: string;
  writes: readonly LocalWrite[];
  at: Us;
}

/** A database's own row of `lockgate.direction` was changed by someone, as its reader sees among local writes. */
export interface DirectionTouched {
  kind: 'direction-touched';
  database: string;
  at: Us;
}

/** The application tables of a link's source that it ought to carry; what carries them tells of its own by other means. */
export interface SourceTablesSeen {
  kind: 'source-tables';
  link: LinkId;
  /** Null with a reason when they could not be seen, or none was found. */
  tables: readonly SourceTableSeen[] | null;
  reason: string | null;
  /** Just before the question was sent, from which its age counts. */
  askedAt: Us;
  at: Us;
  freshUs: Us;
}

/** One table, and the partitions that hold its rows where it has none itself. */
export interface SourceTableSeen {
  schema: string;
  name: string;
  parts: readonly { schema: string; name: string }[];
}

/** The tables that the tasks of a link by DMS list. */
export interface TaskTablesSeen {
  kind: 'task-tables';
  link: LinkId;
  /** Null with a reason when they could not be seen. `flaw`: why rows or columns of it stay behind; null for none. */
  tables: readonly { schema: string; name: string; flaw: string | null }[] | null;
  reason: string | null;
  askedAt: Us;
  at: Us;
  freshUs: Us;
}

/** When what an observation says was asked for; null where it tells of a fault or an event, which do not go out of date. */
export function askedAtOf(o: Observation): Us | null {
  switch (o.kind) {
    case 'heartbeat-sent':
      // One that another tool writes is told of after the look that did not show it yet.
      return o.at;
    case 'heartbeat-visible':
      return o.askedAt;
    case 'applied':
      return o.askedAt;
    case 'position-sampled':
      return o.sentAt;
    case 'link-reading':
    case 'side-reading':
    case 'migration-reading':
    case 'dms-reading':
      return o.value === null ? null : (o.askedAt ?? o.at);
    case 'direction-rows':
      return o.rows === null ? null : (o.askedAt ?? o.at);
    case 'chain-seen':
      return o.askedAt ?? o.at;
    case 'source-tables':
    case 'task-tables':
      return o.tables === null ? null : o.askedAt;
    default:
      return null;
  }
}
