/** The project's pages as the tests of the docs see them: blocks with their markers, headings, links, names in backticks. */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder of the project. */
export const root = fileURLToPath(new URL('../../../', import.meta.url));

/**
 * What `<!-- docs: … -->` before a block says of it. A marker is a word with or without a value: `exit=1` (how its last
 * command ends), `not-here REASON`, `run=elsewhere FILE`, `script` (one program, not commands one by one), `file=NAME`
 * (the block is that file of the reader), `on=source` (SQL for that side; with `rollback` nothing of it stays), `answer=PATH`
 * (JSON that the API gives), `yaml=migration` (of what a configuration it is a part; `other`: of none).
 */
export type Marker = ReadonlyMap<string, string>;

/** A fenced block. */
export interface Block {
  readonly page: string;
  /** Of its first line, from 1. */
  readonly line: number;
  readonly lang: string;
  readonly text: string;
  readonly marker: Marker;
}

/** A page with everything in it that can be wrong. */
export interface Page {
  readonly name: string;
  readonly blocks: readonly Block[];
  /** Anchors of its headings, as GitHub makes them. */
  readonly anchors: ReadonlySet<string>;
  readonly links: readonly { to: string; line: number }[];
  /** Code in backticks outside of blocks. */
  readonly spans: readonly { text: string; line: number }[];
}

/** Words that take all the rest of the marker as their value. */
const REST = ['not-here', 'run'] as const;

/** Reads a marker's text; throws on a word that means nothing, because a marker that is not understood hides a command. */
export function readMarker(text: string, where: string): Marker {
  const found = new Map<string, string>();
  for (const word of REST) {
    if (!text.startsWith(word)) continue;
    found.set(word, text.slice(word.length).replace(/^[= ]+/, ''));
    return found;
  }
  for (const part of text.split(/\s+/)) {
    const [key = '', value = ''] = part.split('=');
    if (!['exit', 'script', 'file', 'on', 'answer', 'yaml', 'rollback'].includes(key)) {
      throw new Error(`${where}: the marker \`docs: ${text}\` is not understood`);
    }
    found.set(key, value);
  }
  return found;
}

/** The anchor that GitHub makes of a heading. */
export function anchorOf(heading: string): string {
  return heading
    .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\p{M} _-]/gu, '')
    .replace(/ /g, '-');
}

/** Takes a page apart. */
export function readPage(name: string, text: string): Page {
  const blocks: Block[] = [];
  const anchors = new Set<string>();
  const links: { to: string; line: number }[] = [];
  const spans: { text: string; line: number }[] = [];
  let marker: Marker = new Map();
  let open: { fence: string; indent: string; lang: string; line: number; lines: string[] } | null = null;
  for (const [index, line] of text.split('\n').entries()) {
    const at = index + 1;
    if (open !== null) {
      if (line.trim() === open.fence) {
        const { lang, line: first, lines } = open;
        blocks.push({ page: name, line: first, lang, text: `${lines.join('\n')}\n`, marker });
        marker = new Map();
        open = null;
      } else open.lines.push(line.startsWith(open.indent) ? line.slice(open.indent.length) : line);
      continue;
    }
    const fence = /^(\s*)(`{3,}|~{3,})(\S*)/.exec(line);
    if (fence !== null) {
      const [, indent = '', mark = '', lang = ''] = fence;
      open = { fence: mark, indent, lang, line: at + 1, lines: [] };
      continue;
    }
    const comment = /^\s*<!-- docs: (.*?) -->\s*$/.exec(line);
    if (comment !== null) {
      marker = readMarker(comment[1] ?? '', `${name}:${at}`);
      continue;
    }
    const heading = /^#{1,6} (.*)$/.exec(line);
    if (heading !== null) anchors.add(anchorOf(heading[1] ?? ''));
    for (const m of line.matchAll(/(`+)(.+?)\1/g)) spans.push({ text: (m[2] ?? '').trim(), line: at });
    const plain = line.replace(/(`+)(.+?)\1/g, (code) => 'x'.repeat(code.length));
    for (const m of plain.matchAll(/\]\(([^)\s]+)\)/g)) links.push({ to: m[1] ?? '', line: at });
  }
  if (open !== null) throw new Error(`${name}:${open.line}: the block has no end`);
  return { name, blocks, anchors, links, spans };
}

/** Every page of the project, by its path. */
export function readPages(): Map<string, Page> {
  const names = ['README.md', 'CONTRIBUTING.md'].filter((name) => existsSync(join(root, name)));
  for (const name of readdirSync(join(root, 'docs')).sort()) if (name.endsWith('.md')) names.push(`docs/${name}`);
  return new Map(names.map((name) => [name, readPage(name, readFileSync(join(root, name), 'utf8'))]));
}
