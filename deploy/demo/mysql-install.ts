import { execFileSync, spawn } from 'node:child_process';
import { createReadStream, existsSync } from 'node:fs';
import { chmod, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { fetchDebian, serversFolder } from './debian.js';

/** The two families of servers that speak this protocol; their replication differs in most words. */
export type Flavour = 'mariadb' | 'mysql';

/** Both flavours, the older one in this project first. */
export const flavours: readonly Flavour[] = ['mariadb', 'mysql'];

/** How to run a server: `command` and the arguments that must come before all others but `--defaults-file`. */
export interface MysqlInstallation {
  readonly flavour: Flavour;
  /** As the server says it: `9.7.4`, `10.11.18`. */
  readonly version: string;
  readonly command: string;
  /** Before every option of the server: the dynamic loader's own, where one is used. */
  readonly loaderArgs: readonly string[];
  /** Where the server finds its messages and plugins; after `--defaults-file`. */
  readonly basics: readonly string[];
  /** An initialised data directory to be copied: empty password for root@localhost, no binary log yet. */
  readonly template: string;
}

const what = {
  mysql: { packages: ['mysql-server-core'], suite: 'sid', what: 'MySQL (Debian sid, about 60 MB and its lists)' },
  mariadb: { packages: ['mariadb-server-core'], what: 'MariaDB (Debian, about 15 MB and its lists)' },
} as const;

/** What no server needs: a third of the size. */
const leaveOut = [
  './usr/bin/*',
  './usr/share/doc',
  './usr/share/man',
  './usr/share/locale',
  './usr/share/perl*',
  './usr/lib/*/perl*',
  './usr/lib/*/gconv',
  './var',
];

const installed = new Map<Flavour, Promise<MysqlInstallation>>();

/** Returns how to run a flavour: MariaDB as the machine has it installed, else fetched from Debian; rejects with what to do when there is none. */
export function installation(flavour: Flavour): Promise<MysqlInstallation> {
  let found = installed.get(flavour);
  if (found === undefined) {
    found = find(flavour);
    installed.set(flavour, found);
    found.catch(() => installed.delete(flavour));
  }
  return found;
}

async function find(flavour: Flavour): Promise<MysqlInstallation> {
  const own = flavour === 'mariadb' ? '/usr/sbin/mariadbd' : undefined;
  if (own !== undefined && existsSync(own) && existsSync('/usr/share/mysql/mysql_system_tables.sql')) {
    const there = describe(flavour, '/usr', own, []);
    const template = join(serversFolder(), `${flavour}-${there.version}-template`);
    if (!existsSync(template)) {
      const draft = `${template}.draft-${process.pid}`;
      await mkdir(draft, { recursive: true });
      await initialise({ ...there, template: draft });
      await rename(draft, template).catch(async (error: unknown) => {
        if (!existsSync(template)) throw error;
        await rm(draft, { recursive: true, force: true });
      });
    }
    return { ...there, template };
  }
  const root = await fetchDebian({
    ...what[flavour],
    name: flavour,
    leaveOut,
    remedy: `or leave it out of the tests: LOCKGATE_TEST_WITHOUT=${flavour}`,
    finish: async (draft) => {
      const template = join(draft, 'template');
      await mkdir(template);
      await initialise({ ...(await unpacked(flavour, draft)), template });
    },
  });
  return { ...(await unpacked(flavour, root)), template: join(root, 'template') };
}

/** An unpacked server runs with the loader and the libraries that were unpacked with it, whatever the machine's own are. */
async function unpacked(flavour: Flavour, root: string): Promise<Omit<MysqlInstallation, 'template'>> {
  for (const folder of await readdir(join(root, 'usr/lib'))) {
    const libraries = join(root, 'usr/lib', folder);
    if (!folder.includes('-linux-')) continue;
    const loader = (await readdir(libraries)).find((file) => /^ld-linux.*\.so\.\d+$/.test(file));
    if (loader === undefined) continue;
    const server = join(root, 'usr/sbin', flavour === 'mysql' ? 'mysqld' : 'mariadbd');
    return describe(flavour, join(root, 'usr'), join(libraries, loader), ['--library-path', libraries, server]);
  }
  throw new Error(`${root} holds no dynamic loader: delete the folder, and it is fetched again`);
}

function describe(
  flavour: Flavour,
  base: string,
  command: string,
  loaderArgs: string[],
): Omit<MysqlInstallation, 'template'> {
  const basics = [
    `--basedir=${base}`,
    `--lc-messages-dir=${base}/share/mysql`,
    `--character-sets-dir=${base}/share/mysql/charsets`,
    `--plugin-dir=${base}/lib/mysql/plugin`,
  ];
  const said = execFileSync(command, [...loaderArgs, '--no-defaults', '--version'], {
    encoding: 'utf8',
    timeout: 20_000,
    env: { LC_ALL: 'C' },
  });
  const version = /Ver (\d+\.\d+\.\d+)/.exec(said)?.[1];
  if (version === undefined) throw new Error(`${flavour} does not tell its version: ${said}`);
  return { flavour, version, command, loaderArgs, basics };
}

/** Makes the template; as root its files belong to root, a copy belongs to the server's user. */
async function initialise({ flavour, command, loaderArgs, basics, template }: MysqlInstallation): Promise<void> {
  const root = process.getuid?.() === 0 ? ['--user=root'] : [];
  const common = [...loaderArgs, '--no-defaults', ...basics, ...root, `--datadir=${template}`];
  if (flavour === 'mysql') {
    await feed(command, [...common, '--initialize-insecure', '--innodb-redo-log-capacity=32M'], []);
    await rm(join(template, 'auto.cnf'), { force: true }); // the server's identity: each copy makes its own
  } else {
    const share = `${basics.find((arg) => arg.startsWith('--lc-messages-dir='))?.slice('--lc-messages-dir='.length)}`;
    // What its own install script runs, without that script's dependence on the machine's paths.
    const scripts = [
      'mysql_system_tables',
      'mysql_performance_tables',
      'mysql_system_tables_data',
      'maria_add_gis_sp_bootstrap',
      'mysql_sys_schema',
    ].map((name) => join(share, `${name}.sql`));
    const how = ['--bootstrap', '--skip-networking', '--enforce-storage-engine=', '--innodb-log-file-size=32M'];
    await feed(command, [...common, ...how], ['create database mysql;\nuse mysql;\n', ...scripts]);
  }
  await chmod(template, 0o755);
}

/** Runs the server over standard input: texts, or files where a text is an absolute path. */
async function feed(command: string, args: string[], inputs: string[]): Promise<void> {
  const child = spawn(command, args, {
    cwd: '/',
    env: { LC_ALL: 'C' },
    stdio: ['pipe', 'pipe', 'pipe'],
    timeout: 120_000,
    killSignal: 'SIGKILL',
  });
  let output = '';
  const collect = (chunk: Buffer): void => void (output += chunk.toString('utf8'));
  child.stdout.on('data', collect);
  child.stderr.on('data', collect);
  const ended = new Promise<void>((done, fail) => {
    child.once('error', fail);
    child.once('close', (code, signal) => {
      if (code === 0) {
        done();
        return;
      }
      const tail = output.trim().split('\n').slice(-15).join('\n');
      fail(new Error(`${args.join(' ')} failed (code ${String(code)}, signal ${String(signal)}):\n${tail}`));
    });
  });
  const text = async function* (): AsyncGenerator<string | Buffer> {
    for (const input of inputs) {
      if (input.startsWith('/')) yield* createReadStream(input) as AsyncIterable<Buffer>;
      else yield input;
    }
  };
  // A server that fails closes its input early; how it ended says more than the broken pipe does.
  await Promise.all([pipeline(Readable.from(text()), child.stdin).catch(() => undefined), ended]);
}
