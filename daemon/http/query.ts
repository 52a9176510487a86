import { formatDurationUs, parseDurationUs } from '../core/units.js';
import { Problem } from './problem.js';

const INSTANT =
  /^(\d{4})-(\d{2})-(\d{2})T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/i;

/** A query with every parameter given at most once and none that the route does not know. */
export type Query = Readonly<Partial<Record<string, string>>>;

/** Refuses unknown and repeated parameters: a misspelt `since` that is ignored would answer another question. */
export function readQuery(raw: unknown, known: readonly string[]): Query {
  const query: Record<string, string> = {};
  for (const [name, value] of Object.entries(raw as Record<string, unknown>)) {
    if (!known.includes(name)) {
      const list = known.length === 0 ? 'this resource takes none' : `known are ${known.join(', ')}`;
      throw new Problem(400, 'unknown_parameter', `unknown query parameter ${JSON.stringify(name)}: ${list}`, {
        extra: { known },
      });
    }
    if (typeof value !== 'string') {
      throw new Problem(400, 'repeated_parameter', `query parameter ${JSON.stringify(name)} is given more than once`);
    }
    query[name] = value;
  }
  return query;
}

/** Reads an RFC 3339 instant as milliseconds since 1970; undefined when the parameter is absent. */
export function readInstant(query: Query, name: string): number | undefined {
  const text = query[name];
  if (text === undefined) return undefined;
  const m = INSTANT.exec(text);
  if (m !== null) {
    const [year, month, day] = [Number(m[1]), Number(m[2]), Number(m[3])];
    // JavaScript rolls 30 February over to March; a calendar does not.
    const lastDay = new Date(Date.UTC(year, month, 0)).getUTCDate();
    const at = Date.parse(text.toUpperCase());
    if (month >= 1 && month <= 12 && day >= 1 && day <= lastDay && !Number.isNaN(at)) return at;
  }
  throw new Problem(
    400,
    'invalid_instant',
    `${name} must be an RFC 3339 instant such as 2026-12-01T01:00:00Z (a + in a query is written %2B)`,
  );
}

/** Reads a duration with its unit (`60s`) as milliseconds; undefined when absent; refuses what is outside the bounds. */
export function readDuration(query: Query, name: string, bounds: { minMs: number; maxMs: number }): number | undefined {
  const text = query[name];
  if (text === undefined) return undefined;
  const us = parseDurationUs(text);
  if (us === null) {
    throw new Problem(400, 'invalid_duration', `${name} must be a duration with a unit such as 500ms, 60s or 10m`);
  }
  if (us < bounds.minMs * 1_000 || us > bounds.maxMs * 1_000) {
    const range = `${formatDurationUs(bounds.minMs * 1_000)} to ${formatDurationUs(bounds.maxMs * 1_000)}`;
    throw new Problem(400, 'duration_out_of_range', `${name} must be ${range}`);
  }
  return us / 1_000;
}

/** Reads a whole number in decimal digits; undefined when absent; refuses what is outside the bounds. */
export function readInteger(query: Query, name: string, bounds: { min: number; max: number }): number | undefined {
  const text = query[name];
  if (text === undefined) return undefined;
  const value = /^\d{1,15}$/.test(text) ? Number(text) : NaN;
  if (!(value >= bounds.min && value <= bounds.max)) {
    throw new Problem(400, 'invalid_number', `${name} must be a whole number from ${bounds.min} to ${bounds.max}`);
  }
  return value;
}
