/** One bash that lives for a page, so that what a command sets (variables, aliases, functions) is there for the next. */
import { spawn, type ChildProcess } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';

/** How a command ended, and what it printed. */
export interface Ended {
  readonly code: number;
  readonly output: string;
}

/** A shell in a folder. */
export class Shell {
  readonly #child: ChildProcess;
  #output = '';
  #codes = '';
  #wake: () => void = () => undefined;

  constructor(
    private readonly folder: string,
    env: Readonly<Record<string, string>>,
  ) {
    this.#child = spawn('bash', ['--noprofile', '--norc'], {
      cwd: folder,
      env: { ...process.env, ...env },
      stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
      // What it has started ends with it.
      detached: true,
    });
    const keep = (chunk: Buffer): void => void (this.#output += chunk.toString());
    this.#child.stdout?.on('data', keep);
    this.#child.stderr?.on('data', keep);
    (this.#child.stdio[3] as Readable).on('data', (chunk: Buffer) => {
      this.#codes += chunk.toString();
      this.#wake();
    });
    this.#child.on('exit', () => this.#wake());
    // Two files are read in one go there, so that an alias is known to the commands after it.
    this.#child.stdin?.write('shopt -s expand_aliases\n');
  }

  /** Runs one command to its end; rejects when it takes longer than `timeoutMs`, or ends the shell. */
  async run(text: string, timeoutMs: number): Promise<Ended> {
    const file = join(this.folder, '.command');
    writeFileSync(file, text);
    this.#output = '';
    this.#codes = '';
    this.#child.stdin?.write(`eval "$(cat .command)" </dev/null; echo $? >&3\n`);
    const timer = setTimeout(() => this.end(), timeoutMs);
    while (!this.#codes.includes('\n') && this.#child.exitCode === null && this.#child.signalCode === null) {
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    clearTimeout(timer);
    // What was printed comes by another pipe.
    await new Promise((resolve) => setTimeout(resolve, 5));
    if (!this.#codes.includes('\n')) throw new Error(`no end within ${timeoutMs} ms: ${text}\n${this.#output}`);
    return { code: Number(this.#codes.trim()), output: this.#output };
  }

  /** Ends the shell. */
  end(): void {
    try {
      process.kill(-(this.#child.pid ?? 0), 'SIGKILL');
    } catch {
      // It has ended by itself.
    }
  }
}
