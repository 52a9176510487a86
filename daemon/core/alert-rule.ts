import type { Us } from './clock.js';
import type { Condition, SignalCondition } from './condition.js';
import type { Config, MigrationConfig, Severity } from './config.js';

/** When a rule fires. */
export type RuleTest =
  /** A condition in the grammar of gates, held for as long as it says. */
  | { kind: 'condition'; condition: Condition }
  /** Nothing is known of the signal for so long. */
  | { kind: 'unknown'; signal: string; forUs: Us }
  /** The gate is not open, known or unknown, for so long while the condition is true. */
  | { kind: 'gate-shut'; gate: string; forUs: Us; while: SignalCondition }
  /** The newest fence ended so, or is so now. */
  | { kind: 'fence'; state: 'violated' | 'expired' };

/** One rule of one migration: what is watched for, and how bad it is. */
export interface AlertRule {
  /** Unique in its migration: part of the key by which an incident is found again. */
  name: string;
  migration: string;
  severity: Severity;
  test: RuleTest;
  /** One sentence for whoever is woken: what it means. */
  summary: string;
  /** What to look at first. */
  remedy: string;
  /** It comes of itself, and is not written in the configuration. */
  builtIn: boolean;
}

const MINUTE_US: Us = 60_000_000;

function signalCondition(
  migration: string,
  text: string,
  parts: Pick<SignalCondition, 'signal' | 'unit' | 'op' | 'threshold'> & { forUs?: Us },
): SignalCondition {
  return { kind: 'signal', migration, fn: null, forUs: 0, text, ...parts };
}

/**
 * The rules that every migration has as soon as `alerts` is configured; a written rule of the same name takes the place of
 * one. `measures` says whether a signal of the migration can be known at all in this configuration.
 */
export function builtInRules(m: MigrationConfig, measures: (signal: string) => boolean): AlertRule[] {
  const migration = m.name;
  const rules: AlertRule[] = [];
  const add = (name: string, severity: Severity, test: RuleTest, summary: string, remedy: string): void => {
    rules.push({ name, migration, severity, test, summary, remedy, builtIn: true });
  };
  const when = (
    name: string,
    severity: Severity,
    condition: SignalCondition,
    summary: string,
    remedy: string,
  ): void => {
    if (measures(condition.signal)) add(name, severity, { kind: 'condition', condition }, summary, remedy);
  };
  when(
    'replication-stopped',
    'critical',
    signalCondition(migration, 'active.running == 0 for 1m', {
      ...{ signal: 'active.running', unit: 'flag', op: '==', threshold: 0, forUs: MINUTE_US },
    }),
    'replication does not run',
    'see the reason of active.running, and start replication again before the source drops what it keeps back',
  );
  add(
    'replication-unknown',
    'error',
    { kind: 'unknown', signal: 'active.lag', forUs: 5 * MINUTE_US },
    'nothing is known of the lag',
    'see the reason of active.lag; no gate that asks for it can open',
  );
  when(
    'runway-short',
    'critical',
    signalCondition(migration, 'active.runway < 1h for 1m', {
      ...{ signal: 'active.runway', unit: 's', op: '<', threshold: 3_600, forUs: MINUTE_US },
    }),
    'the source will soon drop changes that were not carried over',
    'let replication catch up, or give the source more room for its log',
  );
  when(
    'stray-writes',
    'critical',
    signalCondition(migration, 'standby.stray_writes > 0', {
      ...{ signal: 'standby.stray_writes', unit: 'count', op: '>', threshold: 0 },
    }),
    'somebody wrote to the side that carries no production writes',
    'find the writer by the position of the first stray write, reconcile the data, then attest stray-writes-reconciled',
  );
  when(
    'split-brain',
    'critical',
    signalCondition(migration, 'split_brain == 1', {
      ...{ signal: 'split_brain', unit: 'flag', op: '==', threshold: 1 },
    }),
    'both sides are being written to',
    'stop the writes on the passive side at once; do not switch before both sides are reconciled',
  );
  when(
    'mismatches',
    'critical',
    // By tables, whose number is always exact, and which counts a table that is missing without any row.
    signalCondition(migration, 'verify.mismatched_tables > 0', {
      ...{ signal: 'verify.mismatched_tables', unit: 'count', op: '>', threshold: 0 },
    }),
    'the two sides hold different rows',
    'see `lockgate verify` or GET …/verify for the mismatches; do not switch before they are explained',
  );
  if (m.gates.has('rollback-ready')) {
    const reversed = signalCondition(migration, 'direction.reverse == 1', {
      ...{ signal: 'direction.reverse', unit: 'flag', op: '==', threshold: 1 },
    });
    add(
      'rollback-not-ready',
      'critical',
      { kind: 'gate-shut', gate: `${migration}/rollback-ready`, forUs: MINUTE_US, while: reversed },
      'the way back is not ready',
      'see the conditions of the gate rollback-ready: until it is open, going back may lose writes',
    );
  }
  add(
    'fence-violated',
    'critical',
    { kind: 'fence', state: 'violated' },
    'there were writes after the fence: they had not really stopped',
    'find the writer, stop it, and place a new fence',
  );
  add(
    'fence-expired',
    'error',
    { kind: 'fence', state: 'expired' },
    'the fence did not drain in time',
    'see what is missing, and place a new fence once it is mended',
  );
  return rules;
}

/** All rules of a configuration, the written ones in the place of built-in ones of their name; empty without `alerts`. */
export function alertRules(
  config: Config,
  measures: (migration: MigrationConfig, signal: string) => boolean,
): AlertRule[] {
  const { alerts } = config;
  if (alerts === undefined || alerts === null) return [];
  return [...config.migrations.values()].flatMap((m) => {
    const written = alerts.rules
      .filter((r) => r.migration === m.name)
      .map((r): AlertRule => ({
        ...{ name: r.name, migration: m.name, severity: r.severity, test: { kind: 'condition', condition: r.when } },
        ...{ summary: r.when.text, remedy: `see the signal's reason in \`lockgate status\``, builtIn: false },
      }));
    const names = new Set(written.map((r) => r.name));
    const builtIn = builtInRules(m, (signal) => measures(m, signal)).filter((r) => !names.has(r.name));
    return [...builtIn, ...written];
  });
}
