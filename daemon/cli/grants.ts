import type { Command } from 'commander';
import { UsageError } from '../core/errors.js';
import type { CliContext } from './context.js';
import { EXIT } from './io.js';

/** `grants`: the exact SQL that lockgate needs, for the administrator to read and run. */
export function addGrants(program: Command, { io, backend, finish }: CliContext): void {
  program
    .command('grants')
    .description('print the least-privilege SQL for each database, without connecting')
    .requiredOption('--config <file>', 'the configuration file')
    .option('--database <name>', 'only for this database')
    .addHelpText(
      'after',
      `
Examples:
  lockgate grants --config lockgate.yaml
  lockgate grants --config lockgate.yaml --database onprem | psql "$ADMIN_URL"`,
    )
    .action(async (options: { config: string; database?: string }) => {
      const server = await backend();
      const config = await server.loadConfig(options.config);
      const only = options.database;
      if (only !== undefined && !config.databases.has(only)) {
        const known = [...config.databases.keys()].join(', ');
        throw new UsageError(
          'unknown_database',
          `there is no database ${only} in ${options.config}`,
          `known: ${known}`,
        );
      }
      const steps = await server.grants(config);
      for (const { name, engine, address } of config.databases.values()) {
        if (only !== undefined && only !== name) continue;
        const mine = steps.filter((step) => step.database === name);
        io.stdout(`-- ${name}: ${engine}, database ${address.database} at ${address.host}:${String(address.port)}\n`);
        if (mine.length === 0) io.stdout('-- nothing to run\n');
        for (const { why, sql } of mine) {
          io.stdout(`\n${comment(why)}\n${terminated(sql)}\n`);
        }
        io.stdout('\n');
      }
      finish(EXIT.ok);
    });
}

/** Every line of it a comment: a line break in a reason must not become a statement. */
function comment(text: string): string {
  return text
    .split(/\r?\n/)
    .map((line) => `-- ${line}`.trimEnd())
    .join('\n');
}

function terminated(sql: string): string {
  const text = sql.trimEnd();
  // A trailing line comment would swallow the semicolon.
  const last = text.slice(text.lastIndexOf('\n') + 1);
  return text.endsWith(';') ? text : last.includes('--') ? `${text}\n;` : `${text};`;
}
