import type { FenceJson } from '../http/port.js';
import { EXIT, type Io } from './io.js';
import type { JudgedFence } from './judge-fence.js';
import { fenceWord, missingText } from './render-fence.js';
import { durationText, instantText } from '../live/words.js';
import { painter, type Paint } from './text.js';

/** Tells how the drain goes: one line that is rewritten in a terminal, else a line for each answer. */
export class FenceProgress {
  readonly #paint: Paint;

  constructor(
    readonly io: Io,
    readonly migration: string,
    readonly waitMs: number,
  ) {
    this.#paint = painter({ env: io.env, isTTY: io.isErrTTY });
  }

  /** `known` is the newest answer that could be believed, for when this one could not. */
  show({ exit, message, fence }: JudgedFence, known: FenceJson | null, waitedMs: number): void {
    const { io } = this;
    const word =
      fence === null
        ? this.#paint(exit === EXIT.unknown ? 'UNKNOWN' : 'UNREACHABLE', 'magenta')
        : fenceWord(fence.state, this.#paint);
    const id = fence?.id ?? known?.id;
    const subject = id === undefined ? this.migration : `${this.migration} fence ${id}`;
    const waited = `waited ${durationText(waitedMs / 1000)} of ${durationText(this.waitMs / 1000)}`;
    const parts = [word, subject, waited];
    const why = fence === null ? (message ?? '') : missingText(fence);
    if (io.isErrTTY) {
      io.stderr(`\r\u001b[K${[...parts, this.#fit(why, parts)].join('  ')}`);
      return;
    }
    const now = io.clock.wallNow();
    io.stderr(`${instantText(now, now)} ${[...parts, why].join('  ')}\n`);
  }

  end(): void {
    if (this.io.isErrTTY) this.io.stderr('\r\u001b[K');
  }

  /** A line that wraps cannot be rewritten in place, so the reason gives way. */
  #fit(reason: string, before: readonly string[]): string {
    if (this.io.columns === 0) return reason;
    const used = before.reduce((n, p) => n + p.replaceAll(/\u001b\[\d*m/g, '').length + 2, 0);
    return reason.slice(0, Math.max(0, this.io.columns - 1 - used));
  }
}
