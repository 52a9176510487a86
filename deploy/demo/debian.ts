/**
 * Fetches packages of Debian, with all that they need, into a folder of their own: past the machine's own packages,
 * without root, and from any suite of the mirror that the machine uses already.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { chmod, mkdir, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { isAlive } from './run-folder.js';

/** Returns the folder that keeps what was fetched: `.servers`, or what LOCKGATE_TEST_SERVERS names so that several checkouts share it. */
export function serversFolder(): string {
  const told = process.env['LOCKGATE_TEST_SERVERS'];
  if (told !== undefined && told !== '') return resolve(told);
  return fileURLToPath(new URL('../../.servers', import.meta.url));
}

/** What to fetch. */
export interface DebianFetch {
  /** Folder below `serversFolder()`. */
  readonly name: string;
  /** For messages: what it is and how big. */
  readonly what: string;
  readonly packages: readonly string[];
  /** Another suite than the machine's own, `sid` for instance. */
  readonly suite?: string;
  /** With the packages that they depend on, unless false: then the machine's own libraries must do. */
  readonly dependencies?: boolean;
  /** Paths that are not unpacked, as tar's `--exclude` understands them. */
  readonly leaveOut?: readonly string[];
  /** Said in the failure, besides what went wrong: what else the reader can do. */
  readonly remedy?: string;
  /** Runs in the unpacked folder before it counts as whole. */
  readonly finish?: (root: string) => Promise<void>;
}

const commandTimeoutMs = 300_000;
const lockTimeoutMs = 600_000;
const merged = ['bin', 'sbin', 'lib', 'lib64'];

const inFlight = new Map<string, Promise<string>>();

/** Returns the folder with the unpacked packages, fetching them when they are not there yet; rejects with what to do when that fails. */
export function fetchDebian(what: DebianFetch): Promise<string> {
  const folder = join(serversFolder(), what.name);
  let fetched = inFlight.get(folder);
  if (fetched === undefined) {
    fetched = fetchOnce(what, folder);
    inFlight.set(folder, fetched);
    fetched.catch(() => inFlight.delete(folder)); // the next caller tries again
  }
  return fetched;
}

async function fetchOnce(what: DebianFetch, folder: string): Promise<string> {
  if (existsSync(folder)) return folder;
  try {
    mkdirSync(serversFolder(), { recursive: true });
    return await locked(`${folder}.lock`, async () => {
      if (existsSync(folder)) return folder;
      const startedAt = performance.now();
      say(`fetching ${what.what} into ${folder} …`);
      const draft = `${folder}.draft-${randomBytes(4).toString('hex')}`;
      try {
        await fetchInto(what, draft);
        // Only what is whole gets the name; whoever was first wins.
        await rename(join(draft, 'root'), folder).catch((error: unknown) => {
          if (!existsSync(folder)) throw error;
        });
      } finally {
        await rm(draft, { recursive: true, force: true, maxRetries: 3 });
      }
      say(`${what.what}: there, after ${((performance.now() - startedAt) / 1_000).toFixed(1)} s`);
      return folder;
    });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Error(
      `${what.what} could not be fetched into ${folder}: ${why}\n` +
        'What to do: see that apt-get on this machine reaches its Debian mirror and run again; ' +
        `or point LOCKGATE_TEST_SERVERS at a folder where ${what.name} was fetched before` +
        (what.remedy === undefined ? '.' : `; ${what.remedy}`),
      { cause: error },
    );
  }
}

async function fetchInto(what: DebianFetch, draft: string): Promise<void> {
  const apt = join(draft, 'apt');
  for (const path of ['lists/partial', 'cache/archives/partial']) await mkdir(join(apt, path), { recursive: true });
  await writeFile(join(apt, 'status'), ''); // as if nothing were installed: every dependency is fetched
  const { uri, suite } = await mirror();
  const keys = '/usr/share/keyrings/debian-archive-keyring.gpg';
  const signed = existsSync(keys) ? `[signed-by=${keys}] ` : '';
  await writeFile(join(apt, 'sources.list'), `deb ${signed}${uri} ${what.suite ?? suite} main\n`);
  const settings = {
    'Dir::State::lists': join(apt, 'lists'),
    'Dir::State::status': join(apt, 'status'),
    'Dir::State::extended_states': join(apt, 'extended_states'),
    'Dir::Cache': join(apt, 'cache'),
    'Dir::Etc::sourcelist': join(apt, 'sources.list'),
    'Dir::Etc::sourceparts': '/dev/null',
    'Dir::Etc::preferences': '/dev/null',
    'Dir::Etc::preferencesparts': '/dev/null',
    'Dir::Log': apt,
    'Acquire::Languages': 'none',
    'Acquire::Retries': '3',
    'Acquire::http::Timeout': '30',
    'APT::Sandbox::User': '', // the folder is ours, apt's own user could not write to it
  };
  const options = Object.entries(settings).flatMap(([key, value]) => ['-o', `${key}=${value}`]);
  await run('apt-get', [...options, '-q', 'update']);
  const archives = join(apt, 'cache', 'archives');
  if (what.dependencies === false) {
    await run('apt-get', [...options, '-q', 'download', ...what.packages], archives);
  } else {
    const how = ['-q', '-y', '--download-only', '--no-install-recommends'];
    await run('apt-get', [...options, ...how, 'install', ...what.packages]);
  }

  const root = join(draft, 'root');
  await mkdir(join(root, 'usr'), { recursive: true });
  for (const name of merged) {
    await mkdir(join(root, 'usr', name));
    await symlink(`usr/${name}`, join(root, name));
  }
  const files = (await readdir(archives)).filter((file) => file.endsWith('.deb'));
  if (files.length === 0) throw new Error('apt-get fetched no package');
  for (const file of files) await unpack(join(archives, file), root, what.leaveOut ?? []);
  await chmod(root, 0o755);
  await what.finish?.(root);
}

/** The first archive of Debian among the machine's sources; the suite is the machine's own. */
async function mirror(): Promise<{ uri: string; suite: string }> {
  const told = await run('apt-get', ['indextargets', '--format', '$(SITE) $(RELEASE)', 'Identifier: Packages']);
  for (const line of told.split('\n')) {
    const [uri, suite] = line.trim().split(' ');
    if (uri !== undefined && suite !== undefined && /\/debian\/?$/.test(uri) && !suite.includes('-')) {
      return { uri, suite };
    }
  }
  throw new Error(`this machine has no archive of Debian among its package sources (apt-get names: ${told.trim()})`);
}

/** By way of a file, not a pipe: so the end of both programs counts. */
async function unpack(file: string, root: string, leaveOut: readonly string[]): Promise<void> {
  await run('sh', ['-c', 'dpkg-deb --fsys-tarfile "$1" >"$1.tar"', 'unpack', file]);
  const excludes = leaveOut.map((path) => `--exclude=${path}`);
  const how = ['--keep-directory-symlink', '--no-same-owner', '--no-same-permissions'];
  await run('tar', ['-x', '-f', `${file}.tar`, '-C', root, ...how, ...excludes]);
  await rm(`${file}.tar`);
}

/** Runs a program and returns what it wrote; rejects with that when it fails. */
async function run(command: string, args: string[], cwd = '/'): Promise<string> {
  const child = spawn(command, args, {
    cwd,
    env: { ...process.env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: commandTimeoutMs,
    killSignal: 'SIGKILL',
  });
  let [output, errors] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString('utf8')));
  child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString('utf8')));
  return await new Promise((done, fail) => {
    child.once('error', (error) => fail(new Error(`${command} cannot be run: ${error.message}`)));
    child.once('close', (code, signal) => {
      if (code === 0) {
        done(output);
        return;
      }
      const said = `${output}${errors}`.trim().split('\n').slice(-15).join('\n');
      const verb = args.find((arg) => ['update', 'install', 'download', 'indextargets'].includes(arg)) ?? '';
      fail(new Error(`${command} ${verb} failed (code ${String(code)}, signal ${String(signal)}):\n${said}`));
    });
  });
}

/** Holds a lock among processes while working. It only saves a second download: what keeps the result whole is the rename. */
async function locked<T>(path: string, work: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + lockTimeoutMs;
  let told = false;
  for (;;) {
    try {
      await writeFile(path, String(process.pid), { flag: 'wx' });
      break;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const holder = lockHolder(path);
    if (holder === 0 || (holder !== undefined && !isAlive(holder))) {
      await rm(path, { force: true }); // its holder was killed
      continue;
    }
    if (!told) say(`process ${String(holder)} is fetching the same, waiting for it (${path})`);
    told = true;
    if (performance.now() > deadline) {
      throw new Error(`${path} has been held for ${lockTimeoutMs / 60_000} minutes by process ${String(holder)}`);
    }
    await sleep(200);
  }
  try {
    return await work();
  } finally {
    await rm(path, { force: true });
  }
}

/** The process that holds a lock; undefined while that is being written or when it is gone, 0 for nonsense. */
function lockHolder(path: string): number | undefined {
  try {
    const text = readFileSync(path, 'utf8');
    if (text === '') return undefined;
    return Number.parseInt(text, 10) || 0;
  } catch {
    return undefined;
  }
}

function say(text: string): void {
  process.stderr.write(`lockgate: ${text}\n`);
}
