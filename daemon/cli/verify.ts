import type { Command } from 'commander';
import { UsageError } from '../core/errors.js';
import type { VerifyTableJson } from '../http/port.js';
import { oneDaemonOf, type Answer, type ClientOptions, type Daemon } from './client.js';
import {
  clientCommand,
  collect,
  complaint,
  durationOption,
  jsonOf,
  parseMigration,
  type CliContext,
} from './context.js';
import { interruptible } from './interrupt.js';
import { EXIT, type ExitCode, type Io } from './io.js';
import { exitOf, judgeStart, judgeVerify, rowsOf, type JudgedVerify } from './judge-verify.js';
import { rowsText, verifyText } from './render-verify.js';
import { painter } from './text.js';
import { VerifyProgress } from './verify-progress.js';

interface VerifyOptions extends ClientOptions {
  table: string[];
  wait: boolean;
  values?: boolean;
  timeout: number;
}

/** Between two looks at a pass. */
const ROUND_MS = 1000;
/** How long one answer may take. */
const ANSWER_MS = 30_000;
/** Rows whose values are shown. */
const MOST_ROWS = 20;

/** `verify MIGRATION`: do both sides hold the same? */
export function addVerify(program: Command, { io, finish }: CliContext): void {
  clientCommand(program.command('verify'))
    .description('compare the data of both sides, table by table, while writes go on')
    .argument('<migration>', 'name of the migration', parseMigration)
    .option('--table <table>', 'only this table, for example public.orders; repeatable', collect, [])
    .option('--no-wait', 'only start the pass')
    .option('--values', 'show the values of up to 20 rows that differ, in the terminal only')
    .addOption(durationOption('--timeout <duration>', 'give up after so long without an answer', '2m'))
    .addHelpText(
      'after',
      `
Starts a pass, or follows the one that is running when no table is named; needs an operator token. Progress goes to
standard error, the result to standard output. Ctrl-C ends the following, not the pass. One daemon only: results are kept
by the daemon that compared.

Exit codes: 0 all tables are equal, 1 some are not, kept changing or cannot be compared, 2 refused, 3 the pass ended before
it was through, 4 no daemon answers.

Examples:
  lockgate verify shop
  lockgate verify shop --table public.orders --table public.customers --json
  lockgate verify shop --table public.orders --values`,
    )
    .action(async (migration: string, options: VerifyOptions) => finish(await verify(io, migration, options)));
}

async function verify(io: Io, migration: string, options: VerifyOptions): Promise<ExitCode> {
  if (options.values === true && (!io.isTTY || options.json === true || !options.wait)) {
    const hint = 'values are for a person at a terminal: without --json, --no-wait, a pipe or a file';
    throw new UsageError('values_on_terminal', '--values prints to a terminal only', hint);
  }
  const daemon = await oneDaemonOf(io, options);
  return interruptible(io, (signal) => new Verifying(io, daemon, migration, options, signal).run());
}

/** One run of the command. */
class Verifying {
  readonly #progress: VerifyProgress;
  readonly #path: string;

  constructor(
    readonly io: Io,
    readonly daemon: Daemon,
    readonly migration: string,
    readonly options: VerifyOptions,
    readonly signal: AbortSignal,
  ) {
    this.#progress = new VerifyProgress(io, migration);
    this.#path = `/v1/migrations/${migration}/verify`;
  }

  async run(): Promise<ExitCode> {
    const { io, daemon, options, signal } = this;
    const body = options.table.length === 0 ? {} : { tables: [...new Set(options.table)] };
    const timeoutMs = Math.min(ANSWER_MS, options.timeout);
    const answer = await daemon.ask({ method: 'POST', path: this.#path, body, timeoutMs, signal });
    const started = judgeStart(answer, options.table.length === 0);
    if (started.pass === null) {
      if (options.json === true) io.stdout(jsonOf(answer, daemon, false));
      if (started.message !== null) io.stderr(complaint(daemon, started.message));
      if (answer.kind === 'unreachable' && answer.sent) {
        io.stderr(complaint(daemon, `a pass may have been started all the same: lockgate verify ${this.migration}`));
      }
      return started.exit;
    }
    if (started.joined) io.stderr(`lockgate: pass ${started.pass} is running already, and is followed\n`);
    if (options.wait) return this.#follow(started.pass);
    if (options.json === true) io.stdout(jsonOf(answer, daemon, false));
    else io.stdout(`pass ${started.pass} is running; \`lockgate verify ${this.migration}\` follows it\n`);
    return EXIT.ok;
  }

  /** Asks again and again until the pass has ended; a daemon that is away may come back and go on with it. */
  async #follow(pass: string): Promise<ExitCode> {
    const { io, daemon, options, signal } = this;
    const { clock } = io;
    let heardAt = clock.monotonicNow();
    for (;;) {
      const answer = await daemon.ask({ path: this.#path, timeoutMs: Math.min(ANSWER_MS, options.timeout), signal });
      if (signal.aborted) return this.#interrupted(pass);
      const judged = judgeVerify(answer);
      const away = judged.verify === null && judged.exit !== EXIT.refused;
      if (!away) heardAt = clock.monotonicNow();
      const over = (clock.monotonicNow() - heardAt) / 1000 >= options.timeout;
      if (judged.verify === null && (!away || over)) {
        this.#progress.end();
        if (judged.message !== null) io.stderr(complaint(daemon, judged.message));
        io.stderr(`lockgate: the pass is left as it is: lockgate verify ${this.migration}\n`);
        return judged.exit;
      }
      if (judged.verify === null) this.#progress.away(judged.message ?? '');
      else if (judged.verify.running?.pass === pass) this.#progress.show(judged.verify.running);
      else return this.#tell(pass, answer, judged);
      await clock.sleep(ROUND_MS, signal);
      if (isAborted(signal)) return this.#interrupted(pass);
    }
  }

  #interrupted(pass: string): ExitCode {
    this.#progress.end();
    this.io.stderr(`lockgate: interrupted: pass ${pass} goes on; lockgate verify ${this.migration} follows it\n`);
    return EXIT.unknown;
  }

  async #tell(pass: string, answer: Answer, { verify }: JudgedVerify): Promise<ExitCode> {
    const { io, daemon, options, migration } = this;
    this.#progress.end();
    if (verify === null) return EXIT.unknown;
    const asked = options.table;
    const tables = asked.length === 0 ? verify.tables : verify.tables.filter((t) => asked.includes(t.table));
    const found = asked.every((name) => tables.some((t) => t.table === name));
    const exit = found ? exitOf(verify, pass, tables) : EXIT.unknown;
    if (options.json === true) io.stdout(jsonOf(answer, daemon, false));
    else io.stdout(verifyText(verify, tables, { migration, pass, exit }, painter(io)));
    if (options.values === true) await this.#values(tables);
    return exit;
  }

  /** The values of the first rows that differ, table by table; they are printed and kept nowhere. */
  async #values(tables: readonly VerifyTableJson[]): Promise<void> {
    const { io, daemon, signal } = this;
    let left = MOST_ROWS;
    for (const { table, mismatches } of tables) {
      const keys = mismatches.map((m) => m.key).filter((key) => !('(row)' in key)).slice(0, left); // prettier-ignore
      if (keys.length === 0) continue;
      left -= keys.length;
      const path = `${this.#path}/rows`;
      const answer = await daemon.ask({ method: 'POST', path, body: { table, keys }, timeoutMs: ANSWER_MS, signal });
      const rows = rowsOf(answer);
      if (rows !== null) io.stdout(`\n${rowsText(table, rows, painter(io))}`);
      else io.stderr(complaint(daemon, judgeVerify(answer).message ?? 'the rows could not be read'));
    }
  }
}

/** Asked anew after a pause, in which it may have changed. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}
