import { afterAll, beforeAll, expect, it } from 'vitest';
import { simulateWeek } from '../support/heartbeat-week.js';
import type { Phase, SideWeek } from '../support/heartbeat-table.js';
import { startPair, type Pair } from '../support/pair.js';
import { administered, databaseOf, linkOf, setupOnce } from './setup-kit.js';

/** The whole week is `npm run bench -- --only week`. */
const BEATS = 12_000;
const KIB = 1024;

let pair: Pair;

beforeAll(async () => {
  pair = await startPair({ settings: { autovacuum_naptime: '1s', fsync: 'off' } });
});

afterAll(() => pair.destroy());

function most(side: SideWeek, what: 'tableBytes' | 'indexBytes', ...phases: Phase[]): number {
  const sizes = side.sights.filter((s) => phases.includes(s.phase)).map((s) => s[what]);
  expect(sizes.length).toBeGreaterThan(0);
  return Math.max(...sizes);
}

it(
  'keeps its table tiny through restarts, lost rows and a transaction that holds up its cleaning',
  { timeout: 180_000 },
  async () => {
    const [from, to] = [databaseOf('source', pair.source), databaseOf('target', pair.target)];
    const both = [administered(from, pair.source), administered(to, pair.target)];
    // The sides wait for each other: what the first round could not do the second does.
    for (let round = 0; round < 2; round += 1) await setupOnce(both, [linkOf('forward', from, to)]);
    const { source, target, runs, complaints } = await simulateWeek(pair, {
      beats: BEATS,
      restarts: 9,
      held: [0.2, 0.35],
      unseen: [0.7, 0.76],
      lookEvery: 50,
    });
    expect(complaints).toEqual([]);
    // Each daemon begins one, and more are tried while nothing is seen.
    expect(runs).toBeGreaterThan(15);
    for (const side of [source, target]) {
      // An apply worker tells the statistics of its last updates only later.
      expect(side.updates).toBeGreaterThan(0.8 * BEATS);
      expect(side.hotShare).toBeGreaterThanOrEqual(0.99);
      expect(most(side, 'tableBytes', 'before')).toBeLessThanOrEqual(128 * KIB);
      expect(most(side, 'indexBytes', 'before')).toBeLessThanOrEqual(128 * KIB);
      // While every version has to be kept it grows by them, and no more.
      expect(most(side, 'tableBytes', 'held')).toBeGreaterThan(96 * KIB);
      expect(most(side, 'tableBytes', 'held', 'recovering')).toBeLessThanOrEqual(0.15 * BEATS * 400);
      // The newest version may stay on the last page, so that the table keeps that size; it must not go on growing. A
      // snapshot of half a second (of an ANALYZE, say) is one of many minutes by the clock of the heartbeats.
      const uncleaned = BEATS * 78;
      const grown = most(side, 'tableBytes', 'held', 'recovering');
      expect(most(side, 'tableBytes', 'after')).toBeLessThanOrEqual(grown + 0.35 * uncleaned);
      expect(most(side, 'indexBytes', 'held', 'recovering', 'after')).toBeLessThanOrEqual(256 * KIB);
      // The runs that ended are gone, but for those too young to be looked at.
      expect(side.rows).toBeLessThanOrEqual(3);
    }
  },
);
