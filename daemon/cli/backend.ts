import type { Finding, SqlStep } from '../../collectors/collector.js';
import type { Delivery } from '../core/alert-event.js';
import type { Condition } from '../core/condition.js';
import type { Config } from '../core/config.js';

/** A step of setup or teardown and what came of it. */
export interface StepResult {
  step: SqlStep;
  outcome: 'done' | 'unchanged' | 'would-do';
}

/** What a sink of alerts answered to one event of a test. */
export interface TestAnswer {
  sink: string;
  event: 'trigger' | 'resolve';
  delivery: Delivery;
}

/** How setup and teardown connect, and whether they change anything. */
export interface StepOptions {
  /** Administrators' connection URLs by database name; a database without one is reached as configured. */
  admin: ReadonlyMap<string, string>;
  dryRun: boolean;
  signal: AbortSignal;
}

/** One condition of a gate and where it comes from: a preset, or the file at `line`. */
export interface ExplainedCondition {
  condition: Condition;
  origin: 'preset' | 'file';
  line: number | null;
}

/** One gate as the configuration makes it. */
export interface ExplainedGate {
  id: string;
  conditions: readonly ExplainedCondition[];
  gapToleranceUs: number;
  /** Conditions that a preset recommends but that this configuration cannot have, and why. */
  leftOut: readonly { text: string; reason: string }[];
}

/** Whose alerting is to be set up; `job` is the name of the scrape job in Prometheus. */
export type RulesFor = { kind: 'prometheus'; job: string } | { kind: 'cloudwatch' };

/** A daemon that has started; it lives until `stop`, or until `crashed` rejects. */
export interface RunningDaemon {
  /** Where it listens, for people, for example `http://127.0.0.1:9188`. */
  readonly address: string;
  /** Takes up the configuration file again, wholly or not at all; rejects with a ConfigError or UsageError when it is refused. */
  reload(): Promise<void>;
  /** Stops everything in reverse order; resolves when every connection, timer and slot is closed. */
  stop(): Promise<void>;
  /** Never resolves; rejects when a bug makes it wrong to go on. */
  readonly crashed: Promise<never>;
}

/**
 * What the server-side commands need of the rest of lockgate; the composition root implements it. Methods reject with a
 * ConfigError for a bad file and with another LockgateError for what can be told to an operator.
 */
export interface Backend {
  /** Reads and checks a configuration file, secrets included. */
  loadConfig(file: string): Promise<Config>;
  /** The JSON Schema of the configuration file. */
  configSchema(): Promise<object>;
  /** Every gate in the order of the file, top-level gates last. */
  explain(config: Config): Promise<readonly ExplainedGate[]>;
  /** The least-privilege SQL for every database, without connecting, in the order in which to run it. */
  grants(config: Config): Promise<readonly SqlStep[]>;
  /** Definitions for those who alert elsewhere, as YAML: rules for Prometheus, or alarms for CloudWatch. */
  rules(config: Config, what: RulesFor): Promise<string>;
  setup(config: Config, options: StepOptions): AsyncIterable<StepResult>;
  teardown(config: Config, options: StepOptions): AsyncIterable<StepResult>;
  doctor(config: Config, signal: AbortSignal): Promise<readonly Finding[]>;
  /** Sends each sink of alerts a test and ends it; empty when there are no sinks. */
  testAlerts(config: Config, signal: AbortSignal): Promise<readonly TestAnswer[]>;
  /**
   * Starts the daemon. Rejects when it cannot serve (bad configuration, missing secret, port in use, unusable TLS files,
   * a store written by a newer lockgate), never because of a database. An abort while starting undoes what was started.
   */
  start(file: string, signal: AbortSignal): Promise<RunningDaemon>;
}
