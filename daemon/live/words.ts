/** Values, durations and instants in words, for whoever shows them to people. */
import { formatValue, type Unit } from '../core/units.js';

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

/** `1 gate`, `9 gates`. */
export function plural(n: number, noun: string): string {
  return `${String(n)} ${noun}${n === 1 ? '' : 's'}`;
}
