/** A small file system of its own for a server's files, to be filled up and emptied again. */
import { spawn } from 'node:child_process';
import {
  chownSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  realpathSync,
  rmSync,
  statfsSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { runFolder, serverUser } from '../../deploy/demo/run-folder.js';
import { readiness } from './mount-holder.js';

const sizeMiB = 16;
/** Larger ones are somebody's memory: nobody fills those up for a test. */
const sharedMemoryAtMost = 256 * 1024 ** 2;

/** A small file system; it is gone when this process is. */
export interface SmallDisk {
  /** A folder on it that belongs to the server's user. */
  readonly folder: string;
  /** Leaves not a byte free. */
  fill(): void;
  /** Takes away what `fill` has written. */
  makeRoom(): void;
  destroy(): Promise<void>;
}

/**
 * Makes a small file system: in memory, in a mount name space of its own that a helper process holds open, so that nothing
 * stays mounted however this process ends. Needs root or user name spaces; where both are forbidden (containers), a small
 * /dev/shm will do; throws with the cause when there is none of them.
 */
export async function smallDisk(): Promise<SmallDisk> {
  const mounted = await mountOwn();
  if (typeof mounted !== 'string') return mounted;
  const { bsize, blocks } = statfsSync('/dev/shm');
  if (bsize * blocks > sharedMemoryAtMost) {
    throw new Error(
      `the test needs a small file system and could not make one: ${mounted}; nor is /dev/shm small (${bsize * blocks} bytes). ` +
        'Run it as root with CAP_SYS_ADMIN, or allow user name spaces, or give the container a small /dev/shm',
    );
  }
  const root = mkdtempSync('/dev/shm/lockgate-');
  const folder = join(root, 'space');
  mkdirSync(folder, { mode: 0o700 });
  const user = serverUser();
  if (user !== null) chownSync(folder, user.uid, user.gid);
  return diskAt(root, folder, () => {
    rmSync(root, { recursive: true, force: true });
    return Promise.resolve();
  });
}

/** Mounts a file system that only its holder sees; the path leads through the holder. A string says why not. */
async function mountOwn(): Promise<SmallDisk | string> {
  const user = serverUser();
  const at = mkdtempSync(join(realpathSync(runFolder().path), 'disk-'));
  const mount = `mount -t tmpfs -o size=${sizeMiB}m,mode=0755 none "$1" && mkdir -m 0700 "$1/space"`;
  // Whoever looks through the holder must be its user: so it becomes the server's.
  const [options, script] =
    user === null
      ? [['--user', '--map-root-user', '--mount'], `${mount} && echo ready && exec cat`]
      : [
          ['--mount'],
          `${mount} && chown ${user.uid}:${user.gid} "$1/space" && echo ready &&
            exec setpriv --reuid=${user.uid} --regid=${user.gid} --clear-groups cat`,
        ];
  // Ends at the end of its standard input, which the kernel closes when this process is gone.
  const holder = spawn('unshare', [...options, 'sh', '-c', script, 'sh', at], { cwd: '/', stdio: 'pipe' });
  const failure = await readiness(holder);
  if (failure !== null) return failure;
  const root = `/proc/${String(holder.pid)}/root${at}`;
  return diskAt(root, join(root, 'space'), async () => {
    const ended = new Promise((done) => holder.once('close', done));
    holder.stdin.end();
    await ended;
  });
}

function diskAt(root: string, folder: string, destroy: () => Promise<void>): SmallDisk {
  const filler = join(root, 'filler');
  return {
    folder,
    destroy,
    fill() {
      const file = openSync(filler, 'a', 0o600);
      try {
        for (let size = 1024 ** 2; size >= 1; size = Math.floor(size / 4)) writeAll(file, Buffer.alloc(size));
      } finally {
        closeSync(file);
      }
    },
    makeRoom: () => rmSync(filler, { force: true }),
  };
}

/** Writes until the disk is full. */
function writeAll(file: number, block: Buffer): void {
  try {
    for (;;) writeSync(file, block);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  }
}
