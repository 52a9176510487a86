import type { Us } from './core/clock.js';
import type { ReadingPart } from './core/observation.js';
import { unknown, type Reading } from './core/signal.js';

/** Everyone whose part belongs to a signal that is a sum. */
const PARTS: Readonly<Record<ReadingPart, string>> = {
  'dms-tasks': 'the DMS tasks were not asked yet',
  'dms-control-tables': "DMS's control tables on the target were not read yet",
};

/**
 * Adds up what several collectors see of one signal. The sum is known when all parts are, and as old as the oldest; where one
 * is unknown and the others found something, that much is known to be the least.
 */
export class ReadingParts {
  private readonly all = new Map<string, Map<ReadingPart, Reading>>();

  /** Takes one part of the signal `key` (`migration/link.signal`) and returns the sum of all. */
  sum(key: string, part: ReadingPart, reading: Reading, now: Us): Reading {
    const parts = this.all.get(key) ?? new Map<ReadingPart, Reading>();
    this.all.set(key, parts.set(part, reading));
    return addUp(
      (Object.keys(PARTS) as ReadingPart[]).map((name) => parts.get(name) ?? unknown(PARTS[name], now)),
      now,
    );
  }

  /** Drops what is remembered of one migration, or of all. */
  forget(migration?: string): void {
    if (migration === undefined) this.all.clear();
    else for (const key of this.all.keys()) if (key.startsWith(`${migration}/`)) this.all.delete(key);
  }
}

function addUp(parts: readonly Reading[], now: Us): Reading {
  const usable = parts.filter((p) => p.value !== null && now - p.observedAt <= p.freshUs);
  const value = usable.reduce((sum, p) => sum + (p.value ?? 0), 0);
  const whole = usable.length === parts.length;
  const reasons = parts.flatMap((p) => {
    if (usable.includes(p)) return p.reason === null ? [] : [p.reason];
    return [p.value === null ? (p.reason ?? 'unknown') : 'a part of it is stale'];
  });
  const reason = reasons.length === 0 ? null : reasons.join('; ');
  if (!whole && value === 0) return unknown(reason ?? 'unknown', now);
  const observedAt = Math.min(...usable.map((p) => p.observedAt));
  const until = Math.min(...usable.map((p) => p.observedAt + p.freshUs));
  const exact = whole && parts.every((p) => p.bound === 'exact');
  return {
    value,
    growsFrom: null,
    bound: exact ? 'exact' : 'at-least',
    observedAt,
    freshUs: until - observedAt,
    reason,
  };
}
