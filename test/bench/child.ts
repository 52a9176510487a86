/** Parts of the benchmark that run in a process of their own: each is this program with `--child NAME`. */
import { spawn, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { pinned } from './machine.js';

const main = fileURLToPath(new URL('./main.ts', import.meta.url));

/** A process of the benchmark that is talked to by messages. */
export interface Child {
  readonly pid: number;
  send(message: object): void;
  /** Resolves with the next message; rejects when the process ends before. */
  next<T>(): Promise<T>;
  end(): void;
}

/** Starts `--child name`, on one core if told so. */
export function startChild(name: string, core: number | null = null): Child {
  const args = ['--import', 'tsx', main, '--child', name];
  const [command, all] = core === null ? [process.execPath, args] : pinned(core, process.execPath, args);
  const child = spawn(command, all, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  const messages: unknown[] = [];
  const waiting: { resolve: (message: unknown) => void; reject: (error: Error) => void }[] = [];
  let ended: Error | null = null;
  child.on('message', (message) => {
    const first = waiting.shift();
    if (first === undefined) messages.push(message);
    else first.resolve(message);
  });
  child.once('close', (code) => {
    ended = new Error(`the benchmark's process ${name} ended with ${String(code)}`);
    for (const { reject } of waiting.splice(0)) reject(ended);
  });
  const forget = endWithThisProcess(child);
  return {
    pid: child.pid ?? -1,
    send: (message) => void child.send(message),
    next: <T>() =>
      new Promise<T>((resolve, reject) => {
        if (messages.length > 0) resolve(messages.shift() as T);
        else if (ended !== null) reject(ended);
        else waiting.push({ resolve: (message) => resolve(message as T), reject });
      }),
    end() {
      forget();
      child.kill('SIGKILL');
    },
  };
}

/** Kills a child when this process ends first; returns how to forget about it. */
export function endWithThisProcess(child: ChildProcess): () => void {
  const kill = (): void => void child.kill('SIGKILL');
  process.once('exit', kill);
  child.once('close', () => process.off('exit', kill));
  return () => process.off('exit', kill);
}

/** Sends a message from a child to the process that started it. */
export function answer(message: object): void {
  process.send?.(message);
}
