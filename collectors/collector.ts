import type { Clock, Us } from '../daemon/core/clock.js';
import type { Config, DatabaseConfig, LinkConfig, VerifyConfig } from '../daemon/core/config.js';
import type { DirectionRow } from '../daemon/core/direction.js';
import type { DirectionRows, Emit, Observation } from '../daemon/core/observation.js';
import type { Position } from '../daemon/core/position.js';
import type { LinkId } from '../daemon/core/signal.js';
import type { HeartbeatHub } from './heartbeat/hub.js';
import type { DataPort } from './verify/port.js';

export type { Emit } from '../daemon/core/observation.js';

/** Diagnostics that people read; never row content, never secrets. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/**
 * One source of observations. `run` resolves when `signal` aborts, after every connection and timer of the collector is
 * closed, and rejects on a fault; the supervisor starts it again with backoff. Before it rejects it need not emit
 * unknowns: the supervisor calls `down` for that.
 */
export interface Collector {
  /** Bounded, unique in the daemon, for example `onprem/wal`; a label of metrics. */
  readonly name: string;
  run(emit: Emit, signal: AbortSignal): Promise<void>;
  /** The observations that make all of this collector's signals unknown, with `reason`, at the present instant. */
  down(reason: string): Observation[];
}

/** Which database each entry of `databases` leads to, as the sessions of all collectors of a daemon find out. */
export interface Homes {
  /** The entry leads to the database that `home` tells apart from every other one. */
  enter(entry: string, home: string): void;
  /** Where the entry leads is not known any more. */
  leave(entry: string): void;
  /** The other entries that lead to the same database as this one, sorted. */
  sharedWith(entry: string): readonly string[];
}

/** Has all sessions that anybody opens to a side compared with each other, so that none leads to another server unnoticed. */
export interface Sides {
  /** The same database, for whoever opens sessions to it. */
  known(database: DatabaseConfig): DatabaseConfig;
}

/** What streams of a server's log are read for: both kinds of a binlog, heartbeats of a WAL, local writes of a WAL. */
export type StreamKind = 'binlog' | 'wal' | 'local';

/** What every collector is handed. */
export interface CollectorContext {
  clock: Clock;
  log: Log;
  /** The daemon's id: the `daemon` column of its heartbeat rows. */
  daemonId: string;
  /** What the engines' heartbeats share; without it the engine makes one of its own. */
  heartbeats?: HeartbeatHub;
  /** Whether a database carries no production writes now in any migration; null while the direction is unknown. */
  isPassive?: (database: string) => boolean | null;
  /** The newest `mark` of a `local-watch` of the database, also from before a restart; null when there is none. */
  localMark?: (database: string) => string | null;
  /** Which entries of `databases` lead to which database; shared by all collectors of the daemon. */
  homes?: Homes;
  /** What compares sessions of collectors and of side ports with each other; without it the engine compares those of each. */
  sides?: Sides;
  /**
   * Whether the local writes of a database are to be watched now whatever its role, and confirmed about ten times a second:
   * a fence is open on it, or it may be writing while the other side was written to as well.
   */
  watchClosely?: (database: string) => boolean;
  /**
   * Takes what a stream of a server's log has brought since it was called last: transactions, and bytes as the server sent
   * them. Called with zeros when one begins. For people only: nothing is judged by it.
   */
  tally?: (database: string, stream: StreamKind, transactions: number, bytes: number) => void;
}

/** Where a fence stands on the side that carries the writes. */
export interface FencePlace {
  /** Everything that was committed before `askedAt` is at or before it. */
  position: Position;
  /** Whether the marker row was committed after the position; not on a side that takes no writes any more. */
  marked: boolean;
  /** Tells the server and its history from every other one; a restart does not change it. */
  identity: string;
  /** Changes with every change of the application's tables: their names, columns and keys. */
  schema: string;
  /** Just before the position was asked for. */
  askedAt: Us;
  /** When the marker's commit returned, or without one the position. */
  at: Us;
}

/** What a fence asks of one side while it waits, in one look. */
export interface FenceSight {
  identity: string;
  /**
   * Of a standby that has been promoted: the identity it had before, and all that it had applied by then, for good. Left
   * out for every other server.
   */
  was?: { readonly identity: string; readonly applied: Position };
  /** Whether the fence's marker row is there; null where it was not asked for. */
  marker: boolean | null;
  /**
   * What may still commit, a clause each: open write transactions (asked for on the side that carries the writes) and
   * prepared ones (on both), other than replication's and lockgate's own. Empty means that there are none; what cannot be
   * seen (a missing privilege) makes the look fail instead.
   */
  open: readonly string[];
  askedAt: Us;
  at: Us;
}

/** Where a side stands at one moment, as a promotion asks it. */
export interface SideStand {
  /** Everything that was committed before `askedAt` is at or before it. */
  position: Position;
  identity: string;
  schema: string;
  askedAt: Us;
}

/**
 * What fences and changes of direction ask of one database. It is made of sides and not of links, because the two sides of
 * a link may be of different engines. Every method rejects with a LockgateError, whose message and hint are fit for
 * people, when the database cannot be asked, and within a few seconds.
 */
export interface SidePort {
  readonly database: string;
  /** Reads the position, then commits the row (daemon, link, run = `marker`, seq 1) of the heartbeat table after it. */
  place(link: LinkId, marker: string, signal: AbortSignal): Promise<FencePlace>;
  /** Looks at the side that the link begins at: what may still commit. */
  lookAtSource(signal: AbortSignal): Promise<FenceSight>;
  /** Looks at the side that the link ends at: the marker (null: none was committed), and what is prepared. */
  lookAtTarget(link: LinkId, marker: string | null, signal: AbortSignal): Promise<FenceSight>;
  /** Where it stands now. */
  stand(signal: AbortSignal): Promise<SideStand>;
  /** Writes the row of `lockgate.direction`, unless a row with its epoch or a higher one is there, and answers what the table says then. */
  declare(row: DirectionRow, signal: AbortSignal): Promise<DirectionRows>;
  /** Closes its sessions; it opens them again when asked. */
  close(): Promise<void>;
}

/** One statement that setup would run, with why it is needed. */
export interface SqlStep {
  database: string;
  /** Short, for people: `create the heartbeat table`. */
  why: string;
  sql: string;
}

/** One finding of `doctor`. */
export interface Finding {
  /** `ok`, `warning` (works, but read it) or `fault` (a signal would be unknown or a link cannot be watched). */
  level: 'ok' | 'warning' | 'fault';
  database: string | null;
  link: LinkId | null;
  /** What was found. */
  message: string;
  /** Which signals would be unknown because of it. */
  signals: readonly string[];
  /** What to do, exact SQL or setting where possible. */
  remedy: string | null;
}

/** A link together with the two databases it runs between, and the migration it belongs to. */
export interface LinkPlan {
  id: LinkId;
  migration: string;
  config: LinkConfig;
  from: DatabaseConfig;
  to: DatabaseConfig;
  /** How the migration's data is compared; left out: it is not. */
  verify?: VerifyConfig;
}

/**
 * What one database engine offers to the rest. The composition root asks for collectors; the command line asks for SQL,
 * setup and diagnosis. `links` are always all links of the configuration whose databases are of this engine on the side
 * in question.
 */
export interface EnginePort {
  readonly engine: 'postgres' | 'mysql';
  /** Every collector needed for the links and databases given; created, not started. */
  collectors(databases: readonly DatabaseConfig[], links: readonly LinkPlan[], context: CollectorContext): Collector[];
  /** What fences and changes of direction ask of a database of this engine. */
  side(database: DatabaseConfig, context: CollectorContext): SidePort;
  /** What verification asks of a database of this engine. */
  data(database: DatabaseConfig, context: CollectorContext): DataPort;
  /** The least-privilege SQL for one database, without connecting: roles and grants, heartbeat table, publication, trigger. */
  grants(database: DatabaseConfig, links: readonly LinkPlan[]): SqlStep[];
  /**
   * Applies what `grants` says through `adminUrl`, idempotent; with `dryRun` only says what it would do. Yields each step
   * as it is done. The other databases are looked at with `otherAdmins` (by name) as long as they do not know the daemon.
   */
  setup(
    database: DatabaseConfig,
    links: readonly LinkPlan[],
    options: {
      adminUrl: string | null;
      otherAdmins?: ReadonlyMap<string, string>;
      dryRun: boolean;
      signal: AbortSignal;
    },
  ): AsyncIterable<{ step: SqlStep; outcome: 'done' | 'unchanged' | 'would-do' }>;
  /** Removes everything that setup made. */
  teardown(
    database: DatabaseConfig,
    links: readonly LinkPlan[],
    options: {
      adminUrl: string | null;
      otherAdmins?: ReadonlyMap<string, string>;
      dryRun: boolean;
      signal: AbortSignal;
    },
  ): AsyncIterable<{ step: SqlStep; outcome: 'done' | 'unchanged' | 'would-do' }>;
  /** Connects with the daemon's own user and reports what would be unknown and how to mend it. */
  doctor(
    databases: readonly DatabaseConfig[],
    links: readonly LinkPlan[],
    context: CollectorContext,
    signal: AbortSignal,
  ): Promise<Finding[]>;
}

/** Collectors that go on undisturbed by a reload as long as `key` stays the same. */
export interface ServicePart {
  /** All that the collectors were made of, as text; never a secret. */
  key: string;
  make(context: CollectorContext): Collector[];
}

/** What asks something else than the databases: DMS, CloudWatch, Prometheus, a resolver. */
export interface ServicePort {
  readonly service: string;
  /** One part for each thing that may be configured by itself. */
  parts(config: Config): ServicePart[];
  /** Asks once, read-only, and reports what would be unknown and how to mend it. */
  doctor(config: Config, context: CollectorContext, signal: AbortSignal): Promise<Finding[]>;
}
