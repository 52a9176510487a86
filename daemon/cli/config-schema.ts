import type { Command } from 'commander';
import type { CliContext } from './context.js';
import { EXIT } from './io.js';

/** `config schema`: what editors need to complete and check the file as it is typed. */
export function addConfigSchema(config: Command, { io, backend, finish }: CliContext): void {
  config
    .command('schema')
    .description('print the JSON Schema of the configuration file, for editors')
    .addHelpText(
      'after',
      `
Examples:
  lockgate config schema > lockgate.schema.json
  # first line of lockgate.yaml:  # yaml-language-server: $schema=./lockgate.schema.json`,
    )
    .action(async () => {
      io.stdout(`${JSON.stringify(await (await backend()).configSchema(), null, 2)}\n`);
      finish(EXIT.ok);
    });
}
