/** The real Prometheus and Alertmanager of Debian, with promtool and amtool: fetched once below the cache folder, nothing is installed. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fetchDebian } from '../../deploy/demo/debian.js';
import { freePort, waitFor } from '../../deploy/demo/run-folder.js';
import type { CommandResult } from './lockgate.js';

const runMs = 30_000;
const startMs = 20_000;
const stopMs = 10_000;

/** Fetches both (30 MB) unless they are there, and returns the folder of their programs; rejects with what to do when that fails. */
export async function prometheusTools(): Promise<string> {
  const root = await fetchDebian({
    name: 'prometheus',
    what: 'Prometheus and Alertmanager (Debian, about 30 MB and its lists)',
    packages: ['prometheus', 'prometheus-alertmanager'],
    // Go programs that need nothing but libc.
    dependencies: false,
    leaveOut: ['./usr/share/doc', './usr/share/man', './usr/share/prometheus/web', './etc', './lib', './var'],
    remedy: 'or leave it out of the tests: LOCKGATE_TEST_WITHOUT=prometheus',
    finish: movable,
  });
  return join(root, 'usr/bin');
}

/** Debian's Alertmanager looks for its templates in one place only; made a path of the same length from where it is started. */
async function movable(root: string): Promise<void> {
  const file = join(root, 'usr/bin/prometheus-alertmanager');
  const templates = 'usr/share/prometheus/alertmanager';
  const program = await readFile(file);
  let found = 0;
  for (let at = program.indexOf(`/${templates}`); at >= 0; at = program.indexOf(`/${templates}`, at)) {
    program.write(`${templates}/`, at, 'latin1');
    found += 1;
  }
  if (found === 0) throw new Error(`Alertmanager no longer looks for its templates in /${templates}`);
  await writeFile(file, program);
}

/** Runs one of the programs to its end, with `input` on its standard input. */
export async function runTool(name: string, args: readonly string[], input = ''): Promise<CommandResult> {
  const child = spawn(join(await prometheusTools(), name), args, { timeout: runMs, killSignal: 'SIGKILL' });
  const result: CommandResult = { code: null, stdout: '', stderr: '' };
  child.stdout.on('data', (chunk: Buffer) => (result.stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (result.stderr += chunk.toString()));
  child.stdin.on('error', () => undefined); // it may end without having read it
  child.stdin.end(input);
  result.code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  return result;
}

/** A server of the two, running. */
export interface ToolServer {
  readonly url: string;
  log(): string;
  stop(): Promise<void>;
}

/** Starts Prometheus with this configuration file, on a port of its own. */
export function startPrometheus(yaml: string): Promise<ToolServer> {
  return start('prometheus', yaml, (folder, port) => [
    `--web.listen-address=127.0.0.1:${port}`,
    `--storage.tsdb.path=${join(folder, 'data')}`,
    '--storage.tsdb.retention.time=1h',
    // Alerts that fire are sent again after this; a resolved one is told for fifteen minutes.
    '--rules.alert.resend-delay=1s',
  ]);
}

/** Starts Alertmanager with this configuration file, on a port of its own and without peers. */
export function startAlertmanager(yaml: string): Promise<ToolServer> {
  return start('prometheus-alertmanager', yaml, (folder, port) => [
    `--web.listen-address=127.0.0.1:${port}`,
    `--storage.path=${join(folder, 'data')}`,
    '--cluster.listen-address=',
  ]);
}

async function start(
  program: string,
  yaml: string,
  options: (folder: string, port: number) => string[],
): Promise<ToolServer> {
  const programs = await prometheusTools();
  const folder = mkdtempSync(join(tmpdir(), `lockgate-${program}-`));
  const file = join(folder, 'config.yml');
  writeFileSync(file, yaml);
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const child = spawn(join(programs, program), [`--config.file=${file}`, ...options(folder, port)], {
    cwd: join(programs, '../..'), // Alertmanager finds its templates from there
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  const keep = (chunk: Buffer): string => (said = (said + chunk.toString()).slice(-50_000));
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  let ended = false;
  const exit = new Promise<void>((resolve) => {
    const end = (): void => {
      ended = true;
      resolve();
    };
    child.once('close', end);
    child.once('error', (error) => {
      said += error.message;
      end();
    });
  });
  const server: ToolServer = {
    url,
    log: () => said,
    async stop() {
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), stopMs);
      await exit;
      clearTimeout(timer);
      rmSync(folder, { recursive: true, force: true });
    },
  };
  try {
    await waitFor(`${program} to be ready`, startMs, async () => {
      if (ended) throw new Error(`it ended:\n${said}`);
      return (await fetch(`${url}/-/ready`, { signal: AbortSignal.timeout(2_000) })).ok;
    });
  } catch (error) {
    await server.stop();
    throw new Error(`${error instanceof Error ? error.message : String(error)}\n${said}`, { cause: error });
  }
  return server;
}
