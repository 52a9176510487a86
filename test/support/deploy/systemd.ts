/**
 * A real systemd, as the first process of name spaces and of a control group of its own, so that a unit can be run as it
 * is written. Its root is this machine's with a layer above; where this machine has no systemd, Debian's is laid there.
 */
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fetchDebian } from '../../../deploy/demo/debian.js';
import { waitFor } from '../../../deploy/demo/run-folder.js';
import { firstProcess, must, sandbox, type Ended, type Sandbox, type SandboxRoot } from './sandbox.js';

/** A root in which systemd's programs are, before or without its being started. */
export interface SystemdRoot {
  readonly box: Sandbox;
  readonly root: SandboxRoot;
  /** Runs a program in that root: `systemd-analyze` needs no running systemd. */
  run(...command: string[]): Promise<Ended>;
  /** Starts systemd with nothing but this unit, which lies in its root already. */
  boot(unit: string): Promise<Systemd>;
}

/** A running systemd. */
export interface Systemd {
  /** Runs a program among its processes, as root. */
  run(...command: string[]): Promise<Ended>;
  /** One property of the unit, for example `MainPID`. */
  property(name: string): Promise<string>;
  stop(): Promise<void>;
}

const bootMs = 15_000;

/** What a first process finds on a machine, and no more: no devices but the harmless ones, nothing of the kernel to be set. */
const BOOT = `
R=$1 GROUP=$2 UNIT=$3
umount -l "$R/proc" "$R/dev"
mkdir -p "$R/../groups" && mount -t cgroup2 cgroup2 "$R/../groups"
mkdir -p "$R/../groups/$GROUP" && echo $$ >"$R/../groups/$GROUP/cgroup.procs"
exec env -i container=lockgate PATH=/usr/sbin:/usr/bin:/sbin:/bin \\
  unshare --pid --fork --kill-child --mount --uts --ipc --cgroup --net sh -euc '
R=$1
mount --make-rprivate /
mount --rbind "$R" "$R"
mount -t proc proc "$R/proc"
mount --bind "$R/proc/sys" "$R/proc/sys" && mount -o remount,bind,ro "$R/proc/sys"
mount -t sysfs -o ro sysfs "$R/sys"
mount -t tmpfs none "$R/sys/fs/cgroup" 2>/dev/null || true
mount -t cgroup2 cgroup2 "$R/sys/fs/cgroup"
for at in run tmp dev; do mount -t tmpfs -o mode=0755 none "$R/$at"; done
chmod 1777 "$R/tmp"
for name in null zero full random urandom tty; do touch "$R/dev/$name"; mount --bind "/dev/$name" "$R/dev/$name"; done
ln -s /proc/self/fd "$R/dev/fd"; ln -s pts/ptmx "$R/dev/ptmx"; mkdir "$R/dev/shm" "$R/dev/pts"
mount -t tmpfs none "$R/dev/shm"
ip link set lo up
cd "$R"; mkdir -p old-root; pivot_root . old-root; umount -l /old-root
mount --make-rshared /
exec /lib/systemd/systemd --system --unit="$2" --log-target=null --show-status=no' sh "$R" "$UNIT"`;

/** Makes such a root. Rejects with the cause where this process may not mount, or where there is no systemd to be had. */
export async function systemdRoot(): Promise<SystemdRoot> {
  const box = await sandbox(1024);
  try {
    const root = await box.root('systemd');
    if (!existsSync('/lib/systemd/systemd') || process.env['LOCKGATE_TEST_SYSTEMD'] === 'fetched') {
      const fetched = await fetchDebian({
        name: 'systemd',
        what: 'systemd (Debian, about 15 MB and its lists)',
        packages: ['systemd', 'iproute2'],
        leaveOut: ['./usr/share/doc', './usr/share/man', './usr/share/locale', './var'],
      });
      await must(box.shell('cp -a "$1/usr/." "$2/usr/"; cp -an "$1/etc/." "$2/etc/"', [fetched, root.path]));
    }
    const run = (...command: string[]): Promise<Ended> => root.run(command, { cwd: '/', env: { SYSTEMD_COLORS: '0' } });
    return { box, root, run, boot: (unit) => boot(box, root, unit) };
  } catch (error) {
    await box.destroy();
    throw error;
  }
}

async function boot(box: Sandbox, root: SandboxRoot, unit: string): Promise<Systemd> {
  const group = `lockgate-test-${process.pid}`;
  // Only the unit and who takes its log: not what a machine starts besides, which is none of a test's business.
  const target = '[Unit]\nDefaultDependencies=no\nWants=systemd-journald.socket\n';
  const dropIn = '[Unit]\nDefaultDependencies=no\n';
  const script = `
    printf '%s' "$2" >"$1/etc/systemd/system/lockgate-test.target"
    for unit in "$3" systemd-journald.service network-online.target; do
      mkdir -p "$1/etc/systemd/system/$unit.d"; printf '%s' "$4" >"$1/etc/systemd/system/$unit.d/test.conf"
    done
    rm -rf "$1"/etc/systemd/system/network-online.target.wants`;
  await must(box.shell(script, [root.path, target, unit, dropIn]));
  const child = box.start(BOOT, [root.path, group, 'lockgate-test.target'], { PATH: process.env['PATH'] ?? '' });
  let said = '';
  child.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const gone = new Promise<void>((done) => child.once('close', () => done()));
  const first = await firstProcess(child).catch((error: unknown) => {
    child.kill('SIGKILL');
    const way =
      'it takes root with the right to mount and to make control groups; LOCKGATE_TEST_WITHOUT=image leaves it out';
    throw new Error(`systemd cannot be started: ${said.trim()} (${way})`, { cause: error });
  });
  const enter = ['--target', String(first), '--mount', '--uts', '--ipc', '--net', '--pid'];
  const run = (...command: string[]): Promise<Ended> =>
    box.shell('exec nsenter "$@"', [
      ...enter,
      'env',
      '-i',
      'PATH=/usr/sbin:/usr/bin:/sbin:/bin',
      'SYSTEMD_COLORS=0',
      ...command,
    ]);
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL');
    await gone;
    // A group can be removed once the kernel has taken away its last process.
    const remove = 'find "$1/../groups/$2" -depth -type d -exec rmdir {} + 2>/dev/null || [ ! -e "$1/../groups/$2" ]';
    for (let tries = 0; tries < 20 && (await box.shell(remove, [root.path, group])).code !== 0; tries += 1)
      await sleep(100);
  };
  try {
    await waitFor('systemd to be up', bootMs, async () => {
      const { output } = await run('systemctl', 'is-system-running');
      said += output;
      return /running|degraded/.test(output);
    });
  } catch (error) {
    await stop();
    throw new Error(`${String(error)}; it said: ${said.slice(-1_000)}`, { cause: error });
  }
  return {
    run,
    stop,
    property: async (name) => (await must(run('systemctl', 'show', '--property', name, '--value', unit))).trim(),
  };
}
