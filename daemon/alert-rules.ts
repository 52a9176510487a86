/** The rules of a configuration, and the gates that judge them. */
import { viasOf, whyNotMeasured } from './config/available.js';
import { ruleGates, type RuleGates } from './core/alert-gates.js';
import { alertRules, type AlertRule, type RuleTest } from './core/alert-rule.js';
import type { Us } from './core/clock.js';
import type { Config, MigrationConfig } from './core/config.js';

/** The rule that no signal tells: what is forced is known only to the daemon that was asked to. */
export const FORCED_RULE = 'direction-forced';
/** The attestation that ends it. */
export const FORCED_REVIEWED = 'forced-change-reviewed';

/** A rule that the daemon judges, by its gates or by what it does itself. */
export type JudgedRule = Omit<AlertRule, 'test'> & { test: RuleTest | { kind: 'forced' } };

/** Every rule of the configuration that gates or fences judge; empty without `alerts`. */
export function rulesOf(config: Config): AlertRule[] {
  return alertRules(config, measures);
}

/** Whether this version can know a signal of a migration, configured as it is. */
export function measures(migration: MigrationConfig, signal: string): boolean {
  return whyNotMeasured(signal, viasOf(migration)) === null;
}

/** The gates of one of its rules. */
export function watchesOf(config: Config, rule: JudgedRule): RuleGates {
  const { test } = rule;
  if (test.kind === 'forced') return { fires: null, over: [], gates: [] };
  return ruleGates({ ...rule, test }, resolveAfter(config));
}

/** How long a rule must be known to be false until it is over. */
export function resolveAfter(config: Config): Us {
  return config.alerts?.resolveAfterUs ?? 0;
}

/** Every rule of the configuration; a written one of the same name takes the place of the one that is forced upon nobody. */
export function judgedRules(config: Config): JudgedRule[] {
  const rules: JudgedRule[] = rulesOf(config);
  if ((config.alerts ?? null) === null) return rules;
  const forced = [...config.migrations.keys()]
    .filter((migration) => !rules.some((r) => r.migration === migration && r.name === FORCED_RULE))
    .map((migration): JudgedRule => ({
      ...{ name: FORCED_RULE, migration, severity: 'critical', test: { kind: 'forced' }, builtIn: true },
      summary: 'the direction was changed by force, without a drained fence: writes may be missing on the new side',
      remedy: `look for writes that were not carried over, then attest ${FORCED_REVIEWED}`,
    }));
  return [...rules, ...forced];
}
