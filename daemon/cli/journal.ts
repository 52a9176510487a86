import { InvalidArgumentError, Option, type Command } from 'commander';
import { parseDurationUs } from '../core/units.js';
import { daemonsOf, type ClientOptions, type Daemon } from './client.js';
import { clientCommand, complaint, parseCount, durationOption, type CliContext } from './context.js';
import { EXIT, worst, type ExitCode, type Io } from './io.js';
import { isObject, judgeAnswer, type Judged } from './judge.js';
import { entryCells } from '../live/journal-words.js';
import { columns } from './text.js';

/** Either an instant (ms since 1970) or a stretch before now. */
type Since = { at: number } | { agoMs: number };

interface JournalOptions extends ClientOptions {
  since: Since;
  limit: number;
  timeout: number;
}

type Entry = Record<string, unknown>;

/** What the pages of one daemon came to. */
interface Pages extends Judged {
  entries: Entry[];
  next: unknown;
  /** Entries since the start that the limit left out. */
  dropped: number;
}

/** Entries a page; the daemon may give fewer. */
const PAGE = 500;
const DAY_MS = 86_400_000;

/** `journal`: what happened, and who did it. */
export function addJournal(program: Command, { io, finish }: CliContext): void {
  clientCommand(program.command('journal'))
    .description(
      'show what happened: verdicts, fences, changes of direction, attestations, starts and reloads, oldest first, in UTC',
    )
    .addOption(
      new Option('--since <when>', 'how far back (1h, 7d), or since when (RFC 3339)')
        .argParser(parseSince)
        .default({ agoMs: DAY_MS }, '24h'),
    )
    .option('--limit <n>', 'at most so many entries, the newest ones', parseCount, 1000)
    .addOption(durationOption('--timeout <duration>', 'longest wait for each answer', '5s'))
    .addHelpText(
      'after',
      `
--json prints {"entries":[...],"next":...} as the API does, all pages in one; with several URLs one line each.

Examples:
  lockgate journal --since 1h --url http://127.0.0.1:9188
  lockgate journal --since 2026-12-01T01:00:00Z --json | jq '.entries[] | select(.kind == "gate")'`,
    )
    .action(async (options: JournalOptions) => finish(await journal(io, options)));
}

/** Parses `1h`, `7d` or an instant in RFC 3339. */
export function parseSince(text: string): Since {
  const us = parseDurationUs(text);
  if (us !== null && us > 0) return { agoMs: us / 1000 };
  const rfc3339 = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:\d\d)$/;
  const at = rfc3339.test(text) ? Date.parse(text) : NaN;
  if (Number.isNaN(at))
    throw new InvalidArgumentError('Give a duration such as 1h, or an instant such as 2026-12-01T01:00:00Z.');
  return { at };
}

async function journal(io: Io, options: JournalOptions): Promise<ExitCode> {
  const daemons = await daemonsOf(io, options);
  const several = daemons.length > 1;
  const from = 'at' in options.since ? options.since.at : io.clock.wallNow() - options.since.agoMs;
  const all = await Promise.all(
    daemons.map(async (daemon) => ({ daemon, pages: await readPages(daemon, new Date(from).toISOString(), options) })),
  );
  for (const { daemon, pages } of all) {
    if (options.json === true) {
      const said = pages.message === null ? pages : { url: daemon.url, error: pages.message };
      io.stdout(`${JSON.stringify('error' in said ? said : { entries: said.entries, next: said.next ?? null })}\n`);
    } else {
      if (several) io.stdout(`${daemon.url}\n`);
      for (const line of columns(pages.entries.map(entryCells))) io.stdout(`${line}\n`);
      if (pages.dropped > 0) {
        io.stderr(`lockgate: ${String(pages.dropped)} earlier entries left out (--limit ${String(options.limit)})\n`);
      }
    }
    if (pages.message !== null) io.stderr(complaint(daemon, pages.message));
  }
  return worst(all.map((a) => a.pages.exit));
}

/** Follows `next` to the end and keeps the newest entries; the API gives the oldest first. */
async function readPages(daemon: Daemon, since: string, options: JournalOptions): Promise<Pages> {
  const pages: Pages = { exit: EXIT.ok, message: null, entries: [], next: null, dropped: 0 };
  for (;;) {
    const query = new URLSearchParams({ since, limit: String(PAGE) });
    const after = pages.next;
    if (typeof after === 'string' || typeof after === 'number') query.set('after', String(after));
    const answer = await daemon.ask({ path: `/v1/journal?${query.toString()}`, timeoutMs: options.timeout });
    const judged = judgeAnswer(answer);
    const json = answer.kind === 'answer' && isObject(answer.json) ? answer.json : {};
    if (judged.exit !== EXIT.ok) return { ...pages, ...judged };
    if (!Array.isArray(json['entries'])) {
      return { ...pages, exit: EXIT.unknown, message: 'the answer is no journal; is it lockgate?' };
    }
    const entries = (json['entries'] as unknown[]).filter(isObject);
    pages.entries.push(...entries);
    const excess = Math.max(0, pages.entries.length - options.limit);
    pages.entries.splice(0, excess);
    pages.dropped += excess;
    pages.next = json['next'] ?? null;
    // A `next` that does not move on would be followed for ever.
    if (pages.next === null || pages.next === after || entries.length === 0) return pages;
  }
}
