import { ConfigError, type ConfigProblem } from '../core/errors.js';
import { pathText, type LocatedText, type Path, type Spot } from './locate.js';

/** Collects every problem of a configuration, each with its place, and keeps secrets out of all of them. */
export class Problems {
  private readonly found: ConfigProblem[] = [];
  private readonly secrets = new Map<string, string>();

  constructor(private readonly source: LocatedText) {}

  /** Adds a problem with the value at `path`. */
  add(path: Path, message: string, hint: string | null, spot: Spot = {}): void {
    const shown = spot.hideKey === true ? path.slice(0, -1) : path;
    this.push(shown, this.source.place(path, spot), message, hint);
  }

  /** Adds a problem with one placeholder inside the scalar at `path`. */
  addAtPlaceholder(path: Path, placeholder: string, message: string, hint: string | null): void {
    this.push(path, this.source.placeholder(path, placeholder), message, hint);
  }

  /** Adds a problem with a character of the text. */
  addAt(offset: number, message: string, hint: string | null): void {
    this.push([], this.source.lineColumn(offset), message, hint);
  }

  /** Adds problems that already have their place. */
  addAll(problems: readonly ConfigProblem[]): void {
    this.found.push(...problems);
  }

  /** Remembers a value that no message may contain, and what is shown instead. */
  conceal(value: string, shown: string): void {
    // Shorter values would be found inside ordinary words; messages quote the text as written anyhow.
    if (value.length >= 4) this.secrets.set(value, shown);
  }

  /** Takes every concealed value out of a text. */
  clean(text: string): string {
    let out = text;
    for (const [value, shown] of this.secrets) out = out.replaceAll(value, shown);
    return out;
  }

  /** Throws all of them, in the order of the text, if there are any. */
  throwIfAny(): void {
    if (this.found.length === 0) return;
    const sorted = [...this.found].sort((a, b) => a.line - b.line || a.column - b.column);
    throw new ConfigError(sorted);
  }

  private push(path: Path, at: { line: number; column: number }, message: string, hint: string | null): void {
    const problem: ConfigProblem = {
      file: this.source.file,
      ...at,
      path: pathText(path),
      message: this.clean(message),
      hint: hint === null ? null : this.clean(hint),
    };
    const same = (p: ConfigProblem) =>
      p.line === problem.line && p.column === problem.column && p.message === problem.message;
    if (!this.found.some(same)) this.found.push(problem);
  }
}
