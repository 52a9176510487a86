import type { Clock } from '../core/clock.js';

/** The signals that `run` answers to. */
export type ProcessSignal = 'SIGTERM' | 'SIGINT' | 'SIGHUP';

/** A terminal that one person looks at. Methods that take a listener return the undo. */
export interface Terminal {
  size(): { columns: number; rows: number };
  onResize(listener: () => void): () => void;
  /** Calls back with what is typed, unechoed; without a keyboard nothing comes. */
  onKey(listener: (keys: string) => void): () => void;
  /** Writes `text` when the process ends before the undo is called, in whatever way it can still do anything. */
  atEnd(text: string): () => void;
}

/** Everything of the process that a command may touch; main.ts hands in the real ones, tests their own. */
export interface Io {
  stdout(text: string): void;
  stderr(text: string): void;
  env: Readonly<Record<string, string | undefined>>;
  /** Whether a person reads standard output, and standard error, in a terminal. */
  isTTY: boolean;
  isErrTTY: boolean;
  /** Width of the terminal; 0 when there is none. */
  columns: number;
  /** Null unless a person reads standard output in a terminal. */
  terminal: Terminal | null;
  clock: Clock;
  /** Of the package, for `--version` and the User-Agent. */
  version: string;
  /** Calls back for each signal from then on instead of dying of it; returns the undo. */
  onSignal(listener: (signal: ProcessSignal) => void): () => void;
  /** Ends the process now, whatever is open. */
  exit(code: number): void;
}

/** The exit codes that scripts rely on; `crashed` (as sysexits.h has it) is only ever that of a daemon that met a bug. */
export const EXIT = { ok: 0, closed: 1, refused: 2, unknown: 3, unreachable: 4, crashed: 70 } as const;

/** One of the exit codes above. */
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** From the best to the worst: no answer at all is worse than a refusal, that worse than an unknown state, and so on. */
const SEVERITY: readonly ExitCode[] = [
  EXIT.ok,
  EXIT.closed,
  EXIT.unknown,
  EXIT.refused,
  EXIT.unreachable,
  EXIT.crashed,
];

/** The exit code that counts when several daemons were asked; none asked is unknown. */
export function worst(codes: readonly ExitCode[]): ExitCode {
  if (codes.length === 0) return EXIT.unknown;
  return codes.reduce((a, b) => (SEVERITY.indexOf(b) > SEVERITY.indexOf(a) ? b : a));
}
