import { describe, expect, it } from 'vitest';
import { ErrorWindow } from '../../collectors/session/error-window.js';

const minute = 60_000_000;

/** minute, total, expected value, bound; a trailing text is the counter's identity. */
type Row = [at: number, total: number, value: number, bound: 'exact' | 'at-least', identity?: string];

const tables: Record<string, Row[]> = {
  'a counter that was never used is known at once': [
    [0, 0, 0, 'exact'],
    [1, 0, 0, 'exact'],
  ],
  'a counter that was set back to zero before the first look hides what it had counted': [
    [0, 0, 0, 'at-least', 'reset'],
    [9.99, 0, 0, 'at-least', 'reset'],
    [10, 0, 0, 'exact', 'reset'],
  ],
  'old errors at the first look are of unknown age, so nothing is certain for ten minutes': [
    [0, 7, 0, 'at-least'],
    [5, 7, 0, 'at-least'],
    [9.99, 7, 0, 'at-least'],
    [10, 7, 0, 'exact'],
  ],
  'new errors count while they are within the window': [
    [0, 0, 0, 'exact'],
    [1, 2, 2, 'exact'],
    [5, 3, 3, 'exact'],
    [10.99, 3, 3, 'exact'],
    [11, 3, 1, 'exact'],
    [15, 3, 0, 'exact'],
  ],
  'new errors on top of old ones are a lower bound': [
    [0, 7, 0, 'at-least'],
    [1, 9, 2, 'at-least'],
    [10, 9, 2, 'exact'],
    [11, 9, 0, 'exact'],
  ],
  'errors in a gap of observation count from the look that saw them': [
    [0, 0, 0, 'exact'],
    [60, 4, 4, 'exact'],
    [69, 4, 4, 'exact'],
    [70, 4, 0, 'exact'],
  ],
  'a counter that goes back began anew, and what it lost is unknown': [
    [0, 0, 0, 'exact'],
    [1, 5, 5, 'exact'],
    [2, 1, 6, 'at-least'],
    [11.5, 1, 1, 'at-least'],
    [12, 1, 0, 'exact'],
  ],
  'a reset to zero is a reset too': [
    [0, 0, 0, 'exact'],
    [1, 5, 5, 'exact'],
    [2, 0, 5, 'at-least'],
    [12, 0, 0, 'exact'],
  ],
  'a reset shows by its identity even when the count is the same': [
    [0, 0, 0, 'exact', 'a'],
    [1, 3, 3, 'exact', 'a'],
    [2, 3, 6, 'at-least', 'b'],
    [12, 3, 0, 'exact', 'b'],
  ],
};

describe('ErrorWindow', () => {
  it.each(Object.entries(tables))('%s', (_, rows) => {
    const window = new ErrorWindow();
    const seen = rows.map(([at, total, , , identity = '']) =>
      window.look({ total, identity, reset: identity === 'reset' }, at * minute),
    );
    expect(seen).toEqual(rows.map(([, , value, bound]) => ({ value, bound })));
  });
});
