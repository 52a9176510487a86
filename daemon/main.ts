#!/usr/bin/env node
import { existsSync, readFileSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Backend } from './cli/backend.js';
import type { Io, ProcessSignal, Terminal } from './cli/io.js';
import { EXIT } from './cli/io.js';
import { runCli } from './cli/program.js';
import { messageOf } from './core/errors.js';
import { SystemClock } from './lifecycle/clock.js';

/** What may still be open when a command is done (a leak) gets this long, so that it cannot keep the process for ever. */
const LINGER_MS = 2000;

/** What gives the terminal back at the end of the process, however that comes. */
const endings = new Set<() => void>();
function giveBack(): void {
  for (const ending of endings) ending();
  endings.clear();
}
process.on('exit', giveBack);

const terminal: Terminal = {
  size: () => ({ columns: process.stdout.columns, rows: process.stdout.rows }),
  onResize: (listener) => {
    process.stdout.on('resize', listener);
    return () => void process.stdout.off('resize', listener);
  },
  onKey: (listener) => {
    const { stdin } = process;
    if (!stdin.isTTY) return () => undefined;
    const take = (bytes: Buffer): void => listener(bytes.toString('utf8'));
    stdin.setRawMode(true).on('data', take).resume();
    return () => void stdin.off('data', take).setRawMode(false).pause();
  },
  atEnd: (text) => {
    const restore = (): void => {
      try {
        if (process.stdin.isTTY) process.stdin.setRawMode(false);
        // At the very end nothing is written any more but what is written at once.
        writeSync(1, text);
      } catch {
        // The terminal itself is gone.
      }
    };
    endings.add(restore);
    return () => void endings.delete(restore);
  },
};

const io: Io = {
  stdout: (text) => void process.stdout.write(text),
  stderr: (text) => void process.stderr.write(text),
  env: process.env,
  isTTY: process.stdout.isTTY,
  isErrTTY: process.stderr.isTTY,
  columns: process.stderr.isTTY ? process.stderr.columns : process.stdout.isTTY ? process.stdout.columns : 0,
  terminal: process.stdout.isTTY ? terminal : null,
  clock: new SystemClock(),
  version: ownVersion(),
  onSignal: (listener) => {
    const signals: readonly ProcessSignal[] = ['SIGTERM', 'SIGINT', 'SIGHUP'];
    const handlers = signals.map((signal) => ({ signal, handler: () => listener(signal) }));
    for (const { signal, handler } of handlers) process.on(signal, handler);
    return () => handlers.forEach(({ signal, handler }) => process.off(signal, handler));
  },
  exit: (code) => process.exit(code),
};

/** The package's version, from the package.json nearest above this file (it lies elsewhere once built). */
function ownVersion(): string {
  let folder = import.meta.dirname;
  while (!existsSync(join(folder, 'package.json')) && folder !== dirname(folder)) folder = dirname(folder);
  const json = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { version: string };
  return json.version;
}

/** Loaded only by the commands that need it: drivers and the store take longer to load than a gate takes to answer. */
async function backend(): Promise<Backend> {
  const [
    { createBackend },
    { postgresEngine },
    { mysqlEngine },
    { LazyAws },
    { dmsService },
    { trafficService },
    { pino },
  ] = await Promise.all([
    import('./app.js'),
    import('../collectors/postgres/engine.js'),
    import('../collectors/mysql/engine.js'),
    import('../collectors/session/lazy-aws.js'),
    import('../collectors/dms/service.js'),
    import('../collectors/traffic/service.js'),
    import('pino'),
  ]);
  const aws = new LazyAws();
  return createBackend({
    clock: new SystemClock(),
    env: process.env,
    version: io.version,
    nodeVersion: process.version,
    log: pino({ level: process.env['LOCKGATE_LOG_LEVEL'] ?? 'info' }, pino.destination({ dest: 2, sync: true })),
    engines: [postgresEngine, mysqlEngine],
    services: [dmsService(aws), trafficService(aws)],
    aws,
  });
}

// A reader that has seen enough (`lockgate journal | head`) closes the pipe; that is no fault.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
}
process.on('uncaughtException', (error) => {
  // First, for what is written to the screen that is left is gone with it.
  giveBack();
  process.stderr.write(`lockgate: a bug, ending: ${messageOf(error)}\n`);
  process.exit(EXIT.crashed);
});

const code = await runCli(process.argv.slice(2), io, backend);
process.exitCode = code;
setTimeout(() => process.exit(code), LINGER_MS).unref();
