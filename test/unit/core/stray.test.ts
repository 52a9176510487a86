import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { stateAt } from '../../../daemon/core/signal.js';
import { StrayTracker, type LocalWrite, type StrayMemory } from '../../../daemon/core/stray.js';

const S = 1_000_000;
const write = (position: string): LocalWrite => ({ position, committedAt: null });

/** A tracker on a clock in seconds. */
class Side {
  tracker = new StrayTracker();
  t = 0;

  after(seconds: number): this {
    this.t += seconds;
    return this;
  }
  turn(passive: boolean | null, epoch = 0, since: number | null = null): this {
    this.tracker.turn(passive, epoch, this.t * 1_000, since === null ? null : since * 1_000);
    return this;
  }
  watching(emptyGap = false): this {
    this.tracker.watching(this.t * S, this.t * 1_000, emptyGap);
    return this;
  }
  lost(reason = 'lost'): this {
    this.tracker.unwatched(reason);
    return this;
  }
  wrote(...positions: string[]): this {
    this.tracker.wrote(this.t * S, this.t * 1_000, positions.map(write));
    return this;
  }
  touched(): this {
    this.tracker.directionTouched(this.t * 1_000);
    return this;
  }
  /** The daemon ends and starts again, from what was kept. */
  restart(): this {
    this.tracker = new StrayTracker(JSON.parse(JSON.stringify(this.tracker.kept)) as StrayMemory);
    return this;
  }
  clear(begunAt = Infinity): this {
    this.tracker.clear(begunAt * 1_000, this.t * 1_000);
    return this;
  }
  get says(): string {
    const reading = this.tracker.strays(this.t * S);
    const state = stateAt(reading, this.t * S);
    if (state === 'ok') return String(reading.value);
    return reading.value !== null && state === 'unknown' ? `>=${reading.value}` : state;
  }
  get reason(): string | null {
    return this.tracker.strays(this.t * S).reason;
  }
}

const passive = (): Side => new Side().turn(true).watching();

describe('stray writes', () => {
  it.each<[string, Side, string]>([
    ['of a side that was never watched', new Side().turn(true), 'unknown'],
    ['of one that is watched', passive(), '0'],
    ['when the server has confirmed nothing for a while', passive().after(4), 'stale'],
    ['that were seen', passive().wrote('0/1', '0/2').after(1).wrote('0/3'), '3'],
    ['stay when nobody looks any more, as a bound', passive().wrote('0/1').after(1).lost(), '>=1'],
    ['of a side that is lost', passive().after(1).lost(), 'unknown'],
    ['of a gap', passive().after(1).lost().after(5).watching(), 'unknown'],
    ['of a gap that was empty', passive().after(1).lost().after(5).watching(true), '0'],
    ['after a gap, what was seen is a bound', passive().lost().after(5).watching().wrote('0/1'), '>=1'],
    ['after a restart', passive().after(1).restart().turn(true).after(1).watching(), 'unknown'],
    ['passive by a change that it knows nothing of', new Side().after(9).turn(true, 1, 4).watching(), 'unknown'],
    ['the same, watched before', new Side().after(9).turn(null).watching().turn(true, 1, 4).watching(), 'unknown'],
    ['the same, reconciled', new Side().after(9).turn(true, 1, 4).watching().clear().watching(), '0'],
    ['the same, not watched yet', new Side().after(9).turn(true, 1, 4), 'unknown'],
    ['active by such a change', new Side().after(9).turn(false, 1, 4).watching().turn(true, 2, 9).watching(), '0'],
    [
      'of one that saw the change, after a restart',
      passive().turn(false, 1, 0).turn(true, 2, 0).watching().restart().turn(true, 2, 0).watching(true),
      '0',
    ],
    ['after a restart that missed nothing', passive().after(1).restart().turn(true).after(1).watching(true), '0'],
    ['latched, after a restart', passive().wrote('0/1').restart().turn(true).after(1).watching(true), '1'],
    ['reconciled', passive().wrote('0/1').lost().after(5).watching().after(1).clear().watching(), '0'],
    ['reconciled while nobody watches', passive().after(1).lost().after(5).clear(), 'unknown'],
    ['and watched again after that', passive().after(1).lost().after(5).clear().after(1).watching(), 'unknown'],
    ['of the active side', new Side().turn(false).watching().wrote('0/1').turn(true, 1).watching(), '0'],
    [
      'of a side that was active, unwatched',
      new Side().turn(false).after(9).turn(true, 1).after(1).watching(),
      'unknown',
    ],
    ['of one that was active and watched', new Side().turn(false).watching().after(1).turn(true, 1).watching(), '0'],
    [
      'of one that was active all the time while the daemon was down',
      new Side().turn(false).restart().after(9).turn(false).watching().turn(true, 1),
      '0',
    ],
    [
      'of one that was the other one in between',
      new Side().turn(false).restart().after(9).turn(false, 2).watching().turn(true, 3),
      'unknown',
    ],
    [
      'of one that was passive when it was last seen',
      passive().restart().after(9).turn(false, 1).watching().turn(true, 2),
      'unknown',
    ],
    [
      'latched, over two changes of direction',
      passive().wrote('0/1').after(1).turn(false, 1).watching().after(1).turn(true, 2).watching(),
      '1',
    ],
  ])('%s', (_, side, says) => {
    expect(side.says).toBe(says);
  });

  it('keep the first one and when it was', () => {
    const side = passive().after(5).wrote('0/A', '0/B').after(5).wrote('0/C');
    expect(side.tracker.kept).toMatchObject({ count: 3, firstAt: 5_000, firstPosition: '0/A', lastAt: 10_000 });
    expect(side.reason).toBe('3 stray, the first at 0/A');
    const told = passive();
    told.tracker.wrote(0, 0, [{ position: '0/A', committedAt: 77 }]);
    expect(told.tracker.kept.firstAt).toBe(77);
  });

  it('name the gap, and what would clear it', () => {
    const side = passive().after(1).lost('the server stopped').after(1).lost('no route').after(5).watching();
    expect(side.reason).toMatch(
      /not watched from 1970-01-01T00:00:00.000Z to 1970-01-01T00:00:07.000Z \(the server stopped\).*stray-writes-reconciled/,
    );
    expect(passive().restart().reason).toMatch(/not watched since .* \(lockgate was not running\)/);
  });

  it('join the oldest of very many gaps', () => {
    const side = passive();
    for (let n = 0; n < 40; n += 1) side.after(1).lost().after(1).watching();
    const { gaps } = side.tracker.kept;
    expect(gaps).toHaveLength(20);
    expect(gaps[0]?.from).toBe(0);
    expect(gaps.at(-1)?.to).toBe(80_000);
  });
});

describe('a verification that clears', () => {
  it('leaves what was written since it began', () => {
    const side = passive().after(5).wrote('0/1').after(5).wrote('0/2').watching();
    expect(side.clear(7).watching().says).toBe('2');
    expect(side.clear(10).watching().says).toBe('0');
  });

  it('leaves the part of a gap that came after it began', () => {
    const side = passive().lost().after(10).watching();
    side.clear(4);
    expect(side.tracker.kept.gaps).toEqual([{ from: 4_000, to: 10_000, reason: 'lost' }]);
    expect(side.clear(10).watching().says).toBe('0');
  });
});

describe('while the direction is unknown', () => {
  it.each<[string, Side, number, string]>([
    ['a write counts when the side was and is passive', passive().turn(null).wrote('0/1').turn(true), 1, '1'],
    [
      'a write of the active side does not',
      new Side().turn(false).watching().turn(null).wrote('0/1').turn(false),
      0,
      '0',
    ],
    [
      'nor the first one of a side that turns out active',
      new Side().turn(null).watching().wrote('0/1').turn(false),
      0,
      '0',
    ],
    ['but that of one that turns out passive', new Side().turn(null).watching().wrote('0/1').turn(true), 1, '1'],
    ['it counts when the side was passive in it', passive().turn(null).wrote('0/1').turn(false, 1), 1, '1'],
    ['also when it is active again', new Side().turn(false).watching().turn(null).wrote('0/1').turn(false, 2), 1, '1'],
    [
      'not what came after the change that the side itself shows',
      passive().touched().turn(null).wrote('0/2').turn(false, 1),
      0,
      '0',
    ],
    ['but what came before it', passive().turn(null).wrote('0/1').touched().wrote('0/2').turn(false, 1), 1, '1'],
    [
      'and both, when it is passive after all',
      passive().turn(null).wrote('0/1').touched().wrote('0/2').turn(true),
      2,
      '2',
    ],
  ])('%s', (_, side, count, says) => {
    expect(side.tracker.kept.count).toBe(count);
    expect(side.says).toBe(says);
  });

  it('a gap is undecided too, and neither is lost over a restart', () => {
    const gap = (): Side => passive().turn(null).after(1).lost().after(5).watching();
    expect(gap().tracker.kept.gaps).toEqual([]);
    expect(gap().turn(true).says).toBe('unknown');
    const active = new Side().turn(false).watching().turn(null).after(1).lost().after(5).watching();
    expect(active.turn(false).turn(true, 1).says).toBe('0');
    const down = new Side().turn(null).watching().wrote('0/1').restart().turn(null).turn(true).after(1).watching();
    expect(down.says).toBe('>=1');
  });
});

describe('local writes', () => {
  it('are a rate over ten seconds, and age', () => {
    const side = new Side().turn(false).watching().after(2).wrote('0/1', '0/2').after(3).watching();
    const { writes, age } = side.tracker.local(side.t * S);
    expect(writes).toMatchObject({ value: 0.2, bound: 'at-least' });
    expect(age).toMatchObject({ bound: 'exact', growsFrom: 2 * S });
    side.after(5).watching();
    expect(side.tracker.local(side.t * S).writes).toMatchObject({ value: 0.2, bound: 'exact' });
    side.after(5).watching();
    expect(side.tracker.local(side.t * S).writes).toMatchObject({ value: 0, bound: 'exact' });
  });

  it('of which a part was not watched are no rate of zero', () => {
    const side = new Side().turn(false).watching().after(20).watching().lost().after(1).watching().after(9).watching();
    expect(side.tracker.local(side.t * S).writes).toMatchObject({ value: 0, bound: 'at-least' });
    side.after(1).watching();
    expect(side.tracker.local(side.t * S).writes).toMatchObject({ value: 0, bound: 'exact' });
  });

  it('that were not seen yet are only known to be older than the watch', () => {
    const { age } = new Side().watching().after(1).tracker.local(S);
    expect(age).toMatchObject({ bound: 'at-least', growsFrom: 0 });
    const side = new Side().watching().wrote('0/1').after(1).lost().after(1).watching();
    expect(side.tracker.local(side.t * S).age).toMatchObject({ bound: 'at-least', growsFrom: 2 * S });
  });

  it('are unknown, with the reason, while nobody watches', () => {
    const { writes, age } = new Side().watching().lost('no privilege').tracker.local(0);
    expect([writes.value, age.value, writes.reason]).toEqual([null, null, 'no privilege']);
  });
});

describe('whatever happens', () => {
  const step = fc.oneof(
    fc.constantFrom('watching', 'lost', 'wrote', 'hidden', 'unknown', 'passive', 'active', 'restart'),
  );

  it('never reads 0 while something stray was written and not reconciled', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const side = new Side();
        let role: boolean | null = null;
        let epoch = 0;
        let known = false;
        let watched = false;
        let stray = 0;
        let begun = false;
        for (const what of steps) {
          side.after(1);
          if (what === 'watching') {
            side.watching();
            watched = true;
            begun = true;
          } else if (what === 'lost') {
            side.lost();
            watched = false;
          } else if (what === 'restart') {
            side.restart().turn(null);
            watched = false;
            known = false;
          } else if (what === 'wrote') {
            if (watched) side.wrote('0/1');
            // Before it was ever watched nothing is promised.
            if (role === true && begun) stray += 1;
          } else if (what === 'hidden') {
            if (!watched && role === true && begun) stray += 1;
          } else if (what === 'unknown') {
            side.turn(null);
            known = false;
          } else {
            const next = what === 'passive';
            if (role !== null && role !== next) epoch += 1;
            role = next;
            known = true;
            side.turn(role, epoch);
          }
          if (known && role === true && stray > 0) expect(side.says).not.toBe('0');
        }
      }),
      { numRuns: 2_000 },
    );
  });
});
