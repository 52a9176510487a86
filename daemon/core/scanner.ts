/** A text that was refused, with the offset of the offending word; it never leaves the parser. */
export class Rejected extends Error {
  constructor(
    readonly at: number,
    message: string,
    readonly hint: string | null,
  ) {
    super(message);
  }
}

/** Reads a text from left to right and knows where it is, so that every complaint has its column. */
export class Scanner {
  private pos = 0;

  constructor(private readonly text: string) {}

  /** Offset of the next thing that is not white space. */
  at(): number {
    while (/\s/.test(this.text[this.pos] ?? '')) this.pos += 1;
    return this.pos;
  }

  /** Takes what the sticky expression matches here, after white space; null when it does not match. */
  take(pattern: RegExp): string | null {
    pattern.lastIndex = this.at();
    const found = pattern.exec(this.text)?.[0];
    if (found === undefined) return null;
    this.pos += found.length;
    return found;
  }

  has(pattern: RegExp): boolean {
    pattern.lastIndex = this.at();
    return pattern.test(this.text);
  }

  /** Everything that is left, taken. */
  rest(): string {
    const from = this.at();
    this.pos = this.text.length;
    return this.text.slice(from).trim();
  }

  /** The word here, for messages. */
  seen(): string {
    const word = /[^\s(),]+|[(),]/y;
    word.lastIndex = this.at();
    const found = word.exec(this.text)?.[0];
    return found === undefined ? 'the end of the condition' : quote(found);
  }

  atEnd(): boolean {
    return this.at() >= this.text.length;
  }

  reject(message: string, hint: string | null, at = this.at()): never {
    throw new Rejected(at, message, hint);
  }
}

/** A word of the user's in a message, cut when it is overlong. */
export function quote(word: string): string {
  return `\`${word.length > 60 ? `${word.slice(0, 57)}...` : word}\``;
}
