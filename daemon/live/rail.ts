/** The phases of the runbook with the gates that each asks, and what to say first of a migration. */
import type { ConditionState, GateState, MigrationJson, VerdictJson } from '../http/port.js';
import { conditionWords } from './condition-words.js';
import type { Now } from './connection.js';
import type { Model } from './model.js';
import { fenceShown, gateShown, type GateShown } from './shown.js';
import { durationText, plain } from './words.js';

/** A phase of the runbook; `number` is null for what goes in any phase, and for gates that the runbook has not. */
export interface Phase {
  number: number | null;
  name: string;
  gates: readonly string[];
}

const PHASES: readonly Phase[] = [
  { number: 1, name: 'target', gates: ['target-ready'] },
  { number: 2, name: 'replicate', gates: ['replicated'] },
  { number: 3, name: 'verify', gates: ['verified'] },
  { number: 4, name: 'shift reads', gates: ['shift-reads'] },
  { number: 5, name: 'flip writes', gates: ['flip-writes', 'drained'] },
  { number: 6, name: 'ramp', gates: ['ramp'] },
  { number: 7, name: 'decommission', gates: ['decommission'] },
  { number: null, name: 'way back', gates: ['rollback-ready'] },
];

/** What is asked of each gate of the runbook. */
const QUESTIONS: Readonly<Record<string, string>> = {
  'target-ready': 'is the target ready?',
  replicated: 'does replication keep up?',
  verified: 'is the data the same?',
  'shift-reads': 'may reads shift?',
  'flip-writes': 'may writes flip?',
  drained: 'has the target everything?',
  ramp: 'may more traffic move?',
  decommission: 'may the old side go?',
  'rollback-ready': 'can we go back?',
};

/** The phases that a migration has gates of, in their order, then the gates that the runbook has not. */
export function railOf(migration: MigrationJson): Phase[] {
  const names = migration.gates.map((g) => g.name);
  const phases = PHASES.map((p) => ({ ...p, gates: p.gates.filter((g) => names.includes(g)) }));
  const known = new Set(PHASES.flatMap((p) => p.gates));
  const others = names.filter((name) => !known.has(name));
  return [...phases, { number: null, name: 'other', gates: others }].filter((p) => p.gates.length > 0);
}

/** Gates across migrations, by id in the daemon's order. */
export function topGates(model: Model): string[] {
  return [...model.gates.keys()].filter((id) => !id.includes('/'));
}

/** The question that a gate answers, for example `may writes flip?`. */
export function questionOf(gate: string): string {
  const name = gate.slice(gate.indexOf('/') + 1);
  return Object.hasOwn(QUESTIONS, name) ? (QUESTIONS[name] ?? '') : `is ${plain(name)} open?`;
}

/**
 * The gate that matters now, by name: after the flip whether more traffic may move, then whether the old side may go;
 * during a switch whether the fence has drained; before it the first phase that may not be left. Null without gates.
 */
export function presentGate(model: Model, migration: MigrationJson, now: Now): string | null {
  const phases = railOf(migration);
  const has = (name: string): boolean => migration.gates.some((g) => g.name === name);
  const isOpen = (name: string): boolean => gateShown(model, `${migration.name}/${name}`, now).state === 'open';
  const fence = fenceShown(model, migration.name, now);
  if (fence !== null && fence.fence.ended_at === null && has('drained') && migration.direction === 'forward') {
    return 'drained';
  }
  if (migration.direction === 'reverse') {
    // That more traffic may move is what matters until the old side may go, which takes its time.
    const after = ['decommission', 'ramp'].filter(has);
    const next = after.find(isOpen) ?? after.at(-1);
    if (next !== undefined) return next;
  }
  const before = phases.filter((p) => p.number !== null && p.number <= 5).flatMap((p) => p.gates.filter((g) => g !== 'drained')); // prettier-ignore
  return before.find((name) => !isOpen(name)) ?? before.at(-1) ?? migration.gates[0]?.name ?? null;
}

/** The phase of a gate by its name, for example `Phase 5`; empty for gates that belong to none. */
export function phaseOf(name: string): string {
  const phase = PHASES.find((p) => p.gates.includes(name));
  return phase === undefined || phase.number === null ? '' : `Phase ${phase.number}`;
}

/** `Phase 5: may writes flip? CLOSED because lag 3.66 s, needs < 1s`. */
export function headline(shown: GateShown): string {
  const phase = phaseOf(shown.gate.slice(shown.gate.indexOf('/') + 1));
  const because = becauseOf(shown);
  const question = questionOf(shown.gate);
  const asked = phase === '' ? question.charAt(0).toUpperCase() + question.slice(1) : `${phase}: ${question}`;
  return `${asked} ${shown.state.toUpperCase()}${because === '' ? '' : ` because ${because}`}`;
}

/** What comes first when the reason is asked for. */
const ORDER: readonly ConditionState[] = ['broken', 'unknown', 'holding', 'held'];

/** The conditions of a verdict, those first that keep the gate from being open. */
export function conditionsByWeight(verdict: VerdictJson): VerdictJson['conditions'] {
  return [...verdict.conditions].sort((a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state));
}

/** Why a gate is not open, in a few words; empty when it is. */
export function becauseOf(shown: GateShown): string {
  const { state, verdict, doubt, opensIn } = shown;
  if (doubt !== null) return doubt;
  if (state === 'open' || verdict === null) return '';
  if (verdict.reason !== null) return plain(verdict.reason);
  const [first] = conditionsByWeight(verdict);
  if (first === undefined || first.state === 'held') return '';
  const more = verdict.conditions.filter((c) => c.state === first.state).length - 1;
  const opens = opensIn === null ? '' : `; could open in ${durationText(opensIn)}`;
  return `${conditionWords(first)}${more > 0 ? ` and ${more} more` : ''}${opens}`;
}

/** Shapes that tell states apart without colour, and in ASCII where nothing else can be drawn. */
export const GLYPHS: Readonly<Record<GateState | ConditionState, { shape: string; ascii: string }>> = {
  open: { shape: '●', ascii: 'O' },
  closed: { shape: '■', ascii: 'X' },
  unknown: { shape: '?', ascii: '?' },
  held: { shape: '●', ascii: 'O' },
  holding: { shape: '◐', ascii: '~' },
  broken: { shape: '■', ascii: 'X' },
};
