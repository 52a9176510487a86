import { describe, expect, it } from 'vitest';
import { Board } from '../../../daemon/board.js';
import { US_PER_S } from '../../../daemon/core/clock.js';
import { known, unknown } from '../../../daemon/core/signal.js';

const at = (second: number): number => second * US_PER_S;
const KEY = 'shop.forward.lag';
const HOUR = 3_660;

describe('the board', () => {
  it('has nothing to say of a signal that was never observed', () => {
    const board = new Board(at(5));
    expect(board.reading(KEY)).toEqual(unknown('nothing has been observed yet', at(5)));
    expect(board.history(KEY, 0, at(10))).toEqual([]);
  });

  it('holds the latest reading', () => {
    const board = new Board(0);
    board.set(KEY, known(1, at(1), at(3)), at(1));
    board.set(KEY, known(2, at(2), at(3)), at(2));
    expect(board.reading(KEY).value).toBe(2);
    expect(board.keys()).toEqual([KEY]);
    board.remove((key) => key.startsWith('other.'));
    expect(board.keys()).toEqual([KEY]);
    board.remove((key) => key.startsWith('shop.'));
    expect(board.reading(KEY).value).toBeNull();
  });

  it('keeps the last and the highest value of every second', () => {
    const board = new Board(0);
    board.set(KEY, known(1, at(1), at(100)), at(1));
    board.set(KEY, known(7, at(1), at(100)), at(1) + 1);
    board.set(KEY, known(3, at(1), at(100)), at(1) + 2);
    board.sweep(at(2));
    board.sweep(at(3));
    expect(board.history(KEY, at(1), at(3))).toEqual([
      { second: 1, last: 3, max: 7 },
      { second: 2, last: 3, max: 3 },
      { second: 3, last: 3, max: 3 },
    ]);
  });

  it('shows the peak that a growing lag had just before it ended', () => {
    const board = new Board(0);
    board.set(KEY, { ...known(0.1, at(1), at(100)), growsFrom: at(1) }, at(1));
    board.set(KEY, known(0.2, at(4), at(100)), at(4));
    expect(board.history(KEY, at(4), at(4))).toEqual([{ second: 4, last: 0.2, max: 3 }]);
  });

  it('shows a gap where a reading was stale, unknown or only a bound', () => {
    const board = new Board(0);
    board.set(KEY, known(1, at(1), at(2)), at(1));
    for (const s of [2, 3, 4, 5]) board.sweep(at(s));
    board.set(KEY, unknown('down', at(6)), at(6));
    board.set(KEY, { ...known(4, at(7), at(9)), bound: 'at-least' }, at(7));
    expect(board.history(KEY, at(1), at(7)).map((b) => b.last)).toEqual([1, 1, 1, null, null, null, null]);
  });

  it('begins with the bucket that contains the instant asked for', () => {
    const board = new Board(0);
    for (let s = 1; s <= 9; s += 1) board.set(KEY, known(s, at(s), at(2)), at(s));
    expect(board.history(KEY, at(7) + 999_999, at(9)).map((b) => b.second)).toEqual([7, 8, 9]);
  });

  it.each([
    ['often', 1],
    ['seldom', 900],
  ])('keeps at least the last hour of a signal that changes %s, and not much more', (_, every) => {
    const board = new Board(0);
    const end = 10_000;
    for (let s = 0; s <= end; s += 1) {
      if (s % every === 0) board.set(KEY, known(s, at(s), Infinity), at(s));
      else board.sweep(at(s));
    }
    const history = board.history(KEY, 0, at(end));
    expect(history.length).toBeGreaterThanOrEqual(3_600);
    expect(history.length).toBeLessThanOrEqual(HOUR + 1);
    expect(history.at(-1)?.second).toBe(end);
    for (const b of history) expect(b.last).toBe(b.second - (b.second % every));
    for (let i = 1; i < history.length; i += 1) expect(history[i]!.second).toBe(history[i - 1]!.second + 1);
  });

  it('loses nothing when a signal begins to change often', () => {
    const board = new Board(0);
    for (let s = 0; s < 200; s += 1) board.set(KEY, known(s, at(s), Infinity), at(s));
    expect(board.history(KEY, 0, at(199)).map((b) => b.last)).toEqual(Array.from({ length: 200 }, (_, s) => s));
  });

  it('keeps the highest value of a second also of a signal that changes often', () => {
    const board = new Board(0);
    for (let s = 0; s < 100; s += 1) {
      board.set(KEY, known(s + 50, at(s), Infinity), at(s));
      board.set(KEY, known(s, at(s), Infinity), at(s) + 1);
      if (s === 99) board.set(KEY, unknown('down', at(s)), at(s) + 2);
    }
    expect(board.history(KEY, at(97), at(99))).toEqual([
      { second: 97, last: 97, max: 147 },
      { second: 98, last: 98, max: 148 },
      { second: 99, last: null, max: 149 },
    ]);
  });

  it('shows seconds in which nobody looked at a changing signal as a gap', () => {
    const board = new Board(0);
    for (let s = 0; s < 100; s += 1) board.set(KEY, known(s, at(s), Infinity), at(s));
    board.set(KEY, known(105, at(105), at(2)), at(105));
    expect(board.history(KEY, at(99), at(105)).map((b) => b.last)).toEqual([99, null, null, null, null, null, 105]);
  });

  it('shows a stall as a gap also of a signal that hardly changes, and a late look as none', () => {
    const board = new Board(0);
    board.set(KEY, known(7, at(0), Infinity), at(0));
    for (const s of [1, 2, 4, 10, 11]) board.sweep(at(s));
    expect(board.history(KEY, at(1), at(11)).map((b) => b.last)).toEqual([
      7,
      7,
      7,
      7,
      null,
      null,
      null,
      null,
      null,
      7,
      7,
    ]);
  });
});
