import { InvalidArgumentError, Option, type Command } from 'commander';
import { parseDurationUs } from '../core/units.js';
import type { Backend } from './backend.js';
import type { Answer, Daemon } from './client.js';
import type { ExitCode, Io } from './io.js';

/** What every command is handed. */
export interface CliContext {
  io: Io;
  /** Loaded only when a command needs it: asking a gate must not wait for database drivers to load. */
  backend: () => Promise<Backend>;
  /** Records the exit code of the command that ran. */
  finish: (code: ExitCode) => void;
}

/** Adds the options that every client command has. */
export function clientCommand(command: Command): Command {
  return command
    .addOption(
      new Option('--url <url>', 'where a daemon answers; repeatable').argParser(collect).default([], 'LOCKGATE_URL'),
    )
    .option('--token-file <file>', 'file that holds the token (default: LOCKGATE_TOKEN)')
    .option('--ca <file>', 'certificate to trust, PEM')
    .option('--json', 'print what the API said; with several URLs one line each, in the order of the URLs');
}

/** An option that takes a duration; the default is given as people write it. */
export function durationOption(flags: string, description: string, fallback: string): Option {
  return new Option(flags, description).argParser(parseDurationMs).default(parseDurationMs(fallback), fallback);
}

/** Collects a repeatable option. */
export function collect(value: string, previous: string[]): string[] {
  return [...previous, value];
}

/** Parses a duration with its unit to milliseconds, at least one. */
export function parseDurationMs(text: string): number {
  const us = parseDurationUs(text);
  if (us === null || us < 1000) throw new InvalidArgumentError('Give a duration with its unit, such as 30s or 15m.');
  return us / 1000;
}

/** Parses a whole number of at least one. */
export function parseCount(text: string): number {
  const n = Number(text);
  if (!/^\d+$/.test(text) || n < 1 || !Number.isSafeInteger(n)) {
    throw new InvalidArgumentError('Give a whole number, at least 1.');
  }
  return n;
}

const NAME = /^[a-z0-9][a-z0-9-]{0,62}$/;

/** Parses the name of a migration. */
export function parseMigration(text: string): string {
  if (!NAME.test(text)) throw new InvalidArgumentError('Give the name of a migration: a-z, 0-9 and - only.');
  return text;
}

/** Parses `MIGRATION/GATE`, or `GATE` for a gate across migrations. */
export function parseGate(text: string): string {
  const parts = text.split('/');
  if (parts.length > 2 || !parts.every((p) => NAME.test(p))) {
    throw new InvalidArgumentError('Give MIGRATION/GATE, or GATE for a gate across migrations.');
  }
  return text;
}

/** What `--json` prints for one daemon: the API's own words, on one line when there are several daemons. */
export function jsonOf(answer: Answer, daemon: Daemon, several: boolean): string {
  if (answer.kind === 'unreachable') return `${JSON.stringify({ url: daemon.url, error: answer.message })}\n`;
  if (answer.json === undefined) {
    return `${JSON.stringify({ url: daemon.url, status: answer.status, error: 'the answer is not JSON' })}\n`;
  }
  return `${several ? JSON.stringify(answer.json) : answer.text.trimEnd()}\n`;
}

/** The line on standard error for a daemon that gave no usable answer. */
export function complaint(daemon: Daemon, message: string): string {
  return `lockgate: ${daemon.url}: ${message}\n`;
}
