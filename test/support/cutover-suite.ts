/** The whole cutover as one scenario, on whatever it is carried out. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { setTimeout as sleep } from 'node:timers/promises';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { Application, nothingMissing, Operator, Timeline, type CutoverBed } from './cutover.js';

const GATES = ['replicated', 'flip-writes', 'drained', 'ramp', 'rollback-ready'];
/** From a fact to what the gates say of it, on a machine whose cores are busy. */
const soonMs = 3_500;

/** Carries the runbook out from the flip to the rollback and beyond, under a continuous load of writes. */
export function cutoverSuite(name: string, start: () => Promise<CutoverBed>): void {
  describe(`a cutover ${name}`, { timeout: 120_000 }, () => {
    let bed: CutoverBed;
    let operator: Operator;
    let timeline: Timeline;
    let application: Application;

    beforeAll(async () => {
      bed = await start();
      operator = new Operator(bed.lockgate.url);
      timeline = new Timeline(bed.lockgate.url, GATES);
      application = new Application(bed);
    }, 300_000);
    afterAll(async () => {
      await application.stop();
      await timeline.stop();
      await bed.destroy();
    }, 60_000);

    it('loses no acknowledged row at the flip and at the rollback, and every gate says what is so', async () => {
      const began = performance.now();
      await application.start('source');
      await timeline.of('flip-writes').until(['open'], 60_000);
      const steady = performance.now();
      await sleep(1_000);
      timeline.said('flip-writes', steady, performance.now(), ['open']);
      timeline.said('drained', began, performance.now(), ['unknown']);
      expect((await operator.migration()).direction).toBe('forward');

      // The flip.
      const begin = await application.prepare('target');
      const stopping = performance.now();
      await application.stop();
      const fence = await operator.drained();
      const drained = performance.now();
      const rows = await nothingMissing(bed, 'target', application);
      expect(rows).toBeGreaterThan(50);
      const looked = performance.now();
      const promoted = await operator.changed('promote');
      await bed.turnToTarget();
      begin();
      await waitFor('a write on the target', 10_000, () => Promise.resolve(!Number.isNaN(application.firstAt)));
      const pauseMs = application.firstAt - application.lastAt0;
      const flipped = performance.now();
      expect(fence.basis).toEqual(['marker', 'position']);
      expect(promoted).toMatchObject({ direction: 'reverse', forced: false, fence: { id: fence.id, state: 'closed' } });
      expect((await operator.migration()).direction).toBe('reverse');
      // What the test itself read to be sure is no part of the pause.
      const ownMs = looked - drained;
      console.log(
        `${name}: flip: ${rows} rows, drained ${Math.round((fence.drain_seconds ?? 0) * 1_000)} ms after it was placed, ` +
          `writes paused for ${Math.round(pauseMs - ownMs)} ms (${Math.round(drained - stopping)} ms to drained)`,
      );

      // Behind it: nothing says drained any more, and the way back becomes ready.
      await timeline.of('rollback-ready').until(['open'], 60_000);
      await timeline.of('ramp').until(['open'], 10_000);
      const ready = performance.now();
      await sleep(1_000);
      timeline.said('rollback-ready', ready, performance.now(), ['open']);
      timeline.said('drained', flipped + 300, performance.now(), ['unknown']);

      // The rollback.
      const beginAgain = await application.prepare('source');
      await application.stop();
      const back = await operator.drained();
      const backAt = performance.now();
      const backRows = await nothingMissing(bed, 'source', application);
      const backLooked = performance.now();
      const rolled = await operator.changed('rollback');
      await bed.turnToSource();
      beginAgain();
      await waitFor('a write on the source', 10_000, () => Promise.resolve(!Number.isNaN(application.firstAt)));
      console.log(
        `${name}: rollback: ${backRows} rows, writes paused for ${Math.round(application.firstAt - application.lastAt0 - (backLooked - backAt))} ms`,
      );
      expect(rolled).toMatchObject({ direction: 'forward', epoch: promoted.epoch + 1, fence: { id: back.id } });
      const rolledAt = performance.now();
      await sleep(soonMs);
      timeline.said('drained', rolledAt + 300, performance.now(), ['unknown']);
      await timeline.of('flip-writes').until(['open'], 60_000);
      await application.stop();
      const last = await operator.drained();
      await nothingMissing(bed, 'target', application);
      await nothingMissing(bed, 'source', application);
      expect((await operator.cancel(last.id)).body.state).toBe('cancelled');
      const { sides } = await operator.migration();
      // Of the active side there is no count, unless something is latched.
      expect([sides.source.stray_writes.count, sides.target.stray_writes.count]).toEqual([null, 0]);
    });

    it('can be told from the journal alone, in order, with positions and who did what', async () => {
      const told = (await operator.journal())
        .filter((e) => ['fence', 'promote', 'rollback', 'direction'].includes(e.kind))
        .filter((e) => e.data['from'] !== 'unknown' && e.data['direction'] !== 'unknown')
        .map((e) => `${e.kind} ${String(e.data['state'] ?? e.data['step'] ?? e.data['direction'])}`)
        .filter((line) => line !== 'fence unknown');
      const once = told.filter((line, i) => line !== told[i - 1]);
      expect(once).toEqual([
        ...[
          'fence placed',
          'fence drained',
          'promote declaring',
          'direction reverse',
          'fence closed',
          'promote declared',
        ],
        ...[
          'fence placed',
          'fence drained',
          'rollback declaring',
          'direction forward',
          'fence closed',
          'rollback declared',
        ],
        ...['fence placed', 'fence drained', 'fence cancelled'],
      ]);
      for (const e of await operator.journal()) {
        if (e.kind === 'fence') expect(String(e.data['source_position'])).toMatch(/\S/);
        if (e.kind === 'promote') expect(e).toMatchObject({ actor: 'anonymous', data: { reason: 'cutover night' } });
      }
    });
  });
}
