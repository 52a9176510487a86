import { execFileSync, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** The folder under the system's temporary folder that holds all that this process starts, and the servers to be killed with it. */
export interface RunFolder {
  readonly path: string;
  /** Makes sure that the process does not outlive this one. */
  adopt(pid: number): void;
  /** Forgets a process that has ended. */
  release(pid: number): void;
}

/** The unprivileged user that servers run as when we are root; null when we are an ordinary user already. */
export interface ServerUser {
  readonly uid: number;
  readonly gid: number;
}

// The exit hook cannot run when this process is killed or interrupted, so a shell waits for the end of its standard
// input, which the kernel closes however we die. It asks for an immediate shutdown first: only then do servers give
// their shared memory back.
const reaperScript = `
cat >/dev/null
each() { for f in "$1"/pids/*; do kill -"$2" "\${f##*/}" 2>/dev/null && found=1; done; }
each "$1" CONT
each "$1" QUIT
i=0
while [ $i -lt 80 ]; do
  found=
  each "$1" 0
  [ -z "$found" ] && break
  sleep 0.1
  i=$((i + 1))
done
each "$1" KILL
rm -rf "$1"
`;

let current: RunFolder | undefined;

/** Returns the run folder of this process, made at the first call together with the hooks that clear it away. */
export function runFolder(): RunFolder {
  current ??= createRunFolder();
  return current;
}

function createRunFolder(): RunFolder {
  const user = serverUser();
  if (user !== null && !isReachable(tmpdir())) {
    throw new Error(
      `servers run as user ${user.uid} because we are root, and that user cannot enter ${tmpdir()}: set TMPDIR to a folder that everybody can enter`,
    );
  }
  const path = mkdtempSync(join(tmpdir(), 'lockgate-'));
  chmodSync(path, 0o755); // mkdtemp makes it private, but servers run as another user when we are root
  mkdirSync(join(path, 'pids'));
  const pids = new Set<number>();

  const reaper = spawn('/bin/sh', ['-c', reaperScript, 'lockgate-reaper', path], {
    cwd: '/',
    detached: true, // Ctrl-C must not reach it
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  reaper.on('error', () => undefined); // without a shell only the exit hook remains
  reaper.unref();
  const input = reaper.stdin as unknown as { unref?(): void };
  input.unref?.();

  process.once('exit', () => {
    endNow([...pids]);
    try {
      rmSync(path, { recursive: true, force: true, maxRetries: 3 });
    } catch {
      // The reaper tries again once we are gone.
    }
  });

  return {
    path,
    adopt(pid) {
      pids.add(pid);
      writeFileSync(join(path, 'pids', String(pid)), '');
    },
    release(pid) {
      pids.delete(pid);
      rmSync(join(path, 'pids', String(pid)), { force: true });
    },
  };
}

/** Ends servers without the event loop: by an immediate shutdown, which gives their shared memory back, else by force. */
function endNow(pids: readonly number[]): void {
  for (const pid of pids) {
    for (const each of [pid, ...childrenOf(pid)]) sendSignal(each, 'SIGCONT');
    sendSignal(pid, 'SIGQUIT');
  }
  const deadline = performance.now() + 2_000;
  const still = new Int32Array(new SharedArrayBuffer(4));
  while (performance.now() < deadline && pids.some(isAlive)) Atomics.wait(still, 0, 0, 10);
  for (const pid of pids) if (isAlive(pid)) killTree(pid);
}

/** Returns the unprivileged user for servers, or null when this process is not root; throws when there is none. */
export function serverUser(): ServerUser | null {
  user ??= { found: findServerUser() }; // asked for each file of a base backup, so it must not run `id` each time
  return user.found;
}

let user: { found: ServerUser | null } | undefined;

function findServerUser(): ServerUser | null {
  if (process.getuid?.() !== 0) return null;
  for (const name of ['postgres', 'nobody']) {
    try {
      const [uid, gid] = ['-u', '-g'].map((flag) =>
        Number(execFileSync('id', [flag, name], { stdio: ['ignore', 'pipe', 'ignore'] })),
      );
      if (uid !== undefined && gid !== undefined && uid > 0) return { uid, gid };
    } catch {
      // No such user: try the next.
    }
  }
  throw new Error(
    'PostgreSQL refuses to run as root, and there is neither a user "postgres" nor "nobody" to run it as',
  );
}

/** Tells whether every user can enter a folder. */
export function isReachable(path: string): boolean {
  for (let folder = resolve(path); ; folder = dirname(folder)) {
    if ((statSync(folder).mode & 0o001) === 0) return false;
    if (folder === dirname(folder)) return true;
  }
}

/** Tells whether a process still runs; one that has ended but was not yet waited for by its parent does not. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
  return processState(pid) !== 'Z';
}

/** Returns the ids of a process's direct children. */
export function childrenOf(parent: number): number[] {
  if (process.platform === 'linux') {
    return readdirSync('/proc')
      .filter((entry) => /^\d+$/.test(entry))
      .map(Number)
      .filter((pid) => procStat(pid)?.parent === parent);
  }
  return execFileSync('ps', ['-A', '-o', 'pid=,ppid='], { encoding: 'utf8' })
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number))
    .flatMap(([pid, ppid]) => (pid !== undefined && ppid === parent ? [pid] : []));
}

/** Kills a process and its children with SIGKILL, and returns the ids of all of them. */
export function killTree(pid: number): number[] {
  sendSignal(pid, 'SIGSTOP'); // so that it starts no further child while we look
  const all = [...childrenOf(pid), pid];
  for (const each of all) sendSignal(each, 'SIGKILL');
  return all;
}

/** Sends a signal and returns whether the process was there to get it. */
export function sendSignal(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}

/** Returns the id of a process's parent; undefined when there is no such process. */
export function parentOf(pid: number): number | undefined {
  if (process.platform === 'linux') return procStat(pid)?.parent;
  try {
    return Number(execFileSync('ps', ['-o', 'ppid=', '-p', String(pid)], { encoding: 'utf8' }));
  } catch {
    return undefined;
  }
}

function processState(pid: number): string | undefined {
  if (process.platform === 'linux') return procStat(pid)?.state;
  return execFileSync('ps', ['-o', 'state=', '-p', String(pid)], { encoding: 'utf8' }).trim()[0];
}

function procStat(pid: number): { state: string; parent: number } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The command name may hold spaces and parentheses: what counts comes after its last closing one.
    const [state = '', parent = ''] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { state, parent: Number(parent) };
  } catch {
    return undefined;
  }
}

/**
 * Returns a TCP port on the loopback that was free a moment ago, from below the range that operating systems hand out
 * for outgoing connections, so that it can be taken again after a restart. In tests, where many start servers at once,
 * nobody else is given it while this process lives: between being chosen and being taken, or while a server is down, it
 * looks free.
 */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < 200; attempt++) {
    const port = randomInt(15_000, 32_000);
    if (!reservePort(port)) continue;
    const free = await new Promise<boolean>((resolve) => {
      const probe = createServer();
      probe.once('error', () => resolve(false));
      probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
    });
    if (free) return port;
  }
  throw new Error('found no free TCP port between 15000 and 32000 in 200 attempts');
}

/** Notes in a file named for the port that this process has it; false while another living process does. */
function reservePort(port: number): boolean {
  // Nowhere else, because the notes of a process that is killed stay behind.
  if (process.env['VITEST'] === undefined) return true;
  // Not TMPDIR: tests give their children another one, and they share the ports.
  const folder = `/tmp/lockgate-ports-${process.getuid?.() ?? 0}`;
  const file = join(folder, String(port));
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const owner = existsSync(file) ? Number(readFileSync(file, 'utf8')) : 0;
    if (owner === process.pid || (owner > 0 && isAlive(owner))) return false;
    if (owner > 0) rmSync(file, { force: true });
    writeFileSync(file, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    // Somebody was faster. A folder that cannot be written is no reason to find no port at all.
    return (error as NodeJS.ErrnoException).code !== 'EEXIST';
  }
}

/** Asks again and again until the answer is neither null, undefined nor false; after the timeout it throws, naming what was awaited. */
export async function waitFor<T>(
  what: string,
  timeoutMs: number,
  ask: () => T | Promise<T>,
  everyMs = 20,
): Promise<NonNullable<Exclude<T, false>>> {
  const deadline = performance.now() + timeoutMs;
  let lastError: unknown;
  for (;;) {
    try {
      const answer = await ask();
      if (answer !== null && answer !== undefined && answer !== false) {
        return answer as NonNullable<Exclude<T, false>>;
      }
      lastError = undefined;
    } catch (error) {
      lastError = error;
    }
    if (performance.now() >= deadline) {
      const detail = lastError instanceof Error ? `: ${lastError.message}` : '';
      throw new Error(`waited ${timeoutMs} ms in vain for ${what}${detail}`, { cause: lastError });
    }
    await sleep(everyMs);
  }
}
