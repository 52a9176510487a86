/** The real daemon as a child process, with its real configuration file, command line and HTTP API. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort, waitFor } from '../../deploy/demo/run-folder.js';
import type { SignalJson, VerdictJson } from '../../daemon/http/port.js';

const root = new URL('../../', import.meta.url).pathname;

/** How a command ended. */
export interface CommandResult {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** A folder with a configuration file, and the commands that use it. */
export interface Workspace {
  readonly folder: string;
  readonly configFile: string;
  readonly url: string;
  /** Runs `lockgate …` to its end, by another command (`prlimit …`) if one is named. */
  run(args: string[], env?: Record<string, string>, timeoutMs?: number, by?: string[]): Promise<CommandResult>;
  /** Starts `lockgate run` and waits until it is ready. */
  start(env?: Record<string, string>): Promise<Daemon>;
  write(yaml: string): void;
  destroy(): Promise<void>;
}

/** How a workspace differs from the usual one. */
export interface WorkspaceOptions {
  /** The daemon speaks HTTPS, with a certificate that this process does not trust. */
  tls?: boolean;
  /** The environment of every command, unless one says otherwise. */
  env?: Record<string, string>;
  /** The compiled main file to run; unless told the one that was compiled for this run of tests, or the sources. */
  main?: string;
}

/** A running daemon. */
export interface Daemon {
  readonly pid: number;
  readonly url: string;
  log(): string;
  signal(signal: NodeJS.Signals): void;
  /** SIGTERM, then waits for the exit code. */
  stop(): Promise<number | null>;
  kill(): Promise<void>;
  exited(): boolean;
  // eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- the caller knows what it has asked for
  get<T>(path: string, token?: string): Promise<{ status: number; body: T }>;
  verdict(gate: string): Promise<VerdictJson>;
  signals(migration?: string): Promise<Map<string, SignalJson>>;
}

/** Makes a workspace; `yaml` is given the port the daemon is to listen on. */
export async function workspace(yaml: (port: number) => string, options: WorkspaceOptions = {}): Promise<Workspace> {
  const folder = mkdtempSync(join(tmpdir(), 'lockgate-test-'));
  const port = await freePort();
  const configFile = join(folder, 'lockgate.yaml');
  writeFileSync(configFile, yaml(port));
  const url = `${options.tls === true ? 'https' : 'http'}://127.0.0.1:${port}`;
  const daemons: Daemon[] = [];
  const command = (args: string[], env: Record<string, string> = {}, by: string[] = []): ChildProcess => {
    const main = options.main ?? process.env['LOCKGATE_TEST_MAIN'];
    const program = main === undefined ? ['--import', 'tsx', join(root, 'daemon/main.ts')] : [main];
    const [first = '', ...rest] = [...by, process.execPath, ...program, ...args];
    return spawn(first, rest, {
      cwd: root,
      env: { ...process.env, LOCKGATE_URL: url, ...options.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  };

  return {
    folder,
    configFile,
    url,
    write: (text) => writeFileSync(configFile, text),
    async run(args, env, timeoutMs = 30_000, by = []) {
      const child = command(args, env, by);
      const result: CommandResult = { code: null, stdout: '', stderr: '' };
      child.stdout?.on('data', (chunk: Buffer) => (result.stdout += chunk.toString()));
      child.stderr?.on('data', (chunk: Buffer) => (result.stderr += chunk.toString()));
      const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
      result.code = await new Promise<number | null>((resolve) => child.on('close', resolve));
      clearTimeout(timer);
      return result;
    },
    async start(env) {
      const logFile: string[] = [];
      const child = command(['run', '--config', configFile], env);
      const keep = (chunk: Buffer): void => {
        logFile.push(chunk.toString());
        if (logFile.length > 5_000) logFile.shift();
      };
      child.stdout?.on('data', keep);
      child.stderr?.on('data', keep);
      let exitCode: number | null | undefined;
      const exit = new Promise<number | null>((resolve) =>
        child.on('close', (code) => {
          exitCode = code;
          resolve(code);
        }),
      );
      const daemon: Daemon = {
        pid: child.pid ?? -1,
        url,
        log: () => logFile.join(''),
        signal: (signal) => void child.kill(signal),
        exited: () => exitCode !== undefined,
        async stop() {
          child.kill('SIGCONT');
          child.kill('SIGTERM');
          return Promise.race([
            exit,
            sleep(20_000).then(() => {
              child.kill('SIGKILL');
              throw new Error(`the daemon did not stop within 20 s:\n${logFile.join('')}`);
            }),
          ]);
        },
        async kill() {
          child.kill('SIGKILL');
          await exit;
        },
        // eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- the caller knows what it has asked for
        async get<T>(path: string, token?: string) {
          const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
          const response = await fetch(url + path, { headers, signal: AbortSignal.timeout(40_000) });
          return { status: response.status, body: (await response.json()) as T };
        },
        verdict: async (gate) => (await daemon.get<VerdictJson>(`/v1/gates/${gate}`)).body,
        async signals(migration = 'shop') {
          const { body } = await daemon.get<{ signals: SignalJson[] }>(`/v1/migrations/${migration}/signals`);
          return new Map(body.signals.map((s) => [s.name, s]));
        },
      };
      daemons.push(daemon);
      await waitFor('the daemon to be ready', 20_000, async () => {
        if (exitCode !== undefined) throw new Error(`the daemon ended with ${String(exitCode)}:\n${logFile.join('')}`);
        if (options.tls === true) return logFile.join('').includes('lockgate is running');
        return fetch(`${url}/readyz`).then(
          (r) => r.ok,
          () => false,
        );
      });
      return daemon;
    },
    async destroy() {
      for (const daemon of daemons) if (!daemon.exited()) await daemon.kill();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** One answer of the gate API. */
export interface GateSample {
  /** `performance.now()` just before the question and just after the answer. */
  askedAt: number;
  at: number;
  /** `unreachable` when the daemon did not answer. */
  state: VerdictJson['state'] | 'unreachable';
  verdict: VerdictJson | null;
}

/** Asks for a gate again and again, as a tool would, and remembers every answer. */
export class GateWatch {
  readonly samples: GateSample[] = [];
  private readonly stopping = new AbortController();
  private readonly loop: Promise<void>;

  constructor(
    private readonly url: string,
    private readonly gate: string,
    private readonly everyMs = 50,
  ) {
    this.loop = this.ask();
  }

  private async ask(): Promise<void> {
    while (!this.stopping.signal.aborted) {
      const askedAt = performance.now();
      let verdict: VerdictJson | null = null;
      try {
        const response = await fetch(`${this.url}/v1/gates/${this.gate}`, { signal: AbortSignal.timeout(2_000) });
        verdict = (await response.json()) as VerdictJson;
      } catch {
        verdict = null;
      }
      this.samples.push({ askedAt, at: performance.now(), state: verdict?.state ?? 'unreachable', verdict });
      await sleep(this.everyMs);
    }
  }

  /** The latest answer. */
  get state(): GateSample['state'] {
    return this.samples.at(-1)?.state ?? 'unreachable';
  }

  /** Waits until the gate says one of `states`; the sample that did. */
  async until(
    states: GateSample['state'][],
    timeoutMs: number,
    what = `gate ${this.gate} to be ${states.join(' or ')}`,
  ): Promise<GateSample> {
    const from = performance.now();
    return waitFor(what, timeoutMs, () => {
      const found = this.samples.findLast((s) => s.askedAt >= from);
      return Promise.resolve(found !== undefined && states.includes(found.state) ? found : undefined);
    }).catch((error: unknown) => {
      const last = this.samples.at(-1);
      throw new Error(`${String(error)}; it says ${JSON.stringify(last?.verdict, null, 1)}`);
    });
  }

  /** Answers within `[from, to]` by their instant. */
  between(from: number, to: number): GateSample[] {
    return this.samples.filter((s) => s.askedAt >= from && s.at <= to);
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    await this.loop;
  }
}
