import { describe, expect, it } from 'vitest';
import type { Direction } from '../../daemon/core/direction.js';
import { stateAt, type Reading } from '../../daemon/core/signal.js';
import { Strays } from '../../daemon/strays.js';

const S = 1_000_000;
const forward: Direction = { direction: 'forward', epoch: 0, changedAt: null };
const reverse: Direction = { direction: 'reverse', epoch: 1, changedAt: null };

/** Both sides of one migration, seconds apart. */
class Pair {
  readonly strays = new Strays({});
  private t = 1;

  turn(direction: Direction): this {
    this.strays.turn('shop', direction, this.t * 1_000);
    return this;
  }
  watch(side: 'source' | 'target', watching = true): this {
    const nothing = { emptyGap: false, upTo: null, mark: null } as const;
    const reason = watching ? null : 'cut';
    this.strays.observe(
      'shop',
      side,
      { kind: 'local-watch', database: side, watching, ...nothing, reason, at: this.t * S },
      this.t * 1_000,
    );
    return this;
  }
  wrote(side: 'source' | 'target', ...positions: string[]): this {
    const writes = positions.map((position) => ({ position, committedAt: null }));
    this.strays.observe('shop', side, { kind: 'local-writes', database: side, writes, at: this.t * S }, this.t * 1_000);
    return this;
  }
  later(seconds: number): this {
    this.t += seconds;
    return this;
  }
  reading(direction: Direction): Reading {
    return this.strays.reading('shop', direction, this.t * S);
  }
  says(direction: Direction): string {
    const reading = this.reading(direction);
    if (reading.value === null) return 'unknown';
    return reading.bound === 'exact' ? String(reading.value) : `>=${reading.value}`;
  }
}

const watched = (): Pair => new Pair().turn(forward).watch('source').watch('target');

describe('stray writes over a change of direction', () => {
  it('of the side that was passive stay, until somebody has reconciled them', () => {
    const p = watched().wrote('target', '0/1', '0/2').later(1).turn(reverse).watch('source').watch('target');
    expect(p.says(reverse)).toBe('2');
    expect(p.reading(reverse).reason).toMatch(
      /^2 stray on the target from when it was the passive side, the first at 0\/1$/,
    );
    expect(p.wrote('source', '0/9').says(reverse)).toBe('3');
    p.strays.clear('shop', Infinity, 9_000);
    expect(p.says(reverse)).toBe('0');
  });

  it('that nobody could have seen stay unknown', () => {
    const p = watched().later(1).watch('target', false).later(9).watch('target').later(1);
    expect(p.says(forward)).toBe('unknown');
    p.turn(reverse).watch('source').watch('target');
    expect(p.says(reverse)).toBe('unknown');
    expect(p.reading(reverse).reason).toMatch(/^the target was not watched from .*attest stray-writes-reconciled$/);
    expect(p.wrote('source', '0/9').says(reverse)).toBe('>=1');
    p.strays.clear('shop', Infinity, 99_000);
    expect(p.watch('source').says(reverse)).toBe('0');
  });

  it('are those of the passive side alone where the other one had none', () => {
    const p = watched().later(1).turn(reverse).watch('source').watch('target');
    expect(p.says(reverse)).toBe('0');
    expect(stateAt(p.reading(reverse), 2 * S)).toBe('ok');
    expect(p.wrote('target', '0/5').says(reverse)).toBe('0');
  });

  it('make no split brain by themselves once their side is the one that serves', () => {
    const p = watched()
      .wrote('target', '0/1')
      .later(1)
      .turn(reverse)
      .watch('source')
      .watch('target')
      .wrote('target', '0/5');
    expect(p.strays.splitBrain('shop', reverse, 2 * S, 2_000)).toMatchObject({ latched: false, reading: { value: 0 } });
  });
});

describe('split brain', () => {
  const split = (p: Pair, at: number) => p.strays.splitBrain('shop', forward, at * S, at * 1_000);

  it('is unknown while the active side has not been watched for as long as its rate takes, and known with one write', () => {
    const p = watched().wrote('target', '0/1').later(1);
    expect(split(p, 2).reading).toMatchObject({ value: null });
    p.wrote('source', '0/7');
    expect(split(p, 2)).toMatchObject({ latched: true, reading: { value: 1 } });
    expect(split(p, 3)).toMatchObject({ latched: false, reading: { value: 1 } });
    p.strays.clear('shop', Infinity, 9_000);
    expect(split(p.watch('target'), 2).reading.value).toBe(0);
  });

  it('is none where the active side was watched all the time, and silent', () => {
    const p = watched().later(10).watch('source').watch('target').wrote('target', '0/1');
    expect(split(p, 11)).toMatchObject({ latched: false, reading: { value: 0, bound: 'exact' } });
  });
});
