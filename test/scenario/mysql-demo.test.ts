import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { freePort } from '../../deploy/demo/run-folder.js';
import { withDemo, type Demo } from '../support/demo-process.js';
import { testedFlavours } from '../support/flavours.js';

const root = fileURLToPath(new URL('../../', import.meta.url));

describe.each(testedFlavours)('npm run demo -- --once --engine $flavour', ({ flavour, left }) => {
  it.skipIf(left)('observes every step and leaves nothing behind', { timeout: 300_000 }, async () => {
    const port = await freePort();
    await withDemo(
      async (demo) => {
        const known = knownSignals(port, demo);
        expect(await demo.exit, demo.output()).toBe(0);
        expect(demo.output()).not.toContain('FAILED');
        // The number that misleads, while orders are missing.
        expect(demo.output()).toMatch(/seconds behind: 0, IO thread: Yes, SQL thread: Yes/);
        const pauses = /✓ seen {4}writes paused for [\d.]+ m?s, .*; 0 of \d+ acknowledged/g;
        expect(demo.output().match(pauses)).toHaveLength(2);
        // What the dashboards ask for as well, and the demo on PostgreSQL cannot have.
        expect(await known).toContain('forward.backlog_transactions');
        // MariaDB keeps its binlogs for ever unless told otherwise.
        if (flavour === 'mysql') expect(await known).toContain('forward.runway');
      },
      { port, args: ['--engine', flavour] },
    );
  });

  it('refuses an engine that there is none of', () => {
    const args = ['--import', 'tsx', join(root, 'deploy/demo/main.ts'), '--engine', 'oracle'];
    const demo = spawnSync(process.execPath, args, { cwd: root, encoding: 'utf8', timeout: 60_000 });
    expect(demo.status).toBe(2);
    expect(demo.stderr).toContain('--engine is one of postgres, mysql, mariadb, not "oracle"');
  });
});

/** The signals of which Prometheus would have been told a value at some time of the demo. */
async function knownSignals(port: number, demo: Demo): Promise<Set<string>> {
  let ended = false;
  void demo.exit.then(() => (ended = true));
  const known = new Set<string>();
  while (!ended) {
    const text = await fetch(`http://127.0.0.1:${port}/metrics`, { signal: AbortSignal.timeout(2_000) }).then(
      (answer) => answer.text(),
      () => '', // not there yet, or no longer
    );
    for (const [, name = ''] of text.matchAll(/^lockgate_signal\{.*signal="([^"]+)"\}/gm)) known.add(name);
    await sleep(500);
  }
  return known;
}
