import type { Command } from 'commander';
import type { Now } from '../live/connection.js';
import { follow, type LiveClock, type LiveTransport } from '../live/follow.js';
import { nothing } from '../live/model.js';
import { daemonsOf, type ClientOptions, type Daemon } from './client.js';
import { clientCommand, complaint, parseDurationMs, parseMigration, type CliContext } from './context.js';
import { interruptible } from './interrupt.js';
import { EXIT, worst, type ExitCode, type Io } from './io.js';
import { Screen } from './screen.js';
import { painter } from './text.js';
import { render } from './watch-frame.js';
import { Lines } from './watch-lines.js';
import type { Style } from './watch-style.js';
import { migrationOf, migrationsOf, rowsOf, selectedGate, type View, type Watched } from './watch-view.js';

interface WatchOptions extends ClientOptions {
  migration?: string;
  color: boolean;
  ascii?: boolean;
  for?: number;
}

/** Clocks and countdowns are drawn anew as often; what arrives is drawn at once, but not more often than this. */
const REDRAW_MS = 500;
const SOONEST_MS = 60;
/** Longest wait for one answer; silence on the stream is noticed sooner. */
const ANSWER_MS = 8_000;

/** `watch`: everything about a migration, live. */
export function addWatch(program: Command, { io, finish }: CliContext): void {
  clientCommand(program.command('watch'))
    .description('watch gates, lag, fences and what happens, live in the terminal')
    .option('--migration <name>', 'the migration to show; default: the first', parseMigration)
    .option('--no-color', 'draw without colours (also NO_COLOR)')
    .option('--ascii', 'draw with nothing but ASCII; default: where the locale is not UTF-8')
    .option('--for <duration>', 'end after this long; default: when it is interrupted', parseDurationMs)
    .addHelpText(
      'after',
      `
Keys: up and down choose a gate, left and right a migration, a follows the gate that matters now, q ends.
Without a terminal, or with --json, a line is printed for each change instead.
With several URLs the worst counts: a gate is open only when it is open at all of them, and a daemon that is lost makes
all its gates unknown. A lost daemon is shown at once and tried again until it answers.

Exit codes: 0 ended by q, Ctrl-C or --for, 2 refused (the token), 4 with --for when a daemon did not answer at the end.

Examples:
  lockgate watch --url http://127.0.0.1:9188
  lockgate watch --url https://a:9188 --url https://b:9188 --ca ca.pem --migration shop
  lockgate watch --for 10m --json >> changes.jsonl`,
    )
    .action(async (options: WatchOptions) => {
      finish(await interruptible(io, (signal) => watch(io, options, signal)));
    });
}

async function watch(io: Io, options: WatchOptions, signal: AbortSignal): Promise<ExitCode> {
  const daemons = await daemonsOf(io, options);
  const stop = new AbortController();
  const end = (): void => stop.abort();
  signal.addEventListener('abort', end, { once: true });
  // Whose terminal was closed has nobody to show anything to.
  const undo = io.onSignal((name) => {
    if (name === 'SIGHUP') end();
  });
  const now = (): Now => ({ monotonicMs: io.clock.monotonicNow() / 1000, wallMs: io.clock.wallNow() });
  const clock: LiveClock = { now, sleep: (ms, s) => io.clock.sleep(ms, s) };
  const watched: Watched[] = daemons.map(({ url }) => ({ url, model: nothing(now()) }));
  const terminal = options.json === true ? null : io.terminal;
  const shows = new Showing(io, options, () => watched, now, end, terminal !== null);
  if (options.for !== undefined) void io.clock.sleep(options.for, stop.signal).then(end);
  try {
    shows.draw();
    const ends = daemons.map(async (daemon, i): Promise<ExitCode> => {
      const last = await follow({
        ...{ transport: transportTo(daemon), clock, signal: stop.signal, random: Math.random },
        changed: (model) => {
          watched[i] = { url: daemon.url, model };
          shows.soon();
        },
      });
      const { connection } = last;
      if (connection.state === 'live') return EXIT.ok;
      if (connection.state === 'lost' && connection.refused) {
        end();
        const message = `it refuses this client: ${connection.reason} (set LOCKGATE_TOKEN)`;
        shows.close();
        io.stderr(complaint(daemon, message));
        return EXIT.refused;
      }
      return shows.drawn ? EXIT.ok : EXIT.unreachable;
    });
    void shows.run(stop.signal);
    return worst(await Promise.all(ends));
  } finally {
    end();
    undo();
    shows.close();
    signal.removeEventListener('abort', end);
  }
}

function transportTo(daemon: Daemon): LiveTransport {
  return {
    async get(path, signal) {
      const answer = await daemon.ask({ path, timeoutMs: ANSWER_MS, signal });
      if (answer.kind === 'unreachable') throw new Error(answer.message);
      return { status: answer.status, json: answer.json };
    },
    stream: (path, signal) => daemon.listen(path, signal),
  };
}

/** Draws in a terminal, or tells a line for each change. */
class Showing {
  readonly #screen: Screen | null;
  readonly #lines: Lines;
  readonly #style: Style;
  #migration: string | null;
  #gate: string | null = null;
  #due = false;
  #wake = new AbortController();

  constructor(
    private readonly io: Io,
    options: WatchOptions,
    private readonly daemons: () => readonly Watched[],
    private readonly now: () => Now,
    private readonly end: () => void,
    readonly drawn: boolean,
  ) {
    const paint = options.color ? painter(io) : (text: string): string => text;
    this.#style = { paint, unicode: options.ascii !== true && isUtf8(io.env) };
    this.#migration = options.migration ?? null;
    this.#lines = new Lines(io, options.json === true);
    const listeners = { key: (keys: string): void => this.#key(keys), resized: (): void => this.draw() };
    this.#screen = drawn && io.terminal !== null ? new Screen(io, io.terminal, listeners) : null;
  }

  #view(): View {
    return { daemons: this.daemons(), migration: this.#migration, gate: this.#gate };
  }

  draw(): void {
    this.#due = false;
    const screen = this.#screen;
    if (screen === null) this.#lines.tell(this.#view(), this.now());
    else screen.draw(render(this.#view(), this.now(), screen.size, this.#style));
  }

  /** Something has changed. */
  soon(): void {
    if (this.#due) return;
    this.#due = true;
    this.#wake.abort();
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.io;
    signal.addEventListener('abort', () => this.#wake.abort(), { once: true });
    for (;;) {
      this.#wake = new AbortController();
      if (!this.#due) await clock.sleep(REDRAW_MS, this.#wake.signal);
      await clock.sleep(SOONEST_MS, signal);
      if (signal.aborted) return;
      this.draw();
    }
  }

  close(): void {
    this.#screen?.close();
  }

  #key(keys: string): void {
    const view = this.#view();
    for (const key of keysOf(keys)) {
      if (key === 'q' || key === 'Q' || key === '\u0003' || key === '\u0004') {
        this.end();
        return;
      }
      if (key === 'a' || key === '\u001b') this.#gate = null;
      else if (key === 'up' || key === 'k') this.#move(view, -1);
      else if (key === 'down' || key === 'j') this.#move(view, 1);
      else if (key === 'left' || key === 'h') this.#turn(view, -1);
      else if (key === 'right' || key === 'l' || key === '\t') this.#turn(view, 1);
    }
    this.draw();
  }

  #move(view: View, by: number): void {
    const found = migrationOf(view, this.now());
    if (found === null) return;
    const gates = rowsOf(found.by, found.migration).map((row) => row.gate);
    const at = gates.indexOf(selectedGate({ ...view, gate: this.#gate }, this.now()) ?? '');
    this.#gate = gates[Math.max(0, Math.min(gates.length - 1, at + by))] ?? null;
  }

  #turn(view: View, by: number): void {
    const names = migrationsOf(view);
    if (names.length === 0) return;
    const at = Math.max(0, names.indexOf(this.#migration ?? names[0] ?? ''));
    this.#migration = names[(at + by + names.length) % names.length] ?? null;
    this.#gate = null;
  }
}

const ARROWS: Readonly<Record<string, string>> = { A: 'up', B: 'down', C: 'right', D: 'left' };

/** What was typed, key by key; arrows come as several characters. */
function keysOf(typed: string): string[] {
  return [...typed.matchAll(/\u001b[[O]([A-Z])|[^]/g)].map(([all, arrow]) =>
    arrow === undefined ? all : (ARROWS[arrow] ?? ''),
  );
}

/** Whether the locale says that the terminal takes UTF-8. */
function isUtf8(env: Io['env']): boolean {
  const locale = [env['LC_ALL'], env['LC_CTYPE'], env['LANG']].find((v) => v !== undefined && v !== '') ?? '';
  return /utf-?8/i.test(locale);
}
