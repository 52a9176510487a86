import type { Us } from './clock.js';
import type { Unit } from './units.js';

export type Comparator = '<' | '<=' | '>' | '>=' | '==' | '!=';
export type WindowFunction = 'max' | 'min' | 'avg' | 'p50' | 'p90' | 'p95' | 'p99';

/** A condition that was parsed and checked against the signals that exist. */
export type Condition = SignalCondition | GateCondition;

/** `forward.lag < 2s for 10m`, or `p99(forward.lag, 5m) < 2s`. */
export interface SignalCondition {
  kind: 'signal';
  /** As the user wrote it, white space folded. */
  text: string;
  /** The migration whose signal it is. */
  migration: string;
  /** Relative to the migration, for example `forward.lag`. */
  signal: string;
  unit: Unit;
  fn: { name: WindowFunction; windowUs: Us } | null;
  op: Comparator;
  /** In the signal's unit. */
  threshold: number;
  /** 0 when there is no `for`. */
  forUs: Us;
}

/** `gate shop/flip-writes open for 5m`. */
export interface GateCondition {
  kind: 'gate';
  text: string;
  /** Gate id. */
  gate: string;
  forUs: Us;
}
