/** Programs and libraries of Debian for the tests, unpacked below the cache folder: nothing is installed, nobody need be root. */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { cached } from './cache.js';

const run = promisify(execFile);
/** A package server that does not answer must not hang the tests; lists of packages are some 50 MB. */
const timeoutMs = 120_000;

/**
 * Fetches Debian packages, for the release that this machine runs, and returns the folder that they are unpacked into
 * (`usr/lib/…` below it); later calls find them there. What they depend on is not fetched: name it too. Throws with what
 * apt-get said when it cannot.
 */
export async function debianPackages(names: readonly string[]): Promise<string> {
  const folder = cached('debian', [...names].sort().join('+'));
  if (existsSync(folder)) return folder;
  mkdirSync(cached('debian'), { recursive: true });
  // Made aside and renamed at the end: another process may be at it too, and an interrupted one leaves nothing half done.
  const draft = mkdtempSync(cached('draft-'));
  try {
    const archives = join(draft, 'archives');
    const unpacked = join(draft, 'unpacked');
    for (const path of [archives, unpacked]) mkdirSync(path);
    await download(names, archives, draft);
    for (const archive of readdirSync(archives)) {
      await run('dpkg-deb', ['-x', join(archives, archive), unpacked], { timeout: timeoutMs });
    }
    try {
      renameSync(unpacked, folder);
    } catch (error) {
      if (!existsSync(folder)) throw error;
    }
    return folder;
  } catch (error) {
    throw new Error(
      `the tests need ${names.join(', ')} of Debian and could not fetch it (a machine with Debian's apt-get, dpkg-deb ` +
        `and a way to its package server can): ${error instanceof Error ? error.message : String(error)}`,
      { cause: error },
    );
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
}

async function download(names: readonly string[], into: string, draft: string): Promise<void> {
  const aptGet = async (args: readonly string[]): Promise<void> => {
    const options = { cwd: into, timeout: timeoutMs, env: { ...process.env, LC_ALL: 'C' } };
    // As root apt-get would switch to a user that may not write here.
    await run('apt-get', ['-q', '-o', 'APT::Sandbox::User=root', ...args], options);
  };
  try {
    await aptGet(['download', ...names]);
  } catch {
    // No list of packages, or an old one, as on a fresh machine: fetch one of our own, which needs no root either.
    for (const path of ['lists/partial', 'cache/archives/partial']) {
      mkdirSync(join(draft, path), { recursive: true });
    }
    const own = ['-o', `Dir::State::lists=${join(draft, 'lists')}`, '-o', `Dir::Cache=${join(draft, 'cache')}`];
    await aptGet([...own, '-o', 'APT::Update::Error-Mode=any', 'update']);
    await aptGet([...own, 'download', ...names]);
  }
}
