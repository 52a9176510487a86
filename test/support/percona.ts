/** Programs of Percona Toolkit, fetched once into the folder that keeps the servers. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fetchDebian } from '../../deploy/demo/debian.js';
import type { Flavour } from '../../deploy/demo/mysql-install.js';

const remedy = 'or leave it out of the tests: LOCKGATE_TEST_WITHOUT=pt-heartbeat';

/** Percona Toolkit 3.2 knows MariaDB's statements, 3.7 those of MySQL from 8.4 on; neither knows both. */
const suites: Readonly<Record<Flavour, string | null>> = { mariadb: null, mysql: 'sid' };

/** A program, and the environment that it runs in, by the machine's own perl. */
export interface PerconaTool {
  readonly script: string;
  readonly env: Readonly<Record<string, string>>;
}

/** Fetches a program, and the libraries for the machine's own perl; rejects with what to do when it cannot. */
export async function perconaTool(
  program: 'pt-heartbeat' | 'pt-table-checksum',
  flavour: Flavour,
): Promise<PerconaTool> {
  const suite = suites[flavour];
  const toolkit = await fetchDebian({
    name: `percona-toolkit${program === 'pt-heartbeat' ? '' : '-checksum'}${suite === null ? '' : `-${suite}`}`,
    what: `${program}${suite === null ? '' : ` of Debian ${suite}`} (about 20 MB and its lists)`,
    packages: ['percona-toolkit'],
    ...(suite === null ? {} : { suite }),
    dependencies: false,
    leaveOut: [program === 'pt-heartbeat' ? './usr/bin/pt-[!h]*' : './usr/bin/pt-[!t]*', './usr/share/*', './var'],
    remedy,
  });
  const libraries = await fetchDebian({
    name: 'perl-dbd-mysql',
    what: 'the libraries of Percona Toolkit (about 2 MB and its lists)',
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
    script: join(toolkit, `usr/bin/${program}`),
    env: {
      PERL5LIB: [join(libraries, 'usr/share/perl5'), ...compiled].join(':'),
      LD_LIBRARY_PATH: arch,
      MARIADB_PLUGIN_DIR: join(arch, 'libmariadb3/plugin'),
    },
  };
}
