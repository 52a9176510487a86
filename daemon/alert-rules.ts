/** The rules of a configuration, and the gates that judge them. */
import { whyNotMeasured } from './config/available.js';
import { ruleGates, type RuleGates } from './core/alert-gates.js';
import { alertRules, type AlertRule } from './core/alert-rule.js';
import type { Us } from './core/clock.js';
import type { Config } from './core/config.js';

/** Every rule of the configuration that can be judged in it; empty without `alerts`. */
export function rulesOf(config: Config): AlertRule[] {
  return alertRules(config, (m, signal) => {
    const { forward, reverse } = m.links;
    return whyNotMeasured(signal, { forward: forward.via, reverse: reverse?.via }) === null;
  });
}

/** The gates of one of its rules. */
export function watchesOf(config: Config, rule: AlertRule): RuleGates {
  return ruleGates(rule, resolveAfter(config));
}

/** How long a rule must be known to be false until it is over. */
export function resolveAfter(config: Config): Us {
  return config.alerts?.resolveAfterUs ?? 0;
}
