/** The unit of a signal's value: seconds, bytes, a ratio 0..1, a count, per second, a percent 0..100 as DMS spells it, or a flag 0/1. */
export type Unit = 's' | 'B' | 'ratio' | 'count' | 'count/s' | 'percent' | 'flag';

const TIME_UNITS: Readonly<Record<string, number>> = {
  us: 1e-6,
  ms: 1e-3,
  s: 1,
  sec: 1,
  m: 60,
  min: 60,
  h: 3600,
  d: 86400,
};

const BYTE_UNITS: Readonly<Record<string, number>> = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };

/** Seconds in a time unit as the grammar spells it, or undefined when it is no time unit. */
export function secondsPer(unit: string): number | undefined {
  return Object.hasOwn(TIME_UNITS, unit) ? TIME_UNITS[unit] : undefined;
}

/** Bytes in a byte unit as the grammar spells it, or undefined when it is no byte unit. */
export function bytesPer(unit: string): number | undefined {
  return Object.hasOwn(BYTE_UNITS, unit) ? BYTE_UNITS[unit] : undefined;
}

/** Parses `500ms`, `2s`, `10 min`, `1h30m`, `7d` to whole microseconds; null when it is no duration. Zero is parsed as 0. */
export function parseDurationUs(text: string): number | null {
  const part = /\s*(\d+(?:\.\d+)?)\s*(us|ms|sec|min|s|m|h|d)(?![A-Za-z])/y;
  const trimmed = text.trim();
  let total = 0;
  let matched = false;
  while (part.lastIndex < trimmed.length) {
    const m = part.exec(trimmed);
    if (m === null) return null;
    total += Number(m[1]) * (secondsPer(m[2] ?? '') ?? 0);
    matched = true;
  }
  return matched ? Math.round(total * 1e6) : null;
}

/** Parses `512MiB`, `50 GiB` to bytes; null when it is no size. Zero is parsed as 0. */
export function parseBytes(text: string): number | null {
  const m = /^(\d+(?:\.\d+)?)\s*(B|KiB|MiB|GiB)$/.exec(text.trim());
  return m === null ? null : Math.round(Number(m[1]) * (BYTE_UNITS[m[2] ?? ''] ?? NaN));
}

/** Formats a duration in microseconds for people: `850ms`, `2s`, `10m`, `1h30m`. */
export function formatDurationUs(us: number): string {
  if (us < 1000) return `${String(us)}us`;
  if (us < 1_000_000) return `${String(round(us / 1000, 1))}ms`;
  const s = us / 1e6;
  if (s < 60) return `${String(round(s, 1))}s`;
  const whole = Math.round(s);
  const parts: [number, string][] = [
    [Math.floor(whole / 86400), 'd'],
    [Math.floor((whole % 86400) / 3600), 'h'],
    [Math.floor((whole % 3600) / 60), 'm'],
    [whole % 60, 's'],
  ];
  return parts
    .filter(([n]) => n > 0)
    .map(([n, u]) => `${String(n)}${u}`)
    .join('');
}

/** Formats a value with its unit for people, for example `0.42 s`, `16 MiB`, `99.5 %`, `1`. */
export function formatValue(value: number, unit: Unit): string {
  switch (unit) {
    case 's':
      return value !== 0 && Math.abs(value) < 1
        ? `${String(round(value * 1000, 1))} ms`
        : `${String(round(value, 2))} s`;
    case 'B': {
      const units = ['B', 'KiB', 'MiB', 'GiB'];
      let v = value;
      let i = 0;
      while (Math.abs(v) >= 1024 && i < units.length - 1) {
        v /= 1024;
        i += 1;
      }
      return `${String(round(v, 1))} ${units[i] ?? 'B'}`;
    }
    case 'ratio':
      return `${String(round(value * 100, 2))} %`;
    case 'percent':
      return `${String(round(value, 2))} %`;
    default:
      return String(round(value, 3));
  }
}

function round(value: number, digits: number): number {
  const f = 10 ** digits;
  return Math.round(value * f) / f;
}
