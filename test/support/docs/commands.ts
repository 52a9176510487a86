/** The commands of a shell block, and what can be done with each of them here. */
import { spawnSync } from 'node:child_process';
import type { Block } from './markdown.js';

/** One complete command of a block; a compound one (`if … fi`, a function, `a && b`) is one. */
export interface Command {
  readonly block: Block;
  readonly text: string;
  readonly line: number;
  /** Whether it is the last one of its block, of which a marker `exit=` speaks. */
  readonly last: boolean;
}

/** What becomes of a command. */
export type Fate =
  { kind: 'execute'; exit: number } | { kind: 'not-here'; reason: string } | { kind: 'elsewhere'; by: string };

/**
 * Programs that no machine of the tests has, with the reason. Their commands are looked at, not run: what they say of
 * lockgate (files of deploy/, its own commands and options) is held against what there is.
 */
export const NOT_HERE: Readonly<Record<string, string>> = {
  aws: 'needs an account of AWS',
  docker: 'needs a container engine',
  podman: 'needs a container engine',
  kubectl: 'needs a cluster',
  kustomize: 'needs a cluster',
  helm: 'needs a cluster',
  argocd: 'needs a cluster',
  systemctl: 'needs systemd as process 1',
  journalctl: 'needs systemd as process 1',
  sudo: 'changes the machine',
  install: 'changes the machine',
  useradd: 'changes the machine',
  'apt-get': 'changes the machine',
  git: 'needs the repository’s address',
  gh: 'needs an account of GitHub',
  psql: 'the servers of the tests come without it',
  mysql: 'the servers of the tests come without it',
};

/** npm scripts that are too long or too large to run within a test, with the file that proves each of them. */
export const PROVEN: readonly (readonly [RegExp, string])[] = [
  [/^npm (ci|install)\b/, '.ci/run'],
  [/^npm run build\b/, 'test/integration/mysql-compiled.test.ts'],
  [/^npm run demo\b/, 'test/scenario/demo.test.ts'],
  [/^npm (run )?test\b/, '.ci/run'],
  [/^npm run check\b/, '.ci/run'],
  [/^npm run format\b/, '.ci/run'],
  [/^npm run soak\b/, 'test/unit/soak.test.ts'],
  [/^npm run bench\b/, 'test/bench/main.ts'],
  // That the script exists is looked at for each of them.
  [/^npm run [\w:-]+/, 'package.json'],
  [/^(LOCKGATE_TEST_\w+=\S+ )*npx vitest\b/, 'vitest.config.ts'],
  [/^\.ci\/run\b/, '.ci/run'],
];

/** Splits a block into its commands; throws where bash does not understand what is there. */
export function commandsOf(block: Block): Command[] {
  const commands: Command[] = [];
  if (block.marker.has('script')) return [{ block, text: block.text, line: block.line, last: true }];
  let lines: string[] = [];
  let first = block.line;
  for (const [index, line] of block.text.split('\n').entries()) {
    if (lines.length === 0) {
      if (/^\s*(#.*)?$/.test(line)) continue;
      first = block.line + index;
    }
    lines.push(line);
    const text = lines.join('\n');
    if (isComplete(text)) {
      commands.push({ block, text, line: first, last: false });
      lines = [];
    }
  }
  if (lines.length > 0) throw new Error(`${block.page}:${first}: bash does not understand ${lines.join('\n')}`);
  const last = commands.pop();
  return last === undefined ? [] : [...commands, { ...last, last: true }];
}

function isComplete(text: string): boolean {
  if (/\\$/.test(text)) return false;
  if (!/[|&({'"`<]|\b(if|for|while|until|case|do|then)\b/.test(text)) return true;
  const { status, stderr } = spawnSync('bash', ['-n'], { input: `${text}\n`, encoding: 'utf8' });
  // A here-document without its end is a warning only.
  return status === 0 && stderr === '';
}

/** The simple commands within a command, without variables set before them: enough to see which programs it calls. */
export function simpleCommands(text: string): string[] {
  return text
    .replace(/\\\n\s*/g, ' ')
    .replace(/(^|\s)#[^\n'"]*$/gm, '')
    .split(/&&|\|\||[|;\n]|\$\(|\bthen\b|\bif\b|\belse\b|\bdo\b|\{ /)
    .map((part) => part.trim().replace(/^((export|alias)\s+)?([A-Za-z_]\w*=\S*\s+)+/, ''))
    .filter((part) => part !== '');
}

/** What can be done with a command here. */
export function fateOf(command: Command): Fate {
  const { marker } = command.block;
  const elsewhere = marker.get('run');
  if (elsewhere !== undefined) return { kind: 'elsewhere', by: elsewhere.replace(/^elsewhere /, '') };
  const here = marker.get('not-here');
  if (here !== undefined) return { kind: 'not-here', reason: here };
  const parts = simpleCommands(command.text);
  for (const part of parts) {
    const program = /^[\w.-]+/.exec(part)?.[0] ?? '';
    const reason = Object.hasOwn(NOT_HERE, program) ? NOT_HERE[program] : undefined;
    if (reason !== undefined) return { kind: 'not-here', reason };
  }
  const proven = PROVEN.find(([pattern]) => parts.some((part) => pattern.test(part)));
  if (proven !== undefined) return { kind: 'elsewhere', by: proven[1] };
  return { kind: 'execute', exit: command.last ? Number(marker.get('exit') ?? 0) : 0 };
}
