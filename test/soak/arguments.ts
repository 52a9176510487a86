/** What the soak was asked to do. */
export interface SoakOptions {
  readonly minutes: number;
  /** The faults and their times follow from it; not the instants at which servers and processes do things. */
  readonly seed: number;
  /** Where the whole result goes as JSON; null for nowhere. */
  readonly json: string | null;
}

/** What `--help` prints. */
export const HELP = `Usage: npm run soak -- [options]

Runs the compiled daemon on two real PostgreSQL 18 servers under steady writes, injects faults at random, and holds
every answer of its gates against what is known to be true. Progress goes to standard error, the report to standard
output.

Options:
  --minutes N  how long, 1 to 10080 (default 30); every kind of fault comes up in 30, few in less
  --seed N     whole number that decides which faults come when (default: a random one; it is printed)
  --json FILE  writes everything there as well
  -h, --help   show this help

Exit codes: 0 nothing wrong; 1 a gate was open while the truth forbade it, did not open again, was latched for nothing,
something was left behind, memory grew, or the soak could not run; 2 wrong usage. Ctrl-C ends it early, with the report.
`;

/** Parses the command line; a text is what is wrong with it. */
export function parseArguments(
  args: readonly string[],
  randomSeed: number,
): SoakOptions | 'help' | { readonly problem: string } {
  let minutes = 30;
  let seed = randomSeed;
  let json: string | null = null;
  for (let i = 0; i < args.length; i += 1) {
    const arg = args[i] ?? '';
    if (arg === '-h' || arg === '--help') return 'help';
    const [name = '', inline] = arg.split(/=(.*)/s);
    if (name !== '--minutes' && name !== '--seed' && name !== '--json') return { problem: `unknown argument: ${arg}` };
    const value = inline ?? args[(i += 1)];
    if (value === undefined || value === '') return { problem: `${name} needs a value` };
    if (name === '--json') json = value;
    else if (name === '--seed') {
      seed = /^\d{1,10}$/.test(value) ? Number(value) : NaN;
      if (!(seed < 2 ** 32)) return { problem: `--seed takes a whole number below 2^32, not "${value}"` };
    } else {
      minutes = /^\d+(\.\d+)?$/.test(value) ? Number(value) : NaN;
      if (!(minutes >= 1 && minutes <= 10_080)) return { problem: `--minutes takes 1 to 10080, not "${value}"` };
    }
  }
  return { minutes, seed, json };
}
