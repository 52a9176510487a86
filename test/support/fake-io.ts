import type { Io, ProcessSignal, Terminal } from '../../daemon/cli/io.js';
import type { Clock } from '../../daemon/core/clock.js';
import { SystemClock } from '../../daemon/lifecycle/clock.js';

/** An Io that keeps what was printed, and from which a test sends signals. */
export class FakeIo implements Io {
  out = '';
  err = '';
  env: Record<string, string> = {};
  isTTY = false;
  isErrTTY = false;
  columns = 0;
  terminal: Terminal | null = null;
  clock: Clock = new SystemClock();
  version = '1.2.3';
  /** Codes with which the process was ended at once. */
  exits: number[] = [];
  readonly #listeners = new Set<(signal: ProcessSignal) => void>();

  stdout(text: string): void {
    this.out += text;
  }

  stderr(text: string): void {
    this.err += text;
  }

  onSignal(listener: (signal: ProcessSignal) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  exit(code: number): void {
    this.exits.push(code);
  }

  /** Sends a signal to whoever listens, and says how many did. */
  send(signal: ProcessSignal): number {
    for (const listener of this.#listeners) listener(signal);
    return this.#listeners.size;
  }

  get listeners(): number {
    return this.#listeners.size;
  }
}

/** For commands that only talk to a daemon. */
export const noBackend = (): Promise<never> => Promise.reject(new Error('a client command needs no backend'));

/** Waiting is about seconds; a test need not be. */
export function tenTimesFaster(clock: Clock): Clock {
  return {
    wallNow: () => clock.wallNow(),
    monotonicNow: () => clock.monotonicNow() * 10,
    uptime: () => clock.uptime() * 10,
    sleep: (ms, signal) => clock.sleep(ms / 10, signal),
  };
}
