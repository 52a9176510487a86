/** What a run finds, and how it is put in words. */
import type { FalseGreen, Gate } from './gates.js';
import type { MemoryVerdict } from './memory.js';
import type { HeldOnBoth, MetricsSample, ProcessSample } from './resources.js';

/** What became of one fault; times in ms. */
export interface FaultRecord {
  readonly name: string;
  /** The other fault, where two were made at once. */
  readonly detail: string | null;
  /** Seconds since the start of the run. */
  readonly atSeconds: number;
  readonly lastedMs: number;
  /** From the beginning of the fault to the first answer that was not "open"; null when all were. */
  readonly closedMs: Readonly<Record<Gate, number | null>>;
  /** From healing to both gates open; null when stuck. */
  readonly openedMs: number | null;
  readonly attested: readonly string[];
  readonly problems: readonly string[];
}

/** A gate that was not open although the truth was good all the time. */
export interface FalseRed {
  readonly gate: Gate;
  readonly during: string;
  readonly atSeconds: number;
  answers: number;
  readonly said: string;
}

/** Everything a run has found. */
export interface SoakResult {
  readonly seed: number;
  readonly minutes: number;
  readonly allowedMs: number;
  readonly faults: readonly FaultRecord[];
  readonly falseGreens: readonly FalseGreen[];
  readonly falseReds: readonly FalseRed[];
  readonly asked: Readonly<Record<Gate, number>>;
  readonly judged: { readonly open: number; readonly truthUnknown: number };
  readonly worstOpenMs: number;
  readonly rowsWritten: number;
  readonly baseline: HeldOnBoth;
  readonly most: HeldOnBoth;
  readonly memory: MemoryVerdict;
  readonly processorShare: number;
  readonly lives: number;
  readonly processes: readonly ProcessSample[];
  readonly metrics: readonly MetricsSample[];
  /** Everything that makes the soak fail, in words. */
  readonly problems: readonly string[];
  /** The daemon's newest log lines, when something is wrong. */
  readonly log: string;
}

/** What lockgate holds, in words. */
export function sayHeld({ source, target }: HeldOnBoth): string {
  const side = (h: HeldOnBoth['source']): string => `${h.connections} sessions, ${h.slots} slots, ${h.locks} locks`;
  return `${side(source)} on the source; ${side(target)} on the target`;
}

/** One fault, in a line. */
export function sayRecord({ name, detail, lastedMs, closedMs, openedMs, attested, problems }: FaultRecord): string {
  const s = (ms: number | null): string => (ms === null ? 'never' : `${(ms / 1_000).toFixed(1)} s`);
  const after = attested.length === 0 ? '' : `, attested ${attested.join(' and ')}`;
  const wrong = problems.length === 0 ? '' : ` — ${problems.join('; ')}`;
  const what = detail === null ? name : `${name}, ${detail}`;
  return `${what}, ${s(lastedMs)}: lag closed ${s(closedMs.lag)}, whole ${s(closedMs.whole)}, open again ${s(openedMs)}${after}${wrong}`;
}
