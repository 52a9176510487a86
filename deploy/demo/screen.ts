import { painter, type Paint } from '../../daemon/cli/text.js';

/** What the demo writes on; main.ts hands in standard output. */
export interface Terminal {
  readonly isTTY: boolean;
  readonly columns: number;
  readonly env: Readonly<Record<string, string | undefined>>;
  write(text: string): void;
}

/** Columns before the text of a step. */
const INDENT = '   ';

/** The demo's output: numbered steps, what each expects and what was seen, and in a terminal one line that is rewritten. */
export class Screen {
  readonly paint: Paint;
  readonly #rewrites: boolean;
  #steps = 0;
  #live = false;

  constructor(readonly terminal: Terminal) {
    this.paint = painter(terminal);
    this.#rewrites = terminal.isTTY && terminal.env['TERM'] !== 'dumb';
  }

  /** A line of its own, unindented. */
  line(text = ''): void {
    this.#clear();
    this.terminal.write(`${text}\n`);
  }

  /** Begins a step: its number, what happens in it, and what is expected to be seen. */
  step(title: string, expected: string): void {
    this.#steps += 1;
    this.line();
    this.line(this.paint(`${String(this.#steps).padStart(2)} ${title}`, 'bold'));
    this.say(`${this.paint('expected', 'dim')}  ${expected}`);
  }

  /** Lines of the present step. */
  say(text: string): void {
    for (const line of text.trimEnd().split('\n')) this.line(`${INDENT}${line}`.trimEnd());
  }

  /** What was observed in the present step, as expected. */
  seen(text: string): void {
    this.say(`${this.paint('✓ seen', 'green')}    ${text}`);
  }

  /** What was observed in the present step, and should not have been. */
  failed(text: string): void {
    this.say(`${this.paint('✗ FAILED', 'red')}  ${text}`);
  }

  /** A line that the next output takes the place of; nothing where lines cannot be rewritten. */
  live(plainText: string): void {
    if (!this.#rewrites) return;
    // A line that wraps cannot be rewritten in place.
    const width = this.terminal.columns > 0 ? this.terminal.columns - 1 : 79;
    this.#clear();
    this.terminal.write(`${INDENT}${plainText}`.slice(0, width));
    this.#live = true;
  }

  #clear(): void {
    if (this.#live) this.terminal.write('\r\u001b[K');
    this.#live = false;
  }
}
