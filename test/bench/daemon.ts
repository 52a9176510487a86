/** The daemon as users run it: compiled, in a process of its own, with a configuration file. */
import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { createBackend } from '../../daemon/app.js';
import { loadConfigFile } from '../../daemon/config/load.js';
import type { Config } from '../../daemon/core/config.js';
import { SystemClock } from '../../daemon/lifecycle/clock.js';
import { LazyAws } from '../../collectors/session/lazy-aws.js';
import { postgresEngine } from '../../collectors/postgres/engine.js';
import type { Log } from '../../collectors/collector.js';
import { runFolder, waitFor } from '../../deploy/demo/run-folder.js';
import type { ServerPair } from '../support/pair.js';
import { endWithThisProcess } from './child.js';
import { pinned } from './machine.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
/** Within the repository, so that packages are found, and where nobody looks for sources. */
const cache = join(root, 'node_modules/.cache');

/** A running daemon. */
export interface BenchDaemon {
  readonly pid: number;
  readonly url: string;
  stop(): Promise<void>;
}

/** The token that the benchmark asks with. */
export const TOKEN = 'bench-1f0c6f5e7a2b4d3c';

export const silent: Log = { debug: nothing, info: nothing, warn: nothing, error: nothing };

function nothing(): void {
  // The benchmark looks at the observations themselves.
}

/** Compiles the daemon from the present sources into a folder of this name and returns its main file. */
export async function compileDaemon(name = 'lockgate-bench'): Promise<string> {
  const compiled = join(cache, name);
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const args = [tsc, '-p', join(root, 'tsconfig.build.json'), '--outDir', compiled, '--sourceMap', 'false'];
  await promisify(execFile)(process.execPath, args, { cwd: root, timeout: 120_000 });
  return join(compiled, 'daemon/main.js');
}

/** Writes a configuration into a new folder that goes with this process, and loads it. */
export function writeConfig(yaml: string): { file: string; config: Config } {
  const file = join(mkdtempSync(join(runFolder().path, 'bench-')), 'lockgate.yaml');
  writeFileSync(file, yaml);
  return { file, config: loadConfigFile(file, {}) };
}

/** Does what `lockgate setup` does, with the administrators' addresses. */
export function setUp(config: Config, pair: ServerPair): Promise<void> {
  const admin = new Map([
    ['onprem', pair.source.adminUrl(pair.database)],
    ['aws', pair.target.adminUrl(pair.database)],
  ]);
  return setUpAll(config, admin);
}

/** The same for any databases, given the administrators' addresses by name. */
export async function setUpAll(config: Config, admin: ReadonlyMap<string, string>): Promise<void> {
  const backend = createBackend({
    clock: new SystemClock(),
    env: {},
    nodeVersion: process.version,
    version: 'bench',
    log: silent,
    engines: [postgresEngine],
    services: [],
    aws: new LazyAws(),
  });
  const signal = AbortSignal.timeout(300_000);
  for await (const { step, outcome } of backend.setup(config, { admin, dryRun: false, signal })) {
    if (outcome === 'would-do') throw new Error(`setup could not ${step.why} on ${step.database}`);
  }
}

/** Starts the compiled daemon, on one core if told so, and waits until it is ready. */
export async function startDaemon(main: string, file: string, core: number | null): Promise<BenchDaemon> {
  const { host, port } = loadConfigFile(file, {}).daemon.listen;
  const url = `http://${host}:${port}`;
  const args = [main, 'run', '--config', file];
  const [command, all] = core === null ? [process.execPath, args] : pinned(core, process.execPath, args);
  const child = spawn(command, all, {
    cwd: root,
    env: { ...process.env, LOCKGATE_LOG_LEVEL: 'warn' },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  endWithThisProcess(child);
  let log = '';
  child.stderr.on('data', (chunk: Buffer) => (log = (log + chunk.toString()).slice(-4_000)));
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
  await waitFor('the daemon to be ready', 20_000, async () => {
    if (child.exitCode !== null) throw new Error(log);
    return (await fetch(`${url}/readyz`)).ok;
  });
  return {
    pid: child.pid ?? -1,
    url,
    async stop() {
      child.kill('SIGTERM');
      await closed;
    },
  };
}
