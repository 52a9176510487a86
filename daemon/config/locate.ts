import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument, type Document, type Node } from 'yaml';
import type { ConfigProblem } from '../core/errors.js';
import { maskPlaceholders, unmask } from './secrets.js';

/** Keys and indices from the root of the configuration to a value. */
export type Path = readonly (string | number)[];

/** Spells a path for people: `migrations.shop.gates.flip-writes.require[0]`. */
export function pathText(path: Path): string {
  return path.reduce<string>(
    (out, part) => (typeof part === 'number' ? `${out}[${String(part)}]` : out === '' ? part : `${out}.${part}`),
    '',
  );
}

/** Which part of a pair a problem is about, and how far into a scalar. */
export interface Spot {
  /** The key rather than its value. */
  key?: boolean;
  /** Leave the last key out of the path that is shown. */
  hideKey?: boolean;
  /** Characters from the start of the scalar's text (without its quotes). */
  offset?: number;
}

interface Found {
  key: Node | null;
  value: Node | null;
  /** Whether the whole path exists. */
  whole: boolean;
}

/** More nodes than any honest configuration has; stops aliases that multiply. */
const MAX_NODES = 100_000;

/** A YAML text whose every value can be found again in the text, for messages. */
export class LocatedText {
  private readonly lines = new LineCounter();
  private readonly doc: Document.Parsed;

  constructor(
    readonly file: string,
    readonly text: string,
  ) {
    this.doc = parseDocument(maskPlaceholders(text), {
      lineCounter: this.lines,
      // Pretty errors quote the source, and the source may hold a password.
      prettyErrors: false,
      stringKeys: true,
    });
  }

  /** What is wrong with the YAML itself; `fatal` when the rest of the document cannot be judged for it. */
  yamlProblems(): { problems: ConfigProblem[]; fatal: boolean } {
    const errors = [...this.doc.errors, ...this.doc.warnings];
    const problems = errors.map((e): ConfigProblem => {
      const [offset] = e.pos;
      const key = e.code === 'DUPLICATE_KEY' ? this.keyAt(offset) : null;
      const [message, hint] = YAML_PROBLEMS[e.code] ?? [
        'this is not valid YAML',
        'look for quotes, colons and indents',
      ];
      return {
        file: this.file,
        ...this.lineColumn(offset),
        path: key === null ? '' : pathText(key),
        message,
        hint,
      };
    });
    return { problems, fatal: errors.some((e) => e.code !== 'DUPLICATE_KEY' && e.code !== 'MULTIPLE_DOCS') };
  }

  /**
   * The document as plain objects (without prototypes), arrays and scalars, placeholders as written. `refuse` hears of
   * what plain data cannot hold. Of a key that is there twice the first counts.
   */
  tree(refuse: (path: Path, message: string, hint: string) => void): unknown {
    let nodes = 0;
    const open = new Set<Node>();
    const plain = (node: Node | null, path: Path): unknown => {
      nodes += 1;
      if (nodes === MAX_NODES) refuse([], 'the configuration is too large', 'aliases that repeat aliases multiply it');
      if (nodes >= MAX_NODES) return undefined;
      if (isAlias(node)) {
        const target = node.resolve(this.doc);
        if (target !== undefined && open.has(target)) {
          refuse(path, 'this alias stands for something that it is a part of', 'write the value out');
          return undefined;
        }
        if (target !== undefined) return plain(target, path);
        refuse(path, `there is no anchor \`&${node.source}\` before this alias`, `define it with \`&${node.source}\``);
        return undefined;
      }
      if (node !== null) open.add(node);
      const value = content(node, path);
      if (node !== null) open.delete(node);
      return value;
    };
    const content = (node: Node | null, path: Path): unknown => {
      if (isSeq<Node>(node)) return node.items.map((item, i) => plain(item, [...path, i]));
      if (isMap<Node, Node | null>(node)) {
        const out = Object.create(null) as Record<string, unknown>;
        for (const pair of node.items) {
          const key = keyName(pair.key);
          if (key === '__proto__') refuse(path, 'a key cannot be named `__proto__`', 'choose another name');
          else if (!Object.hasOwn(out, key)) out[key] = plain(pair.value, [...path, key]);
        }
        return out;
      }
      if (!isScalar(node)) return null;
      return typeof node.value === 'string' ? unmask(node.value) : node.value;
    };
    return plain(this.doc.contents, []);
  }

  /** Line and column, from 1, of a value, of its key, or of the nearest enclosing thing that exists. */
  place(path: Path, spot: Spot = {}): { line: number; column: number } {
    const found = this.find(path);
    const { key, value } = found;
    // What is missing is missing from the thing that its parent's key names; nothing written has no place of its own.
    const atKey =
      spot.key === true || !found.whole || (isScalar(value) && value.source === '' && value.type === 'PLAIN');
    const node = atKey ? (key ?? value) : (value ?? key);
    let start = node?.range?.[0] ?? 0;
    if (!atKey && spot.offset !== undefined) start = this.scalarStart(value, spot.offset);
    return this.lineColumn(start);
  }

  /** Line and column, from 1, of a character of the text. */
  lineColumn(offset: number): { line: number; column: number } {
    const { line, col } = this.lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  }

  /** Where a placeholder of a scalar stands. */
  placeholder(path: Path, text: string): { line: number; column: number } {
    const range = this.find(path).value?.range;
    const at = range ? this.text.indexOf(text, range[0]) : -1;
    return at < 0 || at > (range?.[1] ?? 0) ? this.place(path) : this.lineColumn(at);
  }

  /** The scalar at a path as it was written, in back quotes. It may be a secret: only for what surely is none. */
  written(path: Path): string {
    const { value } = this.find(path);
    if (!isScalar(value) || value.source === undefined || value.source === '') return this.kind(path);
    const text = unmask(value.source);
    return `\`${text.length > 60 ? `${text.slice(0, 57)}...` : text}\``;
  }

  /** What sort of thing stands at a path: `a list`, `text`, `nothing`. */
  kind(path: Path): string {
    const { value } = this.find(path);
    const node = isAlias(value) ? value.resolve(this.doc) : value;
    if (isMap(node)) return 'a mapping';
    if (isSeq(node)) return 'a list';
    if (!isScalar(node) || node.value === null) return 'nothing';
    if (typeof node.value === 'string') return 'text';
    return typeof node.value === 'boolean' ? 'a truth value' : 'a number';
  }

  /** Whether the text has no value at all. */
  isEmpty(): boolean {
    const { contents } = this.doc;
    return contents === null || (isScalar(contents) && contents.value === null);
  }

  /** Whether anything is written at a path, right or wrong. */
  has(path: Path): boolean {
    return this.find(path).whole;
  }

  /** The keys of the mapping at a path, right or wrong; none when it is no mapping. */
  keys(path: Path): string[] {
    const { value, whole } = this.find(path);
    const node = isAlias(value) ? value.resolve(this.doc) : value;
    return whole && isMap<Node, Node | null>(node) ? node.items.map((pair) => keyName(pair.key)) : [];
  }

  private find(path: Path): Found {
    let key: Node | null = null;
    let value: Node | null = this.doc.contents;
    for (const part of path) {
      const here: Node | null | undefined = isAlias(value) ? value.resolve(this.doc) : value;
      if (isSeq<Node>(here) && typeof part === 'number' && part < here.items.length) {
        value = here.items[part] ?? null;
        key = value;
      } else if (isMap<Node, Node | null>(here)) {
        const pair = here.items.find((p) => keyName(p.key) === part);
        if (pair === undefined) return { key, value, whole: false };
        ({ key, value } = pair);
      } else return { key, value, whole: false };
    }
    return { key, value, whole: true };
  }

  private keyAt(offset: number): Path | null {
    const search = (node: Node | null, path: Path): Path | null => {
      if (isSeq<Node>(node)) {
        for (const [i, item] of node.items.entries()) {
          const found = search(item, [...path, i]);
          if (found !== null) return found;
        }
      } else if (isMap<Node, Node | null>(node)) {
        for (const pair of node.items) {
          const here = [...path, keyName(pair.key)];
          const found = pair.key.range?.[0] === offset ? here : search(pair.value, here);
          if (found !== null) return found;
        }
      }
      return null;
    };
    return search(this.doc.contents, []);
  }

  /** Where a character of a scalar stands; its start when escapes or folding make that uncertain. */
  private scalarStart(node: Node | null, offset: number): number {
    const start = node?.range?.[0] ?? 0;
    if (!isScalar(node) || typeof node.value !== 'string') return start;
    const text = unmask(node.value);
    for (const from of [start, start + 1]) {
      if (this.text.slice(from, from + text.length) === text) return from + offset;
    }
    return start;
  }
}

function keyName(key: Node): string {
  return isScalar(key) && typeof key.value === 'string' ? unmask(key.value) : '';
}

/** Own words for the parser's codes: its messages quote the text, which may hold a password. */
const YAML_PROBLEMS: Readonly<Partial<Record<string, [string, string | null]>>> = {
  DUPLICATE_KEY: ['this key is there twice', 'keep one of them'],
  MULTIPLE_DOCS: ['a second YAML document begins here', 'a configuration is one document; remove the `---`'],
  TAB_AS_INDENT: ['a tab indents this line', 'YAML wants spaces'],
  BAD_INDENT: ['this line is not indented as YAML wants it', 'or a `[`, `{` or quote before it was never closed'],
  BLOCK_AS_IMPLICIT_KEY: ['a second `:` in one line', 'put the value in quotes, or the key on a line of its own'],
  BAD_SCALAR_START: ['a plain value cannot begin with this character', 'put the value in quotes'],
  BAD_DQ_ESCAPE: ['there is no such escape in double quotes', "use single quotes: 'like this'"],
  MISSING_CHAR: ['something is missing here', 'look for a quote, bracket, comma or space that was forgotten'],
  UNEXPECTED_TOKEN: ['this does not belong here', 'look for a missing quote, colon or comma just before it'],
  TAG_RESOLVE_FAILED: ['this YAML tag is not known', 'remove the tag'],
  NON_STRING_KEY: ['a key must be plain text', null],
  MULTILINE_IMPLICIT_KEY: ['a key goes over several lines', 'look for a `:` that was forgotten'],
};
