import type { Command } from 'commander';
import { daemonsOf, type ClientOptions, type Daemon } from './client.js';
import { clientCommand, durationOption, parseGate, type CliContext } from './context.js';
import { askGate, printGateAnswers, type GateAnswer } from './gate-answers.js';
import { EXIT, worst, type ExitCode, type Io } from './io.js';
import { briefReason, opensText, stateWord } from './render-verdict.js';
import { durationText, instantText } from '../live/words.js';
import { painter } from './text.js';

interface WaitOptions extends ClientOptions {
  timeout: number;
  maxAge: number;
}

/** How long one request waits: short, so that a daemon that went away is noticed and progress is fresh. */
const SLICE_S = 5;
const TTY_SLICE_S = 2;
/** What a request may take beyond the wait that it asks for. */
const SLACK_MS = 5000;
/** Between two rounds at least, whatever answers at once (a refused connection, a server that does not wait). */
const ROUND_MS = 1000;

/** `wait MIGRATION/GATE`: blocks until a gate is open. */
export function addWait(program: Command, { io, finish }: CliContext): void {
  clientCommand(program.command('wait'))
    .description('wait until a gate is open; the exit code is the answer')
    .argument('<gate>', 'MIGRATION/GATE, or GATE for a gate across migrations', parseGate)
    .addOption(durationOption('--timeout <duration>', 'give up after this long', '15m'))
    .addOption(durationOption('--max-age <duration>', 'how old a verdict may be by this clock', '10s'))
    .addHelpText(
      'after',
      `
The default timeout is 15m. A daemon that cannot be reached is asked again until the timeout, so that its restart does
not end the wait. With several URLs the gate has to be open at all of them at once.
Progress goes to standard error, the last verdict to standard output.

Exit codes: 0 open, 1 still closed, 2 refused or no such gate, 3 still unknown, 4 no daemon answers at the timeout.

Examples:
  lockgate wait shop/flip-writes --timeout 15m --url http://127.0.0.1:9188 && ./flip-writes.sh
  lockgate wait shop/drained --timeout 30s --json`,
    )
    .action(async (gate: string, options: WaitOptions) => finish(await waitFor(io, gate, options)));
}

async function waitFor(io: Io, gate: string, options: WaitOptions): Promise<ExitCode> {
  const daemons = await daemonsOf(io, options);
  const { clock } = io;
  const started = clock.monotonicNow();
  const waitedMs = (): number => (clock.monotonicNow() - started) / 1000;
  const progress = new Progress(io, gate, daemons.length > 1, options.timeout);
  for (;;) {
    const roundMs = waitedMs();
    const answers = await askAll(io, daemons, gate, options, options.timeout - roundMs);
    const codes = answers.map((a) => a.judged.exit);
    const over = waitedMs() >= options.timeout;
    // A refusal is final even while another daemon is away: waiting does not make a missing gate appear.
    if (codes.every((c) => c === EXIT.ok) || codes.includes(EXIT.refused) || over) {
      progress.end();
      printGateAnswers(io, gate, answers, options.json === true);
      return worst(codes);
    }
    progress.show(answers, waitedMs());
    const pause = Math.min(roundMs + ROUND_MS, options.timeout) - waitedMs();
    if (pause > 0) await clock.sleep(pause);
  }
}

/** One round. Several daemons are asked once more when all said open, because the first may have said it a while ago. */
async function askAll(
  io: Io,
  daemons: readonly Daemon[],
  gate: string,
  { maxAge }: WaitOptions,
  leftMs: number,
): Promise<GateAnswer[]> {
  const check = { path: `/v1/gates/${gate}/check`, timeoutMs: SLACK_MS, maxAge };
  const seconds = Math.min(Math.floor(leftMs / 1000), io.isErrTTY ? TTY_SLICE_S : SLICE_S);
  if (seconds < 1) return askGate(io, daemons, gate, check);
  const path = `/v1/gates/${gate}/wait?timeout=${String(seconds)}s`;
  const answers = await askGate(io, daemons, gate, { path, timeoutMs: seconds * 1000 + SLACK_MS, maxAge });
  const open = answers.every((a) => a.judged.exit === EXIT.ok);
  return open && daemons.length > 1 ? askGate(io, daemons, gate, check) : answers;
}

/** Tells how the wait goes: one line that is rewritten in a terminal, else a line for each change. */
class Progress {
  readonly #paint;
  readonly #last = new Map<string, string>();

  constructor(
    readonly io: Io,
    readonly gate: string,
    readonly several: boolean,
    readonly timeoutMs: number,
  ) {
    this.#paint = painter({ env: io.env, isTTY: io.isErrTTY });
  }

  show(results: readonly GateAnswer[], waitedMs: number): void {
    const waiting = results.filter((r) => r.judged.exit !== EXIT.ok);
    if (this.io.isErrTTY) {
      const shown = waiting[0];
      if (shown === undefined) return;
      const waited = `waited ${durationText(waitedMs / 1000)} of ${durationText(this.timeoutMs / 1000)}`;
      this.io.stderr(`\r\u001b[K${this.#line(shown, waited)}`);
      return;
    }
    for (const result of waiting) {
      const line = this.#line(result, '');
      if (this.#last.get(result.daemon.url) === this.#key(result)) continue;
      this.#last.set(result.daemon.url, this.#key(result));
      this.io.stderr(`${instantText(this.io.clock.wallNow(), this.io.clock.wallNow())} ${line}\n`);
    }
  }

  end(): void {
    if (this.io.isErrTTY) this.io.stderr('\r\u001b[K');
  }

  /** What makes a line worth writing again: not that a hold has gone on or a value moved. */
  #key({ judged }: GateAnswer): string {
    const { verdict } = judged;
    if (verdict === null) return `${String(judged.exit)} ${judged.message ?? ''}`.replace(/\d+/g, '#');
    return JSON.stringify([verdict.state, verdict.reason, verdict.conditions.map((c) => [c.text, c.state])]);
  }

  #line({ daemon, judged }: GateAnswer, waited: string): string {
    const { verdict } = judged;
    const word =
      verdict === null
        ? this.#paint(judged.exit === EXIT.unknown ? 'UNKNOWN' : 'UNREACHABLE', 'magenta')
        : stateWord(verdict.state, this.#paint).trimEnd();
    const parts = [word, this.gate];
    if (this.several) parts.push(`at ${daemon.url}`);
    if (verdict !== null) parts.push(opensText(verdict.opens_at, verdict.evaluated_at));
    parts.push(waited, this.#fit(verdict === null ? (judged.message ?? '') : briefReason(verdict), parts));
    return parts.filter((p) => p !== '').join('  ');
  }

  /** A line that wraps cannot be rewritten in place, so the reason gives way. */
  #fit(reason: string, before: readonly string[]): string {
    if (!this.io.isErrTTY || this.io.columns === 0) return reason;
    const used = before.reduce((n, p) => n + p.length + 2, 12);
    return reason.slice(0, Math.max(0, this.io.columns - used));
  }
}
