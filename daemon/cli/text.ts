import type { Io } from './io.js';

/** Wraps text in the escape codes of a colour, or leaves it alone. */
export type Paint = (text: string, colour: Colour) => string;
export type Colour = 'red' | 'green' | 'yellow' | 'magenta' | 'dim' | 'bold' | 'inverse';

const CODES: Readonly<Record<Colour, number>> = {
  red: 31,
  green: 32,
  yellow: 33,
  magenta: 35,
  dim: 2,
  bold: 1,
  inverse: 7,
};

/** Colours only in a terminal that has them and for a person who wants them (NO_COLOR); they never carry meaning alone. */
export function painter(io: Pick<Io, 'env' | 'isTTY'>): Paint {
  const off = !io.isTTY || (io.env['NO_COLOR'] ?? '') !== '' || io.env['TERM'] === 'dumb';
  return off ? (text) => text : (text, colour) => `\u001b[${String(CODES[colour])}m${text}\u001b[0m`;
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
