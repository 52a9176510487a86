import type { Io, Terminal } from './io.js';

/** Alternate screen, no cursor, no wrapping of long lines. */
const ENTER = '\u001b[?1049h\u001b[?25l\u001b[?7l\u001b[2J';
/** All of that undone. */
const LEAVE = '\u001b[0m\u001b[?7h\u001b[?25h\u001b[?1049l';

/**
 * A whole terminal that is drawn again and again. Only lines that have changed are written, all at once, so that nothing
 * flickers; the terminal is left as it was found, also when the process crashes.
 */
export class Screen {
  #shown: readonly string[] = [];
  readonly #undo: (() => void)[];
  #open = true;

  constructor(
    private readonly io: Pick<Io, 'stdout'>,
    private readonly terminal: Terminal,
    listeners: { key: (keys: string) => void; resized: () => void },
  ) {
    this.#undo = [
      terminal.atEnd(LEAVE),
      terminal.onKey(listeners.key),
      terminal.onResize(() => {
        // A terminal moves lines about when its size changes: nothing that was drawn is where it was.
        this.#shown = [];
        listeners.resized();
      }),
    ];
    io.stdout(ENTER);
  }

  get size(): { columns: number; rows: number } {
    const { columns, rows } = this.terminal.size();
    // A terminal that does not tell its size is taken for an ordinary one.
    return { columns: columns > 0 ? columns : 80, rows: rows > 0 ? rows : 24 };
  }

  draw(lines: readonly string[]): void {
    if (!this.#open) return;
    const whole = this.#shown.length !== lines.length;
    // Erased before it is written: afterwards, behind the last column, that would take the last character away.
    const changed = lines.flatMap((line, i) =>
      whole || line !== this.#shown[i] ? [`\u001b[${String(i + 1)};1H\u001b[2K${line}\u001b[0m`] : [],
    );
    this.#shown = lines;
    if (changed.length === 0) return;
    // Terminals that know how show it all at once; others ignore this.
    this.io.stdout(`\u001b[?2026h${whole ? '\u001b[2J' : ''}${changed.join('')}\u001b[?2026l`);
  }

  /** Leaves the terminal as it was. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    for (const undo of this.#undo.splice(0)) undo();
    this.io.stdout(LEAVE);
  }
}
