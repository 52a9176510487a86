/** Kinds of servers that the demo can show. */
export type DemoEngine = 'postgres' | 'mysql' | 'mariadb';
const ENGINES: readonly DemoEngine[] = ['postgres', 'mysql', 'mariadb'];

/** What the demo was asked to do. */
export interface DemoOptions {
  /** The tour alone, unattended: it ends with 0 or 1 instead of staying up. */
  readonly once: boolean;
  /** Which servers. */
  readonly engine: DemoEngine;
  /** Port of the API; null picks one. */
  readonly port: number | null;
}

/** The port that is taken unless told otherwise, when it is free. */
export const DEFAULT_PORT = 9188;

/** What `--help` prints. */
export const HELP = `Usage: npm run demo -- [options]

Starts two PostgreSQL 18 servers with logical replication between them (or MySQL or MariaDB with their own) and a shop
that writes all the time, sets up lockgate with a least-privileged user and runs the real daemon on them. Then it shows
how a gate opens, how it closes when replication breaks, and how it opens again; how the writes are moved to the other
side, how a write that went astray is found, and how the writes are moved back. Afterwards it stays up until Ctrl-C, with
keys to break and to heal.

Nothing is left behind: the servers live in a folder under the system's temporary folder that goes with them.

Options:
  --once       only the tour, unattended and with shorter holds; exits 0 only if everything was observed as expected
  --engine E   postgres (the default), mysql or mariadb; the latter two are fetched from Debian when they are not here
  --port N     port of the API on 127.0.0.1 (default: ${DEFAULT_PORT}, or a free one when that is taken)
  -h, --help   show this help

Exit codes: 0 as expected, 1 a step failed, 2 wrong usage, 130 or 143 interrupted during the tour.
`;

/** Parses the command line; a text is what is wrong with it. */
export function parseArguments(args: readonly string[]): DemoOptions | 'help' | { readonly problem: string } {
  let once = false;
  let port: number | null = null;
  let engine: DemoEngine = 'postgres';
  for (let i = 0; i < args.length; i++) {
    const [name, inline] = splitOption(args[i] ?? '');
    if (name === '--help' || name === '-h') return 'help';
    if (name === '--once' && inline === undefined) {
      once = true;
    } else if (name === '--engine') {
      const text = inline ?? args[++i] ?? '';
      const found = ENGINES.find((each) => each === text);
      if (found === undefined) return { problem: `--engine is one of ${ENGINES.join(', ')}, not "${text}"` };
      engine = found;
    } else if (name === '--port') {
      const text = inline ?? args[++i] ?? '';
      port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
      if (port < 1 || port > 65_535) return { problem: `--port takes a number from 1 to 65535, not "${text}"` };
    } else {
      return { problem: `unknown argument: ${args[i] ?? ''}` };
    }
  }
  return { once, engine, port };
}

function splitOption(arg: string): [string, string | undefined] {
  const at = arg.startsWith('--') ? arg.indexOf('=') : -1;
  return at < 0 ? [arg, undefined] : [arg.slice(0, at), arg.slice(at + 1)];
}
