/** The real `pt-heartbeat --update` of Percona Toolkit, writing its row on a pair's source. */
import { spawn, type ChildProcess } from 'node:child_process';
import { runFolder, waitFor } from '../../deploy/demo/run-folder.js';
import { fakeTime } from './fake-time.js';
import type { MysqlPair } from './mysql-pair.js';
import { perconaTool, type PerconaTool } from './percona.js';

const stopMs = 5_000;
const startMs = 20_000;

/** Writes `percona.heartbeat` on the source each second, in a process of its own with a clock of its own. */
export class PtHeartbeat {
  /** The clock of its host is off by so many seconds from the next start on. */
  skewSeconds = 0;
  #child: ChildProcess | null = null;
  #said = '';

  private constructor(
    private readonly pair: MysqlPair,
    private readonly tool: PerconaTool,
  ) {}

  /** Fetches the tool when it is not there yet; rejects with what to do when it cannot be fetched. */
  static async install(pair: MysqlPair): Promise<PtHeartbeat> {
    const tool = await perconaTool('pt-heartbeat', pair.flavour);
    await pair.onSource('create database percona');
    return new PtHeartbeat(pair, tool);
  }

  /** Starts it and waits until it has written. */
  async start(): Promise<void> {
    const { source } = this.pair;
    const before = await this.#newest();
    const clock = this.skewSeconds === 0 ? {} : (await fakeTime(this.skewSeconds)).env;
    const how = ['--update', '--create-table', '--database', 'percona', '--no-version-check', '--run-time', '600'];
    const dsn = `h=${source.host},P=${source.port},u=root,p=${source.password}`;
    const child = spawn('perl', [this.tool.script, ...how, dsn], {
      env: { PATH: process.env['PATH'] ?? '', LC_ALL: 'C', TZ: 'UTC', ...this.tool.env, ...clock },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    this.#said = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => (this.#said = (this.#said + chunk.toString()).slice(-4_000)));
    }
    child.once('error', (error) => (this.#said += String(error)));
    const { pid } = child;
    if (pid !== undefined) {
      runFolder().adopt(pid);
      child.once('exit', () => runFolder().release(pid));
    }
    await waitFor('pt-heartbeat to write', startMs, async () => {
      if (ended(child)) throw new Error(`pt-heartbeat ended by itself: ${this.#said}`);
      const row = await this.#newest();
      return row !== null && row !== before;
    });
  }

  /** Ends it; rejects when it had ended by itself before. */
  async stop(): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (child === null) return;
    if (ended(child)) throw new Error(`pt-heartbeat ended by itself: ${this.#said}`);
    const exit = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), stopMs);
    await exit;
    clearTimeout(timer);
  }

  async #newest(): Promise<string | null> {
    // With its position: the row that it makes at its start has none, and is not a heartbeat yet.
    const sql = 'select ts from percona.heartbeat where server_id = 1 and file is not null';
    const [row] = await this.pair.onSource<{ ts: string }>(sql).catch(() => []);
    return row?.ts ?? null;
  }
}

function ended(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null || child.pid === undefined;
}
