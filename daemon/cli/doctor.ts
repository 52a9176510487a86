import type { Command } from 'commander';
import type { Finding } from '../../collectors/collector.js';
import type { CliContext } from './context.js';
import { interruptible } from './interrupt.js';
import { EXIT, type Io } from './io.js';
import { plain, plural } from '../live/words.js';
import { painter, type Colour } from './text.js';

const MARK: Readonly<Record<Finding['level'], [string, string, Colour]>> = {
  ok: ['✓', 'ok', 'green'],
  warning: ['!', 'warning', 'yellow'],
  fault: ['✗', 'fault', 'red'],
};

/** `doctor`: what would be unknown if the daemon ran now, and how to mend it. */
export function addDoctor(program: Command, { io, backend, finish }: CliContext): void {
  program
    .command('doctor')
    .description('connect as the daemon would and say what would be unknown, and how to mend it')
    .requiredOption('--config <file>', 'the configuration file')
    .option('--json', 'print {"findings":[...]}')
    .addHelpText(
      'after',
      `
It changes nothing. Exit codes: 0 no fault (there may be warnings), 1 a fault was found, 2 the file cannot be used.

Examples:
  lockgate doctor --config lockgate.yaml
  lockgate doctor --config lockgate.yaml --json | jq -r '.findings[] | select(.level == "fault") | .remedy'`,
    )
    .action(async (options: { config: string; json?: boolean }) => {
      const server = await backend();
      const config = await server.loadConfig(options.config);
      const code = await interruptible(io, async (signal) => {
        const findings = await server.doctor(config, signal);
        if (options.json === true) io.stdout(`${JSON.stringify({ findings }, null, 2)}\n`);
        else printFindings(io, findings);
        // Nothing found at all is no clean bill of health: nobody looked.
        const sound = findings.length > 0 && !findings.some((f) => f.level === 'fault') && !signal.aborted;
        return sound ? EXIT.ok : EXIT.closed;
      });
      finish(code);
    });
}

function printFindings(io: Io, findings: readonly Finding[]): void {
  const paint = painter(io);
  const groups = new Map<string, Finding[]>();
  for (const finding of findings) {
    const title = titleOf(finding);
    groups.set(title, [...(groups.get(title) ?? []), finding]);
  }
  for (const [title, group] of groups) {
    io.stdout(`${paint(title, 'bold')}\n`);
    for (const { level, message, signals, remedy } of group) {
      const [mark, word, colour] = MARK[level];
      io.stdout(`  ${paint(`${mark} ${word.padEnd('warning'.length)}`, colour)}  ${plain(message)}\n`);
      if (signals.length > 0) io.stdout(`      would be unknown: ${signals.map(plain).join(', ')}\n`);
      if (remedy !== null) io.stdout(`      to mend it: ${remedy.trim().replace(/\r?\n/g, '\n                  ')}\n`);
    }
  }
  const count = (level: Finding['level']): number => findings.filter((f) => f.level === level).length;
  io.stdout(`${plural(count('fault'), 'fault')}, ${plural(count('warning'), 'warning')}, ${String(count('ok'))} ok\n`);
}

function titleOf({ database, link }: Finding): string {
  if (link !== null) return database === null ? `link ${link}` : `link ${link}, database ${database}`;
  return database === null ? 'everything' : `database ${database}`;
}
