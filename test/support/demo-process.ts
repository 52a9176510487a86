/** The demo as a process of its own, in a temporary folder in which it may leave nothing. */
import { spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { freePort, waitFor } from '../../deploy/demo/run-folder.js';

/** Where the demo is started from. */
export const demoRoot = fileURLToPath(new URL('../../', import.meta.url));

/** Arguments of node that start the demo. */
export const demoCommand: readonly string[] = ['--import', 'tsx', join(demoRoot, 'deploy/demo/main.ts')];

/** A demo that runs. */
export interface Demo {
  /** The temporary folder that it was given. */
  readonly folder: string;
  output(): string;
  kill(signal: NodeJS.Signals): void;
  exit: Promise<number | null>;
}

/**
 * Starts the unattended tour with further arguments, its API on a port of its own or on this one, and afterwards asserts
 * that nothing was left behind by what `use` did with it.
 */
export async function withDemo(
  use: (demo: Demo) => Promise<void>,
  { port, args = [] }: { port?: number; args?: readonly string[] } = {},
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'demo-test-'));
  try {
    chmodSync(folder, 0o755); // the servers run as another user when we are root
    await use(startDemo(folder, ['--once', ...args, '--port', String(port ?? (await freePort()))]));
    await waitFor('everything to be gone', 10_000, () => leftIn(folder).length === 0);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The demo is interrupted as soon as it tells of each of these steps. */
export function interruptedAt(steps: readonly string[]): void {
  it.each(steps)('leaves nothing behind when it is interrupted at "%s"', { timeout: 120_000 }, async (step) => {
    await withDemo(async (demo) => {
      await waitFor(`the step "${step}"`, 90_000, () => demo.output().includes(step), 5);
      demo.kill('SIGINT');
      expect(await demo.exit, demo.output()).toBe(130);
    });
  });
}

function startDemo(folder: string, args: readonly string[]): Demo {
  const child = spawn(process.execPath, [...demoCommand, ...args], {
    cwd: demoRoot,
    env: { ...process.env, TMPDIR: folder },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
  return {
    folder,
    output: () => output,
    kill: (signal) => void child.kill(signal),
    exit: new Promise((resolve) => child.once('close', resolve)),
  };
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
