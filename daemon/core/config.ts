import type { Condition } from './condition.js';
import type { Us } from './clock.js';
import type { LinkName } from './signal.js';
import type { Unit } from './units.js';

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
  /** Where signals and gates are written to, besides /metrics; left out like `cloudwatch: null`. */
  publish?: { cloudwatch: CloudWatchPublishConfig | null };
  /** Null or left out: nobody is told anything. */
  alerts?: AlertsConfig | null;
}

/** How a service of AWS is reached; credentials are found by the SDK's default chain. */
export interface AwsConfig {
  region: string;
  /** Base URL in place of the service's own; null is the real one. */
  endpoint: string | null;
  /** ARN of a role to assume with those credentials; null: none. */
  assumeRole: string | null;
}

/** What is published to CloudWatch. */
export interface CloudWatchPublishConfig extends AwsConfig {
  namespace: string;
  everyUs: Us;
  highResolution: boolean;
}

/** Rules and those who are told when one fires; rules without a sink are judged and shown all the same. */
export interface AlertsConfig {
  /** A rule resolves when it has been known to be false for so long. */
  resolveAfterUs: Us;
  pagerduty: { routingKey: Secret; region: 'us' | 'eu'; endpoint: string | null } | null;
  webhook: { url: string; secret: Secret | null } | null;
  /** As written; those that come of themselves are in `alert-rule.ts`. Expanded: one for each migration it is for. */
  rules: readonly WrittenRule[];
}

/** As PagerDuty spells them. */
export type Severity = 'critical' | 'error' | 'warning' | 'info';

/** A rule of the configuration, for one migration. */
export interface WrittenRule {
  name: string;
  migration: string;
  when: Condition;
  severity: Severity;
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
  /** Sign in to RDS with tokens of IAM in place of a password; left out or null: by password. */
  rdsIam?: { region: string } | null;
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
  /** By name, as in `traffic.NAME`; left out like an empty map. */
  traffic?: ReadonlyMap<string, TrafficConfig>;
  /** By name, as in `dns.NAME.ttl`; left out like an empty map. */
  dns?: ReadonlyMap<string, DnsConfig>;
  /** Windows in which alerts are silent; left out like none. */
  maintenance?: readonly MaintenanceWindow[];
  /** Left out: the data is not compared. */
  verify?: VerifyConfig;
}

/** A number that a monitoring system is asked for. */
export interface TrafficConfig {
  name: string;
  everyUs: Us;
  /** The signal's unit. */
  unit: Unit;
  /** What the answer is multiplied with to be in that unit: 0.01 for percent, 0.001 for milliseconds, else 1. */
  scale: number;
  ask: PrometheusQuery | CloudWatchQuery;
}

/** A query that yields exactly one sample. */
export interface PrometheusQuery {
  kind: 'prometheus';
  /** Base URL without credentials; `/api/v1/query` is appended. */
  url: string;
  query: string;
  /** The whole `Authorization` header; null: none. */
  authorization: Secret | null;
}

/** How the data of both sides is compared. */
export interface VerifyConfig {
  /** When passes start, as a cron expression in UTC; null: only on demand. */
  schedule: string | null;
  /** Patterns of tables by the source's names; null: what the forward link ought to carry, else all application tables. */
  tables: readonly string[] | null;
  exclude: readonly string[];
  /** Columns that may differ, by table. */
  ignoreColumns: ReadonlyMap<string, readonly string[]>;
  /** Only rows that fulfil all of these are compared, by table. */
  filters: ReadonlyMap<string, readonly RowFilter[]>;
  /** Schema on the target by schema on the source, where they differ. */
  schemas: ReadonlyMap<string, string>;
  /** How long one comparison of a range may take on a side. */
  chunkUs: Us;
  /** Share of the time that the side which carries the writes may be busy with comparing, above 0 and at most 1. */
  sourceShare: number;
  /** It pauses while the lag of the active link is above this, or unknown. */
  pauseAboveLagUs: Us;
  /** It pauses while other clients of the side that carries the writes execute more statements than this; null: never. */
  pauseAboveRunning: number | null;
  /** What stands for values that the other engine cannot hold, by name (`zero_date`, `infinity`); null is NULL. */
  standIns: ReadonlyMap<string, string | null>;
}

/** One condition on a column; the name is quoted and the value bound wherever it is used. */
export interface RowFilter {
  column: string;
  op: '=' | '<>' | '<' | '<=' | '>' | '>=' | 'is null' | 'is not null';
  /** Null for `is null` and `is not null`. */
  value: string | null;
}

/** One metric of CloudWatch. */
export interface CloudWatchQuery extends AwsConfig {
  kind: 'cloudwatch';
  namespace: string;
  metric: string;
  stat: string;
  dimensions: Readonly<Record<string, string>>;
}

/** A record whose TTL is watched. */
export interface DnsConfig {
  name: string;
  /** The record, for example `app.example.com`. */
  record: string;
  /** Address of the resolver, with or without a port; null: the system's own. */
  resolver: string | null;
}

/** Instants of wall clock, milliseconds since 1970. */
export interface MaintenanceWindow {
  from: number;
  to: number;
  note: string;
}

/** The DMS tasks (or serverless replications) that carry a link. */
export interface DmsConfig extends AwsConfig {
  /** ARNs of tasks (`arn:…:task:…`) or of serverless replication configurations (`arn:…:replication-config:…`); at least one. */
  tasks: readonly string[];
  everyUs: Us;
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
  /** Set for `via: dms` and only there. */
  dms?: DmsConfig;
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
