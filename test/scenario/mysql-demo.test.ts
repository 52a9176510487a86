import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { freePort } from '../../deploy/demo/run-folder.js';
import { testedFlavours } from '../support/flavours.js';

const root = fileURLToPath(new URL('../../', import.meta.url));

describe.each(testedFlavours)('npm run demo -- --once --engine $flavour', ({ flavour, left }) => {
  it.skipIf(left)('observes every step and leaves nothing behind', { timeout: 300_000 }, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'demo-test-'));
    chmodSync(folder, 0o755); // the servers run as another user when we are root
    try {
      const args = ['--once', '--engine', flavour, '--port', String(await freePort())];
      const demo = spawnSync(process.execPath, ['--import', 'tsx', join(root, 'deploy/demo/main.ts'), ...args], {
        cwd: root,
        env: { ...process.env, TMPDIR: folder },
        encoding: 'utf8',
        timeout: 280_000,
      });
      expect(demo.status, demo.stdout + demo.stderr).toBe(0);
      expect(demo.stdout).not.toContain('FAILED');
      // The number that misleads, while orders are missing.
      expect(demo.stdout).toMatch(/seconds behind: 0, IO thread: Yes, SQL thread: Yes/);
      expect(demo.stdout.match(/✓ seen {4}writes paused for [\d.]+ m?s, .*; 0 of \d+ acknowledged/g)).toHaveLength(2);
      expect(readdirSync(folder).filter((name) => !name.startsWith('tsx-'))).toEqual([]);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it('refuses an engine that there is none of', () => {
    const args = ['--import', 'tsx', join(root, 'deploy/demo/main.ts'), '--engine', 'oracle'];
    const demo = spawnSync(process.execPath, args, { cwd: root, encoding: 'utf8', timeout: 60_000 });
    expect(demo.status).toBe(2);
    expect(demo.stderr).toContain('--engine is one of postgres, mysql, mariadb, not "oracle"');
  });
});
