/** What a terminal can show: pieces of text with a colour, cut to its width. */
import type { Colour, Paint } from './text.js';

/** A piece of a line. */
export interface Piece {
  text: string;
  colour?: Colour;
}

/** A line as it is put together, before it is cut. */
export type Line = readonly Piece[];

/** How to draw: colours or none, and more than ASCII or not. */
export interface Style {
  paint: Paint;
  unicode: boolean;
}

/** What draws lines and shapes, by whether there is more than ASCII. */
export const SIGNS = {
  unicode: { line: '─', dots: '…', arrow: '→', mark: '▸', bars: '▁▂▃▄▅▆▇█', full: '█', empty: '░' },
  ascii: { line: '-', dots: '~', arrow: '->', mark: '>', bars: '_.-~=+*#', full: '#', empty: '.' },
} as const;

/** Ranges of characters that take two columns (East Asian wide ones, and pictures). */
const WIDE: readonly (readonly [number, number])[] = [
  ...([[0x1100, 0x115f], [0x2e80, 0xa4cf], [0xac00, 0xd7a3], [0xf900, 0xfaff]] as const), // prettier-ignore
  ...([[0xfe30, 0xfe6f], [0xff00, 0xff60], [0xffe0, 0xffe6], [0x1f300, 0x1faff], [0x20000, 0x3fffd]] as const), // prettier-ignore
];

function widthOf(character: string): number {
  if (/^[\p{M}\u200b-\u200f\ufe00-\ufe0f]$/u.test(character)) return 0;
  const code = character.codePointAt(0) ?? 0;
  return WIDE.some(([from, to]) => code >= from && code <= to) ? 2 : 1;
}

/** Columns that a text takes. */
export function textWidth(text: string): number {
  let width = 0;
  for (const character of text) width += widthOf(character);
  return width;
}

/** Fills a text up with spaces to so many columns. */
export function pad(text: string, columns: number): string {
  return text + ' '.repeat(Math.max(0, columns - textWidth(text)));
}

/** Draws a line in at most `columns`; what does not fit is cut off, and shows that it is. */
export function drawLine(line: Line, columns: number, style: Style): string {
  const { dots } = style.unicode ? SIGNS.unicode : SIGNS.ascii;
  const pieces = line.map((p) => ({ ...p, text: style.unicode ? p.text : asciiOf(p.text) }));
  const fits = pieces.reduce((n, p) => n + textWidth(p.text), 0) <= columns;
  let left = fits ? columns : columns - 1;
  let drawn = '';
  for (const { text, colour } of pieces) {
    let part = '';
    for (const character of text) {
      const width = widthOf(character);
      if (width > left) {
        left = 0;
        break;
      }
      left -= width;
      part += character;
    }
    if (part !== '') drawn += colour === undefined ? part : style.paint(part, colour);
    if (left <= 0) break;
  }
  return fits ? drawn.trimEnd() : columns < 1 ? '' : drawn + dots;
}

function asciiOf(text: string): string {
  return text
    .replace(/→/g, '->')
    .replace(/[…]/g, '...')
    .replace(/[^\x20-\x7e]/gu, '?');
}
