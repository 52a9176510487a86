import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, existsSync, openSync, readFileSync, statSync } from 'node:fs';
import { chown, cp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { installation, type Flavour, type MysqlInstallation } from './mysql-install.js';
import { environment, makeOwnFolder } from './postgres-install.js';
import { freePort, isReachable, runFolder, sendSignal, serverUser, waitFor, type ServerUser } from './run-folder.js';

/** What a server is started with; everything but the flavour has a default that suits a test. */
export interface MysqlOptions {
  readonly flavour: Flavour;
  /** Names the server's folder and appears in messages. */
  readonly name?: string;
  /** Settings for `[mysqld]`, added to the defaults or replacing them; names with underscores. */
  readonly settings?: Readonly<Record<string, string>>;
  /** A database to create; not in the binary log, so that both sides of a replication can have it. */
  readonly database?: string;
  /** TCP port on 127.0.0.1; by default a free one is picked. */
  readonly port?: number;
  /** Server id, 1 unless told; the two sides of a replication need different ones. */
  readonly serverId?: number;
  /** GTIDs, as each flavour means it; on unless told. MariaDB writes them always: there it is the strict mode. */
  readonly gtid?: boolean;
  /** Further environment of the server, for libfaketime for instance. */
  readonly env?: Readonly<Record<string, string>>;
  /** Certificate and key, as PEM text or as paths of PEM files. Without it MySQL offers TLS by a certificate of its own making, MariaDB none. */
  readonly tls?: { readonly cert: string; readonly key: string };
  /** Password of root; random unless told. */
  readonly password?: string;
}

/** A MariaDB or MySQL server of our own that can be stopped, killed and started again, and ends with this process at the latest. */
export interface MysqlServer {
  readonly flavour: Flavour;
  /** As the server says it: `9.7.4`, `10.11.18`. */
  readonly version: string;
  readonly name: string;
  readonly host: '127.0.0.1';
  readonly port: number;
  readonly serverId: number;
  readonly dataDir: string;
  /** The password of `root`. */
  readonly password: string;
  /** Address for `root`, who may do everything, password included. */
  adminUrl(database?: string): string;
  /** Shuts the server down in good order; MySQL takes up to 10 s for it while somebody reads its binary log. */
  stop(): Promise<void>;
  /** Kills the server with SIGKILL. */
  kill(): Promise<void>;
  /** Starts a stopped or killed server again on the same port and data; further settings last from then on. */
  start(settings?: Readonly<Record<string, string>>): Promise<void>;
  /** Process id of the running server; throws when it is down. */
  pid(): number;
  /** Sends a signal to the server: SIGSTOP makes it hang, SIGCONT lets it go on. */
  signal(signal: NodeJS.Signals): void;
  /** The last lines of the server's log. */
  logTail(lines?: number): string;
  /** Kills the server and removes its folder; does nothing when that has happened already. */
  destroy(): Promise<void>;
}

const startTimeoutMs = 60_000;
const stopTimeoutMs = 60_000;

function defaultSettings(flavour: Flavour, gtid: boolean): Record<string, string> {
  const common = {
    log_bin: 'binlog',
    binlog_row_image: 'FULL',
    sync_binlog: '1',
    innodb_flush_log_at_trx_commit: '1',
    innodb_buffer_pool_size: '32M',
    max_connections: '100',
    table_open_cache: '400',
    table_definition_cache: '400',
    skip_name_resolve: 'ON',
    default_time_zone: '+00:00',
    character_set_server: 'utf8mb4',
  };
  if (flavour === 'mysql') {
    const mode = gtid ? 'ON' : 'OFF';
    return {
      ...common,
      gtid_mode: mode,
      enforce_gtid_consistency: mode,
      log_replica_updates: 'ON',
      innodb_redo_log_capacity: '32M', // as the template has it
      innodb_log_buffer_size: '8M',
      mysqlx: 'OFF',
      secure_file_priv: 'NULL',
    };
  }
  return {
    ...common,
    binlog_format: 'ROW', // MySQL has no other worth naming
    gtid_strict_mode: gtid ? 'ON' : 'OFF',
    log_slave_updates: 'ON',
    innodb_log_file_size: '32M', // as the template has it, or each start would make the file anew
  };
}

/** Starts a MariaDB or MySQL server on the loopback and returns once it accepts connections; the first start of all fetches the programs. */
export async function startMysql(options: MysqlOptions): Promise<MysqlServer> {
  const server = new EmbeddedMysql(await installation(options.flavour), options);
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

class EmbeddedMysql implements MysqlServer {
  readonly flavour: Flavour;
  readonly version: string;
  readonly host = '127.0.0.1';
  readonly name: string;
  readonly serverId: number;
  readonly dataDir: string;
  readonly password: string;
  readonly #installation: MysqlInstallation;
  readonly #options: MysqlOptions;
  readonly #home: string;
  readonly #tmp: string;
  readonly #log: string;
  readonly #user: ServerUser | null;
  #settings: Record<string, string>;
  #port: number;
  #destroyed = false;
  #child: ChildProcess | undefined;

  constructor(found: MysqlInstallation, options: MysqlOptions) {
    this.#installation = found;
    this.#options = options;
    this.flavour = options.flavour;
    this.version = found.version;
    this.name = options.name ?? options.flavour;
    this.serverId = options.serverId ?? 1;
    this.password = options.password ?? randomBytes(16).toString('hex');
    this.#home = join(runFolder().path, `${this.name}-${this.flavour}-${++serverCount}`);
    this.dataDir = join(this.#home, 'data');
    this.#tmp = join(this.#home, 'tmp');
    this.#log = join(this.#home, `${this.name}.log`);
    this.#port = options.port ?? 0;
    // Programs below /root, say, are out of reach for anybody else: these servers then run as root, as they can.
    this.#user = isReachable(found.template) ? serverUser() : null;
    this.#settings = {
      server_id: String(this.serverId),
      // A server that starts sweeps its folder for temporary tables clean, those of other servers too.
      tmpdir: this.#tmp,
      ...defaultSettings(this.flavour, options.gtid ?? true),
      ...options.settings,
    };
  }

  get port(): number {
    return this.#port;
  }

  adminUrl(database = ''): string {
    return `mysql://root:${encodeURIComponent(this.password)}@${this.host}:${this.#port}/${encodeURIComponent(database)}`;
  }

  /** Makes the data directory out of the template. */
  async prepare(): Promise<void> {
    makeOwnFolder(this.#home);
    makeOwnFolder(this.dataDir);
    makeOwnFolder(this.#tmp);
    await cp(this.#installation.template, this.dataDir, { recursive: true });
    if (this.#user !== null) {
      for (const entry of await readdir(this.dataDir, { recursive: true })) {
        await chown(join(this.dataDir, entry), this.#user.uid, this.#user.gid);
      }
    }
    const { tls } = this.#options;
    if (tls === undefined) return;
    for (const [setting, pem] of [
      ['ssl_cert', tls.cert],
      ['ssl_key', tls.key],
    ] as const) {
      const path = join(this.#home, `${setting}.pem`);
      await this.#writeOwn(path, pem.includes('-----BEGIN') ? pem : readFileSync(pem, 'utf8'));
      this.#settings[setting] = path;
    }
  }

  async #writeOwn(path: string, content: string): Promise<void> {
    const draft = `${path}.new`;
    await writeFile(draft, content, { mode: 0o600 });
    if (this.#user !== null) await chown(draft, this.#user.uid, this.#user.gid);
    await rename(draft, path);
  }

  /** Starts for the first time: finds a port, and makes accounts and the database before anybody can connect. */
  async firstStart(): Promise<void> {
    const initFile = join(this.#home, 'init.sql');
    const { database } = this.#options;
    const word = `identified by '${this.password.replace(/['\\]/g, '\\$&')}'`;
    const statements = [
      // Nothing of this may be a transaction of the server's own: a replica would have one that its source lacks.
      'set session sql_log_bin = 0',
      `alter user 'root'@'localhost' ${word}`,
      `create user if not exists 'root'@'127.0.0.1' ${word}`,
      `alter user 'root'@'127.0.0.1' ${word}`,
      `grant all privileges on *.* to 'root'@'127.0.0.1' with grant option`,
      ...(database === undefined ? [] : [`create database \`${database.replaceAll('`', '``')}\``]),
    ];
    await this.#writeOwn(initFile, statements.map((statement) => `${statement};\n`).join(''));
    for (let attempt = 1; ; attempt++) {
      if (this.#options.port === undefined) this.#port = await freePort();
      try {
        await this.#start([`--init-file=${initFile}`]);
        break;
      } catch (error) {
        // Another process may have taken the port since we looked.
        const taken = /Bind on TCP\/IP port|Address already in use/.test(this.logTail());
        if (!taken || this.#options.port !== undefined || attempt === 5) throw error;
      }
    }
    await rm(initFile);
  }

  async start(settings: Readonly<Record<string, string>> = {}): Promise<void> {
    this.#settings = { ...this.#settings, ...settings };
    await this.#start([]);
  }

  async #start(extra: string[]): Promise<void> {
    if (this.#destroyed) throw new Error(`${this.name} was destroyed`);
    if (this.#runningPid() !== undefined) throw new Error(`${this.name} is running already`);
    const config = join(this.#home, 'server.cnf');
    const lines = Object.entries({
      ...this.#settings,
      datadir: this.dataDir,
      port: String(this.#port),
      bind_address: this.host,
      socket: 'mysqld.sock', // relative to the data directory: the kernel allows 107 bytes for the path of a socket
      pid_file: 'mysqld.pid',
    }).map(([key, value]) => `${key} = "${value.replace(/["\\]/g, '\\$&')}"\n`);
    await this.#writeOwn(config, `[mysqld]\n${lines.join('')}`);

    // An applier tries its folder with a file of a fixed name when it begins: killed in that moment, MySQL leaves the file
    // there, and no later applier begins (errno 17, "Unable to use replica's temporary directory").
    for (const left of await readdir(this.#tmp)) await rm(join(this.#tmp, left), { recursive: true, force: true });

    const { command, loaderArgs, basics } = this.#installation;
    const asRoot = this.#user === null && process.getuid?.() === 0 ? ['--user=root'] : [];
    const from = existsSync(this.#log) ? statSync(this.#log).size : 0;
    const log = openSync(this.#log, 'a');
    let child: ChildProcess;
    try {
      child = spawn(command, [...loaderArgs, `--defaults-file=${config}`, ...basics, ...asRoot, ...extra], {
        ...(this.#user ?? {}),
        cwd: '/',
        env: environment(this.#options.env),
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
      `${this.#title()} to accept connections`,
      startTimeoutMs,
      () => {
        if (spawnError !== undefined || child.exitCode !== null || child.signalCode !== null) return true;
        // Asking by connecting would count as a broken handshake.
        return readFileSync(this.#log).subarray(from).includes('ready for connections');
      },
      10,
    ).catch(async (error: unknown) => {
      await this.kill();
      throw new Error(`${String(error)}\n${this.logTail()}`, { cause: error });
    });
    if (spawnError !== undefined || this.#runningPid() === undefined) {
      this.#child = undefined;
      const why = spawnError === undefined ? `ended with code ${child.exitCode}` : String(spawnError);
      throw new Error(`${this.#title()} did not start, it ${why}:\n${this.logTail()}`);
    }
  }

  #title(): string {
    return `${this.name} (${this.flavour === 'mysql' ? 'MySQL' : 'MariaDB'} ${this.version}, port ${this.#port})`;
  }

  #runningPid(): number | undefined {
    const child = this.#child;
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return undefined;
    return child.pid;
  }

  pid(): number {
    const pid = this.#runningPid();
    if (pid === undefined) throw new Error(`${this.name} is not running`);
    return pid;
  }

  signal(signal: NodeJS.Signals): void {
    if (!sendSignal(this.pid(), signal)) throw new Error(`the process of ${this.name} is gone`);
  }

  async stop(): Promise<void> {
    await this.#end('SIGTERM', stopTimeoutMs);
  }

  async kill(): Promise<void> {
    await this.#end('SIGKILL', 10_000);
  }

  async #end(signal: NodeJS.Signals, timeoutMs: number): Promise<void> {
    const pid = this.#runningPid();
    if (pid === undefined) return;
    sendSignal(pid, signal);
    await waitFor(`${this.#title()} to end by ${signal}`, timeoutMs, () => this.#runningPid() === undefined, 5).catch(
      (error: unknown) => {
        throw new Error(`${String(error)}\n${this.logTail()}`, { cause: error });
      },
    );
  }

  logTail(lines = 40): string {
    if (!existsSync(this.#log)) return '';
    return readFileSync(this.#log, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
  }

  async destroy(): Promise<void> {
    if (this.#destroyed) return;
    this.#destroyed = true;
    await this.kill(); // nothing of its data is kept, and a graceful end may take 10 s
    await rm(this.#home, { recursive: true, force: true, maxRetries: 3 });
  }
}
