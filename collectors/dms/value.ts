/** What is known of one signal, and how what is known of several tasks makes one. */
export interface Value {
  /** Null when unknown; then `reason` says why. */
  value: number | null;
  reason: string | null;
  bound?: 'at-least';
}

/** A known value, with a remark or without one. */
export function is(value: number, reason: string | null = null): Value {
  return { value, reason };
}

/** Nothing is known, for this reason. */
export function unknownFor(reason: string): Value {
  return { value: null, reason };
}

/** How the values of several tasks are one: the sum, the smallest or the greatest of them. */
export type Fold = 'sum' | 'least' | 'greatest';

/**
 * What the values of all tasks of a link come to. With one of them unknown it is unknown, but for what the others decide
 * already: a sum or a greatest value can only be more, and no flag can be below 0.
 */
export function fold(how: Fold, values: readonly Value[]): Value {
  const known = values.flatMap((v) => (v.value === null ? [] : [v.value]));
  const reason = joined(values.map((v) => v.reason));
  const whole = known.length === values.length && known.length > 0;
  if (how === 'least') {
    const least = Math.min(...known);
    if (whole || least === 0) return { value: least, reason };
    return unknownFor(reason ?? 'unknown');
  }
  const value = how === 'sum' ? known.reduce((a, b) => a + b, 0) : Math.max(...known, 0);
  if (!whole && value === 0) return unknownFor(reason ?? 'unknown');
  const exact = whole && values.every((v) => v.bound === undefined);
  return exact ? { value, reason } : { value, reason, bound: 'at-least' };
}

/** Reasons of several tasks, each said once; null when there is none. */
export function joined(reasons: readonly (string | null)[]): string | null {
  const said = [...new Set(reasons.filter((r) => r !== null))];
  return said.length === 0 ? null : said.join('; ');
}
