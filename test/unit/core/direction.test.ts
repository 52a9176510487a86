import { describe, expect, it } from 'vitest';
import { resolveDirection, type DirectionAnswer, type DirectionRow } from '../../../daemon/core/direction.js';
import type { LinkName } from '../../../daemon/core/signal.js';

const row = (epoch: number, direction: LinkName): DirectionAnswer => ({
  row: {
    migration: 'shop',
    epoch,
    direction,
    changedAt: `epoch ${epoch}`,
    changedBy: null,
    reason: null,
  } satisfies DirectionRow,
});
const none: DirectionAnswer = { row: null };
const dead: DirectionAnswer = { unknown: 'connection refused' };

describe('the direction', () => {
  it.each<[string, DirectionAnswer, DirectionAnswer, object]>([
    ['without any row', none, none, { direction: 'forward', epoch: 0, changedAt: null }],
    ['with a row on the target only', none, row(1, 'reverse'), { direction: 'reverse', epoch: 1 }],
    ['with a row on the source only', row(2, 'forward'), none, { direction: 'forward', epoch: 2 }],
    ['with a higher epoch on the target', row(2, 'forward'), row(3, 'reverse'), { direction: 'reverse', epoch: 3 }],
    ['with a higher epoch on the source', row(4, 'forward'), row(3, 'reverse'), { direction: 'forward', epoch: 4 }],
    ['with the same row on both', row(3, 'reverse'), row(3, 'reverse'), { direction: 'reverse', epoch: 3 }],
    ['with rows that contradict each other', row(3, 'reverse'), row(3, 'forward'), { direction: 'unknown' }],
    ['with a source that cannot be asked', dead, row(3, 'reverse'), { direction: 'unknown' }],
    ['with a target that cannot be asked', row(3, 'reverse'), dead, { direction: 'unknown' }],
    ['with neither to be asked', dead, dead, { direction: 'unknown' }],
    ['with one that cannot be asked and no row', none, dead, { direction: 'unknown' }],
  ])('%s', (_, source, target, expected) => {
    expect(resolveDirection(source, target)).toMatchObject(expected);
  });

  it('names the side that could not be asked, and the rows that contradict', () => {
    expect(resolveDirection(none, dead)).toEqual({ direction: 'unknown', reason: 'target: connection refused' });
    expect(resolveDirection(dead, none)).toEqual({ direction: 'unknown', reason: 'source: connection refused' });
    expect(resolveDirection(row(3, 'reverse'), row(3, 'forward'))).toMatchObject({
      reason: expect.stringContaining('epoch 3') as string,
    });
  });
});
