import type { Condition } from './condition.js';
import type { Us } from './clock.js';
import type { LinkName } from './signal.js';

/** A secret that was resolved from `${env:…}` or `${file:…}`; it prints as `[secret]` everywhere but through `reveal`. */
export interface Secret {
  /** The value now; `${file:…}` secrets are read again at each call, so that rotated passwords are taken up. Throws a SourceError when the file has gone. */
  reveal(): string;
  toString(): string;
  toJSON(): string;
}

/** The whole configuration, checked and resolved; nothing in it is unvalidated. */
export interface Config {
  /** Path the configuration was read from, as given. */
  file: string;
  /** SHA-256 of the text as written (secrets are not in it), hexadecimal. */
  hash: string;
  daemon: DaemonConfig;
  store: { path: string; retainUs: Us };
  databases: ReadonlyMap<string, DatabaseConfig>;
  migrations: ReadonlyMap<string, MigrationConfig>;
  /** Gates across migrations; their conditions name signals as `migration.signal`. */
  gates: ReadonlyMap<string, GateConfig>;
  /** By gate id. */
  gateOrigins?: ReadonlyMap<string, GateOrigin>;
  /** Things that are allowed but that a careful engineer would not do; shown by `config check` and logged at start. */
  warnings: readonly string[];
}

export interface DaemonConfig {
  id: string;
  listen: { host: string; port: number };
  tls: { cert: string; key: string } | null;
  /** Null: no authentication (loopback only, or `auth: none` written out). */
  auth: { tokens: readonly TokenConfig[] } | null;
}

export interface TokenConfig {
  name: string;
  token: Secret;
  role: 'reader' | 'operator';
}

export interface DatabaseConfig {
  name: string;
  engine: 'postgres' | 'mysql';
  /** Where to connect; nothing secret. */
  address: { host: string; port: number; database: string; user: string };
  /** Null when the URL carries no password (trust, peer, certificate). */
  password: Secret | null;
  tls: TlsConfig;
  /** WAL / binlog reader on this side. */
  read: 'auto' | 'on' | 'off';
  /** MySQL: what the binlog reader calls itself among the replicas; null: chosen from the daemon's id. */
  serverId?: number | null;
}

/** `mode` as libpq spells it; `ca`, `cert` and `key` are file paths, read again at each reconnect. */
export interface TlsConfig {
  mode: 'disable' | 'prefer' | 'require' | 'verify-ca' | 'verify-full';
  ca: string | null;
  cert: string | null;
  key: string | null;
}

export interface MigrationConfig {
  name: string;
  /** Names of databases. */
  source: string;
  target: string;
  links: Readonly<Partial<Record<LinkName, LinkConfig>>> & { forward: LinkConfig };
  promotion: 'manual' | 'detect';
  gates: ReadonlyMap<string, GateConfig>;
}

export interface LinkConfig {
  name: LinkName;
  via: 'postgres-logical' | 'postgres-physical' | 'mysql' | 'dms' | 'none';
  /** Databases by the direction of this link (for `reverse`, `from` is the migration's target). */
  from: string;
  to: string;
  /**
   * Every flow of the link: subscriptions for postgres-logical; one flow named `standby` for postgres-physical;
   * channels for mysql, where an empty name is written `default channel`; empty for dms, whose positions cannot be read, and for none.
   */
  flows: readonly string[];
  /** Which publication carries the heartbeat table; null: the first subscription's first. */
  publication: string | null;
  heartbeat: {
    intervalUs: Us;
    watch: 'auto' | 'wal' | 'binlog' | 'notify' | 'poll';
    /** `database.table` of a heartbeat that another tool writes; then none of our own is written. */
    external?: string | null;
  };
  /** Freshness of this link's signals other than lag. */
  freshnessUs: Us;
  /** Log that the source's disk can keep back for this link; null when nothing is configured. */
  retentionLimitBytes: number | null;
  /** What ought to be carried. */
  tables: { include: readonly string[]; exclude: readonly string[] } | null;
}

export interface GateConfig {
  name: string;
  /** Unique in the daemon: `shop/flip-writes`, or `all-shards` at top level. */
  id: string;
  /** Null at top level. */
  migration: string | null;
  /** At least one. */
  require: readonly Condition[];
  /** Unknown stretches up to this long do not reset a hold; 0 by default. */
  gapToleranceUs: Us;
}

/** Where a gate comes from, for `gates explain`; apart from the gate, because it is no part of what the gate asks. */
export interface GateOrigin {
  /** Made by `preset: runbook`, not written. */
  preset: boolean;
  /** Line of each condition in the file; empty for a preset. */
  lines: readonly number[];
  /** What the preset recommends but this version cannot judge. */
  omitted: readonly OmittedCondition[];
}

/** A recommended condition that is not part of the gate; `gates explain` shows it, because somebody must check it by hand. */
export interface OmittedCondition {
  condition: string;
  why: string;
}
