import type { Command } from 'commander';
import type { Config } from '../core/config.js';
import { UsageError } from '../core/errors.js';
import type { Backend, StepOptions, StepResult } from './backend.js';
import { collect, type CliContext } from './context.js';
import { interruptible } from './interrupt.js';
import { EXIT, type ExitCode, type Io } from './io.js';
import { plain, plural } from '../live/words.js';
import { painter, type Colour } from './text.js';

interface StepCommandOptions {
  config: string;
  admin: string[];
  dryRun?: boolean;
  json?: boolean;
}

type Run = (backend: Backend, config: Config, options: StepOptions) => AsyncIterable<StepResult>;

const WORD: Readonly<Record<StepResult['outcome'], [string, Colour]>> = {
  done: ['done', 'green'],
  unchanged: ['unchanged', 'dim'],
  'would-do': ['would do', 'yellow'],
};

/** Makes a command out of something that changes databases step by step; setup and teardown differ only in the steps. */
export function stepCommand(command: Command, { io, backend, finish }: CliContext, run: Run): Command {
  return command
    .requiredOption('--config <file>', 'the configuration file')
    .option('--admin <name=url>', 'connect to this database as an administrator; repeatable', collect, [])
    .option('--dry-run', 'only say what would be done')
    .option('--json', 'one JSON object a line: database, why, sql, outcome')
    .action(async (options: StepCommandOptions) => {
      const server = await backend();
      const config = await server.loadConfig(options.config);
      const admin = adminUrls(options.admin, config);
      const dryRun = options.dryRun === true;
      const code = await interruptible(io, (signal) =>
        runSteps(io, options, signal, run(server, config, { admin, dryRun, signal })),
      );
      finish(code);
    });
}

/** Parses `NAME=URL`; the URL may carry a password, so no message repeats it. */
function adminUrls(given: readonly string[], config: Config): Map<string, string> {
  const urls = new Map<string, string>();
  for (const text of given) {
    const at = text.indexOf('=');
    const name = text.slice(0, Math.max(0, at));
    if (!config.databases.has(name)) {
      const known = [...config.databases.keys()].join(', ');
      const what =
        at < 1 ? '--admin takes NAME=URL' : `--admin names a database that is not configured: ${plain(name)}`;
      throw new UsageError('bad_admin', what, `known: ${known}`);
    }
    if (urls.has(name)) throw new UsageError('bad_admin', `--admin names ${name} twice`);
    if (!URL.canParse(text.slice(at + 1))) throw new UsageError('bad_admin', `--admin ${name}: that is not a URL`);
    urls.set(name, text.slice(at + 1));
  }
  return urls;
}

async function runSteps(
  io: Io,
  options: StepCommandOptions,
  signal: AbortSignal,
  steps: AsyncIterable<StepResult>,
): Promise<ExitCode> {
  const paint = painter(io);
  const counts = { done: 0, unchanged: 0, 'would-do': 0 };
  for await (const { step, outcome } of steps) {
    counts[outcome] += 1;
    if (options.json === true) {
      io.stdout(`${JSON.stringify({ database: step.database, why: step.why, sql: step.sql, outcome })}\n`);
      continue;
    }
    const [word, colour] = WORD[outcome];
    io.stdout(`${paint(word.padEnd('unchanged'.length), colour)}  ${step.database}: ${plain(step.why)}\n`);
    if (outcome === 'would-do') io.stdout(`${indented(step.sql)}\n`);
  }
  if (signal.aborted) throw new UsageError('interrupted', `interrupted after ${plural(counts.done, 'step')}`);
  if (options.json !== true) {
    const total = options.dryRun === true ? `${String(counts['would-do'])} to do` : `${String(counts.done)} done`;
    io.stdout(`${total}, ${String(counts.unchanged)} unchanged\n`);
  }
  return EXIT.ok;
}

function indented(sql: string): string {
  return sql
    .trimEnd()
    .split('\n')
    .map((line) => `    ${line}`)
    .join('\n');
}
