import type { Command } from 'commander';
import { ConfigError, InvariantError, LockgateError, messageOf } from '../core/errors.js';
import type { Backend, RunningDaemon } from './backend.js';
import { printProblems } from './config-check.js';
import type { CliContext } from './context.js';
import { KILLED_BY } from './interrupt.js';
import { EXIT, type ExitCode, type Io, type ProcessSignal } from './io.js';

/** How long everything may take to close before the process ends regardless. */
const STOP_DEADLINE_MS = 10_000;

/** `run --config FILE`: the daemon. */
export function addRun(program: Command, { io, backend, finish }: CliContext): void {
  program
    .command('run')
    .description('run the daemon in the foreground')
    .requiredOption('--config <file>', 'the configuration file')
    .addHelpText(
      'after',
      `
SIGHUP takes up the file again (a bad one changes nothing), SIGTERM and SIGINT stop; a second one ends it at once.
Faults of databases never end it: their signals are unknown until they are back.

Exit codes: 0 stopped as asked, 2 it cannot start: bad configuration, missing secret, port in use, unusable TLS files,
a store written by a newer lockgate. 70 it met a bug of its own.

Examples:
  lockgate run --config /etc/lockgate/lockgate.yaml`,
    )
    .action(async (options: { config: string }) => finish(await run(io, await backend(), options.config)));
}

async function run(io: Io, backend: Backend, file: string): Promise<ExitCode> {
  const stopping = new AbortController();
  const finished = new AbortController();
  let daemon: RunningDaemon | null = null;
  let reloading: Promise<void> = Promise.resolve();
  let early = false;

  const undo = io.onSignal((signal: ProcessSignal) => {
    if (signal === 'SIGHUP') {
      // One after the other, and the first when it has started: the file may have changed since it was read.
      const running = daemon;
      if (running === null) early = true;
      else reloading = reloading.then(() => reload(io, running, stopping.signal));
      return;
    }
    if (stopping.signal.aborted) {
      io.stderr(`lockgate: ${signal} again, ending at once\n`);
      io.exit(KILLED_BY[signal]);
      return;
    }
    io.stderr(`lockgate: ${signal}, stopping\n`);
    stopping.abort();
    endAfterDeadline(io, finished.signal, KILLED_BY[signal]);
  });
  // Read through a function, because the compiler takes it for settled.
  const wasEarly = (): boolean => early;
  try {
    const started = await start(backend, file, stopping.signal);
    if (started === null) return EXIT.ok;
    daemon = started;
    if (wasEarly()) reloading = reload(io, started, stopping.signal);
    if (io.isErrTTY) io.stderr(`lockgate: listening on ${started.address}\n`);
    const bug = await Promise.race([aborted(stopping.signal), started.crashed.catch(asError)]);
    if (bug !== undefined) {
      io.stderr(`lockgate: ${bug.message}${hintOf(bug)}\n`);
      endAfterDeadline(io, finished.signal, EXIT.crashed);
    }
    await started.stop();
    return bug === undefined ? EXIT.ok : EXIT.crashed;
  } finally {
    finished.abort();
    undo();
  }
}

/** A part that does not close must not keep the process: the service manager would wait much longer before it kills. */
function endAfterDeadline(io: Io, finished: AbortSignal, code: number): void {
  void io.clock.sleep(STOP_DEADLINE_MS, finished).then(() => {
    if (finished.aborted) return;
    io.stderr('lockgate: it did not stop in time, ending at once\n');
    io.exit(code);
  });
}

/** Null when it was stopped before it had started; whatever keeps it from starting is the operator's to mend (exit 2). */
async function start(backend: Backend, file: string, signal: AbortSignal): Promise<RunningDaemon | null> {
  try {
    return await backend.start(file, signal);
  } catch (error) {
    if (signal.aborted && !(error instanceof InvariantError)) return null;
    throw error;
  }
}

async function reload(io: Io, daemon: RunningDaemon, stopping: AbortSignal): Promise<void> {
  if (stopping.aborted) return;
  try {
    await daemon.reload();
    io.stderr('lockgate: configuration reloaded\n');
  } catch (error) {
    if (error instanceof ConfigError) printProblems(io, error);
    else io.stderr(`lockgate: ${messageOf(error)}${hintOf(error)}\n`);
    io.stderr('lockgate: not reloaded, the old configuration goes on\n');
  }
}

function hintOf(error: unknown): string {
  return error instanceof LockgateError && error.hint !== null ? ` (${error.hint})` : '';
}

function aborted(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(undefined);
    else signal.addEventListener('abort', () => resolve(undefined), { once: true });
  });
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
