import type { Command } from 'commander';
import { formatDurationUs } from '../core/units.js';
import type { ExplainedCondition, ExplainedGate } from './backend.js';
import type { CliContext } from './context.js';
import { EXIT, type Io } from './io.js';
import { plain } from '../live/words.js';
import { painter } from './text.js';
import { conditionInWords } from './words.js';

/** `gates explain`: what each gate really asks for, presets included. */
export function addExplain(gates: Command, { io, backend, finish }: CliContext): void {
  gates
    .command('explain')
    .description('say in words what each gate asks for, where it comes from, and what was left out')
    .requiredOption('--config <file>', 'the configuration file')
    .option('--json', 'print {"gates":[...]}')
    .addHelpText(
      'after',
      `
Examples:
  lockgate gates explain --config lockgate.yaml`,
    )
    .action(async (options: { config: string; json?: boolean }) => {
      const server = await backend();
      const explained = await server.explain(await server.loadConfig(options.config));
      if (options.json === true) io.stdout(`${JSON.stringify({ gates: explained.map(gateJson) }, null, 2)}\n`);
      else for (const gate of explained) printGate(io, gate, options.config);
      finish(EXIT.ok);
    });
}

function printGate(io: Io, gate: ExplainedGate, file: string): void {
  const paint = painter(io);
  io.stdout(`${paint(gate.id, 'bold')} is open when\n`);
  for (const explained of gate.conditions) {
    io.stdout(`  ${conditionInWords(explained.condition)}\n`);
    io.stdout(`    ${paint(`${explained.condition.text}  (${originText(explained, file)})`, 'dim')}\n`);
  }
  if (gate.gapToleranceUs > 0) {
    io.stdout(`  Unknown stretches of up to ${formatDurationUs(gate.gapToleranceUs)} do not restart a hold.\n`);
  }
  for (const { text, reason } of gate.leftOut) {
    io.stdout(`  ${paint('left out', 'yellow')}: ${plain(text)}: ${plain(reason)}\n`);
  }
  io.stdout('\n');
}

function originText({ origin, line }: ExplainedCondition, file: string): string {
  return origin === 'preset' ? 'preset runbook' : line === null ? file : `${file}:${String(line)}`;
}

function gateJson(gate: ExplainedGate): object {
  return {
    gate: gate.id,
    gap_tolerance_seconds: gate.gapToleranceUs / 1e6,
    conditions: gate.conditions.map(({ condition, origin, line }) => ({
      text: condition.text,
      words: conditionInWords(condition),
      needs_seconds: condition.forUs / 1e6,
      origin,
      line,
    })),
    left_out: gate.leftOut,
  };
}
