import { messageOf, SourceError } from '../core/errors.js';
import type { Secret } from '../core/config.js';

/** Reads a file as text; injected, so that loading a configuration is a function of its inputs. */
export type ReadFile = (path: string) => string;

/** `${env:NAME}` or `${file:PATH}` as it stands in the configuration; `kind` is null when it is neither. */
export interface Placeholder {
  /** As written, braces included. */
  text: string;
  kind: 'env' | 'file' | null;
  name: string;
}

/** A scalar cut into literal text and placeholders. */
export type Template = readonly (string | Placeholder)[];

// YAML knows nothing of `${…}`: inside `{ … }` its braces would end the mapping. Before parsing, each placeholder is
// moved, character by character, into a private-use block, where nothing means anything to YAML. Same length, so that
// every position in the parsed document is a position in the text as written.
const SHIFT = 0xe000;
const SHIFTED = 0x1000;

/** Makes every `${…}` of a YAML text opaque to YAML without moving anything. */
export function maskPlaceholders(text: string): string {
  return text.replace(/\$\{[^}\r\n]*\}/g, (found) =>
    found.replace(/[\u0000-\u0fff]/g, (c) => String.fromCharCode(c.charCodeAt(0) + SHIFT)),
  );
}

/** Undoes `maskPlaceholders` in any piece of the text. */
export function unmask(text: string): string {
  return text.replace(/[\ue000-\uefff]/g, (c) => String.fromCharCode(c.charCodeAt(0) - SHIFT));
}

/** Offset of the first character that a text may not contain because masking uses it, or -1. */
export function reservedCharacter(text: string): number {
  for (let i = 0; i < text.length; i += 1) {
    const c = text.charCodeAt(i);
    if (c >= SHIFT && c < SHIFT + SHIFTED) return i;
  }
  return -1;
}

/** Cuts an unmasked scalar at its placeholders. */
export function parseTemplate(text: string): Template {
  const parts: (string | Placeholder)[] = [];
  let from = 0;
  for (const found of text.matchAll(/\$\{([^}\r\n]*)\}/g)) {
    if (found.index > from) parts.push(text.slice(from, found.index));
    const named = /^(env|file):(.+)$/.exec((found[1] ?? '').trim());
    const kind = named?.[1] === 'env' ? 'env' : named?.[1] === 'file' ? 'file' : null;
    parts.push({ text: found[0], kind, name: (named?.[2] ?? '').trim() });
    from = found.index + found[0].length;
  }
  if (from < text.length || parts.length === 0) parts.push(text.slice(from));
  return parts;
}

/** Whether a template has any placeholder. */
export function hasPlaceholder(template: Template): boolean {
  return template.some((part) => typeof part !== 'string');
}

/** Turns placeholders into what they stand for. */
export class SecretReader {
  constructor(
    private readonly env: Readonly<Record<string, string | undefined>>,
    private readonly readFile: ReadFile,
    /** Makes a path of the configuration absolute or relative to the working directory. */
    private readonly locate: (path: string) => string,
  ) {}

  /** The value of one placeholder now; throws a SourceError, which never says what the value was. */
  read(placeholder: Placeholder): string {
    const value = placeholder.kind === 'env' ? this.fromEnv(placeholder.name) : this.fromFile(placeholder.name);
    if (value !== '') return value;
    throw new SourceError(
      'secret_empty',
      placeholder.kind === 'env'
        ? `the environment variable ${placeholder.name} is empty`
        : `the file ${placeholder.name} is empty`,
      'an empty secret protects nothing; set it or remove the key',
    );
  }

  /** A template with every placeholder replaced. */
  expand(template: Template): string {
    return template.map((part) => (typeof part === 'string' ? part : this.read(part))).join('');
  }

  private fromEnv(name: string): string {
    const value = Object.hasOwn(this.env, name) ? this.env[name] : undefined;
    if (value !== undefined) return value;
    throw new SourceError('secret_missing', `the environment variable ${name} is not set`, `export ${name} first`);
  }

  private fromFile(name: string): string {
    let text: string;
    try {
      text = this.readFile(this.locate(name));
    } catch (error) {
      throw new SourceError(
        'secret_missing',
        `the file ${name} cannot be read: ${reasonOf(error)}`,
        `it is looked for at ${this.locate(name)}; it must be readable for the user that lockgate runs as`,
        { cause: error },
      );
    }
    // Editors and `echo` end files with a newline that is no part of the password.
    return text.replace(/[\r\n]+$/, '');
  }
}

/** The short code of a failed read: the whole message of an injected reader could carry more than is wanted here. */
function reasonOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : messageOf(error).split('\n', 1).join('');
}

/** A secret that is put together anew at each `reveal`, so that rotated files are taken up, and that prints as `[secret]`. */
export class ResolvedSecret implements Secret {
  readonly #reveal: () => string;

  /** `reveal` may throw a SourceError when a file has gone. */
  constructor(reveal: () => string) {
    this.#reveal = reveal;
  }

  reveal(): string {
    return this.#reveal();
  }

  toString(): string {
    return '[secret]';
  }

  toJSON(): string {
    return '[secret]';
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return '[secret]';
  }
}
