import { parseCondition, type Condition, type ConditionContext } from '../core/condition.js';
import type { GateConfig, GateOrigin } from '../core/config.js';
import { parseDurationUs } from '../core/units.js';
import type { Path } from './locate.js';
import type { PresetGate } from './preset-recipe.js';
import type { RawGate } from './schema.js';
import type { Scope } from './scope.js';
import { hasPlaceholder } from './secrets.js';

/** A gate together with where its conditions stand, for checks that need all gates. */
export interface PlacedGate {
  gate: GateConfig;
  conditions: readonly { condition: Condition; path: Path }[];
  origin: GateOrigin;
}

/** Builds a gate from what is written at `path`; conditions that are wrong were reported and are left out. */
export function resolveGate(
  name: string,
  raw: RawGate,
  path: Path,
  context: ConditionContext,
  scope: Scope,
): PlacedGate {
  const written: [string, Path][] =
    typeof raw.require === 'string'
      ? [[raw.require, [...path, 'require']]]
      : // A condition that was refused leaves a hole, so that the indices of the others stay true.
        ((raw.require ?? []) as (string | undefined)[]).flatMap((text, i): [string, Path][] =>
          text === undefined ? [] : [[text, [...path, 'require', i]]],
        );
  const conditions = written.flatMap(([text, at]) => {
    if (hasPlaceholder(scope.template(at, text))) {
      // The hash of the configuration, journaled as evidence with every verdict, would not cover it.
      const hint = 'write the condition out, so that the configuration says what the gate asks';
      scope.problems.add(at, 'a condition cannot hold a placeholder', hint);
      return [];
    }
    const parsed = parseCondition(text, context);
    if (parsed.ok) return [{ condition: parsed.condition, path: at }];
    scope.problems.add(at, parsed.message, parsed.hint, { offset: parsed.column - 1 });
    return [];
  });
  const tolerate = raw.gaps?.tolerate;
  const gapToleranceUs = tolerate === undefined ? 0 : (parseDurationUs(tolerate) ?? 0);
  const lines = conditions.map((c) => scope.source.place(c.path).line);
  const gate = { ...base(name, context, conditions), gapToleranceUs };
  return { gate, conditions, origin: { preset: false, lines, omitted: [] } };
}

/** Builds a gate of a preset; `path` is where the preset is asked for. */
export function presetGate(
  { name, require, omitted, gapToleranceUs }: PresetGate,
  path: Path,
  context: ConditionContext,
  scope: Scope,
): PlacedGate {
  const conditions = require.flatMap((text) => {
    const parsed = parseCondition(text, context);
    if (parsed.ok) return [{ condition: parsed.condition, path }];
    scope.problems.add(path, `the preset's gate ${name} does not fit this migration: ${parsed.message}`, parsed.hint);
    return [];
  });
  const gate = { ...base(name, context, conditions), gapToleranceUs };
  return { gate, conditions, origin: { preset: true, lines: [], omitted } };
}

function base(name: string, context: ConditionContext, conditions: readonly { condition: Condition }[]) {
  const { migration } = context;
  const id = migration === null ? name : `${migration}/${name}`;
  return { name, id, migration, require: conditions.map((c) => c.condition) };
}

/** Reports every circle of gates, named in full, at the condition that closes it. */
export function checkCircles(gates: ReadonlyMap<string, PlacedGate>, scope: Scope): void {
  const done = new Set<string>();
  const visit = (id: string, trail: readonly string[]): void => {
    if (done.has(id)) return;
    for (const { condition, path } of gates.get(id)?.conditions ?? []) {
      if (condition.kind !== 'gate') continue;
      const from = [...trail, id].indexOf(condition.gate);
      if (from < 0) {
        visit(condition.gate, [...trail, id]);
        continue;
      }
      const circle = [...[...trail, id].slice(from), condition.gate].join(' → ');
      scope.problems.add(
        path,
        `the gate depends on itself: ${circle}`,
        'none of them could ever open; remove one step',
      );
    }
    done.add(id);
  };
  for (const id of gates.keys()) visit(id, []);
}
