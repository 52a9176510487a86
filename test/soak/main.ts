#!/usr/bin/env node
/** `npm run soak`: the process, with its arguments and exit codes. */
import { randomInt } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { messageOf } from '../../daemon/core/errors.js';
import { HELP, parseArguments, type SoakOptions } from './arguments.js';
import { formatReport } from './report.js';
import { soak } from './run.js';

const started = performance.now();
const stopping = new AbortController();

function progress(text: string): void {
  const seconds = Math.round((performance.now() - started) / 1_000);
  process.stderr.write(`[${String(seconds).padStart(4)} s] ${text}\n`);
}

async function main(options: SoakOptions): Promise<number> {
  progress(`seed ${options.seed}, ${options.minutes} min`);
  try {
    const result = await soak(options, progress, stopping.signal);
    if (options.json !== null) writeFileSync(options.json, `${JSON.stringify(result, null, 1)}\n`);
    process.stdout.write(`${formatReport(result)}\n`);
    return result.problems.length === 0 ? 0 : 1;
  } catch (error) {
    process.stderr.write(`the soak could not run: ${messageOf(error)}\n`);
    return 1;
  }
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    if (stopping.signal.aborted) process.exit(130);
    progress('ending early; once more ends at once');
    stopping.abort();
  });
}
const options = parseArguments(process.argv.slice(2), randomInt(2 ** 32));
if (options === 'help') {
  process.stdout.write(HELP);
  process.exit(0);
}
if ('problem' in options) {
  process.stderr.write(`soak: ${options.problem}\n\n${HELP}`);
  process.exit(2);
}
process.exit(await main(options));
