/** What verification must show on every pair, from the planted difference to the gate. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { BedKind } from './bed.js';
import type { Load } from './load.js';
import { problemsOf } from './passes.js';
import { apply, begin, ended, foundIn, startVerifyScenario, type VerifyScenario } from './scenario.js';

/** Tables that are written to all the time: they may end as not settled. */
export const MOVING = ['hot', 'kinds', 'words', 'logs', 'parted', 'codes'];

/** Defines the tests for one pair; `tables` narrows what is planted in, for a run that has little time. */
export function verifySuite(kind: BedKind, tables?: readonly string[]): void {
  describe('under a write load', { timeout: 180_000 }, () => {
    let s: VerifyScenario;
    let load: Load;

    beforeAll(async () => {
      s = await startVerifyScenario({ kind });
      load = s.bed.load(2, 25);
    }, 300_000);
    afterAll(async () => {
      await load.stop();
      await s.destroy();
    }, 120_000);

    it('nothing is called a mismatch, the gate opens; everything planted is found, named by its key and counted, the gate closes; undone, it opens', async () => {
      const { daemon, bed, clean } = s;
      expect(clean.state).toBe('unknown');
      const quiet = await ended(daemon, await begin(daemon));
      expect(quiet.last).toMatchObject({ complete: true, reason: null });
      expect(problemsOf(bed, [], foundIn(quiet), MOVING)).toEqual([]);
      await clean.until(['open'], 5_000);
      expect((await daemon.signals()).get('verify.mismatched_tables')).toMatchObject({ state: 'ok', value: 0 });

      const planted = await apply(bed, 'plant', tables);
      const rows = planted.flatMap((p) => p.finds).length;
      const found = await ended(daemon, await begin(daemon));
      expect(problemsOf(bed, planted, foundIn(found), MOVING)).toEqual([]);
      await clean.until(['closed'], 2_000);
      const signals = await daemon.signals();
      expect(signals.get('verify.mismatched_rows')).toMatchObject({ state: 'ok', value: rows });
      expect(signals.get('verify.mismatched_tables')?.value).toBe(new Set(planted.map((p) => p.table)).size);

      await apply(bed, 'undo', tables);
      const undone = await ended(daemon, await begin(daemon));
      expect(problemsOf(bed, [], foundIn(undone), MOVING)).toEqual([]);
      await clean.until(['open'], 5_000);
      expect(load.trouble).toBeNull();
    });
  });
}
