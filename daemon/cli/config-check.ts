import type { Command } from 'commander';
import { formatProblem, type ConfigError } from '../core/errors.js';
import type { CliContext } from './context.js';
import { EXIT, type Io } from './io.js';
import { plain, plural } from '../live/words.js';
import { painter } from './text.js';

/** `config check FILE`: every problem at once, before anybody relies on the file. */
export function addConfigCheck(config: Command, { io, backend, finish }: CliContext): void {
  config
    .command('check')
    .description('check a configuration file and print every problem with its place')
    .argument('<file>', 'the configuration file')
    .addHelpText(
      'after',
      `
Secrets are resolved as well, so run it with the environment that the daemon will have.
Exit codes: 0 the file can be used, 2 it cannot.

Examples:
  lockgate config check /etc/lockgate/lockgate.yaml`,
    )
    .action(async (file: string) => {
      const checked = await (await backend()).loadConfig(file);
      const paint = painter(io);
      for (const warning of checked.warnings) io.stdout(`${paint('warning', 'yellow')}: ${plain(warning)}\n`);
      let gates = checked.gates.size;
      for (const migration of checked.migrations.values()) gates += migration.gates.size;
      io.stdout(
        `${paint('ok', 'green')}: ${plural(checked.migrations.size, 'migration')}, ${plural(gates, 'gate')}` +
          `${checked.warnings.length === 0 ? '' : `, ${plural(checked.warnings.length, 'warning')}`}\n`,
      );
      finish(EXIT.ok);
    });
}

/** Prints the problems of a configuration, one a line as compilers do, and their number. */
export function printProblems(io: Io, error: ConfigError): void {
  for (const problem of error.problems) io.stderr(`${formatProblem(problem)}\n`);
  io.stderr(`lockgate: ${plural(error.problems.length, 'problem')} in the configuration\n`);
}
