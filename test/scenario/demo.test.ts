import { spawnSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { demoCommand, demoRoot, interruptedAt, withDemo } from '../support/demo-process.js';

describe('the demo', () => {
  it('observes every step of the unattended tour in time and leaves nothing behind', { timeout: 150_000 }, async () => {
    const started = performance.now();
    await withDemo(async (demo) => {
      const code = await demo.exit;
      expect(code, demo.output()).toBe(0);
      expect(performance.now() - started).toBeLessThan(120_000);
      expect(demo.output().match(/✓ seen/g)).toHaveLength(17);
      // Both moves, each with a pause that was measured and rows that were counted.
      expect(demo.output().match(/✓ seen {4}writes paused for [\d.]+ m?s, .*; 0 of \d+ acknowledged/g)).toHaveLength(2);
      expect(demo.output()).toMatch(/1 stray write, at [0-9A-F]+\/[0-9A-F]+: seen [\d.]+ m?s after it was committed/);
      expect(demo.output(), 'no colours and no cursor movements outside a terminal').not.toContain('\u001b');
    });
  });

  it.each([0, 2_000, 6_000])('leaves nothing behind when it is interrupted %i ms after its start', async (afterMs) => {
    await withDemo(async (demo) => {
      // Before its first line the signal would end it as it ends any process.
      await waitFor('the demo to begin', 20_000, () => demo.output() !== '');
      await sleep(afterMs);
      demo.kill('SIGTERM');
      expect(await demo.exit, demo.output()).toBe(143);
    });
  });

  // The other steps are with the longer tests.
  interruptedAt(['The flip', 'The rollback']);

  it.each([
    [['--bogus'], 2, /unknown argument: --bogus/],
    [['--port', '0'], 2, /from 1 to 65535/],
    [['--help'], 0, /--once/],
  ])('answers %j with exit code %i', (args, code, says) => {
    const result = spawnSync(process.execPath, [...demoCommand, ...args], { cwd: demoRoot, encoding: 'utf8' });
    expect(result.status).toBe(code);
    expect(result.stdout + result.stderr).toMatch(says);
  });
});
