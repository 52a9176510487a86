import type { Command } from 'commander';
import type { TestAnswer } from './backend.js';
import type { CliContext } from './context.js';
import { interruptible } from './interrupt.js';
import { EXIT, type Io } from './io.js';
import { plain } from '../live/words.js';
import { painter } from './text.js';

/** `alerts test`: whether those who are to be told can be. */
export function addAlertsTest(program: Command, { io, backend, finish }: CliContext): void {
  program
    .command('alerts')
    .description('try out those who are told of alerts')
    .command('test')
    .description('send a test alert to each sink of the configuration, end it, and say what each answered')
    .requiredOption('--config <file>', 'the configuration file')
    .option('--json', 'print {"answers":[...]}')
    .addHelpText(
      'after',
      `
Each sink gets a trigger of severity info that is marked as a test, and then its resolve, once and without a queue; a daemon
need not run. Exit codes: 0 every sink took both, 1 one did not, 2 the file cannot be used or names no sink.

Example:
  lockgate alerts test --config lockgate.yaml`,
    )
    .action(async (options: { config: string; json?: boolean }) => {
      const server = await backend();
      const config = await server.loadConfig(options.config);
      const answers = await interruptible(io, (signal) => server.testAlerts(config, signal));
      if (options.json === true) io.stdout(`${JSON.stringify({ answers: answers.map(jsonOf) }, null, 2)}\n`);
      else printAnswers(io, answers);
      if (answers.length === 0) {
        io.stderr('lockgate: the configuration names no sink of alerts (add alerts.pagerduty or alerts.webhook)\n');
        finish(EXIT.refused);
        return;
      }
      finish(answers.every((a) => a.delivery.outcome === 'delivered') ? EXIT.ok : EXIT.closed);
    });
}

function printAnswers(io: Io, answers: readonly TestAnswer[]): void {
  const paint = painter(io);
  for (const { sink, event, delivery } of answers) {
    const [word, colour] =
      delivery.outcome === 'delivered'
        ? (['delivered', 'green'] as const)
        : ([delivery.outcome === 'refused' ? 'REFUSED' : 'NOT TAKEN', 'red'] as const);
    io.stdout(`${plain(sink)}  ${event.padEnd(7)}  ${paint(word.padEnd(9), colour)}  ${plain(said(delivery))}\n`);
  }
}

function jsonOf({ sink, event, delivery }: TestAnswer): object {
  return { sink, event, outcome: delivery.outcome, answer: said(delivery) };
}

function said(delivery: TestAnswer['delivery']): string {
  return delivery.outcome === 'delivered' ? `it answered ${delivery.answer}` : delivery.reason;
}
