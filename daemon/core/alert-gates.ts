/** The gates that judge the rule of an alert: one opens when the rule fires, others when it is known to be over. */
import type { AlertRule } from './alert-rule.js';
import type { Us } from './clock.js';
import type { Comparator, Condition, SignalCondition } from './condition.js';
import type { GateConfig } from './config.js';

/** What is watched of a rule. */
export interface RuleGates {
  /** Opens when it fires; null where something else than a gate tells. */
  fires: string | null;
  /** It is over when one of them opens. */
  over: readonly string[];
  gates: readonly GateConfig[];
}

/** The comparison that is true exactly where the other one is false. */
export const OPPOSITE: Readonly<Record<Comparator, Comparator>> = {
  '<': '>=',
  '<=': '>',
  '>': '<=',
  '>=': '<',
  '==': '!=',
  '!=': '==',
};

/** Begins the id of such a gate; the id of a gate that is configured has no space in it. */
const PREFIX = 'rule ';

/** Whether a gate is one of these and none that is configured. */
export function isRuleGate(id: string): boolean {
  return id.startsWith(PREFIX);
}

/** Makes the gates of a rule; `resolveAfterUs` is how long it must be known to be false. */
export function ruleGates(rule: AlertRule, resolveAfterUs: Us): RuleGates {
  const { test } = rule;
  const id = (part: string): string => `${PREFIX}${rule.migration}/${rule.name} ${part}`;
  const gate = (part: string, require: readonly Condition[]): GateConfig => ({
    ...{ name: part, id: id(part), migration: rule.migration, require, gapToleranceUs: 0 },
  });
  switch (test.kind) {
    case 'condition':
      return {
        fires: id('fires'),
        over: [id('over')],
        gates: [gate('fires', [test.condition]), gate('over', [opposite(test.condition, resolveAfterUs)])],
      };
    case 'unknown': {
      const known = gate('known', [isKnown(rule.migration, test.signal)]);
      return {
        fires: id('fires'),
        over: [id('over')],
        gates: [
          known,
          gate('fires', [asked(known.id, 'not-open', test.forUs)]),
          gate('over', [asked(known.id, undefined, resolveAfterUs)]),
        ],
      };
    }
    case 'gate-shut':
      return {
        fires: id('fires'),
        // Over by either; where they take turns it is over later than it might be, never too early.
        over: [id('over'), id('moot')],
        gates: [
          gate('fires', [asked(test.gate, 'not-open', test.forUs), { ...test.while, forUs: test.forUs }]),
          gate('over', [asked(test.gate, undefined, resolveAfterUs)]),
          gate('moot', [opposite(test.while, resolveAfterUs)]),
        ],
      };
    case 'fence':
      return { fires: null, over: [], gates: [] };
  }
}

/** What is true exactly where the condition is known to be false, for so long. */
function opposite(c: Condition, forUs: Us): Condition {
  if (c.kind === 'signal') return { ...c, op: OPPOSITE[c.op], forUs, text: `not ${c.text}` };
  return asked(c.gate, 'closed', forUs);
}

function asked(gate: string, is: 'closed' | 'not-open' | undefined, forUs: Us): Condition {
  const text = `gate ${gate} ${is ?? 'open'}`;
  return { kind: 'gate', text, gate, forUs, ...(is === undefined ? {} : { is }) };
}

/** True while there is a value that is more than a bound, and unknown otherwise. */
function isKnown(migration: string, signal: string): SignalCondition {
  const anything = { fn: null, op: '<', threshold: Infinity, forUs: 0 } as const;
  return { kind: 'signal', text: `${signal} known`, migration, signal, unit: 'count', ...anything };
}
