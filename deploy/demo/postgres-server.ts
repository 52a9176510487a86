import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { appendFile, chown, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import pg from 'pg';
import { binaries, environment, installations, makeOwnFolder, runAsServer, template } from './postgres-install.js';
import { childrenOf, freePort, isAlive, killTree, runFolder, sendSignal, serverUser, waitFor } from './run-folder.js';

/** What a server is started with; everything has a default that suits a test. */
export interface PostgresOptions {
  /** Major version, 18 unless told; `majors()` lists what is installed. */
  readonly major?: number;
  /** Names the server's folder and appears in messages. */
  readonly name?: string;
  /** Settings for postgresql.conf, added to the defaults or replacing them. */
  readonly settings?: Readonly<Record<string, string>>;
  /** How clients over TCP prove who they are: by password (scram, the default) or not at all. */
  readonly auth?: 'scram' | 'trust';
  /** TCP port on 127.0.0.1; by default a free one is picked. */
  readonly port?: number;
  /** Data directory; an initialised one is used as it is and then needs `password`. */
  readonly dataDir?: string;
  /** Certificate and key, as PEM text or as paths of PEM files; turns TLS on. */
  readonly tls?: { readonly cert: string; readonly key: string };
  /** A database to create, besides `postgres`. */
  readonly database?: string;
  /** The superuser's password; random unless told. */
  readonly password?: string;
  /** Further environment of the server, for libfaketime for instance. */
  readonly env?: Readonly<Record<string, string>>;
}

/** A PostgreSQL server of our own that can be stopped, killed and started again, and ends with this process at the latest. */
export interface PostgresServer {
  readonly name: string;
  readonly major: number;
  readonly host: '127.0.0.1';
  readonly port: number;
  readonly dataDir: string;
  /** The superuser's password. */
  readonly password: string;
  /** Address for the superuser `postgres`, password included. */
  adminUrl(database?: string): string;
  /** Shuts the server down; `fast` waits for walsenders to deliver what is left, `immediate` is an orderly crash. */
  stop(mode?: 'fast' | 'immediate'): Promise<void>;
  /** Kills the postmaster and all of its children with SIGKILL. */
  kill(): Promise<void>;
  /** Starts a stopped or killed server again on the same port and data. */
  start(): Promise<void>;
  /** Process id of the running postmaster; throws when the server is down. */
  postmasterPid(): number;
  /** Sends a signal to the postmaster or one of its direct children; any other process is refused. */
  signal(pid: number, signal: NodeJS.Signals): void;
  /** The last lines of the server's log. */
  logTail(lines?: number): string;
  /** Stops the server by whatever it takes and removes its folder; does nothing when that has happened already. */
  destroy(): Promise<void>;
}

const startTimeoutMs = 30_000;
const stopTimeoutMs = 30_000;

const defaultSettings: Readonly<Record<string, string>> = {
  wal_level: 'logical',
  max_wal_senders: '20',
  max_replication_slots: '20',
  max_connections: '200',
  shared_buffers: '32MB',
  // Files in the data directory instead of /dev/shm: a killed server then leaves nothing behind once its folder is gone.
  dynamic_shared_memory_type: 'mmap',
  log_line_prefix: '%m [%p] ',
  timezone: 'UTC',
  log_timezone: 'UTC',
};

/** Lists the major versions whose binaries are installed, in ascending order. */
export function majors(): number[] {
  return [...installations().keys()].sort((a, b) => a - b);
}

/** Starts a PostgreSQL server on the loopback and returns once it accepts connections. */
export async function startPostgres(options: PostgresOptions = {}): Promise<PostgresServer> {
  const major = options.major ?? 18;
  const server = new EmbeddedServer(major, options);
  try {
    await server.prepare();
    await server.firstStart();
  } catch (error) {
    await server.destroy();
    throw error;
  }
  return server;
}

let serverCount = 0;

class EmbeddedServer implements PostgresServer {
  readonly host = '127.0.0.1';
  readonly name: string;
  readonly dataDir: string;
  readonly #home: string;
  readonly #log: string;
  readonly #sockets: string;
  readonly #ownHome: boolean;
  readonly #postgres: string;
  #port: number;
  #password: string;
  #fresh = false;
  #destroyed = false;
  #child: ChildProcess | undefined;

  constructor(
    readonly major: number,
    readonly options: PostgresOptions,
  ) {
    this.#postgres = binaries(major).postgres;
    this.name = options.name ?? 'postgres';
    this.#ownHome = options.dataDir === undefined;
    this.#home = this.#ownHome
      ? join(runFolder().path, `${this.name}-${++serverCount}`)
      : dirname(resolve(options.dataDir ?? ''));
    this.dataDir = this.#ownHome ? join(this.#home, 'data') : resolve(options.dataDir ?? '');
    this.#log = join(this.#home, `${this.name}.log`);
    this.#sockets = join(this.#home, `${this.name}.sockets`);
    this.#port = options.port ?? 0;
    this.#password = options.password ?? '';
  }

  get port(): number {
    return this.#port;
  }

  get password(): string {
    return this.#password;
  }

  adminUrl(database = 'postgres'): string {
    return `postgres://postgres:${encodeURIComponent(this.#password)}@${this.host}:${this.#port}/${encodeURIComponent(database)}`;
  }

  /** Makes the data directory, unless it is there already, and writes the configuration. */
  async prepare(): Promise<void> {
    if (existsSync(join(this.dataDir, 'PG_VERSION'))) {
      if (this.options.password === undefined) {
        throw new Error(`${this.dataDir} is initialised already: give the password of its superuser`);
      }
    } else {
      if (existsSync(this.#home)) makeOwnFolder(this.dataDir);
      else makeOwnFolder(this.#home);
      const { dataDir, password } = await template(this.major);
      await rm(this.dataDir, { recursive: true, force: true });
      makeOwnFolder(this.dataDir);
      await runAsServer('cp', ['-Rp', `${dataDir}/.`, this.dataDir], 60_000);
      this.#password = password;
      this.#fresh = true;
    }
    await this.#configure();
  }

  async #configure(): Promise<void> {
    const method = this.options.auth === 'trust' ? 'trust' : 'scram-sha-256';
    makeOwnFolder(this.#sockets);
    const settings: Record<string, string> = {
      ...defaultSettings,
      listen_addresses: this.host,
      // The kernel allows 107 bytes for the path of a socket; without room for it TCP has to do.
      unix_socket_directories: this.#sockets.length < 85 ? this.#sockets : '',
      ...this.options.settings,
    };
    const { tls } = this.options;
    if (tls !== undefined) {
      await this.#writeOwn('server.crt', pemText(tls.cert));
      await this.#writeOwn('server.key', pemText(tls.key));
      settings['ssl'] = 'on';
    }
    const lines = Object.entries(settings).map(([key, value]) => `${key} = '${value.replaceAll("'", "''")}'`);
    await this.#writeOwn('lockgate.conf', `${lines.join('\n')}\n`);
    // A file of its own, so that ALTER SYSTEM still wins over it.
    const include = "include = 'lockgate.conf'";
    const main = join(this.dataDir, 'postgresql.conf');
    if (!readFileSync(main, 'utf8').includes(include)) await appendFile(main, `\n${include}\n`);
    const rules = [
      'local all all',
      'local replication all',
      'host all all 127.0.0.1/32',
      'host replication all 127.0.0.1/32',
    ];
    await this.#writeOwn('pg_hba.conf', rules.map((rule) => `${rule} ${method}\n`).join(''));
  }

  async #writeOwn(name: string, content: string): Promise<void> {
    const path = join(this.dataDir, name);
    const draft = `${path}.new`;
    await writeFile(draft, content, { mode: 0o600 });
    const user = serverUser();
    if (user !== null) await chown(draft, user.uid, user.gid);
    await rename(draft, path);
  }

  /** Starts for the first time: finds a port, and sets what needs a running server. */
  async firstStart(): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      if (this.options.port === undefined) this.#port = await freePort();
      try {
        await this.start();
        break;
      } catch (error) {
        // Another process may have taken the port since we looked.
        const taken = /could not bind|Address already in use/.test(this.logTail());
        if (!taken || this.options.port !== undefined || attempt === 5) throw error;
      }
    }
    if (!this.#fresh) return;
    this.#fresh = false;
    const { password, database } = this.options;
    if (password === undefined && database === undefined) return;
    const client = new pg.Client({ connectionString: this.adminUrl(), connectionTimeoutMillis: 5_000 });
    await client.connect();
    try {
      if (password !== undefined) {
        await client.query(`alter role postgres password ${client.escapeLiteral(password)}`);
        this.#password = password;
      }
      if (database !== undefined) await client.query(`create database ${client.escapeIdentifier(database)}`);
    } finally {
      await client.end();
    }
  }

  async start(): Promise<void> {
    if (this.#destroyed) throw new Error(`${this.name} was destroyed`);
    if (this.#runningPid() !== undefined) throw new Error(`${this.name} is running already`);
    const log = openSync(this.#log, 'a');
    let child: ChildProcess;
    try {
      child = spawn(this.#postgres, ['-D', this.dataDir, '-p', String(this.#port)], {
        ...(serverUser() ?? {}),
        cwd: '/',
        env: environment(this.options.env),
        stdio: ['ignore', log, log],
        detached: true, // Ctrl-C would make it shut down under our hands
      });
    } finally {
      closeSync(log);
    }
    let spawnError: Error | undefined;
    child.once('error', (error) => (spawnError = error));
    const { pid } = child;
    if (pid !== undefined) {
      runFolder().adopt(pid);
      child.once('exit', () => runFolder().release(pid));
    }
    child.unref();
    this.#child = child;
    await waitFor(
      `${this.name} (PostgreSQL ${this.major}, port ${this.#port}) to accept connections`,
      startTimeoutMs,
      () => {
        if (spawnError === undefined && child.exitCode === null && child.signalCode === null) return this.#isReady(pid);
        return true;
      },
      10,
    ).catch(async (error: unknown) => {
      await this.kill();
      throw new Error(`${String(error)}\n${this.logTail()}`, { cause: error });
    });
    if (spawnError !== undefined || this.#runningPid() === undefined) {
      this.#child = undefined;
      const why = spawnError === undefined ? `ended with code ${child.exitCode}` : String(spawnError);
      throw new Error(`${this.name} (PostgreSQL ${this.major}) did not start, it ${why}:\n${this.logTail()}`);
    }
  }

  /** The eighth line of the pid file says when connections are accepted; asking by connecting would clutter the log. */
  #isReady(pid: number | undefined): boolean {
    const lines = this.#pidFile();
    const status = lines[7]?.trim();
    return lines[0] === String(pid) && (status === 'ready' || status === 'standby');
  }

  #pidFile(): string[] {
    try {
      return readFileSync(join(this.dataDir, 'postmaster.pid'), 'utf8').split('\n');
    } catch {
      return [];
    }
  }

  #runningPid(): number | undefined {
    const child = this.#child;
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return undefined;
    return child.pid;
  }

  postmasterPid(): number {
    const pid = this.#runningPid();
    if (pid === undefined) throw new Error(`${this.name} is not running`);
    return pid;
  }

  signal(pid: number, signal: NodeJS.Signals): void {
    const postmaster = this.postmasterPid();
    if (pid !== postmaster && !childrenOf(postmaster).includes(pid)) {
      throw new Error(`process ${pid} does not belong to ${this.name}`);
    }
    if (!sendSignal(pid, signal)) throw new Error(`process ${pid} of ${this.name} is gone`);
  }

  async stop(mode: 'fast' | 'immediate' = 'fast'): Promise<void> {
    const pid = this.#runningPid();
    if (pid === undefined) return;
    sendSignal(pid, mode === 'fast' ? 'SIGINT' : 'SIGQUIT');
    await waitFor(
      `${this.name} to shut down (${mode})`,
      stopTimeoutMs,
      () => this.#runningPid() === undefined,
      10,
    ).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${this.logTail()}`, { cause: error });
    });
  }

  async kill(): Promise<void> {
    const pid = this.#runningPid();
    if (pid === undefined) return;
    const sharedMemory = this.#pidFile()[6]?.trim().split(/\s+/)[1];
    const all = killTree(pid);
    await waitFor(`the processes of ${this.name} to end`, 10_000, () => !all.some(isAlive), 5);
    await waitFor(`the end of ${this.name} to be noticed`, 10_000, () => this.#runningPid() === undefined, 5);
    if (sharedMemory !== undefined) {
      try {
        execFileSync('ipcrm', ['-m', sharedMemory], { stdio: 'ignore' });
      } catch {
        // 56 bytes of shared memory stay until the server starts again: no harm.
      }
    }
  }

  logTail(lines = 40): string {
    if (!existsSync(this.#log)) return '';
    return readFileSync(this.#log, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
  }

  async destroy(): Promise<void> {
    if (this.#destroyed) return;
    this.#destroyed = true;
    const pid = this.#runningPid();
    if (pid !== undefined) {
      // A stopped process would sit out the shutdown.
      for (const each of [pid, ...childrenOf(pid)]) sendSignal(each, 'SIGCONT');
      await this.stop('immediate').catch(() => this.kill());
    }
    if (this.#ownHome) {
      await rm(this.#home, { recursive: true, force: true, maxRetries: 3 });
    } else {
      for (const path of [this.dataDir, this.#log, this.#sockets]) {
        await rm(path, { recursive: true, force: true, maxRetries: 3 });
      }
    }
  }
}

function pemText(pemOrPath: string): string {
  return pemOrPath.includes('-----BEGIN') ? pemOrPath : readFileSync(pemOrPath, 'utf8');
}
