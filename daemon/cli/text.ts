import { formatValue, type Unit } from '../core/units.js';
import type { Io } from './io.js';

/** Wraps text in the escape codes of a colour, or leaves it alone. */
export type Paint = (text: string, colour: Colour) => string;
export type Colour = 'red' | 'green' | 'yellow' | 'magenta' | 'dim' | 'bold';

const CODES: Readonly<Record<Colour, number>> = { red: 31, green: 32, yellow: 33, magenta: 35, dim: 2, bold: 1 };

/** Colours only in a terminal that has them and for a person who wants them (NO_COLOR); they never carry meaning alone. */
export function painter(io: Pick<Io, 'env' | 'isTTY'>): Paint {
  const off = !io.isTTY || (io.env['NO_COLOR'] ?? '') !== '' || io.env['TERM'] === 'dumb';
  return off ? (text) => text : (text, colour) => `\u001b[${String(CODES[colour])}m${text}\u001b[0m`;
}

/** Text from elsewhere on one line and without control characters, so that no answer can steer the terminal. */
export function plain(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]+/gu, ' ').trim();
}

/** Units as the API spells them, where that is not how lockgate does inside. */
const SPELLED: Readonly<Record<string, Unit>> = {
  s: 's',
  B: 'B',
  '0..1': 'ratio',
  ratio: 'ratio',
  '%': 'percent',
  percent: 'percent',
  '0/1': 'flag',
  flag: 'flag',
  count: 'count',
  '': 'count',
};

/** A value as people read it; null is `no value`, and a unit that is not known is written as it came. */
export function valueText(value: number | null, unit: string): string {
  if (value === null) return 'no value';
  if (unit === 's' && Math.abs(value) >= 60) return durationText(value);
  const known = Object.hasOwn(SPELLED, unit) ? SPELLED[unit] : undefined;
  return known === undefined ? `${formatValue(value, 'count')} ${plain(unit)}` : formatValue(value, known);
}

/** A duration for people by its two largest units: `0.4s`, `42s`, `3m 20s`, `1h 5m`, `6d 2h`. */
export function durationText(seconds: number): string {
  if (!Number.isFinite(seconds)) return 'for ever';
  if (seconds < 0) return `-${durationText(-seconds)}`;
  if (seconds < 10) return `${String(Math.round(seconds * 10) / 10)}s`;
  const whole = Math.round(seconds);
  const parts: [number, string][] = [
    [Math.floor(whole / 86400), 'd'],
    [Math.floor((whole % 86400) / 3600), 'h'],
    [Math.floor((whole % 3600) / 60), 'm'],
    [whole % 60, 's'],
  ];
  const first = parts.findIndex(([n]) => n > 0);
  return parts
    .slice(first, first + 2)
    .filter(([n]) => n > 0)
    .map(([n, unit]) => `${String(n)}${unit}`)
    .join(' ');
}

/** An instant in UTC for people: the time of day, and the date as well when it is not `now`'s. */
export function instantText(instant: string | number, now: number): string {
  const at = typeof instant === 'number' ? instant : Date.parse(instant);
  if (!Number.isFinite(at)) return plain(String(instant));
  const iso = new Date(at).toISOString();
  const time = `${iso.slice(11, 19)}Z`;
  return iso.slice(0, 10) === new Date(now).toISOString().slice(0, 10) ? time : `${iso.slice(0, 10)} ${time}`;
}

/** Rows as aligned columns, two spaces apart; the last column is not padded. */
export function columns(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, cell.length)));
  return rows.map((row) =>
    row
      .map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i] ?? 0)))
      .join('  ')
      .trimEnd(),
  );
}

/** `1 gate`, `9 gates`. */
export function plural(n: number, noun: string): string {
  return `${String(n)} ${noun}${n === 1 ? '' : 's'}`;
}
