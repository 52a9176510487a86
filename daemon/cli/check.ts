import type { Command } from 'commander';
import { daemonsOf, type ClientOptions } from './client.js';
import { clientCommand, durationOption, parseGate, type CliContext } from './context.js';
import { askGate, printGateAnswers } from './gate-answers.js';
import { worst, type ExitCode, type Io } from './io.js';

interface CheckOptions extends ClientOptions {
  timeout: number;
  maxAge: number;
}

/** `check MIGRATION/GATE`: may I proceed, now? */
export function addCheck(program: Command, { io, finish }: CliContext): void {
  clientCommand(program.command('check'))
    .description('ask whether a gate is open now; the exit code is the answer')
    .argument('<gate>', 'MIGRATION/GATE, or GATE for a gate across migrations', parseGate)
    .addOption(durationOption('--timeout <duration>', 'longest wait for each answer', '5s'))
    .addOption(durationOption('--max-age <duration>', 'how old a verdict may be by this clock', '10s'))
    .addHelpText(
      'after',
      `
Exit codes: 0 open, 1 closed, 2 refused or no such gate, 3 unknown, 4 no daemon answers.
With several URLs the worst answer counts: 4, then 2, 3, 1, 0.

Examples:
  lockgate check shop/flip-writes --url http://127.0.0.1:9188 && ./flip-writes.sh
  LOCKGATE_URL="http://a:9188 http://b:9188" lockgate check all-shards`,
    )
    .action(async (gate: string, options: CheckOptions) => finish(await check(io, gate, options)));
}

async function check(io: Io, gate: string, options: CheckOptions): Promise<ExitCode> {
  const daemons = await daemonsOf(io, options);
  const answers = await askGate(io, daemons, gate, {
    path: `/v1/gates/${gate}/check`,
    timeoutMs: options.timeout,
    maxAge: options.maxAge,
  });
  printGateAnswers(io, gate, answers, options.json === true);
  return worst(answers.map((a) => a.judged.exit));
}
