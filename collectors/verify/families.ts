import type { ColumnShape, TypeFamily } from './port.js';

/**
 * How columns of two families can be compared in canonical form (docs/verification-canonical.md): what both sides are
 * brought to, and a remark where that is not obvious.
 */
export interface Common {
  readonly as: TypeFamily;
  readonly remark?: string;
}

const WHOLE: ReadonlySet<TypeFamily> = new Set(['integer', 'boolean', 'bit', 'year']);
/** Comparing two of them as the wider one loses nothing. */
const EXACT: ReadonlySet<TypeFamily> = new Set(['integer', 'boolean', 'decimal', 'year']);
const REAL: ReadonlySet<TypeFamily> = new Set(['integer', 'decimal', 'float4', 'float8']);
const FLOATS: ReadonlySet<TypeFamily> = new Set(['float4', 'float8']);
const TEXTS: ReadonlySet<TypeFamily> = new Set(['text', 'char', 'enum']);
const JSONS: ReadonlySet<TypeFamily> = new Set(['json', 'jsonb']);
const INSTANTS: ReadonlySet<TypeFamily> = new Set(['timestamp', 'timestamptz']);

/** What two families have in common in canonical form; null when their values cannot be compared. */
export function commonFamily(a: TypeFamily, b: TypeFamily): Common | null {
  if (a === 'other' || b === 'other') return null;
  const both = (set: ReadonlySet<TypeFamily>): boolean => set.has(a) && set.has(b);
  const one = (set: ReadonlySet<TypeFamily>): boolean => set.has(a) || set.has(b);
  const either = (family: TypeFamily): boolean => a === family || b === family;
  if (both(JSONS)) return { as: 'json' };
  if (a === b) return { as: a };
  if (both(WHOLE)) return { as: 'integer' };
  if (both(EXACT)) return { as: 'decimal' };
  if (both(REAL) && one(FLOATS)) return { as: either('float4') ? 'float4' : 'float8' };
  if (both(TEXTS)) return { as: 'text' };
  if (one(JSONS) && either('text')) return { as: 'json' };
  if (either('uuid') && (either('text') || either('char') || either('bytes'))) return { as: 'uuid' };
  if (both(INSTANTS)) {
    return { as: 'timestamptz', remark: 'is an instant on one side only, and the other side is read as UTC' };
  }
  return null;
}

/** Whether one engine prints equal values of both columns alike. */
export function nativelyComparable(engine: 'postgres' | 'mysql', a: ColumnShape, b: ColumnShape): boolean {
  if (a.family === b.family) return true;
  if (TEXTS.has(a.family) && TEXTS.has(b.family)) return true;
  // MySQL has no type of its own for it.
  const whole: ReadonlySet<TypeFamily> = new Set(['integer', 'boolean']);
  return engine === 'mysql' && whole.has(a.family) && whole.has(b.family);
}

/** Whether values of the family may be equal though their texts differ; null when their text decides. */
export function softOf(as: TypeFamily): 'float4' | 'float8' | 'json' | null {
  return as === 'float4' || as === 'float8' || as === 'json' ? as : null;
}
