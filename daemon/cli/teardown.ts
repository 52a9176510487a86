import type { Command } from 'commander';
import type { CliContext } from './context.js';
import { stepCommand } from './steps.js';

/** `teardown`: removes what `setup` made. */
export function addTeardown(program: Command, context: CliContext): void {
  stepCommand(program.command('teardown'), context, (backend, config, options) => backend.teardown(config, options))
    .description('remove everything that setup made from the databases')
    .addHelpText(
      'after',
      `
Stop the daemon first: without its tables its signals are unknown.

Examples:
  lockgate teardown --config lockgate.yaml --dry-run
  lockgate teardown --config lockgate.yaml --admin onprem=$ONPREM_ADMIN --admin aws=$AWS_ADMIN`,
    );
}
