import type { z } from 'zod';
import { suggest } from '../core/suggest.js';
import { pathText, type LocatedText, type Path } from './locate.js';
import type { Problems } from './problems.js';
import { KNOWN_KEYS } from './schema-fields.js';
import { configSchema, type RawConfig } from './schema.js';

type Issue = z.core.$ZodIssue;

/** Where secrets stand (`*` is any name or index): what is written there is neither filled in early nor ever quoted. */
const SECRET_PATHS: readonly Path[] = [
  ['databases', '*', 'url'],
  ['databases', '*', 'password'],
  ['daemon', 'auth', 'tokens', '*', 'token'],
  ['alerts', 'pagerduty', 'routing_key'],
  ['alerts', 'webhook', 'secret'],
  ['migrations', '*', 'traffic', '*', 'token'],
];

/** Whether the value at a path is a secret. */
export function isSecretPath(path: Path): boolean {
  return SECRET_PATHS.some(
    (secret) => secret.length === path.length && secret.every((part, i) => part === '*' || part === path[i]),
  );
}

/**
 * Checks the shape of a configuration, reports what is wrong with it, and takes that out of the tree, so that the
 * checks that follow see only values of the right type and can look at all the rest. `reported` are the paths of values
 * that were refused already.
 */
export function checkShape(
  tree: unknown,
  source: LocatedText,
  problems: Problems,
  reported: readonly Path[],
): RawConfig {
  const result = configSchema.safeParse(tree);
  const known = new Set(reported.map(pathText));
  for (const issue of result.error?.issues ?? []) report(issue, [], { tree, source, problems, known });
  for (const path of reported) remove(tree, path);
  return isRecord(tree) ? tree : {};
}

interface Reporting {
  tree: unknown;
  source: LocatedText;
  problems: Problems;
  /** Paths whose value was refused before. */
  known: ReadonlySet<string>;
}

function report(issue: Issue, prefix: Path, to: Reporting): void {
  const { tree, source, problems } = to;
  const path: Path = [...prefix, ...(issue.path as (string | number)[])];
  if (issue.code === 'unrecognized_keys') {
    const known = issue.message.slice(KNOWN_KEYS.length).split(',');
    for (const key of issue.keys) {
      // Beside a secret in `{ … }` an unknown key may be the rest of it: a comma in a password begins a new key.
      const near = suggest(key, known);
      const shown = near !== null || !known.some((k) => isSecretPath([...path, k]));
      const hint = near === null ? `the keys here are ${known.join(', ')}` : `did you mean \`${near}\`?`;
      problems.add([...path, key], 'unknown key', hint, { key: true, hideKey: !shown });
      remove(tree, [...path, key]);
    }
    return;
  }
  const { exists } = lookUp(tree, path);
  if (issue.code === 'invalid_union' && exists) {
    // The branch whose type is right says best what is wrong inside; without one the union says what it wants.
    const inside = issue.errors.filter((errors) => errors.every((e) => e.path.length > 0 || !isTypeIssue(e)));
    const [branch] = inside;
    if (inside.length === 1 && branch !== undefined) {
      for (const inner of branch) report(inner, path, to);
      return;
    }
  }
  if (to.known.has(pathText(path))) return;
  const [message = '', hint = null] = issue.message.split('\n');
  if (!exists) problems.add(path, 'this key is missing', `add ${message}`);
  else if (isTypeIssue(issue)) problems.add(path, `expected ${message}, found ${found(issue, path, source)}`, null);
  else problems.add(path, message, hint);
  remove(tree, path);
}

/** What stands in the wrong place may well be a password, so text is quoted only where one of a few words belongs. */
function found(issue: Issue, path: Path, source: LocatedText): string {
  const kind = source.kind(path);
  const scalar = issue.code === 'invalid_type' && ['string', 'number', 'int', 'boolean'].includes(issue.expected);
  const harmless = issue.code === 'invalid_value' || (scalar && kind !== 'text');
  return harmless && !isSecretPath(path) ? source.written(path) : kind;
}

function isTypeIssue(issue: Issue): boolean {
  return issue.code === 'invalid_type' || issue.code === 'invalid_value' || issue.code === 'invalid_union';
}

function lookUp(tree: unknown, path: Path): { exists: boolean; value: unknown } {
  let value = tree;
  for (const part of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, part)) {
      return { exists: false, value: undefined };
    }
    value = (value as Record<string | number, unknown>)[part];
  }
  return { exists: true, value };
}

/** Takes a value out of the tree; in a list it leaves `undefined`, so that the other indices stay true. */
export function remove(tree: unknown, path: Path): void {
  const last = path.at(-1);
  const { value } = lookUp(tree, path.slice(0, -1));
  if (last === undefined || typeof value !== 'object' || value === null) return;
  if (Array.isArray(value) && typeof last === 'number') value[last] = undefined;
  else Reflect.deleteProperty(value, last);
}

/** Whether a value is a mapping. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
