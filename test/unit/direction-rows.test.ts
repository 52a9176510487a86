import { describe, expect, it } from 'vitest';
import { directionRows } from '../../collectors/postgres/direction-rows.js';
import type { DirectionRow } from '../../collectors/postgres/side.js';

const row = (migration: string, direction: string, epoch = 1): DirectionRow => ({
  migration,
  epoch,
  direction,
  changedAt: null,
  changedBy: null,
  reason: null,
});

const seen = (...rows: DirectionRow[]): ReturnType<typeof directionRows> =>
  directionRows({ database: 'aws', askedAt: 5, at: 7, rows, tableMissing: false, reason: null });

describe('rows of lockgate.direction', () => {
  it('are as old as the question', () => {
    expect(seen(row('shop', 'forward'))).toMatchObject({ askedAt: 5, at: 7, rows: [{ migration: 'shop' }] });
  });

  it.each([
    ['of a direction that does not exist', row('shop', 'sideways'), '"sideways" is no direction'],
    ['of an epoch that cannot be counted', row('shop', 'forward', 2 ** 60), 'the epoch'],
    ['of a negative epoch', row('shop', 'forward', -1), 'the epoch -1'],
  ])('%s take away only the migration that they name', (_, bad, reason) => {
    const { rows, unusable } = seen(row('other', 'reverse'), bad, row('third', 'forward'));
    expect(rows?.map((r) => r.migration)).toEqual(['other', 'third']);
    expect(unusable).toMatchObject([{ migration: 'shop' }]);
    expect(unusable?.[0]?.reason).toContain(reason);
  });

  it('that come twice for a migration say nothing of it, in whatever order', () => {
    for (const two of [
      [row('shop', 'forward'), row('shop', 'reverse', 2)],
      [row('shop', 'sideways'), row('shop', 'forward')],
      [row('shop', 'forward'), row('shop', 'sideways')],
    ]) {
      const { rows, unusable } = seen(...two, row('other', 'forward'));
      expect(rows?.map((r) => r.migration)).toEqual(['other']);
      expect(unusable?.map((u) => u.migration)).toEqual(['shop']);
    }
  });

  it('that name no migration may be of any', () => {
    for (const nameless of ['', null as unknown as string]) {
      expect(seen(row('shop', 'forward'), row(nameless, 'forward'))).toMatchObject({ rows: null });
    }
  });
});
