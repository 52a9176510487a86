import { Command, CommanderError } from 'commander';
import { ConfigError, InvariantError, LockgateError, messageOf } from '../core/errors.js';
import { addAlertsTest } from './alerts.js';
import { addAttest } from './attest.js';
import type { Backend } from './backend.js';
import { addCheck } from './check.js';
import { addConfigCheck, printProblems } from './config-check.js';
import { addConfigSchema } from './config-schema.js';
import type { CliContext } from './context.js';
import { addPromote, addRollback } from './direction.js';
import { addDoctor } from './doctor.js';
import { addExplain } from './explain.js';
import { addFence } from './fence.js';
import { addGrants } from './grants.js';
import { EXIT, type ExitCode, type Io } from './io.js';
import { addJournal } from './journal.js';
import { addRules } from './rules.js';
import { addRun } from './run.js';
import { addSetup } from './setup.js';
import { addStatus } from './status.js';
import { addTeardown } from './teardown.js';
import { plain } from '../live/words.js';
import { addVerify } from './verify.js';
import { addWait } from './wait.js';
import { addWatch } from './watch.js';

/**
 * Runs one command line (without the interpreter and script) and resolves with the exit code; it never rejects and never
 * prints a stack trace. `backend` is called at most once, and only for commands that need the daemon's own parts.
 */
export async function runCli(argv: readonly string[], io: Io, backend: () => Promise<Backend>): Promise<ExitCode> {
  let code: ExitCode = EXIT.ok;
  const program = buildProgram({ io, backend, finish: (c) => (code = c) });
  try {
    await program.parseAsync(argv, { from: 'user' });
    return code;
  } catch (error) {
    return explainFailure(io, error);
  }
}

function buildProgram(context: CliContext): Command {
  const { io } = context;
  const program = new Command('lockgate');
  // Before any subcommand is added: they inherit these.
  program
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.stdout(text),
      writeErr: (text) => io.stderr(text),
      getOutHelpWidth: () => (io.columns > 0 ? io.columns : 100),
      getErrHelpWidth: () => (io.columns > 0 ? io.columns : 100),
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    })
    .showHelpAfterError('(--help shows what is possible)')
    .description('Watches database replication during a migration and opens a gate only when both sides are level.')
    .version(io.version, '--version', 'print the version')
    .helpOption('-h, --help', 'show help')
    .helpCommand('help [command]', 'show help for a command')
    .addHelpText(
      'after',
      `
Commands that ask a daemon take --url (or LOCKGATE_URL) and LOCKGATE_TOKEN.
Exit codes: 0 open, drained or done, 1 closed, 2 refused (usage, configuration), 3 unknown, 4 no daemon answers.

Examples:
  lockgate config check lockgate.yaml && lockgate run --config lockgate.yaml
  lockgate status --url http://127.0.0.1:9188
  lockgate wait shop/flip-writes --timeout 15m && ./flip-writes.sh`,
    );

  addRun(program, context);
  const config = program.command('config').description('check a configuration file, or print its schema');
  addConfigCheck(config, context);
  addConfigSchema(config, context);
  const gates = program.command('gates').description('explain the gates of a configuration file');
  addExplain(gates, context);
  addAlertsTest(program, context);
  addGrants(program, context);
  addRules(program, context);
  addSetup(program, context);
  addDoctor(program, context);
  addTeardown(program, context);
  addStatus(program, context);
  addWatch(program, context);
  addCheck(program, context);
  addWait(program, context);
  addFence(program, context);
  addPromote(program, context);
  addRollback(program, context);
  addAttest(program, context);
  addVerify(program, context);
  addJournal(program, context);
  return program;
}

/** What an error means to the one who typed the command: a message, a remedy, an exit code. */
function explainFailure(io: Io, error: unknown): ExitCode {
  // commander has printed its own message; help and --version arrive here as well.
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.refused;
  if (error instanceof ConfigError) {
    printProblems(io, error);
    return EXIT.refused;
  }
  const hint = error instanceof LockgateError && error.hint !== null ? ` (${plain(error.hint)})` : '';
  io.stderr(`lockgate: ${plain(messageOf(error)) || 'failed without a message'}${hint}\n`);
  if (error instanceof InvariantError) return EXIT.crashed;
  // What the system or a database refused has a code; anything else is a bug, after which nothing is known.
  return error instanceof LockgateError || (error instanceof Error && 'code' in error) ? EXIT.refused : EXIT.unknown;
}
