import type { Condition } from '../core/condition.js';
import type { Config } from '../core/config.js';

/** One gate as the configuration makes it, for people: every condition with its origin, and what a preset leaves out. */
export interface GateExplanation {
  id: string;
  conditions: readonly { condition: Condition; origin: 'preset' | 'file'; line: number | null }[];
  gapToleranceUs: number;
  leftOut: readonly { text: string; reason: string }[];
}

/** Explains every gate in the order of the configuration, gates across migrations last. */
export function explainConfig(config: Config): GateExplanation[] {
  const gates = [...[...config.migrations.values()].flatMap((m) => [...m.gates.values()]), ...config.gates.values()];
  return gates.map((gate) => {
    const origin = config.gateOrigins?.get(gate.id);
    return {
      id: gate.id,
      conditions: gate.require.map((condition, i) => ({
        condition,
        origin: origin?.preset === true ? 'preset' : 'file',
        line: origin?.lines[i] ?? null,
      })),
      gapToleranceUs: gate.gapToleranceUs,
      leftOut: (origin?.omitted ?? []).map(({ condition, why }) => ({ text: condition, reason: why })),
    };
  });
}
