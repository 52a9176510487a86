/** Which files of a folder a container engine would be sent: the rules of `.dockerignore`. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

interface Rule {
  readonly keeps: boolean;
  readonly matches: RegExp;
}

/** Returns the files below `folder` that its `.dockerignore` lets through, relative to it; later lines win over earlier ones. */
export function contextFiles(folder: string): string[] {
  const file = join(folder, '.dockerignore');
  const rules = existsSync(file) ? readFileSync(file, 'utf8').split('\n').flatMap(ruleOf) : [];
  const found: string[] = [];
  const visit = (below: string): void => {
    for (const entry of readdirSync(join(folder, below), { withFileTypes: true })) {
      const path = below === '' ? entry.name : `${below}/${entry.name}`;
      // Nobody lets anything of these through again, and looking through them takes seconds.
      if (below === '' && ['.git', 'node_modules', '.servers', '.cache'].includes(path) && !keeps(path, rules))
        continue;
      if (entry.isDirectory()) visit(path);
      else if (keeps(path, rules)) found.push(path);
    }
  };
  visit('');
  return found;
}

/** Whether a path gets through: the last rule that matches it, or a folder that it lies in, decides. */
export function keeps(path: string, rules: readonly Rule[]): boolean {
  const parts = path.split('/');
  const places = parts.map((_, at) => parts.slice(0, at + 1).join('/'));
  const last = rules.findLast((rule) => places.some((place) => rule.matches.test(place)));
  return last?.keeps ?? true;
}

/** Reads one line; none for a comment and an empty one. */
export function ruleOf(line: string): Rule[] {
  const text = line.trim();
  if (text === '' || text.startsWith('#')) return [];
  const keep = text.startsWith('!');
  const pattern = (keep ? text.slice(1) : text).replace(/^\/+|\/+$/g, '');
  const source = pattern
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replace(/\*\*\/|\*\*|\*|\?/g, (wild) =>
      wild === '**/' ? '(?:.*/)?' : wild === '**' ? '.*' : wild === '*' ? '[^/]*' : '[^/]',
    );
  return [{ keeps: keep, matches: new RegExp(`^${source}$`) }];
}
