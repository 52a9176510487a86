import { writeFile } from 'node:fs/promises';
import type { Command } from 'commander';
import type { RulesFor } from './backend.js';
import type { CliContext } from './context.js';
import { EXIT } from './io.js';

/** `rules`: definitions for those who alert by another system, made from the configuration. */
export function addRules(program: Command, context: CliContext): void {
  const rules = program
    .command('rules')
    .description('print rules for Prometheus or alarms for CloudWatch, without connecting');
  definitions(rules, 'prometheus', 'alerting and recording rules for Prometheus (2.42 or newer), as YAML')
    .option('--job <name>', 'name of the scrape job in Prometheus', 'lockgate')
    .addHelpText(
      'after',
      `
Examples:
  lockgate rules prometheus --config lockgate.yaml --out /etc/prometheus/lockgate.rules.yml
  promtool check rules /etc/prometheus/lockgate.rules.yml`,
    )
    .action(async (options: Options & { job: string }) => {
      await print(context, options, { kind: 'prometheus', job: options.job });
    });
  definitions(rules, 'cloudwatch', 'alarms on what is published to CloudWatch, as a CloudFormation template')
    .addHelpText(
      'after',
      `
Examples:
  lockgate rules cloudwatch --config lockgate.yaml --out lockgate-alarms.yaml
  aws cloudformation deploy --stack-name lockgate-alarms --template-file lockgate-alarms.yaml`,
    )
    .action(async (options: Options) => {
      await print(context, options, { kind: 'cloudwatch' });
    });
}

interface Options {
  config: string;
  out?: string;
}

function definitions(rules: Command, name: string, description: string): Command {
  return rules
    .command(name)
    .description(description)
    .requiredOption('--config <file>', 'the configuration file')
    .option('--out <file>', 'write to this file instead of standard output');
}

async function print({ io, backend, finish }: CliContext, { config, out }: Options, what: RulesFor): Promise<void> {
  const server = await backend();
  const text = await server.rules(await server.loadConfig(config), what);
  if (out === undefined) io.stdout(text);
  else await writeFile(out, text);
  finish(EXIT.ok);
}
