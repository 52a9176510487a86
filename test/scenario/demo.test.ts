import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { freePort, waitFor } from '../../deploy/demo/run-folder.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const command = ['--import', 'tsx', join(root, 'deploy/demo/main.ts')];

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** A temporary folder of its own, so that what is left in it was left by the demo. */
function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'demo-test-'));
  folders.push(folder);
  chmodSync(folder, 0o755); // the servers run as another user when we are root
  return folder;
}

/** What the demo has left: folders (tsx keeps its cache where it likes), and processes that name one in their arguments. */
function leftIn(folder: string): string[] {
  const files = readdirSync(folder).filter((name) => !name.startsWith('tsx-'));
  if (process.platform !== 'linux') return files;
  const processes = readdirSync('/proc')
    .filter((pid) => /^\d+$/.test(pid))
    .flatMap((pid) => {
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
        return line.includes(folder) ? [`${pid}: ${line}`] : [];
      } catch {
        return []; // ended meanwhile
      }
    });
  return [...files, ...processes];
}

interface Demo {
  output(): string;
  kill(signal: NodeJS.Signals): void;
  exit: Promise<number | null>;
}

function startDemo(folder: string, args: string[]): Demo {
  const child = spawn(process.execPath, [...command, ...args], {
    cwd: root,
    env: { ...process.env, TMPDIR: folder },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
  return {
    output: () => output,
    kill: (signal) => void child.kill(signal),
    exit: new Promise((resolve) => child.once('close', resolve)),
  };
}

describe('the demo', () => {
  it('observes every step of the unattended tour in time and leaves nothing behind', { timeout: 150_000 }, async () => {
    const folder = temporaryFolder();
    const started = performance.now();
    const demo = startDemo(folder, ['--once', '--port', String(await freePort())]);
    const code = await demo.exit;
    expect(code, demo.output()).toBe(0);
    expect(performance.now() - started).toBeLessThan(120_000);
    expect(demo.output().match(/✓ seen/g)).toHaveLength(16);
    // Both moves, each with a pause that was measured and rows that were counted.
    expect(demo.output().match(/✓ seen {4}writes paused for [\d.]+ m?s, .*; 0 of \d+ acknowledged/g)).toHaveLength(2);
    expect(demo.output()).toMatch(/1 stray write, at [0-9A-F]+\/[0-9A-F]+: seen [\d.]+ m?s after it was committed/);
    expect(demo.output(), 'no colours and no cursor movements outside a terminal').not.toContain('\u001b');
    await waitFor('everything to be gone', 10_000, () => leftIn(folder).length === 0);
  });

  it.each([0, 2_000, 6_000])('leaves nothing behind when it is interrupted %i ms after its start', async (afterMs) => {
    const folder = temporaryFolder();
    const demo = startDemo(folder, ['--once', '--port', String(await freePort())]);
    // Before its first line the signal would end it as it ends any process.
    await waitFor('the demo to begin', 20_000, () => demo.output() !== '');
    await sleep(afterMs);
    demo.kill('SIGTERM');
    expect(await demo.exit, demo.output()).toBe(143);
    await waitFor('everything to be gone', 10_000, () => leftIn(folder).length === 0);
  });

  it.each(['The flip', 'The way back', 'A mistake', 'The rollback'])(
    'leaves nothing behind when it is interrupted at "%s"',
    { timeout: 120_000 },
    async (step) => {
      const folder = temporaryFolder();
      const demo = startDemo(folder, ['--once', '--port', String(await freePort())]);
      await waitFor(`the step "${step}"`, 90_000, () => demo.output().includes(step), 5);
      demo.kill('SIGINT');
      expect(await demo.exit, demo.output()).toBe(130);
      await waitFor('everything to be gone', 10_000, () => leftIn(folder).length === 0);
    },
  );

  it.each([
    [['--bogus'], 2, /unknown argument: --bogus/],
    [['--port', '0'], 2, /from 1 to 65535/],
    [['--help'], 0, /--once/],
  ])('answers %j with exit code %i', (args, code, says) => {
    const result = spawnSync(process.execPath, [...command, ...args], { cwd: root, encoding: 'utf8' });
    expect(result.status).toBe(code);
    expect(result.stdout + result.stderr).toMatch(says);
  });
});
