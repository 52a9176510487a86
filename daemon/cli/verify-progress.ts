import type { VerifyJson } from '../http/port.js';
import type { Io } from './io.js';
import { countText } from './render-verify.js';
import { durationText, instantText, plain } from '../live/words.js';

type Running = NonNullable<VerifyJson['running']>;

const BAR = 20;
/** A line that nobody rewrites is written this often although nothing but the number of rows has changed. */
const LINE_MS = 30_000;

/** Tells how a pass goes: a bar that is rewritten in a terminal, else a line for each change. */
export class VerifyProgress {
  #key = '';
  #wroteAt = -Infinity;

  constructor(
    readonly io: Io,
    readonly migration: string,
  ) {}

  show(running: Running): void {
    const { io, migration } = this;
    const share = running.rows_estimated > 0 ? Math.min(1, running.rows_done / running.rows_estimated) : 0;
    const parts = [
      `${String(Math.floor(share * 100)).padStart(3)} %`,
      `${running.tables_done}/${running.tables_total} tables`,
      `${countText(running.rows_done)} rows`,
      running.eta_seconds === null ? '' : `about ${durationText(Math.max(0, running.eta_seconds))} left`,
      running.paused === null ? plain(running.table ?? '') : `PAUSED: ${plain(running.paused)}`,
    ];
    if (io.isErrTTY) {
      const done = Math.round(share * BAR);
      const line = [`${migration} [${'#'.repeat(done)}${'-'.repeat(BAR - done)}]`, ...parts];
      this.#rewrite(line.filter((p) => p !== '').join('  '));
      return;
    }
    this.#line(parts.filter((p) => p !== '').join('  '), JSON.stringify([running.tables_done, running.paused]));
  }

  /** Says that nothing can be told at the moment. */
  away(message: string): void {
    const line = `no answer: ${message}`;
    if (this.io.isErrTTY) this.#rewrite(`${this.migration}  ${line}`);
    else this.#line(line, line);
  }

  end(): void {
    if (this.io.isErrTTY) this.io.stderr('\r\u001b[K');
  }

  #rewrite(line: string): void {
    const fits = this.io.columns === 0 ? line : line.slice(0, Math.max(0, this.io.columns - 1));
    this.io.stderr(`\r\u001b[K${fits}`);
  }

  #line(text: string, key: string): void {
    const now = this.io.clock.wallNow();
    if (key === this.#key && now - this.#wroteAt < LINE_MS) return;
    this.#key = key;
    this.#wroteAt = now;
    this.io.stderr(`${instantText(now, now)} ${this.migration}  ${text}\n`);
  }
}
