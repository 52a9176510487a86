import type { Command } from 'commander';
import type { CliContext } from './context.js';
import { stepCommand } from './steps.js';

/** `setup`: applies what `grants` prints. */
export function addSetup(program: Command, context: CliContext): void {
  stepCommand(program.command('setup'), context, (backend, config, options) => backend.setup(config, options))
    .description('create what lockgate needs in the databases; running it again changes nothing')
    .addHelpText(
      'after',
      `
It does what \`grants\` prints and says what it did; the daemon itself creates nothing. Without --admin a database is
reached as configured, which is enough only for a user that may create all this.

Examples:
  lockgate setup --config lockgate.yaml --dry-run --admin onprem=postgres://postgres@db:5432/app
  lockgate setup --config lockgate.yaml --admin onprem=$ONPREM_ADMIN --admin aws=$AWS_ADMIN`,
    );
}
