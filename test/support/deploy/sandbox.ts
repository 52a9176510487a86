/**
 * Root file systems of our own, as a container engine would lay them out: this machine's root below, a layer in memory
 * above, in a mount name space that a helper process holds open. Nothing is written to the machine, and nothing stays mounted
 * however this process ends.
 */
import { spawn, type ChildProcess, type SpawnOptions } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { childrenOf, waitFor } from '../../../deploy/demo/run-folder.js';
import { readiness } from '../mount-holder.js';

/** How a command in a sandbox ended. */
export interface Ended {
  readonly code: number | null;
  readonly output: string;
}

/** A place for layers, in memory. */
export interface Sandbox {
  /** Makes a root: what is written there is kept in a layer of its own. */
  root(name: string): Promise<SandboxRoot>;
  /** Makes a folder outside of all roots, for `mounts` of them; owned by `owner` (`uid:gid`) if told. */
  folder(name: string, owner?: string): Promise<string>;
  /** Runs a shell script in the name space, outside of all roots, and waits for its end. */
  shell(script: string, args?: readonly string[]): Promise<Ended>;
  /** Starts the same and leaves it running; what it writes can be read from the process. */
  start(script: string, args: readonly string[], env: Record<string, string>): ChildProcess;
  destroy(): Promise<void>;
}

/** One root file system. */
export interface SandboxRoot {
  /** Where it is, as seen from within the name space. */
  readonly path: string;
  /** Where its own layer is: what differs from the machine. */
  readonly layer: string;
  /** The same layer, as seen by this process. */
  readonly layerSeen: string;
  /** Runs a program with this as its root, as root, and waits for its end. */
  run(command: readonly string[], where: { cwd: string; env: Record<string, string> }): Promise<Ended>;
}

const commandMs = 300_000;

/** Makes a sandbox. Rejects with the cause where this process may not: it takes root and mounts. */
export async function sandbox(sizeMiB = 4096): Promise<Sandbox> {
  const at = mkdtempSync(join(tmpdir(), 'lockgate-sandbox-'));
  // Ends at the end of its standard input, which the kernel closes when this process is gone.
  const script = `mount -t tmpfs -o size=${sizeMiB}m,mode=0755 none "$1" && echo ready && exec cat`;
  const holder = spawn('unshare', ['--mount', 'sh', '-c', script, 'sh', at], { cwd: '/', stdio: 'pipe' });
  const refused = await readiness(holder);
  if (refused !== null) {
    rmSync(at, { recursive: true, force: true });
    throw new Error(
      `the image cannot be replayed: ${refused}. It takes root with the right to mount; run the tests as root, or leave it ` +
        'out: LOCKGATE_TEST_WITHOUT=image',
    );
  }
  const pid = String(holder.pid);
  const enter = ['--target', pid, '--mount'];
  const shell = (text: string, args: readonly string[] = []): Promise<Ended> =>
    ended('nsenter', [...enter, 'sh', '-euc', text, 'sh', ...args]);
  return {
    shell,
    start: (text, args, env) =>
      // Gone with this process, however that ends.
      spawn('setpriv', ['--pdeathsig', 'KILL', 'nsenter', ...enter, 'sh', '-euc', text, 'sh', ...args], {
        env,
        stdio: ['ignore', 'pipe', 'pipe'],
      }),
    async folder(name, owner) {
      const path = `${at}/${name}`;
      await must(shell('mkdir -p "$1"; [ -z "$2" ] || chown "$2" "$1"', [path, owner ?? '']));
      return path;
    },
    async root(name) {
      const base = `${at}/${name}`;
      const mount = 'mount -t overlay overlay -o "lowerdir=/,upperdir=$1/layer,workdir=$1/work" "$1/tree"';
      const system = 'mount -t proc proc "$1/tree/proc"; mount --rbind /dev "$1/tree/dev"';
      await must(shell(`mkdir -p "$1/layer" "$1/work" "$1/tree"; ${mount}; ${system}`, [base]));
      const path = `${base}/tree`;
      return {
        path,
        layer: `${base}/layer`,
        layerSeen: `/proc/${pid}/root${base}/layer`,
        run: (command, { cwd, env }) => {
          const inside = ['chroot', path, 'env', '-C', cwd, ...command];
          return ended('nsenter', [...enter, ...inside], { env: { ...process.env, ...env } });
        },
      };
    },
    async destroy() {
      const gone = new Promise((done) => holder.once('close', done));
      holder.stdin.end();
      await gone;
      rmSync(at, { recursive: true, force: true });
    },
  };
}

/** Resolves with what was said when a command succeeded, rejects with it when not. */
export async function must(running: Promise<Ended>): Promise<string> {
  const { code, output } = await running;
  if (code !== 0) throw new Error(`ended with ${String(code)}:\n${output.slice(-4_000)}`);
  return output;
}

/** The process that is the first one of a space which `parent` has made (`unshare --pid --fork`), by its number out here. */
export function firstProcess(parent: ChildProcess): Promise<number> {
  return waitFor('the first process of a name space', 10_000, () =>
    // Before it makes the space, the same process may start programs that set up what is in it.
    Promise.resolve(childrenOf(parent.pid ?? -1).find(isFirst)),
  );
}

function isFirst(pid: number): boolean {
  try {
    return /^NSpid:\t\d+\t1$/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false; // it has ended meanwhile
  }
}

function ended(command: string, args: readonly string[], options: SpawnOptions = {}): Promise<Ended> {
  const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'], timeout: commandMs });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  return new Promise((done, fail) => {
    child.once('error', fail);
    child.once('close', (code) => done({ code, output }));
  });
}
