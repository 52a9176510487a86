/** The real command line as child processes, and the API as any client sees it. */
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type {
  DirectionChangeJson,
  FenceJson,
  MigrationJson,
  SignalJson,
  VerdictJson,
  VerifyJson,
} from '../../daemon/http/port.js';
import { runFolder } from './run-folder.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
/** How long the daemon may take to stop before it is killed. */
const STOP_MS = 8_000;
const REQUEST_MS = 2_000;
/** For what the daemon asks the databases before it answers: a fence, a change of direction. */
const OPERATION_MS = 20_000;

/** One step that `lockgate setup` reports. */
export interface SetupStep {
  readonly database: string;
  readonly why: string;
  readonly outcome: string;
}

/** Writes a file that only we can read into the run folder, and returns its path. */
export function writePrivate(name: string, content: string): string {
  const path = join(runFolder().path, name);
  writeFileSync(path, content, { mode: 0o600 });
  return path;
}

/** Starts `lockgate …`; it outlives neither this process nor a Ctrl-C that is meant for this process. */
function lockgate(args: readonly string[], stdio: ('ignore' | 'pipe' | number)[]): ChildProcess {
  const child = spawn(process.execPath, ['--import', 'tsx', join(ROOT, 'daemon', 'main.ts'), ...args], {
    cwd: ROOT,
    detached: true, // the tour stops it in its turn
    stdio: ['ignore', ...stdio],
  });
  const { pid } = child;
  if (pid !== undefined) {
    runFolder().adopt(pid);
    child.once('exit', () => runFolder().release(pid));
  }
  return child;
}

/** Runs `lockgate setup` with the administrators' addresses and returns what it did; throws with what it said. */
export async function setup(
  configFile: string,
  admin: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<SetupStep[]> {
  const admins = Object.entries(admin).flatMap(([name, url]) => ['--admin', `${name}=${url}`]);
  const child = lockgate(['setup', '--json', '--config', configFile, ...admins], ['pipe', 'pipe']);
  const stop = (): void => void child.kill('SIGTERM');
  signal.addEventListener('abort', stop);
  let out = '';
  let err = '';
  child.stdout?.on('data', (chunk: Buffer) => (out += chunk.toString('utf8')));
  child.stderr?.on('data', (chunk: Buffer) => (err += chunk.toString('utf8')));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  }).finally(() => signal.removeEventListener('abort', stop));
  signal.throwIfAborted();
  if (code !== 0) throw new Error(`lockgate setup ended with ${String(code)}: ${err.trim()}`);
  const lines = out.split('\n').filter((line) => line !== '');
  return lines.map((line) => JSON.parse(line) as SetupStep);
}

/** A `lockgate run` and its API. */
export class Daemon {
  readonly #child: ChildProcess;
  readonly #exit: Promise<void>;
  readonly #log = join(runFolder().path, 'lockgate.log');
  /** `performance.now()` when the process was started. */
  readonly startedAt = performance.now();

  constructor(
    configFile: string,
    readonly url: string,
  ) {
    // A file and no pipe: nobody has to read it, and it cannot fill up.
    const log = openSync(this.#log, 'w', 0o600);
    try {
      this.#child = lockgate(['run', '--config', configFile], [log, log]);
    } finally {
      closeSync(log);
    }
    this.#exit = new Promise((resolve) => {
      this.#child.once('error', () => resolve());
      this.#child.once('exit', () => resolve());
    });
  }

  /** Whether it answers and says that it is ready; throws once it has ended. */
  async ready(): Promise<boolean> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) {
      throw new Error(
        `the daemon has ended (${String(this.#child.exitCode ?? this.#child.signalCode)}):\n${this.logTail()}`,
      );
    }
    const response = await this.#ask('/readyz').catch(() => null);
    return response?.status === 200;
  }

  /** The verdict of a gate. */
  async verdict(gate: string): Promise<VerdictJson> {
    return (await (await this.#ask(`/v1/gates/${gate}`)).json()) as VerdictJson;
  }

  /** The status of `check`, which is all that many tools look at. */
  async check(gate: string): Promise<number> {
    const response = await this.#ask(`/v1/gates/${gate}/check`);
    await response.arrayBuffer();
    return response.status;
  }

  /** The signals of a migration by name. */
  async signals(migration: string): Promise<Map<string, SignalJson>> {
    const response = await this.#ask(`/v1/migrations/${migration}/signals`);
    const { signals } = (await response.json()) as { signals: SignalJson[] };
    return new Map(signals.map((s) => [s.name, s]));
  }

  /** The migration: direction, sides, the newest fence. */
  async migration(migration: string): Promise<MigrationJson> {
    return (await (await this.#ask(`/v1/migrations/${migration}`)).json()) as MigrationJson;
  }

  /** Places a fence; rejects with what the daemon said when it is refused. */
  placeFence(migration: string, deadline: string, note: string): Promise<FenceJson> {
    return this.#operate(`/v1/migrations/${migration}/fences`, { deadline, note });
  }

  /** Asks for a fence; the answer comes as soon as it is decided, or after `wait` as it is. */
  async fence(migration: string, id: string, wait: string): Promise<FenceJson> {
    const response = await this.#ask(`/v1/migrations/${migration}/fences/${id}?wait=${wait}`, OPERATION_MS);
    return (await response.json()) as FenceJson;
  }

  /** Starts a comparison of all tables; answers its name. */
  async startVerify(migration: string): Promise<string> {
    return (await this.#operate<{ pass: string }>(`/v1/migrations/${migration}/verify`, {})).pass;
  }

  /** What is known of the data. */
  async verification(migration: string): Promise<VerifyJson> {
    return (await (await this.#ask(`/v1/migrations/${migration}/verify`)).json()) as VerifyJson;
  }

  /** Declares on which side writes belong; rejects with what the daemon said when it is refused. */
  change(migration: string, action: 'promote' | 'rollback', reason: string): Promise<DirectionChangeJson> {
    const expect = action === 'promote' ? 'forward' : 'reverse';
    return this.#operate(`/v1/migrations/${migration}/${action}`, { reason, expect });
  }

  /** States what lockgate cannot see. */
  async attest(migration: string, name: string, by: string, note: string): Promise<void> {
    await this.#operate(`/v1/migrations/${migration}/attestations/${name}`, { by, note });
  }

  /** Everything that was journaled from an instant (ms since 1970) on, oldest first. */
  async journal(since: number): Promise<Record<string, unknown>[]> {
    const query = new URLSearchParams({ since: new Date(since).toISOString(), limit: '1000' });
    const { entries } = (await (await this.#ask(`/v1/journal?${query.toString()}`)).json()) as {
      entries: Record<string, unknown>[];
    };
    return entries;
  }

  /** The last lines of its log. */
  logTail(lines = 8): string {
    return readFileSync(this.#log, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
  }

  /** Stops it as a service manager would. */
  async stop(): Promise<void> {
    this.#child.kill('SIGTERM');
    const done = new AbortController();
    const killed = sleep(STOP_MS, undefined, { signal: done.signal }).then(
      () => void this.#child.kill('SIGKILL'),
      () => undefined,
    );
    await this.#exit;
    done.abort();
    await killed;
  }

  #ask(path: string, limitMs = REQUEST_MS): Promise<Response> {
    return fetch(this.url + path, { signal: AbortSignal.timeout(limitMs) });
  }

  async #operate<T>(path: string, body: unknown): Promise<T> {
    const response = await fetch(this.url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(OPERATION_MS),
    });
    const json: unknown = await response.json();
    if (!response.ok) throw new Error(`${path} is refused (${response.status}): ${JSON.stringify(json)}`);
    return json as T;
  }
}
