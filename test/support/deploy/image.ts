/** The image of deploy/docker as far as a machine without a container engine can have it, and containers of it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { replay, type Stage } from './dockerfile-replay.js';
import { firstProcess, must, sandbox, type Ended, type Sandbox } from './sandbox.js';

const root = fileURLToPath(new URL('../../../', import.meta.url));

/** The built image. */
export interface Image {
  readonly box: Sandbox;
  readonly stage: Stage;
  /** Starts a container as `docker run --read-only --cap-drop ALL --security-opt no-new-privileges --tmpfs /tmp` does. */
  run(name: string, config: string): Promise<Container>;
}

/** A running container. */
export interface Container {
  /** The process that is number one in it, by its number out here. */
  readonly pid: number;
  log(): string;
  exited: Promise<number | null>;
  /** As `docker exec`: the same user, the same environment. */
  exec(command: readonly string[], env?: Record<string, string>): Promise<Ended>;
  /** As an engine runs it: its exit code is the container's health. */
  health(env?: Record<string, string>): Promise<Ended>;
  /** What the kernel says of the process. */
  status(field: string): string;
}

/** What stands in for the two longest steps, with the same result. */
const shorter: Readonly<Record<string, string>> = {
  // Those that this checkout has installed from the same lock file.
  'npm ci': `ln -s '${join(root, 'node_modules')}' node_modules`,
  // The types of the same files are checked by `npm run check`.
  'npm run build': "sed -i 's/tsc -p tsconfig.build.json/& --noCheck/' package.json && npm run build",
};

/**
 * Carries out the Dockerfile. Unless `whole`, the build stage takes the packages that are here and checks no types; all other
 * steps are carried out as they are written.
 */
export async function buildImage(whole: boolean): Promise<Image> {
  const box = await sandbox();
  try {
    const stage = await replay(join(root, 'deploy/docker/Dockerfile'), root, box, {
      instead: (run) => (whole ? null : (shorter[run] ?? null)),
    });
    return { box, stage, run: (name, config) => start(box, stage, name, config) };
  } catch (error) {
    await box.destroy();
    throw error;
  }
}

async function start(box: Sandbox, stage: Stage, name: string, config: string): Promise<Container> {
  // Volumes begin with what the image has at their place, its owner included; the configuration is mounted by the user.
  const place = await box.folder(`container-${name}`);
  const script = `
    mkdir -p "$1/tree" "$1/etc"
    mount --bind "$2" "$1/tree"
    mount -o remount,bind,ro "$1/tree"
    mount -t tmpfs none "$1/tree/tmp"
    for volume in $4; do cp -a "$2$volume" "$1/volume"; mount --bind "$1/volume" "$1/tree$volume"; done
    printf %s "$3" >"$1/etc/lockgate.yaml"
    cp "$5"/*.pem "$1/etc/"
    mount --bind "$1/etc" "$1/tree/etc/lockgate"
    mount -t proc proc "$1/tree/proc"
    mount --rbind /dev "$1/tree/dev"`;
  await must(
    box.shell(script, [place, stage.root.path, config, stage.volumes.join(' '), join(root, 'test/fixtures/tls')]),
  );
  const [uid = '', gid = ''] = stage.user.split(':');
  const drop = ['--reuid', uid, '--regid', gid, '--clear-groups', '--no-new-privs', '--bounding-set=-all'];
  const inside = ['chroot', `${place}/tree`, 'setpriv', ...drop, '--inh-caps=-all', 'env', '-C', stage.cwd];
  const env = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', ...stage.env };
  // As the first process of a space of its own, as in a container: there signals without a handler do nothing.
  const child = box.start(
    'exec unshare --pid --fork --kill-child "$@"',
    [...inside, ...stage.entrypoint, ...stage.command],
    env,
  );
  let log = '';
  child.stdout?.on('data', (chunk: Buffer) => (log += chunk.toString()));
  child.stderr?.on('data', (chunk: Buffer) => (log += chunk.toString()));
  const exited = new Promise<number | null>((done) => child.once('close', done));
  const pid = await firstProcess(child);
  const exec = (command: readonly string[], more: Record<string, string> = {}): Promise<Ended> => {
    const given = Object.entries({ ...env, ...more }).map(([key, value]) => `${key}=${value}`);
    return box.shell('exec "$@"', [...inside, '-i', ...given, ...command]);
  };
  return {
    pid,
    exited,
    exec,
    log: () => log,
    health: (more) => exec(stage.healthcheck, more),
    status: (field) =>
      new RegExp(`^${field}:[ \\t]*(.*)$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '',
  };
}
