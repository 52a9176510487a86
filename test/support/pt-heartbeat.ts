/** The real `pt-heartbeat --update` of Percona Toolkit, writing its row on a pair's source. */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fetchDebian } from '../../deploy/demo/debian.js';
import type { Flavour } from '../../deploy/demo/mysql-install.js';
import { runFolder, waitFor } from '../../deploy/demo/run-folder.js';
import { fakeTime } from './fake-time.js';
import type { MysqlPair } from './mysql-pair.js';

const remedy = 'or leave it out of the tests: LOCKGATE_TEST_WITHOUT=pt-heartbeat';
const stopMs = 5_000;
const startMs = 20_000;

/** Percona Toolkit 3.2 knows MariaDB's statements, 3.7 those of MySQL from 8.4 on; neither knows both. */
const suites: Readonly<Record<Flavour, string | null>> = { mariadb: null, mysql: 'sid' };

interface Tool {
  readonly script: string;
  readonly env: Readonly<Record<string, string>>;
}

/** Fetches the tool once, and the libraries for the machine's own perl, into the folder that keeps the servers. */
async function install(flavour: Flavour): Promise<Tool> {
  const suite = suites[flavour];
  const toolkit = await fetchDebian({
    name: `percona-toolkit${suite === null ? '' : `-${suite}`}`,
    what: `pt-heartbeat${suite === null ? '' : ` of Debian ${suite}`} (about 20 MB and its lists)`,
    packages: ['percona-toolkit'],
    ...(suite === null ? {} : { suite }),
    dependencies: false,
    leaveOut: ['./usr/bin/pt-[!h]*', './usr/share/*', './var'],
    remedy,
  });
  const libraries = await fetchDebian({
    name: 'perl-dbd-mysql',
    what: 'the libraries of pt-heartbeat (about 2 MB and its lists)',
    packages: ['libdbi-perl', 'libdbd-mysql-perl', 'libmariadb3'],
    dependencies: false,
    leaveOut: ['./usr/share/doc', './usr/share/man', './var'],
    remedy,
  });
  const lib = join(libraries, 'usr/lib');
  const arch = readdirSync(lib)
    .map((name) => join(lib, name))
    .find((path) => existsSync(join(path, 'libmariadb.so.3')));
  if (arch === undefined) throw new Error(`${libraries} holds no libmariadb.so.3: delete it, and it is fetched again`);
  const compiled = readdirSync(join(arch, 'perl5')).map((version) => join(arch, 'perl5', version));
  return {
    script: join(toolkit, 'usr/bin/pt-heartbeat'),
    env: {
      PERL5LIB: [join(libraries, 'usr/share/perl5'), ...compiled].join(':'),
      LD_LIBRARY_PATH: arch,
      MARIADB_PLUGIN_DIR: join(arch, 'libmariadb3/plugin'),
    },
  };
}

/** Writes `percona.heartbeat` on the source each second, in a process of its own with a clock of its own. */
export class PtHeartbeat {
  /** The clock of its host is off by so many seconds from the next start on. */
  skewSeconds = 0;
  #child: ChildProcess | null = null;
  #said = '';

  private constructor(
    private readonly pair: MysqlPair,
    private readonly tool: Tool,
  ) {}

  /** Fetches the tool when it is not there yet; rejects with what to do when it cannot be fetched. */
  static async install(pair: MysqlPair): Promise<PtHeartbeat> {
    const tool = await install(pair.flavour);
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
