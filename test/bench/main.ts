#!/usr/bin/env node
/** `npm run bench`: the process, with its arguments and exit codes. */
import { messageOf } from '../../daemon/core/errors.js';
import { HELP, parseArguments, SECTIONS, type BenchOptions, type SectionName } from './arguments.js';
import { describeMachine } from './machine.js';
import { formatTable, type BenchContext, type SectionResult } from './report.js';

const started = performance.now();

async function run(name: SectionName, context: BenchContext): Promise<SectionResult> {
  switch (name) {
    case 'lag':
      return (await import('./lag.js')).measureLag(context);
    case 'gate':
      return (await import('./gate.js')).measureGate(context);
    case 'check':
      return (await import('./check.js')).measureCheck(context);
    case 'core':
      return (await import('./core.js')).measureCore(context);
    case 'links':
      return (await import('./links.js')).measureLinks(context);
    case 'cost':
      return (await import('./cost.js')).measureCost(context);
    case 'pages':
      return (await import('./pages.js')).measurePages(context);
    case 'drain':
      return (await import('./drain.js')).measureDrain(context);
    case 'week':
      return (await import('./week.js')).measureWeek(context);
    case 'mysql':
      return (await import('./mysql.js')).measureMysql(context);
    case 'verify':
      return (await import('./verify.js')).measureVerify(context);
  }
}

/** The parts that need a process of their own. */
async function child(name: string | undefined): Promise<void> {
  if (name === 'spin') (await import('./spin.js')).spin();
  else if (name === 'bare') (await import('./check-bare.js')).serveBare();
  else if (name === 'ask') (await import('./check-load.js')).ask();
  else if (name === 'write') (await import('./verify-writer.js')).writeAsApplication();
  else if (name === 'pages') await (await import('./pages.js')).readAsPages();
  else throw new Error(`no part ${String(name)}`);
}

function progress(text: string): void {
  const seconds = Math.round((performance.now() - started) / 1_000);
  process.stderr.write(`[${String(seconds).padStart(3)} s] ${text}\n`);
}

async function main(options: BenchOptions): Promise<number> {
  const machine = describeMachine();
  const results: Record<string, unknown> = {};
  let code = 0;
  if (!options.json) {
    process.stdout.write(
      `lockgate bench, ${machine.date}: Node ${machine.node}, PostgreSQL ${machine.postgres}, ${machine.cores} cores` +
        `${machine.pinning ? '' : ', nothing pinned to a core'}${options.quick ? ', quick' : ''}\n`,
    );
  }
  for (const name of SECTIONS) {
    if (!options.only.has(name)) continue;
    try {
      const { tables, data, wrong = 0 } = await run(name, { quick: options.quick, progress });
      results[name] = data;
      if (wrong > 0) code = 1;
      if (!options.json) for (const table of tables) process.stdout.write(`\n${formatTable(table)}\n`);
    } catch (error) {
      code = 1;
      results[name] = { failed: messageOf(error) };
      process.stderr.write(`${name} could not be measured: ${messageOf(error)}\n`);
    }
  }
  if (options.json) process.stdout.write(`${JSON.stringify({ machine, quick: options.quick, ...results }, null, 2)}\n`);
  return code;
}

const [first, second] = process.argv.slice(2);
if (first === '--child') {
  await child(second);
} else {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(130));
  const options = parseArguments(process.argv.slice(2));
  if (options === 'help') {
    process.stdout.write(HELP);
    process.exit(0);
  }
  if ('problem' in options) {
    process.stderr.write(`bench: ${options.problem}\n\n${HELP}`);
    process.exit(2);
  }
  process.exit(await main(options));
}
