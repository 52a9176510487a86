import { InvalidArgumentError, type Command } from 'commander';
import { UsageError } from '../core/errors.js';
import { oneDaemonOf, type Answer, type ClientOptions, type Daemon } from './client.js';
import {
  clientCommand,
  complaint,
  durationOption,
  jsonOf,
  parseDurationMs,
  parseMigration,
  type CliContext,
} from './context.js';
import { interruptible } from './interrupt.js';
import { EXIT, type ExitCode, type Io } from './io.js';
import type { FenceJson } from '../http/port.js';
import { judgeFence, type JudgedFence } from './judge-fence.js';
import { FenceProgress } from './fence-progress.js';
import { fenceText, followText } from './render-fence.js';
import { painter } from './text.js';

interface FenceOptions extends ClientOptions {
  id?: string;
  cancel?: string;
  wait: number;
  deadline?: number;
  note?: string;
  timeout: number;
  maxAge: number;
}

/** What is told apart from the fence itself while it is followed. */
interface Followed {
  answer: Answer;
  judged: JudgedFence;
}

/** How long one request waits: short, so that a daemon that went away is noticed and progress is fresh. */
const SLICE_MS = 5000;
const TTY_SLICE_MS = 1000;
/** What a request may take beyond the wait that it asks for: what is asked of the databases is bounded, too. */
const SLACK_MS = 5000;
/** Between two rounds at least, whatever answers at once (a refused connection, a fence that cannot be proved now). */
const ROUND_MS = 1000;

/** `fence MIGRATION`: has the target everything that the source had when writes stopped? */
export function addFence(program: Command, { io, finish }: CliContext): void {
  clientCommand(program.command('fence'))
    .description('after writes were stopped: place a fence and wait until everything before it has arrived')
    .argument('<migration>', 'name of the migration', parseMigration)
    .option('--id <id>', 'follow a fence that is there instead of placing one', parseFence)
    .option('--cancel <id>', 'give up a fence: writes may go on as before', parseFence)
    .addOption(durationOption('--wait <duration>', 'how long to wait for it', '30s'))
    .option('--deadline <duration>', 'when an undrained fence expires, 1s to 1h (default: 60s)', parseDurationMs)
    .option('--note <text>', 'one line for the journal')
    .addOption(durationOption('--timeout <duration>', 'longest wait for each answer, also that it is placed', '30s'))
    .addOption(durationOption('--max-age <duration>', 'how old an answer may be by this clock', '10s'))
    .addHelpText(
      'after',
      `
Placing and cancelling need an operator token. Progress goes to standard error, the fence to standard output. Ctrl-C
ends the waiting, not the fence. One daemon only: a fence is kept by the daemon that placed it.

Exit codes: 0 drained (or cancelled, with --cancel), 1 violated, expired, cancelled, closed or still placed,
2 refused, 3 unknown, 4 no daemon answers.

Examples:
  lockgate fence shop --wait 30s --deadline 60s && lockgate promote shop --reason "cutover, OPS-41"
  lockgate fence shop --id 7f3a --wait 1m
  lockgate fence shop --cancel 7f3a`,
    )
    .action(async (migration: string, options: FenceOptions) => finish(await fence(io, migration, options)));
}

/** Parses the id of a fence; what else could be in it would lead to another path. */
function parseFence(text: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$/.test(text)) {
    throw new InvalidArgumentError('Give the id of a fence, as `lockgate status` shows it.');
  }
  return text;
}

async function fence(io: Io, migration: string, options: FenceOptions): Promise<ExitCode> {
  const { id, cancel } = options;
  if (id !== undefined && cancel !== undefined) throw new UsageError('id_or_cancel', 'give --id or --cancel, not both');
  if ((id ?? cancel) !== undefined && (options.deadline !== undefined || options.note !== undefined)) {
    throw new UsageError('fence_is_placed', '--deadline and --note are for placing a fence, not for one that is there');
  }
  const daemon = await oneDaemonOf(io, options);
  if (cancel !== undefined) return cancelFence(io, daemon, migration, cancel, options);
  return interruptible(io, async (signal) => {
    const command = new Following(io, daemon, migration, options, signal);
    return id === undefined ? command.place() : command.follow(id, null);
  });
}

const pathOf = (migration: string, id: string): string =>
  `/v1/migrations/${migration}/fences/${encodeURIComponent(id)}`;

async function cancelFence(
  io: Io,
  daemon: Daemon,
  migration: string,
  id: string,
  options: FenceOptions,
): Promise<ExitCode> {
  const answer = await daemon.ask({ method: 'DELETE', path: pathOf(migration, id), timeoutMs: options.timeout });
  const now = io.clock.wallNow();
  const judged = judgeFence(answer, { migration, id, now, maxAgeMs: options.maxAge });
  const done = judged.fence?.state === 'cancelled';
  if (options.json === true) io.stdout(jsonOf(answer, daemon, false));
  else if (judged.fence !== null) io.stdout(fenceText(judged.fence, painter(io), now));
  if (judged.message !== null) io.stderr(complaint(daemon, judged.message));
  if (answer.kind === 'unreachable' && answer.sent) {
    io.stderr(complaint(daemon, `it may have been cancelled all the same: lockgate fence ${migration} --id ${id}`));
  }
  return done ? EXIT.ok : judged.exit === EXIT.ok ? EXIT.unknown : judged.exit;
}

/** One run of the command: places a fence or not, and follows it until it is decided or the wait is over. */
class Following {
  readonly #progress: FenceProgress;

  constructor(
    readonly io: Io,
    readonly daemon: Daemon,
    readonly migration: string,
    readonly options: FenceOptions,
    readonly signal: AbortSignal,
  ) {
    this.#progress = new FenceProgress(io, migration, options.wait);
  }

  async place(): Promise<ExitCode> {
    const { io, daemon, migration, options, signal } = this;
    const { deadline, note, timeout: timeoutMs } = options;
    const body = {
      ...(deadline === undefined ? {} : { deadline: `${String(deadline)}ms` }),
      ...(note === undefined ? {} : { note }),
    };
    const path = `/v1/migrations/${migration}/fences`;
    const answer = await daemon.ask({ method: 'POST', path, body, timeoutMs, signal });
    const judged = this.#judge(answer, null);
    if (judged.fence !== null) return this.follow(judged.fence.id, { answer, judged });
    if (options.json === true) io.stdout(jsonOf(answer, daemon, false));
    if (judged.message !== null) io.stderr(complaint(daemon, judged.message));
    if (answer.kind === 'unreachable' ? answer.sent : judged.exit === EXIT.unknown && answer.status < 300) {
      const look = `\`lockgate status\` shows it, \`lockgate fence ${migration} --cancel ID\` gives it up`;
      io.stderr(complaint(daemon, `the fence may have been placed all the same: ${look}`));
    }
    return judged.exit;
  }

  /** Asks again and again until the fence is decided or the wait is over; what is not decided then is not go. */
  async follow(id: string, placed: Followed | null): Promise<ExitCode> {
    const { io, options, signal } = this;
    const { clock } = io;
    const started = clock.monotonicNow();
    const waitedMs = (): number => (clock.monotonicNow() - started) / 1000;
    let last = placed;
    /** The newest that could be believed, for what is told at the end. */
    let known = placed?.judged.fence ?? null;
    for (;;) {
      if (last !== null && this.#isDecided(last.judged)) break;
      if (last !== null) this.#progress.show(last.judged, known, waitedMs());
      const roundMs = waitedMs();
      const answer = await this.#ask(id, options.wait - roundMs);
      // An interrupted request says nothing, and the answer before it says more.
      if (this.#isInterrupted()) break;
      last = { answer, judged: this.#judge(answer, id) };
      known = last.judged.fence ?? known;
      if (this.#isDecided(last.judged) || waitedMs() >= options.wait) break;
      const pause = Math.min(roundMs + ROUND_MS, options.wait) - waitedMs();
      // A wait that was answered in time has paused already.
      if (pause > 0) await clock.sleep(pause, signal);
      if (this.#isInterrupted()) break;
    }
    this.#progress.end();
    return this.#tell(id, last, known);
  }

  #ask(id: string, leftMs: number): Promise<Answer> {
    const { io, daemon, migration, options, signal } = this;
    const sliceMs = Math.floor(Math.max(0, Math.min(leftMs, io.isErrTTY ? TTY_SLICE_MS : SLICE_MS)));
    const path = `${pathOf(migration, id)}?wait=${String(sliceMs)}ms`;
    return daemon.ask({ path, timeoutMs: sliceMs + Math.min(SLACK_MS, options.timeout), signal });
  }

  #judge(answer: Answer, id: string | null): JudgedFence {
    const { io, migration, options } = this;
    return judgeFence(answer, { migration, id, now: io.clock.wallNow(), maxAgeMs: options.maxAge });
  }

  #isInterrupted(): boolean {
    return this.signal.aborted;
  }

  /** A refusal is final; what cannot be proved or reached now may be so in a moment. */
  #isDecided({ exit, fence }: JudgedFence): boolean {
    return fence === null ? exit === EXIT.refused : fence.state !== 'placed' && fence.state !== 'unknown';
  }

  #tell(id: string, last: Followed | null, known: FenceJson | null): ExitCode {
    const { io, daemon, migration, options, signal } = this;
    const open = last === null || !this.#isDecided(last.judged);
    const fence = last?.judged.fence ?? null;
    if (options.json === true) {
      if (last !== null) io.stdout(jsonOf(last.answer, daemon, false));
    } else if (fence !== null) {
      io.stdout(fenceText(fence, painter(io), io.clock.wallNow()));
    }
    const message = last?.judged.message ?? null;
    if (message !== null) io.stderr(complaint(daemon, message));
    if (signal.aborted && open) io.stderr('lockgate: interrupted: the fence is left as it is\n');
    // What was printed as text says it already.
    if (open && (fence === null || options.json === true)) {
      for (const line of followText(known ?? { id, migration })) io.stderr(`lockgate: ${line}\n`);
    }
    return last?.judged.exit ?? EXIT.unknown;
  }
}
