/** Two daemons over one pair, each with an id, a store, heartbeats and fences of its own. */
import { expect, it } from 'vitest';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { waitFor } from '../../deploy/demo/run-folder.js';
import type { MysqlCutover } from './cutover-mysql.js';
import { Night } from './cutover-night.js';
import { workspace } from './lockgate.js';

/** They agree, and neither takes the other's rows for anything but heartbeats. */
export function twoDaemons(get: () => Night<MysqlCutover>): void {
  it('two daemons agree on fences and the direction, and neither counts the other one as a writer', async () => {
    const night = get();
    const startedAt = Date.now();
    const text = readFileSync(night.bed.lockgate.configFile, 'utf8');
    const other = await workspace((port) =>
      text.replace('id: tester', 'id: second').replace(/listen: 127\.0\.0\.1:\d+/, `listen: 127.0.0.1:${port}`),
    );
    const second = new Night<MysqlCutover>({ ...night.bed, lockgate: other, daemon: await other.start() });
    const both = [night, second];
    try {
      // A daemon that is new to a direction which was changed before does not know what was written meanwhile.
      await second.tidy();
      for (const each of both) await each.timeline.of('flip-writes').until(['open'], 40_000);
      const [mine, theirs] = await Promise.all(both.map((each) => each.operator.drained()));
      for (const each of both) await each.timeline.of('drained').until(['open'], 3_000);
      const steady = performance.now();
      await sleep(2_000);
      for (const each of both) each.timeline.said('drained', steady, performance.now(), ['open']);
      for (const each of both) each.timeline.said('flip-writes', steady, performance.now(), ['open']);

      const promoted = await night.operator.changed('promote');
      const ended = await second.ends(theirs!.id, 'closed');
      const declared = performance.now();
      expect([promoted.fence?.id, ended.ended_because]).toEqual([
        mine!.id,
        expect.stringMatching(/declared to be reverse .* elsewhere/),
      ]);
      for (const each of both) {
        await waitFor('both to say reverse', 5_000, async () => {
          const { direction, epoch } = await each.operator.migration();
          return direction === 'reverse' && epoch === promoted.epoch;
        });
        await each.timeline.of('rollback-ready').until(['open'], 30_000);
        expect(await each.strays('source')).toBe(0);
        each.timeline.said('drained', declared, performance.now(), ['unknown']);
      }
      await second.refused('promote', 'direction_unexpected');

      // A write violates the fences of both, and the next ones let the other daemon go back.
      const violated = await Promise.all(both.map((each) => each.operator.drained()));
      await night.bed.stray('target');
      for (const [i, each] of both.entries()) {
        expect((await each.ends(violated[i]!.id, 'violated')).violations.count).toBe(1);
      }
      const [back] = await Promise.all(both.map((each) => each.operator.drained()));
      const rolled = await second.operator.changed('rollback');
      await night.ends(back!.id, 'closed');
      for (const each of both) {
        await waitFor('both to say forward', 5_000, async () => {
          const { direction, epoch } = await each.operator.migration();
          return direction === 'forward' && epoch === rolled.epoch;
        });
        expect(await each.strays('target')).toBe(0);
        expect(await each.entries(startedAt, 'stray-write')).toEqual([]);
      }
    } finally {
      await second.timeline.stop();
      await other.destroy();
    }
  });
}
