/** The measurements there are, in the order in which they run. */
export const SECTIONS = [
  'core',
  'check',
  'lag',
  'gate',
  'links',
  'cost',
  'pages',
  'drain',
  'week',
  'mysql',
  'verify',
] as const;

export type SectionName = (typeof SECTIONS)[number];

/** What the benchmark was asked to do. */
export interface BenchOptions {
  readonly only: ReadonlySet<SectionName>;
  /** Shorter and fewer measurements: to see that everything runs, not to quote. */
  readonly quick: boolean;
  /** One JSON document on standard output in place of the tables. */
  readonly json: boolean;
}

/** What `--help` prints. */
export const HELP = `Usage: npm run bench -- [options]

Measures lockgate on this machine, with real PostgreSQL servers and the real daemon. About half an hour, six minutes
with --quick. Progress goes to standard error, results to standard output.

  lag     how far the lag that is shown lies from the true one, for each way to watch, at rest and under load
  gate    from a fault to the first check that is not 200
  check   requests a second that check answers, beside a bare node:http server with the same answer
  core    observations a second with 200 links and 300 gates, and what a verdict costs
  links   processor time and memory of the daemon with 1, 50 and 200 links
  cost    what lockgate costs the source: processor time, transactions and WAL, at rest and under load
  pages   what fifty open status pages cost the daemon
  drain   how often the upper bound of the drain time held, over backlogs of many causes and sizes
  mysql   lag minus truth on MariaDB and MySQL, by the binlog and by polling, and what reading it costs
  verify  rows a second that verification compares, beside the databases' own scans and pt-table-checksum, and what a
          pass at default settings does to the application's writes
  week    what becomes of the heartbeat table in a week of heartbeats

Options:
  --only LIST  of ${SECTIONS.join(',')}
  --quick      shorter and fewer measurements
  --json       one JSON document in place of the tables
  -h, --help   show this help

Exit codes: 0 measured (however slow the machine is), 1 something was wrong (some lag was below the truth, a gate was
not open, a bound did not hold, the table grew) or could not be measured, 2 wrong usage.
`;

/** Parses the command line; a text is what is wrong with it. */
export function parseArguments(args: readonly string[]): BenchOptions | 'help' | { readonly problem: string } {
  let only = new Set<SectionName>(SECTIONS);
  let quick = false;
  let json = false;
  for (let i = 0; i < args.length; i += 1) {
    const arg = args[i] ?? '';
    if (arg === '-h' || arg === '--help') return 'help';
    if (arg === '--quick') quick = true;
    else if (arg === '--json') json = true;
    else if (arg === '--only' || arg.startsWith('--only=')) {
      const list = (arg === '--only' ? (args[(i += 1)] ?? '') : arg.slice('--only='.length)).split(',');
      const wrong = list.find((name) => !isSection(name));
      if (wrong !== undefined) return { problem: `--only takes some of ${SECTIONS.join(',')}, not "${wrong}"` };
      only = new Set(list.filter(isSection));
    } else return { problem: `unknown argument: ${arg}` };
  }
  return { only, quick, json };
}

function isSection(name: string): name is SectionName {
  return (SECTIONS as readonly string[]).includes(name);
}
